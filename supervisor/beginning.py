"""A daemon's first moments: what it decides by itself waits until it knows about whom."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

from collectors.reading import Seconds

from .core.snapshot import EngineId, Snapshot

log = logging.getLogger("ullage.loop")

# Engines that are looked for have answered a moment later, those that are silent after 5 s. Who is
# below the hard line waits no longer than this for one that never ends to be asked.
MOST = Seconds(10.0)


@dataclass(slots=True)
class Beginning:
    """`searching`: engines are being looked for, and have not been found yet. Without a search it
    is over from the start."""

    searching: bool = False
    over: bool = True
    _until: Seconds | None = None

    def search(self) -> None:
        """Somebody looks for engines, and will tell of those that he finds."""
        self.searching, self.over, self._until = True, False, None

    def found(self) -> None:
        self.searching = False

    def see(self, snapshot: Snapshot, engines: Collection[EngineId]) -> None:
        """It is over with the first snapshot that has each of `engines`: one that was begun before
        they were found, or for an alarm, has not."""
        if self.over:
            return
        if self._until is None:
            self._until = Seconds(snapshot.taken_at + MOST)
        self.over = not self.searching and {e.id for e in snapshot.engines}.issuperset(engines)
        if not self.over and snapshot.taken_at >= self._until:
            log.warning("not every engine is known after %g s: deciding without the others", MOST)
            self.over = True
