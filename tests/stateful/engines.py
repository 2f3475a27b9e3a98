"""Engines of the demo machine with every trouble that a real one has been seen to have. They go on
with what they were told although whoever told them is gone, as another process does."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from collectors.reading import RAM, Bytes, PoolId
from supervisor.core.snapshot import EngineId, ModelId, ModelRef, State
from supervisor.demo.engines import ComfyLike, DemoEngine, DemoModel, Fault, OllamaLike
from supervisor.demo.machine import DemoMachine, Tenant
from supervisor.engines.base import EngineDown, EngineModel, EngineRefused

GIVES_UP = 20.0  # seconds after which an adapter hears no more of a call that changes something
LOOKS = 2.0  # and of one that only asks


@dataclass(eq=False)
class Call:
    """One call that changes something, as its engine saw it. `tenant` held the model then."""

    kind: str  # "load" or "unload"
    ref: ModelRef
    began: float
    tenant: Tenant | None
    ended: float | None = None  # None: it is under way
    worked: bool = False


class Witness(Protocol):
    def called(self, call: Call) -> None: ...


class Troubled(DemoEngine):
    """`late`: seconds that every answer takes longer. `refuses`: models that it does not load, and
    `dies`: that end half way through. `slow`: an unload that takes so many seconds to answer."""

    loads_by_itself = False

    def __init__(
        self,
        id: EngineId,
        machine: DemoMachine,
        sleep: Callable[[float], Awaitable[None]],
        witness: Witness,
        keep: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        *models: DemoModel,
    ) -> None:
        super().__init__(id, machine, sleep, *models)
        self.witness, self._keep = witness, keep
        self.late = self.slow = 0.0
        self.listed_at = -math.inf  # when it last said what it has, to whoever still listened
        self.refuses: set[str] = set()
        self.dies: set[str] = set()
        self.calls: list[Call] = []

    async def list(self) -> tuple[EngineModel, ...]:
        found = await super().list()
        self.listed_at = self._machine.clock()
        return found

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        await self._told("load", model, self._load(model))

    async def unload(self, model: ModelId) -> None:
        await self._told("unload", model, self._unload(model))

    async def _told(self, kind: str, model: ModelId, work: Coroutine[Any, Any, None]) -> None:
        known = self.models.get(model)
        tenant = None if known is None else known.tenant
        call = Call(kind, ModelRef(self.id, model), self._machine.clock(), tenant)
        self.witness.called(call)
        self.calls.append(call)
        try:
            await asyncio.shield(self._keep(work))
            call.worked = True
        finally:
            call.ended = self._machine.clock()

    async def _load(self, model: ModelId) -> None:
        if model in self.refuses:
            await self._answer("POST /load")
            raise EngineRefused(self.id, "POST /load", f"{model} is broken", 500)
        await DemoEngine.load(self, model)
        tenant = self.models[model].tenant
        if model in self.dies and tenant is not None:
            self._machine.end(tenant, tenant.ramp / 2)

    async def _unload(self, model: ModelId) -> None:
        await self._sleep(self.slow)
        if self.slow > GIVES_UP:
            raise EngineDown(self.id, "POST /unload", f"no answer within {GIVES_UP:g} s")
        await DemoEngine.unload(self, model)

    async def _answer(self, call: str) -> None:
        if self.late:
            await self._sleep(self.late)
        if self.fault is Fault.HANGS:
            bound = LOOKS if call.startswith("GET") else GIVES_UP
            await self._sleep(bound)
            raise EngineDown(self.id, call, f"no answer within {bound:g} s")
        await super()._answer(call)

    def address(self, model: ModelId) -> str:
        return self.url

    # -- behind our back

    def there(self, model: ModelId) -> bool:
        """Is it loaded, and not about to go?"""
        known = self.models.get(model)
        now = self._machine.clock()
        return known is not None and known.state(now) is State.LOADED and not known.leaving(now)

    def crash(self, model: ModelId, after: float = 0.0) -> None:
        """Its process ends; what it worked on is lost."""
        known = self.models[model]
        if known.tenant is not None:
            known.requests, known.tenant.work = [], []
            self._machine.end(known.tenant, after)

    def leak(self, model: ModelId, size: int) -> None:
        """It holds more than it did, as far as there is any."""
        tenant = self.models[model].tenant
        if tenant is not None:
            pool = next(p for p in tenant.takes if p != RAM or len(tenant.takes) == 1)
            more = max(0, min(size, self._machine.unclaimed(PoolId(pool))))
            tenant.takes = {**tenant.takes, pool: Bytes(tenant.takes[pool] + more)}

    def rest(self, model: ModelId, request: tuple[float, float]) -> None:
        """The client of one request has gone: the engine works on it no more."""
        known, now = self.models[model], self._machine.clock()
        if request in known.requests:
            known.requests[known.requests.index(request)] = (request[0], min(request[1], now))
            if known.tenant is not None:
                known.tenant.work = list(known.requests)


class TroubledOllama(Troubled, OllamaLike):
    """Does not say how many requests it serves, and drops a model from its list at once."""


class TroubledComfy(Troubled, ComfyLike):
    """Loads with the first job, and by no other way."""

    loads_by_itself = True

    async def _load(self, model: ModelId) -> None:
        await ComfyLike.load(self, model)
