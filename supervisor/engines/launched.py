"""Engines that are ours to start: each model is a process, a unit, a container or a deployment.

A Runner starts and stops; what answers inside is asked by the adapter of its own kind, where
the operator says which that is. So a vLLM in a container can be told to sleep, and a
llama-server of ours says how many requests it serves. What fails by itself is remembered here,
whatever runs it, and is due to be started again after a pause that doubles.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Protocol

from collectors.reading import Seconds
from supervisor.children.backoff import Failures
from supervisor.children.ports import accepts
from supervisor.config.forms import split_url
from supervisor.config.served import Launching, Served, fill
from supervisor.core.header import Setup
from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.units import format_seconds

from . import commands
from .adapter import Adapter
from .base import (
    Activity,
    Engine,
    EngineDown,
    EngineError,
    EngineModel,
    EngineRefused,
    Identity,
    Process,
    Proof,
    WhenBusy,
)
from .serves import ANYTHING, Serves
from .wire import Wire

log = logging.getLogger("ullage.engines")

READY_TIMEOUT = Seconds(600.0)  # unless the operator says otherwise
# What answers inside is waited for this long, and one that was late the last time not at all: a
# model that hangs makes nobody late who shares its engine.
LOOK = Seconds(1.0)


class Phase(Enum):
    STOPPED = "stopped"
    STARTING = "starting"  # it runs, by the runner's word, and is not known to serve
    RUNNING = "running"  # it serves, by the runner's word
    PAUSED = "paused"  # frozen: it holds what it held, and serves nobody until it is started
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Status:
    """How one model's process is. `run` differs between two runs of it, as a start time does.

    `url` is where it answers, where the runner chose that. `pid` is on this machine. `trouble`
    says in words what went wrong last. `failed`: that run ended by itself, and is wanted back;
    Launched remembers it, once for each run, and says when the model is due. `anywhere`: the
    devices that `start` is given are those that it will see.
    """

    phase: Phase
    run: str = ""
    url: str | None = None
    pid: int | None = None
    trouble: str | None = None
    failed: bool = False
    anywhere: bool = False


class Runner(Protocol):
    """Starts and stops what holds a model. Every call raises EngineError and nothing else."""

    async def version(self) -> str:
        """Of what it talks to; raises EngineDown where that does not answer."""

    async def status(self) -> Mapping[ModelId, Status]:
        """Of every model that is served; within CALL_TIMEOUT."""

    async def start(self, model: ModelId, devices: Sequence[str]) -> None:
        """Begin to start it, and do not wait until it serves."""

    async def stop(self, model: ModelId) -> None:
        """End it, with everything that it started, and return when that is gone."""

    async def logs(self, model: ModelId, lines: int) -> tuple[str, ...]:
        """The last lines that it wrote, the oldest first."""

    async def close(self) -> None:
        """The daemon ends."""


@dataclass(frozen=True, slots=True)
class Told:
    """What such an engine needs besides its address: its tables, who speaks the API of a kind,
    and a folder of its own that outlives the daemon."""

    table: Launching
    speak: Callable[[str, EngineId, str], Engine]  # kind, id, url
    folder: Path


@dataclass(slots=True)
class _Run:
    """One run of a model as it was seen: what answers at its URL, and since when it should."""

    id: str
    since: float
    engine: Engine | None = None
    wire: Wire | None = None
    ready: bool = False
    model: EngineModel | None = None  # as it was last listed by the engine inside
    look: asyncio.Task[None] | None = None


class Launched(Adapter):
    """Its kind brings the Runner. To unload is to stop, which cuts requests short."""

    described: ClassVar[bool] = True
    proof: ClassVar[Proof] = Proof.PROCESS
    when_busy: ClassVar[WhenBusy] = WhenBusy.CUTS
    abilities: frozenset[Ability] = frozenset({Ability.LIST, Ability.LOAD, Ability.UNLOAD})
    runner: Runner

    def _begin(self, key: str | None, options: Any) -> None:
        self.told: Told = options
        self.clock: Callable[[], float] = time.monotonic
        self._served: dict[ModelId, Served] = {
            ModelId(name): self.told.table.of(name) for name in self.told.table.served
        }
        self._failures = {model: Failures() for model in self._served}
        self._runs: dict[ModelId, _Run] = {}
        self._setups: dict[ModelId, Setup] = {}
        self._serves: dict[ModelId, Serves] = {}
        self._paused: set[ModelId] = set()
        self._late: dict[ModelId, asyncio.Task[None]] = {}  # they are being stopped for it

    async def identify(self) -> Identity | None:
        return Identity(await self.runner.version())

    async def list(self) -> tuple[EngineModel, ...]:
        statuses = await self.runner.status()
        listed = await asyncio.gather(
            *(
                self._one(model, statuses.get(model, Status(Phase.STOPPED)))
                for model in self._served
            )
        )
        self.abilities = type(self).abilities.union(
            *(r.engine.abilities & _INNER for r in self._runs.values() if r.engine is not None)
        )
        return tuple(listed)

    async def activity(self, model: EngineModel) -> Activity:
        run = self._runs.get(model.id)
        if run is None or run.engine is None or run.model is None:
            return Activity(None, model.mark)
        if Ability.IN_FLIGHT not in run.engine.abilities:
            return Activity(None, run.model.mark)
        return await run.engine.activity(run.model)

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        self._known("load", model)
        failures = self._failures[model]
        try:
            await self.runner.start(model, devices)
        except EngineError as error:
            failures.refuse(error.message, self.clock())
            raise
        failures.start()

    async def unload(self, model: ModelId) -> None:
        self._known("unload", model)
        self.forget(model)
        await self.runner.stop(model)

    def forget(self, model: ModelId) -> None:
        if model in self._failures:
            self._failures[model].dismiss()

    async def sleep(self, model: ModelId, *, deep: bool = False) -> None:
        engine, own = self._speaker("sleep", model)
        await engine.sleep(own, deep=deep)

    async def wake(self, model: ModelId) -> None:
        if model in self._paused:
            await self.runner.start(model, ())
            return
        engine, own = self._speaker("wake", model)
        await engine.wake(own)

    async def cancel(self, model: ModelId) -> None:
        engine, own = self._speaker("cancel", model)
        await engine.cancel(own)

    async def logs(self, model: ModelId, lines: int) -> tuple[str, ...]:
        self._known("logs", model)
        return await self.runner.logs(model, lines)

    # -- what clients ask goes to the server inside

    def serves(self, model: ModelId) -> Serves:
        """What the kind inside does. One of no kind may serve anything."""
        if model not in self._serves:
            served = self._served.get(model)
            kind = None if served is None else served.serves
            self._serves[model] = (
                ANYTHING if kind is None else self.told.speak(kind, self.id, "").serves(model)
            )
        return self._serves[model]

    def address(self, model: ModelId) -> str:
        run = self._runs.get(model)
        if run is None or run.wire is None:
            raise EngineDown(self.id, f"ask {model}", "it does not run, or not yet")
        return run.wire.url if run.engine is None else run.engine.address(model)

    def called(self, model: ModelId) -> str:
        run = self._runs.get(model)
        if run is None or run.engine is None or run.model is None:
            return model
        return run.engine.called(run.model.id)

    async def close(self) -> None:
        tasks = [*self._late.values(), *(r.look for r in self._runs.values() if r.look is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.runner.close()

    def _known(self, call: str, model: ModelId) -> Served:
        if model not in self._served:
            why = f"no such model; [engines.{self.id}.served] has {', '.join(self._served)}"
            raise EngineRefused(self.id, f"{call} {model}", why, 404)
        return self._served[model]

    def _speaker(self, call: str, model: ModelId) -> tuple[Engine, ModelId]:
        self._known(call, model)
        run = self._runs.get(model)
        if run is None or run.engine is None or run.model is None:
            raise EngineRefused(self.id, f"{call} {model}", "it does not run, or not yet", 409)
        return run.engine, run.model.id

    async def _one(self, model: ModelId, status: Status) -> EngineModel:
        served, now = self._served[model], self.clock()
        failures = self._failures[model]
        self._paused.discard(model)
        setup = self._setup(model, served)
        anywhere = status.anywhere
        plain = EngineModel(model, file_size=served.size, setup=setup, anywhere=anywhere)
        if status.phase is Phase.STOPPED:
            self._forget(model)
            if status.failed:
                failures.fail(status.run, status.trouble or "it ended by itself", now)
            return replace(
                plain, trouble=failures.told(now) or status.trouble, due=failures.is_due(now)
            )
        held = Process(pid=status.pid, ours=True) if status.pid is not None else None
        plain = replace(plain, process=held, trouble=status.trouble)
        if status.phase is Phase.STOPPING:
            return replace(plain, state=State.LEAVING)
        if status.phase is Phase.PAUSED:
            self._paused.add(model)
            return replace(plain, state=State.SLEEPING)
        run = self._runs.get(model)
        if run is None or run.id != status.run:
            self._forget(model)
            run = self._runs[model] = _Run(status.run, now)
        await self._wait_for_look(run, served, status)
        if not run.ready:
            if now - run.since >= (served.ready_timeout or READY_TIMEOUT):
                self._give_up(model, run, served)
            return replace(plain, state=State.LOADING)
        failures.serve(now)
        if run.model is None:
            return replace(plain, state=State.LOADED)
        return replace(
            run.model,
            id=model,
            process=held,
            trouble=plain.trouble,
            file_size=plain.file_size or run.model.file_size,
            setup=setup,
            anywhere=anywhere,
        )

    def _setup(self, model: ModelId, served: Served) -> Setup:
        """How it loads, by its command; which port it will have does not matter for that."""
        if model not in self._setups:
            values = {"PORT": "0", "MODEL": str(model)}
            values |= {k: fill(text, values) for k, text in (served.variables or {}).items()}
            words = [fill(word, values) for word in served.command or ()]
            said = {k: fill(text, values) for k, text in (served.environment or {}).items()}
            self._setups[model] = commands.setup(served.serves, words, said)
        return self._setups[model]

    def _forget(self, model: ModelId) -> None:
        run = self._runs.pop(model, None)
        if run is not None and run.look is not None:
            run.look.cancel()

    # -- what answers inside

    async def _wait_for_look(self, run: _Run, served: Served, status: Status) -> None:
        url = status.url or served.url
        if url is None:
            run.ready = run.ready or status.phase is Phase.RUNNING
            return
        if run.wire is None:
            run.engine = self.told.speak(served.serves, self.id, url) if served.serves else None
            if run.engine is not None and served.command is not None:
                run.engine.started_with(served.command, served.environment or {})
            run.wire = Wire(self.id, url, self._wire.client, self._wire.key)
        if run.ready and run.engine is None:
            return  # there is nobody who could say more
        was_late = run.look is not None and not run.look.done()
        if not was_late:
            run.look = asyncio.create_task(
                self._look(run, run.wire, served), name=f"look into {self.id}"
            )
        assert run.look is not None
        await asyncio.wait((run.look,), timeout=0.0 if was_late else LOOK)
        if run.look.done() and not run.look.cancelled():
            run.look.result()  # our own bug is not kept silent

    async def _look(self, run: _Run, wire: Wire, served: Served) -> None:
        """Does it serve, and what does the engine inside say? One that served and is silent now
        is still there: its process tells what it holds, and whether it works."""
        try:
            if not run.ready and served.ready is not None:
                await wire.content("GET", served.ready)  # be it a page
            if run.engine is None:
                run.ready = (
                    run.ready or served.ready is not None or await accepts(*split_url(wire.url)[1:])
                )
                return
            if not run.ready and await run.engine.identify() is None:
                return
            models = await run.engine.list()
        except EngineError:
            return
        held = [m for m in models if m.state is not None]
        run.model = held[0] if held else None
        run.ready = run.ready or not held or held[0].state is not State.LOADING

    # -- what is late

    def _give_up(self, model: ModelId, run: _Run, served: Served) -> None:
        if model not in self._late:
            work = self._stop_late(model, run, served)
            self._late[model] = asyncio.create_task(work, name=f"give up {self.id}/{model}")

    async def _stop_late(self, model: ModelId, run: _Run, served: Served) -> None:
        within = format_seconds(served.ready_timeout or READY_TIMEOUT)
        text = f"was not ready within {within}"
        try:
            with suppress(EngineError):
                if last := await self.runner.logs(model, 1):
                    text += f" ({last[-1]})"
            log.warning("%s/%s %s: it is stopped", self.id, model, text)
            self._failures[model].fail(run.id, text, self.clock())
            await self.runner.stop(model)
        except EngineError as error:
            log.warning("%s/%s: %s", self.id, model, error)
        finally:
            del self._late[model]


_INNER = frozenset(
    {Ability.IN_FLIGHT, Ability.SLEEP, Ability.DEEP_SLEEP, Ability.BYTES, Ability.CANCEL}
)
