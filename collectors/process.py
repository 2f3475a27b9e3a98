"""What processes hold of RAM, and how they were started."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from . import darwin
from .cgroup import parse_membership
from .kept import CHUNK
from .reading import Bytes, MappedFile, ProcessMemory, ProcessTimes, Seconds, mib

HOST = Path("/")
# Smaller mappings are locale data, fonts and libraries: they are summed under the program.
LARGE = mib(16)
ENDED = ("Z", "X")  # states of a process whose first thread has ended

# low-high rights offset device inode path. What lies in /dev is a device or shared memory, no
# file. One expression over the whole text takes 1.1 us a mapping here, splitting lines 2.7 us.
MOST = 64 * 1024**2  # bytes of any file of the kernel's
# Of command lines, which are whoever's they please: of one, of all together, and of each beyond
# that, in bytes; and words of one.
WORDS, ALL_WORDS, FEW_WORDS, MOST_WORDS = 128 * 1024, 16 * 1024**2, 4096, 4096

_MAPPING = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) ..(.). [0-9a-f]+ ([0-9a-f:]+ [0-9]+) +(/(?!dev/).*)$", re.MULTILINE
)

# A leading line break, not "^": 5 us instead of 15, of which the kernel needs 8 to write it.
_STATUS = re.compile(
    rb"\n(PPid|RssAnon|RssFile|RssShmem|VmRSS|VmLck|VmPTE):\s+([0-9]{1,15})(?![0-9])"
)
_ESCAPED = re.compile(rb"\\([n\\])")  # in the name: what would break the line


def read_processes(pids: Iterable[int], root: Path = HOST) -> dict[int, ProcessMemory]:
    """RAM of each process by pid. One that is gone, or may not be looked at, is absent."""
    read = _from_psutil if _asks_psutil(root) else _from_proc
    found = ((pid, read(pid, root)) for pid in set(pids))
    return {pid: memory for pid, memory in found if memory is not None}


def read_times(pids: Iterable[int], root: Path = HOST) -> dict[int, ProcessTimes]:
    """Start and CPU time of each process by pid, at a tenth of what its memory costs to read."""
    found = {pid: _times(pid, root) for pid in set(pids)}
    return {pid: times for pid, times in found.items() if times is not None}


def list_commands(root: Path = HOST) -> dict[int, tuple[str, ...]]:
    """The command line of every process that has one, by pid. Those of anybody are among them, and
    of any length: once they are very long together, only their beginnings are told."""
    if _asks_psutil(root):
        running = psutil.process_iter(["cmdline"])
        return {p.pid: tuple(argv) for p in running if (argv := p.info["cmdline"])}
    found, left = {}, ALL_WORDS
    for pid in list_pids(root):
        if argv := command_of(pid, root, max(FEW_WORDS, min(left, WORDS))):
            found[pid] = argv
            left -= sum(map(len, argv))
    return found


def name_of(pid: int, root: Path = HOST) -> str | None:
    """The program's name, for people. None where it cannot be had."""
    try:
        if _asks_psutil(root):
            return psutil.Process(pid).name()
        return read_file(f"{root}/proc/{pid}/comm").decode(errors="replace").strip() or None
    except (OSError, psutil.Error):
        return None


def cgroup_of(pid: int, root: Path = HOST) -> str | None:
    """The control group that a process's memory is charged to, as /a/b. None where there is none.

    Of v1 the memory hierarchy's, where there is one; else v2's.
    """
    try:
        text = read_file(f"{root}/proc/{pid}/cgroup").decode(errors="replace")
    except OSError:
        return None
    found = dict(parse_membership(text))
    return found.get(False, found.get(True))


def command_of(pid: int, root: Path = HOST, most: int = WORDS) -> tuple[str, ...]:
    """Its command line, as far as `most` bytes of it go. Empty where there is none, or it may not
    be read."""
    try:
        data = read_file(f"{root}/proc/{pid}/cmdline", most).rstrip(b"\0")
    except OSError:
        return ()
    return tuple(data.decode(errors="replace").split("\0", MOST_WORDS)[:MOST_WORDS]) if data else ()


def list_pids(root: Path = HOST) -> Iterator[int]:
    """Every process that /proc shows. None where there is no /proc."""
    try:
        names = os.listdir(root / "proc")
    except OSError:
        return iter(())
    return (int(name) for name in names if name.isdecimal())


def read_file(path: str, most: int = MOST) -> bytes:
    """All of it, up to `most` bytes. A file object asks for sizes that /proc does not have: 4 us
    more for each. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        data = os.read(fd, min(CHUNK, most))
        if not data or not (piece := os.read(fd, CHUNK)):
            return data
        pieces, left = [data], most - len(data)
        while piece and left > 0:  # one longer each time would take the square of its length
            pieces.append(piece[:left])
            left -= len(piece)
            piece = os.read(fd, CHUNK)
        return b"".join(pieces)
    finally:
        os.close(fd)


def read_once(path: str) -> bytes:
    """One that the kernel writes in one piece, as `stat` and `status` of a process. Each system
    call lets another thread run, and waits for it. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, CHUNK)
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class Stat:
    """The part of /proc/PID/stat that we need. Times in clock ticks, `started` since boot."""

    name: str
    state: str
    cpu: int
    started: int
    threads: int

    @property
    def has_ended(self) -> bool:
        """Its memory is back: its first thread has ended, and no other hangs, as in a driver."""
        return self.state in ENDED and self.threads < 2


@dataclass(frozen=True, slots=True)
class Status:
    """The part of /proc/PID/status that we need. Sizes in bytes, all 0 for a kernel thread.

    Huge pages (HugetlbPages) are not in it: they were set aside before, and go back to where
    they were set aside, not to what is available.
    """

    name: str
    parent: int
    anonymous: Bytes  # RssAnon, RssShmem, page tables, and locked file pages: none is "available"
    shared: Bytes  # RssShmem alone
    file: Bytes  # the rest of RssFile
    holds: bool  # it has an address space: it is no kernel thread, and has not ended


def parse_stat(data: bytes) -> Stat:
    """The name stands in parentheses and may itself contain blanks and parentheses."""
    opened, closed = data.index(b"("), data.rindex(b")")
    fields = data[closed + 1 :].split()
    return Stat(
        name=data[opened + 1 : closed].decode(errors="replace"),
        state=fields[0].decode(errors="replace"),
        cpu=int(fields[11]) + int(fields[12]),
        started=int(fields[19]),
        threads=int(fields[17]),
    )


def parse_status(data: bytes) -> Status:
    sizes = {key: int(value) * 1024 for key, value in _STATUS.findall(data)}
    file = sizes.get(b"RssFile", 0)
    locked = min(file, sizes.get(b"VmLck", 0))
    # Without the parts (gVisor, Linux before 4.5) all that is resident counts as anonymous.
    shared = sizes.get(b"RssShmem", 0)
    held = sizes.get(b"RssAnon", sizes.get(b"VmRSS", 0)) + shared + locked
    named = data.partition(b"\n")[0].removeprefix(b"Name:").strip(b"\t ")
    if b"\\" in named:
        named = _ESCAPED.sub(lambda found: b"\n" if found[1] == b"n" else b"\\", named)
    return Status(
        name=named.decode(errors="replace"),
        parent=sizes.get(b"PPid", 0) // 1024,
        anonymous=Bytes(held + sizes.get(b"VmPTE", 0)),
        shared=Bytes(shared),
        file=Bytes(file - locked),
        holds=b"VmRSS" in sizes or b"RssAnon" in sizes,
    )


def parse_maps(data: bytes) -> dict[str, Bytes]:
    """Files of /proc/PID/maps that hold data, as "dev:inode" → bytes of address space.

    A file counts as code when its name says so or any part of it is mapped executable.
    """
    sizes: dict[bytes, int] = {}
    code = set()
    for low, high, executable, file, path in _MAPPING.findall(data):
        if executable == b"x" or path.endswith(b".so") or b".so." in path:
            code.add(file)
        elif file not in code:
            sizes[file] = sizes.get(file, 0) + int(high, 16) - int(low, 16)
    return {
        file.decode().replace(" ", ":"): Bytes(size)
        for file, size in sizes.items()
        if file not in code
    }


def share_out(resident: Bytes, files: dict[str, Bytes], rest: str) -> tuple[MappedFile, ...]:
    """Lay `resident` bytes of file pages onto large files, largest first; what is left is `rest`'s.

    The kernel does not say cheaply which pages are resident (smaps takes 3.6 ms per GiB), so
    the parts are a guess; that they add up to `resident` is not.
    """
    left, parts = resident, []
    for file, size in sorted(files.items(), key=lambda item: (-item[1], item[0])):
        if size >= LARGE and left > 0:
            parts.append(MappedFile(file, min(size, left)))
            left = Bytes(left - parts[-1].size)
    if left > 0:
        parts.append(MappedFile(rest, left))
    return tuple(parts)


def _times(pid: int, root: Path) -> ProcessTimes | None:
    if _asks_psutil(root):
        memory = _from_psutil(pid, root)
        return None if memory is None else ProcessTimes(memory.started, memory.cpu)
    try:
        stat = parse_stat(read_once(f"{root}/proc/{pid}/stat"))
    except (OSError, ValueError, IndexError):
        return None
    if stat.has_ended:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return ProcessTimes(stat.started / ticks, Seconds(stat.cpu / ticks))


def _from_proc(pid: int, root: Path) -> ProcessMemory | None:
    folder = f"{root}/proc/{pid}"
    try:
        stat = parse_stat(read_once(f"{folder}/stat"))
        status = parse_status(read_once(f"{folder}/status"))
    except (OSError, ValueError, IndexError):
        return None
    if stat.has_ended:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return ProcessMemory(
        pid=pid,
        started=stat.started / ticks,
        anonymous=status.anonymous,
        mapped=_mapped(folder, pid, status.file),
        cpu=Seconds(stat.cpu / ticks),
        name=stat.name,
    )


def _mapped(folder: str, pid: int, resident: Bytes) -> tuple[MappedFile, ...]:
    try:
        program = os.stat(f"{folder}/exe")
        # With less than one large file resident there is nothing to tell apart.
        files = parse_maps(read_file(f"{folder}/maps")) if resident >= LARGE else {}
    except (OSError, ValueError):
        # Another user's process: its files are secret, so they are taken for its own alone.
        return share_out(resident, {}, f"pid:{pid}")
    major, minor = os.major(program.st_dev), os.minor(program.st_dev)
    return share_out(resident, files, f"exe:{major:02x}:{minor:02x}:{program.st_ino}")


def _from_psutil(pid: int, root: Path) -> ProcessMemory | None:
    """Where there is no /proc. A Mac tells what comes back as the footprint, with what the GPU
    holds and what is compressed; what is resident beyond it is pages of files. Elsewhere all
    that is resident counts as anonymous."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            cpu, footprint = process.cpu_times(), darwin.footprint(pid)
            resident = process.memory_info().rss
            file = 0 if footprint is None else resident - footprint
            return ProcessMemory(
                pid=pid,
                started=process.create_time(),
                anonymous=Bytes(resident) if footprint is None else footprint,
                mapped=(MappedFile(f"pid:{pid}", Bytes(file)),) if file > 0 else (),
                cpu=Seconds(cpu.user + cpu.system),
                name=process.name(),
            )
    except psutil.Error:
        return None


@cache
def _asks_psutil(root: Path) -> bool:
    """Is there no /proc to read? Below another root than this machine's, psutil knows nothing."""
    return root == HOST and not (root / "proc").is_dir()
