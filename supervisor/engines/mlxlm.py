"""mlx_lm.server: one process, and one model at a time, on Apple silicon."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from collectors.reading import Seconds
from supervisor.core.snapshot import Ability, ModelId, State

from .adapter import Adapter
from .base import EngineModel, Identity, Process, Proof, WhenBusy
from .serves import Serves, at

# It lists its models on every path that begins so; others say that there is no such model.
NOWHERE = "/v1/models/ullage/no-such-model"
ENTRY = {"id", "object", "created"}
SERVER = ModelId("mlx_lm.server")

# For its list it looks through all that is on disk, in the process that computes.
LOOK_INTERVAL = Seconds(60.0)


class MlxLm(Adapter):
    """It lists what is on disk and never says what is loaded: a request loads its model in the
    place of the one before. So whatever it holds is one model, called `mlx_lm.server`, which is
    there as long as the server is. Nothing unloads it but its end."""

    kind: ClassVar[str] = "mlxlm"
    title: ClassVar[str] = "mlx_lm.server"
    paths: ClassVar[Serves] = at("/v1", "chat completions")
    ports: ClassVar[tuple[int, ...]] = (8080,)
    proof: ClassVar[Proof] = Proof.PROCESS
    when_busy: ClassVar[WhenBusy] = WhenBusy.CUTS
    abilities: frozenset[Ability] = frozenset({Ability.LIST})

    def _begin(self, key: str | None, options: Any) -> None:
        self._on_disk: tuple[ModelId, ...] = ()
        self._looked_at: float | None = None

    async def identify(self) -> Identity | None:
        # First, for an SGLang that is asked for its health generates a token.
        anything = await self._wire.probe(NOWHERE)
        listed = anything.value if anything is not None else None
        if not isinstance(listed, dict) or listed.get("object") != "list":
            return None
        entries = listed.get("data")
        if not isinstance(entries, list):
            return None
        if not all(isinstance(entry, dict) and entry.keys() == ENTRY for entry in entries):
            return None
        health = await self._wire.probe("/health")
        known = health is not None and health.value == {"status": "ok"}
        return Identity("not told") if known else None

    async def list(self) -> tuple[EngineModel, ...]:
        now = asyncio.get_running_loop().time()
        if self._looked_at is None or now - self._looked_at >= LOOK_INTERVAL:
            entries = (await self._wire.get("/v1/models"))["data"]
            self._on_disk = tuple(dict.fromkeys(ModelId(entry["id"].name()) for entry in entries))
            self._looked_at = now
        else:
            (await self._wire.get("/health"))["status"].text()
        held = EngineModel(SERVER, State.LOADED, process=Process(whole=True))
        return (held, *(EngineModel(model) for model in self._on_disk))
