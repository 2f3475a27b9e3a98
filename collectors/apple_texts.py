"""macOS by text: the commands that print what a call did not answer, and Macs kept in files."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .darwin import Entry, Swap, VirtualMemory
from .reading import Bytes, mib

Run = Callable[[Sequence[str]], str]

MEMSIZE, CHIP, SWAP = "hw.memsize", "machdep.cpu.brand_string", "vm.swapusage"
LEVEL, WIRED = "kern.memorystatus_vm_pressure_level", "iogpu.wired_limit_mb"

# Full paths, as PATH is short under launchd. `sysctl` may stop at a name that it does not know:
# the only one that older systems lack comes last.
SYSCTL = ("/usr/sbin/sysctl", MEMSIZE, CHIP, SWAP, LEVEL, WIRED)
VM_STAT = ("/usr/bin/vm_stat",)
GPU_STATISTICS = ("/usr/sbin/ioreg", "-r", "-c", "IOAccelerator", "-d", "1", "-w", "0")
GPU_USERS = ("/usr/sbin/ioreg", "-r", "-c", "AGXDeviceUserClient", "-d", "1", "-w", "0")
FILES = {
    SYSCTL: "sysctl.txt",
    VM_STAT: "vm_stat.txt",
    GPU_STATISTICS: "ioreg.txt",
    GPU_USERS: "users.txt",
}

# The number of digits is bounded: what is none of our numbers may be endless.
_COUNTER = re.compile(r"^([A-Z][A-Za-z -]*):[ \t]+([0-9]{1,15})\.?[ \t]*$", re.MULTILINE)
_PAGE_SIZE = re.compile(r"page size of ([0-9]{1,9}) bytes")
_AMOUNT = re.compile(r"(total|free) = ([0-9]{1,12})\.([0-9]{2})M")
_STATISTICS = re.compile(r'"PerformanceStatistics" = \{([^}\n]*)\}')
_STATISTIC = re.compile(r'"([^"]+)"=([0-9]{1,18})(?![0-9])')
_USER = re.compile(r'"IOUserClientCreator" = "pid ([0-9]{1,9}), ([^"\n]*)"')
_PROCESS = re.compile(r"([0-9]{1,9}) ([0-9]{1,9}) ([0-9]{1,18}|-) (\S.*)")
_WHOLE = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Statistics:
    """The GPU driver's own numbers. What it does not tell is None."""

    utilization: float | None = None  # 0..1
    held: Bytes | None = None  # by all processes together


def run(argv: Sequence[str]) -> str:
    """What a command prints, whatever its exit status. Raises OSError or SubprocessError.

    With `close_fds` off, macOS starts it without a copy of this process first.
    """
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=1.0,
        env={**os.environ, "LC_ALL": "C"},
        close_fds=False,
        check=False,
    )
    return done.stdout.decode(errors="replace")


def parse_whole(text: str | None) -> int | None:
    return int(text) if text is not None and _WHOLE.fullmatch(text) else None


def parse_lines(text: str) -> dict[str, str]:
    """Lines of "name: value", as sysctl prints them."""
    pairs = (line.partition(": ") for line in text.splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def parse_vm_stat(text: str) -> VirtualMemory | None:
    """None where a counter is missing, without which too much would seem to be free."""
    page = _PAGE_SIZE.search(text)
    counters = {name: int(digits) for name, digits in _COUNTER.findall(text)}
    try:
        memory = VirtualMemory(
            page=int(page[1]) if page else 0,
            active=counters["Pages active"],
            inactive=counters["Pages inactive"],
            speculative=counters["Pages speculative"],
            wired=counters["Pages wired down"],
            compressor=counters["Pages occupied by compressor"],
            purgeable=counters["Pages purgeable"],
            external=counters["File-backed pages"],
            swapped=counters.get("Swapins", 0) + counters.get("Swapouts", 0),
        )
    except KeyError:
        return None
    return memory if memory.page and memory.wired else None


def parse_swapusage(text: str) -> Swap | None:
    """The value of vm.swapusage as it is printed: MiB with two decimals."""
    sizes = {name: mib(int(whole) + int(part) / 100) for name, whole, part in _AMOUNT.findall(text)}
    if len(sizes) < 2:
        return None
    return Swap(sizes["total"], min(sizes["free"], sizes["total"]))


def parse_statistics(text: str) -> Statistics:
    """What ioreg says of a Mac's GPU.

    Held is "Alloc system memory": "In use" is only what the GPU can reach just now, and falls
    when it has nothing to do: to 0.5 of 20 GiB on an M1 Pro with a model of 16 GiB loaded.
    """
    found = _STATISTICS.search(text)
    numbers = {name: int(digits) for name, digits in _STATISTIC.findall(found[1] if found else "")}
    busy = numbers.get("Device Utilization %")
    held = numbers.get("Alloc system memory", numbers.get("In use system memory"))
    return Statistics(
        utilization=None if busy is None else min(1.0, busy / 100),
        held=None if held is None else Bytes(held),
    )


def parse_users(text: str) -> dict[int, str]:
    """Names of the processes that use the GPU, by pid, from ioreg."""
    return {int(pid): name for pid, name in _USER.findall(text)}


def parse_processes(text: str) -> dict[int, tuple[Entry, Bytes | None]]:
    """Lines of "pid parent footprint name", with "-" for a footprint that could not be read."""
    found = {}
    for match in map(_PROCESS.fullmatch, text.splitlines()):
        if match:
            size = None if match[3] == "-" else Bytes(int(match[3]))
            found[int(match[1])] = Entry(int(match[1]), int(match[2]), match[4].rstrip()), size
    return found


class Recorded:
    """A Mac in files below `root`/macos: what its commands printed, in place of every call.

    What no command prints is in metal.txt ("recommendedMaxWorkingSetSize: bytes") and in
    processes.txt (see `parse_processes`). A file that is missing is a call that failed.
    """

    def __init__(self, root: Path) -> None:
        self._folder = root / "macos"

    def run(self, argv: Sequence[str]) -> str:
        return (self._folder / FILES[tuple(argv)]).read_text(errors="replace")

    def sysctl(self, name: str) -> None:
        return None

    def memory(self) -> None:
        return None

    def working_set(self) -> Bytes | None:
        size = parse_whole(parse_lines(self._read("metal.txt")).get("recommendedMaxWorkingSetSize"))
        return Bytes(size) if size else None

    def footprint(self, pid: int) -> Bytes | None:
        known = self._table().get(pid)
        return None if known is None else known[1]

    def processes(self) -> list[Entry] | None:
        return [entry for entry, _ in self._table().values()] or None

    def _table(self) -> Mapping[int, tuple[Entry, Bytes | None]]:
        return parse_processes(self._read("processes.txt"))

    def _read(self, name: str) -> str:
        try:
            return (self._folder / name).read_text(errors="replace")
        except OSError:
            return ""
