"""LM Studio. It is closed, and answers a path that it does not know with 200 and an error."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from collectors.reading import Bytes
from supervisor.core.snapshot import Ability, ModelId, State
from supervisor.core.types import ModelType, by_word

from .adapter import Adapter
from .answer import Json
from .base import (
    LOAD_TIMEOUT,
    Checked,
    EngineModel,
    EngineRefused,
    Habit,
    Identity,
    Proof,
    WhenBusy,
)
from .serves import TEXT, Serves, at
from .wire import CONTROL_TIMEOUT

V1 = frozenset({Ability.LIST, Ability.LOAD, Ability.UNLOAD})
V0 = frozenset({Ability.LIST})  # before 0.4.0 only its own command, lms, loads and unloads
AGAIN = re.compile(r":\d+$")  # a model's second instance is called "qwen/qwen3-8b:2"
STATES = {"not-loaded": None, "loaded": State.LOADED, "loading": State.LOADING}


class LMStudio(Adapter):
    """A model that is loaded is an instance, mostly by the model's own name, and is listed by
    its own. Made after the documentation: what an unload does to requests, the errors, and which
    process holds a model were never seen."""

    kind: ClassVar[str] = "lmstudio"
    title: ClassVar[str] = "LM Studio"
    paths: ClassVar[Serves] = at("/v1", f"{TEXT} messages")
    ports: ClassVar[tuple[int, ...]] = (1234,)
    proof: ClassVar[Proof] = Proof.POOL
    when_busy: ClassVar[WhenBusy] = WhenBusy.UNKNOWN
    checked: ClassVar[Checked] = Checked.DOCS
    abilities: frozenset[Ability] = V1

    async def identify(self) -> Identity | None:
        """It tells no version of its own, only which API it has."""
        greeting = await self._wire.probe("/lmstudio-greeting")
        if greeting is None or not isinstance(greeting.value, dict):
            return None
        if greeting.value.get("lmstudio") is not True:
            return None
        models = await self._wire.probe("/api/v1/models")
        new = models is not None and "models" in models
        self.abilities = V1 if new else V0
        return Identity("API v1" if new else "API v0")

    async def list(self) -> tuple[EngineModel, ...]:
        return await (self._new() if Ability.LOAD in self.abilities else self._old())

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        """Returns when it is done. A model that is loaded would be loaded once more."""
        self._need(Ability.LOAD, f"load {model}")
        if all(m.id != model or m.state is None for m in await self._new()):
            await self._wire.post("/api/v1/models/load", {"model": model}, LOAD_TIMEOUT)

    async def unload(self, model: ModelId) -> None:
        self._need(Ability.UNLOAD, f"unload {model}")
        try:
            await self._wire.post("/api/v1/models/unload", {"instance_id": model}, CONTROL_TIMEOUT)
        except EngineRefused as no:
            if no.status not in (200, 400, 404):
                raise
            entries = tuple((await self._wire.get("/api/v1/models"))["models"])
            if model in {i.id for entry in entries for i in _instances(entry)}:
                raise
            if AGAIN.sub("", model) not in {entry["key"].name() for entry in entries}:
                raise

    async def habits(self) -> tuple[Habit, ...]:
        """Where it loads just in time it lists to its clients what is not loaded yet."""
        offered = {entry["id"].name() for entry in (await self._wire.get("/v1/models"))["data"]}
        if not any(m.state is None and m.id in offered for m in await self.list()):
            return ()
        return (
            Habit(
                "loads whatever model a client names, and by default unloads it again when the"
                " next one is named, or when it has been idle for an hour",
                "switch Just-in-Time Model Loading off in its developer settings, or leave it on"
                " and switch off Auto-Evict and Auto-Unload there",
            ),
        )

    def _need(self, ability: Ability, call: str) -> None:
        if ability not in self.abilities:
            raise self._unable(call)

    async def _new(self) -> tuple[EngineModel, ...]:
        models: list[EngineModel] = []
        for entry in (await self._wire.get("/api/v1/models"))["models"]:
            models += _instances(entry) or [_idle(entry)]
        return tuple(models)

    async def _old(self) -> tuple[EngineModel, ...]:
        entries = (await self._wire.get("/api/v0/models"))["data"]
        return tuple(_old_model(entry) for entry in entries)


def _idle(entry: Json) -> EngineModel:
    return EngineModel(ModelId(entry["key"].name()), file_size=_size(entry), type=_type(entry))


def _instances(entry: Json) -> list[EngineModel]:
    """What is loaded of one model. Its bytes are not told, only those of its file."""
    return [
        EngineModel(
            ModelId(one["id"].name()),
            State.LOADED,
            file_size=_size(entry),
            context=None if (config := one.get("config")) is None else _context(config),
            type=_type(entry),
        )
        for one in entry.get("loaded_instances") or ()
    ]


def _size(entry: Json) -> Bytes | None:
    size = entry.get("size_bytes")
    return None if size is None else size.size()


def _type(entry: Json) -> ModelType | None:
    found = entry.get("type")
    return None if found is None else by_word(found.text())


def _context(entry: Json, key: str = "context_length") -> int | None:
    length = entry.get(key)
    return None if length is None else length.count()


def _old_model(entry: Json) -> EngineModel:
    state = STATES.get(entry["state"].text(), State.UNKNOWN)
    context = None if state is None else _context(entry, "loaded_context_length")
    return EngineModel(ModelId(entry["id"].name()), state, context=context, type=_type(entry))
