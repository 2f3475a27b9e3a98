"""NVIDIA GPUs: one pool each, except where a GPU uses the machine's RAM.

Three kinds of trouble are kept apart: no driver at all is a fact (a note), a driver that is
gone or does not answer is a fault, and one GPU that is lost makes only its own pool blind.
Everything but memory may be missing alone: it is then None.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from . import nvml
from .errors import CollectorError
from .nvml import Health, Nvml, NvmlError
from .process import name_of
from .reading import (
    RAM,
    Blind,
    Bytes,
    Device,
    Holder,
    MemoryPool,
    PoolId,
    PoolKind,
    Sample,
    Seconds,
)

NO_DRIVER = "no NVIDIA driver on this machine"
NO_GPU = "no NVIDIA GPU on this machine"
ASK_AGAIN = Seconds(60.0)  # where there is no driver, or one GPU of several is lost

# Parts that share the CPU's memory. Some drivers report all of it as theirs.
INTEGRATED = ("GB10", "Thor", "Orin", "Xavier", "Tegra")

# The number of the first pid namespace is part of the kernel's ABI (PROC_PID_INIT_INO).
FIRST_PID_NAMESPACE = "pid:[4026531836]"


@dataclass(frozen=True, slots=True)
class _Gpu:
    """What does not change while a GPU is there. `pool` is RAM if it has no memory of its own."""

    index: int
    uuid: str
    name: str
    pci: str | None
    pool: PoolId
    split: bool  # by MIG


@dataclass(slots=True)
class _Found:
    """What one read finds, on its way to a Sample."""

    pools: list[MemoryPool] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    holders: list[Holder] | None = None
    blind: list[Blind] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class NvidiaCollector:
    """`host_total` gives the bytes of RAM, `clock` monotonic seconds; names come from `root`."""

    name = "nvidia"
    deadline = Seconds(2.0)

    def __init__(
        self,
        root: Path = Path("/"),
        clock: Callable[[], float] = time.monotonic,
        host_total: Callable[[], int] = lambda: psutil.virtual_memory().total,
    ) -> None:
        self._root, self._clock, self._host_total = root, clock, host_total
        self._library: Nvml | None = None
        self._started_at: float | None = None  # None: to be initialised at the next read
        self._absent: tuple[float, str] | None = None  # since when, and the note that says so
        self._handles: dict[int, tuple[Any, _Gpu]] = {}  # by index, of this initialisation
        self._known: dict[str, _Gpu] = {}  # by UUID: every GPU ever read

    def read(self, *, holders: bool) -> Sample:
        """Raises CollectorError where the driver was there and does not answer now."""
        now = self._clock()
        if self._absent is not None and now - self._absent[0] < ASK_AGAIN:
            return Sample(note=self._absent[1])
        self._absent = None
        if self._library is None:
            self._library = Nvml()
        try:
            if self._started_at is None:
                self._start(self._library, now)
            count = self._library.count()
        except NvmlError as error:
            self._started_at = None
            if not self._known and error.code in (nvml.LIBRARY_NOT_FOUND, nvml.DRIVER_NOT_LOADED):
                return self._missing(now, NO_DRIVER)
            raise CollectorError(str(error)) from error
        if count == 0:
            self._started_at = None
            if not self._known:
                return self._missing(now, NO_GPU)
            raise CollectorError("the driver does not list any GPU now")
        return self._read_all(self._library, count, now, holders)

    def _start(self, library: Nvml, now: float) -> None:
        library.stop()  # fails where it was gone already, which is as good
        self._handles.clear()
        library.start()
        self._started_at = now

    def _missing(self, now: float, note: str) -> Sample:
        self._absent = (now, note)
        return Sample(note=note)

    def _read_all(self, library: Nvml, count: int, now: float, holders: bool) -> Sample:
        found, errors = _Found(), dict[int, NvmlError]()
        for index in range(count):
            try:
                self._read_gpu(library, index, holders, found)
            except NvmlError as error:
                self._handles.pop(index, None)
                errors[index] = error
        if any(error.code in nvml.LIFECYCLE for error in errors.values()):
            if len(errors) == count:
                self._started_at = None
                raise CollectorError("; ".join(dict.fromkeys(map(str, errors.values()))))
            # To start again disturbs the GPUs that do answer, so it is rare.
            if self._started_at is not None and now - self._started_at >= ASK_AGAIN:
                self._started_at = None
        self._name_the_missing(found, errors)
        return Sample(
            pools=tuple(found.pools),
            devices=tuple(sorted(found.devices, key=lambda d: (d.index, d.uuid))),
            holders=None if found.holders is None else tuple(found.holders),
            blind=tuple(found.blind),
            note="; ".join(found.notes) or None,
        )

    def _read_gpu(self, library: Nvml, index: int, holders: bool, found: _Found) -> None:
        if index not in self._handles:
            handle = library.handle(index)
            self._handles[index] = handle, self._identify(library, index, handle)
        handle, gpu = self._handles[index]
        memory = library.memory(handle)  # asked of every GPU, as it also tells that one is lost
        if gpu.pool != RAM:
            if memory is None:  # it had memory a moment ago
                raise NvmlError(nvml.NOT_SUPPORTED, "its memory cannot be read now")
            found.pools.append(
                MemoryPool(
                    gpu.pool,
                    PoolKind.DEDICATED,
                    Bytes(memory.total),
                    Bytes(memory.free),
                    Bytes(memory.reserved),
                )
            )
        self._known[gpu.uuid] = gpu
        found.devices.append(_device(gpu, library.driver, library.health(handle)))
        if gpu.split:
            # The GPU's numbers are those of its instances together; which one has room, and
            # how much it could take alone, they do not say.
            found.notes.append(f"GPU {index} is split by MIG and shown as one pool")
        if holders:
            self._list(library, handle, gpu, found)

    def _identify(self, library: Nvml, index: int, handle: Any) -> _Gpu:
        uuid, name = library.uuid(handle), library.name(handle)
        memory = library.memory(handle)
        before = self._known.get(uuid)
        if before is None:
            whole = 0 if memory is None else memory.total + memory.reserved
            pool = RAM if memory is None or self._is_ram(name, whole) else PoolId(uuid)
        else:
            pool = before.pool  # a driver that comes back may answer nonsense for a while
        return _Gpu(index, uuid, name, library.pci(handle), pool, library.is_split(handle))

    def _is_ram(self, name: str, total: int) -> bool:
        """Is the memory that a part reports the machine's RAM?

        A card may well have as much as the host (24 GiB and 24 GiB), so the size alone decides
        only when it is the same to the MiB, which a card's round number never is.
        """
        host = self._host_total()
        integrated = any(word in name for word in INTEGRATED)
        return (integrated and total >= 0.9 * host) or abs(total - host) < 1024**2

    def _list(self, library: Nvml, handle: Any, gpu: _Gpu, found: _Found) -> None:
        sizes = library.processes(handle)
        if sizes is None:
            found.notes.append(f"the driver does not list the processes of GPU {gpu.index}")
            return
        # In a container, some drivers find the process but not its memory, and say 0.
        hidden = 0 if not self._in_first_namespace() else None
        listed = []
        for pid, size in sorted(sizes.items()):
            known = None if size is None or size == hidden else Bytes(size)
            listed.append(Holder(pid, gpu.pool, known, name_of(pid, self._root)))
        found.holders = [*(found.holders or ()), *listed]

    def _in_first_namespace(self) -> bool:
        try:
            return (self._root / "proc/self/ns/pid").readlink().name == FIRST_PID_NAMESPACE
        except OSError:
            return False

    def _name_the_missing(self, found: _Found, errors: dict[int, NvmlError]) -> None:
        """GPUs that were there before, or are counted now, and could not be read."""
        unread = dict(errors)
        seen = {d.uuid for d in found.devices}
        for gpu in self._known.values():
            if gpu.uuid in seen:
                continue
            error = unread.pop(gpu.index, None)
            why = str(error) if error else "the driver no longer lists it"
            found.devices.append(_device(gpu, None, Health()))
            if gpu.pool == RAM:
                found.notes.append(f"GPU {gpu.index}: {why}")  # RAM itself can be read
            else:
                found.blind.append(Blind(gpu.pool, why))
        for index, error in unread.items():
            if error.code == nvml.NO_PERMISSION:  # counted, but not this program's to use
                found.notes.append(f"GPU {index} may not be read by this user")
            else:
                found.blind.append(Blind(PoolId(f"nvidia:{index}"), str(error)))  # no UUID yet


def _device(gpu: _Gpu, driver: str | None, health: Health) -> Device:
    return Device(
        uuid=gpu.uuid,
        pool=gpu.pool,
        name=gpu.name,
        index=gpu.index,
        vendor="nvidia",
        driver=driver,
        pci=gpu.pci,
        utilization=health.utilization,
        temperature=health.temperature,
        power=health.power,
        energy=health.energy,
    )
