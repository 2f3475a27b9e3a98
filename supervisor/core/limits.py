"""How many models may be active at once: on the whole host, and per engine."""

from __future__ import annotations

from collections import Counter

from .policy import Policy
from .snapshot import EngineId, ModelRef, Resident, Snapshot, State

HOST = "host"
PASSIVE = frozenset({State.LEAVING, State.SLEEPING})


class Slots:
    """Counts active models against the limits, while residents are tried as victims.

    Loads under way count: a resident that is loading, or a reservation of one that has not
    shown up yet. Models that are leaving do not. Those of an engine that does not answer count
    against a newcomer, but nobody else has to leave for them. In single-model mode pinned models
    do not count either, for they may stay beside the one.
    """

    def __init__(
        self, snapshot: Snapshot, policy: Policy, newcomer: ModelRef | None = None
    ) -> None:
        self._policy = policy
        self._most = {
            e: n for e in {r.engine for r in snapshot.residents} if (n := policy.max_active_of(e))
        }
        if newcomer is not None and (n := policy.max_active_of(newcomer.engine)):
            self._most[newcomer.engine] = n
        passed_over = PASSIVE | ({State.UNKNOWN} if newcomer is None else set())
        active = {r.ref for r in snapshot.residents if r.state not in passed_over}
        active |= {r.ref for r in snapshot.reservations}
        if newcomer is not None:
            active.add(newcomer)
        self._host = 0
        self._unpinned = 0
        self._engines: Counter[EngineId] = Counter()
        for ref in active:
            self._count(ref, 1)

    def leave(self, resident: Resident) -> None:
        if resident.state not in PASSIVE:
            self._count(resident.ref, -1)

    def stay(self, resident: Resident) -> None:
        if resident.state not in PASSIVE:
            self._count(resident.ref, 1)

    def full(self) -> tuple[str, ...]:
        """The limits that are exceeded: "host", or "engine NAME", once per model too many."""
        policy = self._policy
        host = max(
            self._host - policy.max_active if policy.max_active else 0,
            self._unpinned - 1 if policy.single else 0,
        )
        over = [HOST] * max(0, host)
        for engine, most in sorted(self._most.items()):
            over += [f"engine {engine}"] * max(0, self._engines[engine] - most)
        return tuple(over)

    def helps(self, resident: Resident) -> bool:
        """Would a limit be exceeded by less without it?"""
        before = self.full()
        self.leave(resident)
        after = self.full()
        self.stay(resident)
        return after != before

    def _count(self, ref: ModelRef, by: int) -> None:
        self._host += by
        self._engines[ref.engine] += by
        if self._policy.single and not self._policy.is_pinned(ref):
            self._unpinned += by
