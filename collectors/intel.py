"""Intel GPUs: Arc cards with a pool of their own, and GPUs in a CPU, which draw from RAM.

No file says how much of a card is free. Three sources may, the surest first: the kernel's
control groups (dmem, Linux 6.14), Level Zero for whoever has CAP_PERFMON, and the sum of what
all processes hold for whoever may look at all of them. Else the pool is blind: a part of the
use would pass for the whole. Most files of a card wake it, so of one that sleeps none is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from . import drm, intel_health, intel_names
from .dmem import Region
from .drm_gpu import Found, Gpu
from .intel_view import BORROWED, OWN, Meter, Users, View, cards, held, total
from .level_zero import Memory, Sysman
from .process import name_of
from .reading import (
    NONE,
    RAM,
    Blind,
    Bytes,
    Carveout,
    Health,
    Holder,
    MemoryPool,
    PoolId,
    PoolKind,
    Sample,
    Seconds,
    Tier,
)

HERE = Path("/")
NO_GPU = "no Intel GPU on this machine"
INTEGRATED = "0000:00:02.0"  # where every GPU in an Intel CPU is

ASLEEP = "asleep, and only dmem (Linux 6.14, driver xe) tells its use without waking it"
GONE = "the kernel no longer lists it"
SILENT = "its driver tells no memory of processes, as it does since Linux 6.8"
SUMMED = (
    "what Intel GPU {} uses is the sum over processes, without its driver's own share: enable dmem "
    "(Linux 6.14, driver xe) to know it, and to let the GPU sleep"
)
NO_SIZE = "nothing tells its size: dmem does (Linux 6.14, driver xe), or Level Zero to root"
UNTOLD = (
    "nothing tells its use: enable dmem in cgroup.subtree_control (Linux 6.14, driver xe), "
    "or run as root, outside of any container"
)


def present(root: Path) -> bool:
    """Is there an Intel GPU? Wakes none, and loads no library."""
    return bool(cards(root))


class IntelCollector:
    """`root` is where /proc and /sys are looked for, `load` gets Level Zero where it is needed
    (None: here the library, below another root nothing), `clock` gives monotonic seconds."""

    name = "intel"
    deadline = Seconds(1.0)

    def __init__(
        self,
        root: Path = HERE,
        load: Callable[[], Meter | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root, self._clock = root, clock
        self._load = load or (Sysman.load if root == HERE else lambda: None)
        self._users = Users(root)
        self._loaded: tuple[Meter | None] | None = None  # None: not needed until now
        self._known: dict[str, Gpu] = {}  # by PCI address: every GPU ever seen
        self._energy: dict[str, tuple[float, float]] = {}  # by uuid: when, and joules then

    def read(self, tiers: Tier) -> Sample:
        """Never raises: a card that cannot be read makes only its own pool blind."""
        listed = Tier.PROCESSES in tiers
        view, found = View(self._root, self._meter, self._users, listed), Found()
        kernel = drm.attribute(self._root / "proc/sys/kernel/osrelease")
        if listed:
            view.look()  # before the memory: what somebody holds then is in what is read as used
        for pci, card in view.cards.items():
            gpu, asleep = self._identify(card, view), pci in view.asleep
            driver = f"{card.driver} of Linux {kernel}" if kernel else card.driver
            found.devices.append(replace(gpu, driver=driver).device(asleep))
            if gpu.pool == RAM:
                used = _borrowed(pci, view) if listed and not asleep else None
                found.carveouts.append(Carveout(gpu.uuid, NONE, NONE, used=used))
            else:
                _add_pool(gpu, _memory(card, view), found)
            if Tier.HEALTH in tiers and not asleep:
                found.health[gpu.uuid] = self._health(gpu, card)
        for gpu in (g for pci, g in self._known.items() if pci not in view.cards):
            found.is_gone(gpu, GONE)
        return Sample(
            pools=tuple(found.pools),
            devices=tuple(sorted(found.devices, key=lambda d: d.index)),
            carveouts=tuple(found.carveouts),
            holders=self._holders(view) if listed else None,
            health=found.health if Tier.HEALTH in tiers else None,
            blind=tuple(found.blind),
            notes=tuple(found.notes) if self._known else (NO_GPU,),
        )

    def _meter(self) -> Meter | None:
        if self._loaded is None:
            self._loaded = (self._load(),)
        return self._loaded[0]

    def _identify(self, card: drm.Card, view: View) -> Gpu:
        if card.pci not in self._known:
            device = drm.hexadecimal(card.path / "device") or 0
            integrated = _is_integrated(card, device, view.capacity)
            uuid = f"pci-{card.pci}"
            self._known[card.pci] = Gpu(
                index=len(self._known),
                uuid=uuid,
                name=intel_names.name_of(device, integrated),
                pci=card.pci,
                pool=RAM if integrated else PoolId(uuid),
                maker="Intel",
            )
        return self._known[card.pci]

    def _holders(self, view: View) -> tuple[Holder, ...]:
        """Who holds how much of a card, and of RAM through it. Of a card that sleeps they are
        named without a size: to ask for it would wake the card."""
        sizes: dict[tuple[tuple[int, ...], PoolId], Bytes | None] = {}
        for pci in view.cards:
            pool = self._known[pci].pool
            if pci in view.asleep:
                open_in = view.open_in(view.cards[pci]) if pool != RAM else ()
                sizes |= {((pid,), pool): None for pid in open_in}
                continue
            for client in view.clients[pci]:
                if held(client, OWN) is None:
                    sizes.setdefault((client.pids, pool), None)
                for place, regions in ((pool, OWN), (RAM, BORROWED)):
                    if size := held(client, regions):
                        before = sizes.get((client.pids, place)) or NONE
                        sizes[client.pids, place] = Bytes(before + size)
        return tuple(
            Holder(pids[0], pool, size, name_of(pids[0], self._root), pids[1:])
            for (pids, pool), size in sorted(sizes.items(), key=lambda item: item[0])
        )

    def _health(self, gpu: Gpu, card: drm.Card) -> Health:
        """Power is energy over the time since the last call: None the first time."""
        health, now = intel_health.read(card.path), self._clock()
        before = self._energy.pop(gpu.uuid, None)
        if health.energy is None:
            return health
        self._energy[gpu.uuid] = now, health.energy
        if before is None or now <= before[0] or health.energy < before[1]:  # counts anew
            return health
        return replace(health, power=(health.energy - before[1]) / (now - before[0]))


def _memory(card: drm.Card, view: View) -> tuple[Memory, str | None] | str:
    """Total and free, with a note to them; or why they cannot be had."""
    asleep = card.pci in view.asleep
    regions = [region for region in view.capacity if region[0] == card.pci]
    size = sum(view.capacity[region] for region in regions)
    if size and all(region in view.used for region in regions):
        return _left(size, sum(view.used[region] for region in regions)), None
    if view.rights.may_measure and not asleep:
        measured = view.measured(card.pci)
        if measured is not None:
            return measured, None
    size = size or _told_size(card.path) or 0
    if not size:
        return ASLEEP if asleep and view.rights.may_measure else NO_SIZE
    if not view.rights.sees_all:
        return UNTOLD
    if asleep:  # of a card that nobody has open, nobody holds anything
        return ASLEEP if view.open_in(card) else (_left(size, 0), SUMMED)
    used = total([held(client, OWN) for client in view.clients[card.pci]])
    return SILENT if used is None else (_left(size, used), SUMMED)


def _left(size: int, used: int) -> Memory:
    return Memory(Bytes(size), Bytes(max(0, size - used)))


def _add_pool(gpu: Gpu, told: tuple[Memory, str | None] | str, found: Found) -> None:
    if isinstance(told, str):
        found.blind.append(Blind(gpu.pool, told))
        return
    memory, note = told
    found.pools.append(MemoryPool(gpu.pool, PoolKind.DEDICATED, memory.total, memory.free))
    if note:
        found.notes.append(note.format(gpu.index))


def _borrowed(pci: str, view: View) -> Bytes | None:
    """What an integrated GPU holds of RAM. None unless all of it is seen."""
    if not view.rights.sees_all:
        return None
    return total([held(client, BORROWED) for client in view.clients[pci]])


def _is_integrated(card: drm.Card, device: int, capacity: Collection[Region]) -> bool:
    """Does it live in RAM? Its place alone misleads in a virtual machine, so it comes last."""
    own = any(pci == card.pci for pci, _ in capacity) or _told_size(card.path)
    return not own and not intel_names.is_card(device) and card.pci == INTEGRATED


def _told_size(device: Path) -> Bytes | None:
    """Bytes of its own memory, in files that only Intel's own kernels and the first xe have."""
    tiles = [drm.number(device / f"tile{n}/physical_vram_size_bytes") for n in range(4)]
    sizes = [*tiles, drm.number(device.parent / "lmem_total_bytes")]
    return Bytes(sum(size for size in sizes if size is not None and size > 0)) or None
