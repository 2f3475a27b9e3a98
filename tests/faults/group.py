"""A control group with a limit on its memory, for a daemon and all that it starts: of version 2
where that counts memory, else of version 1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

HOST = Path("/")
ROOM = 1 << 40  # bytes that nobody here ever takes
_NUMBERS = count()


class NoGroup(Exception):
    """There is none to be had here; the message says why."""


@dataclass(frozen=True)
class Group:
    """`folder` is the kernel's. Which pages are whose is settled when they are first touched: a
    process has to be in it from its start."""

    folder: Path
    limit_file: str
    usage_file: str

    def enter(self) -> None:
        """For a process that is about to begin: it, and what it will start."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def limit(self, size: int = ROOM) -> None:
        """At most so many bytes from now on."""
        (self.folder / self.limit_file).write_text(str(size))

    @property
    def used(self) -> int:
        """Bytes, cached files among them."""
        return int((self.folder / self.usage_file).read_text())

    @property
    def kills(self) -> int:
        """How many the kernel has killed in it for want of memory."""
        for name in ("memory.events", "memory.oom_control"):
            with suppress(OSError):
                rows = (self.folder / name).read_text().splitlines()
                return {k: int(v) for k, v in map(str.split, rows)}["oom_kill"]
        raise NoGroup(f"{self.folder} does not count its dead")

    def remove(self) -> None:
        """Once nobody is in it: harmless before, and where it has gone."""
        with suppress(OSError):
            self.folder.rmdir()


def make(root: Path = HOST) -> Group:
    """A new one, without a limit yet. Raises NoGroup."""
    why = "no control group counts memory here"
    for base, files in _bases(root):
        group = Group(base / f"faults-{os.getpid()}-{next(_NUMBERS)}", *files)
        try:
            group.folder.mkdir()
        except OSError as error:
            why = f"{base}: {error.strerror}"
            continue
        try:
            group.limit()
        except OSError as error:
            group.remove()
            why = f"{group.folder / group.limit_file}: {error.strerror}"
            continue
        return group
    raise NoGroup(f"needs the right to make a control group with a limit on memory: {why}")


def missing() -> str | None:
    """Why there can be none. None: there can."""
    try:
        make().remove()
    except NoGroup as why:
        return str(why)
    return None


_V2 = ("memory.max", "memory.current")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")


def _bases(root: Path) -> Iterator[tuple[Path, tuple[str, str]]]:
    """The groups below which one may be made: ours, else that above it, which in version 2 is the
    one that may divide its memory while we are in ours."""
    own = dict(_own(root))
    for mount, part, kind, options in _mounts(root):
        if kind == "cgroup2":
            for folder in _upwards(mount, part, own.get("", "/")):
                with suppress(OSError):
                    if "memory" in (folder / "cgroup.subtree_control").read_text().split():
                        yield folder, _V2
        elif kind == "cgroup" and "memory" in options:
            yield next(_upwards(mount, part, own.get("memory", "/"))), _V1


def _upwards(mount: Path, part: str, own: str) -> Iterator[Path]:
    inside = own.removeprefix(part) if part != "/" else own
    folder = mount / inside.strip("/")
    while folder != mount:
        if folder.is_dir():
            yield folder
        folder = folder.parent
    yield mount


def _own(root: Path) -> Iterator[tuple[str, str]]:
    """Our group by each of its controllers; "" is that of version 2."""
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                yield controller, path


def _mounts(root: Path) -> Iterator[tuple[Path, str, str, list[str]]]:
    """Of each hierarchy: where it is mounted, which part of it, its version, its controllers."""
    with suppress(OSError):
        for line in (root / "proc/self/mountinfo").read_text().splitlines():
            before, _, after = line.partition(" - ")
            words, (kind, _, options) = before.split(), after.split(maxsplit=2)
            yield root / words[4].strip("/"), words[3], kind, options.split(",")
