"""What the operator wants, as a value.

A setting may be given for the whole host, for an engine, or for a model; the most
particular one that is given decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from collectors.reading import Bytes, MemoryPool, PoolId, PoolKind, Seconds, mib

from .foreign_rule import ForeignRule, Stranger
from .groups import Group
from .halt import Halt
from .ladder import DEFAULT, Rung
from .rank import VALUE, Ranking
from .snapshot import EngineId, ModelRef
from .steps import Step
from .types import ModelType


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

BUSY_STEPS = (Step.UNLOAD,)
BUSY_STEP_INTERVAL = Seconds(30)


EVERY_ENGINE = EngineId("")  # in place of an engine's name


@dataclass(frozen=True, slots=True)
class Brake:
    """At most `count` swaps in a row, and one more every `period / count` seconds. A swap is a
    load for which somebody has to leave."""

    count: int
    period: Seconds


class Switch(Enum):
    """How far a client moves when it leaves its last model behind."""

    OFF = "off"  # never: a model stays until something else makes it go
    ENGINE = "engine"  # to another model of the same engine
    HOST = "host"  # to any other model


@dataclass(frozen=True, slots=True)
class PoolPolicy:
    reserve: Amount | None = None  # bytes never handed out; None: the default of its kind
    budget: Amount | None = None  # what models may hold of it, all together; None: all of it
    soft: Amount | None = None  # relief begins below it; None: the reserve
    hard: Amount | None = None  # and at once below it; None: half of the soft line
    restore: Amount | None = None  # and goes this far; None: the restore margin beyond the soft
    grace: Seconds | None = None  # how long it may be below the soft line; None: as the host
    foreign: ForeignRule | None = None  # what strangers may do to it; None: as the host
    max_active: int = 0  # models that hold bytes of it; 0: no limit
    exclusive: bool = False  # no more than one
    brake: Brake | None = None

    @property
    def most(self) -> int:
        """How many models may hold bytes of it; 0: no limit."""
        return 1 if self.exclusive else self.max_active


class Retention(Enum):
    """How long a model stays that nobody's memory is needed for."""

    PINNED = "pinned"  # for ever: it is never told to go
    ON_DEMAND = "on_demand"  # until its last user goes
    KEEP_ALIVE = "keep_alive"  # until it has been idle for long enough


FOREVER = Seconds(math.inf)  # a keep_alive that never ends


@dataclass(frozen=True, slots=True)
class Watchdog:
    """Timeouts of one scope. None: not said here, the wider scope decides."""

    idle: bool | None = None
    idle_timeout: Seconds | None = None
    busy: bool | None = None
    busy_timeout: Seconds | None = None
    busy_steps: tuple[Step, ...] | None = None  # what is done about one that is stuck, in order
    busy_step_interval: Seconds | None = None  # between one step and the next


@dataclass(frozen=True, slots=True)
class Scope:
    """What may be said of the whole host, of an engine, and of a model. None: not said here, the
    wider scope decides."""

    watchdog: Watchdog = Watchdog()
    ladder: tuple[Rung, ...] | None = None  # how its models may be made to go
    force_when_busy: bool | None = None  # may a model go although it is at work?
    retention: Retention | None = None
    keep_alive: Seconds | None = None  # idle for this long, it goes; 0: after its last request

    @property
    def keeps(self) -> Retention | None:
        """The retention that is said here; a keep_alive alone says it, too."""
        if self.retention is None and self.keep_alive is not None:
            return Retention.KEEP_ALIVE
        return self.retention

    type: ModelType | None = None  # what it is for, where its engine does not say
    npu: bool | None = None  # does it run on the NPU, where its engine does not say?
    unload_on_switch: Switch | None = None  # does it leave when its client moves on?
    min_residency: Seconds | None = None  # how long it stays, once it is there
    priority: int | None = None  # its loss counts 2 ** priority times


@dataclass(frozen=True, slots=True)
class EnginePolicy(Scope):
    max_active: int | None = None  # 0: no limit
    pools: frozenset[PoolId] = frozenset()  # it loads into these alone; empty: into any


@dataclass(frozen=True, slots=True)
class ModelPolicy(Scope):
    pinned: bool = False  # the same as Retention.PINNED
    memory: Amount | None = None  # what it takes, by the operator's word
    part: bool = False  # of a model that spans hosts: it may be filled later, and takes `memory`
    spans: bool = False  # and leads that: it is loaded as their fleet says, and not alone


@dataclass(frozen=True, slots=True)
class Policy(Scope):
    watchdog: Watchdog = Watchdog(
        False, Seconds(900), False, Seconds(300), BUSY_STEPS, BUSY_STEP_INTERVAL
    )
    ladder: tuple[Rung, ...] | None = DEFAULT
    force_when_busy: bool | None = False
    ranking: Ranking = VALUE  # who goes first
    prefetch: bool = False  # load what is likely to be asked for, where nobody has to go for it
    pools: Mapping[PoolId, PoolPolicy] = field(default_factory=dict)
    engines: Mapping[EngineId, EnginePolicy] = field(default_factory=dict)
    # By "model" or by "engine/model"; the latter is the more particular.
    models: Mapping[str, ModelPolicy] = field(default_factory=dict)
    pinned: frozenset[str] = frozenset()  # pins set while running, by "model" or "engine/model"
    # When those of them end that do, on the clock of Snapshot.taken_at.
    pins_end: Mapping[str, Seconds] = field(default_factory=dict)
    max_active: int = 0  # models resident on the whole host; 0: no limit
    single: bool = False  # at most one model that is not pinned, on the whole host
    unload_on_switch: Switch | None = Switch.OFF
    types: Mapping[ModelType, int] = field(default_factory=dict)  # models active; 0: no limit
    npu_most: int = 1  # models on the NPU; 0: no limit
    groups: Mapping[str, Group] = field(default_factory=dict)
    grace: Seconds = Seconds(10)  # how long a pool may be below its reserve before relief
    restore_margin: Bytes = mib(256)  # relief goes this far beyond the soft line
    relief_pause: Seconds = Seconds(10)  # after relief, unless the hard line is met
    foreign: ForeignRule = ForeignRule.YIELD
    strangers: tuple[Stranger, ...] = ()  # rules for processes by name
    growth_horizon: Seconds = Seconds(30)  # how far ahead growth is looked at; 0: not at all
    # A model of which nobody can say whether it is serving counts as busy this long after
    # the last sign of work.
    busy_while_fresh: Seconds = Seconds(5)

    pause: Halt | None = None  # nothing is done of our own accord
    drained: Mapping[EngineId, Halt] = field(default_factory=dict)  # take no requests and no loads

    def drain_of(self, engine: EngineId) -> Halt | None:
        """None: it takes requests, and loads."""
        if not self.drained:
            return None
        return self.drained.get(engine) or self.drained.get(EVERY_ENGINE)

    def spans(self, ref: ModelRef) -> bool:
        """Do other hosts hold parts of it? Then it is not loaded alone."""
        own = self.models.get(str(ref))
        return own is not None and own.spans

    def reserve_of(self, pool: MemoryPool) -> Bytes:
        own = self.pools.get(pool.id)
        amount = own.reserve if own is not None else None
        if amount is None:
            accelerator = pool.kind is PoolKind.DEDICATED
            amount = ACCELERATOR_RESERVE if accelerator else HOST_RESERVE
        return amount.of(pool.total)

    def grace_of(self, pool: PoolId) -> Seconds:
        own = self.pools.get(pool)
        return self.grace if own is None or own.grace is None else own.grace

    def foreign_of(self, pool: PoolId) -> ForeignRule:
        own = self.pools.get(pool)
        return self.foreign if own is None or own.foreign is None else own.foreign

    def budget_of(self, pool: MemoryPool) -> Bytes | None:
        own = self.pools.get(pool.id)
        return None if own is None or own.budget is None else own.budget.of(pool.total)

    def without_budgets(self) -> Policy:
        if all(pool.budget is None for pool in self.pools.values()):
            return self
        return replace(self, pools={p: replace(own, budget=None) for p, own in self.pools.items()})

    @property
    def may_pin(self) -> bool:
        """Is anybody pinned at all?"""
        named = bool(self.pinned) or any(model.pinned for model in self.models.values())
        return named or self.says("retention")

    def is_pinned(self, ref: ModelRef) -> bool:
        if self.pinned and any(k in self.pinned for k in _keys(ref)):
            return True
        return self.retention_of(ref) is Retention.PINNED

    def pin_ends(self, ref: ModelRef) -> Seconds | None:
        """When the pin of `ref` ends, the last if there are two. None: there is none that does."""
        mine = [k for k in _keys(ref) if k in self.pinned]
        if not mine or self.retention_of(ref) is Retention.PINNED:
            return None
        ends = [self.pins_end.get(k) for k in mine]
        return None if None in ends else max(e for e in ends if e is not None)

    def retention_of(self, ref: ModelRef) -> Retention | None:
        """What the most particular scope says. None: nobody; it stays until its memory is needed,
        or until a watchdog finds it idle."""
        if not self.models and not self.engines:
            return self.keeps
        if self.models:
            for key in _keys(ref):
                if (model := self.models.get(key)) is not None:
                    if model.pinned:
                        return Retention.PINNED
                    if model.keeps is not None:
                        return model.keeps
        engine = self.engines.get(ref.engine)
        if engine is not None and engine.keeps is not None:
            return engine.keeps
        return self.keeps

    def goes_unused(self, ref: ModelRef) -> bool:
        """Does `ref` go as soon as its last user does?"""
        retention = self.retention_of(ref)
        if retention is Retention.KEEP_ALIVE:
            return self.idle_timeout_of(ref) == Seconds(0)
        return retention is Retention.ON_DEMAND

    def max_active_of(self, engine: EngineId) -> int:
        own = self.engines.get(engine)
        return own.max_active if own is not None and own.max_active is not None else 0

    def pools_of(self, engine: EngineId) -> frozenset[PoolId]:
        """Where its models can be, by the operator's word. Empty: anywhere."""
        own = self.engines.get(engine)
        return frozenset() if own is None else own.pools

    def ladder_of(self, ref: ModelRef) -> tuple[Rung, ...]:
        found: tuple[Rung, ...] | None = self.said(ref, "ladder")
        return found or ()

    def priority_of(self, ref: ModelRef) -> int:
        """Its loss counts 2 ** priority times."""
        found: int | None = self.said(ref, "priority")
        return found or 0

    def force_when_busy_of(self, ref: ModelRef) -> bool:
        """May `ref` be made to go although it is at work, when nothing else helps?"""
        return bool(self.said(ref, "force_when_busy"))

    def idle_timeout_of(self, ref: ModelRef) -> Seconds | None:
        """How long `ref` may be idle before it is unloaded. None: for ever. Of a keep_alive and a
        watchdog the more particular one decides, at the same scope the keep_alive."""
        scopes = self.scopes(ref)
        if self.retention_of(ref) is not Retention.ON_DEMAND:  # that has no timer
            for scope in scopes:
                if scope.keep_alive is not None:
                    return None if scope.keep_alive == FOREVER else scope.keep_alive
                if scope.watchdog.idle is not None or scope.watchdog.idle_timeout is not None:
                    break
        watchdogs = [s.watchdog for s in scopes]
        on = next((w.idle for w in watchdogs if w.idle is not None), False)
        limit = next((w.idle_timeout for w in watchdogs if w.idle_timeout is not None), None)
        return limit if on else None

    def busy_timeout_of(self, ref: ModelRef) -> Seconds | None:
        """How long `ref` may be busy without a rest before it counts as stuck. None: for ever."""
        watchdogs = [s.watchdog for s in self.scopes(ref)]
        on = next((w.busy for w in watchdogs if w.busy is not None), False)
        limit = next((w.busy_timeout for w in watchdogs if w.busy_timeout is not None), None)
        return limit if on else None

    def busy_steps_of(self, ref: ModelRef) -> tuple[Step, ...]:
        said = [s.watchdog.busy_steps for s in self.scopes(ref)]
        return next((steps for steps in said if steps), BUSY_STEPS)

    def busy_step_interval_of(self, ref: ModelRef) -> Seconds:
        said = [s.watchdog.busy_step_interval for s in self.scopes(ref)]
        return next((interval for interval in said if interval is not None), BUSY_STEP_INTERVAL)

    def scopes(self, ref: ModelRef) -> list[Scope]:
        """Every scope that has a say on `ref`, the most particular first; this one is the last."""
        found: list[Scope] = []
        if self.models:
            found += [self.models[k] for k in _keys(ref) if k in self.models]
        if (engine := self.engines.get(ref.engine)) is not None:
            found.append(engine)
        found.append(self)
        return found

    def says(self, name: str) -> bool:
        """Does any scope say anything of the field `name` that is not nothing?"""
        every = (self, *self.engines.values(), *self.models.values())
        return any(getattr(scope, name) for scope in every)

    def said(self, ref: ModelRef, name: str) -> Any:
        """What the most particular scope of `ref` says of the field `name`; None: nobody does."""
        if not self.models and not self.engines:
            return getattr(self, name)
        for scope in self.scopes(ref):
            if (value := getattr(scope, name)) is not None:
                return value
        return None


def _keys(ref: ModelRef) -> tuple[str, str]:
    return str(ref), ref.model
