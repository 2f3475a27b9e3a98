"""The process table: every program that runs, whose child it is, and what it holds of RAM."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from .errors import CollectorError
from .process import HOST, parse_status
from .reading import Bytes, Process

# In pages as statm counts them: 1 MiB and 256 MiB where they are of 4 KiB. Below the first no
# change is worth a look; above the second each is looked at each time, as locking changes no count.
STEP = 256
LARGE = 65536

_KERNEL_THREAD = 0x0020_0000  # PF_KTHREAD among the flags of /proc/PID/stat


@dataclass(slots=True)
class _Known:
    """What was read of a process. `process` is None for a kernel thread."""

    inode: int
    process: Process | None
    statm: bytes = b""
    counts: tuple[int, int, int] = (0, 0, 0)  # as `process` was read: size, resident, shared


class ProcessTable:
    """All processes, read again and again: what has not changed is not parsed anew.

    A folder of /proc gets a new inode with each new process, so a pid with another inode is
    another process. Of a known one only statm is read (4 us; status takes 15 with its parsing),
    and of a kernel thread nothing at all.
    """

    def __init__(self, root: Path = HOST) -> None:
        self._root = root
        self._proc = f"{root}/proc"
        self._inodes: dict[int, int] = {}
        self._known: dict[int, _Known] = {}

    def read(self) -> tuple[Process, ...]:
        """Every process that has memory and may be looked at, by pid. What one of less than
        256 MiB holds may be off by 1 MiB. Raises CollectorError where there is no table."""
        try:
            with os.scandir(self._proc) as entries:
                inodes = {int(e.name): e.inode() for e in entries if e.name.isdecimal()}
        except OSError as error:
            if self._root == HOST:
                return tuple(_from_psutil())
            raise CollectorError(f"{self._proc}: {error.strerror}") from error
        ended: set[int] = set()
        if inodes != self._inodes:
            ended = {pid for pid, inode in self._inodes.items() if inodes.get(pid) != inode}
        found = {}
        for pid in sorted(inodes):
            known = self._read(pid, inodes[pid], ended)
            if known is not None:
                found[pid] = known
        self._inodes, self._known = inodes, found
        return tuple(known.process for known in found.values() if known.process is not None)

    def _read(self, pid: int, inode: int, ended: set[int]) -> _Known | None:
        known = self._known.get(pid)
        if known is not None:
            if known.inode != inode:
                known = None  # the pid is somebody else's now
            elif known.process is None:
                return known
        statm = _read(f"{self._proc}/{pid}/statm")
        if (
            known is not None
            and known.process is not None
            and known.process.parent not in ended  # its children have another parent now
            and _is_same(known, statm)
        ):
            return known
        return self._read_anew(pid, inode, statm)

    def _read_anew(self, pid: int, inode: int, statm: bytes) -> _Known | None:
        status = parse_status(_read(f"{self._proc}/{pid}/status"))
        if status.holds:
            process = Process(
                pid, status.parent, status.name, status.anonymous, status.file, status.shared
            )
            return _Known(inode, process, statm, _counts(statm))
        # A kernel thread; or it has ended; or it is yet to become a program, like the kernel's
        # own helpers, so that only the flag tells.
        _, _, fields = _read(f"{self._proc}/{pid}/stat").rpartition(b")")
        words = fields.split(None, 7)
        if len(words) > 6 and words[6].isdigit() and int(words[6]) & _KERNEL_THREAD:
            return _Known(inode, None)
        return None


def children(processes: Iterable[Process]) -> dict[int, list[int]]:
    """pid → pids of its children, of those that have any."""
    found: dict[int, list[int]] = {}
    for process in processes:
        found.setdefault(process.parent, []).append(process.pid)
    return found


def descendants(pid: int, processes: Iterable[Process]) -> frozenset[int]:
    """Children of `pid`, their children, and so on; not itself."""
    below, found, open_ = children(processes), {pid}, [pid]
    while open_:
        fresh = [child for child in below.get(open_.pop(), ()) if child not in found]
        found.update(fresh)
        open_ += fresh
    return frozenset(found - {pid})


def _is_same(known: _Known, statm: bytes) -> bool:
    """Nothing has happened to it that would show: no growth, no other program (exec)."""
    if not statm or known.counts[1] >= LARGE:
        return False
    if statm == known.statm:
        return True
    size, resident, shared = _counts(statm)
    before = known.counts
    return size == before[0] and abs(resident - before[1]) < STEP and abs(shared - before[2]) < STEP


def _counts(statm: bytes) -> tuple[int, int, int]:
    """Address space, resident pages, and those of them that are shared."""
    try:
        size, resident, shared, *_ = statm.split(None, 3)
        return int(size), int(resident), int(shared)
    except ValueError:
        return 0, 0, 0


def _read(path: str) -> bytes:
    """Empty where it cannot be read: the process has ended, or is another's."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(fd, 16384)
    except OSError:
        return b""
    finally:
        os.close(fd)


def _from_psutil() -> Iterator[Process]:
    """Where there is no /proc: all that is resident counts as anonymous."""
    for process in psutil.process_iter(["ppid", "name", "memory_info"]):
        memory = process.info["memory_info"]
        if memory is not None:  # None: another user's, which only they and root may look at
            parent, name = process.info["ppid"] or 0, process.info["name"] or ""
            yield Process(process.pid, parent, name, Bytes(memory.rss), Bytes(0))
