"""MLX Omni Server, from 0.5.3: one process with a cache of chat models, on Apple silicon."""

from __future__ import annotations

import ast
import asyncio
import re
from dataclasses import dataclass
from typing import ClassVar

from collectors.reading import Seconds
from supervisor.core.snapshot import Ability, ModelId, State

from .adapter import Adapter
from .answer import Json
from .base import (
    EngineConfused,
    EngineModel,
    EngineRefused,
    Habit,
    Identity,
    Process,
    Proof,
    WhenBusy,
)
from .serves import Serves, at
from .wire import CONTROL_TIMEOUT

# A key of its cache is a printed Python object: WrapperCacheKey(model_id='org/model', …).
NAME = re.compile(r"""\bmodel_id=('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")


@dataclass(frozen=True, slots=True)
class Cache:
    """`models`, and when each leaves, in Unix seconds; None: never. `ttl` 0: they all stay."""

    models: dict[ModelId, float | None]
    most: int
    ttl: Seconds


class MlxOmni(Adapter):
    """A model is loaded by the first request for it. Its cache is cleared as a whole, so an unload
    is for the only model; a request that is being served keeps its model until it ends, by the
    source. While it answers without a stream, it answers nobody else. Models for embeddings,
    images and speech are in no list, and in the same process."""

    kind: ClassVar[str] = "mlxomni"
    title: ClassVar[str] = "mlx-omni-server"
    paths: ClassVar[Serves] = at("/v1", "chat embeddings images speech transcriptions") | at(
        "/anthropic/v1", "messages"
    )
    ports: ClassVar[tuple[int, ...]] = (10240,)
    proof: ClassVar[Proof] = Proof.ENGINE
    when_busy: ClassVar[WhenBusy] = WhenBusy.WAITS
    abilities: frozenset[Ability] = frozenset({Ability.LIST, Ability.UNLOAD})

    async def identify(self) -> Identity | None:
        cache = await self._wire.probe("/v1/cache")
        has = cache is not None and all(
            k in cache for k in ("cached_keys", "max_size", "lru_order")
        )
        return Identity("0.5.3 or later") if has else None

    async def list(self) -> tuple[EngineModel, ...]:
        on_disk, cache = await asyncio.gather(self._on_disk(), self._cache())
        alone = Process(whole=True) if len(cache.models) == 1 else None
        loaded = [
            EngineModel(
                model,
                State.LOADED,
                process=alone,
                mark=None if leaves is None else f"{leaves:.3f}",  # moves with each request
                keep_alive=cache.ttl or None,
                expires_at=leaves,
            )
            for model, leaves in cache.models.items()
        ]
        return (*loaded, *(EngineModel(m) for m in on_disk if m not in cache.models))

    async def unload(self, model: ModelId) -> None:
        """Whoever is loaded between the look and the clearing goes too, and comes back with its
        next request: its API has nothing finer."""
        held = (await self._cache()).models
        if model not in held:
            if model not in await self._on_disk():
                raise self._no(f"it has no model {model}", 404)
            return
        if others := [other for other in held if other != model]:
            raise self._no(f"that would unload {', '.join(others)} too", 409)
        await self._wire.post("/v1/cache/clear", None, CONTROL_TIMEOUT)

    async def habits(self) -> tuple[Habit, ...]:
        cache = await self._cache()
        found = []
        if cache.ttl:
            what = f"it unloads a model that was not asked for {cache.ttl:g} s"
            found.append(Habit(what, "start it with --model-cache-ttl 0"))
        if cache.most:
            what = (
                f"it keeps {cache.most} at most, and drops the one that was not asked for longest"
            )
            found.append(Habit(what, "start it with a --model-cache-size above the number you use"))
        else:
            what = "it loads a model anew for each request"
            found.append(Habit(what, "start it with a --model-cache-size above 0"))
        return tuple(found)

    async def _on_disk(self) -> dict[ModelId, None]:
        """As it was when the first client asked: it looks once."""
        data = (await self._wire.get("/v1/models"))["data"]
        return dict.fromkeys(ModelId(entry["id"].name()) for entry in data)

    async def _cache(self) -> Cache:
        """A model with adapters, or with a draft, is in it once for each: it is one to us."""
        told = await self._wire.get("/v1/cache")
        leave: dict[ModelId, float] = {}
        for entry in told.get("ttl_info") or ():
            model = self._name(entry["key"])
            leave[model] = max(leave.get(model, 0.0), entry["expires_at"].number())
        models = {model: leave.get(model) for model in map(self._name, told["cached_keys"])}
        return Cache(models, told["max_size"].count(), Seconds(told["ttl_seconds"].number()))

    def _name(self, key: Json) -> ModelId:
        found = NAME.search(key.text())
        if found is None:
            raise EngineConfused(
                self.id, "GET /v1/cache", f"a key that names no model: {key.value}"
            )
        try:
            word = ast.literal_eval(found.group(1))
        except (SyntaxError, ValueError) as bad:
            raise EngineConfused(self.id, "GET /v1/cache", "a key that cannot be read") from bad
        return ModelId(Json(self.id, "GET /v1/cache", word, key.where).name())

    def _no(self, why: str, status: int) -> EngineRefused:
        return EngineRefused(self.id, "POST /v1/cache/clear", why, status)
