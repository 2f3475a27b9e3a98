"""How full each pool was, for an hour and for a day, and when models came and went. In memory
alone."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from collectors.reading import Bytes, PoolId

from .core.headroom import Room

Json = dict[str, Any]

HOUR, DAY = 3600, 86400
FINE, COARSE = 5, 60  # seconds from one point to the next
MARKS = 2000
MISSING = -(2**63)  # of a pool that could not be read


class Mark(NamedTuple):
    """A model came, or went, at this Unix time. `pool` None: nobody knows what it held. `decision`
    None: it was not our doing."""

    at: float
    model: str
    pool: str | None
    size: int | None
    what: str  # "evicted", "left", "loaded" or "failed"
    why: str
    decision: str | None


class _Points:
    """Of one pool, one for each step in which it was looked at: its tightest moment there."""

    __slots__ = ("_columns", "_most", "_step")

    def __init__(self, step: int, span: int) -> None:
        self._step, self._most = step, span // step + 1  # both ends
        self._columns = tuple(array("q") for _ in range(4))  # when, free, held, headroom

    def add(self, at: float, free: int, held: int, headroom: int) -> None:
        when = int(at) // self._step * self._step
        times, _, _, headrooms = self._columns
        while times and times[-1] > when:  # the clock was set back
            for column in self._columns:
                column.pop()
        if times and times[-1] == when:
            if headroom != MISSING and (headrooms[-1] == MISSING or headroom < headrooms[-1]):
                for column, value in zip(self._columns[1:], (free, held, headroom), strict=True):
                    column[-1] = value
            return
        for column, value in zip(self._columns, (when, free, held, headroom), strict=True):
            column.append(value)
            if len(column) >= 2 * self._most:  # now and then, not each time
                del column[: -self._most]

    def since(self, at: float) -> Iterator[list[int | None]]:
        """Each column, from that Unix time on."""
        times = self._columns[0]
        first = next((i for i in reversed(range(len(times))) if times[i] < at), -1) + 1
        for column in self._columns:
            yield [None if v == MISSING else v for v in column[first:]]


@dataclass(slots=True)
class _Pool:
    total: Bytes | None = None
    reserve: Bytes | None = None
    seen_at: float = 0.0
    fine: _Points = field(default_factory=lambda: _Points(FINE, HOUR))
    coarse: _Points = field(default_factory=lambda: _Points(COARSE, DAY))

    def add(self, at: float, free: int, held: int, headroom: int) -> None:
        self.seen_at = at
        self.fine.add(at, free, held, headroom)
        self.coarse.add(at, free, held, headroom)


@dataclass(slots=True)
class Timeline:
    _pools: dict[PoolId, _Pool] = field(default_factory=dict)
    _marks: deque[Mark] = field(default_factory=lambda: deque(maxlen=MARKS))

    def see(self, at: float, rooms: Iterable[Room], blind: Iterable[PoolId] = ()) -> None:
        """Every pool as it is `at` a Unix time; `blind` are those that could not be read."""
        for room in rooms:
            pool = self._pools.setdefault(room.pool, _Pool())
            pool.total, pool.reserve = room.total, room.reserve
            pool.add(at, room.free, room.held, room.headroom)
        for id in blind:
            self._pools.setdefault(id, _Pool()).add(at, MISSING, MISSING, MISSING)
        for id in [id for id, pool in self._pools.items() if at - pool.seen_at > DAY]:
            del self._pools[id]

    def outcome(self, row: Mapping[str, Any], cause: str = "") -> None:
        """What became of an action, as `rows.outcome_row` has it; `cause` is its decision's."""
        what = {"evict": "evicted", "load": "loaded"}.get(row["action"])
        if what is None or row["result"] == "skipped":
            return
        if row["result"] == "failed":
            what, why = "failed", row["detail"]
        else:
            why = ": ".join(part for part in (row.get("why", ""), cause) if part)
        self._mark(row, row["shares"], what, why, row["decision"])

    def departure(self, row: Mapping[str, Any]) -> None:
        """A model left by itself, as `rows.departure_row` has it."""
        self._mark(row, row["held"], "left", row["why"], None)

    def _mark(
        self,
        row: Mapping[str, Any],
        shares: Iterable[Mapping[str, Any]],
        what: str,
        why: str,
        decision: str | None,
    ) -> None:
        sizes: dict[str | None, int | None] = {s["pool"]: s["size"] for s in shares if s["size"]}
        for pool, size in sizes.items() or ((None, None),):
            self._marks.append(Mark(row["at"], row["model"], pool, size, what, why, decision))

    def told(self, now: float, minutes: int) -> Json:
        """The last `minutes` before `now`, as `GET /api/v1/timeline` answers. Bytes are whole,
        times Unix time."""
        fine, since = minutes * 60 <= HOUR, now - minutes * 60
        pools = {}
        for id, pool in sorted(self._pools.items()):
            columns = (pool.fine if fine else pool.coarse).since(since)
            rows = dict(zip(("t", "free", "held", "headroom"), columns, strict=True))
            pools[id] = {"total": pool.total, "reserve": pool.reserve, **rows}
        marks = [m._asdict() for m in self._marks if m.at >= since]
        return {"step": FINE if fine else COARSE, "pools": pools, "marks": marks}
