"""How a model can be made to give its memory back, the mildest way first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import Enum

from collectors.reading import RAM, Bytes, PoolId, PoolKind, gib

from .snapshot import Ability, EngineState, ModelRef, Resident, Share, Snapshot, Source, State


class Rung(Enum):
    """One way, by the word that an operator writes. In the order in which they are tried."""

    SLEEP = "sleep"  # its weights stay in RAM, and waking is quick
    DEEP_SLEEP = "deep_sleep"  # its weights are read again when it wakes
    UNLOAD = "unload"
    RESTART = "restart"  # of its whole engine, by the engine itself or by its unit
    STOP = "stop"  # of its whole engine, which is started again for the next load
    TERM = "term"  # of the model's processes
    KILL = "kill"


# What an engine offers for just this. The others end processes: that is for operators to allow.
DEFAULT = (Rung.SLEEP, Rung.DEEP_SLEEP, Rung.UNLOAD)
ASLEEP = frozenset({Rung.SLEEP, Rung.DEEP_SLEEP})
SIGNALS = frozenset({Rung.TERM, Rung.KILL})
# These end more than one model.
WHOLE = frozenset({Rung.RESTART, Rung.STOP})

# What a sleeping model is thought to keep until it has been seen asleep: the driver's context,
# its graphs, buffers of communication.
RESIDUE = gib(1)


def ladder(
    resident: Resident, engine: EngineState, allowed: Iterable[Rung], *, alone: bool
) -> tuple[Rung, ...]:
    """The rungs that are there for `resident`, in order. `alone`: nobody who has to stay would
    go with it if its whole engine went."""
    awake = resident.state is State.LOADED
    can = engine.abilities
    there = {
        Rung.SLEEP: awake and Ability.SLEEP in can,
        Rung.DEEP_SLEEP: awake and Ability.DEEP_SLEEP in can,
        Rung.UNLOAD: Ability.UNLOAD in can,
        Rung.RESTART: alone and (Ability.RESTART in can or engine.service is not None),
        Rung.STOP: alone and engine.service is not None,
        Rung.TERM: bool(resident.pids),
        Rung.KILL: bool(resident.pids),
    }
    wanted = set(allowed)
    return tuple(rung for rung in Rung if rung in wanted and there[rung])


def weights(resident: Resident, snapshot: Snapshot) -> Bytes:
    """Bytes that it holds on accelerators with memory of their own: what a sleep moves."""
    own = {p.id for p in snapshot.pools if p.kind is PoolKind.DEDICATED}
    return Bytes(sum(s.size for s in resident.shares if s.pool in own))


def asleep(resident: Resident, snapshot: Snapshot) -> Resident | None:
    """What `resident` gives back by sleeping, as a resident that holds just that. None: nothing,
    for what it holds is in RAM, or little more than it would keep."""
    kept = residue(resident, snapshot.residues)
    own = {p.id for p in snapshot.pools if p.kind is PoolKind.DEDICATED}
    gives = tuple(
        Share(s.pool, Bytes(s.size - kept.get(s.pool, 0)), s.source)
        for s in resident.shares
        if s.pool in own and s.size > kept.get(s.pool, 0)
    )
    return replace(resident, shares=gives, mapped=()) if gives else None


def residue(
    resident: Resident, learned: Mapping[ModelRef, tuple[Share, ...]]
) -> dict[PoolId, Bytes]:
    """What it keeps of each pool while it sleeps: as it was seen, else as is usual."""
    seen = learned.get(resident.ref)
    if seen is not None:
        return {s.pool: s.size for s in seen if s.pool != RAM}
    return {s.pool: RESIDUE for s in resident.shares if s.source is not Source.ESTIMATED}
