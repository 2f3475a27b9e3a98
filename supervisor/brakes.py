"""Counts the swaps of each pool that has a brake."""

from __future__ import annotations

from dataclasses import dataclass, field

from collectors.reading import PoolId, Seconds

from .core.brake import Bucket
from .core.plan import Load, Plan, Trigger, Why
from .core.policy import Policy


@dataclass(slots=True)
class Brakes:
    _buckets: dict[PoolId, Bucket] = field(default_factory=dict)

    def braked(self, policy: Policy, now: Seconds) -> dict[PoolId, Seconds]:
        """The pools in which there may be no swap now, and for how long."""
        found = {}
        for pool, own in policy.pools.items():
            bucket = self._buckets.get(pool)
            if own.brake is None or bucket is None:
                continue
            if wait := bucket.wait(own.brake, now):
                found[pool] = wait
        return found

    def begun(self, plan: Plan, policy: Policy, now: Seconds) -> None:
        """One swap more, if it is one. Whom a client has left goes anyhow, and for nobody."""
        if plan.trigger is not Trigger.DEMAND or not any(isinstance(a, Load) for a in plan.actions):
            return
        gone = (e for e in plan.evictions if e.why is not Why.SWITCHED)
        for pool in {share.pool for e in gone for share in e.frees}:
            own = policy.pools.get(pool)
            if own is not None and own.brake is not None:
                bucket = self._buckets.get(pool, Bucket(own.brake.count, now))
                self._buckets[pool] = bucket.take(own.brake, now)
