"""GPUStack, from 2.0: a server whose workers run each instance of a model in a container."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import psutil

from collectors.reading import Bytes
from supervisor.core.snapshot import Ability, ModelId, State

from .adapter import Adapter
from .answer import Json
from .base import (
    LOAD_TIMEOUT,
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

STATES = {
    "pending": State.LOADING,
    "analyzing": State.LOADING,
    "scheduled": State.LOADING,
    "initializing": State.LOADING,
    "downloading": State.LOADING,
    "starting": State.LOADING,
    "running": State.LOADED,
    "error": None,
    "unreachable": State.UNKNOWN,
}
# A model with several instances is what the first of these says.
FIRST = (State.LOADED, State.LOADING, State.UNKNOWN)
# The server's own: an update that sends these back could undo what it has found out meanwhile.
NOT_SENT_BACK = {"id", "created_at", "updated_at", "deleted_at", "owner_principal_id"}
NOT_SENT_BACK |= {"instances", "ready_replicas", "has_stale_lora_instances"}


class GPUStack(Adapter):
    """Loads and unloads are numbers of replicas: answered at once, carried out later, and an
    instance leaves the list before its container ends.

    An instance's `pid` is that of whoever started its container, which is not told from that of
    a stranger: the container's own process is found by the address that it listens at. What is
    claimed of a GPU is the scheduler's estimate. Instances of other machines are left out.
    Its port is every web server's: it is not searched for.
    """

    kind: ClassVar[str] = "gpustack"
    title: ClassVar[str] = "GPUStack"
    paths: ClassVar[Serves] = at(
        "/v1", f"{TEXT} {MESSAGES} rerank images edits speech transcriptions"
    )
    proof: ClassVar[Proof] = Proof.PROCESS
    when_busy: ClassVar[WhenBusy] = WhenBusy.CUTS
    abilities: frozenset[Ability] = frozenset({Ability.LIST, Ability.LOAD, Ability.UNLOAD})

    def _begin(self, key: str | None, options: Any) -> None:
        self._replicas: dict[ModelId, int] = {}  # as many as there were before an unload

    async def identify(self) -> Identity | None:
        told = await self._wire.probe("/version")
        if told is None or not isinstance(told.value, dict) or "git_commit" not in told.value:
            return None
        version = told.value.get("version")
        if not isinstance(version, str) or not version:
            return None
        try:
            page = await self._wire.probe("/v2/models?perPage=1")
        except EngineRefused as no:
            if no.status not in (401, 403):
                raise
            return Identity(version)  # the version is told to everybody, the models are not
        known = page is not None and "items" in page and "pagination" in page
        return Identity(version) if known else None

    async def list(self) -> tuple[EngineModel, ...]:
        models, instances = await asyncio.gather(self._models(), self._items("/v2/model-instances"))
        here = _addresses()
        of: dict[int, list[Json]] = {}
        for instance in instances:
            worker = instance.get("worker_ip")
            if worker is None or worker.text() in here:  # a pending one is nowhere yet
                of.setdefault(instance["model_id"].count(), []).append(instance)
        return tuple(_model(id, of.get(m["id"].count(), ())) for id, m in models.items())

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        found = await self._one(model)
        if found["replicas"].count() > 0:
            if failure := await self._failure(found["id"].count()):
                raise self._no(f"{model}'s instances fail: {failure}", 409)
            return
        await self._scale(model, found, self._replicas.get(model, 1))

    async def unload(self, model: ModelId) -> None:
        found = await self._one(model)
        if (count := found["replicas"].count()) > 0:
            await self._scale(model, found, 0)
            self._replicas[model] = count

    async def habits(self) -> tuple[Habit, ...]:
        models = await self._models()
        scheduled = [
            Habit(
                "it is started and stopped by a scaling schedule of its own",
                "switch its scaling schedule off",
                id,
            )
            for id, found in models.items()
            if _is_scheduled(found)
        ]
        free = any(_chooses(found) for found in models.values())
        placed = Habit(
            "its scheduler chooses a GPU by estimates of its own",
            "choose the GPUs of each model by hand, in its scheduling settings",
        )
        return (*scheduled, *((placed,) if free else ()))

    async def _scale(self, model: ModelId, found: Json, replicas: int) -> None:
        """The whole of the model goes back, as from its own page: what is left out is reset by
        some versions."""
        id = found["id"].count()
        # The list may say less of a model than the model itself.
        whole = (await self._wire.get(f"/v2/models/{id}")).value
        whole = whole if isinstance(whole, dict) else {}
        body = {k: v for k, v in whole.items() if k not in NOT_SENT_BACK} | {"replicas": replicas}
        within = LOAD_TIMEOUT if replicas else CONTROL_TIMEOUT
        answer = await self._wire.call("PUT", f"/v2/models/{id}", body, within)
        if answer["replicas"].count() != replicas:
            raise self._no(f"{model}'s replicas are set by its scaling schedule", 409)

    async def _one(self, model: ModelId) -> Json:
        found = (await self._models()).get(model)
        if found is None:
            raise self._no(f"it has no model {model}", 404)
        return found

    async def _failure(self, id: int) -> str | None:
        """Why no instance of a model comes up; None while one is there, or may still come."""
        mine = [i for i in await self._items("/v2/model-instances") if i["model_id"].count() == id]
        if not mine or any(i["state"].text() != "error" for i in mine):
            return None
        words = mine[0].get("state_message")
        return "without a word" if words is None else words.text()

    async def _models(self) -> dict[ModelId, Json]:
        """By name; two organizations may each have one of the same name."""
        items = await self._items("/v2/models")
        times = Counter(item["name"].name() for item in items)
        return {
            ModelId(name if times[name] == 1 else f"{name}#{item['id'].count()}"): item
            for item in items
            if (name := item["name"].name())
        }

    async def _items(self, path: str) -> tuple[Json, ...]:
        """All of them at once; the first hundred, where nothing is said."""
        return tuple((await self._wire.get(f"{path}?page=-1"))["items"])

    def _no(self, why: str, status: int) -> EngineRefused:
        return EngineRefused(self.id, "PUT /v2/models", why, status)


def _model(id: ModelId, instances: Sequence[Json]) -> EngineModel:
    states = {STATES.get(i["state"].text(), State.UNKNOWN) for i in instances}
    state = next((s for s in FIRST if s in states), None)
    return EngineModel(
        id,
        state,
        file_size=_claimed(instances),
        process=_process(instances[0]) if state is not None and len(instances) == 1 else None,
    )


def _claimed(instances: Iterable[Json]) -> Bytes | None:
    """Bytes of GPU memory, by index, that the scheduler reckons with; of RAM, where none."""
    total = 0
    for instance in instances:
        claim = instance.get("computed_resource_claim")
        if claim is None:
            continue
        gpus = claim.get("vram")
        held = 0 if gpus is None else sum(gpus[index].size() for index in _members(gpus))
        ram = claim.get("ram")
        total += held or (0 if ram is None else ram.size())
    return Bytes(total) if total else None


def _members(found: Json) -> tuple[str, ...]:
    found.get("")  # raises where it is no object
    return tuple(found.value)


def _process(instance: Json) -> Process | None:
    """The backend that GPUStack tells where to listen, whichever it is."""
    worker, port = instance.get("worker_ip"), instance.get("port")
    if worker is None or port is None:
        return None
    return Process(argv=(("--host", worker.text()), ("--port", str(port.count()))))


def _is_scheduled(found: Json) -> bool:
    schedule = found.get("scaling_schedule")
    return schedule is not None and (on := schedule.get("enabled")) is not None and on.flag()


def _chooses(found: Json) -> bool:
    chosen = found.get("gpu_selector")
    return found["replicas"].count() > 0 and (chosen is None or "gpu_ids" not in chosen)


def _addresses() -> frozenset[str]:
    """This machine's own."""
    return frozenset(a.address for found in psutil.net_if_addrs().values() for a in found)
