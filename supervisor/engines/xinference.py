"""Xinference: a supervisor that answers, and workers that hold each model in its own processes."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import quote

from collectors.reading import Bytes
from supervisor.core.snapshot import Ability, ModelId, State

from .adapter import Adapter
from .answer import Json
from .base import (
    LOAD_TIMEOUT,
    EngineConfused,
    EngineError,
    EngineModel,
    EngineRefused,
    Identity,
    WhenBusy,
)
from .gauges import Gauges, gauges
from .serves import HEARD, IMAGES, Serves, at
from .wire import CONTROL_TIMEOUT

UNDER_WAY = ("CREATING", "LOADING", "UPDATING")
ON_ITS_WAY_OUT = ("TERMINATING", "TERMINATED", "ERROR")
LAUNCH = ("model_type", "model_engine", "model_format", "quantization")
BYTES = "xinference:model_gpu_memory_used_bytes"
COUNTERS = ("requests_total_counter", "responses_total_counter")
VERSION = re.compile(r'^xinference:build_info\{(?:[^}\n]*,)?version="([^"\n]+)"', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Spec:
    """A model that can be launched, and what is known of how. Of what is no LLM, its cache has
    nothing but the name. `size` is in billions: 8, or "0_5"."""

    name: str
    format: str | None
    size: int | str | None
    quantization: str | None
    launch: Mapping[str, Any] = field(compare=False)


class Xinference(Adapter):
    """A load is answered when it is done; an unload cuts its requests, and ends with the model.

    It does not say which engine an LLM ran on, nor its further options: it is loaded with the
    defaults on the one engine that is installed for it, or refused. Bytes are NVML's, up to 20 s
    old, and of accelerators only. Requests in flight are told on a worker's port that it does
    not name. A cluster's other machines are taken for this one.
    """

    kind: ClassVar[str] = "xinference"
    title: ClassVar[str] = "Xinference"
    paths: ClassVar[Serves] = at(
        "/v1", f"chat completions embeddings rerank messages speech {IMAGES} {HEARD}"
    )
    ports: ClassVar[tuple[int, ...]] = (9997,)
    when_busy: ClassVar[WhenBusy] = WhenBusy.CUTS
    abilities: frozenset[Ability] = frozenset(
        {Ability.LIST, Ability.LOAD, Ability.UNLOAD, Ability.BYTES}
    )

    def _begin(self, key: str | None, options: Any) -> None:
        # By the names that they were launched under: there clients look for them again.
        self._launched: dict[ModelId, Spec] = {}
        self._named: dict[ModelId, Spec] = {}  # and what was never seen launched

    async def identify(self) -> Identity | None:
        """`auth` is told to everybody, the version to an administrator, or by the metrics."""
        auth = _object(await self._wire.probe("/v1/cluster/auth"))
        if auth.keys() != {"auth"} or not isinstance(auth["auth"], bool):
            return None
        try:
            version = _object(await self._wire.probe("/v1/cluster/version")).get("version")
        except EngineRefused as no:
            if no.status not in (401, 403):
                raise
            return Identity(_version(await self._metrics()))
        return Identity(version) if isinstance(version, str) and version else None

    async def list(self) -> tuple[EngineModel, ...]:
        running, statuses, cached, told = await asyncio.gather(
            self._running(), self._statuses(), self._cached(), self._metrics()
        )
        lacks = {Ability.LOAD} if cached is None else set()
        lacks |= {Ability.BYTES} if told is None else set()
        self.abilities = type(self).abilities - lacks
        stored = cached or {}
        self._launched = {m: s for m, s in self._launched.items() if s in stored} | running
        self._named = _names(stored, self._launched)
        mark = None if told is None else _mark(told)
        held = {m: _held(m, statuses.get(m), told, mark) for m in running}
        for model, status in statuses.items():
            if status in UNDER_WAY:
                held.setdefault(model, EngineModel(model, State.LOADING))
        idle = [EngineModel(m) for m in self._named | self._launched if m not in held]
        return (*held.values(), *idle)

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        found = next((m for m in await self.list() if m.id == model), None)
        if found is None:
            raise self._no(f"its cache has no model {model}", 404)
        if found.state is State.UNKNOWN:
            raise self._no(f"{model} is being stopped, or has failed", 409)
        if found.state is not None:
            return  # a launch that meets a model of its name would take that one down with it
        body = await self._launch(model, (self._named | self._launched)[model])
        await self._wire.post("/v1/models", body, LOAD_TIMEOUT)

    async def unload(self, model: ModelId) -> None:
        path = f"/v1/models/{quote(model, safe='')}"
        try:
            await self._wire.call("DELETE", path, None, CONTROL_TIMEOUT)
        except EngineRefused as no:
            if no.status != 400 or "not found" not in no.message:
                raise
            if model not in {m.id for m in await self.list() if m.state is None}:
                raise

    async def _running(self) -> dict[ModelId, Spec]:
        data = (await self._wire.get("/v1/models"))["data"]
        return {ModelId(entry["id"].name()): _spec(entry) for entry in data}

    async def _statuses(self) -> dict[ModelId, str]:
        """Of all that are launched, or were and failed."""
        try:
            found = await self._wire.get("/v1/models/instances")
        except EngineRefused as no:
            if no.status not in (400, 404):  # older ones take that for a model's name
                raise
            return {}
        return {ModelId(i["model_uid"].name()): i["status"].text() for i in found}

    async def _cached(self) -> dict[Spec, str] | None:
        """What is on its disks, and how each is called there. None: this key may not see it."""
        try:
            found = await self._wire.get("/v1/cache/models")
        except EngineRefused as no:
            if no.status not in (401, 403, 404):
                raise
            return None
        return {_spec(entry): _some(entry, "model_version") or "" for entry in found["list"]}

    async def _metrics(self) -> Gauges | None:
        """They can be switched off; nothing but numbers depends on them."""
        try:
            return await gauges(self._wire)
        except EngineError:
            return None

    async def _launch(self, model: ModelId, spec: Spec) -> dict[str, Any]:
        """The body that launches it. Raises EngineRefused: more would have to be told."""
        kind = spec.launch.get("model_type") or (None if spec.size is None else "LLM")
        if kind is None:
            raise self._no(f"it does not say what type of model {model} is: launch it there", 400)
        body = {"model_uid": model, "model_type": kind, **spec.launch}
        if kind == "LLM":
            body["model_engine"] = await self._engine_for(spec)
        return body

    async def _engine_for(self, spec: Spec) -> str:
        """The only engine that is installed and can run it."""
        path = f"/v1/engines/LLM/{quote(spec.name, safe='')}?enable_virtual_env=false"
        answer = await self._wire.get(path)
        if not isinstance(answer.value, dict):
            raise EngineConfused(self.id, "GET /v1/engines", "expected an object of engines")
        fits: list[str] = [
            name
            for name, entries in sorted(answer.value.items())
            if isinstance(entries, list) and any(_fits(entry, spec) for entry in answer[name])
        ]
        if len(fits) != 1:
            runs = f"{' or '.join(fits)} could run it" if fits else "no installed engine runs it"
            raise self._no(f"{runs}, and it does not say which one did: launch it there", 400)
        return fits[0]

    def _no(self, why: str, status: int) -> EngineRefused:
        return EngineRefused(self.id, "POST /v1/models", why, status)


def _held(model: ModelId, status: str | None, told: Gauges | None, mark: str | None) -> EngineModel:
    state = State.LOADING if status in UNDER_WAY else State.LOADED
    state = State.UNKNOWN if status in ON_ITS_WAY_OUT else state
    total = _total(told, BYTES, model_uid=model)
    size = Bytes(int(total)) if 0 < total < 2**63 else None
    return EngineModel(model, state, reported=size, reported_gpu=size, mark=mark)


def _names(stored: Mapping[Spec, str], launched: Mapping[ModelId, Spec]) -> dict[ModelId, Spec]:
    """Names for the others: as a launch without a name would call them, or by their version
    where that is taken."""
    once = Counter(spec.name for spec in stored)
    there = set(launched.values())
    fresh = [spec for spec in stored if spec not in there]
    return {
        ModelId(spec.name if once[spec.name] == 1 and spec.name not in launched else version): spec
        for spec in fresh
        if (version := stored[spec] or spec.name)
    }


def _spec(entry: Json) -> Spec:
    name = (entry.get("model_name") or entry["id"]).name()
    size = entry.get("model_size_in_billions")
    billions = None if size is None else size.value if isinstance(size.value, int) else size.text()
    told = {key: _some(entry, key) for key in LAUNCH}
    known: dict[str, Any] = {key: value for key, value in told.items() if value is not None}
    if billions is None:
        return Spec(name, None, None, None, {"model_name": name, **known})
    launch = {"model_name": name, "model_size_in_billions": billions, **known}
    return Spec(name, told["model_format"], billions, told["quantization"], launch)


def _some(entry: Json, key: str) -> str | None:
    found = entry.get(key)
    return None if found is None else found.text()


def _fits(entry: Json, spec: Spec) -> bool:
    asked = (spec.format, spec.size)
    told = (_some(entry, "model_format"), entry["model_size_in_billions"].value)
    return told == asked and spec.quantization in entry["quantizations"].texts()


def _mark(told: Gauges) -> str:
    """It counts requests, and answers begun, but not for each model: whose work is unknown."""
    launches = {"method": "POST", "path": "/v1/models"}
    counts = (_total(told, c, method="POST") - _total(told, c, **launches) for c in COUNTERS)
    return "/".join(f"{count:.0f}" for count in counts)


def _total(told: Gauges | None, name: str, **labels: str) -> float:
    """0 where there is none, or none that can be read."""
    try:
        return (told.total(name, **labels) if told is not None else None) or 0.0
    except EngineConfused:
        return 0.0


def _version(told: Gauges | None) -> str:
    found = None if told is None else VERSION.search(told.text)
    return "not told" if found is None else found.group(1)


def _object(answer: Json | None) -> dict[str, Any]:
    return answer.value if answer is not None and isinstance(answer.value, dict) else {}
