"""RAM: what the kernel says is available, within the limits of our control groups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import psutil

from . import cgroup
from .reading import RAM, Bytes, HostFacts, MemoryPool, PoolKind, Sample, Seconds


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
    """One pool, RAM. `root` is where /proc and /sys are looked for."""

    name = "host"
    deadline = Seconds(1.0)

    def __init__(
        self,
        root: Path = Path("/"),
        memory: Callable[[], Memory] = psutil.virtual_memory,
        swap: Callable[[], Swap] = psutil.swap_memory,
    ) -> None:
        self._root, self._memory, self._swap = root, memory, swap

    def read(self, *, holders: bool) -> Sample:
        """Total, free and limits of RAM. Raises CollectorError where a limit cannot be judged."""
        memory, swap = self._memory(), self._swap()
        limits = cgroup.limits(self._root)
        lowest = min(limits, key=lambda found: found.limit, default=None)
        total = min([memory.total, *(found.limit for found in limits)])
        free = min([memory.available, *(found.room for found in limits)])
        return Sample(
            pools=(MemoryPool(RAM, PoolKind.HOST, Bytes(total), Bytes(min(free, total))),),
            host=HostFacts(
                swap_total=Bytes(swap.total),
                swap_free=Bytes(swap.free),
                limit=None if lowest is None else lowest.limit,
                limited_by=None if lowest is None else lowest.file,
            ),
        )
