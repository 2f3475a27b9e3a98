"""What was seen of each model: when it was asked for, and what loading it took."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from collectors.reading import Bytes, PoolId, Seconds

from .actions import Evict
from .odds import Odds
from .past import TURNOVER, Ledger, Past, Tier, blend, finite, usual_reload, usual_wake
from .snapshot import EngineId, ModelId, ModelRef, Share

__all__ = ["LONGEST", "SHORTEST", "History", "Tier", "usual_reload"]

Json = dict[str, Any]

MOST = 2000  # models remembered; who was not seen for longest is forgotten
# A pool whose turnover nobody has seen yet is thought to be loaded anew in this time.
FIRST_TURN = 900.0
# How far ahead it matters that a model will be asked for again: a tenth of the time in which the
# pool is loaded anew. Of 0.03 to 1 the best over five traces, and little worse from .05 to .2.
AHEAD = 0.1
SHORTEST, LONGEST = 120.0, 6 * 3600.0
PRICE_RECENT = 0.1  # what the latest victims count in the price of a byte
# A request that is only seen by its traces is the one that was told of this shortly before.
SAME = 10.0

DISK = Tier.DISK  # by this name quickly found: a thousand models may be weighed for a plan

COMMON = ""  # the key of what is not about one model
_WRONG = (ValueError, TypeError, KeyError, IndexError, AttributeError)


class History:
    """Changed by whoever owns it, and read by whoever plans. Times are in seconds, of a clock
    that only goes forward and goes on over restarts: `time` makes them of a snapshot's.

    About 1.5 KiB for a model, of which `most` are remembered.
    """

    def __init__(self, most: int = MOST) -> None:
        self.odds = Odds()
        self._most = most
        self._pasts: OrderedDict[ModelRef, Past] = OrderedDict()
        self._pools: dict[PoolId, Ledger] = {}
        self._pace: dict[EngineId, float] = {}  # its loads, against what is usual for the size
        self._offset = 0.0
        self._latest = -math.inf
        self._changed: set[ModelRef] = set()
        self._gone: set[ModelRef] = set()

    # -- time

    def begin(self, taken_at: float, wall: float) -> None:
        """From now on a snapshot's `taken_at` means this Unix time, or the latest that was seen
        before if that is later."""
        self._offset = max(wall, self._latest) - taken_at

    def time(self, taken_at: float) -> float:
        return taken_at + self._offset

    def _now(self, now: float) -> float:
        self._latest = max(self._latest, now)
        return self._latest

    # -- what happens

    def arrived(self, ref: ModelRef, now: float, *, seen: bool = False) -> bool:
        """A request for `ref` came. `seen`: nobody told of it, it left traces; it is passed over
        where it is the one that was told of just before. False: passed over."""
        now = self._now(now)
        past = self._past(ref)
        if seen and now - past.told < SAME:
            return False
        if not seen:
            past.told = now
        self.odds.arrived(ref, now)
        past.last = now
        past.dismissed = False
        past.requests += 1
        past.popular = past.popularity(now) + 1.0
        past.popular_at = now
        self._credit(past, now)
        return True

    def loaded(
        self,
        ref: ModelRef,
        took: Seconds | None,
        shares: Iterable[Share],
        now: float,
        tier: Tier = Tier.DISK,
    ) -> None:
        """It is there, `took` seconds after it was asked for; None: nobody knows how long it
        took."""
        now = self._now(now)
        past = self.found(ref, shares)
        for pool, size in past.held:
            self._ledger(pool, now).loaded += size / TURNOVER
        if took is not None and took > 0.0:
            if tier is Tier.ASLEEP:
                past.wake = Seconds(blend(past.wake, took))
            else:
                past.reload = Seconds(blend(past.reload, took))
                if past.size:
                    ratio = took / usual_reload(past.size)
                    self._pace[ref.engine] = blend(self._pace.get(ref.engine), ratio)
        self._credit(past, now)

    def found(self, ref: ModelRef, shares: Iterable[Share]) -> Past:
        """It is there, and nobody knows since when."""
        past = self._past(ref)
        sizes: dict[PoolId, int] = {}
        for share in shares:
            sizes[share.pool] = sizes.get(share.pool, 0) + share.size
        past.held = tuple(sorted(sizes.items()))
        return past

    def left(self, ref: ModelRef, now: float) -> None:
        """It is gone from memory, whoever did it."""
        now = self._now(now)
        past = self._pasts.get(ref)
        if past is None:
            return
        if past.pool is not None:
            ledger = self._ledger(past.pool, now)
            ledger.credit = max(ledger.credit, self.credit(ref))
            ledger.worth = max(ledger.worth, self.worth(ref))
        past.requests = 0
        self._changed.add(ref)

    def dismissed(self, ref: ModelRef) -> None:
        """It was told to go, by a person or a rule, and not for want of memory."""
        if ref in self._pasts:
            self._past(ref).dismissed = True

    def gave_way(self, victims: Iterable[Evict], now: float) -> None:
        """These went together to make room: what their bytes have cost."""
        now = self._now(now)
        losses: dict[PoolId, float] = {}
        sizes: dict[PoolId, int] = {}
        for victim in victims:
            whole = sum(s.size for s in victim.frees)
            if victim.loss is None or not whole:
                continue
            for share in victim.frees:
                part = victim.loss.expected * share.size / whole
                losses[share.pool] = losses.get(share.pool, 0.0) + part
                sizes[share.pool] = sizes.get(share.pool, 0) + share.size
        for pool, size in sizes.items():
            if size:
                ledger = self._ledger(pool, now)
                ledger.price += PRICE_RECENT * (losses[pool] / size - ledger.price)

    def _past(self, ref: ModelRef) -> Past:
        past = self._pasts.get(ref)
        if past is None:
            past = self._pasts[ref] = Past()
            self._gone.discard(ref)
            while len(self._pasts) > self._most:
                oldest, _ = self._pasts.popitem(last=False)
                self.odds.forget(oldest)
                self._changed.discard(oldest)
                self._gone.add(oldest)
        self._pasts.move_to_end(ref)
        self._changed.add(ref)
        return past

    def _ledger(self, pool: PoolId, now: float) -> Ledger:
        ledger = self._pools.get(pool)
        if ledger is None:
            ledger = self._pools[pool] = Ledger(now, now)
        if now > ledger.at:
            ledger.loaded *= math.exp((ledger.at - now) / TURNOVER)
            ledger.at = now
        return ledger

    def _credit(self, past: Past, now: float) -> None:
        if past.pool is not None:
            ledger = self._ledger(past.pool, now)
            past.credit, past.worth = ledger.credit, ledger.worth

    # -- what is known

    def __contains__(self, ref: ModelRef) -> bool:
        return ref in self._pasts

    def known(self) -> Iterator[ModelRef]:
        """Everybody who is remembered, who was not seen for longest first."""
        return iter(self._pasts)

    def held(self, ref: ModelRef) -> tuple[Share, ...]:
        """What it held when it was last loaded."""
        past = self._pasts.get(ref)
        return () if past is None else tuple(Share(p, Bytes(n)) for p, n in past.held)

    def size(self, ref: ModelRef) -> int:
        """Bytes that it held when it was last loaded; 0: it never was."""
        past = self._pasts.get(ref)
        return 0 if past is None else past.size

    def pool(self, ref: ModelRef) -> PoolId | None:
        """Where most of them were."""
        past = self._pasts.get(ref)
        return None if past is None else past.pool

    def is_wanted(self, ref: ModelRef) -> bool:
        """Was it asked for, and not told to go since?"""
        past = self._pasts.get(ref)
        return past is not None and past.last is not None and not past.dismissed

    def last(self, ref: ModelRef) -> float | None:
        """When it was last asked for. None: never seen."""
        past = self._pasts.get(ref)
        return None if past is None else past.last

    def reload_of(self, ref: ModelRef, tier: Tier = Tier.DISK) -> Seconds | None:
        """What loading it again took lately. None: never seen."""
        past = self._pasts.get(ref)
        if past is None:
            return None
        return past.wake if tier is Tier.ASLEEP else past.reload

    def reload(self, ref: ModelRef, size: int, tier: Tier = Tier.DISK) -> Seconds:
        """What loading `size` bytes of it would take: as it did, else as loads of its engine do,
        else as is usual."""
        past = self._pasts.get(ref)
        full = None if past is None else past.reload
        if full is None:
            full = Seconds(self._pace.get(ref.engine, 1.0) * usual_reload(size))
        if tier is DISK:
            return full
        if past is not None and past.wake is not None:
            return past.wake
        return Seconds(min(full, usual_wake(size)))

    def chance(self, ref: ModelRef, now: float, horizon: float, idle: float = 0.0) -> float:
        """How likely it is asked for within `horizon` seconds: 0 to 1. See Odds."""
        return self.odds.chance(ref, now, horizon, idle)

    def horizon(self, pool: PoolId, capacity: int, now: float) -> Seconds:
        """How far ahead it matters that a model of `pool` will be asked for again."""
        first = capacity / FIRST_TURN
        ledger = self._pools.get(pool)
        rate = first
        if ledger is not None:
            rate = ledger.loaded * math.exp(min(0.0, ledger.at - now) / TURNOVER)
            rate += first * math.exp(min(0.0, ledger.since - now) / TURNOVER)
        turn = capacity / rate if rate > 0.0 else LONGEST / AHEAD
        return Seconds(min(max(AHEAD * turn, SHORTEST), LONGEST))

    def price(self, pool: PoolId) -> float:
        """What a byte of `pool` has cost lately, in seconds of loading."""
        ledger = self._pools.get(pool)
        return 0.0 if ledger is None else ledger.price

    def popularity(self, ref: ModelRef, now: float) -> float:
        """Requests so far, of which old ones fade."""
        past = self._pasts.get(ref)
        return 0.0 if past is None else past.popularity(now)

    def credit(self, ref: ModelRef, size: int | None = None) -> float:
        """What Landlord leaves it of what its last request paid: seconds of loading a byte."""
        past = self._pasts.get(ref)
        size = size or (0 if past is None else past.size) or 1
        return (0.0 if past is None else past.credit) + self.reload(ref, size) / size

    def worth(self, ref: ModelRef, size: int | None = None) -> float:
        """The same, times the requests since it was loaded: GreedyDual-Size-Frequency."""
        past = self._pasts.get(ref)
        size = size or (0 if past is None else past.size) or 1
        count = 1 if past is None else max(1, past.requests)
        return (0.0 if past is None else past.worth) + count * self.reload(ref, size) / size

    # -- keeping

    def save(self) -> tuple[dict[str, Json], list[str]]:
        """What has changed since the last time, as JSON by key, and keys of who is forgotten."""
        rows = {
            str(ref): {"of": list(ref), **self._pasts[ref].row(), "odds": self.odds.row(ref)}
            for ref in self._changed
        }
        gone = [str(ref) for ref in self._gone]
        if rows or gone:
            rows[COMMON] = {
                "latest": self._latest,
                "odds": self.odds.save(),
                "pace": dict(self._pace),
                "pools": {id: ledger.row() for id, ledger in self._pools.items()},
            }
        self._changed.clear()
        self._gone.clear()
        return rows, gone

    def restore(self, rows: Mapping[str, Json]) -> int:
        """Read back what was saved. Returns how many rows are no such thing: they are passed
        over."""
        bad = 0
        pasts: list[tuple[float, ModelRef, Past, Any]] = []
        for key, row in rows.items():
            try:
                if key == COMMON:
                    self._restore(row)
                else:
                    engine, model = row["of"]
                    ref = ModelRef(EngineId(str(engine)), ModelId(str(model)))
                    past = Past.of(row)
                    pasts.append((past.last or 0.0, ref, past, row["odds"]))
            except _WRONG:
                bad += 1
        for last, ref, past, odds in sorted(pasts, key=lambda p: p[:2])[-self._most :]:
            try:
                if odds is not None:
                    self.odds.take(ref, odds)
            except _WRONG:
                bad += 1
            self._pasts[ref] = past
            self._latest = max(self._latest, last)
        return bad

    def _restore(self, row: Json) -> None:
        pools = {PoolId(str(p)): Ledger.of(a) for p, a in row["pools"].items()}
        pace = {EngineId(str(e)): finite(r) for e, r in row["pace"].items()}
        latest = finite(row["latest"])
        self.odds.restore(row["odds"])
        self._pools, self._pace, self._latest = pools, pace, max(self._latest, latest)
