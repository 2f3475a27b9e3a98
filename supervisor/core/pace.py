"""How soon to look again: often while memory is short or moving, seldom at rest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from collectors.reading import Bytes, PoolId, Seconds

from .headroom import Room
from .snapshot import Snapshot, State

WINDOW = Seconds(60.0)  # for this long the fastest fall is remembered
FASTEST, SLOWEST = 0.25, 3.0  # periods, in parts of the base
STALE = Seconds(10.0)  # a snapshot that is older says nothing of now
LOOKS = 4  # so many looks before a pool that falls as fast again is empty

MOVING = (State.LOADING, State.LEAVING)


def too_old(period: Seconds) -> Seconds:
    """From which age on a snapshot says nothing of now, where one is taken each `period`."""
    return Seconds(max(STALE, 2 * period))


@dataclass(slots=True)
class Pace:
    """`base` is the period while models are loaded and memory is at ease, in seconds.

    FASTEST of it is the shortest period, SLOWEST the longest. A loader can fill a card
    within a second, so no pace protects a load: that is what reservations are for.
    """

    base: Seconds
    _free: dict[PoolId, tuple[float, Bytes]] = field(default_factory=dict)
    _falls: dict[PoolId, list[tuple[float, float]]] = field(default_factory=dict)

    def next(self, snapshot: Snapshot, rooms: Iterable[Room], *, busy: bool) -> Seconds:
        """Seconds until the next look. `busy`: a plan is being carried out."""
        fastest, calm = self.base * FASTEST, self.base
        if not snapshot.residents and not snapshot.reservations:
            calm = Seconds(self.base * SLOWEST)
        period: float = calm
        for room in rooms:
            fall = self._fall(room, snapshot.taken_at)
            if room.headroom < 0:
                period = fastest
            elif fall > 0:
                period = min(period, room.headroom / fall / LOOKS)
        if busy or any(r.state in MOVING for r in snapshot.residents):
            period = fastest
        return Seconds(max(fastest, period))

    def _fall(self, room: Room, now: float) -> float:
        """The fastest fall of the last minute, in bytes a second."""
        then, before = self._free.get(room.pool, (now, room.free))
        falls = [f for f in self._falls.get(room.pool, ()) if now - f[0] <= WINDOW]
        if now > then and before > room.free:
            falls.append((now, (before - room.free) / (now - then)))
            # Of what is slower and older nobody will ask again.
            last = falls[-1]
            falls = [*(f for f in falls[:-1] if f[1] > last[1]), last]
        self._free[room.pool], self._falls[room.pool] = (now, room.free), falls
        return max((rate for _, rate in falls), default=0.0)
