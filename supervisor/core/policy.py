"""What the operator wants, as a value.

A setting may be given for the whole host, for an engine, or for a model; the most
particular one that is given decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from collectors.reading import Bytes, MemoryPool, PoolId, PoolKind, Seconds, mib

from .ladder import DEFAULT, Rung
from .snapshot import EngineId, ModelRef


@dataclass(frozen=True, slots=True)
class Amount:
    """A size as an operator writes it: bytes, or a fraction of the pool."""

    size: Bytes = Bytes(0)
    fraction: float = 0.0

    def of(self, total: Bytes) -> Bytes:
        """The larger of the two, in bytes of a pool of `total` bytes, and never more than that."""
        return Bytes(min(total, max(self.size, int(self.fraction * total))))


# What engines and the system really need, and no more: room kept free on purpose is paid
# for in reloads (5 % kept free costs 13 % more reload seconds, 10 % costs 30 %).
ACCELERATOR_RESERVE = Amount(size=mib(512), fraction=0.03)
HOST_RESERVE = Amount(fraction=0.12)  # earlyoom acts at 10 %


@dataclass(frozen=True, slots=True)
class PoolPolicy:
    reserve: Amount | None = None  # bytes never handed out; None: the default of its kind
    budget: Amount | None = None  # what models may hold of it, all together; None: all of it


@dataclass(frozen=True, slots=True)
class Watchdog:
    """Timeouts of one scope. None: not said here, the wider scope decides."""

    idle: bool | None = None
    idle_timeout: Seconds | None = None
    busy: bool | None = None
    busy_timeout: Seconds | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """What may be said of the whole host, of an engine, and of a model. None: not said here, the
    wider scope decides."""

    watchdog: Watchdog = Watchdog()
    ladder: tuple[Rung, ...] | None = None  # how its models may be made to go
    force_when_busy: bool | None = None  # may a model go although it is at work?


@dataclass(frozen=True, slots=True)
class EnginePolicy(Scope):
    max_active: int | None = None  # 0: no limit


@dataclass(frozen=True, slots=True)
class ModelPolicy(Scope):
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Policy(Scope):
    watchdog: Watchdog = Watchdog(False, Seconds(900), False, Seconds(300))
    ladder: tuple[Rung, ...] | None = DEFAULT
    force_when_busy: bool | None = False
    pools: Mapping[PoolId, PoolPolicy] = field(default_factory=dict)
    engines: Mapping[EngineId, EnginePolicy] = field(default_factory=dict)
    # By "model" or by "engine/model"; the latter is the more particular.
    models: Mapping[str, ModelPolicy] = field(default_factory=dict)
    pinned: frozenset[str] = frozenset()  # pins set while running, by "model" or "engine/model"
    max_active: int = 0  # models resident on the whole host; 0: no limit
    single: bool = False  # at most one model that is not pinned, on the whole host
    grace: Seconds = Seconds(10)  # how long a pool may be below its reserve before relief
    restore_margin: Bytes = mib(256)  # relief goes this far beyond the reserve
    # A model of which nobody can say whether it is serving counts as busy this long after
    # the last sign of work.
    busy_while_fresh: Seconds = Seconds(5)

    def reserve_of(self, pool: MemoryPool) -> Bytes:
        own = self.pools.get(pool.id)
        amount = own.reserve if own is not None else None
        if amount is None:
            accelerator = pool.kind is PoolKind.DEDICATED
            amount = ACCELERATOR_RESERVE if accelerator else HOST_RESERVE
        return amount.of(pool.total)

    def budget_of(self, pool: MemoryPool) -> Bytes | None:
        own = self.pools.get(pool.id)
        return None if own is None or own.budget is None else own.budget.of(pool.total)

    def is_pinned(self, ref: ModelRef) -> bool:
        if not self.pinned and not self.models:
            return False
        keys = _keys(ref)
        if any(k in self.pinned for k in keys):
            return True
        return any(self.models[k].pinned for k in keys if k in self.models)

    def max_active_of(self, engine: EngineId) -> int:
        own = self.engines.get(engine)
        return own.max_active if own is not None and own.max_active is not None else 0

    def ladder_of(self, ref: ModelRef) -> tuple[Rung, ...]:
        found: tuple[Rung, ...] | None = self.said(ref, "ladder")
        return found or ()

    def force_when_busy_of(self, ref: ModelRef) -> bool:
        """May `ref` be made to go although it is at work, when nothing else helps?"""
        return bool(self.said(ref, "force_when_busy"))

    def idle_timeout_of(self, ref: ModelRef) -> Seconds | None:
        """How long `ref` may be idle before it is unloaded. None: for ever."""
        watchdogs = [s.watchdog for s in self.scopes(ref)]
        on = next((w.idle for w in watchdogs if w.idle is not None), False)
        limit = next((w.idle_timeout for w in watchdogs if w.idle_timeout is not None), None)
        return limit if on else None

    def busy_timeout_of(self, ref: ModelRef) -> Seconds | None:
        """How long `ref` may be busy without a rest before it counts as stuck. None: for ever."""
        watchdogs = [s.watchdog for s in self.scopes(ref)]
        on = next((w.busy for w in watchdogs if w.busy is not None), False)
        limit = next((w.busy_timeout for w in watchdogs if w.busy_timeout is not None), None)
        return limit if on else None

    def scopes(self, ref: ModelRef) -> list[Scope]:
        """Every scope that has a say on `ref`, the most particular first; this one is the last."""
        found: list[Scope] = []
        if self.models:
            found += [self.models[k] for k in _keys(ref) if k in self.models]
        if (engine := self.engines.get(ref.engine)) is not None:
            found.append(engine)
        found.append(self)
        return found

    def said(self, ref: ModelRef, name: str) -> Any:
        """What the most particular scope of `ref` says of the field `name`; None: nobody does."""
        for scope in self.scopes(ref):
            if (value := getattr(scope, name)) is not None:
                return value
        return None


def _keys(ref: ModelRef) -> tuple[str, str]:
    return str(ref), ref.model
