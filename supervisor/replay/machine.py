"""A machine of one pool, made of values. Whoever has to go is chosen by the core, as in the daemon.

All in memory, and as little of it as can be: a plan is asked for only where something has to go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from collectors.reading import Bytes, MemoryPool, PoolId, PoolKind, Seconds
from supervisor.core.experience import Experience
from supervisor.core.history import History
from supervisor.core.odds import Odds
from supervisor.core.plan import Evict, Trigger, dismiss, plan
from supervisor.core.policy import Amount, Policy, PoolPolicy
from supervisor.core.snapshot import (
    Ability,
    Demand,
    EngineState,
    ModelRef,
    Resident,
    Share,
    Snapshot,
    State,
)
from supervisor.core.watch import Kind, watch

from .trace import Model

POOL = PoolId("replayed")
ALL_OF_IT = {POOL: PoolPolicy(reserve=Amount())}  # a trace says what its models may hold
ABILITIES = frozenset({Ability.LIST, Ability.LOAD, Ability.UNLOAD})


class Unasked(Odds):
    """For rules to which it is all one how likely a model is asked for again: learning that takes
    longer than all the rest of a replay."""

    def arrived(self, ref: ModelRef, now: float) -> None:
        pass

    def chance(self, ref: ModelRef, now: float, horizon: float, idle: float = 0.0) -> float:
        return 0.0

    def keeping(self, ref: ModelRef, now: float, horizon: float, idle: float = 0.0) -> float:
        return 0.0


@dataclass(slots=True)
class Slot:
    """A model that is in memory. `used_at`: when it was last asked for or at work."""

    used_at: float
    in_flight: int = 0
    loading: bool = False
    awaited: bool = False  # requests are held for it


@dataclass(slots=True)
class Machine:
    """`policy` is the operator's; what it says of pools is replaced by all of `capacity`. `learns`:
    it matters how likely each is asked for again."""

    models: Mapping[ModelRef, Model]
    capacity: Bytes
    policy: Policy
    learns: bool = True
    history: History = field(default_factory=History)
    slots: dict[ModelRef, Slot] = field(default_factory=dict)
    used: int = 0
    most: int = 0  # bytes that were ever used at once
    _chosen: tuple[Evict, ...] = ()  # by the latest plan: what it expected of them
    _shares: dict[ModelRef, tuple[Share, ...]] = field(default_factory=dict)
    _engines: tuple[EngineState, ...] = ()
    _idle_after: Seconds | None = None
    _oldest: float = 0.0  # nobody was used before this

    def __post_init__(self) -> None:
        self.policy = replace(self.policy, pools=ALL_OF_IT)
        if not self.learns:
            self.history.odds = Unasked()
        self._shares = {ref: (Share(POOL, m.size),) for ref, m in self.models.items()}
        engines = sorted({ref.engine for ref in self.models})
        self._engines = tuple(EngineState(e, "replay", "", ABILITIES) for e in engines)
        self._idle_after = min(
            (t for ref in self.models if (t := self.policy.idle_timeout_of(ref)) is not None),
            default=None,
        )

    def load(self, ref: ModelRef, now: float, *, loading: bool = False) -> Slot:
        """Its bytes are taken from now on."""
        slot = self.slots[ref] = Slot(now, loading=loading)
        self.used += self.models[ref].size
        self.most = max(self.most, self.used)
        if not loading:
            self.loaded(ref, now)
        return slot

    def loaded(self, ref: ModelRef, now: float) -> None:
        self.history.loaded(ref, self.models[ref].load, self._shares[ref], now)

    def make_room(self, refs: Iterable[ModelRef], now: float) -> None:
        """Have those go whom `room_for` has just named."""
        self.history.gave_way(self._chosen, now)
        self.leave(refs, now)

    def leave(self, refs: Iterable[ModelRef], now: float) -> None:
        for ref in refs:
            del self.slots[ref]
            self.used -= self.models[ref].size
            self.history.left(ref, now)

    def room_for(
        self, ref: ModelRef, now: float, policy: Policy | None = None
    ) -> tuple[ModelRef, ...] | None:
        """Who has to go before `ref` fits, by the core's plan. None: there is no way."""
        self._chosen = ()
        if self._fits(ref):
            return ()
        demand = Demand(self._shares[ref], ref)
        experience = Experience(frozenset(), self.history)
        found = plan(self.snapshot(now), policy or self.policy, demand, experience)
        self._chosen = found.evictions
        return tuple(e.ref for e in found.evictions) if found.works else None

    def hopeless(self, ref: ModelRef) -> bool:
        """Does it not fit although everybody went who is at rest? Spares a plan in vain."""
        resting = [r for r, s in self.slots.items() if not (s.in_flight or s.awaited or s.loading)]
        if self.policy.max_active and len(self.slots) - len(resting) >= self.policy.max_active:
            return True
        free = self.capacity - self.used + sum(self.models[r].size for r in resting)
        return free < self.models[ref].size

    def overdue(self, now: float) -> tuple[ModelRef, ...]:
        """Whom the idle watchdog lets go now."""
        if self._idle_after is None or now - self._oldest < self._idle_after or not self.slots:
            return ()
        self._oldest = min(now if s.in_flight else s.used_at for s in self.slots.values())
        if now - self._oldest < self._idle_after:
            return ()
        snapshot = self.snapshot(now)
        idle = [f.ref for f in watch(snapshot, self.policy) if f.kind is Kind.IDLE and f.ref]
        leaving = dismiss(snapshot, self.policy, idle, Trigger.IDLE).evictions
        return tuple(e.ref for e in leaving)

    def snapshot(self, now: float) -> Snapshot:
        free = Bytes(max(0, self.capacity - self.used))
        pool = MemoryPool(POOL, PoolKind.DEDICATED, self.capacity, free)
        residents = tuple(self._resident(ref, slot, now) for ref, slot in self.slots.items())
        return Snapshot(Seconds(now), (pool,), residents, engines=self._engines)

    def _resident(self, ref: ModelRef, slot: Slot, now: float) -> Resident:
        busy = slot.in_flight > 0 or slot.awaited
        return Resident(
            ref,
            self._shares[ref],
            state=State.LOADING if slot.loading else State.LOADED,
            busy=busy,
            in_flight=slot.in_flight,
            idle_for=Seconds(0.0 if busy else now - slot.used_at),
        )

    def _fits(self, ref: ModelRef) -> bool:
        most = 1 if self.policy.single else self.policy.max_active
        if most and len(self.slots) >= most:
            return False
        return self.used + self.models[ref].size <= self.capacity
