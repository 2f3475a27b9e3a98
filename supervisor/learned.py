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
        """Remember the largest footprint of each model that is loaded, load by load: the journal
        forgets what was not seen for long."""
        there = {r.ref for r in snapshot.residents}
        read = {p.id for p in snapshot.pools}
        self._sizes = {r: size for r, size in self._sizes.items() if r in there}
        for resident in snapshot.residents:
            if resident.state is not State.LOADED:
                continue
            if resident.size > self._sizes.get(resident.ref, 0) * GROWN:
                known = self.journal.footprint(resident.ref) if snapshot.blind else None
                if not read.issuperset({*resident.pools, *(s.pool for s in known or ())}):
                    continue  # what it holds where nobody can look is not nothing
                self._sizes[resident.ref] = resident.size
                shares = tuple(Share(p, resident.holds(p)) for p in sorted(resident.pools))
                self.journal.remember(resident.ref, shares)
