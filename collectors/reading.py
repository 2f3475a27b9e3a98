"""What the machine says about itself: the nouns every other file speaks.

Sizes are whole bytes. Times are seconds on the monotonic clock. A value that
could not be read is None: never 0, never -1, never "N/A".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NewType, Protocol

Bytes = NewType("Bytes", int)
Seconds = NewType("Seconds", float)
PoolId = NewType("PoolId", str)

NONE = Bytes(0)
RAM = PoolId("ram")  # the one pool that every machine has


def mib(n: float) -> Bytes:
    return Bytes(int(n * 1024**2))


def gib(n: float) -> Bytes:
    return Bytes(int(n * 1024**3))


class PoolKind(Enum):
    """Who shares these bytes."""

    DEDICATED = "dedicated"  # one accelerator alone
    UNIFIED = "unified"  # CPU and accelerator, one body of memory
    HOST = "host"  # the CPU alone


@dataclass(frozen=True, slots=True)
class MemoryPool:
    """One body of memory. Every byte of the machine is in exactly one pool.

    `total` is what programs can be given: what the driver and its firmware keep
    for themselves (`reserved`) is already taken off.
    """

    id: PoolId
    kind: PoolKind
    total: Bytes
    free: Bytes
    reserved: Bytes = NONE

    def __post_init__(self) -> None:
        if not 0 <= self.free <= self.total:
            raise ValueError(f"{self.id}: free {self.free} is not within 0..{self.total}")
        if self.reserved < 0:
            raise ValueError(f"{self.id}: reserved {self.reserved} is negative")

    @property
    def used(self) -> Bytes:
        return Bytes(self.total - self.free)


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator: who it is, which pool it draws from, and how it feels.

    `uuid` names it everywhere; `index` is only the order in which its driver lists it.
    """

    uuid: str
    pool: PoolId
    name: str
    index: int
    vendor: str
    driver: str | None = None
    pci: str | None = None  # as in sysfs: 0000:01:00.0
    utilization: float | None = None  # 0..1: share of the last moments in which a kernel ran
    temperature: float | None = None  # degrees Celsius
    power: float | None = None  # watts
    energy: float | None = None  # joules since the driver was loaded


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds memory of a pool. `size` is None where the driver will not say."""

    pid: int
    pool: PoolId
    size: Bytes | None
    name: str | None = None  # the program's name, for people


@dataclass(frozen=True, slots=True)
class MappedFile:
    """A file whose pages a process has mapped and resident: a model's weights, mostly.

    The kernel calls such pages "available". Two processes that map one file share
    its pages, so the same `file` (device and inode) is counted once.
    """

    file: str
    size: Bytes


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """What one process holds of host RAM.

    `anonymous` is RssAnon + RssShmem, and locked file pages: memory that the kernel does not
    call available, and that comes back when the process ends. `mapped` is the rest of
    RssFile. `cpu` is the CPU time used so far, in seconds: when it stands still, so does the
    process. `started` tells a process from a later one with the same pid.
    """

    pid: int
    started: float
    anonymous: Bytes
    mapped: tuple[MappedFile, ...]
    cpu: Seconds
    name: str | None = None

    @property
    def resident(self) -> Bytes:
        return Bytes(self.anonymous + sum(m.size for m in self.mapped))


@dataclass(frozen=True, slots=True)
class ProcessTimes:
    """Start, and CPU time used so far, in seconds, as in ProcessMemory."""

    started: float
    cpu: Seconds


@dataclass(frozen=True, slots=True)
class Blind:
    """A pool that exists, could not be read this time, and why."""

    pool: PoolId
    why: str


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Facts about RAM that are not headroom. Swap is never headroom: a model that swaps is dead."""

    swap_total: Bytes
    swap_free: Bytes
    limit: Bytes | None = None  # the smallest cgroup limit above this process
    limited_by: str | None = None  # the file that says so


@dataclass(frozen=True, slots=True)
class Sample:
    """What one collector found: the data of a reading, before it is stamped."""

    pools: tuple[MemoryPool, ...] = ()
    devices: tuple[Device, ...] = ()
    holders: tuple[Holder, ...] | None = None  # None: not asked for this time
    blind: tuple[Blind, ...] = ()
    host: HostFacts | None = None
    note: str | None = None  # a fact for people: "no NVIDIA driver on this machine"


@dataclass(frozen=True, slots=True)
class Reading:
    """One collector's answer at one instant: either data or the reason for none."""

    collector: str
    taken_at: Seconds
    took: Seconds
    sample: Sample | None = None
    fault: str | None = None

    def __post_init__(self) -> None:
        if (self.fault is None) == (self.sample is None):
            raise ValueError(f"{self.collector}: a reading is data or a fault, never both or none")


class Collector(Protocol):
    """Reads one source. May block; may raise; never retries; never caches a number.

    `read` is always called from the same thread (see machine.Owner). With
    `holders=True` it also reads the lists of processes, which cost the driver
    milliseconds and its global lock, so they are asked for every 5-15 s only.
    """

    name: str
    deadline: Seconds

    def read(self, *, holders: bool) -> Sample: ...
