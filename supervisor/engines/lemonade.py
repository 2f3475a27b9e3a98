"""Lemonade: a child for each model, whose command line it tells."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar
from urllib.parse import urlsplit

from collectors.reading import Bytes
from supervisor.core.snapshot import Ability, ModelId, State
from supervisor.core.types import by_word

from .adapter import Adapter
from .answer import Json
from .base import (
    LOAD_TIMEOUT,
    Activity,
    EngineConfused,
    EngineModel,
    EngineRefused,
    Habit,
    Identity,
    Process,
    Proof,
    WhenBusy,
)
from .serves import IMAGES, OLLAMA, TEXT, Serves, at
from .wire import CONTROL_TIMEOUT

STATES = {
    "loading": State.LOADING,
    "ready": State.LOADED,
    "in_use": State.LOADED,
    "downsizing": State.LOADED,
    "downsized": State.LOADED,  # it gave up its KV cache's contents, and keeps its weights
    "evicting": State.LOADED,
    "unloaded": None,
}
WORKS = {"in_use": 1, "ready": 0, "downsized": 0}
GIB = 1024**3  # what it calls GB
FASTFLOWLM = "flm"  # runs on AMD's NPU, and nowhere else


class Lemonade(Adapter):
    """An unload waits for its model without an end, and nobody is answered meanwhile: so that of
    a busy one is refused here. Before 11.5 it does not say who is busy.

    A load that fails makes it unload everything, and try once more.
    """

    kind: ClassVar[str] = "lemonade"
    title: ClassVar[str] = "Lemonade"
    paths: ClassVar[Serves] = (
        at("/api/v1", f"{TEXT} {IMAGES} rerank transcriptions speech")
        | at("/v1", "messages")
        | at("/api", OLLAMA)
    )
    ports: ClassVar[tuple[int, ...]] = (13305, 8000)
    proof: ClassVar[Proof] = Proof.PROCESS
    when_busy: ClassVar[WhenBusy] = WhenBusy.REFUSES
    abilities: frozenset[Ability] = frozenset(
        {Ability.LIST, Ability.LOAD, Ability.UNLOAD, Ability.IN_FLIGHT}
    )

    async def identify(self) -> Identity | None:
        health = await self._wire.probe("/api/v1/health")
        if health is None or not ("all_models_loaded" in health and "version" in health):
            return None
        return Identity(health["version"].name())

    async def list(self) -> tuple[EngineModel, ...]:
        loaded, installed = await asyncio.gather(self._loaded(), self._installed())
        models = dict(installed)
        for id, entry in loaded.items():
            state = _state(entry)
            models[id] = EngineModel(
                id,
                state,
                file_size=installed[id].file_size if id in installed else None,
                process=None if state is None else _process(entry),
                mark=_mark(entry),
                context=_context(entry),
                type=by_word(_text(entry, "type")),
                npu="npu" in _text(entry, "device").split("|"),  # a hybrid: "gpu|npu"
            )
        return tuple(models.values())

    async def activity(self, model: EngineModel) -> Activity:
        """1 stands for one request or more."""
        entry = (await self._loaded()).get(model.id)
        return Activity(None) if entry is None else Activity(_working(entry), _mark(entry))

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        if model in await self._loaded():
            return  # with other options than ours, perhaps: it would load it anew
        if model not in await self._installed():  # it would fetch it from the net
            raise EngineRefused(self.id, f"load {model}", "is not installed", 404)
        await self._wire.post("/api/v1/load", {"model_name": model}, LOAD_TIMEOUT)

    async def unload(self, model: ModelId) -> None:
        """A body without a name would unload everything."""
        entry = (await self._loaded()).get(model)
        if entry is None:
            if model not in await self._installed():
                raise EngineRefused(self.id, f"unload {model}", "there is no such model", 404)
            return
        if _working(entry) or _state(entry) is State.LOADING:
            why = "is busy: Lemonade would wait for it, and answer nobody meanwhile"
            raise EngineRefused(self.id, f"unload {model}", why, 409)
        try:
            await self._wire.post("/api/v1/unload", {"model_name": model}, CONTROL_TIMEOUT)
        except EngineRefused as no:
            if no.status != 404 or "not loaded" not in no.message:
                raise

    async def habits(self) -> tuple[Habit, ...]:
        health = await self._wire.get("/api/v1/health")
        found = []
        most = health.get("max_models")
        limit = None if most is None else most.get("llm")
        if limit is not None and (count := int(limit.number())) >= 0:
            what = f"it keeps {count} of each kind of model at most, and unloads one for the next"
            found.append(Habit(what, "lemonade config set max_loaded_models=-1"))
        evicts = "it unloads models that have been idle for a while, or when memory is short"
        if await self._auto_evict():
            found.append(Habit(evicts, "lemonade config set auto_evict=false"))
        for entry in health["all_models_loaded"]:
            options = entry.get("recipe_options")
            own = None if options is None else options.get("auto_evict")
            if own is not None and own.flag():
                remedy = "load it with auto_evict: false, and save_options"
                found.append(Habit(evicts, remedy, _name(entry)))
        return tuple(found)

    async def _auto_evict(self) -> bool:
        """Told to its administrator alone, where it has one."""
        try:
            told = (await self._wire.get("/internal/config")).get("auto_evict")
        except (EngineRefused, EngineConfused):
            return False
        return told is not None and told.flag()

    async def _loaded(self) -> dict[ModelId, Json]:
        entries = (await self._wire.get("/api/v1/health"))["all_models_loaded"]
        return {_name(entry): entry for entry in entries if not _is_elsewhere(entry)}

    async def _installed(self) -> dict[ModelId, EngineModel]:
        entries = (await self._wire.get("/api/v1/models"))["data"]
        found = [
            EngineModel(
                ModelId(e["id"].name()), file_size=_size(e), npu=_text(e, "recipe") == FASTFLOWLM
            )
            for e in entries
            if not _is_elsewhere(e)
        ]
        return {model.id: model for model in found}


def _name(entry: Json) -> ModelId:
    return ModelId(entry["model_name"].name())


def _is_elsewhere(entry: Json) -> bool:
    """In the cloud, or a name for several others, or not downloaded."""
    recipe, pool = _text(entry, "recipe"), _text(entry, "slot_pool")
    downloaded = entry.get("downloaded")
    return (
        recipe == "cloud"
        or recipe.startswith("collection.")
        or pool == "unmetered"
        or "cloud_provider" in entry
        or (downloaded is not None and not downloaded.flag())
    )


def _text(entry: Json, key: str) -> str:
    found = entry.get(key)
    return "" if found is None else found.text()


def _state(entry: Json) -> State | None:
    status = _text(entry, "status")
    return STATES.get(status, State.UNKNOWN) if status else State.LOADED


def _working(entry: Json) -> int | None:
    told = [flag.flag() for key in ("is_busy", "is_streaming") if (flag := entry.get(key))]
    return int(any(told)) if told else WORKS.get(_text(entry, "status"))


def _mark(entry: Json) -> str | None:
    found = entry.get("last_use")
    return None if found is None else str(found.count())


def _context(entry: Json) -> int | None:
    options = entry.get("recipe_options")
    found = None if options is None else options.get("ctx_size")
    return None if found is None or found.number() <= 0 else found.count()


def _size(entry: Json) -> Bytes | None:
    found = entry.get("size")
    size = 0 if found is None else round(found.number() * GIB)
    return Bytes(size) if 0 < size < 2**63 else None


def _process(entry: Json) -> Process | None:
    """Its command line before its pid, which means another process when Lemonade runs in a
    container."""
    words = entry.get("launch_command")
    if words is not None and (command := words.texts()):
        return Process(argv=(command,))
    pid = entry.get("pid")
    if pid is not None and pid.count():
        return Process(pid=pid.count())
    try:
        port = urlsplit(_text(entry, "backend_url")).port
    except ValueError:
        port = None
    return Process(argv=(("--port", str(port)),)) if port else None
