"""What works against us on this machine, and what would be right: asked when somebody asks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from collectors.reading import Seconds

from .core.snapshot import EngineId, ModelRef, Snapshot
from .engines.base import Engine, EngineError, Habit

log = logging.getLogger("ullage.doctor")

DEADLINE = Seconds(5.0)  # for all that one engine is asked

# What is said of an engine that answers on this machine, where nobody knows by which process.
UNTRACED = "what it holds cannot be told: its process belongs to another user, or is in a container"
HOW_TO_TRACE = (
    "run it as a service or a container of its own, or let Ullage look into others' processes: "
    "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH (deploy/README.md)"
)


@dataclass(frozen=True, slots=True)
class Advice:
    """`about` is an engine, or a model as "engine/model"."""

    about: str
    what: str
    remedy: str


async def examine(
    engines: Iterable[Engine], snapshot: Snapshot, untraced: Collection[EngineId] = ()
) -> tuple[Advice, ...]:
    """Every engine at once, each within the deadline; in the order of names. `untraced` are those
    here whose process is not known."""
    states = {e.id: e for e in snapshot.engines}
    found = [
        Advice(
            f"{e.id}",
            f"it is not heard: {e.fault}",
            f"see that it runs and answers at {e.url}; nobody is evicted from it until it does",
        )
        for e in snapshot.engines
        if not e.up
    ]
    found += [
        Advice(str(i.ref), i.trouble, f"see what it wrote: `ullage logs {i.ref}`")
        for i in snapshot.installed
        if i.trouble is not None
    ]
    found += [Advice(e, UNTRACED, HOW_TO_TRACE) for e in untraced if e in states and states[e].up]
    up = [e for e in engines if e.id in states and states[e.id].up]
    for habits in await asyncio.gather(*(habits_of(e) for e in up)):
        found += habits
    return tuple(sorted(found, key=lambda a: (a.about, a.what)))


async def habits_of(engine: Engine) -> list[Advice]:
    """What one engine does of its own accord, within the deadline."""
    try:
        async with asyncio.timeout(DEADLINE):
            return [_advice(engine.id, habit) for habit in await engine.habits()]
    except (EngineError, TimeoutError) as error:
        why = f"no answer within {DEADLINE:g} s" if isinstance(error, TimeoutError) else str(error)
        what = f"its habits are not known: {why}"
        return [Advice(engine.id, what, "ask again later, or look at its own settings")]
    except Exception as error:  # our bug: it costs us this answer, and no other
        log.warning("asking %s for its habits", engine.id, exc_info=True)
        what = f"its habits are not known: {type(error).__name__}: {error}"
        return [Advice(engine.id, what, "this is a bug of ours: please report it")]


def _advice(engine: EngineId, habit: Habit) -> Advice:
    about = engine if habit.model is None else str(ModelRef(engine, habit.model))
    return Advice(about, habit.what, habit.remedy)
