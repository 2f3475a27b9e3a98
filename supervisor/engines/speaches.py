"""speaches, once called faster-whisper-server: speech to text, and back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar
from urllib.parse import quote

from collectors.reading import Seconds
from supervisor.core.snapshot import Ability, ModelId, State

from .adapter import Adapter
from .base import (
    LOAD_TIMEOUT,
    Checked,
    EngineDown,
    EngineModel,
    EngineRefused,
    Identity,
    Proof,
    WhenBusy,
)
from .serves import HEARD, Serves, at
from .wire import CONTROL_TIMEOUT

PS = "/api/ps"

# To list what is installed it walks through all of its cache on disk, once for each of its kinds
# of models, and reads each model's card.
INSTALLED_INTERVAL = Seconds(60.0)


class Speaches(Adapter):
    """It lists a model from the moment that it begins to load it, also when that fails, and says
    neither what it is doing nor what it holds. A busy model is not unloaded, but no longer
    listed: it keeps its memory until its request has ended. It unloads idle ones by itself,
    after 300 s unless STT_MODEL_TTL and TTS_MODEL_TTL say otherwise; it does not tell them.
    """

    kind: ClassVar[str] = "speaches"
    title: ClassVar[str] = "speaches"
    paths: ClassVar[Serves] = at("/v1", f"{HEARD} speech realtime")
    ports: ClassVar[tuple[int, ...]] = (8000,)
    proof: ClassVar[Proof] = Proof.ENGINE
    when_busy: ClassVar[WhenBusy] = WhenBusy.REFUSES
    checked: ClassVar[Checked] = Checked.SOURCE
    abilities: frozenset[Ability] = frozenset({Ability.LIST, Ability.LOAD, Ability.UNLOAD})

    def _begin(self, key: str | None, options: Any) -> None:
        self._installed: frozenset[ModelId] = frozenset()
        self._asked_at: float | None = None
        self.clock = time.monotonic

    async def identify(self) -> Identity | None:
        """Its list of loaded models is one of names; its own description says the rest."""
        ps = await self._wire.probe(PS)
        loaded = ps.value.get("models") if ps is not None and isinstance(ps.value, dict) else None
        if not isinstance(loaded, list) or not all(isinstance(name, str) for name in loaded):
            return None
        about = await self._wire.probe("/openapi.json")
        if about is None or not isinstance(about.value, dict):
            return None
        info, paths = about.value.get("info"), about.value.get("paths")
        if not isinstance(info, dict) or not isinstance(paths, dict):
            return None
        if f"{PS}/{{model_id}}" not in paths:
            return None
        version = info.get("version")
        return Identity(version if isinstance(version, str) and version else "not told")

    async def list(self) -> tuple[EngineModel, ...]:
        loaded = {ModelId(name.name()) for name in (await self._wire.get(PS))["models"]}
        now = self.clock()
        if self._asked_at is None or now - self._asked_at >= INSTALLED_INTERVAL:
            self._asked_at = now
            with suppress(EngineDown):  # a slow disk: what is loaded is known all the same
                self._installed = await self._on_disk()
        return tuple(
            EngineModel(name, State.LOADED if name in loaded else None)
            for name in sorted(self._installed | loaded)
        )

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        """Returns when it is done."""
        try:
            await self._wire.text("POST", _path(model), None, LOAD_TIMEOUT)
        except EngineRefused as no:
            if no.status != 409:  # loaded already, or by somebody else just now
                raise

    async def unload(self, model: ModelId) -> None:
        try:
            await self._wire.text("DELETE", _path(model), None, CONTROL_TIMEOUT)
        except EngineRefused as no:
            if no.status == 404:  # is it not loaded, or nobody's?
                if model in await self._on_disk():
                    return
                raise
            if no.status != 409:
                raise
            if "is not loaded" in no.message:  # its load had failed; it is off the list now
                return
            why = f"{no.message}; it is off the list now, and keeps its memory until it has done"
            raise EngineRefused(no.engine, no.call, why, no.status) from no

    async def _on_disk(self) -> frozenset[ModelId]:
        answer = await self._wire.get("/v1/models")
        return frozenset(ModelId(entry["id"].name()) for entry in answer["data"])


def _path(model: ModelId) -> str:
    return f"{PS}/{quote(model, safe='')}"
