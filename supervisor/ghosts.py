"""Keeps an eye on other rankings: would one of them have spent less on reloads?

The rankings are replayed over the journal's trail in a thread of their own, for a week of busy
requests takes seconds; a daemon is asked for it rarely, and asks itself a few times a day.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from collectors.reading import RAM, Bytes, PoolId, Seconds

from .aside import Aside
from .core.headroom import rooms
from .core.history import History
from .core.policy import Policy
from .core.snapshot import ModelRef, Share, Snapshot
from .core.watch import Finding, Kind, Severity
from .journal.journal import Journal
from .replay.savings import BEFORE, DAY, DAYS, Known, Savings, outdone, savings
from .replay.trace import Model

log = logging.getLogger("ullage.ghosts")

EVERY = Seconds(6 * 3600.0)
AT_MOST = Seconds(60.0)  # for the replay of a month


@dataclass(slots=True)
class Ghosts:
    """`wall` gives Unix time, `clock` the loop's. Times of `findings` are the loop's."""

    journal: Journal
    history: History
    clock: Callable[[], float]
    wall: Callable[[], float]
    findings: tuple[Finding, ...] = ()
    _aside: Aside = field(default_factory=lambda: Aside("ghosts"))

    async def savings(self, snapshot: Snapshot, policy: Policy, days: float) -> Savings:
        """Over the last `days`. Raises TimeoutError; OSError: the journal cannot be read."""
        until = self.wall()
        since = until - days * DAY
        known, free, ranking = self._known(), _rooms(snapshot, policy), policy.ranking
        trail = self.journal.trail

        def work() -> Savings:
            return savings(trail.since(since - BEFORE), known, free, ranking, since, until)

        return await self._aside.call(work, AT_MOST)

    async def look(self, snapshot: Snapshot, policy: Policy) -> None:
        """See whether another ranking has been better for some days."""
        try:
            found = await self.savings(snapshot, policy, DAYS)
        except (OSError, TimeoutError) as error:
            log.info("other rankings were not compared: %s", error)
            return
        before = {f.key: f for f in self.findings}
        better = outdone(found)
        told = [_told(found, name, Seconds(self.clock())) for name in better[:1]]
        self.findings = tuple(
            replace(f, since=before[f.key].since) if f.key in before else f for f in told
        )

    def _known(self) -> dict[ModelRef, Known]:
        """A copy: the history belongs to the loop."""
        found = {}
        for ref in self.history.known():
            held = self.history.held(ref)
            if held:
                share = max(held, key=_weight)
                load = self.history.reload(ref, share.size)
                found[ref] = Known(share.pool, Model(share.size, load))
        return found


def _weight(share: Share) -> tuple[bool, int]:
    return share.pool != RAM, share.size


def _rooms(snapshot: Snapshot, policy: Policy) -> dict[PoolId, Bytes]:
    """How many bytes of each pool there are for models, as it is used now."""
    found = {}
    for room in rooms(snapshot, policy):
        size = room.total - room.reserve - room.foreign
        if room.budget is not None:
            size = min(size, room.budget)
        found[room.pool] = Bytes(max(0, size))
    return found


def _told(found: Savings, name: str, now: Seconds) -> Finding:
    own, other = found.ghosts[found.ranking].all, found.ghosts[name].all
    detail = (
        f"over {DAYS} days {name} would have spent {other:,.0f} s on reloads where"
        f' {found.ranking} spends {own:,.0f} s: try ranking = "{name}"'
    )
    return Finding(Kind.OUTDONE, found.ranking, now, Severity.INFO, detail, own - other)
