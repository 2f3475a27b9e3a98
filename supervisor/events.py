"""What may be posted to the loop, and what a plan under way looks like from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from collectors.reading import RAM, Incident, PoolId, Seconds

from .asker import Asker, asker
from .core.actions import Action, Cancel, Evict, Load, Plan
from .core.experience import Experience
from .core.policy import Policy
from .core.record import Decision, Outcome
from .core.snapshot import Demand, EngineState, ModelRef, Snapshot
from .engines.base import Engine

# Makes the same plan again from a newer snapshot, and what experience says by then.
Replan = Callable[[Snapshot, Policy, Experience], Plan]


# What loading a model will take. None: nobody knows, or it is refused for now.
Expect = Callable[[Snapshot, Policy, ModelRef], Demand | None]


class NotNow(Exception):
    """Nothing can be decided now; the message says why."""


TOO_LATE = "it was to be begun by a time that is over"


class About(NamedTuple):
    """The models that a wish names: while one of them is made to go, it is not decided.

    `keeps`: why those of them stay who were told to leave; "": they do not. `parts`: who is in use
    when it is to go leaves when it no longer is. `until`, on the monotonic clock: what is not begun
    by then never is.
    """

    refs: frozenset[ModelRef] = frozenset()
    keeps: str = ""
    parts: bool = False
    until: Seconds | None = None


NOBODY = About()
NOWHERE: frozenset[PoolId] = frozenset()
ONLY_RAM = frozenset({RAM})


@dataclass(slots=True)
class Run:
    """A decision under way. `done` is set to its outcomes when it has ended.

    `leaving` are those whose engine has been called and whose outcome is not known yet. `next` is
    the run that tries once more what this one could not do; it is there before `done` is set.
    `later` were in use when they were to go, and with how many: they leave when they no longer are.
    `read` are the pools that could be read when it was decided who goes; None: all.
    """

    decision: Decision
    replan: Replan
    done: asyncio.Future[list[Outcome]]
    outcomes: list[Outcome] = field(default_factory=list)
    leaving: set[ModelRef] = field(default_factory=set)
    next: asyncio.Future[Run] | None = None
    about: About = NOBODY
    later: dict[ModelRef, int] = field(default_factory=dict)
    read: Set[PoolId] | None = None

    def lacks(self) -> list[Action]:
        """The actions that were decided and have no outcome."""
        told = {(type(o.action), o.action.ref) for o in self.outcomes}
        return [a for a in self.decision.plan.actions if (type(a), a.ref) not in told]

    @property
    def loads(self) -> list[Load]:
        return [a for a in self.decision.plan.actions if isinstance(a, Load)]

    def in_the_way(self, plan: Plan, blind: Set[PoolId] = NOWHERE) -> bool:
        """One plan under way per pool. A plan whose bytes are not known is in everybody's way, and
        one that only ends requests in nobody's but who goes. `blind` are pools that nobody can
        read now: who goes, and is not seen on any accelerator, may hold a part of them, and of
        those that could not be read then, until it has gone."""
        own = self.decision.plan
        if any(all(isinstance(a, Cancel) for a in p.actions) for p in (own, plan)):
            return not {a.ref for a in own.actions}.isdisjoint(a.ref for a in plan.actions)
        lacks = self.lacks()
        going = any(isinstance(a, Evict) for a in lacks)
        others = _pools(plan, blind)
        unread = NOWHERE if self.read is None else others - self.read - ONLY_RAM
        mine = _pools(own, blind | unread if going else NOWHERE)
        if RAM in mine & others and any(_is_seen_in_ram_alone(a) for a in (*lacks, *plan.actions)):
            return True  # whether its memory came back is seen there, and nowhere else
        return meet(mine, others)

    @property
    def pools(self) -> frozenset[PoolId]:
        """Where its plan takes or gives memory."""
        return _pools(self.decision.plan)


def meet(some: Set[PoolId], others: Set[PoolId]) -> bool:
    """Do two plans work on the same pools, or is it not known? RAM that both take besides the
    memory of accelerators is promised to them, and no reason to wait."""
    if not some or not others:
        return True
    both = some & others
    return bool(both - ONLY_RAM if ONLY_RAM not in (some, others) else both)


def _pools(plan: Plan, blind: Set[PoolId] = NOWHERE) -> frozenset[PoolId]:
    found = frozenset(
        s.pool
        for a in plan.actions
        if not isinstance(a, Cancel)
        for s in (a.takes if isinstance(a, Load) else a.frees)
    )
    # Of whom nothing is seen on any accelerator: it may be on one that nobody can read.
    return found | blind if any(_is_seen_in_ram_alone(a) for a in plan.actions) else found


def _is_seen_in_ram_alone(action: Action) -> bool:
    """Somebody who is to go from there."""
    return isinstance(action, Evict) and {s.pool for s in action.frees} == ONLY_RAM


@dataclass(slots=True)
class Tick:
    """Time to look. `due_at` is when it should have been posted, on the monotonic clock. `paced`:
    it is one of a row, and no engine is asked more often for it than once in a base period."""

    due_at: float
    paced: bool = False


class Scope(Enum):
    """Of a sample."""

    ALL = "every source"
    MEMORY = "pools and devices; what engines said is a moment old"
    URGENT = "as memory, for an alarm: hardly anybody is waited for"


@dataclass(slots=True)
class Sampled:
    """`ticked`: it was asked for by a tick or an alarm, and not by a run that wants its end to be
    seen. `began`: when it was begun to ask the engines; None: at once."""

    snapshot: Snapshot
    ticked: bool = True
    scope: Scope = Scope.ALL
    began: Seconds | None = None


@dataclass(slots=True)
class SampleFailed:
    error: Exception
    scope: Scope = Scope.ALL


@dataclass(slots=True)
class Happened:
    """It is known what became of one action."""

    run: Run
    outcome: Outcome


@dataclass(slots=True)
class Ended:
    """A plan has been carried out as far as it went; `why` it went no further, if it did not."""

    run: Run
    why: str = ""


@dataclass(slots=True)
class Wanted:
    """Somebody asks for a plan to be made and carried out; `answer` gets the run or an error.
    `begun` is told of the run before anything of it is written down or done: what it writes down is
    on disk by then."""

    cause: str
    replan: Replan
    answer: asyncio.Future[Run]
    about: About = NOBODY
    begun: Callable[[Run], None] = lambda run: None
    by: Asker | None = field(default_factory=asker)

    def signed(self, decision: Decision) -> Decision:
        """Says who asked for it, and tells whoever keeps count of that."""
        return decision if self.by is None else self.by.sign(decision)


@dataclass(slots=True)
class Arrived:
    """A request for a model came, by the word of who passes it on or asks for the model."""

    ref: ModelRef


@dataclass(slots=True)
class ClaimsChanged:
    """Pins, leases, reservations, retentions or farewells are not what they were."""


@dataclass(slots=True)
class SettingsChanged:
    """`policy` is what is configured now. `apply_now`: its limits hold for those, too, who are
    there already. `done` is set when it is in force."""

    policy: Policy
    apply_now: bool = False
    done: asyncio.Future[None] | None = None


@dataclass(slots=True)
class Uses:
    """A client works with a model, since `at` on the monotonic clock."""

    client: str
    ref: ModelRef
    at: Seconds


@dataclass(slots=True)
class ClockStepped:
    """The wall clock moved against the monotonic one, by this many seconds."""

    by: float


@dataclass(slots=True)
class Pressed:
    """The kernel says that work stands still for want of RAM: look now."""


@dataclass(slots=True)
class Reported:
    """A driver reported something once."""

    incident: Incident


@dataclass(slots=True)
class EnginesFound:
    """`missing` are those that were named, and of which nobody knows yet what they are. One of
    `engines` may be of another kind than who was known at its address, and then stands for it."""

    engines: tuple[Engine, ...]
    missing: tuple[EngineState, ...] = ()


Event = (
    Tick
    | Sampled
    | SampleFailed
    | Happened
    | Ended
    | Wanted
    | ClaimsChanged
    | Arrived
    | SettingsChanged
    | Uses
    | ClockStepped
    | Pressed
    | Reported
    | EnginesFound
)
