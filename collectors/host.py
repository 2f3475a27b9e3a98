"""RAM: what the kernel says is available, within the limits of our control groups."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import psutil

from . import cgroup, meminfo, pressure
from .errors import CollectorError
from .kept import Kept
from .meminfo import Meminfo, Vmstat
from .reading import (
    RAM,
    Bytes,
    HostFacts,
    MemoryPool,
    NumaNode,
    PoolKind,
    Pressure,
    Process,
    Sample,
    Seconds,
    Tier,
)
from .table import ProcessTable

HOST = Path("/")
INVENTORY = Seconds(60.0)  # how often is looked what there is to read: groups, zram, nodes


class Memory(Protocol):
    """As psutil.virtual_memory() gives it, in bytes."""

    @property
    def total(self) -> int: ...
    @property
    def available(self) -> int: ...


class Swap(Protocol):
    """As psutil.swap_memory() gives it, in bytes."""

    @property
    def total(self) -> int: ...
    @property
    def free(self) -> int: ...


class HostCollector:
    """One pool, RAM. `root` is where /proc and /sys are looked for.

    `memory` and `swap` are asked where there is no /proc/meminfo: psutil, but of another root
    than this machine's own it knows nothing.
    """

    name = "host"
    deadline = Seconds(1.0)

    def __init__(
        self,
        root: Path = HOST,
        memory: Callable[[], Memory] | None = None,
        swap: Callable[[], Swap] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        here = root == HOST
        self._memory = memory or (psutil.virtual_memory if here else None)
        self._swap = swap or (psutil.swap_memory if here else None)
        self._root, self._clock = root, clock
        self._meminfo = Kept(root / "proc/meminfo")
        self._vmstat = Kept(root / "proc/vmstat")
        self._pressure = Kept(root / pressure.FILE)
        self._groups = cgroup.Groups(root)
        self._table = ProcessTable(root)
        self._zram: tuple[Kept, ...] | None = None
        self._nodes: tuple[tuple[int, Kept], ...] = ()
        self._looked_at: float | None = None

    def read(self, tiers: Tier) -> Sample:
        """Total, free and limits of RAM. Raises CollectorError where a limit cannot be judged."""
        self._look_around()
        memory = self._read_memory()
        limits = self._groups.limits()
        lowest = min(limits, key=lambda found: found.limit, default=None)
        total = min([memory.total, *(found.limit for found in limits)])
        free = min([memory.available, total, *(found.room for found in limits)])
        counted = self._read_vmstat()
        return Sample(
            pools=(MemoryPool(RAM, PoolKind.HOST, Bytes(total), Bytes(free)),),
            processes=self._read_processes() if Tier.PROCESSES in tiers else None,
            host=HostFacts(
                swap_total=memory.swap_total,
                swap_free=memory.swap_free,
                limit=None if lowest is None else lowest.limit,
                limited_by=None if lowest is None else lowest.file,
                physical=memory.total,
                available=memory.available,
                anonymous=memory.anonymous,
                shared=memory.shared,
                tables=memory.tables,
                locked=memory.locked,
                kernel=memory.kernel,
                huge=memory.huge,
                huge_free=memory.huge_free,
                zram=self._compressed(memory),
                swapped=counted.swapped,
                oom_kills=counted.oom_kills,
                refaults=counted.refaults,
                pressure=self._read_pressure(),
                nodes=self._read_nodes(),
            ),
        )

    def _look_around(self) -> None:
        now = self._clock()
        if self._looked_at is None or now - self._looked_at >= INVENTORY:
            self._looked_at = now
            self._groups.look_again()
            self._zram = meminfo.zram_devices(self._root)
            self._nodes = meminfo.cpuless_nodes(self._root)

    def _read_memory(self) -> Meminfo:
        try:
            told = meminfo.parse(self._meminfo.read())
        except OSError as error:
            return self._ask(error)
        if told is None:
            raise CollectorError(f"{self._meminfo.path} does not say how much RAM there is")
        if not told.all_usual:
            return replace(told, huge_free=meminfo.huge_free(self._root))
        return told

    def _ask(self, error: OSError) -> Meminfo:
        """RAM of a system without /proc/meminfo."""
        if self._memory is None or self._swap is None:
            raise CollectorError(f"{self._meminfo.path}: {error.strerror}") from error
        memory, swap = self._memory(), self._swap()
        return Meminfo(
            total=Bytes(memory.total),
            available=Bytes(memory.available),
            swap_total=Bytes(swap.total),
            swap_free=Bytes(swap.free),
        )

    def _read_vmstat(self) -> Vmstat:
        # The count of kills has those in control groups in it: memory.events adds nothing.
        try:
            return meminfo.parse_vmstat(self._vmstat.read())
        except OSError:
            return Vmstat()

    def _read_pressure(self) -> Pressure | None:
        try:
            return pressure.parse(self._pressure.read())
        except OSError:
            return None

    def _read_nodes(self) -> tuple[NumaNode, ...]:
        return tuple(meminfo.read_nodes(self._nodes))

    def _read_processes(self) -> tuple[Process, ...] | None:
        try:
            return self._table.read()
        except CollectorError:
            return None

    def _compressed(self, memory: Meminfo) -> Bytes | None:
        """RAM that holds compressed swap, on zram and in front of a device."""
        used = None if self._zram is None else meminfo.zram_used(self._zram)
        return None if used is None else Bytes(used + (memory.zswap or 0))
