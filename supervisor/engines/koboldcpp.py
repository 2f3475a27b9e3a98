"""KoboldCpp in admin mode: every load and unload is a new process that reads another file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from supervisor.core.snapshot import Ability, ModelId, State

from .adapter import Adapter
from .answer import Json
from .base import (
    Activity,
    EngineDown,
    EngineModel,
    EngineRefused,
    Habit,
    Identity,
    Process,
    Proof,
    WhenBusy,
)
from .serves import MESSAGES, TEXT, Serves, at
from .wire import CONTROL_TIMEOUT

PREFIX = "koboldcpp/"
HIDDEN = f"{PREFIX}protected-model"  # what it calls its model before those who have no password
NOBODY = "inactive"
UNNAMED = "koboldcpp"  # models for pictures or sound alone, which it names elsewhere
UNLOAD = "unload_model"
ANEW = "its next process has not begun to listen"
ORDERS = (UNLOAD, "initial_model")  # in its list of files, and no files
OTHERS = ("txt2img", "transcribe", "tts", "embeddings", "music")
COUNTS = ("total_gens", "total_img_gens", "total_tts_gens", "total_transcribe_gens")
OPEN = frozenset({Ability.LIST, Ability.IN_FLIGHT, Ability.CANCEL})
ADMIN = OPEN | {Ability.LOAD, Ability.UNLOAD, Ability.RESTART}


class KoboldCpp(Adapter):
    """One configuration at a time: models of several kinds come and go together. A load or unload
    is answered at once, then the port refuses for some seconds.

    A .gguf file goes by its name without the ending, as its model does when it is loaded; a
    .kcpps file by its whole name, and the model that appears after we asked for it is taken for
    it. A configuration that fails is replaced by the one that it was started with, and then that
    is mistaken for it. Its Ollama-like answers are made up: nothing here reads them.
    """

    kind: ClassVar[str] = "koboldcpp"
    title: ClassVar[str] = "KoboldCpp"
    paths: ClassVar[Serves] = at("/v1", f"{TEXT} {MESSAGES} images transcriptions speech") | at(
        "/api", "ollama_chat generate show"
    )
    ports: ClassVar[tuple[int, ...]] = (5001,)
    proof: ClassVar[Proof] = Proof.ENGINE
    when_busy: ClassVar[WhenBusy] = WhenBusy.CUTS
    abilities: frozenset[Ability] = ADMIN

    def _begin(self, key: str | None, options: Any) -> None:
        self._name: str | None = None  # that it told last
        self._asked: tuple[ModelId, str | None] | None = None  # and the name that it told then
        self._was_down = False  # since we asked
        self._anew = False  # its next process is still to come
        self._called: dict[str, ModelId] = {}  # by the names that they have when loaded

    async def identify(self) -> Identity | None:
        try:
            about = await self._wire.probe("/api/extra/version")
        except EngineDown as error:
            raise self._away(error) from error
        if about is None or "result" not in about or about["result"].value != "KoboldCpp":
            return None
        return Identity(about["version"].name())

    async def list(self) -> tuple[EngineModel, ...]:
        there, files = await self._look()
        models = {id: EngineModel(id) for id in files}
        if there is not None:
            models[there] = EngineModel(there, State.LOADED, process=Process(whole=True))
        return tuple(models.values())

    async def activity(self, model: EngineModel) -> Activity:
        perf = await self._wire.get("/api/extra/perf")
        waiting, idle = perf["queue"].count(), perf["idle"].count()
        done = [str(count.value) for key in COUNTS if (count := perf.get(key)) is not None]
        return Activity(waiting + (idle == 0), ",".join(done) or None)

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        there, files = await self._look()
        if there == model:
            return
        if model not in files:
            raise EngineRefused(self.id, f"load {model}", "there is no such file", 404)
        await self._reload(files[model])
        self._asked = (model, self._name)

    async def unload(self, model: ModelId) -> None:
        there, files = await self._look()
        if there == model:
            await self._reload(UNLOAD)
        elif model not in files:
            raise EngineRefused(self.id, f"unload {model}", "there is no such model", 404)

    async def cancel(self, model: ModelId) -> None:
        """The text that is being written. It says whether there was any that it could end: of
        several users' it ends its own alone."""
        there, _ = await self._look()
        if there != model:
            raise EngineRefused(self.id, f"cancel {model}", "it is not loaded", 404)
        call = "/api/extra/abort"
        answer = await self._wire.post(call, {}, CONTROL_TIMEOUT)
        if answer["success"].value not in (True, "true"):
            raise EngineRefused(self.id, f"POST {call}", "there was nothing that it could end", 409)

    async def restart(self) -> None:
        await self._reload(UNLOAD)

    async def habits(self) -> tuple[Habit, ...]:
        """Its --adminunloadtimeout it does not tell."""
        if len(tuple((await self._wire.get("/v1/models"))["data"])) < 2:
            return ()
        what = "a request that names another model makes it swap its own (router mode)"
        return (Habit(what, "start it without --routermode"),)

    async def _look(self) -> tuple[ModelId | None, dict[ModelId, str]]:
        """Who is loaded, and every file that can be, by its model."""
        try:
            about = await self._wire.get("/api/extra/version")
        except EngineDown as error:
            raise self._away(error) from error
        self._anew = self._anew and not self._was_down
        name = self._name = await self._named(about)
        admin = about.get("admin")
        found = await self._wire.get("/api/admin/list_options") if _is_on(admin) else ()
        files = {_id(f): f for f in (entry.name() for entry in found) if f not in ORDERS}
        # With admin mode off, or the wrong password for it, not even its orders are listed.
        self.abilities = ADMIN if tuple(found) else OPEN
        self._learn(name)
        return None if name is None else self._who(name, files), files

    def _away(self, error: EngineDown) -> EngineDown:
        """Who loads has no port for as long as that takes: it has not crashed for that."""
        self._was_down = True
        return EngineDown(self.id, error.call, ANEW) if self._anew else error

    async def _named(self, about: Json) -> str | None:
        result = (await self._wire.get("/api/v1/model"))["result"].name()
        if result == HIDDEN:
            why = "401 it does not tell its model: the key is missing or wrong"
            raise EngineRefused(self.id, "GET /api/v1/model", why, 401)
        name = result.removeprefix(PREFIX)
        text = about.get("llm")
        if name and name != NOBODY and (text is None or text.flag()):
            return name
        others = (about.get(kind) for kind in OTHERS)
        return UNNAMED if any(o is not None and o.flag() for o in others) else None

    def _learn(self, name: str | None) -> None:
        """Whom we asked for is there, once the process that answers is a new one."""
        if self._asked is None or name is None:
            return
        model, before = self._asked
        if name != before or self._was_down:
            self._called[name] = model
            self._asked = None

    def _who(self, name: str, files: dict[ModelId, str]) -> ModelId:
        if (known := self._called.get(name)) in files and known is not None:
            return known
        return next((id for id in files if _plain(id) == name), ModelId(name))

    async def _reload(self, file: str) -> None:
        """Always answered with 200."""
        call = "/api/admin/reload_config"
        answer = await self._wire.post(call, {"filename": file}, CONTROL_TIMEOUT)
        if not answer["success"].flag():
            why = "refused: it wants --admin, --admindir, and its admin password as our key"
            raise EngineRefused(self.id, f"POST {call}", why, 403)
        self._anew, self._was_down = True, False


def _is_on(admin: Json | None) -> bool:
    return admin is not None and admin.value not in (0, False)


def _id(file: str) -> ModelId:
    return ModelId(file.removesuffix(".gguf") or file)


def _plain(id: ModelId) -> str:
    """As it writes a model's name: letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^\w.\-]", "", id)
