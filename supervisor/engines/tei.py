"""Text Embeddings Inference (TEI), by Hugging Face: a server that is started for one model."""

from __future__ import annotations

from contextlib import suppress
from typing import ClassVar

from supervisor.core.snapshot import Ability, ModelId, State
from supervisor.core.types import ModelType, by_word

from .adapter import Adapter
from .answer import Json
from .base import Activity, EngineConfused, EngineModel, Identity, Process, Proof
from .gauges import Gauges, gauges
from .serves import Serves, at


class Tei(Adapter):
    """Only its process can be ended: it has no call to load or unload.

    It counts what waits. What is being worked on shows as a request that came and is not done.
    """

    kind: ClassVar[str] = "tei"
    title: ClassVar[str] = "TEI"
    paths: ClassVar[Serves] = at("/v1", "embeddings") | {"rerank": "/rerank"}
    ports: ClassVar[tuple[int, ...]] = (3000,)
    proof: ClassVar[Proof] = Proof.ENGINE
    abilities: frozenset[Ability] = frozenset({Ability.LIST, Ability.IN_FLIGHT})

    async def identify(self) -> Identity | None:
        info = await self._wire.probe("/info")
        if info is None or "router" in info:  # TGI
            return None
        with suppress(EngineConfused):
            if "max_batch_tokens" in info and isinstance(info["model_type"].value, dict):
                return Identity(info["version"].text())
        return None

    async def list(self) -> tuple[EngineModel, ...]:
        info = await self._wire.get("/info")
        length = info.get("max_input_length")
        # Before 1.9 it has no name but that of its weights.
        name = info["served_model_name"] if "served_model_name" in info else info["model_id"]
        return (
            EngineModel(
                id=ModelId(name.name()),
                state=State.LOADED,  # it answers from when its model is loaded
                context=None if length is None else length.count(),
                process=Process(whole=True),
                type=_type(info["model_type"]),
            ),
        )

    async def activity(self, model: EngineModel) -> Activity:
        seen = await gauges(self._wire)
        waiting = _count(seen, "te_queue_size")
        come, done = (_count(seen, f"te_request_{which}") for which in ("count", "success"))
        # One that failed, or hung up, is never done: then it cannot tell, and only the mark does.
        return Activity(waiting or (0 if come <= done else None), mark=f"{come}/{done}")


def _count(seen: Gauges, name: str) -> int:
    """0 where it is not there: it appears when it first counts."""
    found = seen.total(name)
    return int(found) if found is not None and 0 <= found < 2**53 else 0


def _type(told: Json) -> ModelType | None:
    """{"embedding": …}, {"reranker": …} or {"classifier": …}."""
    return next((type for word in ("reranker", "classifier", "embedding")
                 if word in told and (type := by_word(word))), None)  # fmt: skip
