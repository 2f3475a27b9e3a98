"""Engines that are ours to start: each model is a process, a unit, a container or a deployment.

A Runner starts and stops; what answers inside is asked by the adapter of its own kind, where
the operator says which that is. So a vLLM in a container can be told to sleep, and a
llama-server of ours says how many requests it serves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Protocol

import httpx

from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.served import Launching, Served

from .adapter import Adapter
from .base import (
    Activity,
    Engine,
    EngineError,
    EngineModel,
    EngineRefused,
    Identity,
    Process,
    Proof,
    WhenBusy,
)
from .wire import Wire


class Phase(Enum):
    STOPPED = "stopped"
    STARTING = "starting"  # it runs, by the runner's word, and is not known to serve
    RUNNING = "running"  # it serves, by the runner's word
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Status:
    """How one model's process is. `run` differs between two runs of it, as a start time does.

    `url` is where it answers, where the runner chose that. `pid` is on this machine. `trouble`
    says in words what went wrong last; `due`: it ended by itself and is to be started again now.
    """

    phase: Phase
    run: str = ""
    url: str | None = None
    pid: int | None = None
    trouble: str | None = None
    due: bool = False


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
class _Inside:
    """What answers at one model's URL, during one run of it."""

    run: str
    engine: Engine | None
    wire: Wire
    ready: bool = False
    model: EngineModel | None = None  # as it was last listed by the engine inside


class Launched(Adapter):
    """Its kind brings the Runner. To unload is to stop, which cuts requests short."""

    described: ClassVar[bool] = True
    proof: ClassVar[Proof] = Proof.PROCESS
    when_busy: ClassVar[WhenBusy] = WhenBusy.CUTS
    abilities: frozenset[Ability] = frozenset({Ability.LIST, Ability.LOAD, Ability.UNLOAD})
    runner: Runner

    def __init__(
        self,
        id: EngineId,
        url: str,
        client: httpx.AsyncClient,
        key: str | None,
        options: Any = None,
    ) -> None:
        super().__init__(id, url, client, key)
        self.told: Told = options
        self._served: dict[ModelId, Served] = {
            ModelId(name): self.told.table.of(name) for name in self.told.table.served
        }
        self._inside: dict[ModelId, _Inside] = {}

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
            *(i.engine.abilities & _INNER for i in self._inside.values() if i.engine is not None)
        )
        return tuple(listed)

    async def activity(self, model: EngineModel) -> Activity:
        inside = self._inside.get(model.id)
        if inside is None or inside.engine is None or inside.model is None:
            return Activity(None, model.mark)
        if Ability.IN_FLIGHT not in inside.engine.abilities:
            return Activity(None, inside.model.mark)
        return await inside.engine.activity(inside.model)

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        self._known("load", model)
        await self.runner.start(model, devices)

    async def unload(self, model: ModelId) -> None:
        self._known("unload", model)
        await self.runner.stop(model)

    async def sleep(self, model: ModelId, *, deep: bool = False) -> None:
        engine, own = self._speaker("sleep", model)
        await engine.sleep(own, deep=deep)

    async def wake(self, model: ModelId) -> None:
        engine, own = self._speaker("wake", model)
        await engine.wake(own)

    async def logs(self, model: ModelId, lines: int) -> tuple[str, ...]:
        self._known("logs", model)
        return await self.runner.logs(model, lines)

    async def close(self) -> None:
        await self.runner.close()

    def _known(self, call: str, model: ModelId) -> Served:
        if model not in self._served:
            why = f"no such model; [engines.{self.id}.served] has {', '.join(self._served)}"
            raise EngineRefused(self.id, f"{call} {model}", why, 404)
        return self._served[model]

    def _speaker(self, call: str, model: ModelId) -> tuple[Engine, ModelId]:
        self._known(call, model)
        inside = self._inside.get(model)
        if inside is None or inside.engine is None or inside.model is None:
            raise EngineRefused(self.id, f"{call} {model}", "it does not run, or not yet", 409)
        return inside.engine, inside.model.id

    async def _one(self, model: ModelId, status: Status) -> EngineModel:
        served = self._served[model]
        plain = EngineModel(model, file_size=served.size, trouble=status.trouble, due=status.due)
        if status.phase is Phase.STOPPED:
            self._inside.pop(model, None)
            return plain
        held = Process(pid=status.pid) if status.pid is not None else None
        plain = replace(plain, process=held)
        if status.phase is Phase.STOPPING:
            return replace(plain, state=State.LEAVING)
        url = status.url or served.url
        if url is None:
            loaded = status.phase is Phase.RUNNING
            return replace(plain, state=State.LOADED if loaded else State.LOADING)
        inside = self._inside.get(model)
        if inside is None or inside.run != status.run:
            inside = self._inside[model] = self._open(served, url, status.run)
        await self._look(inside, served, status)
        if not inside.ready:
            return replace(plain, state=State.LOADING)
        if inside.model is None:
            return replace(plain, state=State.LOADED)
        return replace(
            inside.model,
            id=model,
            process=held,
            trouble=plain.trouble,
            file_size=plain.file_size or inside.model.file_size,
        )

    def _open(self, served: Served, url: str, run: str) -> _Inside:
        engine = self.told.speak(served.serves, self.id, url) if served.serves else None
        return _Inside(run, engine, Wire(self.id, url, self._wire.client, self._wire.key))

    async def _look(self, inside: _Inside, served: Served, status: Status) -> None:
        """Does it serve, and what does the engine inside say? One that served and is silent now
        is still there: its process tells what it holds, and whether it works."""
        try:
            if not inside.ready and served.ready is not None:
                await inside.wire.text("GET", served.ready)
            if inside.engine is None:
                inside.ready = (
                    inside.ready or served.ready is not None or (status.phase is Phase.RUNNING)
                )
                return
            if not inside.ready and await inside.engine.identify() is None:
                return
            models = await inside.engine.list()
        except EngineError:
            return
        held = [m for m in models if m.state is not None]
        inside.model = held[0] if held else None
        inside.ready = inside.ready or not held or held[0].state is not State.LOADING


_INNER = frozenset({Ability.IN_FLIGHT, Ability.SLEEP, Ability.DEEP_SLEEP, Ability.BYTES})
