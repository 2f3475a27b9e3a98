"""What processes hold of RAM, and how they were started."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from .reading import Bytes, MappedFile, ProcessMemory, ProcessTimes, Seconds, mib

HOST = Path("/")
# Smaller mappings are locale data, fonts and libraries: they are summed under the program.
LARGE = mib(16)
ENDED = ("Z", "X")  # states of a process whose memory is back

# low-high rights offset device inode path. What lies in /dev is a device or shared memory, no
# file. One expression over the whole text takes 1.1 us a mapping here, splitting lines 2.7 us.
_MAPPING = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) ..(.). [0-9a-f]+ ([0-9a-f:]+ [0-9]+) +(/(?!dev/).*)$", re.MULTILINE
)


def read_processes(pids: Iterable[int], root: Path = HOST) -> dict[int, ProcessMemory]:
    """RAM of each process by pid. One that is gone, or may not be looked at, is absent."""
    read = _from_proc if (root / "proc").is_dir() else _from_psutil
    found = ((pid, read(pid, root)) for pid in set(pids))
    return {pid: memory for pid, memory in found if memory is not None}


def read_times(pids: Iterable[int], root: Path = HOST) -> dict[int, ProcessTimes]:
    """Start and CPU time of each process by pid, at a tenth of what its memory costs to read."""
    found = {pid: _times(pid, root) for pid in set(pids)}
    return {pid: times for pid, times in found.items() if times is not None}


def list_commands(root: Path = HOST) -> dict[int, tuple[str, ...]]:
    """The command line of every process that has one, by pid."""
    if not (root / "proc").is_dir():
        running = psutil.process_iter(["cmdline"])
        commands = ((p.pid, tuple(p.info["cmdline"] or ())) for p in running)
    else:
        commands = ((pid, _command(root, pid)) for pid in _pids(root))
    return {pid: argv for pid, argv in commands if argv}


def name_of(pid: int, root: Path = HOST) -> str | None:
    """The program's name, for people. None where it cannot be had."""
    if (root / "proc").is_dir():
        try:
            return (root / f"proc/{pid}/comm").read_text(errors="replace").strip() or None
        except OSError:
            return None
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return None


@dataclass(frozen=True, slots=True)
class Stat:
    """The part of /proc/PID/stat that we need. Times in clock ticks, `started` since boot."""

    name: str
    state: str
    cpu: int
    started: int


@dataclass(frozen=True, slots=True)
class Status:
    """The part of /proc/PID/status that we need, in bytes. All 0 for a kernel thread."""

    anonymous: Bytes  # RssAnon + RssShmem, and file pages that are locked: not "available" either
    file: Bytes  # the rest of RssFile


def parse_stat(data: bytes) -> Stat:
    """The name stands in parentheses and may itself contain blanks and parentheses."""
    opened, closed = data.index(b"("), data.rindex(b")")
    fields = data[closed + 1 :].split()
    return Stat(
        name=data[opened + 1 : closed].decode(errors="replace"),
        state=fields[0].decode(errors="replace"),
        cpu=int(fields[11]) + int(fields[12]),
        started=int(fields[19]),
    )


def parse_status(data: bytes) -> Status:
    sizes = {}
    for line in data.splitlines():
        key, _, value = line.partition(b":")
        if key in (b"RssAnon", b"RssShmem", b"RssFile", b"VmLck"):
            sizes[key] = int(value.split()[0]) * 1024
    file = sizes.get(b"RssFile", 0)
    locked = min(file, sizes.get(b"VmLck", 0))
    held = sizes.get(b"RssAnon", 0) + sizes.get(b"RssShmem", 0) + locked
    return Status(Bytes(held), Bytes(file - locked))


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
    if not (root / "proc").is_dir():
        memory = _from_psutil(pid, root)
        return None if memory is None else ProcessTimes(memory.started, memory.cpu)
    try:
        stat = parse_stat(_read(f"{root}/proc/{pid}/stat"))
    except (OSError, ValueError, IndexError):
        return None
    if stat.state in ENDED:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return ProcessTimes(stat.started / ticks, Seconds(stat.cpu / ticks))


def _from_proc(pid: int, root: Path) -> ProcessMemory | None:
    folder = f"{root}/proc/{pid}"
    try:
        stat = parse_stat(_read(f"{folder}/stat"))
        status = parse_status(_read(f"{folder}/status"))
    except (OSError, ValueError, IndexError):
        return None
    if stat.state in ENDED:
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
        files = parse_maps(_read(f"{folder}/maps")) if resident >= LARGE else {}
    except (OSError, ValueError):
        # Another user's process: its files are secret, so they are taken for its own alone.
        return share_out(resident, {}, f"pid:{pid}")
    major, minor = os.major(program.st_dev), os.minor(program.st_dev)
    return share_out(resident, files, f"exe:{major:02x}:{minor:02x}:{program.st_ino}")


def _from_psutil(pid: int, root: Path) -> ProcessMemory | None:
    """Where there is no /proc: all that is resident counts as anonymous."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            cpu = process.cpu_times()
            return ProcessMemory(
                pid=pid,
                started=process.create_time(),
                anonymous=Bytes(process.memory_info().rss),
                mapped=(),
                cpu=Seconds(cpu.user + cpu.system),
                name=process.name(),
            )
    except psutil.Error:
        return None


def _pids(root: Path) -> Iterator[int]:
    return (int(name) for name in os.listdir(root / "proc") if name.isdecimal())


def _command(root: Path, pid: int) -> tuple[str, ...]:
    try:
        data = _read(f"{root}/proc/{pid}/cmdline").rstrip(b"\0")
    except OSError:
        return ()
    return tuple(data.decode(errors="replace").split("\0")) if data else ()


def _read(path: str) -> bytes:
    """Unbuffered, as /proc files have no size: half the time of Path.read_bytes."""
    with open(path, "rb", buffering=0) as file:
        return file.read()
