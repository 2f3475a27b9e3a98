"""Engines of the demo machine: they load, serve and unload as the real ones do, in values."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

from collectors.reading import RAM, Bytes, PoolId
from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines.adapter import Adapter
from supervisor.engines.base import (
    Activity,
    EngineConfused,
    EngineDown,
    EngineModel,
    EngineRefused,
    Identity,
    Process,
)

from .machine import FOREVER, DemoMachine, OutOfMemory, Tenant

ANSWER = 0.02  # seconds that every call takes


class Fault(Enum):
    """How a whole engine fails."""

    DOWN = "nobody listens"
    GARBAGE = "answers nonsense"
    HANGS = "accepts and never answers"


class Unload(Enum):
    """What an unload that was answered with "ok" really does."""

    WORKS = "memory is back a moment later"
    STUCK = "nothing: the model stays, and stays listed"
    LEAKS = "the model is gone from the list, its memory is not"


@dataclass(slots=True)
class DemoModel:
    """A model's script: what it takes, in seconds and bytes, and how its unload goes."""

    id: ModelId
    takes: Mapping[PoolId, Bytes]
    load: float = 2.0
    free: float = 0.8  # from the answer to an unload until the memory is back
    unload: Unload = Unload.WORKS
    tenant: Tenant | None = None  # the process that holds it
    requests: list[tuple[float, float]] = field(default_factory=list)  # from, until

    def state(self, now: float) -> State | None:
        if self.tenant is None or now >= self.tenant.gone_at:
            return None
        grown = now >= self.tenant.started + self.tenant.ramp
        return State.LOADED if grown else State.LOADING

    def leaving(self, now: float) -> bool:
        return self.tenant is not None and now < self.tenant.gone_at < FOREVER

    def in_flight(self, now: float) -> int:
        return sum(start <= now < end for start, end in self.requests)

    def mark(self, now: float) -> str:
        return str(sum((start <= now) + (end <= now) for start, end in self.requests))


class DemoEngine(Adapter):
    """One engine with its catalogue. `fault` makes it fail as a whole."""

    kind: ClassVar[str] = "demo"
    title: ClassVar[str] = "Demo"
    ports: ClassVar[tuple[int, ...]] = ()
    abilities: frozenset[Ability] = frozenset(
        {Ability.LIST, Ability.LOAD, Ability.UNLOAD, Ability.IN_FLIGHT}
    )
    reports: ClassVar[bool] = False  # says how many bytes a model holds
    lists_leaving: ClassVar[bool] = True  # a model is listed until its memory is back

    def __init__(
        self,
        id: EngineId,
        machine: DemoMachine,
        sleep: Callable[[float], Awaitable[None]],
        *models: DemoModel,
    ) -> None:
        self.id, self.url = id, f"demo://{id}"
        self.models = {m.id: m for m in models}
        self.fault: Fault | None = None
        self._machine, self._sleep = machine, sleep

    # -- what an adapter does

    async def identify(self) -> Identity | None:
        await self._answer("GET /version")
        return Identity("demo")

    async def list(self) -> tuple[EngineModel, ...]:
        await self._answer("GET /models")
        return tuple(self._listed(m) for m in self.models.values())

    async def activity(self, model: EngineModel) -> Activity:
        await self._answer("GET /slots")
        if Ability.IN_FLIGHT not in self.abilities:
            return Activity(None)
        now = self._machine.clock()
        found = self._find(model.id, "GET /slots")
        return Activity(found.in_flight(now), found.mark(now))

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        await self._answer("POST /load")
        found = self._find(model, "POST /load")
        if found.tenant is not None and found.leaving(self._machine.clock()):
            await self._sleep(found.tenant.gone_at - self._machine.clock())
        if found.state(self._machine.clock()) is None:
            self._start(found)

    async def unload(self, model: ModelId) -> None:
        await self._answer("POST /unload")
        found = self._find(model, "POST /unload")
        now = self._machine.clock()
        if found.tenant is None or found.state(now) is None:
            raise EngineRefused(self.id, "POST /unload", f"{model} is not running", 400)
        if found.unload is Unload.STUCK:
            return
        found.requests = [(s, min(e, now)) for s, e in found.requests]  # those under way are cut
        found.tenant.work = list(found.requests)
        if found.unload is Unload.LEAKS:
            found.tenant = None
        else:
            self._machine.end(found.tenant, found.free)

    # -- what its clients do

    def serve(self, model: ModelId, seconds: float, count: int = 1) -> None:
        """`count` requests of `seconds` each; a model that is not there is loaded first."""
        found = self._find(model, "POST /generate")
        if found.state(self._machine.clock()) is None:
            self._start(found)
        assert found.tenant is not None
        start = max(self._machine.clock(), found.tenant.started + found.tenant.ramp)
        found.requests += [(start, start + seconds)] * count
        found.tenant.work = list(found.requests)

    def _start(self, model: DemoModel) -> None:
        argv = (f"{self.id}-runner", "--alias", model.id)
        try:
            model.tenant = self._machine.start(argv[0], model.takes, ramp=model.load, argv=argv)
        except OutOfMemory as error:
            raise EngineRefused(self.id, "POST /load", f"out of memory: {error}", 500) from None
        model.requests = []

    def _find(self, model: ModelId, call: str) -> DemoModel:
        if model not in self.models:
            raise EngineRefused(self.id, call, f"model {model!r} is not found", 404)
        return self.models[model]

    def _listed(self, model: DemoModel) -> EngineModel:
        now = self._machine.clock()
        state = model.state(now)
        if model.leaving(now) and not self.lists_leaving:
            state = None
        total = Bytes(sum(model.takes.values()))
        told = self.reports and state is State.LOADED
        return EngineModel(
            id=model.id,
            state=state,
            reported=total if told else None,
            reported_gpu=Bytes(total - model.takes.get(RAM, 0)) if told else None,
            file_size=Bytes(total * 4 // 5),
            process=None if state is None else self._process(model),
            mark=model.mark(now),
        )

    def _process(self, model: DemoModel) -> Process:
        return Process(argv=(("--alias", model.id),))

    async def _answer(self, call: str) -> None:
        if self.fault is Fault.DOWN:
            number = errno.ECONNREFUSED
            raise EngineDown(self.id, call, os.strerror(number), number=number)
        if self.fault is Fault.HANGS:
            await asyncio.get_running_loop().create_future()
        await self._sleep(ANSWER)
        if self.fault is Fault.GARBAGE:
            raise EngineConfused(self.id, call, "this is no JSON: '<html>'")


class OllamaLike(DemoEngine):
    """Says what its models hold and not how many requests they serve; drops a model from its
    list at once and gives the memory back later."""

    kind: ClassVar[str] = "ollama-like"
    abilities: frozenset[Ability] = frozenset({Ability.LIST, Ability.LOAD, Ability.UNLOAD})
    reports: ClassVar[bool] = True
    lists_leaving: ClassVar[bool] = False

    def _process(self, model: DemoModel) -> Process:
        return Process(pid=None if model.tenant is None else model.tenant.pid, ours=True)


class LlamaCppLike(DemoEngine):
    """A router with a child for each model, which is listed until the child has ended."""

    kind: ClassVar[str] = "llamacpp-like"


class ComfyLike(DemoEngine):
    """Loads a model with the first job that needs it, and by no other way."""

    kind: ClassVar[str] = "comfy-like"
    abilities: frozenset[Ability] = frozenset({Ability.LIST, Ability.UNLOAD, Ability.IN_FLIGHT})

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        await self._answer("POST /load")
        raise EngineRefused(self.id, "POST /load", "a model is loaded by its first job", 405)
