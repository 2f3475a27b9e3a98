"""One NVIDIA GPU: what it is, where its memory is, and who holds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import mig, nvml, nvml_health
from .nvml import Handle, Nvml, NvmlError
from .process import name_of
from .reading import (
    RAM,
    Blind,
    Bytes,
    Device,
    Health,
    Holder,
    MemoryPool,
    PoolId,
    Tier,
)

# Parts that share the CPU's memory. Some drivers report all of it as theirs.
INTEGRATED = ("GB10", "Thor", "Orin", "Xavier", "Tegra")

# The number of the first pid namespace is part of the kernel's ABI (PROC_PID_INIT_INO).
FIRST_PID_NAMESPACE = "pid:[4026531836]"

WSL = "dev/dxg"  # the GPU of a Windows machine, below WSL


@dataclass(frozen=True, slots=True)
class Gpu:
    """What does not change while a GPU is there. `pool` is RAM if it has no memory of its own."""

    index: int
    uuid: str
    name: str
    pci: str | None
    pool: PoolId
    numa_node: int | None

    def device(self, driver: str | None) -> Device:
        return Device(
            uuid=self.uuid,
            pool=self.pool,
            name=self.name,
            index=self.index,
            vendor="nvidia",
            driver=driver,
            pci=self.pci,
            numa_node=self.numa_node,
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """A GPU as it was when it was last read: itself, then its instances where it is split."""

    gpu: Gpu
    devices: tuple[Device, ...]
    split: bool

    @property
    def pools(self) -> tuple[PoolId, ...]:
        """Those that nobody else reads."""
        pools = (d.pool for d in self.devices if d.pool is not None and d.pool != RAM)
        return tuple(dict.fromkeys(pools))

    def without_driver(self) -> list[Device]:
        """As it is shown while it does not answer."""
        return [replace(d, driver=None) for d in self.devices]


@dataclass(slots=True)
class Found:
    """What is found of one GPU, or of all of them, on its way to a Sample."""

    pools: list[MemoryPool] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    holders: list[Holder] | None = None
    unlisted: list[PoolId] = field(default_factory=list)
    health: dict[str, Health] = field(default_factory=dict)
    blind: list[Blind] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, other: Found) -> None:
        self.pools += other.pools
        self.devices += other.devices
        if other.holders is not None:
            self.holders = [*(self.holders or ()), *other.holders]
        self.unlisted += other.unlisted
        self.health |= other.health
        self.blind += other.blind
        self.notes += other.notes

    def in_order(self) -> tuple[Device, ...]:
        """GPUs as the driver lists them, each followed by its instances."""
        index = {d.uuid: d.index for d in self.devices}

        def place(device: Device) -> tuple[int, str, bool]:
            whole = device.parent or device.uuid
            return index[whole], whole, device.parent is not None

        return tuple(sorted(self.devices, key=place))

    def cannot_read(self, seen: Seen, why: str) -> None:
        """None of its pools is to be relied upon."""
        self.blind += [Blind(pool, why) for pool in seen.pools]
        if seen.gpu.pool == RAM:
            self.notes.append(f"GPU {seen.gpu.index}: {why}")  # RAM itself can be read


def identify(
    library: Nvml,
    handle: Handle,
    index: int,
    uuid: str,
    before: Seen | None,
    host_total: Callable[[], int | None],
) -> Gpu:
    """`before`: the GPU with this UUID as it was last read, if ever. Raises NvmlError."""
    name = library.name(handle)
    if before is not None:
        pool = before.gpu.pool  # a driver that comes back may answer nonsense for a while
    elif library.is_split(handle):
        pool = PoolId(uuid)  # no part that draws on RAM can be
    else:
        memory = library.memory(handle)
        whole = 0 if memory is None else memory.total + memory.reserved
        pool = RAM if memory is None or _is_ram(name, whole, host_total()) else PoolId(uuid)
    node = None if pool == RAM else library.numa_node(handle)
    return Gpu(index, uuid, name, library.pci(handle), pool, node)


def read(
    library: Nvml, handle: Handle, gpu: Gpu, before: Seen | None, tiers: Tier, root: Path
) -> tuple[Found, Seen]:
    """The GPU now. Raises NvmlError where it cannot be read as a whole."""
    found, split, layout = Found(), library.is_split(handle), None
    device = gpu.device(library.driver)
    if before is not None and before.split != split:
        handle.lacks.clear()  # what it can tell depends on it
    if split:
        # The GPU's own numbers are those of its instances together, and need a permission.
        device = replace(device, pool=None)
        layout = mig.read(library, handle, device, before.devices[1:] if before else ())
        found.pools += layout.pools.values()
        found.blind += layout.blind
        found.notes += layout.notes
    else:
        if Tier.PROCESSES in tiers:  # first: what they hold then is in the memory that is read
            _list(library, handle, gpu, None, found, root)
        memory = library.memory(handle)  # asked of every GPU: it also tells that one is lost
        if gpu.pool != RAM:
            if memory is None:  # it had memory a moment ago
                raise NvmlError(nvml.NOT_SUPPORTED, "its memory cannot be read now")
            found.pools.append(nvml.dedicated(gpu.pool, memory))
    found.devices = [device, *(layout.devices if layout else ())]
    if Tier.HEALTH in tiers:
        found.health[gpu.uuid] = nvml_health.read(library, handle)
    if layout is not None and Tier.PROCESSES in tiers:
        _list(library, handle, gpu, layout, found, root)
    seen = Seen(gpu, tuple(found.devices), split)
    gone = sorted(set(before.pools if before else ()).difference(seen.pools))
    found.notes += [f"GPU {gpu.index}: MIG's layout changed: {pool} is gone" for pool in gone]
    return found, seen


def _is_ram(name: str, total: int, host: int | None) -> bool:
    """Is the memory that a part reports the machine's RAM?

    A card may well have as much as the host (24 GiB and 24 GiB), so the size alone decides
    only when it is the same to the MiB, which a card's round number never is.
    """
    integrated = any(word in name for word in INTEGRATED)
    if host is None:
        return integrated
    return (integrated and total >= 0.9 * host) or abs(total - host) < 1024**2


def _list(
    library: Nvml, handle: Handle, gpu: Gpu, layout: mig.Layout | None, found: Found, root: Path
) -> None:
    """Holders. A pid that `root` does not show is of another namespace, and its bytes are real."""
    if layout is not None:
        uses = mig.processes(library, gpu.index, layout)
    else:
        uses = _processes(library, handle, gpu, root)
    found.notes += uses.notes
    # What is told of such a pool is a part, which would pass for all.
    found.unlisted += sorted(uses.untold)
    if uses.listed is None:
        return
    found.holders = []
    # In a container, some drivers find the process but not its memory, and say 0.
    hidden = None if _in_first_namespace(root) else 0
    for (pool, pid), size in sorted(nvml.largest(uses.listed).items()):
        if pool in uses.untold:
            continue
        known = None if size is None or size == hidden else Bytes(size)
        found.holders.append(Holder(pid, pool, known, name_of(pid, root)))


def _processes(library: Nvml, handle: Handle, gpu: Gpu, root: Path) -> mig.Uses:
    try:
        listed = library.processes(handle)
        why = f"the driver does not list the processes of GPU {gpu.index}"
    except NvmlError as error:
        if error.code in nvml.FATAL:
            raise
        listed, why = None, f"GPU {gpu.index}: its processes are unknown: {error}"
    if listed == [] and (root / WSL).exists():  # it lists none also when there are some
        listed = None
    if listed is None:
        return mig.Uses(None, {gpu.pool}, [why])
    return mig.Uses([((gpu.pool, use.pid), use.size) for use in listed])


def _in_first_namespace(root: Path) -> bool:
    try:
        return (root / "proc/self/ns/pid").readlink().name == FIRST_PID_NAMESPACE
    except OSError:
        return False
