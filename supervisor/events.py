"""What may be posted to the loop, and what a plan under way looks like from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from collectors.reading import Incident, PoolId

from .core.experience import Experience
from .core.plan import Action, Load, Plan
from .core.policy import Policy
from .core.record import Decision, Outcome
from .core.snapshot import EngineState, ModelRef, Snapshot
from .engines.base import Engine

# Makes the same plan again from a newer snapshot, and what experience says by then.
Replan = Callable[[Snapshot, Policy, Experience], Plan]


class NotNow(Exception):
    """Nothing can be decided now; the message says why."""


@dataclass(slots=True)
class Run:
    """A decision under way. `done` is set to its outcomes when it has ended.

    `leaving` are those whose engine has been called and whose outcome is not known yet.
    """

    decision: Decision
    replan: Replan
    done: asyncio.Future[list[Outcome]]
    outcomes: list[Outcome] = field(default_factory=list)
    leaving: set[ModelRef] = field(default_factory=set)

    def lacks(self) -> list[Action]:
        """The actions that were decided and have no outcome."""
        told = {(type(o.action), o.action.ref) for o in self.outcomes}
        return [a for a in self.decision.plan.actions if (type(a), a.ref) not in told]

    def in_the_way(self, plan: Plan) -> bool:
        """One plan under way per pool. A plan whose bytes are not known is in everybody's way."""
        mine, theirs = _pools(self.decision.plan), _pools(plan)
        return not mine or not theirs or bool(mine & theirs)


def _pools(plan: Plan) -> frozenset[PoolId]:
    return frozenset(
        s.pool for a in plan.actions for s in (a.takes if isinstance(a, Load) else a.frees)
    )


@dataclass(slots=True)
class Tick:
    """Time to look. `due_at` is when it should have been posted, on the monotonic clock."""

    due_at: float


@dataclass(slots=True)
class Sampled:
    """`ticked`: it was asked for by a tick, and not by a run that wants its end to be seen.
    `urgent`: by an alarm."""

    snapshot: Snapshot
    ticked: bool = True
    urgent: bool = False


@dataclass(slots=True)
class SampleFailed:
    error: Exception
    urgent: bool = False


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
    """Somebody asks for a plan to be made and carried out; `answer` gets the run or an error."""

    cause: str
    replan: Replan
    answer: asyncio.Future[Run]


@dataclass(slots=True)
class PinsChanged:
    pins: frozenset[str]


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
    """`missing` are those that were named, and of which nobody knows yet what they are."""

    engines: tuple[Engine, ...]
    missing: tuple[EngineState, ...] = ()


Event = (
    Tick
    | Sampled
    | SampleFailed
    | Happened
    | Ended
    | Wanted
    | PinsChanged
    | ClockStepped
    | Pressed
    | Reported
    | EnginesFound
)
