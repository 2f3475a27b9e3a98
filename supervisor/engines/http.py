"""Any other engine, as the configuration describes it: see supervisor/config/described.py."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from collectors.reading import Seconds
from supervisor.config.described import Description
from supervisor.config.described_forms import word
from supervisor.config.templates import fill, fill_header, fill_path, names_model
from supervisor.core.snapshot import Ability, ModelId, State
from supervisor.units import shown

from .adapter import Adapter
from .base import (
    LOAD_TIMEOUT,
    Activity,
    Checked,
    EngineConfused,
    EngineModel,
    EngineRefused,
    Identity,
    Process,
)
from .gauges import gauges
from .picked import Picked
from .serves import ANYTHING, Serves
from .wire import CONTROL_TIMEOUT, Wire

WHOLE = Process(whole=True)


class Http(Adapter):
    """It can do what its description says how to do. Each order is preceded by a look at the
    list: it may name no model, and what is there already need not be asked for."""

    kind: ClassVar[str] = "http"
    title: ClassVar[str] = "any HTTP engine"
    paths: ClassVar[Serves] = ANYTHING
    checked: ClassVar[Checked] = Checked.REAL
    described: ClassVar[bool] = True
    # All that can be described; each engine has those that are.
    abilities: frozenset[Ability] = frozenset(
        {
            Ability.LIST,
            Ability.LOAD,
            Ability.UNLOAD,
            Ability.SLEEP,
            Ability.IN_FLIGHT,
            Ability.BYTES,
        }
    )

    def _begin(self, key: str | None, options: Any) -> None:
        self._told: Description = Description() if options is None else options
        told = self._told
        self._wire = Wire(self.id, self.url, self._wire.client, key, told.headers or {})
        self.abilities, self.orders = frozenset(_abilities(told)), told.orders
        self._picked = Picked(told)
        self._in_flight: dict[ModelId, int | None] = {}  # as the list said last, of the loaded

    async def identify(self) -> Identity | None:
        told = self._told
        if told.identify_api is None:
            await self.list()
            return Identity("not told")
        answer = await self._wire.probe(told.identify_api)
        if answer is None or told.identify_pick is None:
            return None if answer is None else Identity("not told")
        found = self._picked.one("identify_pick", answer)
        if found is None or word(found.value) is None:
            return None
        if told.identify_value is not None and word(found.value) != word(told.identify_value):
            wrong = f"expected {shown(told.identify_value)}, found {shown(found.value)}"
            raise EngineConfused(self.id, answer.call, f"{found.where}: {wrong}")
        return Identity(found.name() if isinstance(found.value, str) else word(found.value))

    async def list(self) -> tuple[EngineModel, ...]:
        told = self._told
        read = self._picked
        asked = self._wire.call(told.list_method, told.list_api, told.list_body)
        if told.loaded_api is None:
            listed = held = read.entries(await asked)
        else:
            first, second = await asyncio.gather(asked, self._wire.get(told.loaded_api))
            models = "models" if told.loaded_models is None else "loaded_models"
            name = "name" if told.loaded_name is None else "loaded_name"
            listed, held = read.entries(first), read.entries(second, models, name)
        found = [read.model(m, listed.get(m, ()), held.get(m, ())) for m in {**listed, **held}]
        loaded = [m.id for m in found if m.state is not None]
        if len(loaded) > 1:  # for the moment it does not hold one alone
            found = [replace(m, process=None) if m.process == WHOLE else m for m in found]
        count = told.activity_api is None
        self._in_flight = {m: read.in_flight(*held[m]) if count else None for m in loaded}
        return tuple(found)

    async def activity(self, model: EngineModel) -> Activity:
        told = self._told
        if model.state is State.SLEEPING:
            return Activity(0, model.mark)
        if told.activity_api is None:
            return Activity(self._in_flight.get(model.id), model.mark)
        try:
            path = fill_path(told.activity_api, model.id)
        except ValueError as wrong:
            raise EngineRefused(self.id, f"look at {model.id}", str(wrong), 400) from None
        if not isinstance(told.in_flight, tuple):
            count = self._picked.in_flight(await self._wire.get(path))
        else:
            metrics = await gauges(self._wire, path)
            totals = [metrics.total(name) for name in told.in_flight]
            known = [total for total in totals if total is not None and 0 <= total < 2**63]
            count = int(sum(known)) if known else None
        # Of the whole engine, it says little of one of several; but that all of them rest.
        if count and len(self._in_flight) > 1 and not names_model(told.activity_api):
            return Activity(None, f"{model.mark} {count}")
        return Activity(count, model.mark)

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        await self._tell("load", model, (State.LOADED, State.LOADING), LOAD_TIMEOUT)

    async def unload(self, model: ModelId) -> None:
        await self._tell("unload", model, (None,), CONTROL_TIMEOUT, self._told.gone_status)

    async def sleep(self, model: ModelId, *, deep: bool = False) -> None:
        if deep:
            raise self._unable(f"let {model} sleep deeply")
        await self._tell("sleep", model, (State.SLEEPING,), CONTROL_TIMEOUT)

    async def wake(self, model: ModelId) -> None:
        await self._tell("wake", model, (State.LOADED,), CONTROL_TIMEOUT)

    async def _tell(
        self,
        verb: str,
        model: ModelId,
        wanted: Sequence[State | None],
        within: Seconds,
        done: Sequence[int] = (),
    ) -> None:
        """Unless it is as `wanted` already. A refusal with a status of `done` is none."""
        path, method, body, headers = self._told.call(verb)
        if path is None:
            raise self._unable(f"{verb} {model}")
        models = {m.id: m for m in await self.list()}
        if model not in models:
            raise EngineRefused(self.id, f"{verb} {model}", "it has no such model", 404)
        if models[model].state in wanted:
            return
        if verb in ("sleep", "wake") and models[model].state is None:
            raise EngineRefused(self.id, f"{verb} {model}", "it is not loaded", 409)
        others = [m.id for m in models.values() if verb == "load" or m.state is not None]
        if len(others) > 1 and not self._told.names_model(verb):
            why = f"{verb}_api names no model, and it has {' and '.join(sorted(others)[:2])}"
            raise EngineRefused(self.id, f"{verb} {model}", why, 409)
        try:
            route = fill_path(path, model)
            sent = {name: fill_header(text, model) for name, text in (headers or {}).items()}
        except ValueError as wrong:
            raise EngineRefused(self.id, f"{verb} {model}", str(wrong), 400) from None
        try:
            await self._order(method, route, fill(body, model), within, sent)
        except EngineRefused as no:
            if no.status not in done:
                raise

    async def _order(
        self, method: str, path: str, body: Any, within: Seconds, headers: dict[str, str]
    ) -> None:
        told = self._told
        if told.success is None:
            await self._wire.text(method, path, body, within, headers)
            return
        answer = await self._wire.call(method, path, body, within, headers)
        found = self._picked.one("success", answer)
        value = None if found is None else found.value
        good = bool(value)
        if told.success_values is not None:
            good = word(value) in told.success_values
        if not good:
            # Some answer like this where they skip a model that is busy.
            why = f"success ({told.success}) is {'nothing' if value is None else shown(value)}"
            raise EngineRefused(self.id, answer.call, why, 409)


def _abilities(told: Description) -> Iterable[Ability]:
    yield Ability.LIST
    if told.load_api:
        yield Ability.LOAD
    if told.unload_api:
        yield Ability.UNLOAD
    if told.sleep_api and told.wake_api:
        yield Ability.SLEEP
    if told.in_flight:
        yield Ability.IN_FLIGHT
    if told.bytes or told.gpu_bytes:
        yield Ability.BYTES
