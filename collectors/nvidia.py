"""NVIDIA GPUs: one pool each, but for those that MIG splits and those that use the machine's RAM.

Three kinds of trouble are kept apart: no driver at all is a fact (a note), a driver that is
gone or does not answer is a fault, and one GPU that is lost makes only its own pools blind.
Everything but memory may be missing alone: it is then None.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import psutil

from . import nvidia_gpu, nvidia_pci, nvml, nvml_health
from .errors import CollectorError, Outdated
from .nvidia_gpu import Found, Gpu, Seen
from .nvml import Handle, Nvml, NvmlError
from .nvml_events import EventWatch
from .reading import Blind, Incident, PoolId, Remedy, Sample, Seconds, Tier
from .suspend import Suspension, asleep

NO_DRIVER = "no NVIDIA driver on this machine"
NO_GPU = "no NVIDIA GPU on this machine"
ASK_AGAIN = Seconds(60.0)  # where there is no driver, or one GPU of several is lost
LONGEST_CALL = Seconds(1.2)  # a wait for events ends after one second

# What a driver leaves behind on Linux, WSL, a Jetson and Windows; and recorded answers.
TRACES = (
    "proc/driver/nvidia/version",
    "sys/module/nvidia",
    "dev/nvidiactl",
    "dev/dxg",
    "etc/nv_tegra_release",
    "Windows/System32/nvml.dll",
    "nvml.json",
)
HERE = Path("/")


def present(root: Path) -> bool:
    """Is there an NVIDIA driver to ask? Opens no device, and wakes none."""
    if any((root / trace).exists() for trace in TRACES):
        return True
    if root != HERE:
        return False
    try:
        ctypes.CDLL("libnvidia-ml.so.1")  # in some containers, all there is to be seen
    except OSError:
        return False
    return True


class Events(Protocol):
    """What the driver tells of its own accord. None of these raises."""

    def start(self, binding: Any, handles: Mapping[str, Any]) -> None: ...
    def drain(self) -> list[Incident]: ...
    def close(self) -> None: ...
    def left(self, timeout: Seconds) -> bool: ...


class NvidiaCollector:
    """`host_total` gives the bytes of RAM, as below `root` if it is not given; `clock` monotonic
    seconds, `asleep` those that the machine has slept. `binding` answers in place of the driver."""

    name = "nvidia"
    deadline = Seconds(2.0)

    def __init__(
        self,
        root: Path = HERE,
        clock: Callable[[], float] = time.monotonic,
        host_total: Callable[[], int | None] | None = None,
        binding: Any | None = None,
        events: Events | None = None,
        asleep: Callable[[], float] = asleep,
    ) -> None:
        self._root, self._clock, self._binding = root, clock, binding
        self._host_total = host_total or (lambda: _ram_of(root))
        self.events: Events = EventWatch() if events is None else events
        self._suspension = Suspension(asleep)
        self._library: Nvml | None = None
        self._started_at: float | None = None  # None: to be initialised at the next read
        self._starts = 0
        self._absent: tuple[float, str] | None = None  # since when, and the note that says so
        self._handles: dict[int, tuple[Handle, Gpu]] = {}  # by index, of this initialisation
        self._known: dict[str, Seen] = {}  # by UUID: every GPU ever read
        self._watched: frozenset[str] = frozenset()  # UUIDs
        self._incidents: list[Incident] = []  # those that no sample had yet
        self._condemned: dict[str, tuple[int, str]] = {}  # by UUID: during which start, and why

    def read(self, tiers: Tier) -> Sample:
        """Raises CollectorError where the driver was there, or should be, and does not answer."""
        if self._suspension.happened():  # whatever the library knew of the GPUs is of before
            self.close()
        self._listen()
        try:
            return self._read(self._clock(), tiers)
        except CollectorError as error:
            if not self._incidents:
                raise
            # A card that falls off the bus is often the only one: that must not go unheard.
            return self._sample(self._with_missing(Found(), {}, str(error)), tiers)

    def close(self) -> None:
        """Let go of the driver. The next read initialises it anew."""
        self._listen()
        self.events.close()  # first: it waits inside the library
        self._watched = frozenset()
        self._handles.clear()
        self._started_at = None
        # To shut the library down while somebody waits in it is to risk a crash.
        if self._library is not None and self.events.left(LONGEST_CALL):
            self._library.stop()

    def _read(self, now: float, tiers: Tier) -> Sample:
        if self._absent is not None and now - self._absent[0] < ASK_AGAIN:
            return Sample(notes=(self._absent[1],))
        self._absent = None
        if self._started_at is None and not self._known and nvidia_pci.all_others(self._root):
            return self._missing(now, NO_GPU, "")  # to ask would load a driver that was unloaded
        if self._library is None:
            self._library = Nvml(self._binding)
        try:
            if self._started_at is None:
                self._start(self._library, now)
            count = self._library.count()
        except NvmlError as error:
            self._started_at = None
            if not self._known and error.code in (nvml.LIBRARY_NOT_FOUND, nvml.DRIVER_NOT_LOADED):
                return self._missing(now, NO_DRIVER, str(error))
            # A process keeps the library that it has loaded, and this one is an older driver's.
            kind = Outdated if error.code == nvml.VERSIONS_DIFFER else CollectorError
            raise kind(str(error)) from error
        if count == 0:
            self._started_at = None
            if not self._known:
                return self._missing(now, NO_GPU, "the driver lists none")
            raise CollectorError("the driver does not list any GPU now" + self._given_away())
        return self._sample(self._read_all(self._library, count, now, tiers), tiers)

    def _start(self, library: Nvml, now: float) -> None:
        self.close()
        library.start()
        self._started_at = now
        self._starts += 1

    def _missing(self, now: float, note: str, why: str) -> Sample:
        """No GPU at all is a fact; GPUs that the kernel has and nobody lists are a fault."""
        self.close()
        there = nvidia_pci.gpus(self._root)
        own = [pci for pci, driver in there.items() if driver == nvidia_pci.DRIVER]
        if own and nvidia_pci.nodes(self._root):
            raise CollectorError(f"{why}, and the kernel has a GPU at {', '.join(own)}")
        away = [f"{pci} belongs to {driver}" for pci, driver in there.items() if driver]
        if away:
            note = f"{note} that this program may use: {', '.join(away)}"
        self._absent = (now, note)
        return Sample(notes=(note,))

    def _given_away(self) -> str:
        found = ((g.gpu.pci, self._why_gone(g.gpu.pci)) for g in self._known.values())
        return "".join(f"; {pci}: {why}" for pci, why in found if why)

    def _why_gone(self, pci: str | None) -> str | None:
        driver = nvidia_pci.given_away(self._root, pci)
        return None if driver is None else f"the kernel has given it to {driver}"

    def _read_all(self, library: Nvml, count: int, now: float, tiers: Tier) -> Found:
        found, errors = Found(), dict[int, NvmlError]()
        for index in range(count):
            try:
                found.add(self._read_gpu(library, index, tiers))
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
        self._watch(library)
        return self._with_missing(found, errors, "the driver no longer lists it")

    def _read_gpu(self, library: Nvml, index: int, tiers: Tier) -> Found:
        if index not in self._handles:
            handle = library.handle(index)
            self._handles[index] = handle, self._identify(library, index, handle)
        handle, gpu = self._handles[index]
        before = self._known.get(gpu.uuid)
        found, seen = nvidia_gpu.read(library, handle, gpu, before, tiers, self._root)
        self._known[gpu.uuid] = seen
        if gpu.uuid in self._condemned:  # it may still answer, and it will not work
            found.pools, found.blind = [], []
            found.cannot_read(seen, self._condemned[gpu.uuid][1])
        return found

    def _identify(self, library: Nvml, index: int, handle: Handle) -> Gpu:
        uuid = library.uuid(handle)
        if self._condemned.get(uuid, (self._starts,))[0] != self._starts and (
            nvml_health.recovery(library, handle) in (None, "none")
        ):
            del self._condemned[uuid]  # started anew since, and the driver does not insist
        before = self._known.get(uuid)
        if before is None and (asks := nvml_health.repair(library, handle)) is not None:
            # Somebody saw it fail who is gone now: a reader before this one, or a daemon.
            self._condemned.setdefault(uuid, (self._starts, f"the driver asks for this: {asks}"))
        return nvidia_gpu.identify(library, handle, index, uuid, before, self._host_total)

    def _with_missing(self, found: Found, errors: dict[int, NvmlError], otherwise: str) -> Found:
        """Adds GPUs that were there before, or are counted now, and could not be read."""
        unread = dict(errors)
        read = {d.uuid for d in found.devices}
        whole = sum(d.parent is None for d in found.devices)
        for uuid, seen in self._known.items():
            if uuid not in read:
                error = unread.pop(seen.gpu.index, None)
                why = self._why_gone(seen.gpu.pci) or (str(error) if error else otherwise)
                found.devices += seen.without_driver()
                found.cannot_read(seen, self._condemned.get(uuid, (0, why))[1])
        for index, error in unread.items():
            if self._is_hidden(error, whole + len(errors)):
                found.notes.append(f"GPU {index} may not be read by this user")
            else:
                found.blind.append(Blind(PoolId(f"nvidia:{index}"), str(error)))  # no UUID yet
        return found

    def _is_hidden(self, error: NvmlError, count: int) -> bool:
        """Is a GPU counted, but not this program's to use? Some drivers have no word for it."""
        if error.code in (nvml.NO_PERMISSION, nvml.OPERATING_SYSTEM):
            return True
        return error.code == nvml.UNKNOWN and 0 < nvidia_pci.nodes(self._root) < count

    def _sample(self, found: Found, tiers: Tier) -> Sample:
        incidents, self._incidents = tuple(self._incidents), []
        return Sample(
            pools=tuple(found.pools),
            devices=found.in_order(),
            holders=None if found.holders is None else tuple(found.holders),
            unlisted=tuple(found.unlisted),
            health=found.health if Tier.HEALTH in tiers else None,
            blind=tuple(found.blind),
            incidents=incidents,
            notes=tuple(found.notes),
        )

    # -- what the driver tells of its own accord

    def _watch(self, library: Nvml) -> None:
        handles = {gpu.uuid: handle.raw for handle, gpu in self._handles.values()}
        if handles.keys() - self._watched:  # one that is lost may still have something to tell
            self._listen()
            self.events.close()
            self.events.start(library.binding, handles)
            self._watched = frozenset(handles)

    def _listen(self) -> None:
        for incident in self.events.drain():
            self._incidents.append(incident)
            if incident.remedy in (Remedy.RESET, Remedy.REBOOT):
                why = f"{incident.text}: {incident.remedy.value}"
                self._condemned[incident.device] = self._starts, why


def _ram_of(root: Path) -> int | None:
    """Bytes. MemTotal is the first line."""
    try:
        with (root / "proc/meminfo").open() as file:
            name, size, *_ = file.readline().split()
        return int(size) * 1024 if name == "MemTotal:" else None
    except (OSError, ValueError):
        return psutil.virtual_memory().total if root == HERE else None
