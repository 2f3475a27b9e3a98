"""vLLM: a server with one model, which can give its accelerator's memory back and stay up."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import ClassVar

from supervisor.core.snapshot import Ability, ModelId, State

from .adapter import Adapter
from .answer import Json
from .base import (
    LOAD_TIMEOUT,
    Activity,
    EngineConfused,
    EngineModel,
    EngineRefused,
    Habit,
    Identity,
    Process,
    Proof,
    WhenBusy,
)
from .gauges import Gauges, gauges
from .serves import HEARD, MESSAGES, TEXT, Serves, at

SLEEPS = frozenset({Ability.SLEEP, Ability.DEEP_SLEEP})
BUSY, UNABLE = 409, 501
PAUSED, LIGHT, DEEP = 0, 1, 2  # vLLM's own levels of sleep; PAUSED holds all of its memory


class Vllm(Adapter):
    """Sleeps in developer mode only, and aborts what it serves then: only an idle one is asked.

    Without --enable-sleep-mode it says that it sleeps and gives next to nothing back (not tried):
    only the memory tells. Requests that reach a sleeping server wait until somebody wakes it.
    """

    kind: ClassVar[str] = "vllm"
    title: ClassVar[str] = "vLLM"
    paths: ClassVar[Serves] = at("/v1", f"{TEXT} {MESSAGES} {HEARD} rerank realtime")
    ports: ClassVar[tuple[int, ...]] = (8000,)
    proof: ClassVar[Proof] = Proof.ENGINE
    when_busy: ClassVar[WhenBusy] = WhenBusy.REFUSES
    abilities: frozenset[Ability] = SLEEPS | {Ability.LIST, Ability.IN_FLIGHT}

    _developer = True  # until it says that it has no /is_sleeping
    _slept: int | None = None  # how we put it to sleep; None: it was not us

    async def identify(self) -> Identity | None:
        version = await self._wire.probe("/version")
        if version is None or "version" not in version:
            return None
        if (models := await self._wire.probe("/v1/models")) is None:
            return None
        with suppress(EngineConfused):
            owners = {(e["owned_by"].text(), e["root"].text()) for e in _base(models)}
            # Several roots: a router in front of several servers, each of which is to be named.
            if len(owners) == 1 and owners.pop()[0] == "vllm":
                found = Identity(version["version"].text())
                # It may have been started anew, and otherwise.
                self._developer, self.abilities = True, type(self).abilities
                return found
        return None

    async def list(self) -> tuple[EngineModel, ...]:
        entry = await self._served()
        asleep = await self._asleep()
        if not asleep:
            self._slept = None
        length = entry.get("max_model_len")
        return (
            EngineModel(
                id=_id(entry),
                state=State.SLEEPING if asleep else State.LOADED,
                context=None if length is None else length.count(),
                process=Process(whole=True),
            ),
        )

    async def activity(self, model: EngineModel) -> Activity:
        seen = await gauges(self._wire)
        if (count := _in_flight(seen)) is None:  # --disable-log-stats: nor can it be seen idle
            self.abilities -= SLEEPS | {Ability.IN_FLIGHT}
        done = [seen.total(f"vllm:{which}_tokens_total") for which in ("prompt", "generation")]
        return Activity(count, mark=None if done == [None, None] else "/".join(map(str, done)))

    async def sleep(self, model: ModelId, *, deep: bool = False) -> None:
        await self._check(model)
        wanted = DEEP if deep else LIGHT
        if await self._asleep():
            await self._sleeps_enough(wanted)
            return
        if (count := _in_flight(await gauges(self._wire))) is None:
            raise self._no(
                "it does not say whether it is idle, and a sleep cuts requests short", BUSY
            )
        if count:
            raise self._no(f"it has {count} requests, which a sleep would cut short", BUSY)
        self._slept = wanted  # also if nobody waits for the answer
        # Weights are copied to RAM before it answers. No mode: to wait for requests is the plan's.
        await self._wire.text("POST", f"/sleep?level={wanted}", None, LOAD_TIMEOUT)

    async def wake(self, model: ModelId) -> None:
        """Of a deep sleep the weights are read again before the rest of the memory is taken."""
        await self._check(model)
        if not await self._asleep():
            return
        if await self._level() in (PAUSED, LIGHT):
            await self._wire.text("POST", "/wake_up", None, LOAD_TIMEOUT)
            return
        # Also where nobody knows: a light sleeper reads the weights that it has, and is well.
        await self._wire.text("POST", "/wake_up?tags=weights", None, LOAD_TIMEOUT)
        reload = {"method": "reload_weights"}
        await self._wire.text("POST", "/collective_rpc", reload, LOAD_TIMEOUT)
        await self._wire.text("POST", "/wake_up?tags=kv_cache", None, LOAD_TIMEOUT)

    async def habits(self) -> tuple[Habit, ...]:
        if await self._asleep() is not None:
            return ()
        what = "keeps its share of the accelerator until it ends: it cannot be told to sleep"
        remedy = "start it with VLLM_SERVER_DEV_MODE=1 and --enable-sleep-mode, on 127.0.0.1 alone"
        return (Habit(what, remedy),)

    async def _served(self) -> Json:
        """Several names are one model; an adapter (LoRA) has a parent, and is none."""
        models = await self._wire.get("/v1/models")
        for entry in _base(models):
            return entry
        raise EngineConfused(models.engine, models.call, "it serves no model")

    async def _check(self, model: ModelId) -> None:
        if (served := _id(await self._served())) != model:
            raise self._no(f"it serves {served}, not {model}", 404)

    async def _asleep(self) -> bool | None:
        """None: not in developer mode, so it can neither sleep nor tell."""
        if not self._developer:
            return None
        try:
            return (await self._wire.get("/is_sleeping"))["is_sleeping"].flag()
        except EngineRefused as no:
            if no.status != 404:
                raise
        self._developer = False
        self.abilities -= SLEEPS
        return None

    async def _sleeps_enough(self, wanted: int) -> None:
        level = await self._level()
        # Those that do not tell their level know of no pause that keeps the memory.
        if (LIGHT if level is None else level) >= wanted:
            return
        if level == PAUSED:
            raise self._no("somebody has paused it, with all of its memory: resume it first", BUSY)
        raise self._no(
            "it sleeps less deeply, and has to be woken before it can sleep deeply", UNABLE
        )

    async def _level(self) -> int | None:
        """Of a sleeping server. None: nobody knows."""
        seen = await gauges(self._wire)
        states = [
            (level, seen.total("vllm:engine_sleep_state", sleep_state=name))
            for level, name in ((DEEP, "discard_all"), (LIGHT, "weights_offloaded"))
        ]
        for level, value in states:
            if value:
                return level
        told = any(value is not None for _, value in states)
        return PAUSED if told and self._slept is None else self._slept

    def _no(self, why: str, status: int) -> EngineRefused:
        return EngineRefused(self.id, "sleep or wake", why, status)


def _base(models: Json) -> Iterable[Json]:
    return (entry for entry in models["data"] if "parent" not in entry)


def _id(entry: Json) -> ModelId:
    return ModelId(entry["id"].name())


def _in_flight(seen: Gauges) -> int | None:
    """Over all replicas of the model, which are counted one by one."""
    counts = [seen.total(f"vllm:num_requests_{which}") for which in ("running", "waiting")]
    known = [int(count) for count in counts if count is not None and 0 <= count < 2**31]
    return sum(known) if len(known) == len(counts) else None
