"""LocalAI: a backend, a process of its own, for each loaded model."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any, ClassVar

from collectors.reading import Seconds
from supervisor.core.snapshot import Ability, ModelId, State

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
from .serves import OLLAMA, TEXT, Serves, at

# It waits up to 30 s for requests in flight, then asks the backend to free what it holds.
CONTROL_TIMEOUT = Seconds(45.0)

VERSION = re.compile(r"v?(\d{1,9})\.(\d{1,9})(?!\d)")
LOADS_SINCE = (4, 6)
ALL = frozenset({Ability.LIST, Ability.LOAD, Ability.UNLOAD})
OFF = "or switch it off in its settings"


class LocalAI(Adapter):
    """A backend's command line does not name its model, and what a model holds or does is not
    told. One that crashed stays listed until it is used again. Before 4.6 it cannot be told to
    load. Made after the source of 4.9.0."""

    kind: ClassVar[str] = "localai"
    title: ClassVar[str] = "LocalAI"
    paths: ClassVar[Serves] = at(
        "/v1", f"{TEXT} rerank images transcriptions speech messages realtime"
    ) | at("/api", OLLAMA)
    ports: ClassVar[tuple[int, ...]] = (8080,)
    proof: ClassVar[Proof] = Proof.ENGINE
    when_busy: ClassVar[WhenBusy] = WhenBusy.WAITS
    checked: ClassVar[Checked] = Checked.SOURCE
    abilities: frozenset[Ability] = ALL

    async def identify(self) -> Identity | None:
        told = _object(await self._wire.probe("/.well-known/localai.json"))  # since 4.1.1
        if "endpoints" not in told:
            system = _object(await self._wire.probe("/system"))
            if not (isinstance(system.get("backends"), list) and "loaded_models" in system):
                return None
            told = _object(await self._wire.probe("/version"))
        version = told.get("version")
        if not isinstance(version, str) or not version:
            version = "not told"
        since = VERSION.match(version)
        old = since is not None and (int(since[1]), int(since[2])) < LOADS_SINCE
        self.abilities = ALL - {Ability.LOAD} if old else ALL
        return Identity(version)

    async def list(self) -> tuple[EngineModel, ...]:
        installed, loaded = await asyncio.gather(self._installed(), self._loaded())
        return tuple(
            EngineModel(name, State.LOADED if name in loaded else None)
            for name in sorted(installed | loaded)
        )

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        """Returns when it is done. A name that it does not know it tries with every backend."""
        if Ability.LOAD not in self.abilities:
            raise self._unable(f"load {model}")
        if model not in await self._installed():
            raise EngineRefused(self.id, "POST /backend/load", f"there is no model {model}", 404)
        await self._wire.post("/backend/load", {"model": model}, LOAD_TIMEOUT)

    async def unload(self, model: ModelId) -> None:
        """Returns when its backend has ended; refused where it is still busy after 30 s."""
        try:
            await self._wire.text("POST", "/backend/shutdown", {"model": model}, CONTROL_TIMEOUT)
        except EngineRefused as no:
            # One that is not loaded is "Resource not found", like a path; of old, a failure.
            if no.status not in (404, 500):
                raise
            if model in await self._loaded() or model not in await self._installed():
                raise

    async def habits(self) -> tuple[Habit, ...]:
        """From its live settings, which only an administrator may read."""
        told = await self._wire.probe("/api/settings")
        if told is None or not isinstance(told.value, dict):
            return ()
        found = []
        if _is_on(told, "watchdog_idle_enabled"):
            after = _text(told, "watchdog_idle_timeout")
            what = f"unloads a model that has been idle for {after}"
            found.append(Habit(what, f"start it with LOCALAI_WATCHDOG_IDLE=false, {OFF}"))
        if _is_on(told, "watchdog_busy_enabled"):
            after = _text(told, "watchdog_busy_timeout")
            what = f"ends a backend that has been busy for {after}, and its requests with it"
            found.append(Habit(what, f"start it with LOCALAI_WATCHDOG_BUSY=false, {OFF}"))
        most = told.get("max_active_backends")
        count = 0 if most is None else most.count()
        if count or _is_on(told, "single_backend"):
            what = f"unloads a model when more than {count or 1} would be loaded"
            found.append(Habit(what, f"start it with LOCALAI_MAX_ACTIVE_BACKENDS=0, {OFF}"))
        if _is_on(told, "memory_reclaimer_enabled"):
            what = "unloads models when it finds the memory nearly full"
            remedy = "switch its memory reclaimer off: memory_reclaimer_enabled in its settings"
            found.append(Habit(what, remedy))
        return tuple(found)

    async def _installed(self) -> frozenset[ModelId]:
        data = (await self._wire.get("/v1/models"))["data"]
        return frozenset(ModelId(entry["id"].name()) for entry in data)

    async def _loaded(self) -> frozenset[ModelId]:
        answer = await self._wire.get("/system")
        models = answer.get("loaded_models")  # null where there is none
        return frozenset(ModelId(entry["id"].name()) for entry in models or ())


def _object(answer: Json | None) -> dict[str, Any]:
    return answer.value if answer is not None and isinstance(answer.value, dict) else {}


def _is_on(settings: Json, key: str) -> bool:
    return key in settings and settings[key].flag()


def _text(settings: Json, key: str) -> str:
    return settings[key].text() if key in settings else "a while"
