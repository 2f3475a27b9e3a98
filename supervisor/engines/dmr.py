"""Docker Model Runner: one runner, a process of its own, for each model and what it is used for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from collectors.reading import Bytes, Seconds
from supervisor.core.snapshot import Ability, ModelId, State

from .adapter import Adapter
from .answer import Json
from .base import (
    LOAD_TIMEOUT,
    Activity,
    Checked,
    EngineModel,
    EngineRefused,
    Habit,
    Identity,
    Process,
    Proof,
    WhenBusy,
)
from .serves import MESSAGES, TEXT, Serves, at
from .wire import CONTROL_TIMEOUT

BACKENDS = frozenset({"llama.cpp", "vllm", "vllm-metal", "mlx", "sglang", "diffusers"})
IDLE = "5 minutes"  # unless a keep-alive is configured; in Docker's own cloud, 8 hours
CHAT = "/v1/chat/completions"
PRELOAD = {"X-Preload-Only": "true"}  # the same call without it would be a request for work
PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(h|ms|m|s)")
PARTS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3}
SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?([kKMGT]?)(i?)B")
ID = re.compile(r"(?:sha256:)?([0-9a-f]{12}|[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class _Installed:
    name: ModelId
    digest: str  # "sha256:…"
    known_as: frozenset[str]  # whole references
    size: Bytes | None
    serves: str  # the path that its requests go to

    def goes_by(self, name: str) -> bool:
        if (short := ID.fullmatch(name)) is not None:
            return self.digest.removeprefix("sha256:").startswith(short[1])
        return _whole(name) in self.known_as

    @property
    def names(self) -> tuple[str, ...]:
        """All by which it goes, as `_plain` writes them."""
        id = self.digest.removeprefix("sha256:")
        return (*self.known_as, id, id[:12])

    def among(self, runners: Iterable[_Runner]) -> list[_Runner]:
        return [r for r in runners if self.goes_by(r.model)]


@dataclass(frozen=True, slots=True)
class _Runner:
    backend: str
    model: str  # as whoever asked for it wrote it
    last_used: str
    keep_alive: str | None
    in_use: bool
    loading: bool


class DockerModelRunner(Adapter):
    """It says that a runner is in use, not by how many: that counts as one request. An unload
    answers when the runner has ended, and passes without a word over one that is in use or is
    loading. Made after the source of 1.2.6; what a real one does was not seen."""

    kind: ClassVar[str] = "dmr"
    title: ClassVar[str] = "Docker Model Runner"
    paths: ClassVar[Serves] = (
        at("/engines/v1", f"{TEXT} images")
        | {"rerank": "/engines/rerank"}
        | at("/anthropic/v1", MESSAGES)
        | at("/api", "ollama_chat generate show")
    )
    ports: ClassVar[tuple[int, ...]] = (12434,)
    proof: ClassVar[Proof] = Proof.PROCESS
    when_busy: ClassVar[WhenBusy] = WhenBusy.REFUSES
    checked: ClassVar[Checked] = Checked.SOURCE
    abilities: frozenset[Ability] = frozenset(
        {Ability.LIST, Ability.LOAD, Ability.UNLOAD, Ability.IN_FLIGHT}
    )

    _known: tuple[_Installed, ...] = ()  # as they were listed last

    async def identify(self) -> Identity | None:
        status = await self._wire.probe("/engines/status")
        if status is None or not isinstance(status.value, dict):
            return None
        words = status.value
        if not words.keys() & BACKENDS or not all(isinstance(w, str) for w in words.values()):
            return None
        answer = await self._wire.probe("/version")  # since 2026-02
        told = answer.value.get("version") if answer and isinstance(answer.value, dict) else None
        return Identity(told if isinstance(told, str) and told else "not told")

    async def list(self) -> tuple[EngineModel, ...]:
        installed, runners = await asyncio.gather(self._installed(), self._runners())
        self._known = installed
        known = {name: one for one in reversed(installed) for name in one.names}
        of: dict[str, list[_Runner]] = {}
        for runner in runners:
            one = known.get(_plain(runner.model))
            of.setdefault(runner.model if one is None else one.digest, []).append(runner)
        models = [_model(one.name, one, of.pop(one.digest, [])) for one in installed]
        # Those whose last tag was taken away while they were loaded.
        return (*models, *(_model(ModelId(name), None, of[name]) for name in sorted(of)))

    async def activity(self, model: EngineModel) -> Activity:
        one, runners = _find(model.id, self._known), await self._runners()
        own = [r for r in runners if r.model == model.id] if one is None else one.among(runners)
        return Activity(sum(r.in_use for r in own), _mark(own)) if own else Activity(None)

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        """Returns when it is done. Closing the connection before that ends the load."""
        one = _find(model, await self._installed())
        path = CHAT if one is None else one.serves
        await self._wire.text("POST", f"/engines{path}", {"model": model}, LOAD_TIMEOUT, PRELOAD)

    async def unload(self, model: ModelId) -> None:
        call = "POST /engines/unload"
        one = _find(model, await self._installed())
        if one is None:  # would be answered like one that is not loaded
            raise EngineRefused(self.id, call, f"there is no model {model}", 404)
        await self._wire.post("/engines/unload", {"models": [model]}, CONTROL_TIMEOUT)
        for runner in one.among(await self._runners()):
            if runner.in_use or runner.loading:
                why = "in use" if runner.in_use else "still loading"
                raise EngineRefused(self.id, call, f"{model} is {why}: it was passed over", 409)

    async def habits(self) -> tuple[Habit, ...]:
        installed, runners = await asyncio.gather(self._installed(), self._runners())
        found = []
        for runner in runners:
            one = _find(runner.model, installed)
            name = ModelId(runner.model) if one is None else one.name
            what = f"unloads {name} when it has had no request for {runner.keep_alive or IDLE}"
            if not (runner.keep_alive or "").startswith("-"):
                remedy = f"docker model configure --keep-alive=-1 {name}"
                found.append(Habit(what, remedy, name))
        return tuple(dict.fromkeys(found))

    async def _installed(self) -> tuple[_Installed, ...]:
        return tuple(_entry(entry) for entry in await self._wire.get("/models"))

    async def _runners(self) -> tuple[_Runner, ...]:
        return tuple(_runner(entry) for entry in await self._wire.get("/engines/ps"))


def _plain(name: str) -> str:
    short = ID.fullmatch(name)
    return _whole(name) if short is None else short[1]


def _find(name: str, installed: Iterable[_Installed]) -> _Installed | None:
    return next((one for one in installed if one.goes_by(name)), None)


def _entry(entry: Json) -> _Installed:
    digest, tags = entry["id"].name(), entry.get("tags")
    names = () if tags is None else tuple(tag.name() for tag in tags)
    config = entry.get("config")
    return _Installed(
        # Docker Hub goes without saying, as in what its users write.
        ModelId(names[0].removeprefix("docker.io/") if names else digest),
        digest,
        frozenset(map(_whole, names)),
        None if config is None else _size(config),
        _serves(names, config),
    )


def _serves(names: Iterable[str], config: Json | None) -> str:
    """What a model is for is not told: a runner started for the wrong use is one too many."""
    kind = _text(config, "architecture").lower()
    words = " ".join((*names, kind)).lower()
    if _text(config, "format") == "diffusers":
        return "/v1/images/generations"
    if "rerank" in words:
        return "/rerank"
    return "/v1/embeddings" if "embed" in words or kind.endswith("bert") else CHAT


def _text(config: Json | None, key: str) -> str:
    found = None if config is None else config.get(key)
    return "" if found is None else found.text()


def _size(config: Json) -> Bytes | None:
    """Of its files, which is written for people: "256.35 MiB", "2.3GB"."""
    if (found := SIZE.fullmatch(_text(config, "size"))) is None:
        return None
    number, unit, binary = found.groups()
    power = "KMGT".index(unit.upper()) + 1 if unit else 0
    return Bytes(int(float(number) * (1024 if binary else 1000) ** power)) or None


def _runner(entry: Json) -> _Runner:
    keep = entry.get("keep_alive")
    return _Runner(
        _text(entry, "backend_name"),
        entry["model_name"].name(),
        _text(entry, "last_used"),
        None if keep is None else keep.text(),
        # Left out where they are false.
        "in_use" in entry and entry["in_use"].flag(),
        "loading" in entry and entry["loading"].flag(),
    )


def _model(name: ModelId, one: _Installed | None, runners: Sequence[_Runner]) -> EngineModel:
    size = None if one is None else one.size
    if not runners:
        return EngineModel(name, file_size=size)
    ready = [r for r in runners if not r.loading]
    first = (ready or runners)[0]
    keep = _seconds(first.keep_alive or "")
    at = _instant(first.last_used) if len(runners) == 1 else None
    return EngineModel(
        name,
        State.LOADED if ready else State.LOADING,
        file_size=size,
        process=None if one is None else _process(first.backend, one.digest),
        mark=_mark(runners),
        keep_alive=keep,
        expires_at=None if at is None or keep is None else at + keep,
    )


def _process(backend: str, digest: str) -> Process:
    """A model in one file, in the container that Docker Engine starts, lies at this path. Of
    other packings and places the path is not told, and the process is not found."""
    if backend == "llama.cpp":
        path = f"/models/bundles/{digest.replace(':', '/')}/model/model.gguf"
        return Process(argv=(("--model", path),))
    return Process(argv=(("--served-model-name", digest),))


def _mark(runners: Iterable[_Runner]) -> str:
    return ",".join(r.last_used for r in runners)


def _whole(name: str) -> str:
    """A reference with all that goes without saying: docker.io, ai and :latest."""
    path, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "")
    path = path.lower()
    if path.startswith("hf.co/"):
        path = f"huggingface.co/{path.removeprefix('hf.co/')}"
    host, slash, _ = path.partition("/")
    if not slash:
        path = f"docker.io/ai/{path}"
    elif "." not in host and ":" not in host:
        path = f"docker.io/{path}"
    return f"{path}:{tag or 'latest'}"


def _instant(text: str) -> float | None:
    """Seconds since 1970. While a runner loads or works, Go's time of nothing: the year 1."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if at.year < 1970 or at.tzinfo is None else at.timestamp()


def _seconds(text: str) -> Seconds | None:
    """Go's way to write a duration: "10m0s"; "-1" is for ever."""
    parts = PART.findall(text)
    whole = "".join(number + unit for number, unit in parts) == text != ""
    return Seconds(sum(float(n) * PARTS[unit] for n, unit in parts)) if whole else None
