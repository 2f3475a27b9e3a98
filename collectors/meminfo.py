"""What Linux says about RAM as a whole: /proc/meminfo, vmstat, zram, and nodes without a CPU.

The parsers take any text: what does not stand in it in the kernel's own form is None.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .kept import Kept
from .reading import Bytes, NumaNode

# One expression over the whole text takes 8 us here; a dictionary of all of its lines takes 18.
_KEYS = (
    rb"MemTotal|MemFree|MemAvailable|Active\(file\)|Inactive\(file\)|Mlocked|SwapTotal|SwapFree|"
    rb"Zswap|AnonPages|Shmem|SReclaimable|SUnreclaim|KernelStack|PageTables|SecPageTables|Bounce|Percpu|"
    rb"VmallocUsed|HugePages_Total|HugePages_Free|Hugepagesize|Hugetlb|"
    rb"CommitLimit|Committed_AS"
)
_MEMINFO = re.compile(rb"\n(" + _KEYS + rb"): +([0-9]{1,18})(?![0-9])")
_NODE = re.compile(rb"^Node [0-9]+ +", re.MULTILINE)
_VMSTAT = re.compile(
    rb"\n(pswpin|pswpout|oom_kill|workingset_refault|workingset_refault_file) "
    rb"([0-9]{1,18})(?![0-9])"
)
_ZRAM = re.compile(r"^(?:/dev/)?(zram[0-9]{1,9})\s", re.MULTILINE | re.ASCII)
_HUGE = "sys/kernel/mm/hugepages"


@dataclass(frozen=True, slots=True)
class Meminfo:
    """RAM of the whole machine. What only Linux tells is None elsewhere."""

    total: Bytes
    available: Bytes  # never more than `total`
    swap_total: Bytes
    swap_free: Bytes
    anonymous: Bytes | None = None
    shared: Bytes | None = None
    tables: Bytes | None = None  # page tables of processes
    locked: Bytes | None = None  # anonymous or not
    kernel: Bytes | None = None  # what it cannot drop
    zswap: Bytes | None = None  # RAM that holds compressed swap in front of a swap device
    huge: Bytes | None = None  # pages of every size
    huge_free: Bytes | None = None  # pages of the usual size
    all_usual: bool = True  # no huge pages but those of the usual size


@dataclass(frozen=True, slots=True)
class Vmstat:
    """Counts since boot."""

    swapped: int | None = None  # pages, in and out
    oom_kills: int | None = None  # in control groups too
    refaults: int | None = None  # file pages read back soon after they were dropped


def parse(data: bytes) -> Meminfo | None:
    """/proc/meminfo. None where it does not even say how much there is."""
    found = _fields(data)
    total = found.get(b"MemTotal", 0) * 1024
    if not total:
        return None
    size = {key: value * 1024 for key, value in found.items()}
    swap = size.get(b"SwapTotal", 0)
    usual = found.get(b"HugePages_Total")
    page = size.get(b"Hugepagesize")
    huge = huge_free = None
    if usual is not None and page is not None:
        huge = max(usual * page, size.get(b"Hugetlb", 0))
        huge_free = min(huge, found.get(b"HugePages_Free", 0) * page)
    return Meminfo(
        total=Bytes(total),
        available=Bytes(min(total, _available(size, total))),
        swap_total=Bytes(swap),
        swap_free=Bytes(min(swap, size.get(b"SwapFree", 0))),
        anonymous=_known(size.get(b"AnonPages")),
        shared=_known(size.get(b"Shmem")),
        tables=_known(size.get(b"PageTables")),
        locked=_known(size.get(b"Mlocked")),
        kernel=_kernel(size),
        zswap=_known(size.get(b"Zswap")),
        huge=_known(huge),
        huge_free=_known(huge_free),
        all_usual=huge is None or huge == (usual or 0) * (page or 0),
    )


def unpromised(data: bytes) -> Bytes:
    """/proc/meminfo → what the system has not promised to anybody yet: it counts where that
    promises no more than it has. Raises KeyError where it does not say."""
    found = _fields(data)
    return Bytes((found[b"CommitLimit"] - found[b"Committed_AS"]) * 1024)


def parse_vmstat(data: bytes) -> Vmstat:
    """/proc/vmstat."""
    found = {key: int(value) for key, value in _VMSTAT.findall(b"\n" + data)}
    moved = (found.get(b"pswpin"), found.get(b"pswpout"))
    # Before Linux 5.9 there was one count, of file pages alone.
    refaults = found.get(b"workingset_refault_file", found.get(b"workingset_refault"))
    return Vmstat(
        swapped=None if None in moved else sum(n for n in moved if n is not None),
        oom_kills=found.get(b"oom_kill"),
        refaults=refaults,
    )


def huge_free(root: Path) -> Bytes | None:
    """Huge pages of every size that nobody uses. Asked only where there are unusual ones."""
    total = 0
    try:
        for folder in (root / _HUGE).iterdir():
            kib = int(folder.name.removeprefix("hugepages-").removesuffix("kB"))
            total += kib * 1024 * int((folder / "free_hugepages").read_text())
    except (OSError, ValueError):
        return None
    return Bytes(total)


def zram_devices(root: Path) -> tuple[Kept, ...] | None:
    """The accounts of the zram devices that swap is on. None: nobody can tell which."""
    try:
        swaps = (root / "proc/swaps").read_text(errors="replace")
    except OSError:
        return None
    return tuple(Kept(root / f"sys/block/{name}/mm_stat") for name in _ZRAM.findall(swaps))


def zram_used(devices: Iterable[Kept]) -> Bytes | None:
    """The RAM that they take up together. None where one of them does not say."""
    used = 0
    try:
        for device in devices:
            used += int(device.read().split()[2])  # orig, compressed, mem_used_total
    except (OSError, ValueError, IndexError):
        return None
    return Bytes(max(0, used))


def cpuless_nodes(root: Path) -> tuple[tuple[int, Kept], ...]:
    """NUMA nodes that have no CPU, with the file that tells what memory they have."""
    found = []
    for folder in (root / "sys/devices/system/node").glob("node[0-9]*"):
        number = folder.name.removeprefix("node")
        try:
            cpus = (folder / "cpulist").read_text().strip()
        except (OSError, ValueError):
            continue
        if number.isdecimal() and not cpus:
            found.append((int(number), Kept(folder / "meminfo")))
    return tuple(sorted(found, key=lambda node: node[0]))


def read_nodes(nodes: Iterable[tuple[int, Kept]]) -> Iterator[NumaNode]:
    """What those nodes have now. One without memory, or that cannot be read, is left out."""
    for number, file in nodes:
        try:
            found = _fields(_NODE.sub(b"", file.read()))
        except OSError:
            continue
        size = {key: value * 1024 for key, value in found.items()}
        if total := size.get(b"MemTotal", 0):
            # File pages are free here as they are in MemAvailable, from which this is taken off.
            free = sum(size.get(k, 0) for k in (b"MemFree", b"Active(file)", b"Inactive(file)"))
            yield NumaNode(number, Bytes(total), Bytes(min(total, free)))


def _fields(data: bytes) -> dict[bytes, int]:
    """The lines we need, as they stand: most in KiB, HugePages_ in pages."""
    return {key: int(value) for key, value in _MEMINFO.findall(b"\n" + data)}


def _available(size: dict[bytes, int], total: int) -> int:
    """What programs can be given without swapping."""
    free, told = size.get(b"MemFree", 0), size.get(b"MemAvailable")
    # Some containers say 0 while most of the memory is free; a true 0 comes with hardly any.
    if told is not None and (told > 0 or free < total // 8):
        return told
    # Before Linux 3.14. Half of what can be dropped: the kernel's own estimate is never lower
    # than that, but for the little it keeps for itself.
    cached = (b"Active(file)", b"Inactive(file)", b"SReclaimable")
    return free + sum(size.get(key, 0) for key in cached) // 2


def _kernel(size: dict[bytes, int]) -> Bytes | None:
    """Page tables of processes are not in it: they count as theirs, and come back with them.

    Stacks lie in vmalloc's memory (VMAP_STACK, on every common kernel), so the larger of the
    two counts. Not in it: what drivers take page by page, which no line of meminfo tells.
    """
    slabs = size.get(b"SUnreclaim")
    if slabs is None:
        return None
    others = (b"SecPageTables", b"Percpu", b"Bounce")
    stacks = max(size.get(b"KernelStack", 0), size.get(b"VmallocUsed", 0))
    return Bytes(slabs + stacks + sum(size.get(key, 0) for key in others))


def _known(size: int | None) -> Bytes | None:
    return None if size is None else Bytes(size)
