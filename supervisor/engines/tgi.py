"""Text Generation Inference (TGI), by Hugging Face: a server that is started for one model."""

from __future__ import annotations

from contextlib import suppress
from typing import ClassVar

from supervisor.core.snapshot import Ability, ModelId, State

from .adapter import Adapter
from .answer import Json
from .base import Activity, EngineConfused, EngineModel, Identity, Process, Proof
from .gauges import Gauges, gauges
from .serves import Serves, at

ROUTER = "text-generation-"  # and "router", or the name of what it has been built into


class Tgi(Adapter):
    """Only its process can be ended: it has no call to load or unload. What we ask needs no key.

    A prompt that is being read, alone, is in neither of its counts of requests.
    """

    kind: ClassVar[str] = "tgi"
    title: ClassVar[str] = "TGI"
    paths: ClassVar[Serves] = at("/v1", "chat completions")
    ports: ClassVar[tuple[int, ...]] = (3000,)
    proof: ClassVar[Proof] = Proof.ENGINE
    abilities: frozenset[Ability] = frozenset({Ability.LIST, Ability.IN_FLIGHT})

    async def identify(self) -> Identity | None:
        if (info := await self._wire.probe("/info")) is None:
            return None
        with suppress(EngineConfused):
            if _is_tgi(info):
                return Identity(info["version"].text())
        return None

    async def list(self) -> tuple[EngineModel, ...]:
        info = await self._wire.get("/info")
        length = info.get("max_total_tokens")
        return (
            EngineModel(
                id=ModelId(info["model_id"].name()),
                state=State.LOADED,  # it answers from when its model is loaded
                context=None if length is None else length.count(),
                process=Process(whole=True),
            ),
        )

    async def activity(self, model: EngineModel) -> Activity:
        seen = await gauges(self._wire)
        count = _sum(seen, "tgi_queue_size", "tgi_batch_current_size")
        come = _sum(seen, "tgi_request_count")
        done = _sum(seen, "tgi_request_success", "tgi_request_failure")
        # One that hung up is never done: then it cannot tell, and only the mark does.
        return Activity(count or (0 if come <= done else None), mark=f"{come}/{done}")


def _is_tgi(info: Json) -> bool:
    router = info.get("router")
    if router is None:  # before 2.0.3
        return "max_best_of" in info and "model_id" in info
    return router.text().startswith(ROUTER)


def _sum(seen: Gauges, *names: str) -> int:
    """0 where there is none: each of them appears when it first counts."""
    found = (seen.total(name) for name in names)
    return sum(int(n) for n in found if n is not None and 0 <= n < 2**53)
