"""Asks every collector and every engine at once, and folds the answers into a snapshot.

Each source has its own deadline. A source that is late or wrong is blind, not fatal: its
pools are named in `blind`, its models are shown as unknown, and everybody else is on time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from collectors.machine import Machine
from collectors.reading import RAM, Incident, PoolId, Process, ProcessMemory, Seconds

from .attribution import Attribution
from .core.activity import Track, look_due, observe
from .core.assemble import SeenMachine, SeenModel, assemble
from .core.listing import NOTHING_LISTED, Listing
from .core.policy import Policy
from .core.snapshot import (
    REMOTE,
    Ability,
    EngineId,
    EngineState,
    ModelRef,
    Reservation,
    Share,
    Snapshot,
    State,
)
from .engines.base import (
    Activity,
    Engine,
    EngineDown,
    EngineError,
    EngineModel,
)
from .headers import Headers
from .mains import Mains
from .probes import Probes
from .roster import Roster
from .sources import SourceHealth, Sources, hidden

log = logging.getLogger("ullage.sampler")


@dataclass(slots=True)
class Sampler:
    sources: Sources
    engines: dict[EngineId, Engine] = field(default_factory=dict)
    attribution: Attribution = field(default_factory=Attribution)
    mains: Mains = field(default_factory=Mains)
    headers: Headers = field(default_factory=Headers)
    busy_while_fresh: Seconds = Policy().busy_while_fresh
    clock: Callable[[], float] = time.monotonic
    roster: Roster = field(init=False)
    machine: Machine | None = None  # the machine as it was last read, for whoever only shows
    _listing: Listing = NOTHING_LISTED
    # When each was first seen loaded. Who holds what was listed before that, or meanwhile: it is
    # listed once more.
    _came: dict[ModelRef, float] = field(default_factory=dict)
    _has_newcomers: bool = False
    _looks: Probes[ModelRef, Activity | None] = field(default_factory=lambda: Probes("look at"))
    _tracks: dict[ModelRef, Track] = field(default_factory=dict)
    _processes: SourceHealth | None = None

    def __post_init__(self) -> None:
        self.roster = Roster(self.engines, clock=self.clock)

    async def sample(
        self,
        *,
        thorough: bool = False,
        urgent: bool = False,
        only: Collection[EngineId] | None = None,
        reservations: tuple[Reservation, ...] = (),
        leaving: Collection[ModelRef] = (),
        incidents: tuple[Incident, ...] = (),
        residues: Mapping[ModelRef, tuple[Share, ...]] | None = None,
        tied: Callable[[EngineId], frozenset[PoolId]] = lambda engine: frozenset(),
    ) -> Snapshot:
        """The machine now. `thorough` asks also what is dear: process lists, every activity.
        Where `only` some engines are asked, and looked at, what the others said last is a second
        or so old; `urgent`: none of them is. `tied` are the pools that an engine's models can be
        in; none: any; REMOTE: none of these, nor is any process its."""
        machine, states = await asyncio.gather(
            self.sources.read(thorough=thorough or self._has_newcomers, urgent=urgent),
            self.roster.ask(() if urgent else only),
        )
        self.machine = machine
        holders, processes = machine.holders or (), machine.processes or ()
        if holders is not self._listing.holders or processes is not self._listing.processes:
            self._listing = Listing(holders, processes)
        listed = {
            ModelRef(id, model.id): model for id in states for model in self.roster.models(id)
        }
        loaded = {
            ref
            for ref, model in listed.items()
            if model.state is State.LOADED and states[ref.engine].up
        }
        newcomers = self._newcomers(loaded, machine)
        self.headers.want(m.setup.path for m in listed.values() if m.setup.path and not m.header)
        # What processes hold is read in any case, or it would look like a stranger's.
        afresh = thorough or bool(only)
        remote = {id for id in states if REMOTE in tied(id)}  # no process here is theirs
        here = {r: m for r, m in listed.items() if r.engine not in remote} if remote else listed
        up = {id: s.url for id, s in states.items() if s.up and id not in remote}
        memory, fault = await self._memory(here, up, machine, afresh, only or None)
        if fault is not None:
            machine = hidden(machine, RAM, f"processes: {fault}")
        if not urgent:
            await self._look(listed, states, memory, thorough, only)
        return assemble(
            Seconds(self.clock()),
            SeenMachine(
                machine.pools,
                machine.devices,
                self._listing,
                machine.unlisted,
                {b.pool: b.why for b in machine.blind},
                machine.health,
                machine.host,
                incidents,
                machine.read_at,
            ),
            memory,
            [*states.values(), *(e for e in self.roster.missing if e.id not in states)],
            [
                self._seen(ref, model, states[ref.engine], tied(ref.engine))
                for ref, model in listed.items()
            ],
            reservations=reservations,
            leaving=leaving,
            lingering=self.attribution.lingering(),
            kin=self.attribution.kin,
            residues=residues,
            newcomers=newcomers,
        )

    def _newcomers(self, loaded: set[ModelRef], machine: Machine) -> frozenset[ModelRef]:
        """Those of `loaded` who may not be in the lists of who holds what, or not with all."""
        self._has_newcomers = not loaded <= self._came.keys()
        now, listed_at = self.clock(), machine.listed_at
        self._came = {ref: self._came.get(ref, now) for ref in loaded}
        if listed_at is None:  # and will be in none
            return frozenset()
        return frozenset(ref for ref, at in self._came.items() if at > listed_at)

    def processes(self) -> tuple[Process, ...]:
        """The table of all processes as it was last read; empty where nobody reads one."""
        return self._listing.processes

    @property
    def health(self) -> dict[str, SourceHealth]:
        """How every source did the last time: collectors by name, "engine NAME", "processes"."""
        engines = {f"engine {id}": health for id, health in self.roster.health.items()}
        processes = {} if self._processes is None else {"processes": self._processes}
        return {**self.sources.state, **engines, **processes}

    async def close(self) -> None:
        """End what is still being asked aside."""
        await self.headers.close()
        await self.sources.close()
        await self.roster.close()
        await self._looks.close()
        await self.mains.close()

    def _seen(
        self, ref: ModelRef, model: EngineModel, engine: EngineState, tied: frozenset[PoolId]
    ) -> SeenModel:
        state = model.state
        if not engine.up and state is not None:
            # Whatever an engine that is gone said last: a process that has ended holds nothing.
            ended = self.attribution.has_ended(ref)
            ended |= engine.refuses and self.attribution.went_with_its_engine(ref)
            state = None if ended else State.UNKNOWN
        return SeenModel(
            ref,
            state,
            model.reported,
            model.reported_gpu,
            model.file_size,
            self.attribution.pids_of(ref),
            self._tracks.get(ref),
            model.context,
            model.expires_at,
            model.keep_alive,
            model.trouble,
            model.due,
            model.setup,
            model.header or self.headers.get(model.setup.path or ""),
            model.type,
            model.npu,
            model.anywhere,
            tied,
        )

    # -- the processes that hold models

    async def _memory(
        self,
        listed: Mapping[ModelRef, EngineModel],
        up: Mapping[EngineId, str],
        machine: Machine,
        thorough: bool,
        only: Collection[EngineId] | None,
    ) -> tuple[dict[int, ProcessMemory], str | None]:
        """What the processes of models hold. Without it nobody knows what of RAM is theirs:
        blind."""
        started = self.clock()
        fault: str | None = None
        memory: dict[int, ProcessMemory] = {}
        try:
            memory = await self.attribution.read(
                listed,
                up,
                machine.processes or (),
                thorough=thorough,
                only=only,
                mains=self.mains.of(self.attribution.untraced()),
            )
        except TimeoutError:
            fault = "the kernel does not say in time what the models' processes hold"
        except Exception as error:  # refused by the kernel, or our bug
            log.debug("reading processes", exc_info=True)
            fault = str(error) or type(error).__name__
        took = Seconds(self.clock() - started)
        self._processes = (self._processes or SourceHealth()).after(Seconds(started), took, fault)
        return memory, fault

    # -- what the models are doing

    async def _look(
        self,
        listed: Mapping[ModelRef, EngineModel],
        states: Mapping[EngineId, EngineState],
        memory: Mapping[int, ProcessMemory],
        thorough: bool,
        only: Collection[EngineId] | None,
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
            if only is not None and ref.engine not in only:
                continue
            held = [memory[p] for p in self.attribution.pids_of(ref) if p in memory]
            cpu = Seconds(sum(m.cpu for m in held)) if held else None
            if model.state is State.SLEEPING:
                self._observe(ref, Activity(0, model.mark), cpu)  # asking would wake it
            elif Ability.IN_FLIGHT not in states[ref.engine].abilities:
                self._observe(ref, Activity(None, model.mark), cpu)
            elif thorough or look_due(self._tracks.get(ref), Seconds(now), cpu):
                looks.append(self._look_at(ref, model, cpu))
        if looks:
            await asyncio.gather(*looks)

    async def _look_at(self, ref: ModelRef, model: EngineModel, cpu: Seconds | None) -> None:
        answer = await self._looks.ask(
            ref, lambda: self._activity(ref, model), lambda answer: answer is None, None
        )
        # It listed its models a moment ago and cannot say what this one does: most likely it is
        # leaving, or too busy to answer. The process still tells.
        self._observe(ref, answer or Activity(None, model.mark), cpu)

    def _observe(self, ref: ModelRef, activity: Activity, cpu: Seconds | None) -> None:
        self._tracks[ref] = observe(
            self._tracks.get(ref),
            Seconds(self.clock()),
            in_flight=activity.in_flight,
            mark=activity.mark,
            cpu=cpu,
            progress=activity.progress,
            pids=self.attribution.pids_of(ref),
            fresh=self.busy_while_fresh,
        )

    async def _activity(self, ref: ModelRef, model: EngineModel) -> Activity | None:
        """None: no answer in time. One that refuses does answer, and says nothing."""
        try:
            async with asyncio.timeout(self.roster.call_timeout):
                return await self.engines[ref.engine].activity(model)
        except (EngineDown, TimeoutError):
            return None
        except EngineError:
            return Activity(None, model.mark)
        except Exception:  # our bug: it costs us this answer, and no other
            log.debug("looking at %s", ref, exc_info=True)
            return Activity(None, model.mark)
