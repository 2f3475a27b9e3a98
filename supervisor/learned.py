"""What each model held when it was loaded, written down for the next time."""

from __future__ import annotations

from dataclasses import dataclass, field

from collectors.reading import Bytes

from .core.snapshot import ModelRef, Share, Snapshot, State
from .journal import Journal

# A model's footprint is written down again when it has grown by this much.
GROWN = 1.01


@dataclass(slots=True)
class Learned:
    journal: Journal
    _sizes: dict[ModelRef, Bytes] = field(default_factory=dict)

    def see(self, snapshot: Snapshot) -> None:
        """Remember the largest footprint of each model that is loaded."""
        listed = {i.ref for i in snapshot.installed}
        self._sizes = {r: size for r, size in self._sizes.items() if r in listed}
        for resident in snapshot.residents:
            if resident.state is not State.LOADED:
                continue
            if resident.size > self._sizes.get(resident.ref, 0) * GROWN:
                self._sizes[resident.ref] = resident.size
                shares = tuple(Share(p, resident.holds(p)) for p in sorted(resident.pools))
                self.journal.remember(resident.ref, shares)
