"""TorchServe, through its management API, which has a port of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote

from collectors.reading import Seconds
from supervisor.core.snapshot import Ability, ModelId, State

from .adapter import Adapter
from .answer import Json
from .base import (
    LOAD_TIMEOUT,
    Checked,
    EngineModel,
    EngineRefused,
    Identity,
    Process,
    Proof,
    WhenBusy,
)
from .wire import CONTROL_TIMEOUT

MODELS = "/models?limit=100000"  # it gives 100 where nobody asks for more

# To describe a worker on a GPU it runs nvidia-smi each time, and waits for that.
GPU_INTERVAL = Seconds(10.0)


@dataclass(frozen=True, slots=True)
class _Version:
    """One version of a model. `ready` are the pids of workers that serve, `begun` of those that
    do not yet; those not born have none. `scale` is how few and how many there shall be."""

    id: str
    scale: tuple[int, int]
    workers: int
    ready: tuple[int, ...]
    begun: tuple[int, ...]
    on_gpu: bool
    waiting: int

    @property
    def settled(self) -> bool:
        return len(self.ready) == self.workers


class TorchServe(Adapter):
    """A model is loaded while it has workers, of any version; without them it stays registered
    and its requests are refused. An unload ends them at once, with what they are doing. Of
    several workers the memory of the first alone is measured. It says how many requests wait,
    not how many are served.
    """

    kind: ClassVar[str] = "torchserve"
    title: ClassVar[str] = "TorchServe"
    ports: ClassVar[tuple[int, ...]] = (8081,)
    proof: ClassVar[Proof] = Proof.PROCESS
    when_busy: ClassVar[WhenBusy] = WhenBusy.CUTS
    checked: ClassVar[Checked] = Checked.SOURCE
    abilities: frozenset[Ability] = frozenset({Ability.LIST, Ability.LOAD, Ability.UNLOAD})

    def _begin(self, key: str | None, options: Any) -> None:
        """`key` is the management key of its key_file.json."""
        self._seen: dict[ModelId, tuple[float, tuple[_Version, ...]]] = {}
        # How many workers each version had, to have as many again.
        self._scales: dict[ModelId, dict[str, tuple[int, int]]] = {}
        self.clock = time.monotonic

    async def identify(self) -> Identity | None:
        about = await self._wire.probe("/api-description")  # the one path that needs no key
        value = about.value if about is not None and isinstance(about.value, dict) else {}
        info, paths = value.get("info"), value.get("paths")
        if not isinstance(info, dict) or info.get("title") != "TorchServe APIs":
            return None
        if not isinstance(paths, dict) or "/models" not in paths:
            why = "this is its inference API: give the URL of its management API, usually port 8081"
            raise EngineRefused(self.id, "GET /api-description", why, 404)
        version = info.get("version")
        return Identity(version if isinstance(version, str) and version else "not told")

    async def list(self) -> tuple[EngineModel, ...]:
        entries = (await self._ask("GET", MODELS))["models"]
        names = sorted({ModelId(entry["modelName"].name()) for entry in entries})
        found = await asyncio.gather(*(self._lately(name) for name in names))
        self._seen = {name: seen for name, seen in self._seen.items() if name in names}
        models = zip(names, found, strict=True)
        return tuple(_model(name, versions) for name, versions in models if versions)

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        """Returns when its workers serve, or have failed to."""
        versions = await self._versions(model)
        if any(version.workers for version in versions):
            return  # there, or on its way
        known = {version.id for version in versions}
        scales = {v: s for v, s in self._scales.get(model, {}).items() if v in known}
        for version, scale in sorted(scales.items()):
            await self._scale(model, version, scale, LOAD_TIMEOUT)
        if not scales:  # never seen with workers: one, of its default version
            await self._scale(model, None, (1, 1), LOAD_TIMEOUT)

    async def unload(self, model: ModelId) -> None:
        for version in await self._versions(model):
            if version.workers or version.scale[0]:
                await self._scale(model, version.id, (0, 0), CONTROL_TIMEOUT)

    async def _scale(
        self, model: ModelId, version: str | None, scale: tuple[int, int], within: Seconds
    ) -> None:
        path = _path(model, version)
        least, most = scale
        query = f"min_worker={least}&max_worker={most}&synchronous=true"
        try:
            await self._ask("PUT", f"{path}?{query}", within)
        finally:
            self._seen.pop(model, None)

    async def _lately(self, model: ModelId) -> tuple[_Version, ...]:
        """What a model looks like; a few seconds old where that is dear. Empty: it is gone."""
        now = self.clock()
        at, versions = self._seen.get(model, (now, ()))
        dear = all(v.settled for v in versions) and any(v.on_gpu for v in versions)
        if dear and now - at < GPU_INTERVAL:
            return versions
        try:
            return await self._versions(model)
        except EngineRefused as no:
            if no.status != 404:
                raise
            return ()

    async def _versions(self, model: ModelId) -> tuple[_Version, ...]:
        began = self.clock()
        answer = await self._ask("GET", _path(model, "all"))
        versions = tuple(_version(entry) for entry in answer)
        self._seen[model] = began, versions
        if scales := {v.id: v.scale for v in versions if v.workers and v.scale[0]}:
            self._scales[model] = scales
        return versions

    async def _ask(self, method: str, path: str, within: Seconds | None = None) -> Json:
        try:
            return await self._wire.call(method, path, None, within)
        except EngineRefused as no:
            if no.status == 400 and "Token Auth" in no.message:  # what others call 401
                raise EngineRefused(no.engine, no.call, no.message, 401) from no
            raise


def _path(model: ModelId, version: str | None) -> str:
    rest = "" if version is None else f"/{quote(version, safe='')}"
    return f"/models/{quote(model, safe='')}{rest}"


def _version(entry: Json) -> _Version:
    workers = tuple(entry["workers"])
    serves = [(w["status"].text() == "READY", w) for w in workers]
    ready, begun = [w for yes, w in serves if yes], [w for yes, w in serves if not yes]
    return _Version(
        id=entry["modelVersion"].name(),
        scale=(entry["minWorkers"].count(), entry["maxWorkers"].count()),
        workers=len(workers),
        ready=_pids(ready),
        begun=_pids(begun),
        on_gpu=any(w["gpu"].flag() for w in workers),
        waiting=entry["jobQueueStatus"]["pendingRequests"].count(),
    )


def _pids(workers: Sequence[Json]) -> tuple[int, ...]:
    """-1 until its process has said who it is."""
    return tuple(int(pid) for w in workers if (pid := w["pid"].number()) > 0)


def _model(name: ModelId, versions: Sequence[_Version]) -> EngineModel:
    ready = [pid for version in versions for pid in version.ready]
    begun = [pid for version in versions for pid in version.begun]
    if not any(version.workers for version in versions):
        return EngineModel(name)
    pids = tuple(ready + begun)
    return EngineModel(
        name,
        State.LOADED if ready else State.LOADING,
        process=Process(pid=pids[0], more=pids[1:]) if pids else None,
        mark=",".join(str(version.waiting) for version in versions),
    )
