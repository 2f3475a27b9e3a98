"""Infinity: a server of embeddings, which is started for one model or several."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar

from supervisor.core.snapshot import Ability, ModelId, State
from supervisor.core.types import ModelType, by_word

from .adapter import Adapter
from .answer import Json
from .base import Activity, EngineConfused, EngineModel, EngineRefused, Identity, Process, Proof
from .gauges import gauges
from .serves import Serves, at


class Infinity(Adapter):
    """Only its process can be ended: it has no call to load or unload.

    It counts what waits and not what is being worked on, which shows in the count of answers, of
    all its models together: while that moves, it cannot tell.
    """

    kind: ClassVar[str] = "infinity"
    title: ClassVar[str] = "Infinity"
    paths: ClassVar[Serves] = at("", "embeddings rerank")
    ports: ClassVar[tuple[int, ...]] = (7997,)
    proof: ClassVar[Proof] = Proof.ENGINE
    abilities: frozenset[Ability] = frozenset({Ability.LIST, Ability.IN_FLIGHT})

    def _begin(self, key: str | None, options: Any) -> None:
        self._answered: dict[ModelId, str | None] = {}  # at the last look at each model

    async def identify(self) -> Identity | None:
        # /models alone would do, but a llama-server that loads refuses it.
        if (described := await self._wire.probe("/openapi.json")) is None:
            return None
        with suppress(EngineConfused):
            about = described["info"]
            if "Infinity" not in about["title"].text():
                return None
            models = await self._wire.probe("/models")
            if models is not None and all(
                e["owned_by"].text() == "infinity" for e in models["data"]
            ):
                return Identity(about["version"].text())
        return None

    async def list(self) -> tuple[EngineModel, ...]:
        entries = await self._entries()
        alone = Process(whole=True) if len(entries) == 1 else None
        return tuple(
            EngineModel(_id(e), State.LOADED, process=alone, type=_type(e)) for e in entries
        )

    async def activity(self, model: EngineModel) -> Activity:
        entries = await self._entries()
        stats = next((e["stats"] for e in entries if _id(e) == model.id), None)
        answered = await self._answers()
        moved = answered != self._answered.get(model.id, answered)
        self._answered[model.id] = answered
        if stats is None:
            return Activity(in_flight=None, mark=answered)
        # Older ones count under `results_pending` what waits as well; newer ones always say 0.
        counts = [stats.get(name) for name in ("queue_absolute", "results_pending")]
        waiting = max((n.count() for n in counts if n is not None), default=0)
        return Activity(waiting or (None if moved else 0), mark=answered)

    async def _entries(self) -> tuple[Json, ...]:
        return tuple((await self._wire.get("/models"))["data"])

    async def _answers(self) -> str | None:
        """How many requests for work it has answered. None: not told, as below a prefix."""
        try:
            seen = await gauges(self._wire)
        except (EngineRefused, EngineConfused):
            return None
        answered = seen.total("http_requests_total", method="POST")
        return None if answered is None else str(answered)


def _id(entry: Json) -> ModelId:
    return ModelId(entry["id"].name())


def _type(entry: Json) -> ModelType | None:
    """The first of what it can do that is known: embed, rerank, classify."""
    can = entry.get("capabilities")
    words = () if can is None else can.texts()
    return next((type for word in sorted(words) if (type := by_word(word))), None)
