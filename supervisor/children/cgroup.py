"""Control groups of our own (v2), one for each child: a limit on its memory, and the surest end.

They are made below the group that the daemon runs in, which has to be its own to divide: by
systemd's Delegate=, as root, or in a container. Nobody leaves such a group by forking.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from collectors.reading import Bytes
from supervisor.units import format_size

HOST = Path("/")
PREFIX = "ullage-"
LEAF = "daemon"  # where we go ourselves: a group that limits others may hold no process
REMEDY = "give the daemon's service Delegate=yes and DelegateSubgroup=daemon"


class NoGroup(Exception):
    """There is no such group to be had; the message says why, and what would help."""


def _write(file: Path, text: str) -> None:
    with open(file, "w") as opened:
        opened.write(text)


def _is_ours(pid: int) -> bool:
    return pid == os.getpid() or any(c.pid == pid for c in psutil.Process().children(True))


@dataclass(frozen=True, slots=True)
class Group:
    """One child's group. Its folder may be gone at any time."""

    folder: Path

    @property
    def entry(self) -> str:
        """The file by which a process joins."""
        return str(self.folder / "cgroup.procs")

    def pids(self) -> frozenset[int]:
        """Every process in it, and in the groups that it has made below."""
        files = [self.folder / "cgroup.procs"]
        with suppress(OSError):
            files += self.folder.rglob("*/cgroup.procs")
        found: set[int] = set()
        for file in files:
            with suppress(OSError, ValueError):
                found.update(int(line) for line in file.read_text().split())
        return frozenset(found)

    def kill(self) -> None:
        """SIGKILL to all of it at once, since Linux 5.14."""
        file = self.folder / "cgroup.kill"
        if file.exists():  # it is not ours to make
            with suppress(OSError):
                _write(file, "1")

    def was_short(self) -> bool:
        """Has the kernel killed somebody in it for want of memory?"""
        try:
            text = (self.folder / "memory.events").read_text()
        except OSError:
            return False
        rows = dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line)
        return rows.get("oom_kill", "0") != "0"

    def remove(self) -> bool:
        """With the groups below it. One that still holds a process stays. Is it still there?"""
        below = [p for p in self.folder.rglob("*") if p.is_dir()] if self.folder.is_dir() else []
        for folder in (*sorted(below, reverse=True), self.folder):
            with suppress(OSError):
                folder.rmdir()
        return self.folder.is_dir()


class Groups:
    """Makes groups. `is_ours` tells of a process that it is the daemon's: only such are moved."""

    def __init__(
        self,
        root: Path = HOST,
        write: Callable[[Path, str], None] = _write,
        is_ours: Callable[[int], bool] = _is_ours,
    ) -> None:
        self._root, self._write, self._is_ours = root, write, is_ours

    def make(self, name: str, limit: Bytes | None = None) -> Group:
        """A group for one child, with at most `limit` bytes of RAM. Raises NoGroup."""
        base = self._base()
        try:
            if limit is not None:
                self._hand_memory_down(base)
            group = Group(base / f"{PREFIX}{name}")
            group.folder.mkdir(mode=0o755, exist_ok=True)
            try:
                if limit is not None:
                    self._write(group.folder / "memory.max", str(limit))
                    with suppress(OSError):  # half an engine is of no use
                        self._write(group.folder / "memory.oom.group", "1")
            except OSError:
                group.remove()
                raise
        except OSError as error:
            what = "" if limit is None else f" of {format_size(limit)}"
            raise NoGroup(f"no group{what} below {base}: {error.strerror}; {REMEDY}") from None
        return group

    def find(self, name: str) -> Group | None:
        """The group that was made by this name, if it is still there."""
        try:
            folder = self._base() / f"{PREFIX}{name}"
        except NoGroup:
            return None
        return Group(folder) if folder.is_dir() else None

    def _base(self) -> Path:
        """The group that ours are made in: the one that we are in, or were before we made room."""
        mount, shown = self._mount()
        own = self._own()
        inside = own.removeprefix(shown) if shown != "/" else own
        folder = mount / inside.strip("/")
        if not folder.is_dir():
            raise NoGroup(f"{folder} is not there; {REMEDY}")
        return folder.parent if folder.name == LEAF else folder

    def _mount(self) -> tuple[Path, str]:
        """Where the hierarchy is mounted, and which part of it is."""
        for line in self._lines("proc/self/mountinfo"):
            before, found, after = line.partition(" - ")
            if found and after.split()[:1] == ["cgroup2"]:
                words = before.split()
                return self._root / words[4].strip("/"), words[3]
        raise NoGroup("this system has no control groups of version 2")

    def _own(self) -> str:
        for line in self._lines("proc/self/cgroup"):
            if line.startswith("0::"):
                return line[3:]
        raise NoGroup("this system has no control groups of version 2")

    def _lines(self, file: str) -> list[str]:
        try:
            return (self._root / file).read_text().splitlines()
        except OSError:
            raise NoGroup("this system has no control groups") from None

    def _hand_memory_down(self, base: Path) -> None:
        """Have memory counted for the groups below `base`. Raises NoGroup or OSError."""
        file = base / "cgroup.subtree_control"
        if "memory" in file.read_text().split():
            return
        if "memory" not in (base / "cgroup.controllers").read_text().split():
            raise NoGroup(f"memory is not counted below {base}; {REMEDY}")
        try:
            self._write(file, "+memory")
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            self._move_out_of(base)
            self._write(file, "+memory")

    def _move_out_of(self, base: Path) -> None:
        """A group that hands its controllers down may hold no process: we step into one below."""
        pids = [int(line) for line in (base / "cgroup.procs").read_text().split()]
        if others := [pid for pid in pids if not self._is_ours(pid)]:
            raise NoGroup(f"{base} holds other programs too, as pid {others[0]}; {REMEDY}")
        leaf = base / LEAF
        leaf.mkdir(mode=0o755, exist_ok=True)
        for pid in pids:
            with suppress(ProcessLookupError):
                self._write(leaf / "cgroup.procs", str(pid))
