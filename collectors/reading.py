"""What the machine says about itself: the nouns every other file speaks.

Sizes are whole bytes. Times are seconds on the monotonic clock. A value that
could not be read is None: never 0, never -1, never "N/A".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, Flag
from typing import NewType, Protocol, runtime_checkable

Bytes = NewType("Bytes", int)
Seconds = NewType("Seconds", float)
PoolId = NewType("PoolId", str)

NONE = Bytes(0)
RAM = PoolId("ram")  # the one pool that every machine has


def mib(n: float) -> Bytes:
    return Bytes(int(n * 1024**2))


def gib(n: float) -> Bytes:
    return Bytes(int(n * 1024**3))


class Tier(Flag):
    """What to read, by what it costs. Memory is read each time, the rest when it is due."""

    MEMORY = 1  # some 15 us a GPU
    PROCESSES = 2  # milliseconds, and a driver's global lock: every 5-15 s, or on suspicion
    HEALTH = 4  # 0.2-1 ms a GPU: every 5-10 s
    ALL = MEMORY | PROCESSES | HEALTH


class PoolKind(Enum):
    """Who shares these bytes."""

    DEDICATED = "dedicated"  # one accelerator alone
    UNIFIED = "unified"  # CPU and accelerator, one body of memory
    HOST = "host"  # the CPU alone


@dataclass(frozen=True, slots=True)
class MemoryPool:
    """One body of memory. Every byte of the machine is in exactly one pool.

    `total` is what programs can be given: what the driver and its firmware keep
    for themselves (`reserved`) is already taken off. `device_limit` is what the accelerators
    that draw from a unified pool may hold of it together, and `device_used` what they hold;
    None where nobody can tell, or there is no such limit: none counts beside a card with memory
    of its own.
    """

    id: PoolId
    kind: PoolKind
    total: Bytes
    free: Bytes
    reserved: Bytes = NONE
    device_limit: Bytes | None = None
    device_used: Bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.free <= self.total:
            raise ValueError(f"{self.id}: free {self.free} is not within 0..{self.total}")
        for size in (self.reserved, self.device_limit, self.device_used):
            if size is not None and size < 0:
                raise ValueError(f"{self.id}: {size} bytes is negative")

    @property
    def used(self) -> Bytes:
        return Bytes(self.total - self.free)


class DeviceKind(Enum):
    GPU = "gpu"
    NPU = "npu"  # takes its memory from RAM: a column in "who", never a pool of its own


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator, or one instance of a GPU that is split: who it is and where it draws from.

    `uuid` names it everywhere; `index` is only the order in which its driver lists it. `pool`
    is None for a GPU that is split: its instances (`parent` is its uuid) have the memory.
    """

    uuid: str
    pool: PoolId | None
    name: str
    index: int
    vendor: str
    driver: str | None = None
    pci: str | None = None  # as in sysfs: 0000:01:00.0
    kind: DeviceKind = DeviceKind.GPU
    parent: str | None = None
    asleep: bool = (
        False  # powered down by the kernel; nothing was asked of it, so as not to wake it
    )
    numa_node: int | None = None  # the node of the host under which its own memory is listed


@dataclass(frozen=True, slots=True)
class Health:
    """How a device feels. What it cannot tell is None."""

    utilization: float | None = None  # 0..1: share of the last moments in which a kernel ran
    memory_utilization: float | None = None  # 0..1: share in which memory was read or written
    temperature: float | None = None  # degrees Celsius
    memory_temperature: float | None = None
    power: float | None = None  # watts
    power_limit: float | None = None  # watts
    energy: float | None = None  # joules since the driver was loaded
    clock: float | None = None  # hertz, of the compute units
    memory_clock: float | None = None  # hertz
    throttled: tuple[str, ...] | None = None  # why it is slower than it could be; (): it is not
    ecc_corrected: int | None = None  # errors since the driver was loaded
    ecc_uncorrected: int | None = None
    pcie_generation: int | None = None  # of the link as it is now
    pcie_width: int | None = None  # lanes
    recovery: str | None = None  # what the driver says must be done: "none", "reset", "reboot" ...


class Remedy(Enum):
    """What helps after an incident."""

    NOTHING = "nothing"
    RESTART = "restart the program"
    RESET = "reset the device"
    REBOOT = "reboot the machine"
    INSPECT = "look into it"


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that a driver reported once: an Xid, a double-bit error, a changed layout."""

    device: str  # Device.uuid
    kind: str  # "xid", ...
    code: int | None
    remedy: Remedy
    text: str  # for people, one line
    at: Seconds


@dataclass(frozen=True, slots=True)
class Carveout:
    """A device's part of the machine's RAM: memory that firmware set aside for it (`total`, not
    in MemTotal), and the limit up to which it may take ordinary RAM on top. All in bytes."""

    device: str  # Device.uuid
    total: Bytes
    free: Bytes
    limit: Bytes | None = None  # of ordinary RAM (GTT, the wired limit); None: none is known
    used: Bytes | None = None  # of ordinary RAM; None: nobody can tell


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds memory of a pool. `size` is None where the driver will not say.

    Of RAM, only what is in no process's resident set is listed: pages that a driver took for it.
    """

    pid: int
    pool: PoolId
    size: Bytes | None
    name: str | None = None  # the program's name, for people
    sharers: tuple[int, ...] = ()  # pids that hold these very bytes too, through one open file


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

    `anonymous` is RssAnon + RssShmem, page tables, and locked file pages: memory that the kernel
    does not call available, and that comes back when the process ends. `mapped` is the rest of
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
class Process:
    """A line of the process table: who it is, whose child, and what it holds of RAM.

    `anonymous` as in ProcessMemory; `shared` is the part of it that is shared memory, which
    others may have mapped too. `file` is the rest of its resident file pages.
    """

    pid: int
    parent: int
    name: str
    anonymous: Bytes
    file: Bytes
    shared: Bytes = NONE

    @property
    def private(self) -> Bytes:
        """What is in no other process, but for pages that are still as before a fork."""
        return Bytes(max(0, self.anonymous - self.shared))


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
class Pressure:
    """How long work has stood still for want of memory, in seconds since boot. `some`: at least
    one task waited; `full`: all of them did."""

    some: Seconds
    full: Seconds


class Level(Enum):
    """The kernel's own word on memory pressure, where it has one (macOS)."""

    NORMAL = "normal"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class NumaNode:
    """Memory of one NUMA node that has no CPU: an accelerator's own, or memory behind a link."""

    node: int
    total: Bytes
    free: Bytes


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Facts about RAM that are not headroom. Swap is never headroom: a model that swaps is dead.

    The sizes name the part of what is used that is in no process's resident set, or is in
    several: None where this system does not tell.
    """

    swap_total: Bytes
    swap_free: Bytes
    limit: Bytes | None = None  # the smallest cgroup limit above this process
    limited_by: str | None = None  # the file that says so
    physical: Bytes | None = None  # RAM of the machine, whatever the limit
    available: Bytes | None = None  # of that
    anonymous: Bytes | None = None  # AnonPages: each page once, however many processes share it
    shared: Bytes | None = None  # tmpfs and shared memory: each page once
    tables: Bytes | None = None  # page tables of processes, which `anonymous` has not
    locked: Bytes | None = None  # Mlocked: pages that may not be dropped, file pages among them
    kernel: Bytes | None = (
        None  # what the kernel holds and cannot drop: slabs, stacks, per-CPU data
    )
    huge: Bytes | None = None  # set aside as huge pages, in use or not
    huge_free: Bytes | None = None
    zram: Bytes | None = None  # RAM that holds compressed swap
    compressed: Bytes | None = None  # macOS: what the compressor occupies
    swapped: int | None = None  # pages moved to and from swap since boot
    oom_kills: int | None = None  # processes that the kernel killed since boot
    refaults: int | None = None  # file pages read back that had been dropped, since boot
    pressure: Pressure | None = None
    level: Level | None = None
    nodes: tuple[NumaNode, ...] = ()

    @property
    def is_limited(self) -> bool:
        """Does a control group allow less RAM than there is? Then what is used is the group's,
        and the sizes here are still of the whole machine."""
        return self.limit is not None and (self.physical is None or self.limit < self.physical)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one collector found: the data of a reading, before it is stamped."""

    pools: tuple[MemoryPool, ...] = ()
    devices: tuple[Device, ...] = ()
    carveouts: tuple[Carveout, ...] = ()
    holders: tuple[Holder, ...] | None = None  # None: not asked for this time
    unlisted: tuple[PoolId, ...] = ()  # asked for, and nobody can say who holds these
    processes: tuple[Process, ...] | None = None  # None: not asked for this time
    health: Mapping[str, Health] | None = None  # by Device.uuid; None: not asked for this time
    blind: tuple[Blind, ...] = ()
    host: HostFacts | None = None
    incidents: tuple[Incident, ...] = ()  # since the last read, each of them once
    notes: tuple[str, ...] = ()  # facts for people: "no NVIDIA driver on this machine"


@dataclass(frozen=True, slots=True)
class Reading:
    """One collector's answer at one instant: either data or the reason for none.

    `late`: the reason is that nothing came in time.
    """

    collector: str
    taken_at: Seconds
    took: Seconds
    sample: Sample | None = None
    fault: str | None = None
    late: bool = False

    def __post_init__(self) -> None:
        if (self.fault is None) == (self.sample is None):
            raise ValueError(f"{self.collector}: a reading is data or a fault, never both or none")


class Collector(Protocol):
    """Reads one source. May block; may raise; never retries; never caches a number.

    `read` is always called from the same thread (see machine.Owner). It reads the tiers that
    are asked for; memory is always among them.
    """

    name: str
    deadline: Seconds

    def read(self, tiers: Tier) -> Sample: ...


@runtime_checkable
class Releasable(Collector, Protocol):
    """A collector that holds its devices open, and can let go of them for a while.

    The calls may come from any thread, and take effect at the next read. `released_until` is on
    the monotonic clock; None: it has not let go. `closed`: no device is open. `wake` is told
    that devices which rest will soon be used.
    """

    @property
    def released_until(self) -> Seconds | None: ...
    @property
    def closed(self) -> bool: ...
    def release(self, until: Seconds) -> None: ...
    def resume(self) -> None: ...
    def wake(self) -> None: ...
