"""What holds while an alert fires: no loads through the gateway, models that stay, bytes kept free.

It ends when the alert resolves, or so long after it was last heard of, also over a restart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from collectors.reading import PoolId, Seconds
from supervisor.core.experience import Experience
from supervisor.core.policy import Policy
from supervisor.core.snapshot import EngineId
from supervisor.journal.shelves import Shelf

from .deadlines import Deadlines, Json
from .reserved import Reserved

log = logging.getLogger("ullage.alerts")


@dataclass(frozen=True, slots=True)
class Closed:
    """Where the gateway loads nothing: in these pools, into this engine; neither: nowhere."""

    pools: frozenset[PoolId] = frozenset()
    engine: EngineId | None = None


@dataclass(frozen=True, slots=True)
class AlertHold:
    """`episode` names the alert and when it began. `since` is Unix time; it `lasts` so many seconds
    after it was last heard of, and `ends` on the daemon's clock. `target` is for people. One of
    `closed`, `pinned` and `reservation` says what holds."""

    episode: str
    alert: str
    action: str
    kind: str
    target: str
    since: float
    lasts: Seconds
    ends: Seconds
    closed: Closed | None = None
    pinned: tuple[str, ...] = ()  # "engine/model"
    reservation: str | None = None  # its id


@dataclass(slots=True)
class AlertHolds:
    """`changed` is called when loads may be made, or may not be any more."""

    shelf: Shelf
    deadlines: Deadlines
    reserved: Reserved
    changed: Callable[[], None] = lambda: None
    all: dict[str, AlertHold] = field(default_factory=dict)  # by episode

    def recall(self) -> None:
        """Take up what was written down, after what is reserved."""
        for episode, body in self.shelf.all().items():
            try:
                self.all[episode] = self._read(episode, body)
            except (KeyError, TypeError, ValueError):
                log.warning("what holds for an alert cannot be read: it is dropped")
                self.shelf.drop(episode)
                continue
            log.warning("%s still holds: %s", *_said(self.all[episode]))
        self.changed()

    def _read(self, episode: str, body: Mapping[str, Any]) -> AlertHold:
        closed = body["closed"]
        return AlertHold(
            episode,
            str(body["alert"]),
            str(body["action"]),
            str(body["kind"]),
            str(body["target"]),
            float(body["since"]),
            Seconds(float(body["lasts"])),
            self.deadlines.read(body["ends"]),
            None
            if closed is None
            else Closed(
                frozenset(map(PoolId, closed["pools"])),
                None if closed["engine"] is None else EngineId(closed["engine"]),
            ),
            tuple(map(str, body["pinned"])),
            body["reservation"],
        )

    # -- what alerts say

    def begin(self, hold: AlertHold) -> Future[bool] | None:
        """Until it is told to end, or its time is over."""
        log.warning("%s holds: %s", *_said(hold))
        done = self._keep(hold)
        self.changed()
        return done

    def heard(self, episode: str) -> bool:
        """It fires still: what holds for it holds longer. False: nothing does."""
        hold = self.all.get(episode)
        if hold is None:
            return False
        if hold.reservation is not None:
            self.reserved.renew(hold.reservation, hold.lasts)
        self._keep(replace(hold, ends=self.deadlines.after(hold.lasts)))
        return True

    def end(self, episode: str, why: str) -> AlertHold | None:
        """None: nothing holds for it."""
        hold = self.all.pop(episode, None)
        if hold is None:
            return None
        self.shelf.drop(episode)
        if hold.reservation is not None:
            self.reserved.close(hold.reservation, why)
        log.warning("%s holds no more, %s: %s", hold.action, why, hold.target)
        self.changed()
        return hold

    # -- time

    def lapse(self, now: Seconds) -> bool:
        """End what was not heard of for too long, and what was given back. True: there was any."""
        over = [h for h in self.all.values() if h.ends <= now]
        for hold in over:
            self.end(hold.episode, f"for its alert was not heard of for {hold.lasts:g} s")
        jobs = (h for h in self.all.values() if h.reservation is not None)
        given_back = [h for h in jobs if self.reserved.get(h.reservation or "") is None]
        for hold in given_back:
            self.end(hold.episode, "for its bytes were given back")
        return bool(over or given_back)

    def rewrite(self) -> None:
        """The wall clock was set: write the same moments down by the new one."""
        for hold in list(self.all.values()):
            self._keep(hold)

    # -- what follows

    def over(self, policy: Policy) -> Policy:
        """`policy` with the models pinned that are to stay."""
        holds = [h for h in self.all.values() if h.pinned]
        if not holds:
            return policy
        ends = dict(policy.pins_end)
        for hold in holds:
            for name in hold.pinned:
                if name not in policy.pinned or name in ends:  # else somebody pinned it for ever
                    ends[name] = max(ends.get(name, hold.ends), hold.ends)
        names = frozenset(name for hold in holds for name in hold.pinned)
        return replace(policy, pinned=policy.pinned | names, pins_end=ends)

    @property
    def pins(self) -> dict[str, AlertHold]:
        """The models that stay, "engine/model", and what keeps them, the longest of several."""
        by_end = sorted(self.all.values(), key=lambda hold: hold.ends)
        return {name: hold for hold in by_end for name in hold.pinned}

    def closed(self, engine: EngineId) -> AlertHold | None:
        """Why nothing is loaded into `engine`, in whichever pool. None: it may be."""
        for hold in self.all.values():
            closed = hold.closed
            if closed and not closed.pools and closed.engine in (None, engine):
                return hold
        return None

    def barred(self, experience: Experience, engine: EngineId) -> Experience:
        """`experience` with the pools barred into which nothing of `engine` is to be loaded."""
        holds = [h for h in self.all.values() if h.closed is not None and h.closed.pools]
        found = {
            pool: f"the alert {hold.alert} fires, and nothing is loaded into {pool} meanwhile"
            for hold in holds
            if hold.closed is not None and hold.closed.engine in (None, engine)
            for pool in hold.closed.pools
        }
        if not found:
            return experience
        return replace(experience, barred={**found, **experience.barred})

    @property
    def rows(self) -> list[Json]:
        """As they are told; the oldest first."""
        return [
            {
                "alert": hold.alert,
                "action": hold.action,
                "kind": hold.kind,
                "target": hold.target,
                "since": hold.since,
                "until": self.deadlines.unix(hold.ends),
            }
            for hold in sorted(self.all.values(), key=lambda h: h.since)
        ]

    def _keep(self, hold: AlertHold) -> Future[bool] | None:
        self.all[hold.episode] = hold
        closed = hold.closed
        body: Json = {
            "alert": hold.alert,
            "action": hold.action,
            "kind": hold.kind,
            "target": hold.target,
            "since": hold.since,
            "lasts": hold.lasts,
            "ends": self.deadlines.written(hold.ends),
            "closed": None
            if closed is None
            else {"pools": sorted(closed.pools), "engine": closed.engine},
            "pinned": list(hold.pinned),
            "reservation": hold.reservation,
        }
        return self.shelf.keep(hold.episode, body)


def said(holds: Iterable[AlertHold]) -> str:
    """They, in words."""
    return ", ".join(f"{hold.action} ({hold.target})" for hold in holds)


def _said(hold: AlertHold) -> tuple[str, str]:
    return hold.action, f"{hold.kind}, {hold.target}, while the alert {hold.alert} fires"
