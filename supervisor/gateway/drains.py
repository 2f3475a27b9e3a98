"""Whoever has been held for long: the cheapest models that are in its way take no more requests,
until those that they work on have ended."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from supervisor.config.gated import GatewayConfig
from supervisor.core import admission
from supervisor.core.experience import Experience
from supervisor.core.policy import Policy
from supervisor.core.snapshot import Demand, ModelRef, Snapshot
from supervisor.traffic import Traffic

from .counts import Counts
from .holding import Hold

FORCING = 5.0  # seconds that a plan by which requests are cut short may take to be decided


@dataclass(slots=True)
class Drain:
    hold: Hold
    refs: frozenset[ModelRef]
    until: float
    decided: bool = False  # room is being made


@dataclass(slots=True)
class Drains:
    """One at a time. `closed` is called when others are closed than before."""

    traffic: Traffic
    config: GatewayConfig
    counts: Counts
    closed: Callable[[], None]
    current: Drain | None = None

    @property
    def ref(self) -> ModelRef | None:
        """For whom."""
        return None if self.current is None else self.current.hold.ref

    def consider(
        self,
        hold: Hold,
        snapshot: Snapshot,
        policy: Policy,
        demand: Demand,
        experience: Experience,
        now: float,
    ) -> None:
        """Begin one for `hold`, whom somebody at work is in the way of, if it is time for it."""
        due = max(hold.since + self.config.drain_after, hold.drains_after)
        if self.current is not None or now < due:
            return
        if refs := admission.drain(snapshot, policy, demand, experience):
            until = now + self.config.drain_timeout
            self.current = Drain(hold, frozenset(refs), until)
            self.traffic.closed = self.current.refs
            self.closed()

    def due(self, hold: Hold) -> float:
        """When `consider` is to be asked again."""
        if self.current is not None:
            return self.current.until
        return max(hold.since + self.config.drain_after, hold.drains_after)

    def look(self, now: float, *, may_force: bool) -> None:
        """End what has no end of its own, or no purpose any more."""
        drain = self.current
        if drain is None:
            return
        hold = drain.hold
        if drain.decided:
            return
        if not hold.waiters:
            self._end()
        elif now >= drain.until:
            if may_force and not hold.forced:
                hold.forced = True
                drain.until = now + FORCING
                return
            hold.drains_after = now + self.config.drain_after  # the others go on meanwhile
            self.counts.drained(in_time=False)
            self._end()

    def suspend(self, hold: Hold) -> None:
        """The memory that `hold` waits for cannot be read, or its engine is down: nobody goes for
        it, so those who would have take requests. It is asked for again by `consider`."""
        drain = self.current
        if drain is not None and drain.hold is hold and not drain.decided:
            self._end()

    def decided(self, hold: Hold, going: Collection[ModelRef]) -> None:
        """Room is being made for `hold` by those who are `going`: whoever could stay after all
        goes on."""
        drain = self.current
        if drain is not None and drain.hold is hold:
            drain.refs, drain.decided = drain.refs & frozenset(going), True
            self.traffic.closed = drain.refs
            self.closed()

    def ended(self, hold: Hold, *, done: bool) -> None:
        """What was decided for it is over."""
        drain = self.current
        if drain is None or drain.hold is not hold or not drain.decided:
            return
        if done:
            self.counts.drained(in_time=not hold.forced)
            self._end()
        else:  # what is left of the time is for another try
            drain.decided = False

    def _end(self) -> None:
        self.current = None
        self.traffic.closed = frozenset()
        self.closed()
