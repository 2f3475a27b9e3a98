"""The swap brake: how often somebody may have to leave a pool for a load."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from collectors.reading import PoolId, Seconds

from .actions import Barred, Evict
from .policy import Brake


@dataclass(frozen=True, slots=True)
class Bucket:
    """How many swaps there may be at once, as of `at`. It fills by and by, up to the brake's
    count."""

    left: float
    at: Seconds

    def now(self, brake: Brake, now: Seconds) -> float:
        return min(brake.count, self.left + (now - self.at) * brake.count / brake.period)

    def take(self, brake: Brake, now: Seconds) -> Bucket:
        return Bucket(max(0.0, self.now(brake, now) - 1), now)

    def wait(self, brake: Brake, now: Seconds) -> Seconds:
        """How long until there may be one more; 0: at once."""
        return Seconds(max(0.0, 1 - self.now(brake, now)) * brake.period / brake.count)


def brake(victims: Iterable[Evict], braked: Mapping[PoolId, Seconds]) -> tuple[Barred, ...]:
    """The pools of `victims` in which no more may leave now."""
    if not braked:
        return ()
    pools = {share.pool for v in victims for share in v.frees}
    return tuple(
        Barred(
            pool, f"its swap brake is on: the next may leave in {_said(braked[pool])}", braked[pool]
        )
        for pool in sorted(pools & braked.keys())
    )


def _said(wait: Seconds) -> str:
    return f"{wait:.0f} s" if wait < 120 else f"{wait / 60:.0f} min"
