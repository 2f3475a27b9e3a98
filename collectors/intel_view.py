"""What one read of the Intel GPUs looks at: each thing once, and only where it is needed.

Of a GPU that sleeps nothing is read that would wake it: who has it open is told by links.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from . import dmem, drm
from .dmem import Region
from .level_zero import Memory
from .reading import Bytes
from .rights import Rights, rights

VENDOR = 0x8086
DRIVERS = ("xe", "i915")

# Regions as the drivers name them. What firmware keeps ("stolen") is in nobody's total.
OWN = ("vram", "local")
BORROWED = ("system", "gtt")


class Meter(Protocol):
    """As Level Zero: total and free bytes by PCI address."""

    def memory(self, only: Collection[str]) -> Mapping[str, Memory]: ...


class Users:
    """Which processes to look at for open cards: to look at 400 takes 12 ms, at the ten
    that had one open 0.5. So between full looks only those, and whoever is new since.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._had: set[int] = set()
        self._seen: set[int] | None = None  # at the last full look; None: there was none

    def pids(self, everyone: bool) -> list[int]:
        """Lowest first. A process that was there and opens its first card later is found at the
        next full look."""
        now = drm.all_pids(self._root)
        if everyone or self._seen is None:
            self._seen, self._had = set(now), set()
            return now
        return [pid for pid in now if pid in self._had or pid not in self._seen]

    def found(self, pids: Iterable[int]) -> None:
        """These have a card open."""
        self._had.update(pids)


class View:
    """The machine at one moment. `meter` gets Level Zero, or None; `everyone`: look at all
    processes."""

    def __init__(
        self, root: Path, meter: Callable[[], Meter | None], users: Users, everyone: bool
    ) -> None:
        self._root, self._meter, self._users, self._everyone = root, meter, users, everyone
        self.cards = {c.pci: c for c in cards(root)}  # by PCI address, in the order of the cards
        self.asleep = {
            pci
            for pci, card in self.cards.items()
            if (drm.runtime_status(card) or "").startswith("suspend")
        }

    def look(self) -> None:
        """Who has which GPU open, now."""
        _ = self.clients

    @property
    def awake(self) -> list[str]:
        return [pci for pci in self.cards if pci not in self.asleep]

    @functools.cached_property
    def rights(self) -> Rights:
        return rights(self._root)

    @functools.cached_property
    def capacity(self) -> Mapping[Region, Bytes]:
        """Bytes of each memory that a card has of its own, where the kernel counts them."""
        sizes = dmem.capacity(self._root) if self.cards else {}
        return {(pci, name): size for (pci, name), size in sizes.items() if name.startswith(OWN)}

    @functools.cached_property
    def used(self) -> Mapping[Region, Bytes]:
        return dmem.current(self._root) if self.capacity else {}

    def measured(self, pci: str) -> Memory | None:
        """By Level Zero, of a GPU that is awake. Only for whoever may measure."""
        meter = self._meter()
        return meter.memory([pci]).get(pci) if meter else None

    @functools.cached_property
    def _pids(self) -> list[int]:
        return self._users.pids(self._everyone)

    @functools.cached_property
    def clients(self) -> dict[str, list[drm.Client]]:
        """Those of each GPU that is awake, by PCI address."""
        found: dict[str, list[drm.Client]] = {pci: [] for pci in self.awake}
        for client in drm.clients(self._root, self._pids, only=found) if found else ():
            if client.driver in DRIVERS:
                found[client.pci].append(client)
                self._users.found(client.pids)
        return found

    def open_in(self, card: drm.Card) -> list[int]:
        """Processes that have this card open, lowest first."""
        names = (f"card{card.index}", card.render or "")
        return sorted({pid for name in names for pid in self._opened.get(name, ())})

    @functools.cached_property
    def _opened(self) -> dict[str, set[int]]:
        """Processes by the name of the file in /dev/dri that they have open."""
        found: dict[str, set[int]] = {}
        for pid in self._pids:
            folder = f"{self._root}/proc/{pid}/fd"
            try:
                names = os.listdir(folder)
            except OSError:
                continue  # it ended, or belongs to someone else
            for name in names:
                try:
                    path, _, file = os.readlink(f"{folder}/{name}").rpartition("/")
                except OSError:
                    continue  # closed meanwhile
                if path.endswith("/dri"):
                    found.setdefault(file, set()).add(pid)
                    self._users.found((pid,))
        return found


def cards(root: Path) -> list[drm.Card]:
    return [c for c in drm.nodes(root) if c.vendor == VENDOR and c.driver in DRIVERS]


def held(client: drm.Client, regions: tuple[str, ...]) -> Bytes | None:
    """Bytes of these regions. None where the driver tells no memory: i915 before Linux 6.8."""
    memory = client.memory
    if not memory:
        return None
    return Bytes(sum(size for region, size in memory.items() if region.startswith(regions)))


def total(sizes: list[Bytes | None]) -> Bytes | None:
    """None where one is not known: the others would pass for all."""
    known = [size for size in sizes if size is not None]
    return Bytes(sum(known)) if len(known) == len(sizes) else None
