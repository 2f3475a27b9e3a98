"""oMLX, on Apple silicon: one process holds every model, so its own numbers are all there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from supervisor.core.snapshot import Ability, ModelId, State
from supervisor.units import format_bytes

from .adapter import Adapter
from .answer import Json
from .base import (
    LOAD_TIMEOUT,
    Activity,
    EngineModel,
    EngineRefused,
    Habit,
    Identity,
    Proof,
    WhenBusy,
)
from .serves import MESSAGES, TEXT, Serves, at
from .wire import CONTROL_TIMEOUT

# Whose requests are among those that it counts; it keeps no count for sound and embeddings.
COUNTED = ("batched", "vlm")
VIRTUAL = "markitdown"  # it turns documents into text, and holds nothing


class Omlx(Adapter):
    """`actual_size` is what the process grew by during the load: true, without the KV cache that
    came later. It counts the requests of all models together: a model counts as being at work
    for as long as any is. A load may unload others. An id with a slash has no path that it knows.
    """

    kind: ClassVar[str] = "omlx"
    title: ClassVar[str] = "oMLX"
    paths: ClassVar[Serves] = at("/v1", f"{TEXT} {MESSAGES} rerank transcriptions speech")
    ports: ClassVar[tuple[int, ...]] = (8000,)
    proof: ClassVar[Proof] = Proof.ENGINE
    when_busy: ClassVar[WhenBusy] = WhenBusy.CUTS
    abilities: frozenset[Ability] = frozenset(
        {Ability.LIST, Ability.LOAD, Ability.UNLOAD, Ability.IN_FLIGHT, Ability.BYTES}
    )

    def _begin(self, key: str | None, options: Any) -> None:
        self._loaded = 0
        self._uncounted: frozenset[ModelId] = frozenset()

    async def identify(self) -> Identity | None:
        status = await self._wire.probe("/v1/models/status")
        if status is None or not ("models" in status and "current_model_memory" in status):
            return None
        about = await self._wire.probe("/api/status")
        told = about is not None and "version" in about
        return Identity(about["version"].name() if about is not None and told else "not told")

    async def list(self) -> tuple[EngineModel, ...]:
        status = await self._wire.get("/v1/models/status")
        entries = [e for e in status["models"] if _kind(e) != VIRTUAL]
        models = tuple(_model(entry) for entry in entries)
        pairs = zip(models, entries, strict=True)
        self._uncounted = frozenset(m.id for m, e in pairs if _kind(e) not in COUNTED)
        self._loaded = sum(m.state is State.LOADED for m in models)
        return models

    async def activity(self, model: EngineModel) -> Activity:
        status = await self._wire.get("/api/status")
        # Those that wait are among the active ones.
        count = max(status["active_requests"].count(), status["waiting_requests"].count())
        if model.id in self._uncounted:
            return Activity(None, model.mark)
        if count == 0 or self._loaded == 1:
            return Activity(count, model.mark)
        # Any of them may be at work, and unloading the wrong one would cut it short: a mark that
        # moves at each look makes none of them look idle. It is no progress.
        mark = f"{model.mark} {status['uptime_seconds'].number()}"
        return Activity(None, mark, progress=str(model.mark))

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        try:
            await self._wire.post(_path(model, "load"), None, LOAD_TIMEOUT)
        except EngineRefused as no:
            if "being loaded" not in no.message:  # by a client's request
                raise

    async def unload(self, model: ModelId) -> None:
        try:
            await self._wire.post(_path(model, "unload"), None, CONTROL_TIMEOUT)
        except EngineRefused as no:
            if no.status != 400 or "not loaded" not in no.message:
                raise

    async def habits(self) -> tuple[Habit, ...]:
        """Its idle timeouts are told to its own administrator's pages alone."""
        status = await self._wire.get("/v1/models/status")
        found = status.get("final_ceiling")
        if found is None or (ceiling := found.size()) == 0:
            return ()
        what = f"it unloads models and cuts requests short by itself above {format_bytes(ceiling)}"
        return (Habit(what, "start it with --memory-guard off"),)


def _path(model: ModelId, verb: str) -> str:
    return f"/v1/models/{quote(model, safe='')}/{verb}"


def _kind(entry: Json) -> str | None:
    found = entry.get("engine_type")
    return None if found is None else found.text()


def _model(entry: Json) -> EngineModel:
    loading, loaded = entry["is_loading"].flag(), entry["loaded"].flag()
    state = State.LOADING if loading else State.LOADED if loaded else None
    actual, estimate = entry.get("actual_size"), entry.get("estimated_size")
    # 0 is written where it saw nothing.
    size = None if actual is None or state is None else actual.size() or None
    context, access = entry.get("max_context_window"), entry.get("last_access")
    return EngineModel(
        id=ModelId(entry["id"].name()),
        state=state,
        reported=size,
        reported_gpu=size,  # there is one memory
        file_size=None if estimate is None else estimate.size() or None,
        mark=None if access is None else str(access.number()),
        context=None if context is None else context.count(),
    )
