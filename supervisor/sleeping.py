"""Models that sleep, and wake, because somebody asked for that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from .core.experience import Experience
from .core.ladder import ASLEEP, Rung, asleep, ladder
from .core.plan import Plan, Trigger, dismiss
from .core.policy import Policy, Scope
from .core.snapshot import Ability, EngineState, ModelRef, Resident, Snapshot, State
from .core.ways import SLEEPS
from .door import Carried, Door, DoorError
from .events import About, Replan
from .executor import WAKES

S = TypeVar("S", bound=Scope)


async def put_to_sleep(door: Door, names: Iterable[str], *, wait: bool = True) -> Carried:
    """Have these models give their accelerator's memory back, and stay. Who sleeps already does
    so; who is at work stays awake, with `wait` after some tries.

    Raises DoorError where one of them cannot sleep; then nobody was told to.
    """
    refs = list(dict.fromkeys(door.resolve(n) for n in names))
    snapshot, policy = door.snapshot(), door.loop.policy
    for ref in refs:
        _check(ref, snapshot, policy)
    cause = f"asked to let {', '.join(map(str, refs))} sleep"
    return await door.ask(cause, _lullaby(refs), wait, About(frozenset(refs)))


async def wake(door: Door, name: str, *, wait: bool = True) -> Carried:
    """Make room for what a sleeping model gave back, then have its engine wake it. One that is
    awake stays so. Raises DoorError where it cannot be woken."""
    ref = door.resolve(name)
    resident, engine = _there(ref, door.snapshot(), f"`ullage load {ref}` loads it")
    if resident.state is State.SLEEPING and WAKES.isdisjoint(engine.abilities):
        raise DoorError(
            f"{ref} cannot be woken: {engine.id} has no call for that; it wakes by its next request"
        )
    return await door.load(str(ref), wait=wait, to="wake")


def _check(ref: ModelRef, snapshot: Snapshot, policy: Policy) -> None:
    resident, engine = _there(ref, snapshot, "there is nothing to give back")
    if resident.state is State.SLEEPING:
        return
    instead = f"`ullage unload {ref}` gives all of its memory back"
    if SLEEPS.isdisjoint(engine.abilities):
        raise DoorError(
            f"{ref} cannot sleep: {engine.id} has no call for that (it can"
            f" {_and(engine.abilities)}); {instead}"
        )
    awake = replace(resident, state=State.LOADED)
    if not ladder(awake, engine, lulled(policy).ladder_of(ref), alone=False):
        raise DoorError(
            f"{ref} may not sleep: its `ladder` has neither sleep nor deep_sleep of what"
            f" {engine.id} can; {instead}"
        )
    if asleep(resident, snapshot) is None:
        raise DoorError(
            f"{ref} would give nothing back by sleeping: what it holds is in RAM, or little more"
            f" than it would keep; {instead}"
        )


def _there(ref: ModelRef, snapshot: Snapshot, hint: str) -> tuple[Resident, EngineState]:
    resident, engine = snapshot.resident(ref), snapshot.engine(ref.engine)
    if resident is None:
        raise DoorError(f"{ref} is not loaded: {hint}")
    if engine is None or not engine.up:
        why = "nobody knows it" if engine is None else engine.fault
        raise DoorError(f"{ref} cannot be asked: its engine does not answer ({why})")
    return resident, engine


def _lullaby(refs: Iterable[ModelRef]) -> Replan:
    asked = tuple(refs)

    def replan(snapshot: Snapshot, policy: Policy, _: Experience) -> Plan:
        sleeping = {r.ref for r in snapshot.residents if r.state is State.SLEEPING}
        awake = [ref for ref in asked if ref not in sleeping]
        return dismiss(snapshot, lulled(policy), awake, Trigger.OPERATOR)

    return replan


def lulled(policy: Policy) -> Policy:
    """`policy` with nothing but sleep on its ladders, where they had it."""
    return replace(
        _sleepy(policy),
        engines={name: _sleepy(own) for name, own in policy.engines.items()},
        models={name: _sleepy(own) for name, own in policy.models.items()},
    )


def _sleepy(scope: S) -> S:
    if scope.ladder is None:
        return scope
    rungs: tuple[Rung, ...] = tuple(rung for rung in scope.ladder if rung in ASLEEP)
    return replace(scope, ladder=rungs)


def _and(abilities: Iterable[Ability]) -> str:
    return ", ".join(sorted(a.value.replace("_", " ") for a in abilities)) or "nothing"
