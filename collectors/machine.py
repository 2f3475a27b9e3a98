"""Which collectors fit this machine, and what they say together."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from . import amd, apple, intel, npu, nvidia, tegra, windows
from .apart import Apart
from .host import HostCollector
from .perhaps import Perhaps
from .reading import (
    NONE,
    RAM,
    Blind,
    Bytes,
    Carveout,
    Collector,
    Device,
    DeviceKind,
    Health,
    Holder,
    HostFacts,
    Incident,
    MemoryPool,
    PoolId,
    PoolKind,
    Process,
    Reading,
    Sample,
    Seconds,
    Tier,
)
from .recorded import Replay
from .rest import Resting

T = TypeVar("T")

HERE = Path("/")

# ggml's CUDA backend asks HugePages_Free instead of MemAvailable where there are any.
HUGE = (
    "{} MiB are set aside as huge pages: on a GPU that shares this RAM, llama.cpp takes the free "
    "ones for all that is free"
)


def find(root: Path = HERE, *, apart: bool = False, binding: Any | None = None) -> list[Collector]:
    """The collectors that may have something to say here. Asks no driver yet.

    A `root` other than "/" is a capture of some machine: what is not in it is not asked of this
    one. `apart`: drivers are read in processes of their own, which a daemon wants and whoever
    looks once does not. `binding` stands for the NVIDIA driver's.
    """
    here = root == HERE
    if apple.present(root):
        return [apple.AppleCollector(root)]
    collectors: list[Collector] = [HostCollector(root)]
    if here and sys.platform == "darwin":  # the last driver for this one was for 10.13
        return collectors
    if here and sys.platform == "win32":
        host = HostCollector(root, memory=windows.memory)
        return [host, nvidia.NvidiaCollector(root, binding=binding), windows.WindowsCollector()]
    on_nvidia = tegra.present if tegra.present(root) else nvidia.present
    drivers = (
        ("nvidia", on_nvidia, "collectors.nvidia:NvidiaCollector", nvidia.NO_DRIVER),
        ("amd", amd.present, "collectors.amd:AmdCollector", None),
        ("intel", intel.present, "collectors.intel:IntelCollector", None),
        ("npu", npu.present, "collectors.npu:NpuCollector", None),
    )
    for name, present, target, note in drivers:
        make = partial(_reader, name, target, root, apart=apart, binding=binding)
        note, pools = note if here else None, name != "npu"
        collectors.append(Perhaps(name, partial(present, root), make, note, pools=pools))
    return collectors


def _reader(name: str, target: str, root: Path, *, apart: bool, binding: Any | None) -> Collector:
    """The collector of one driver. NVIDIA's holds its devices open: it must let them sleep."""
    if apart and root == HERE:  # in a capture there is no driver to hang
        reader = Apart(name, target, root)
        if name != "nvidia":
            return reader
        return Resting(tegra.TegraCollector(root, reader) if tegra.present(root) else reader, root)
    if name == "nvidia":
        recorded = root / "nvml.json"
        if binding is None and root != HERE and recorded.exists():
            binding = Replay(recorded)
        is_jetson, silent = tegra.present(root), root != HERE and binding is None
        if silent:
            return tegra.TegraCollector(root) if is_jetson else _Nothing(name)
        reads = nvidia.NvidiaCollector(root, binding=binding)
        return tegra.TegraCollector(root, reads) if is_jetson else reads
    if name == "amd":
        return amd.AmdCollector(root)
    return intel.IntelCollector(root) if name == "intel" else npu.NpuCollector(root)


class _Nothing:
    """A capture has files of a driver, and none of its answers."""

    deadline = Seconds(1.0)

    def __init__(self, name: str) -> None:
        self.name = name

    def read(self, tiers: Tier) -> Sample:
        return Sample(notes=(f"this capture has no answers of the {self.name} driver",))


@dataclass(frozen=True, slots=True)
class Machine:
    """All readings of one moment together. A pool is in `pools` or in `blind`, never in both."""

    pools: tuple[MemoryPool, ...] = ()
    devices: tuple[Device, ...] = ()
    holders: tuple[Holder, ...] | None = None  # None: not asked for, or nobody could say
    listed_at: Seconds | None = None  # when the oldest list of them was begun
    unlisted: tuple[PoolId, ...] = ()  # nobody can say who holds these
    processes: tuple[Process, ...] | None = None  # None: not asked for, or nobody could say
    health: Mapping[str, Health] = field(default_factory=dict)  # of whom it was asked this time
    blind: tuple[Blind, ...] = ()
    host: HostFacts | None = None
    incidents: tuple[Incident, ...] = ()
    notes: tuple[str, ...] = ()
    faults: Mapping[str, str] = field(default_factory=dict)  # collector → why it has no data
    read_at: Seconds | None = None  # when the oldest reading of `pools` was begun


def fold(readings: Iterable[Reading]) -> Machine:
    """The machine that these readings describe. RAM is unified where a GPU draws from it.

    RAM that nobody could read is blind. Of other pools, a faulted collector cannot say which
    it had: whoever read them before knows.
    """
    readings = tuple(readings)
    samples = [r.sample for r in readings if r.sample is not None]
    holders = _joined(s.holders for s in samples)
    faults = {r.collector: r.fault for r in readings if r.fault is not None}
    host = next((s.host for s in samples if s.host is not None), None)
    devices = tuple(d for s in samples for d in s.devices)
    pools: dict[PoolId, MemoryPool] = {}
    for pool in (p for s in samples for p in s.pools):
        pools.setdefault(pool.id, pool)
    blind = {b.pool: b for s in samples for b in s.blind}
    if RAM in pools:
        carveouts = [c for s in samples for c in s.carveouts]
        pools[RAM] = _shared_out(pools[RAM], host, devices, carveouts)
        if not blind.keys() <= {RAM} or any(_has_its_own(d) for d in devices):
            pools[RAM] = replace(pools[RAM], device_limit=None)
    if RAM not in pools and RAM not in blind:
        why = faults.get(HostCollector.name, "no collector reads it")
        blind[RAM] = Blind(RAM, why)
    return Machine(
        pools=tuple(pools.values()),
        devices=devices,
        holders=None if holders is None else said_once(holders),
        unlisted=tuple(p for s in samples for p in s.unlisted),
        processes=_joined(s.processes for s in samples),
        health={uuid: health for s in samples for uuid, health in (s.health or {}).items()},
        blind=tuple(b for b in blind.values() if b.pool not in pools),
        host=host,
        incidents=tuple(i for s in samples for i in s.incidents),
        notes=(*(n for s in samples for n in s.notes), *_misread(host, pools.get(RAM))),
        faults=faults,
        read_at=min((r.taken_at for r in readings if r.sample and r.sample.pools), default=None),
    )


def _shared_out(
    ram: MemoryPool,
    host: HostFacts | None,
    devices: Iterable[Device],
    carveouts: Iterable[Carveout],
) -> MemoryPool:
    """RAM as it is when accelerators have their part in it.

    What firmware set aside for a GPU that shares the RAM is added: it is the same memory, and
    only the kernel does not count it. The memory of an accelerator that the kernel lists as a
    NUMA node of its own is taken off: it is another pool already.
    """
    devices = tuple(devices)
    own = {d.numa_node for d in devices if d.pool != RAM}  # of one that is split, too
    nodes = [n for n in (host.nodes if host else ()) if n.node in own]
    total, free = ram.total, ram.free
    if nodes and host is not None:  # whoever has a limit may have all of it without them
        total = min(total, _less(host.physical, total, (n.total for n in nodes)))
        free = min(total, free, _less(host.available, free, (n.free for n in nodes)))
    gpus = {d.uuid for d in devices if d.pool == RAM and d.kind is DeviceKind.GPU}
    parts = {c.device: c for c in carveouts if c.device in gpus}.values()
    limits = [c.limit for c in parts]
    used = [c.used for c in parts]
    aside, left = sum(c.total for c in parts), sum(c.free for c in parts)
    known = bool(parts) and None not in limits
    told = bool(parts) and None not in used
    return replace(
        ram,
        kind=PoolKind.UNIFIED if gpus else ram.kind,
        total=Bytes(total + aside),
        free=Bytes(free + left),
        # The kernel's limit for several is one and the same, and no more than there is.
        device_limit=Bytes(min(total, sum(s or NONE for s in limits)) + aside) if known else None,
        device_used=Bytes(aside - left + sum(s or NONE for s in used)) if told else None,
    )


def _has_its_own(device: Device) -> bool:
    """A GPU with memory of its own, also one that is split. Beside one, models in RAM are run by
    the CPU more often than by the small GPU of its package, whose limit would bind them too."""
    return device.kind is DeviceKind.GPU and device.pool != RAM


def _less(whole: Bytes | None, otherwise: Bytes, parts: Iterable[Bytes]) -> Bytes:
    return Bytes(max(0, (otherwise if whole is None else whole) - sum(parts)))


def _misread(host: HostFacts | None, ram: MemoryPool | None) -> tuple[str, ...]:
    """What engines read wrong here: huge pages, where a GPU draws from RAM."""
    if ram is None or ram.kind is not PoolKind.UNIFIED or host is None or not host.huge:
        return ()
    return (HUGE.format(host.huge // 1024**2),)


def said_once(holders: Iterable[Holder]) -> tuple[Holder, ...]:
    """Where one source hides what a process holds and another one tells, it is told."""
    holders = tuple(holders)
    if all(h.size is not None for h in holders):
        return holders
    told = {(h.pid, h.pool) for h in holders if h.size is not None}
    return tuple(h for h in holders if h.size is not None or (h.pid, h.pool) not in told)


def _joined(found: Iterable[tuple[T, ...] | None]) -> tuple[T, ...] | None:
    told = [items for items in found if items is not None]
    return tuple(chain.from_iterable(told)) if told else None
