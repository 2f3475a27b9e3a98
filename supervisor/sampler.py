"""Asks every collector and every engine at once, and folds the answers into a snapshot.

Each source has its own deadline. A source that is late or wrong is blind, not fatal: its
pools are named in `blind`, its models are shown as unknown, and everybody else is on time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from collectors.machine import Machine, Owner, fold
from collectors.reading import RAM, Bytes, Holder, PoolId, ProcessMemory, Reading, Seconds

from .attribution import Attribution
from .core.activity import Track, look_due, observe
from .core.assemble import SeenMachine, SeenModel, assemble
from .core.policy import Policy
from .core.snapshot import Ability, EngineId, EngineState, ModelRef, Reservation, Snapshot, State
from .engines.base import CALL_TIMEOUT, Activity, Engine, EngineDown, EngineError, EngineModel
from .probes import Probes

log = logging.getLogger("ullage.sampler")

# Process lists cost the driver milliseconds and its global lock: never each second. An
# unexplained change of free memory this large is a reason to look earlier.
SUSPICIOUS = 256 * 1024**2


@dataclass(slots=True)
class Health:
    """How one source did the last time it was asked. Times on the monotonic clock."""

    answered_at: Seconds | None = None
    took: Seconds = Seconds(0)
    fault: str | None = None
    failures: int = 0


@dataclass(slots=True)
class _Known:
    """What an engine said last, kept to be shown while it does not answer."""

    models: tuple[EngineModel, ...] = ()
    state: EngineState | None = None


@dataclass(slots=True)
class Sampler:
    owners: tuple[Owner, ...]
    engines: dict[EngineId, Engine] = field(default_factory=dict)
    attribution: Attribution = field(default_factory=Attribution)
    holders_interval: Seconds = Seconds(10)
    busy_while_fresh: Seconds = Policy().busy_while_fresh
    call_timeout: Seconds = CALL_TIMEOUT
    clock: Callable[[], float] = time.monotonic
    health: dict[str, Health] = field(default_factory=dict)
    missing: tuple[EngineState, ...] = ()  # named by the operator, and never yet found
    machine: Machine | None = None  # the machine as it was last read, for whoever only shows
    _holders: dict[str, tuple[Holder, ...]] = field(default_factory=dict)
    _holders_at: float | None = None
    _free: dict[PoolId, Bytes] = field(default_factory=dict)
    _pools_of: dict[str, frozenset[PoolId]] = field(default_factory=dict)
    _known: dict[EngineId, _Known] = field(default_factory=dict)
    _probes: Probes[EngineId, EngineState] = field(default_factory=lambda: Probes("probe"))
    _looks: Probes[ModelRef, Activity | None] = field(default_factory=lambda: Probes("look at"))
    _tracks: dict[ModelRef, Track] = field(default_factory=dict)

    async def sample(
        self,
        *,
        thorough: bool = False,
        reservations: tuple[Reservation, ...] = (),
        leaving: Collection[ModelRef] = (),
    ) -> Snapshot:
        """The machine now. `thorough` asks also what is dear: process lists, every activity."""
        readings, states = await asyncio.gather(self._read(thorough), self._ask_engines())
        machine = fold(readings)
        self.machine = machine
        listed = {
            ModelRef(engine, model.id): model
            for engine, known in self._known.items()
            if engine in states
            for model in known.models
        }
        memory, unread = await self._memory(listed, states, thorough)
        await self._look(listed, states, memory, thorough)
        return assemble(
            Seconds(self.clock()),
            SeenMachine(
                tuple(p for p in machine.pools if p.id not in unread),
                machine.devices,
                self._all_holders(),
                self._blindness(machine, readings) | unread,
            ),
            memory,
            [*states.values(), *(e for e in self.missing if e.id not in states)],
            [self._seen(ref, model, states[ref.engine]) for ref, model in listed.items()],
            reservations=reservations,
            leaving=leaving,
            lingering=self.attribution.lingering(),
        )

    # -- the machine

    async def _read(self, thorough: bool) -> list[Reading]:
        now = self.clock()
        stale = self._holders_at is None or now - self._holders_at >= self.holders_interval
        holders = thorough or stale
        readings = await asyncio.gather(*(self._ask(owner, holders) for owner in self.owners))
        free = {p.id: p.free for r in readings if r.sample for p in r.sample.pools}
        moved = any(
            abs(size - self._free.get(pool, size)) > SUSPICIOUS for pool, size in free.items()
        )
        self._free.update(free)
        if holders:
            self._holders_at = now
            for reading in readings:
                if reading.sample is not None and reading.sample.holders is not None:
                    unseen = {b.pool for b in reading.sample.blind}
                    last = self._holders.get(reading.collector, ())
                    kept = tuple(h for h in last if h.pool in unseen)
                    self._holders[reading.collector] = (*reading.sample.holders, *kept)
        elif moved:
            self._holders_at = None  # look again at the next tick
        return list(readings)

    async def _ask(self, owner: Owner, holders: bool) -> Reading:
        started = self.clock()
        name, deadline = owner.collector.name, owner.collector.deadline
        try:
            async with asyncio.timeout(deadline):
                reading = await asyncio.wrap_future(owner.ask(holders))
        except TimeoutError:
            took = Seconds(self.clock() - started)
            reading = Reading(
                name, Seconds(started), took, fault=f"no answer within {deadline:g} s"
            )
        self._note(name, started, reading.took, reading.fault)
        if reading.sample is not None:
            pools = {p.id for p in reading.sample.pools} | {b.pool for b in reading.sample.blind}
            self._pools_of[name] = frozenset(pools)
        return reading

    def _blindness(self, machine: Machine, readings: Iterable[Reading]) -> dict[PoolId, str]:
        """The pools that were there before and could not be read now."""
        blind = {b.pool: b.why for b in machine.blind}
        for reading in readings:
            if reading.fault is not None:
                for pool in self._pools_of.get(reading.collector, frozenset()):
                    blind[pool] = f"{reading.collector}: {reading.fault}"
        return {p: why for p, why in blind.items() if all(m.id != p for m in machine.pools)}

    def _all_holders(self) -> tuple[Holder, ...]:
        """Who held memory when it was last asked, also of pools that cannot be read just now:
        what a model holds there is not to be looked for in another pool."""
        return tuple(h for holders in self._holders.values() for h in holders)

    # -- the engines

    async def _ask_engines(self) -> dict[EngineId, EngineState]:
        """Engines that are up are waited for. One that was silent last time is asked aside,
        so that it delays nobody, and counts again as soon as it answers."""
        for gone in self._known.keys() - self.engines.keys():
            del self._known[gone]
        states = await asyncio.gather(*(self._state_of(e) for e in self.engines.values()))
        return {s.id: s for s in states}

    async def _state_of(self, engine: Engine) -> EngineState:
        last = self._known.setdefault(engine.id, _Known()).state or _state(
            engine, None, "not asked yet"
        )
        return await self._probes.ask(
            engine.id, lambda: self._ask_engine(engine), lambda state: not state.up, last
        )

    async def close(self) -> None:
        """End what is still being asked aside."""
        await self._probes.close()
        await self._looks.close()

    async def _ask_engine(self, engine: Engine) -> EngineState:
        known = self._known.setdefault(engine.id, _Known())
        started = self.clock()
        fault: str | None = None
        version = known.state.version if known.state else None
        try:
            async with asyncio.timeout(self.call_timeout):
                if known.state is None or not known.state.up:
                    # Whoever answers now need not be who answered before.
                    identity = await engine.identify()
                    if identity is None:
                        raise EngineDown(engine.id, "identify", f"is no {engine.kind} server")
                    version = identity.version
                known.models = await engine.list()
        except TimeoutError:
            fault = f"no answer within {self.call_timeout:g} s"
        except EngineError as error:
            fault = f"{error.call}: {error.message}"
        except Exception as error:  # our bug: it costs us this engine, and no other
            log.debug("asking %s", engine.id, exc_info=True)
            fault = f"cannot be read: {type(error).__name__}: {error}"
        took = Seconds(self.clock() - started)
        self._note(f"engine {engine.id}", started, took, fault)
        known.state = _state(engine, version, fault)
        return known.state

    def _seen(self, ref: ModelRef, model: EngineModel, engine: EngineState) -> SeenModel:
        state = model.state
        if not engine.up and state is not None:
            # Whatever an engine that is gone said last: a process that has ended holds nothing.
            state = None if self.attribution.has_ended(ref) else State.UNKNOWN
        pid = self.attribution.pid_of(ref)
        return SeenModel(
            ref,
            state,
            model.reported,
            model.reported_gpu,
            model.file_size,
            () if pid is None else (pid,),
            self._tracks.get(ref),
        )

    # -- the processes that hold models

    async def _memory(
        self,
        listed: Mapping[ModelRef, EngineModel],
        states: Mapping[EngineId, EngineState],
        thorough: bool,
    ) -> tuple[dict[int, ProcessMemory], dict[PoolId, str]]:
        """What the models' processes hold. Without it nobody knows what of RAM is theirs: blind."""
        started = self.clock()
        fault: str | None = None
        memory: dict[int, ProcessMemory] = {}
        up = {id for id, state in states.items() if state.up}
        try:
            memory = await self.attribution.read(listed, up, thorough=thorough)
        except TimeoutError:
            fault = "the kernel does not say in time what the models' processes hold"
        except Exception as error:  # refused by the kernel, or our bug
            log.debug("reading processes", exc_info=True)
            fault = str(error) or type(error).__name__
        self._note("processes", started, Seconds(self.clock() - started), fault)
        return memory, {} if fault is None else {RAM: f"processes: {fault}"}

    # -- what the models are doing

    async def _look(
        self,
        listed: Mapping[ModelRef, EngineModel],
        states: Mapping[EngineId, EngineState],
        memory: Mapping[int, ProcessMemory],
        thorough: bool,
    ) -> None:
        awake = {
            r: m
            for r, m in listed.items()
            if m.state in (State.LOADED, State.SLEEPING) and states[r.engine].up
        }
        there = {r for r, m in listed.items() if m.state is not None}
        self._tracks = {r: t for r, t in self._tracks.items() if r in there}
        self._looks.forget_all_but(awake)
        now = self.clock()
        looks = []
        for ref, model in awake.items():
            pid = self.attribution.pid_of(ref)
            process = None if pid is None else memory.get(pid)
            cpu = None if process is None else process.cpu
            dear = model.state is State.LOADED and Ability.IN_FLIGHT in states[ref.engine].abilities
            before = self._tracks.get(ref)
            if not dear or thorough or look_due(before, Seconds(now), cpu):
                looks.append(self._look_at(ref, model, cpu, ask=dear))
        await asyncio.gather(*looks)

    async def _look_at(
        self, ref: ModelRef, model: EngineModel, cpu: Seconds | None, *, ask: bool
    ) -> None:
        activity = Activity(None, model.mark)
        if model.state is State.SLEEPING:
            activity = Activity(0, model.mark)  # asking would wake it; asleep is idle
        elif ask:
            answer = await self._looks.ask(
                ref, lambda: self._activity(ref, model), lambda answer: answer is None, None
            )
            # It listed its models a moment ago and cannot say what this one does: most likely
            # it is leaving, or too busy to answer. The process still tells.
            activity = answer or activity
        self._tracks[ref] = observe(
            self._tracks.get(ref),
            Seconds(self.clock()),
            in_flight=activity.in_flight,
            mark=activity.mark,
            cpu=cpu,
            fresh=self.busy_while_fresh,
        )

    async def _activity(self, ref: ModelRef, model: EngineModel) -> Activity | None:
        """None: no answer in time. One that refuses does answer, and says nothing."""
        try:
            async with asyncio.timeout(self.call_timeout):
                return await self.engines[ref.engine].activity(model)
        except (EngineDown, TimeoutError):
            return None
        except EngineError:
            return Activity(None, model.mark)
        except Exception:  # our bug: it costs us this answer, and no other
            log.debug("looking at %s", ref, exc_info=True)
            return Activity(None, model.mark)

    def _note(self, source: str, started: float, took: Seconds, fault: str | None) -> None:
        before = self.health.get(source, Health())
        self.health[source] = replace(
            before,
            answered_at=before.answered_at if fault else Seconds(started),
            took=took,
            fault=fault,
            failures=before.failures + (fault is not None),
        )


def _state(engine: Engine, version: str | None, fault: str | None) -> EngineState:
    return EngineState(engine.id, engine.kind, engine.url, engine.abilities, version, fault)
