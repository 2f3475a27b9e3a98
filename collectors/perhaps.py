"""A collector for hardware that may not be there yet: a driver loaded later, a card plugged in."""

from __future__ import annotations

import time
from collections.abc import Callable

from .reading import Collector, Releasable, Sample, Seconds, Tier

LOOK_AGAIN = Seconds(60.0)  # where there is nothing
FIRST = Seconds(2.5)  # for a read that makes it: as long as the slowest of them may take


class Perhaps:
    """What `make` gives, from the moment that `present` is true. Until then it reads nothing,
    or says `note`. Once made it stays: hardware that is gone is a fault to be told.

    `pools`: it may have memory of its own."""

    def __init__(
        self,
        name: str,
        present: Callable[[], bool],
        make: Callable[[], Collector],
        note: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        pools: bool = True,
    ) -> None:
        self.name = name
        self.deadline = FIRST
        self._present, self._make, self._clock = present, make, clock
        self._nothing = Sample(notes=() if note is None else (note,))
        self._made: Collector | None = None
        self._looked_at: float | None = None
        self._heard = not pools

    def read(self, tiers: Tier) -> Sample:
        if self._made is None and not self.absent and self._looks():
            self._made = self._make()
            self.deadline = self._made.deadline
        if self._made is None:
            return self._nothing
        sample = self._made.read(tiers)
        self._heard = True
        return sample

    @property
    def unheard(self) -> bool:
        """It is there, and has never told what memory it has."""
        return self._made is not None and not self._heard

    @property
    def absent(self) -> bool:
        """There was nothing when it was last looked for, and it is too soon to look again: a
        read would say what the last one said."""
        at = self._looked_at
        return self._made is None and at is not None and self._clock() - at < LOOK_AGAIN

    def _looks(self) -> bool:
        self._looked_at = self._clock()
        return self._present()

    # -- what a collector that holds devices open can do besides

    @property
    def _holds(self) -> Releasable | None:
        return self._made if isinstance(self._made, Releasable) else None

    @property
    def holds(self) -> bool:
        """Is there anything to let go of?"""
        return self._holds is not None

    @property
    def released_until(self) -> Seconds | None:
        return None if self._holds is None else self._holds.released_until

    @property
    def closed(self) -> bool:
        return self._holds is None or self._holds.closed

    def release(self, until: Seconds) -> None:
        if self._holds is not None:
            self._holds.release(until)

    def resume(self) -> None:
        if self._holds is not None:
            self._holds.resume()

    def wake(self) -> None:
        if self._holds is not None:
            self._holds.wake()

    def close(self) -> None:
        """End what was made, where it has an end: a process of its own."""
        close = getattr(self._made, "close", None)
        if close is not None:
            close()
