"""About a minute on a machine with two GPUs: what its people do. The daemon does the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from collectors.reading import RAM, Bytes, PoolId, Seconds, gib, mib
from supervisor.core import explain
from supervisor.core.policy import Amount, ModelPolicy, Policy, PoolPolicy, Watchdog
from supervisor.core.rank import RANKINGS
from supervisor.core.snapshot import EngineId, ModelId, ModelRef, Share, Source
from supervisor.door import DoorError
from supervisor.engines.base import EngineError

from .clock import Clock
from .engines import ComfyLike, DemoEngine, DemoModel, LlamaCppLike, OllamaLike, Unload
from .feed import Feed, Tone
from .machine import GPU0, GPU1, DemoMachine, Tenant
from .world import World, assemble_demo

EMBED, GEMMA, LLAMA, QWEN = "nomic-embed", "gemma3:4b", "llama3.2:3b", "qwen3:8b"
CODER, OSS, MISTRAL = "coder-7b", "gpt-oss-20b", "mistral-24b"
SDXL = "sdxl"

RESERVE = Amount(size=gib(1))
POLICY = Policy(
    pools={GPU0: PoolPolicy(reserve=RESERVE), GPU1: PoolPolicy(reserve=RESERVE)},
    models={f"cellar/{QWEN}": ModelPolicy(watchdog=Watchdog(True, Seconds(25)))},
    ranking=RANKINGS["lru"],  # a minute teaches nothing of habits, and this everybody can follow
    grace=Seconds(3),
    busy_while_fresh=Seconds(2),
)
LENGTH = Seconds(65)


@dataclass(slots=True)
class Cast:
    """Who is on stage: the machine, its engines, the daemon, and a neighbour now and then."""

    machine: DemoMachine
    cellar: DemoEngine
    press: DemoEngine
    easel: DemoEngine
    world: World
    feed: Feed
    neighbours: list[Tenant] = field(default_factory=list)

    @property
    def engines(self) -> tuple[DemoEngine, ...]:
        return self.cellar, self.press, self.easel

    def neighbour(self, name: str, size: Bytes) -> None:
        """A program that is no engine of ours takes up to `size` bytes of GPU 1."""
        takes = {GPU1: Bytes(min(size, self.machine.unclaimed(GPU1)))}
        self.neighbours.append(self.machine.start(name, takes, ramp=1.5))

    def neighbours_leave(self) -> None:
        for tenant in self.neighbours:
            self.machine.end(tenant, after=0.5)

    async def ask_for(self, engine: DemoEngine, model: str) -> None:
        """Somebody asks the daemon to load a model."""
        try:
            await self.world.door.load(f"{engine.id}/{model}")
        except DoorError as error:
            self.feed.say(Tone.BAD, str(error))

    def ask_engine(self, engine: DemoEngine, model: str, seconds: float) -> None:
        """Somebody asks the engine itself, which loads the model where it is not there: in vain,
        where others have the memory."""
        try:
            engine.serve(ModelId(model), seconds)
        except EngineError as error:
            self.feed.say(Tone.BAD, str(error))

    async def pin(self) -> None:
        await self.world.door.pin(f"{self.cellar.id}/{EMBED}")

    def restart_easel(self) -> None:
        """Its process ends, and its memory comes back as it does whenever a process ends."""
        model = self.easel.models[ModelId(SDXL)]
        model.unload = Unload.WORKS
        if model.tenant is not None:
            self.machine.end(model.tenant, after=0.5)

    def tell_of_the_stuck_one(self) -> None:
        """Every decision of which an unload gave nothing back, in full."""
        for row in self.world.journal.decisions(50):
            if any(o["judgement"] and o["judgement"]["returned"] <= 0 for o in row["outcomes"]):
                told = explain.tell(row)
                self.feed.say(Tone.ANSWER, told[0], tuple(told[1:]))

    def ask_why(self) -> None:
        """Why a model is not there, as `ullage why` says it."""
        loop, snapshot = self.world.loop, self.world.door.snapshot()
        ref = ModelRef(self.cellar.id, ModelId(LLAMA))
        words = explain.why(ref, snapshot, loop.policy, self.world.journal.decisions(50))
        self.feed.say(Tone.ANSWER, words[0], tuple(words[1:]))


@dataclass(frozen=True, slots=True)
class Beat:
    """At `at` seconds somebody does something; `text` says what."""

    at: float
    text: str
    act: Callable[[Cast], Coroutine[Any, Any, None] | None]


def _load(engine: str, model: str) -> Callable[[Cast], Coroutine[Any, Any, None]]:
    return lambda cast: cast.ask_for(getattr(cast, engine), model)


def _serve(engine: str, model: str, seconds: float) -> Callable[[Cast], None]:
    return lambda cast: cast.ask_engine(getattr(cast, engine), model, seconds)


BEATS = (
    Beat(1, "a notes program needs the embedding model", _load("cellar", EMBED)),
    Beat(2, "somebody asks for gpt-oss-20b, on GPU 0", _load("press", OSS)),
    Beat(3, "a picture is wanted: easel loads sdxl by itself", _serve("easel", SDXL, 9)),
    Beat(4, "the embedding model shall never go: it is pinned", lambda cast: cast.pin()),
    Beat(5, "somebody asks for gemma3", _load("cellar", GEMMA)),
    Beat(7, "an editor asks for the coder", _load("press", CODER)),
    Beat(9, "somebody asks for qwen3", _load("cellar", QWEN)),
    Beat(10, "gpt-oss answers a long question", _serve("press", OSS, 6)),
    Beat(15, "a game starts on GPU 1", lambda cast: cast.neighbour("game", gib(1.7))),
    Beat(17, "the coder is busy for a while", _serve("press", CODER, 21)),
    Beat(20, "qwen3 is asked something", _serve("cellar", QWEN, 3)),
    Beat(24, "somebody asks for llama3.2", _load("cellar", LLAMA)),
    Beat(29, "the game is recorded", lambda cast: cast.neighbour("recorder", gib(1.1))),
    Beat(40, "the game is over", lambda cast: cast.neighbours_leave()),
    Beat(42, "somebody asks for mistral, on GPU 0", _load("press", MISTRAL)),
    Beat(48, "mistral answers a question", _serve("press", MISTRAL, 8)),
    Beat(53, "easel is restarted by its owner", lambda cast: cast.restart_easel()),
    Beat(55, "somebody asks what happened to sdxl", lambda cast: cast.tell_of_the_stuck_one()),
    Beat(60, "somebody asks why llama3.2 is gone", lambda cast: cast.ask_why()),
)


def engines(machine: DemoMachine, clock: Clock) -> tuple[DemoEngine, DemoEngine, DemoEngine]:
    """Cellar keeps chat models, press prints code and long texts, easel paints."""
    cellar = OllamaLike(
        EngineId("cellar"),
        machine,
        clock.sleep,
        _model(EMBED, GPU1, 0.6, load=1.0, free=0.5),
        _model(GEMMA, GPU1, 3.2, load=2.0, free=0.9),
        _model(LLAMA, GPU1, 2.6, load=2.0, free=0.8),
        _model(QWEN, GPU0, 5.8, load=3.0, free=1.2),
    )
    press = LlamaCppLike(
        EngineId("press"),
        machine,
        clock.sleep,
        _model(CODER, GPU1, 4.6, load=2.0, free=0.6),
        _model(OSS, GPU0, 12.5, load=4.0, free=1.5),
        _model(MISTRAL, GPU0, 13.0, load=4.0, free=1.5),
    )
    sdxl = _model(SDXL, GPU1, 5.2, load=3.0, free=1.0)
    sdxl.unload = Unload.STUCK
    return cellar, press, ComfyLike(EngineId("easel"), machine, clock.sleep, sdxl)


def stage(clock: Clock, policy: Policy = POLICY) -> Cast:
    """The cast in its places. Nothing has been started."""
    machine = DemoMachine(clock)
    machine.start("system", {RAM: gib(5)})
    cellar, press, easel = engines(machine, clock)
    world = assemble_demo(clock, machine, (cellar, press, easel), policy)
    return Cast(machine, cellar, press, easel, world, Feed(world))


async def play(cast: Cast, *, length: float = LENGTH) -> None:
    """One round of the story, from a started world."""
    for engine in cast.engines:
        for model in engine.models.values():  # as if they had been used on other days
            shares = tuple(Share(p, s, Source.LEARNED) for p, s in sorted(model.takes.items()))
            cast.world.journal.remember(ModelRef(engine.id, model.id), shares)
    clock = cast.world.clock
    started = cast.feed.started = clock()
    async with asyncio.TaskGroup() as tasks:
        begun = []
        for beat in BEATS:
            if beat.at > length:
                break
            await clock.sleep(started + beat.at - clock())
            cast.feed.say(Tone.STORY, beat.text)
            doing = beat.act(cast)
            if doing is not None:
                begun.append(tasks.create_task(doing, name=f"beat {beat.at:g}"))
        await clock.sleep(started + length - clock())
        for task in begun:
            task.cancel()


def _model(name: str, pool: PoolId, size: float, *, load: float, free: float) -> DemoModel:
    """`size` in GiB of `pool`; some RAM besides, as every runner takes."""
    takes: Mapping[PoolId, Bytes] = {pool: gib(size), RAM: mib(400)}
    return DemoModel(ModelId(name), takes, load, free)
