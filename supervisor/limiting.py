"""Limits hold for who arrives: one that is lowered makes nobody go until then."""

from __future__ import annotations

from dataclasses import dataclass

from .core.limits import PASSIVE
from .core.policy import Policy
from .core.snapshot import ModelRef, Snapshot


@dataclass(slots=True)
class Limiting:
    """Those in `tolerated` were there before the limits were what they are now. `lenient`: so are
    those that the daemon finds at its start."""

    tolerated: frozenset[ModelRef] = frozenset()
    lenient: bool = False
    _limits: object = None
    _active: frozenset[ModelRef] = frozenset()

    def begin(self) -> None:
        """The daemon finds them yet: the next snapshot is its first."""
        self._limits = None

    def see(self, snapshot: Snapshot, policy: Policy) -> None:
        active = frozenset(r.ref for r in snapshot.residents if r.state not in PASSIVE)
        limits = limits_of(policy)
        if self._limits is None:
            self.tolerated = active if self.lenient else frozenset()
        elif limits != self._limits:
            self.tolerated = self._active
        self.tolerated &= active
        self._limits, self._active = limits, active

    def apply(self, policy: Policy) -> None:
        """From now on the limits of `policy` hold for everybody."""
        self._limits, self.tolerated, self.lenient = limits_of(policy), frozenset(), False


def limits_of(policy: Policy) -> object:
    """Whatever decides how many models may be active."""
    pins = {m for m, own in policy.models.items() if own.pinned}
    return (
        policy.max_active,
        (policy.pinned, pins) if policy.single else None,
        policy.npu_most,
        {e: own.max_active for e, own in policy.engines.items() if own.max_active},
        dict(policy.types),
        {pool: own.most for pool, own in policy.pools.items() if own.most},
        dict(policy.groups),
    )
