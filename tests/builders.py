"""Small machines for tests: say only what the test is about."""

from __future__ import annotations

from collections.abc import Iterable

from collectors.reading import Bytes, MemoryPool, PoolId, PoolKind, Seconds, gib
from supervisor.core.policy import Amount, Policy, PoolPolicy
from supervisor.core.snapshot import (
    Ability,
    Demand,
    EngineId,
    EngineState,
    Mapped,
    ModelId,
    ModelRef,
    Resident,
    Share,
    Snapshot,
    State,
)

GPU = PoolId("gpu:0")
OTHER = PoolId("gpu:1")
ABLE = frozenset({Ability.LIST, Ability.LOAD, Ability.UNLOAD})


def ref(name: str, engine: str = "ollama") -> ModelRef:
    return ModelRef(EngineId(engine), ModelId(name))


def share(size: float, pool: PoolId = GPU) -> Share:
    return Share(pool, gib(size))


def pool(free: float, total: float = 24, id: PoolId = GPU) -> MemoryPool:
    return MemoryPool(id, PoolKind.DEDICATED, gib(total), gib(free))


def resident(
    name: str,
    size: float,
    *,
    pool: PoolId = GPU,
    idle: float = 0,
    busy: float | None = None,
    stalled: float | None = None,
    state: State = State.LOADED,
    engine: str = "ollama",
    files: Iterable[tuple[str, float]] = (),
) -> Resident:
    """`busy`: for how many seconds; None: idle; `stalled`: without
    progress, by default all that time. `files`: names and GiB of mapped weights."""
    return Resident(
        ref(name, engine),
        (share(size, pool),) if size else (),
        tuple(Mapped(file, pool, gib(n)) for file, n in files),
        state,
        busy=busy is not None,
        in_flight=1 if busy is not None else 0,
        idle_for=Seconds(idle if busy is None else 0),
        busy_for=Seconds(busy or 0),
        stalled_for=Seconds((busy or 0) if stalled is None else stalled),
    )


def engine(name: str = "ollama", fault: str | None = None, *, able: bool = True) -> EngineState:
    abilities = ABLE if able else frozenset({Ability.LIST})
    return EngineState(EngineId(name), name, "http://127.0.0.1:1", abilities, "1", fault)


def machine(
    *residents: Resident,
    free: float,
    total: float = 24,
    at: float = 0,
    engines: tuple[EngineState, ...] | None = None,
) -> Snapshot:
    """One GPU, and an engine that is able and up for every resident."""
    names = sorted({r.engine for r in residents} | {EngineId("ollama")})
    up = tuple(engine(n) for n in names) if engines is None else engines
    return Snapshot(Seconds(at), (pool(free, total),), residents, engines=up)


def demand(name: str, size: float, pool: PoolId = GPU) -> Demand:
    return Demand((share(size, pool),), ref(name))


def reserve(size: float, pool: PoolId = GPU, **others: object) -> Policy:
    """A policy with just this reserve, and nothing kept beyond it."""
    amount = PoolPolicy(reserve=Amount(size=gib(size)))
    return Policy(pools={pool: amount}, restore_margin=Bytes(0), **others)  # type: ignore[arg-type]


NO_RESERVE = reserve(0)
