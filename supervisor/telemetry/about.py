"""What the lines of the log are about: the decision, the model, the engine that they belong to.

A decision is carried out in a task of its own. Whatever is logged there, by whoever is called on
the way, belongs to it, and nobody has to pass its id along. A task that was begun meanwhile and
goes on after the decision has ended (one that keeps an engine's process) speaks for itself again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from supervisor.core.record import Decision
from supervisor.core.snapshot import ModelRef

Fields = Mapping[str, object]

S = TypeVar("S")
T = TypeVar("T")
P = ParamSpec("P")


@dataclass(slots=True)
class _About:
    fields: Fields
    over: bool = False


_NOW: ContextVar[_About | None] = ContextVar("about", default=None)


def now() -> Fields:
    """The fields that lines belong to, here and now."""
    found = _NOW.get()
    return {} if found is None or found.over else found.fields


@contextmanager
def about(**fields: object) -> Iterator[None]:
    """While this lasts, lines of this task, and of those that it begins, belong to `fields`."""
    found = _About({**now(), **fields})
    token = _NOW.set(found)
    try:
        yield
    finally:
        found.over = True
        _NOW.reset(token)


class _Run(Protocol):
    @property
    def decision(self) -> Any: ...


R = TypeVar("R", bound=_Run)


def of_decision(
    work: Callable[Concatenate[S, R, P], T],
) -> Callable[Concatenate[S, R, P], T]:
    """A method whose first argument is a run: what it logs belongs to the run's decision."""
    if iscoroutinefunction(work):

        @wraps(work)
        async def waits(self: S, run: R, *args: P.args, **more: P.kwargs) -> Any:
            with about(decision=run.decision.id):
                return await work(self, run, *args, **more)

        return cast(Callable[Concatenate[S, R, P], T], waits)

    @wraps(work)
    def whole(self: S, run: R, *args: P.args, **more: P.kwargs) -> T:
        with about(decision=run.decision.id):
            return work(self, run, *args, **more)

    return cast(Callable[Concatenate[S, R, P], T], whole)


def fields_of(args: object) -> Fields:
    """The model and the engine that a line names, where it names them as such."""
    for arg in args if isinstance(args, tuple) else (args,):
        if isinstance(arg, ModelRef):
            return {"model": str(arg), "engine": str(arg.engine)}
    return {}


def of_plan(decision: Decision) -> dict[str, object]:
    """What a decision's line says, as fields."""
    plan = decision.plan
    told = {"event": "decision", "decision": decision.id, "mode": decision.mode.value}
    return told | {"trigger": plan.trigger.value, "cause": decision.cause, "works": plan.works}


def of_action(row: Mapping[str, Any]) -> dict[str, object]:
    """What an outcome's line says, as fields: what was done, to whom, and what came of it."""
    judged = row.get("judgement") or {}
    found = {
        "event": "outcome",
        "action": row["action"],
        "model": row["model"],
        "engine": row["model"].partition("/")[0],
        "result": row["result"],
        "took": round(row["took"], 3),
        "rung": row["rung"],
        "verdict": judged.get("verdict"),
        "promised_bytes": judged.get("promised"),
        "returned_bytes": judged.get("returned"),
    }
    return {name: value for name, value in found.items() if value is not None}
