"""What keeps models, and bytes, besides the configuration: pins, leases, reservations, retentions
that were set while running; who is to go in spite of it; and what rests by the operator's word.

All of it is on the journal's shelves, and in force before the first decision of the next daemon.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from collectors.reading import Process, Seconds
from supervisor.core.footprint import to_be_filled
from supervisor.core.lease import Use
from supervisor.core.policy import Policy
from supervisor.core.retention import follow
from supervisor.core.snapshot import ModelRef, Snapshot
from supervisor.events import About
from supervisor.journal.journal import Journal

from .alert_holds import AlertHolds
from .deadlines import Deadlines, boot
from .farewells import Farewells
from .leases import Leases
from .pausing import Pausing
from .pins import Pins
from .reserved import Reserved
from .retentions import Retentions

S = TypeVar("S", Snapshot, Snapshot | None)


@dataclass(slots=True)
class Keeping:
    """`given` is the policy as it was configured; `processes` tells them as they were last listed,
    the same tuple until there is a new list."""

    journal: Journal
    given: Policy
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    boot: Callable[[], str | None] = boot
    processes: Callable[[], tuple[Process, ...]] = tuple
    deadlines: Deadlines = field(init=False)
    pins: Pins = field(init=False)
    leases: Leases = field(init=False)
    reserved: Reserved = field(init=False)
    farewells: Farewells = field(init=False)
    retentions: Retentions = field(init=False)
    pausing: Pausing = field(init=False)
    alert_holds: AlertHolds = field(init=False)
    uses: Mapping[ModelRef, Use] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shelves = self.journal.shelves
        self.deadlines = Deadlines(self.clock, self.wall, self.boot)
        self.pins = Pins(shelves["pins"], self.deadlines)
        self.leases = Leases(shelves["leases"], self.deadlines)
        self.reserved = Reserved(shelves["reservations"], self.deadlines)
        self.farewells = Farewells(shelves["farewells"])
        self.retentions = Retentions(shelves["retention"], self.given)
        self.pausing = Pausing(shelves["paused"], shelves["drained"], self.deadlines)
        holds, changed = shelves["alert_holds"], self.pausing.tell
        self.alert_holds = AlertHolds(holds, self.deadlines, self.reserved, changed)

    def recall(self, policy: Policy) -> Policy:
        """Take up what the journal has, when it is open; what has run out meanwhile is over."""
        for kept in (self.pins, self.leases, self.reserved, self.pausing, self.alert_holds):
            kept.recall()
        self._lapse(self.deadlines.now)
        self.rewrite()  # from now on by this run's clock: else it would begin anew with each start
        return self.over(policy)

    def considered(self, policy: Policy) -> Policy:
        """What would be in force if `policy` were configured."""
        pinned = policy.pinned | self.pins.names
        return Retentions(self.retentions.shelf, policy).over(replace(policy, pinned=pinned))

    def configured(self, policy: Policy) -> Policy:
        """`policy` is what is configured from now on. With what is kept besides."""
        self.given = self.retentions.given = policy
        return self.over(policy)

    def over(self, policy: Policy) -> Policy:
        """`policy` with the pins, the retentions and the halts that there are now."""
        pinned = self.given.pinned | self.pins.names
        policy = replace(policy, pinned=pinned, pins_end=dict(self.pins.ends))
        return self.pausing.over(self.retentions.over(self.alert_holds.over(policy)))

    def as_claimed(self, snapshot: S, policy: Policy) -> tuple[S, Policy]:
        """Both as they are now, also with what was claimed since the snapshot was taken."""
        return (None if snapshot is None else self.dress(snapshot)), self.over(policy)

    def dress(self, snapshot: Snapshot) -> Snapshot:
        """`snapshot` with who uses what, and what is kept for whom."""
        found = replace(
            snapshot, leases=self.leases.all, uses=self.uses, farewells=self.farewells.all
        )
        parts = to_be_filled(found, self.given)
        known = {None, *(r.ref for r in parts)}
        loads = tuple(r for r in snapshot.reservations if r.ref not in known)
        return replace(found, reservations=(*loads, *parts, *self.reserved.reservations))

    def see(self, snapshot: Snapshot, policy: Policy) -> tuple[Snapshot, Policy]:
        """What is new: whose time is over, who was used, who is gone."""
        lapsed = self._lapse(snapshot.taken_at)
        self.reserved.see(self.processes())
        snapshot = self.dress(snapshot)
        self.uses = follow(self.uses, snapshot, policy.busy_while_fresh)
        self.farewells.see(snapshot)
        return self.dress(snapshot), self.over(policy) if lapsed else policy

    def stay(self, about: About, going: Collection[ModelRef]) -> None:
        """Take back that those leave whom `about` keeps; but for those who are `going` already.

        Who goes with its last user is given as long for the next one as if it had just come.
        """
        if about.keeps:
            self.farewells.cancel(about.refs - set(going), about.keeps)
            now = self.deadlines.now
            used = {r: self.uses[r] for r in about.refs & self.uses.keys() if self.uses[r].there}
            self.uses = {**self.uses, **{r: replace(use, asked=now) for r, use in used.items()}}

    def rewrite(self) -> None:
        """Write all moments down by the clocks as they are now."""
        for kept in (self.pins, self.leases, self.reserved, self.pausing, self.alert_holds):
            kept.rewrite()

    def _lapse(self, now: Seconds) -> bool:
        self.leases.lapse(now)
        self.reserved.lapse(now)
        changed = self.pausing.lapse(now)
        changed |= self.alert_holds.lapse(now)
        return self.pins.lapse(now) or changed
