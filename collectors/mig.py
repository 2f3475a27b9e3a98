"""A GPU that MIG splits: each GPU instance is a body of memory of its own.

One GPU instance may have several compute instances, which share its memory. The library lists
a device for each of them, with the same memory each time: it is one pool, counted once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

from .nvml import (
    FATAL,
    INVALID_ARGUMENT,
    NO_PERMISSION,
    NOT_FOUND,
    NOT_SUPPORTED,
    Handle,
    Nvml,
    NvmlError,
    dedicated,
)
from .reading import Blind, Device, MemoryPool, PoolId


@dataclass(frozen=True, slots=True)
class Instance:
    """A MIG device: one compute instance of the GPU instance that has the number `gi`."""

    handle: Handle
    gi: int
    device: Device
    pool: PoolId


@dataclass(slots=True)
class Layout:
    """How a GPU is split now. A pool is in `pools` or in `blind`."""

    instances: list[Instance] = field(default_factory=list)
    pools: dict[PoolId, MemoryPool] = field(default_factory=dict)
    devices: list[Device] = field(default_factory=list)
    blind: list[Blind] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Uses:
    """Who uses the instances, in bytes by pool and pid, each as often as it is listed."""

    listed: list[tuple[tuple[PoolId, int], int | None]] | None = None  # None: nobody tells
    untold: set[PoolId] = field(default_factory=set)  # pools of which nobody tells all
    notes: list[str] = field(default_factory=list)


def read(library: Nvml, handle: Handle, gpu: Device, before: Collection[Device]) -> Layout:
    """`gpu` is the whole, `before` its instances as they were last time.

    An instance that is there and cannot be read is blind; one that is no longer there is gone.
    Raises NvmlError where the GPU itself is lost, or does not tell how it is split.
    """
    layout = Layout()
    unread: list[NvmlError] = []
    blind: dict[PoolId, str] = {}
    for slot, found in _slots(library, handle):
        try:
            if isinstance(found, NvmlError):
                raise found
            instance = _identify(library, found, slot, gpu)
        except NvmlError as error:
            if error.code in FATAL:
                raise
            unread.append(error)
            continue
        layout.instances.append(instance)
        layout.devices.append(instance.device)
        if instance.pool in layout.pools:
            continue  # another compute instance of the same GPU instance
        try:
            memory = library.memory(found)
            if memory is None:
                raise NvmlError(NOT_SUPPORTED, "its memory cannot be read now")
            layout.pools[instance.pool] = dedicated(instance.pool, memory)
        except NvmlError as error:
            if error.code in FATAL:
                raise
            blind[instance.pool] = str(error)
    if unread:
        # Which instance is in a slot that does not answer, only the last time can tell.
        for device in before:
            if device.uuid not in {d.uuid for d in layout.devices} and device.pool is not None:
                layout.devices.append(replace(device, driver=None))
                blind.setdefault(device.pool, str(unread[0]))
        layout.notes.append(f"GPU {gpu.index}: {len(unread)} MIG slots unread: {unread[0]}")
    elif not layout.instances:
        layout.notes.append(f"GPU {gpu.index} is split by MIG and has no instance: it is of no use")
    layout.blind = [Blind(pool, why) for pool, why in blind.items() if pool not in layout.pools]
    return layout


def processes(library: Nvml, index: int, layout: Layout) -> Uses:
    """The lists of each instance of GPU `index`. Raises NvmlError where the GPU itself is lost.

    Without permission for MIG's monitoring, a driver refuses them: then who holds that
    instance is unknown.
    """
    uses = Uses()
    by_number = {i.gi: i.pool for i in layout.instances}
    refused = dict[str, None]()
    for instance in layout.instances:
        try:
            listed = library.processes(instance.handle)
        except NvmlError as error:
            if error.code in FATAL:
                raise
            allowed = error.code != NO_PERMISSION
            refused[str(error) if allowed else "this user may not list them"] = None
            uses.untold.add(instance.pool)
            continue
        if listed is None:
            refused["the driver does not list them"] = None
            uses.untold.add(instance.pool)
            continue
        uses.listed = uses.listed or []
        for use in listed:
            # A list of the whole GPU tells by number where each process is.
            pool = by_number.get(instance.gi if use.instance is None else use.instance)
            if pool is not None:
                uses.listed.append(((pool, use.pid), use.size))
    for why in refused:
        uses.notes.append(f"GPU {index}: processes of MIG instances are unknown: {why}")
    return uses


def _slots(library: Nvml, handle: Handle) -> Iterator[tuple[int, Handle | NvmlError]]:
    """The MIG devices by slot, or why a slot could not be read. The slots are sparse.

    Their handles are worthless after a change of layout, of which nobody may have told us, so
    they are asked for anew each time.
    """
    for slot in range(int(library.ask("nvmlDeviceGetMaxMigDeviceCount", handle.raw))):
        try:
            raw = library.ask("nvmlDeviceGetMigDeviceHandleByIndex", handle.raw, slot)
        except NvmlError as error:
            if error.code not in (NOT_FOUND, INVALID_ARGUMENT):
                yield slot, error
        else:
            yield slot, Handle(raw)


def _identify(library: Nvml, handle: Handle, slot: int, gpu: Device) -> Instance:
    number = int(library.ask("nvmlDeviceGetGpuInstanceId", handle.raw))
    pool = PoolId(f"{gpu.uuid}/gi{number}")
    device = Device(
        uuid=library.uuid(handle),
        pool=pool,
        name=library.name(handle),
        index=slot,
        vendor=gpu.vendor,
        driver=gpu.driver,
        pci=gpu.pci,
        parent=gpu.uuid,
    )
    return Instance(handle, number, device, pool)
