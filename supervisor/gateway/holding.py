"""Requests that are held, by model: who waits, since when, and until when."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from collectors.reading import PoolId, Seconds
from supervisor.core.admission import Held
from supervisor.core.experience import Experience
from supervisor.core.policy import Policy
from supervisor.core.snapshot import ModelRef, Snapshot
from supervisor.events import Run

from .wishes import Ready, Wish

if TYPE_CHECKING:
    from supervisor.traffic import Traffic


class Outlook(NamedTuple):
    """How a hold stands: its place among the loads, who is ahead, and seconds until it is there."""

    position: int
    ahead: tuple[ModelRef, ...]
    eta: Seconds | None
    state: str


class Sight(NamedTuple):
    """What a plan is made of now. `policy` cuts nobody short."""

    snapshot: Snapshot
    policy: Policy
    experience: Experience
    now: float


class Desk(Protocol):
    def place(self, ref: ModelRef) -> Outlook: ...

    def leave(self, ticket: Ticket) -> None: ...


class Ticket:
    """A request that is held. `ready` is called once, with a grant or a refusal, unless it has
    left. What is asked of it is how it stands at that moment."""

    __slots__ = (
        "_desk", "again", "decisions", "gone", "passed_over", "ready", "ref", "since", "until",
        "wish",
    )  # fmt: skip

    def __init__(
        self, desk: Desk, ref: ModelRef, wish: Wish, ready: Ready, since: float, until: float
    ) -> None:
        self._desk, self.ready = desk, ready
        self.ref, self.wish, self.since, self.until = ref, wish, since, until
        self.gone = False  # served, refused, or left
        self.again = False  # it was let through once before
        self.passed_over: frozenset[ModelRef] = frozenset()  # candidates that could not be had
        self.decisions: list[str] = []  # those of its hold

    @property
    def doing(self) -> str:
        """What becomes of its model, when it is next."""
        return "is being loaded"

    @property
    def position(self) -> int:
        """Of its model among those that are loaded one after the other: 1 is next, or under way."""
        return self._desk.place(self.ref).position

    @property
    def ahead(self) -> tuple[ModelRef, ...]:
        """The models that are loaded before it."""
        return self._desk.place(self.ref).ahead

    @property
    def eta(self) -> Seconds | None:
        """Seconds until it is there, as far as that can be told."""
        return self._desk.place(self.ref).eta

    @property
    def state(self) -> str:
        """How its model stands, in a word or few."""
        return self._desk.place(self.ref).state

    def leave(self) -> None:
        """Its client is gone: it is forgotten. Harmless at any time."""
        if not self.gone:
            self._desk.leave(self)


@dataclass(slots=True, eq=False)
class Hold:
    """All that wait for one model. `answer`: a plan for it was asked for, and is not yet decided;
    `run`: it is being carried out, since `began`."""

    ref: ModelRef
    waiters: dict[Ticket, None] = field(default_factory=dict)
    priorities: Counter[int] = field(default_factory=Counter)  # of theirs
    answer: asyncio.Future[Run] | None = None
    run: Run | None = None
    began: float = 0.0
    pools: frozenset[PoolId] = frozenset()  # where it will take memory
    load: Seconds | None = None  # what that takes; None: nobody knows
    blocked: bool = False  # somebody is in its way who cannot be made to go now
    full: tuple[str, ...] = ()  # the limits of active models for which nobody goes in its favour
    forced: bool = False  # it has waited until those at work may be cut short, if at all
    decisions: list[str] = field(default_factory=list)  # that were carried out for it
    rests_until: float = 0.0  # no plan is made for it before
    drains_after: float = 0.0  # nobody is drained for it before
    strangers_since: float = 0.0  # nobody but strangers has been in its way since then
    _since: float = 0.0

    @property
    def since(self) -> float:
        """When the oldest of them came. For holds with waiters alone."""
        return self._since

    def join(self, ticket: Ticket) -> None:
        if not self.waiters:
            self.strangers_since = self._since = ticket.since
        self._since = min(self._since, ticket.since)
        self.waiters[ticket] = None
        ticket.decisions = self.decisions
        self.priorities[ticket.wish.priority] += 1

    def drop(self, ticket: Ticket) -> None:
        del self.waiters[ticket]
        priority = ticket.wish.priority
        self.priorities[priority] -= 1
        if not self.priorities[priority]:
            del self.priorities[priority]
        if ticket.since <= self._since and self.waiters:
            self._since = min(t.since for t in self.waiters)

    @property
    def under_way(self) -> bool:
        return self.answer is not None or self.run is not None

    @property
    def held(self) -> Held:
        top = max(self.priorities)
        load = 1.0 if self.load is None else self.load
        return Held(self.ref, self.since, len(self.waiters), load, top)


@dataclass(slots=True)
class Holds:
    """All holds, and how many wait."""

    traffic: Traffic
    by_ref: dict[ModelRef, Hold] = field(default_factory=dict)
    count: int = 0
    of_client: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[Hold]:
        return iter(list(self.by_ref.values()))

    def get(self, ref: ModelRef) -> Hold | None:
        return self.by_ref.get(ref)

    def waiting(self) -> list[Hold]:
        return [hold for hold in self.by_ref.values() if hold.waiters]

    def join(self, ticket: Ticket) -> Hold:
        hold = self.by_ref.get(ticket.ref)
        if hold is None:
            hold = self.by_ref[ticket.ref] = Hold(ticket.ref)
        hold.join(ticket)
        self.count += 1
        if ticket.wish.client:
            self.of_client[ticket.wish.client] += 1
        self.traffic.waiting[hold.ref] = len(hold.waiters)
        return hold

    def drop(self, ticket: Ticket) -> Hold:
        """It waits no more, for whatever reason."""
        hold = self.by_ref[ticket.ref]
        hold.drop(ticket)
        self.count -= 1
        if client := ticket.wish.client:
            self.of_client[client] -= 1
            if not self.of_client[client]:
                del self.of_client[client]
        if hold.waiters:
            self.traffic.waiting[hold.ref] = len(hold.waiters)
        else:
            self.traffic.waiting.pop(hold.ref, None)
            self.forget(hold)
        return hold

    def forget(self, hold: Hold) -> None:
        """One for which nobody waits, and nothing is under way, is over."""
        if not hold.waiters and not hold.under_way:
            self.by_ref.pop(hold.ref, None)

    def told(self, now: float) -> list[tuple[ModelRef, int, float]]:
        """How many wait for each model, and for how long the first of them has."""
        return [(h.ref, len(h.waiters), now - h.since) for h in self.waiting()]
