"""What models were seen to hold: loaded, at the height of a load, and asleep."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from collectors.reading import RAM, Bytes, PoolId
from supervisor.core.footprint import Moment
from supervisor.core.snapshot import EngineId, ModelId, ModelRef, Share, Source

from .schema import Peak, drop_holding, write_holding
from .store import Statement

# A holding is the most that was held today or on the last day before that it was seen: a smaller
# context shows within two days of use, a light load does not hide a heavy one.
WINDOW = 86400.0
# What was not seen for this long is forgotten: the model is gone, or is never loaded like that.
KEPT = 90 * WINDOW


class Key(NamedTuple):
    """`context` is in tokens; `slots` are the requests that it can serve at once; 0: its engine
    does not say. `devices` are the accelerators that it was on, "" for none."""

    ref: ModelRef
    moment: Moment
    context: int = 0
    slots: int = 0
    devices: str = ""


def key(
    ref: ModelRef, moment: Moment, shares: tuple[Share, ...], context: int = 0, slots: int = 0
) -> Key:
    devices = sorted({s.pool for s in shares if s.pool != RAM and s.size})
    return Key(ref, moment, context, slots, " ".join(devices))


MOST = 10_000  # models that are remembered at once, each at one moment


@dataclass(slots=True)
class Holdings:
    """In memory; what is new is returned as statements. Not safe for threads by itself."""

    # By model and moment, for that is asked all the time; of each, what was seen last stands last.
    _known: dict[tuple[ModelRef, Moment], dict[Key, dict[PoolId, Peak]]] = field(
        default_factory=dict
    )

    def remember(self, key: Key, shares: tuple[Share, ...], now: float) -> list[Statement]:
        """Pools where it holds nothing any more are forgotten. Nothing new: no statement."""
        sizes: dict[PoolId, int] = {}
        for share in shares:
            sizes[share.pool] = sizes.get(share.pool, 0) + share.size
        if (key.ref, key.moment) not in self._known and len(self._known) >= MOST:
            del self._known[next(iter(self._known))]  # the file keeps it as long as all others
        seen = self._known.setdefault((key.ref, key.moment), {})
        known = seen.pop(key, {})
        seen[key] = peaks = {p: _seen(known.get(p), s, now) for p, s in sizes.items()}
        return [] if peaks == known else self._written(key, peaks, now)

    def get(
        self,
        ref: ModelRef,
        moment: Moment,
        context: int | None = None,
        slots: int | None = None,
        within: Collection[PoolId] | None = None,
    ) -> tuple[Share, ...] | None:
        """The most that it held lately, pool by pool; None: never seen. Where `context` or `slots`
        are not asked for: with those that it was last seen with. On the devices that it was on
        last, or that are all `within` these."""
        for key, peaks in reversed(self._known.get((ref, moment), {}).items()):
            if (
                context in (None, key.context)
                and slots in (None, key.slots)
                and (within is None or all(p == RAM or p in within for p in peaks))
            ):
                return _shares(peaks)
        return None

    def forget(self, now: float) -> list[Statement]:
        """Drop what was not seen for long."""
        old = [
            key
            for key, peaks in self._all()
            if all(now - peak.since >= KEPT + WINDOW for peak in peaks.values())
        ]
        for key in old:
            seen = self._known[key.ref, key.moment]
            del seen[key]
            if not seen:
                del self._known[key.ref, key.moment]
        return [drop_holding(key.ref, key.moment.value, *key[2:]) for key in old]

    def asleep(self) -> dict[ModelRef, tuple[Share, ...]]:
        """What each model that was seen asleep kept."""
        return {  # of several contexts the last one that was seen counts
            key.ref: _shares(peaks) for key, peaks in self._all() if key.moment is Moment.ASLEEP
        }

    def everything(self, now: float) -> list[Statement]:
        found: list[Statement] = [("DELETE FROM holdings", ())]
        for key, peaks in self._all():
            found += self._written(key, peaks, now)
        return found

    def load(self, db: sqlite3.Connection) -> None:
        columns = "engine, model, moment, context, slots, devices, pool, bytes, earlier, since"
        for (
            engine,
            model,
            moment,
            context,
            slots,
            devices,
            pool,
            size,
            earlier,
            since,
        ) in db.execute(f"SELECT {columns} FROM holdings ORDER BY at, rowid"):
            ref = ModelRef(EngineId(engine), ModelId(model))
            key = Key(ref, Moment(moment), int(context), int(slots), str(devices))
            peak = Peak(int(size), int(earlier), float(since))
            seen = self._known.setdefault((key.ref, key.moment), {})
            seen.setdefault(key, {})[PoolId(pool)] = peak

    def _all(self) -> Iterator[tuple[Key, dict[PoolId, Peak]]]:
        for seen in self._known.values():
            yield from seen.items()

    def _written(self, key: Key, peaks: dict[PoolId, Peak], now: float) -> list[Statement]:
        return write_holding(key.ref, key.moment.value, *key[2:], peaks, now)


def _shares(peaks: dict[PoolId, Peak]) -> tuple[Share, ...]:
    sizes = sorted((pool, peak.most) for pool, peak in peaks.items())
    return tuple(Share(pool, Bytes(size), Source.LEARNED) for pool, size in sizes)


def _seen(known: Peak | None, size: int, now: float) -> Peak:
    if known is None:
        return Peak(size, 0, now)
    if not 0 <= now - known.since < WINDOW:  # also when the clock was set back
        return Peak(size, known.size, now)
    return Peak(max(known.size, size), known.earlier, known.since)
