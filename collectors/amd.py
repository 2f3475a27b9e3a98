"""AMD GPUs: one pool for each card, and a part of RAM for each GPU that is built into a CPU.

Everything comes from the kernel's files, so no library and no right is needed; only to see
other users' processes takes the right to look at them. A card that sleeps is let sleep.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from pathlib import Path

from . import amd_health, amd_names, drm, kfd
from .drm_gpu import Found, Gpu
from .process import name_of
from .reading import (
    NONE,
    RAM,
    Bytes,
    Carveout,
    Holder,
    MemoryPool,
    PoolId,
    PoolKind,
    Sample,
    Seconds,
    Tier,
)

VENDOR = 0x1002
DRIVER = "amdgpu"
NO_GPU = "no AMD GPU on this machine"

_Pids = tuple[int, ...]  # all that hold some bytes, lowest first


@dataclass(frozen=True, slots=True)
class _Memory:
    """Bytes of VRAM, and of RAM that the GPU may take (GTT). What cannot be read is None."""

    total: Bytes | None = None
    used: Bytes | None = None
    borrowable: Bytes | None = None
    borrowed: Bytes | None = None


def present(root: Path) -> bool:
    """Is there an AMD card? Wakes none."""
    return any(card.vendor == VENDOR for card in drm.nodes(root))


class AmdCollector:
    """`root` is where /proc and /sys are looked for."""

    name = "amd"
    deadline = Seconds(1.0)

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._known: dict[str, Gpu] = {}  # by PCI address: every GPU ever seen
        self._sizes: dict[str, _Memory] = {}  # by PCI address: totals, for when it sleeps
        self._cramped: tuple[str, ...] = ()  # said until processes are listed again

    def read(self, tiers: Tier) -> Sample:
        """Never raises: a card that cannot be read makes only its own pool blind."""
        found, awake = Found(), dict[str, tuple[Gpu, drm.Card]]()
        seen = dict[str, tuple[Gpu, drm.Card]]()
        for card in drm.nodes(self._root):
            if card.vendor != VENDOR:
                continue
            if card.driver != DRIVER:
                who = card.driver or "no driver"
                found.notes.append(f"AMD GPU {card.pci} has {who}, which tells no memory")
                continue
            asleep = (drm.runtime_status(card) or "").startswith("suspend")
            gpu = self._identify(card, asleep)
            seen[card.pci] = gpu, card
            found.devices.append(gpu.device(asleep))
            if not asleep:
                awake[card.pci] = gpu, card
                if Tier.HEALTH in tiers:
                    found.health[gpu.uuid] = amd_health.read(card.path)
        for gpu in (g for pci, g in self._known.items() if pci not in seen):
            found.is_gone(gpu, f"{DRIVER} no longer lists it")
        if not self._known and not found.notes:
            found.notes.append(NO_GPU)
        # Before the memory: what somebody holds then is in what is read as used.
        holders = self._holders(awake) if Tier.PROCESSES in tiers else None
        for pci, (gpu, card) in seen.items():
            self._add_memory(gpu, self._memory(card, pci not in awake), pci not in awake, found)
        return Sample(
            pools=tuple(found.pools),
            devices=tuple(sorted(found.devices, key=lambda d: d.index)),
            carveouts=tuple(found.carveouts),
            holders=holders,
            health=found.health if Tier.HEALTH in tiers else None,
            blind=tuple(found.blind),
            notes=(*found.notes, *self._cramped),
        )

    def _driver(self) -> str:
        """The version that the module states, as AMD's own packages do; else the kernel's."""
        version = drm.attribute(self._root / f"sys/module/{DRIVER}/version")
        kernel = drm.attribute(self._root / "proc/sys/kernel/osrelease")
        return version or (f"{DRIVER} of Linux {kernel}" if kernel else DRIVER)

    def _identify(self, card: drm.Card, asleep: bool) -> Gpu:
        if card.pci not in self._known:
            device = drm.hexadecimal(card.path / "device") or 0
            unique = drm.hexadecimal(card.path / "unique_id")
            uuid = f"GPU-{unique:016x}" if unique else f"pci-{card.pci}"
            self._known[card.pci] = Gpu(
                index=len(self._known),
                uuid=uuid,
                name=drm.attribute(card.path / "product_name")
                or amd_names.name_of(device, drm.hexadecimal(card.path / "revision"), self._root),
                pci=card.pci,
                pool=RAM if self._is_integrated(card, device, asleep) else PoolId(uuid),
                maker="AMD",
                driver=self._driver(),
            )
        return self._known[card.pci]

    def _is_integrated(self, card: drm.Card, device: int, asleep: bool) -> bool:
        """Does it live in RAM? No file says so; the surest signs come first.

        Sizes alone mislead both ways: a small card in a big machine may borrow more than it
        has, and firmware may set aside more than is left to borrow.
        """
        if any(node.render == card.render and node.cores for node in kfd.nodes(self._root)):
            return True
        if _bytes(f"{card.path}/mem_info_vram_total") == 0:
            return True  # not even set aside by firmware, as in an MI300A: RAM is all there is
        if (card.path / "mem_busy_percent").exists():
            return False
        if device in amd_names.INTEGRATED:
            return True
        if asleep:
            return False  # the kernel powers down cards, never a part of the CPU
        told = amd_health.is_integrated(card.path)
        if told is not None:
            return told
        if drm.attribute(card.path / "mem_info_vram_vendor") not in (None, "", "unknown"):
            return False  # chips of its own
        memory = self._memory(card, asleep)
        return (memory.borrowable or 0) > (memory.total or 0)

    def _memory(self, card: drm.Card, asleep: bool) -> _Memory:
        """All that it has is free while it sleeps, as what it held is in RAM then."""
        if asleep:
            if card.pci not in self._sizes:  # a size alone is told from the driver's notes
                total = _bytes(f"{card.path}/mem_info_vram_total")
                return _Memory(total, None if total is None else NONE)
            return self._sizes[card.pci]
        names = ("vram_total", "vram_used", "gtt_total", "gtt_used")
        memory = _Memory(*(_bytes(f"{card.path}/mem_info_{name}") for name in names))
        if memory.total is not None:
            self._sizes[card.pci] = _Memory(memory.total, NONE, memory.borrowable)
        return memory

    def _add_memory(self, gpu: Gpu, memory: _Memory, asleep: bool, found: Found) -> None:
        total, used = memory.total, memory.used
        if total is None or used is None:
            why = "asleep" if asleep else f"{DRIVER} does not tell its memory now"
            found.cannot_read(gpu, why)
            return
        free = Bytes(max(0, total - used))
        if gpu.pool == RAM:
            part = Carveout(gpu.uuid, total, free, memory.borrowable, memory.borrowed)
            found.carveouts.append(part)
        else:
            found.pools.append(MemoryPool(gpu.pool, PoolKind.DEDICATED, total, free))

    # -- who holds what

    def _holders(self, awake: Mapping[str, tuple[Gpu, drm.Card]]) -> tuple[Holder, ...]:
        clients: dict[str, list[drm.Client]] = {pci: [] for pci in awake}
        for client in drm.clients(self._root, only=awake) if awake else ():
            if client.driver == DRIVER:
                clients[client.pci].append(client)
        nodes = {node.render: node.gpu for node in kfd.nodes(self._root)} if awake else {}
        holders: list[Holder] = []
        cramped: dict[str, None] = {}
        name = cache(lambda pid: name_of(pid, self._root))
        for pci, (gpu, card) in awake.items():
            compute = kfd.held(self._root, nodes[card.render]) if card.render in nodes else {}
            own, borrowed = by_holder(clients[pci], compute, integrated=gpu.pool == RAM)
            for pool, sizes in ((gpu.pool, own), (RAM, borrowed)):
                for (pid, *others), size in sorted(sizes.items(), key=itemgetter(0)):
                    holders.append(Holder(pid, pool, size, name(pid), tuple(others)))
            if gpu.pool != RAM:
                cramped |= dict.fromkeys(
                    f"AMD GPU {gpu.index} had too little memory for {name(pid) or 'a program'} "
                    f"(pid {pid}): a part was moved to RAM"
                    for pid in _evicted(clients[pci])
                )
        self._cramped = tuple(cramped)
        return tuple(holders)


def by_holder(
    clients: Iterable[drm.Client], compute: Mapping[int, Bytes], integrated: bool
) -> tuple[dict[_Pids, Bytes | None], dict[_Pids, Bytes]]:
    """Bytes of the GPU's own pool and bytes borrowed from RAM, by all who hold them.

    `compute` tells of the same memory a second time, so the larger of the two counts; it is
    all there is for a process that may not be looked at.
    """
    own: Counter[_Pids] = Counter()
    borrowed: Counter[_Pids] = Counter()
    silent: set[_Pids] = set()
    for client in clients:
        memory = client.memory
        if not memory:
            silent.add(client.pids)
        own[client.pids] += memory.get("vram", NONE)
        # Not "cpu": those are mostly a program's own pages, which are in its resident set.
        (own if integrated else borrowed)[client.pids] += memory.get("gtt", NONE)
    for pid, size in compute.items():
        told = sum(held for pids, held in own.items() if pid in pids)
        own[pid,] += max(0, size - told)
    known: dict[_Pids, Bytes | None] = {pids: Bytes(held) for pids, held in own.items() if held}
    for pids in silent:
        known.setdefault(pids, None)
    return known, {pids: Bytes(held) for pids, held in borrowed.items() if held}


def _evicted(clients: Iterable[drm.Client]) -> list[int]:
    """Processes whose VRAM the driver had to move out."""
    return [c.pids[0] for c in clients if drm.size(c.fields.get("amd-evicted-vram", ""))]


def _bytes(path: str) -> Bytes | None:
    return drm.size(drm.attribute(path) or "")
