"""Windows, just enough: RAM with its commit limit, and who holds memory of NVIDIA GPUs.

How much of a GPU is free its driver tells (NVML). Who holds it, Windows' own memory manager
hides from the driver, and tells as a performance counter by process and adapter. An adapter is
known there by a number of its own (LUID), and DirectX notes which name it has.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import psutil

from . import win32
from .nvml import Nvml, NvmlError
from .process import name_of
from .reading import Bytes, Holder, PoolId, Sample, Seconds, Tier
from .win32 import Adapter, Commit

DEDICATED = r"\GPU Process Memory(*)\Dedicated Usage"  # bytes of memory on the adapter
NVIDIA = 0x10DE  # on PCI

UNMATCHED = "who holds memory of {} is not told: its driver and Windows do not name it alike"

# As "pid_1234_luid_0x00000000_0x0000ABCD_phys_0". Two of one name are told apart by "#1".
_INSTANCE = re.compile(
    r"pid_([0-9]{1,10})_luid_0x([0-9a-f]{1,8})_0x([0-9a-f]{1,8})_phys_[0-9]{1,4}(?:#[0-9]{1,6})?",
    re.IGNORECASE | re.ASCII,
)


class Instance(NamedTuple):
    """What a counter's value is of. A GPU that is several linked ones has as many instances."""

    pid: int
    luid: int


class Memory(Protocol):
    """As psutil.virtual_memory() gives it, in bytes."""

    @property
    def total(self) -> int: ...
    @property
    def available(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Ram:
    """Bytes. `available` is what programs can still be given."""

    total: int
    available: int


def present() -> bool:
    """Is this Windows?"""
    return sys.platform == "win32"


def memory(
    ask: Callable[[], Memory] = psutil.virtual_memory,
    commit: Callable[[], Commit | None] = win32.commit,
) -> Ram:
    """RAM, of which no more is available than the system may still promise.

    Allocations fail at the commit limit, RAM and page files together, and what was promised
    counts before it is used. Where that cannot be read, RAM alone counts.
    """
    ram, promised = ask(), commit()
    if promised is None:
        return Ram(ram.total, ram.available)
    return Ram(ram.total, min(ram.available, max(0, promised.limit - promised.charged)))


def parse(name: str) -> Instance | None:
    """An instance's name. None for any other text."""
    match = _INSTANCE.fullmatch(name)
    if match is None:
        return None
    return Instance(int(match[1]), int(match[2], 16) << 32 | int(match[3], 16))


def sizes(values: Mapping[str, float]) -> dict[Instance, Bytes]:
    """Bytes by process and adapter, of whoever holds any, from the counter's values."""
    found: Counter[Instance] = Counter()
    for name, value in values.items():
        instance = parse(name)
        if instance is not None and 0 < value < 2**63:
            found[instance] += int(value)
    return {instance: Bytes(size) for instance, size in found.items() if size}


def match(adapters: Iterable[Adapter], gpus: Mapping[str, str]) -> dict[int, str]:
    """LUID → UUID, of GPUs (UUID → name) whose adapter is beyond doubt: no other has its name,
    or there is just one of both."""
    own = {adapter.luid: adapter.name for adapter in adapters if adapter.vendor == NVIDIA}
    if len(own) == len(gpus) == 1:
        return dict(zip(own, gpus, strict=True))
    named = {name: uuid for uuid, name in gpus.items()}
    seen = Counter([*own.values(), *gpus.values()])
    return {
        luid: named[name]
        for luid, name in own.items()
        if name in named and seen[name] == 2  # one adapter and one GPU
    }


def nvidia_gpus() -> dict[str, str]:
    """UUID → name of every GPU that the driver lists. Empty without one."""
    try:
        library = Nvml()
        library.start()
    except (NvmlError, OSError):
        return {}
    try:
        handles = [library.handle(index) for index in range(library.count())]
        return {library.uuid(handle): library.name(handle) for handle in handles}
    except NvmlError:
        return {}
    finally:
        library.stop()


class WindowsCollector:
    """Processes that hold memory of NVIDIA GPUs, with its size. The arguments are ways to ask."""

    name = "windows"
    deadline = Seconds(2.0)

    def __init__(
        self,
        query: Callable[[str], Mapping[str, float]] = win32.counters,
        adapters: Callable[[], Sequence[Adapter]] = win32.adapters,
        gpus: Callable[[], Mapping[str, str]] = nvidia_gpus,
    ) -> None:
        self._query, self._adapters, self._gpus = query, adapters, gpus
        self._cards: dict[int, str] = {}  # NVIDIA adapters that are in use, LUID → name
        self._pools: dict[int, PoolId] = {}  # of those, whose pool is known

    def read(self, tiers: Tier) -> Sample:
        """Raises CollectorError where Windows has no such counters: before version 1709."""
        if Tier.PROCESSES not in tiers:
            return Sample()
        told = sizes(self._query(DEDICATED))
        self._identify({instance.luid for instance in told})
        return Sample(
            holders=tuple(
                Holder(pid, self._pools[luid], size, name_of(pid))
                for (pid, luid), size in sorted(told.items())
                if luid in self._pools
            ),
            notes=tuple(
                UNMATCHED.format(name)
                for luid, name in self._cards.items()
                if luid not in self._pools
            ),
        )

    def _identify(self, live: set[int]) -> None:
        """DirectX keeps adapters that are gone: those count whose memory somebody holds."""
        if self._cards.keys() == live == self._pools.keys():
            return  # as mostly: there is nothing but NVIDIA's, and all is known
        known = [a for a in self._adapters() if a.luid in live and a.vendor == NVIDIA]
        cards = {adapter.luid: adapter.name for adapter in known}
        if cards != self._cards or len(cards) > len(self._pools):
            self._cards = cards
            gpus = self._gpus() if cards else {}
            self._pools = {luid: PoolId(uuid) for luid, uuid in match(known, gpus).items()}
