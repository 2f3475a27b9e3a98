"""What models were seen to hold: loaded, at the height of a load, and asleep."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import NamedTuple

from collectors.reading import Bytes, PoolId

from .core.footprint import Moment
from .core.snapshot import EngineId, ModelId, ModelRef, Share, Source
from .schema import Peak, write_holding
from .store import Statement

# A holding is the most that was held today or on the last day before that it was seen: a smaller
# context shows within two days of use, a light load does not hide a heavy one.
WINDOW = 86400.0


class Key(NamedTuple):
    """`context` is in tokens; 0: its engine does not say."""

    ref: ModelRef
    moment: Moment
    context: int


@dataclass(slots=True)
class Holdings:
    """In memory; what is new is returned as statements. Not safe for threads by itself."""

    _known: dict[Key, dict[PoolId, Peak]] = field(default_factory=dict)

    def remember(self, key: Key, shares: tuple[Share, ...], now: float) -> list[Statement]:
        """Pools where it holds nothing any more are forgotten. Nothing new: no statement."""
        sizes: dict[PoolId, int] = {}
        for share in shares:
            sizes[share.pool] = sizes.get(share.pool, 0) + share.size
        known = self._known.pop(key, {})  # the last one that was seen stands last
        self._known[key] = peaks = {p: _seen(known.get(p), s, now) for p, s in sizes.items()}
        return [] if peaks == known else self._written(key, peaks, now)

    def get(
        self, ref: ModelRef, moment: Moment, context: int | None = None
    ) -> tuple[Share, ...] | None:
        """The most that it held lately, pool by pool; None: never seen. Without a `context`:
        in the one that it was last seen with."""
        for key, peaks in reversed(self._known.items()):
            if key[:2] == (ref, moment) and context in (None, key.context):
                return _shares(peaks)
        return None

    def asleep(self) -> dict[ModelRef, tuple[Share, ...]]:
        """What each model that was seen asleep kept."""
        known = self._known.items()  # of several contexts the last one that was seen counts
        return {key.ref: _shares(peaks) for key, peaks in known if key.moment is Moment.ASLEEP}

    def everything(self, now: float) -> list[Statement]:
        found: list[Statement] = [("DELETE FROM holdings", ())]
        for key, peaks in self._known.items():
            found += self._written(key, peaks, now)
        return found

    def load(self, db: sqlite3.Connection) -> None:
        columns = "engine, model, moment, context, pool, bytes, earlier, since"
        for engine, model, moment, context, pool, size, earlier, since in db.execute(
            f"SELECT {columns} FROM holdings ORDER BY at"
        ):
            key = Key(ModelRef(EngineId(engine), ModelId(model)), Moment(moment), int(context))
            peak = Peak(int(size), int(earlier), float(since))
            self._known.setdefault(key, {})[PoolId(pool)] = peak

    def _written(self, key: Key, peaks: dict[PoolId, Peak], now: float) -> list[Statement]:
        return write_holding(key.ref, key.moment.value, key.context, peaks, now)


def _shares(peaks: dict[PoolId, Peak]) -> tuple[Share, ...]:
    sizes = sorted((pool, peak.most) for pool, peak in peaks.items())
    return tuple(Share(pool, Bytes(size), Source.LEARNED) for pool, size in sizes)


def _seen(known: Peak | None, size: int, now: float) -> Peak:
    if known is None:
        return Peak(size, 0, now)
    if not 0 <= now - known.since < WINDOW:  # also when the clock was set back
        return Peak(size, known.size, now)
    return Peak(max(known.size, size), known.earlier, known.since)
