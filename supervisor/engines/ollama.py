"""Ollama. Many servers imitate its API, with sizes that are made up: see `identify`."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from typing import Any, ClassVar

import httpx

from collectors.reading import NONE, Bytes, gib
from supervisor.config.forms import is_loopback
from supervisor.core.header import UNTOLD, Header, Setup
from supervisor.core.snapshot import Ability, ModelId, State
from supervisor.headers import gguf
from supervisor.units import format_seconds

from . import slots
from .adapter import Adapter
from .answer import Json
from .base import (
    LOAD_TIMEOUT,
    Activity,
    EngineConfused,
    EngineError,
    EngineModel,
    EngineRefused,
    Habit,
    Identity,
    Process,
    Proof,
    WhenBusy,
)
from .serves import OLLAMA, Serves, at
from .wire import CONTROL_TIMEOUT, Wire

NEVER = 2200  # a keep-alive of -1 is written as the longest time that Go knows, some 292 years
# The context of whoever is not told one, by the memory of the accelerators: so its documentation.
TIERS = ((NONE, 4096), (gib(24), 32_768), (gib(48), 262_144))
FRACTION = re.compile(r"(\.\d{6})\d+")
DIGEST = re.compile(r"[0-9a-f]{64}")
# What the imitators answer on paths that Ollama does not have: path, and a member of the answer.
IMITATORS = (
    ("/lmstudio-greeting", "lmstudio"),
    ("/.well-known/localai.json", "endpoints"),
    ("/system", "backends"),  # LocalAI before 4.1.1
    ("/.well-known/serviceinfo", "software"),  # KoboldCpp, TabbyAPI
    ("/engines/status", "llama.cpp"),  # Docker Model Runner
    ("/api/v1/health", "all_models_loaded"),  # Lemonade
    ("/props", "default_generation_settings"),  # llama-server
    ("/server_info", "internal_states"),  # SGLang
    ("/get_server_info", "internal_states"),  # older SGLang
)


class Ollama(Adapter):
    """It does not say what it is working on: a model's expiry moves when a request ends. Since 0.30
    its children are llama-servers, which tell anybody on this machine (unverified)."""

    kind: ClassVar[str] = "ollama"
    title: ClassVar[str] = "Ollama"
    paths: ClassVar[Serves] = at(
        "/v1", "chat completions embeddings responses images edits transcriptions messages"
    ) | at("/api", OLLAMA)
    ports: ClassVar[tuple[int, ...]] = (11434,)
    proof: ClassVar[Proof] = Proof.PROCESS
    when_busy: ClassVar[WhenBusy] = WhenBusy.WAITS
    lists_loads: ClassVar[bool] = True
    abilities: frozenset[Ability] = frozenset(
        {Ability.LIST, Ability.LOAD, Ability.UNLOAD, Ability.BYTES}
    )

    sometimes: ClassVar[frozenset[Ability]] = frozenset({Ability.IN_FLIGHT})

    def _begin(self, key: str | None, options: Any) -> None:
        self._children = slots.Children(self.id)
        # What it tells of each model, by the digest of its manifest.
        self._shown: dict[str, _Shown] = {}
        self._silent: set[str] = set()  # of these it tells nothing

    async def identify(self) -> Identity | None:
        """Since 0.16 /api/status tells; before that, whoever imitates it must give itself away."""
        answer = await self._wire.probe("/api/version")
        version = _member(answer, "version")
        if not isinstance(version, str) or _member(answer, "ullage") is not None:  # our gateway
            return None
        cloud = _member(await self._wire.probe("/api/status"), "cloud")
        if isinstance(cloud, dict):
            return Identity(version)
        ps, tags = await asyncio.gather(*(self._wire.probe(p) for p in ("/api/ps", "/api/tags")))
        if not (_genuine(ps) and _genuine(tags)):
            return None
        answers = await asyncio.gather(*(self._wire.probe(path) for path, _ in IMITATORS))
        for (_, member), other in zip(IMITATORS, answers, strict=True):
            if _member(other, member) is not None:
                return None
        return Identity(version)

    async def list(self) -> tuple[EngineModel, ...]:
        tags, loaded = await asyncio.gather(self._entries("/api/tags"), self._entries("/api/ps"))
        installed = {_canonical(_name(e)): e for e in tags if "remote_host" not in e}
        running = {_canonical(_name(e)): e for e in loaded if "remote_host" not in e}
        digests = {e["digest"].text(): e for e in (*installed.values(), *running.values())}
        self._shown = {d: shown for d, shown in self._shown.items() if d in digests}
        self._silent &= digests.keys()
        # It reads the file for that, so of those that are only installed one is asked at a time.
        new = (d for d in digests if d not in self._shown and d not in self._silent)
        if (digest := next(new, None)) is not None and await self._show(digests[digest]) is None:
            self._silent.add(digest)
        models: list[EngineModel] = []
        for name in sorted(installed | running):
            on_disk, in_memory = installed.get(name), running.get(name)
            size = None if on_disk is None else on_disk["size"].size()
            if in_memory is not None:
                models.append(await self._loaded(in_memory, size))
            elif on_disk is not None:
                shown = self._shown.get(on_disk["digest"].text(), _Shown())
                idle = EngineModel(_name(on_disk), file_size=size, setup=shown.setup)
                models.append(replace(idle, header=shown.header(size)))
        files = {m.weights for m in models if m.weights is not None}
        told = is_loopback(httpx.URL(self.url).host) and await self._children.look(files)
        self.abilities = type(self).abilities | (self.sometimes if told else frozenset())
        return tuple(models)

    async def activity(self, model: EngineModel) -> Activity:
        """By the word of its child. One that cannot be asked says nothing, and is not an error."""
        port = None if model.weights is None else self._children.port_of(model.weights)
        if model.weights is None or port is None:
            return await super().activity(model)
        child = Wire(self.id, f"http://127.0.0.1:{port}", self._wire.client)
        try:
            seen = slots.activity(await child.get("/slots"))
        except EngineError:
            self._children.forget(model.weights)
            return await super().activity(model)
        return replace(seen, mark=f"{model.mark} {seen.mark}")

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        """Returns when it is done. Closing the connection before that ends the load."""
        body = {"model": model, "stream": False}
        try:
            await self._wire.post("/api/generate", body, LOAD_TIMEOUT)
        except EngineRefused as no:
            if no.status != 400 or "does not support generate" not in no.message:
                raise
            # It makes embeddings and nothing else.
            await self._wire.post("/api/embed", {"model": model}, LOAD_TIMEOUT)

    async def unload(self, model: ModelId) -> None:
        """Answered at once; the model leaves when it has no more requests in flight.

        This call and no other: /api/embed with the same words first loads the model.
        """
        body = {"model": model, "keep_alive": 0, "stream": False}
        await self._wire.post("/api/generate", body, CONTROL_TIMEOUT)

    async def habits(self) -> tuple[Habit, ...]:
        """A keep-alive counts from the end of each request, and a client's own comes first."""
        remedy = "start Ollama with OLLAMA_KEEP_ALIVE=-1, and let clients send no keep_alive"
        found = []
        for entry in await self._entries("/api/ps"):
            if "remote_host" not in entry and (at := _expiry(entry)) is not None:
                left = format_seconds(max(0.0, at - time.time()))
                what = f"unloads it in {left} unless it is used, whether or not room is needed"
                found.append(Habit(what, remedy, _name(entry)))
        return tuple(found)

    async def _entries(self, path: str) -> tuple[Json, ...]:
        return tuple((await self._wire.get(path))["models"])

    async def _loaded(self, entry: Json, file_size: Bytes | None) -> EngineModel:
        reported = _some(entry, "size")
        shown = await self._show(entry)
        source = None if shown is None else shown.source
        expiry = entry.get("expires_at")
        return EngineModel(
            id=_name(entry),
            state=State.LOADED,
            reported=reported,
            # 0 is an answer here: it runs on the CPU alone.
            reported_gpu=None
            if reported is None or "size_vram" not in entry
            else entry["size_vram"].size(),
            file_size=file_size,
            weights=source if source is not None and _is_path(source) else None,
            # Up to 0.24 the child is `ollama runner`, since 0.30 llama-server; both say this.
            process=None if source is None else Process(argv=(("--model", source),)),
            mark=None if expiry is None else expiry.text(),
            context=None if (context := entry.get("context_length")) is None else context.count(),
            expires_at=_expiry(entry),
            setup=UNTOLD if shown is None else shown.setup,
            header=None if shown is None else shown.header(file_size),
        )

    async def _show(self, entry: Json) -> _Shown | None:
        digest = entry["digest"].text()
        if digest not in self._shown:
            try:
                answer = await self._wire.post("/api/show", {"model": _name(entry)})
                self._shown[digest] = _shown(answer)
            except (EngineRefused, EngineConfused):
                return None  # removed while loaded: its process stays unknown, the list does not
        return self._shown[digest]


@dataclass(frozen=True, slots=True)
class _Shown:
    """What it tells of one model. `source` is what its child is started with: a blob's path, or
    for an MLX model its name; `values` are what the file's header says, by its own names."""

    source: str | None = None
    setup: Setup = UNTOLD
    values: Mapping[str, Any] = field(default_factory=dict)

    def header(self, size: Bytes | None) -> Header | None:
        """Without the tensors, which it does not tell: the file is hardly more than they are."""
        if size is None or not self.values:
            return None
        try:
            return gguf.told(self.values, size)
        except gguf.Unreadable:
            return None


def _shown(answer: Json) -> _Shown:
    info, said = answer.get("model_info"), answer.get("parameters")
    source = _from(answer["modelfile"].text())
    words = [] if said is None else said.text().split()
    told = dict(pairwise(words)).get("num_ctx", "")
    is_one = told.isdecimal() and len(told) < 12
    context = int(told) if is_one and 0 < int(told) < 2**31 else None
    named = info.value if info is not None and isinstance(info.value, dict) else {}
    values = {part: value for key, value in named.items() if (part := gguf.part_of(key))}
    return _Shown(source, Setup(context=context, tiers=TIERS), values)


def _member(answer: Json | None, key: str) -> object:
    return answer.value.get(key) if answer is not None and isinstance(answer.value, dict) else None


def _genuine(answer: Json | None) -> bool:
    """Every model has a whole digest and a size. No model at all speaks for nobody."""
    models = _member(answer, "models")
    return isinstance(models, list) and all(
        isinstance(m, dict)
        and isinstance(size := m.get("size"), int)
        and size > 0
        and isinstance(digest := m.get("digest"), str)
        and DIGEST.fullmatch(digest) is not None
        for m in models
    )


def _name(entry: Json) -> ModelId:
    return ModelId(entry["name"].name())


def _canonical(name: str) -> str:
    """Without a tag it is :latest. A host before it may have a port: host:5000/org/model."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _some(entry: Json, key: str) -> Bytes | None:
    """A model in memory does not take 0 bytes: that is how "unknown" is written."""
    size = entry.get(key)
    return None if size is None or size.size() == 0 else size.size()


def _expiry(entry: Json) -> float | None:
    """In seconds since 1970; None: never, or it is not said. Go writes nanoseconds."""
    found = entry.get("expires_at")
    if found is None:
        return None
    try:
        at = datetime.fromisoformat(FRACTION.sub(r"\1", found.text()))
        return None if at.year >= NEVER else at.timestamp()
    except (ValueError, OverflowError):
        return None


def _from(modelfile: str) -> str | None:
    """The weights come first; a second FROM is a projector's."""
    for line in modelfile.splitlines():
        word, _, rest = line.partition(" ")
        if word.upper() == "FROM" and (source := rest.strip().strip('"')):
            return source
    return None


def _is_path(source: str) -> bool:
    return source.startswith("/") or source[1:3] == ":\\"
