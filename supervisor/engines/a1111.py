"""The web UI for Stable Diffusion of AUTOMATIC1111, and its descendant Forge; both with --api."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from collectors.reading import Bytes, mib
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
from .wire import CONTROL_TIMEOUT, Wire

MEMORY = "/sdapi/v1/memory"
CHECKPOINTS = "/sdapi/v1/sd-models"
OPTIONS = "/sdapi/v1/options"
PROGRESS = "/sdapi/v1/progress?skip_current_image=true"
HASH = re.compile(r" \[[0-9a-f]{8,10}\]$")  # of a title; absent until it has been worked out

# A checkpoint takes 2 GB and more. Some tens of MB of buffers stay when it has left.
WORTH = mib(512)

FORGE = frozenset({Ability.LIST, Ability.UNLOAD, Ability.IN_FLIGHT, Ability.BYTES, Ability.CANCEL})
ABLE = FORGE | {Ability.LOAD}
BLIND = frozenset({Ability.LIST})


class A1111(Adapter):
    """It names its one current checkpoint, and not whether that is on the GPU: torch's count
    tells. An unload moves it to RAM, at once, also from under a job (not tried). Forge loads
    with its next job and cannot be told to before; it is known by its options.
    Asking what it is doing may have it paint the preview that its own page asks for.
    """

    kind: ClassVar[str] = "a1111"
    title: ClassVar[str] = "AUTOMATIC1111 / Forge"
    ports: ClassVar[tuple[int, ...]] = (7860, 7861)
    proof: ClassVar[Proof] = Proof.ENGINE
    when_busy: ClassVar[WhenBusy] = WhenBusy.CUTS
    checked: ClassVar[Checked] = Checked.SOURCE
    abilities: frozenset[Ability] = ABLE

    def _begin(self, key: str | None, options: Any) -> None:
        """A `key` of the form "user:password" is what --api-auth was given."""
        if key is not None and ":" in key:
            login = base64.b64encode(key.encode()).decode()
            self._wire = Wire(
                self.id, self.url, self._wire.client, headers={"Authorization": f"Basic {login}"}
            )
        self._titles: dict[ModelId, str] = {}
        self._current: ModelId | None = None

    async def identify(self) -> Identity | None:
        """It tells nobody its version."""
        answer = await self._wire.probe(MEMORY)
        value = None if answer is None else answer.value
        if isinstance(value, dict) and all(isinstance(value.get(k), dict) for k in ("ram", "cuda")):
            return Identity("not told")
        return None

    async def list(self) -> tuple[EngineModel, ...]:
        memory, checkpoints, options = await asyncio.gather(
            *(self._wire.get(path) for path in (MEMORY, CHECKPOINTS, OPTIONS))
        )
        entries = {_id(entry): entry for entry in checkpoints}
        self._titles = {id: entry["title"].name() for id, entry in entries.items()}
        self._current = _current(entries, options)
        held = _held(memory)
        self.abilities = BLIND if held is None else FORGE if _is_forge(options) else ABLE
        models = {id: EngineModel(id, weights=_file(entry)) for id, entry in entries.items()}
        if held is None or held >= WORTH:
            # One that was removed, or never chosen, has a place in memory all the same.
            current = ModelId(self.kind) if self._current is None else self._current
            models[current] = EngineModel(
                current,
                State.UNKNOWN if held is None else State.LOADED,
                reported=held,  # what it holds of RAM it does not say
                reported_gpu=held,
                weights=_file(entries[current]) if current in entries else None,
                process=Process(whole=True),
            )
        return tuple(models[id] for id in sorted(models))

    async def activity(self, model: EngineModel) -> Activity:
        """A job runs, or none; those that wait are not counted. A job has a time of its own."""
        told = await self._wire.get(PROGRESS)
        state, part = told["state"], told.get("progress")
        began, step = state.get("job_timestamp"), state.get("sampling_step")
        steps = [str(found and found.value) for found in (began, step, part)]
        return Activity(
            # The number of its pictures, -1 before that is known.
            in_flight=int(state["job_count"].number() != 0),
            mark=None if began is None else began.text(),
            progress="/".join(steps),
        )

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        """Returns when it is done. Another checkpoint than the current one becomes its choice,
        as on its page, and takes that one's place."""
        entry = await self._named("load", model)
        if Ability.LOAD not in self.abilities or model not in self._titles:
            raise self._unable(f"load {model}")
        if entry.state is not None:
            return
        if model == self._current:
            await self._wire.text("POST", "/sdapi/v1/reload-checkpoint", None, LOAD_TIMEOUT)
        else:
            choice = {"sd_model_checkpoint": self._titles[model]}
            await self._wire.text("POST", OPTIONS, choice, LOAD_TIMEOUT)

    async def unload(self, model: ModelId) -> None:
        """Asked for only where there is something to unload: else it would load it first."""
        entry = await self._named("unload", model)
        if Ability.UNLOAD not in self.abilities:
            raise self._unable(f"unload {model}")
        if entry.state is not None:
            await self._wire.text("POST", "/sdapi/v1/unload-checkpoint", None, CONTROL_TIMEOUT)

    async def cancel(self, model: ModelId) -> None:
        """The job that runs, whoever asked for it: it gives the picture as far as it has come."""
        await self._named("cancel", model)
        await self._wire.text("POST", "/sdapi/v1/interrupt", None, CONTROL_TIMEOUT)

    async def habits(self) -> tuple[Habit, ...]:
        options = await self._wire.get(OPTIONS)
        limit = options.get("sd_checkpoints_limit")
        in_ram = options.get("sd_checkpoints_keep_in_cpu")
        if limit is None or limit.number() <= 1 or in_ram is None or in_ram.flag():
            return ()
        return (
            Habit(
                f"keeps up to {limit.number():g} checkpoints on the GPU, and names one of them",
                "set Settings / Stable Diffusion / Maximum number of checkpoints to 1,"
                " or tick Only keep one model on device",
            ),
        )

    async def _named(self, call: str, model: ModelId) -> EngineModel:
        for entry in await self.list():
            if entry.id == model:
                return entry
        raise EngineRefused(self.id, f"{call} {model}", f"it has no checkpoint {model}", 404)


def _id(entry: Json) -> ModelId:
    """Its path below the folder of all checkpoints. The title has a hash too, once it is known."""
    return ModelId(HASH.sub("", entry["title"].name()))


def _file(entry: Json) -> str | None:
    return None if (path := entry.get("filename")) is None else path.text()


def _current(entries: Mapping[ModelId, Json], options: Json) -> ModelId | None:
    """What was loaded last, by its hash; else what is chosen, which with Forge may be loaded
    only later. None: nobody has chosen."""
    if (digest := _word(options, "sd_checkpoint_hash")) is not None:
        for id, entry in entries.items():
            if _word(entry, "sha256") == digest:
                return id
    if (chosen := _word(options, "sd_model_checkpoint")) is None:
        return None
    chosen = HASH.sub("", chosen)
    named = (id for id, entry in entries.items() if chosen in (id, _word(entry, "model_name")))
    return next(named, ModelId(chosen))


def _word(value: Json, key: str) -> str | None:
    """A name; None where there is none, or an empty one."""
    found = value.get(key)
    return None if found is None or found.text() == "" else found.name()


def _held(memory: Json) -> Bytes | None:
    """Bytes that torch took from the driver and has not given back. None without CUDA."""
    cuda = memory["cuda"]
    return None if "error" in cuda else cuda["reserved"]["current"].size()


def _is_forge(options: Json) -> bool:
    return isinstance(options.value, dict) and any(k.startswith("forge_") for k in options.value)
