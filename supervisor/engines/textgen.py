"""text-generation-webui, through the API that it has with --api."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from supervisor.core.snapshot import Ability, ModelId, State

from .adapter import Adapter
from .base import (
    LOAD_TIMEOUT,
    EngineModel,
    EngineRefused,
    Identity,
    Process,
    Proof,
    WhenBusy,
)
from .serves import Serves, at
from .wire import CONTROL_TIMEOUT

NOBODY = "None"  # the name of no model
MODEL = "/v1/internal/model"
OPEN = frozenset({Ability.LIST, Ability.CANCEL})
ADMIN = OPEN | {Ability.LOAD, Ability.UNLOAD}


class TextGen(Adapter):
    """One model, in its own process or in a llama-server below it. While it loads, it answers
    nobody. It keeps a model's name after its own --idle-timeout has unloaded it, and after a load
    that failed in llama.cpp, to which it says OK: only the memory tells.

    Requests are cut short by an unload with llama.cpp; with other loaders that is not known.
    """

    kind: ClassVar[str] = "textgen"
    title: ClassVar[str] = "text-generation-webui"
    paths: ClassVar[Serves] = at(
        "/v1", "chat completions embeddings images transcriptions messages"
    )
    ports: ClassVar[tuple[int, ...]] = (5000,)
    proof: ClassVar[Proof] = Proof.ENGINE
    when_busy: ClassVar[WhenBusy] = WhenBusy.CUTS
    abilities: frozenset[Ability] = ADMIN

    async def identify(self) -> Identity | None:
        info = await self._wire.probe(f"{MODEL}/info")
        if info is None or not ("model_name" in info and "lora_names" in info):
            return None
        return Identity("not told")

    async def list(self) -> tuple[EngineModel, ...]:
        there = await self._loaded()
        try:
            models = {id: EngineModel(id) for id in await self._installed()}
            self.abilities = ADMIN
        except EngineRefused as no:
            if no.status != 401:
                raise
            models, self.abilities = {}, OPEN  # not the admin key
        if there is not None:
            models[there] = EngineModel(there, State.LOADED, process=Process(whole=True))
        return tuple(models.values())

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        """It unloads whoever is there before it looks whether there is such a model."""
        if await self._loaded() == model:
            return  # it would be loaded anew
        await self._must_have(model, "load")
        await self._wire.post(f"{MODEL}/load", {"model_name": model}, LOAD_TIMEOUT)

    async def unload(self, model: ModelId) -> None:
        """Its call names nobody: whoever is loaded goes."""
        if await self._loaded() == model:
            await self._wire.post(f"{MODEL}/unload", None, CONTROL_TIMEOUT)
        else:
            await self._must_have(model, "unload")

    async def cancel(self, model: ModelId) -> None:
        """Whatever is being generated."""
        if await self._loaded() != model:
            raise EngineRefused(self.id, f"cancel {model}", "it is not loaded", 404)
        await self._wire.text("POST", "/v1/internal/stop-generation", None, CONTROL_TIMEOUT)

    async def _loaded(self) -> ModelId | None:
        info = await self._wire.get(f"{MODEL}/info")
        name = info["model_name"].name()
        return None if name == NOBODY else ModelId(name)

    async def _installed(self) -> tuple[ModelId, ...]:
        names = (await self._wire.get(f"{MODEL}/list"))["model_names"]
        return tuple(ModelId(name.name()) for name in names)

    async def _must_have(self, model: ModelId, verb: str) -> None:
        if model not in await self._installed():
            raise EngineRefused(self.id, f"{verb} {model}", "there is no such model", 404)
