"""Macs: one body of memory for CPU and GPU, the limit that macOS sets the GPU, and its pressure.

Numbers come by calls (darwin.py). Where a call fails, or answers with a structure that is not
the one we know, the text of the command that prints the same number is read (apple_texts.py).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from . import apple_texts as texts
from .darwin import (
    Darwin,
    Entry,
    Swap,
    System,
    VirtualMemory,
    parse_integer,
    parse_string,
    parse_swap,
)
from .errors import CollectorError
from .reading import (
    NONE,
    RAM,
    Bytes,
    Carveout,
    Device,
    Health,
    Holder,
    HostFacts,
    Level,
    MemoryPool,
    PoolKind,
    Process,
    Sample,
    Seconds,
    Tier,
    mib,
)

HERE = Path("/")
GPU = "apple-gpu"  # the Device.uuid: a Mac has one, and it cannot be changed
LEVELS = {1: Level.NORMAL, 2: Level.WARNING, 4: Level.CRITICAL}

GUESSED = "nobody says how much the GPU may hold: two thirds of RAM is a guess"
HIDDEN = "what other users' processes hold cannot be read, except by root"
INTEL = "the GPUs of Intel Macs are not read"
NO_SWAP = "neither swap nor memory pressure can be read"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the sysctls say. None: it could not be read."""

    memsize: int | None = None  # bytes
    chip: str | None = None
    swap: Swap | None = None
    level: int | None = None
    wired: int | None = None  # MiB that the operator lets the GPU wire; 0: macOS decides

    @property
    def intel(self) -> bool:
        return self.chip is not None and "Apple" not in self.chip


def present(root: Path = HERE) -> bool:
    """Is this a Mac, or the record of one?"""
    return sys.platform == "darwin" if root == HERE else (root / "macos").is_dir()


def by_calls(sysctl: Callable[[str], bytes | None]) -> Facts:
    """A value that cannot be had, or is empty, is None."""
    return Facts(
        memsize=parse_integer(sysctl(texts.MEMSIZE) or b""),
        chip=parse_string(sysctl(texts.CHIP) or b""),
        swap=parse_swap(sysctl(texts.SWAP) or b""),
        level=parse_integer(sysctl(texts.LEVEL) or b""),
        wired=parse_integer(sysctl(texts.WIRED) or b""),
    )


def by_text(text: str) -> Facts:
    said = texts.parse_lines(text)
    return Facts(
        memsize=texts.parse_whole(said.get(texts.MEMSIZE)),
        chip=said.get(texts.CHIP) or None,
        swap=texts.parse_swapusage(said.get(texts.SWAP, "")),
        level=texts.parse_whole(said.get(texts.LEVEL)),
        wired=texts.parse_whole(said.get(texts.WIRED)),
    )


def limit_of(
    total: Bytes, wired: int | None, working_set: Callable[[], Bytes | None]
) -> tuple[Bytes, bool]:
    """How many bytes the GPU may hold, and whether that is a guess. Never more than there are.

    The share that macOS takes by itself grows with RAM, from 2/3 to 84 %, and changes with its
    releases: it is asked for and never computed. 2/3 is the least that was ever seen.
    """
    if wired is not None and wired > 0:
        return min(total, mib(wired)), False
    size = working_set()
    return (Bytes(total * 2 // 3), True) if size is None else (min(total, size), False)


class AppleCollector:
    """RAM as one pool of CPU and GPU, and the GPU. Below another `root`, a Mac on record."""

    name = "host"  # as on other systems: it is what reads RAM
    deadline = Seconds(2.0)

    def __init__(
        self, root: Path = HERE, system: System | None = None, run: texts.Run | None = None
    ) -> None:
        recorded = None if root == HERE else texts.Recorded(root)
        self._system: System = system or recorded or Darwin()
        self._run = run or (recorded.run if recorded else texts.run)

    def read(self, tiers: Tier) -> Sample:
        """Raises CollectorError where RAM itself cannot be read."""
        facts = self._facts()
        if facts.memsize is None or facts.memsize <= 0:
            raise CollectorError("macOS does not say how much RAM there is")
        total = Bytes(facts.memsize)
        memory = self._memory(total)
        if memory is None:
            raise CollectorError("macOS does not say how much RAM is in use")
        ram = MemoryPool(
            RAM,
            PoolKind.HOST if facts.intel else PoolKind.UNIFIED,
            total,
            Bytes(max(0, total - memory.used)),
        )
        sample = Sample(
            pools=(ram,),
            host=_host(total, memory, facts),
            notes=(NO_SWAP,) if facts.swap is None else (),
        )
        if facts.intel:
            sample = replace(sample, notes=(*sample.notes, INTEL))
        else:
            sample = self._with_gpu(sample, total, facts, tiers)
        return self._with_processes(sample) if Tier.PROCESSES in tiers else sample

    def _facts(self) -> Facts:
        facts = by_calls(self._system.sysctl)
        if None not in (facts.memsize, facts.chip, facts.swap, facts.level):
            return facts  # that there is no setting for the GPU is no reason to ask again
        other = by_text(self._text(texts.SYSCTL))
        missing = (f.name for f in fields(Facts) if getattr(facts, f.name) is None)
        return replace(facts, **{name: getattr(other, name) for name in missing})

    def _memory(self, total: Bytes) -> VirtualMemory | None:
        memory = self._system.memory()
        if memory is None or memory.held > total:  # more than there is: the structure has changed
            return texts.parse_vm_stat(self._text(texts.VM_STAT)) or memory
        return memory

    def _with_gpu(self, sample: Sample, total: Bytes, facts: Facts, tiers: Tier) -> Sample:
        limit, guessed = limit_of(total, facts.wired, self._system.working_set)
        told = texts.Statistics()
        if tiers & (Tier.HEALTH | Tier.PROCESSES):  # some 10 ms
            told = texts.parse_statistics(self._text(texts.GPU_STATISTICS))
        return replace(
            sample,
            devices=(Device(GPU, RAM, facts.chip or "Apple GPU", index=0, vendor="apple"),),
            carveouts=(Carveout(GPU, total=NONE, free=NONE, limit=limit, used=told.held),),
            health={GPU: Health(utilization=told.utilization)} if Tier.HEALTH in tiers else None,
            notes=(*sample.notes, GUESSED) if guessed else sample.notes,
        )

    def _with_processes(self, sample: Sample) -> Sample:
        """Of every process that lets itself be read, its footprint; of the others, whether they
        use the GPU: what they hold of it is secret, and that they do is worth knowing."""
        listed = self._system.processes()
        if listed is None:
            return sample
        entries = {e.pid: e for e in listed if e.pid}  # 0 is the kernel
        sizes = {pid: self._system.footprint(pid) for pid in entries}
        hidden = [pid for pid, size in sizes.items() if size is None]
        return replace(
            sample,
            processes=tuple(
                _process(entries[pid], size) for pid, size in sizes.items() if size is not None
            ),
            holders=self._users(hidden) if sample.devices else None,
            notes=(*sample.notes, HIDDEN) if 1 in hidden else sample.notes,  # 1 is always root's
        )

    def _users(self, hidden: Collection[int]) -> tuple[Holder, ...] | None:
        if not hidden:
            return ()
        text = self._text(texts.GPU_USERS)
        users = sorted(texts.parse_users(text).items())
        found = tuple(Holder(pid, RAM, None, name or None) for pid, name in users if pid in hidden)
        return found if text else None

    def _text(self, argv: Sequence[str]) -> str:
        try:
            return self._run(argv)
        except (OSError, subprocess.SubprocessError):
            return ""


def _process(entry: Entry, size: Bytes) -> Process:
    return Process(entry.pid, entry.parent, entry.name, anonymous=size, file=NONE)


def _host(total: Bytes, memory: VirtualMemory, facts: Facts) -> HostFacts | None:
    if facts.swap is None:
        return None
    return HostFacts(
        swap_total=facts.swap.total,
        swap_free=facts.swap.free,
        physical=total,
        compressed=Bytes(memory.compressor * memory.page),
        swapped=memory.swapped,
        level=None if facts.level is None else LEVELS.get(facts.level),
    )
