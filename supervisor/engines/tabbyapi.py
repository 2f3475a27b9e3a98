"""TabbyAPI: one process, which holds one model at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from supervisor.core.snapshot import Ability, ModelId, State

from .adapter import Adapter
from .answer import Json
from .base import (
    LOAD_TIMEOUT,
    EngineConfused,
    EngineModel,
    EngineRefused,
    Identity,
    Process,
    Proof,
    WhenBusy,
)
from .serves import Serves, at
from .wire import CONTROL_TIMEOUT

LOAD = "/v1/model/load"
ADMIN = frozenset({Ability.LIST, Ability.LOAD, Ability.UNLOAD})


class TabbyApi(Adapter):
    """It says neither what a model holds nor what it is doing, and lists it once it is loaded.

    Only the admin key lists every model, loads and unloads. An embedding model that it holds
    besides is not told apart. Whether requests may swap its model (inline_model_loading) it
    does not say. Its /health stays bad for ever after one error: nobody asks.
    """

    kind: ClassVar[str] = "tabbyapi"
    title: ClassVar[str] = "TabbyAPI"
    paths: ClassVar[Serves] = at("/v1", "chat completions embeddings")
    ports: ClassVar[tuple[int, ...]] = (5000,)
    proof: ClassVar[Proof] = Proof.ENGINE
    when_busy: ClassVar[WhenBusy] = WhenBusy.CUTS
    abilities: frozenset[Ability] = ADMIN

    async def identify(self) -> Identity | None:
        info = await self._wire.probe("/.well-known/serviceinfo")
        if info is None or "software" not in info or "name" not in (who := info["software"]):
            return None
        if who["name"].value != "TabbyAPI":
            return None
        try:
            rights = await self._wire.probe("/v1/auth/permission")
        except EngineRefused:
            rights = None  # the list will say what is wrong with the key
        if rights is not None:
            admin = rights["permission"].text() == "admin"
            self.abilities = ADMIN if admin else frozenset({Ability.LIST})
        return Identity("not told")

    async def list(self) -> tuple[EngineModel, ...]:
        installed = await self._installed()
        models = {id: EngineModel(id) for id in installed}
        if (card := await self._card()) is not None:
            id = _id(card)
            models[id] = EngineModel(
                id, State.LOADED, process=Process(whole=True), context=_context(card)
            )
        return tuple(models.values())

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        """A list of events, of which the last says how it went: an error comes with status 200.

        Another model is unloaded first, when it has served its requests.
        """
        finished = False

        def take(event: Json) -> bool:
            nonlocal finished
            if (error := event.get("error")) is not None:
                words = error["message"].text() if "message" in error else "failed"
                raise EngineRefused(self.id, f"POST {LOAD}", words, 500)
            status = event.get("status")
            finished = finished or (status is not None and status.value == "finished")
            return False  # the model is in its place when the list ends, and not before

        await self._wire.events("POST", LOAD, {"model_name": model}, take, LOAD_TIMEOUT)
        if not finished:
            raise EngineConfused(self.id, f"POST {LOAD}", "ended before the model was loaded")

    async def unload(self, model: ModelId) -> None:
        """Its call names nobody: whoever is loaded goes."""
        card = await self._card()
        if card is not None and _id(card) == model:
            await self._wire.post("/v1/model/unload", None, CONTROL_TIMEOUT)
        elif model not in await self._installed():
            raise EngineRefused(self.id, f"unload {model}", "there is no such model", 404)

    async def _card(self) -> Json | None:
        """The loaded model's."""
        try:
            return await self._wire.get("/v1/model")
        except EngineRefused as no:
            if no.status == 503 and "No models are" in no.message:
                return None
            raise

    async def _installed(self) -> tuple[ModelId, ...]:
        """All of them, for the admin key; else the loaded one."""
        return tuple(_id(card) for card in (await self._wire.get("/v1/models"))["data"])


def _id(card: Json) -> ModelId:
    return ModelId(card["id"].name())


def _context(card: Json) -> int | None:
    parameters = card.get("parameters")
    found = None if parameters is None else parameters.get("max_seq_len")
    return None if found is None else found.count()
