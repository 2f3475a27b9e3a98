"""NVIDIA Triton Inference Server, through its HTTP port."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote

from collectors.reading import Bytes, Seconds
from supervisor.core.snapshot import Ability, ModelId, State

from .adapter import Adapter
from .answer import Json
from .base import (
    LOAD_TIMEOUT,
    Checked,
    EngineConfused,
    EngineModel,
    EngineRefused,
    Habit,
    Identity,
    Process,
    Proof,
    WhenBusy,
)
from .wire import CONTROL_TIMEOUT

INDEX = "/v2/repository/index"
# Of a model's versions the first that is found here speaks for the model.
STATES = {"READY": State.LOADED, "LOADING": State.LOADING, "UNLOADING": State.UNKNOWN}
HOLDS_NOTHING = ("UNAVAILABLE", "UNKNOWN", None)
STUBS = ("python", "vllm")  # backends whose models live in processes of their own
FORBIDDEN = "explicit model load / unload is not allowed"
EXPLICIT = frozenset({Ability.LIST, Ability.LOAD, Ability.UNLOAD})


@dataclass(frozen=True, slots=True)
class _Stats:
    """`mark` moves when a request has been served. `found` is what a backend saw its model take
    of GPUs while it loaded, which Triton itself calls an estimate."""

    mark: str
    found: Bytes | None


class Triton(Adapter):
    """An unload is answered at once and done when the last request has been served. Only with
    --model-control-mode=explicit may it be told anything, and only a refusal says so. Counts of
    requests in flight are on another port, which nobody tells; most backends share one process.
    Its restricted APIs ask for a header of any name: with "authorization" a key is sent.
    """

    kind: ClassVar[str] = "triton"
    title: ClassVar[str] = "Triton"
    ports: ClassVar[tuple[int, ...]] = (8000,)
    proof: ClassVar[Proof] = Proof.ENGINE
    when_busy: ClassVar[WhenBusy] = WhenBusy.WAITS
    checked: ClassVar[Checked] = Checked.SOURCE
    abilities: frozenset[Ability] = EXPLICIT

    def _begin(self, key: str | None, options: Any) -> None:
        self._stubs: dict[ModelId, Process | None] = {}

    async def identify(self) -> Identity | None:
        answer = await self._wire.probe("/v2")
        value = None if answer is None else answer.value
        if not isinstance(value, dict) or value.get("name") != "triton":
            return None
        self.abilities = EXPLICIT  # it may have been started anew, in another mode
        version = value.get("version")
        return Identity(version if isinstance(version, str) and version else "not told")

    async def list(self) -> tuple[EngineModel, ...]:
        stats = await self._stats()
        states = await self._states()
        ready = sorted(name for name, state in states.items() if state is State.LOADED)
        new = [name for name in ready if name not in self._stubs]
        found = await asyncio.gather(*(self._stub(name) for name in new))
        self._stubs |= dict(zip(new, found, strict=True))
        self._stubs = {name: stub for name, stub in self._stubs.items() if name in ready}
        return tuple(
            EngineModel(
                name,
                state,
                file_size=stats[name].found if name in stats else None,
                process=self._stubs.get(name),
                mark=stats[name].mark if name in stats else None,
            )
            for name, state in sorted(states.items())
        )

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        """Returns when it is done. One whose files have changed would be loaded a second time
        beside the first, so one that is there is left alone."""
        if await self._state("load", model) is None:
            await self._tell(model, "load", LOAD_TIMEOUT)

    async def unload(self, model: ModelId) -> None:
        if await self._state("unload", model) is not None:
            await self._tell(model, "unload", CONTROL_TIMEOUT)

    async def habits(self) -> tuple[Habit, ...]:
        if self.abilities == EXPLICIT:
            return ()
        what = "loads what it finds in its repository, and lets nobody tell it what to hold"
        return (Habit(what, "start it with --model-control-mode=explicit"),)

    async def _states(self) -> dict[ModelId, State | None]:
        """Each model of the repository. One that was never loaded has no state at all."""
        told: dict[ModelId, list[str | None]] = {}
        for entry in await self._wire.post(INDEX, {}):
            state = None if (word := entry.get("state")) is None else word.text()
            told.setdefault(ModelId(entry["name"].name()), []).append(state)
        return {name: _overall(words) for name, words in told.items()}

    async def _state(self, call: str, model: ModelId) -> State | None:
        """To unload one that it does not have is a success with Triton, to load one a failure
        of its own."""
        states = await self._states()
        if model not in states:
            raise EngineRefused(self.id, f"{call} {model}", f"{model} is not in its index", 404)
        return states[model]

    async def _tell(self, model: ModelId, what: str, within: Seconds) -> None:
        path = f"/v2/repository/models/{quote(model, safe='')}/{what}"
        try:
            await self._wire.text("POST", path, {}, within)
        except EngineRefused as no:
            if FORBIDDEN in no.message:
                self.abilities = frozenset({Ability.LIST})
            raise

    async def _stats(self) -> dict[ModelId, _Stats]:
        try:
            answer = await self._wire.get("/v2/models/stats")
        except EngineRefused:
            return {}  # built without them, or restricted: the index says what matters
        versions: dict[ModelId, list[Json]] = {}
        for entry in answer["model_stats"]:
            versions.setdefault(ModelId(entry["name"].name()), []).append(entry)
        return {name: _folded(entries) for name, entries in versions.items()}

    async def _stub(self, model: ModelId) -> Process | None:
        """The process of its first instance, which is called after that."""
        try:
            config = await self._wire.get(f"/v2/models/{quote(model, safe='')}/config")
            backend = config.get("backend")
            if backend is None or backend.text() not in STUBS:
                return None
            group = next(iter(config["instance_group"]), None)
            return None if group is None else Process(argv=((f"{group['name'].name()}_0",),))
        except (EngineRefused, EngineConfused):
            return None  # restricted, or unloaded just now


def _overall(words: Sequence[str | None]) -> State | None:
    found = [word for word in words if word not in HOLDS_NOTHING]
    if not found:
        return None
    return next((state for word, state in STATES.items() if word in found), State.UNKNOWN)


def _folded(versions: Sequence[Json]) -> _Stats:
    counts = ("last_inference", "execution_count")
    marks = sorted(
        ":".join([entry["version"].text(), *(str(entry[count].count()) for count in counts)])
        for entry in versions
    )
    on_gpu = [
        usage["byte_size"].size()
        for entry in versions
        for usage in entry.get("memory_usage") or ()
        if usage["type"].text() == "GPU"
    ]
    return _Stats(",".join(marks), Bytes(sum(on_gpu)) if any(on_gpu) else None)
