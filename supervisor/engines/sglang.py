"""SGLang: a server with one model, which can give its accelerator's memory back and stay up."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import ClassVar

from supervisor.core.snapshot import Ability, ModelId, State

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
    Notes,
    Process,
    Proof,
    WhenBusy,
)
from .serves import HEARD, MESSAGES, TEXT, Serves, at
from .wire import CONTROL_TIMEOUT

NAMES = (("/model_info", "/server_info"), ("/get_model_info", "/get_server_info"))  # new, old
LOADS = "/v1/loads?include=core,queues"
BUSY, UNABLE = 409, 501


class Step(Enum):
    """How far a server is on its way to sleep and back, which it does not tell itself."""

    AWAKE = "it holds its memory"
    RELEASING = "a release was asked for and not answered: nobody knows what it holds"
    RELEASED = "it has given its memory back, and is paused"
    RESUMING = "a resume was asked for and not answered: nobody knows what it holds"
    RESUMED = "it holds its memory again, and is still paused: wake it first"


STEPS = tuple(step.name for step in Step)
STATES = {Step.RELEASED: State.SLEEPING, Step.RESUMED: State.SLEEPING}


@dataclass(frozen=True, slots=True)
class Server:
    """What it was started with. `run` tells one start from the next; None: it does not."""

    saver: bool
    backup: bool
    run: str | None
    path: str | None

    def why_not(self, deep: bool) -> str | None:
        """Why it cannot sleep like that."""
        if not self.saver:
            return "without --enable-memory-saver it says that it sleeps, and gives nothing back"
        if self.run is None:
            return "it does not tell one start from the next, and must not be asked twice"
        if deep and self.backup:
            return "with --enable-weights-cpu-backup it keeps its weights in RAM"
        if not deep and not self.backup:
            return "without --enable-weights-cpu-backup it loses its weights"
        return None


class SgLang(Adapter):
    """A release while anything runs kills it; so does a second one, or a resume too many. So it is
    asked only when idle and paused, and what was asked is remembered for this start of it, also
    beyond our own end: it cannot tell. Its counts may be a moment old. It is never asked for
    /health, which generates. Not tried on a real one.
    """

    kind: ClassVar[str] = "sglang"
    title: ClassVar[str] = "SGLang"
    paths: ClassVar[Serves] = at("/v1", f"{TEXT} {MESSAGES} {HEARD} rerank") | at(
        "/api", "ollama_chat generate show"
    )
    ports: ClassVar[tuple[int, ...]] = (30000,)
    proof: ClassVar[Proof] = Proof.ENGINE
    when_busy: ClassVar[WhenBusy] = WhenBusy.REFUSES
    abilities: frozenset[Ability] = frozenset(
        {Ability.LIST, Ability.SLEEP, Ability.IN_FLIGHT, Ability.CANCEL}
    )

    _info = NAMES[0][1]
    _server: Server | None = None
    _step = Step.AWAKE
    _run: str | None = None  # of the start that `_step` is of
    _notes: Notes | None = None  # {"run", "step"} by URL, of one that is not known to be awake
    _counts = True
    _tells_pause = True

    @cached_property
    def _lock(self) -> asyncio.Lock:
        return asyncio.Lock()

    def remembers(self, notes: Notes) -> None:
        self._notes = notes

    async def identify(self) -> Identity | None:
        for model, server in NAMES:
            told = await self._wire.probe(model)  # asked for /server_info, a vLLM takes seconds
            if told is None or "is_generation" not in told:
                continue
            if (info := await self._wire.probe(server)) is None:
                continue
            with suppress(EngineConfused):
                tuple(info["internal_states"])
                found = Identity(info["version"].text())
                self._info, self._counts, self._tells_pause = server, True, True
                self._note(info)
                return found
        return None

    async def list(self) -> tuple[EngineModel, ...]:
        entry = await self._served()
        if self._step is not Step.AWAKE:
            await self._look()
        state = STATES.get(self._step, State.UNKNOWN)
        # Paused, and not by us: whether it holds its memory, nobody can tell. And one that goes on
        # has its memory: we ended before we could write that down, or somebody else resumed it.
        if self._step in (Step.AWAKE, Step.RESUMED) and not await self._is_paused():
            state = State.LOADED
            if self._step is Step.RESUMED and not self._lock.locked():
                self._is(Step.AWAKE)
        length = entry.get("max_model_len")
        context = None if length is None else length.count()
        return (EngineModel(_id(entry), state, context=context, process=Process(whole=True)),)

    async def activity(self, model: EngineModel) -> Activity:
        try:
            loads = await self._loads()
        except EngineRefused as no:
            if no.status != 404:
                raise
            self._counts = False  # an older one: nor can it be seen idle
            self._narrow()
            return Activity(in_flight=None)
        read = [load.get("total_prefill_uncached_tokens") for load in loads]
        marks = ["-" if tokens is None else str(tokens.value) for tokens in read]
        held = [load.get("num_used_tokens") for load in loads]  # it grows with each that is written
        flow = [*marks, *("-" if tokens is None else str(tokens.value) for tokens in held)]
        mark = ",".join(marks)
        return Activity(sum(map(_in_flight, loads)), mark, progress=",".join(flow))

    async def sleep(self, model: ModelId, *, deep: bool = False) -> None:
        """Deep: it keeps no copy of its weights in RAM, and reads them again when it wakes."""
        await self._served(model)
        async with self._lock:
            server = await self._look()
            if why := server.why_not(deep):
                raise self._no(why, UNABLE)
            if self._step is Step.RELEASED:
                return
            if self._step is not Step.AWAKE:
                raise self._no(self._step.value, UNABLE)
            if await self._is_paused():
                raise self._no("it is paused by somebody else, maybe without its memory", BUSY)
            if not self._tells_pause:
                raise self._no("it does not say whether somebody else has paused it", UNABLE)
            await self._require_idle()
            self._write(Step.RESUMED)  # of a pause in which we end, the next daemon knows
            try:
                await self._settled()
                pause = {"mode": "abort"}  # the other modes leave requests in its scheduler
                await self._wire.text("POST", "/pause_generation", pause, CONTROL_TIMEOUT)
                await self._require_idle()
            except BaseException:  # also if we are cancelled: its clients would wait for ever
                with suppress(EngineError):
                    await self._as_before(Step.AWAKE)
                raise
            await self._move("/release_memory_occupation", Step.RELEASING, Step.RELEASED)

    async def wake(self, model: ModelId) -> None:
        await self._served(model)
        async with self._lock:
            server = await self._look()
            if self._step in (Step.RELEASING, Step.RESUMING):
                raise self._no(self._step.value, UNABLE)
            if self._step is Step.AWAKE:
                if await self._is_paused():
                    raise self._no("it is paused, and not by us: let whoever did resume it", BUSY)
                return
            if self._step is Step.RELEASED:
                await self._move("/resume_memory_occupation", Step.RESUMING, Step.RESUMED)
            if not server.backup:
                reload = {"model_path": server.path}
                done = await self._wire.post("/update_weights_from_disk", reload, LOAD_TIMEOUT)
                if not done["success"].flag():
                    raise self._no(f"it cannot read its weights: {done['message'].text()}", UNABLE)
            await self._go_on()
            self._is(Step.AWAKE)

    async def habits(self) -> tuple[Habit, ...]:
        if (await self._look()).saver:
            return ()
        what = "keeps its share of the accelerator until it ends: it cannot be told to sleep"
        remedy = "start it with --enable-memory-saver and --enable-weights-cpu-backup"
        return (Habit(what, remedy),)

    async def _move(self, path: str, doubt: Step, end: Step) -> None:
        """A call that must not be made twice: in doubt, unless it was plainly refused."""
        start = self._step
        self._write(doubt)
        try:
            await self._settled()
        except BaseException:  # we are cancelled, and it was not asked
            with suppress(EngineError):
                await self._as_before(start)
            raise
        self._step = doubt
        try:
            # {}: all of its memory. Asked once: done twice, it takes the whole server down.
            once = replace(self._wire, again=False)
            await once.text("POST", path, {}, LOAD_TIMEOUT)
        except EngineRefused as no:
            if no.status < 500:
                await self._as_before(start)
            raise
        self._is(end)

    async def _as_before(self, start: Step) -> None:
        """A move did not happen. Who was awake before is only paused, and goes on."""
        self._step = start
        if start is Step.AWAKE:
            self._write(Step.RESUMED)
            await self._go_on()
        self._write(start)

    def _is(self, step: Step) -> None:
        self._step = step
        self._write(step)

    def _write(self, step: Step) -> None:
        """For the next daemon. Of one that is awake nothing need be known."""
        if self._notes is not None and step is Step.AWAKE:
            self._notes.drop(self.url)
        elif self._notes is not None:
            self._notes.keep(self.url, {"run": self._run, "step": step.name})

    async def _settled(self) -> None:
        if self._notes is not None:
            await self._notes.settled()

    def _recalled(self) -> Step:
        """What was written of this start of it. Started anew, it holds all of its memory."""
        noted = None if self._notes is None else self._notes.get(self.url)
        if noted is None or self._notes is None:
            return Step.AWAKE
        if self._run is None or noted.get("run") != self._run or noted.get("step") not in STEPS:
            self._notes.drop(self.url)
            return Step.AWAKE
        return Step[noted["step"]]

    async def _go_on(self) -> None:
        await self._wire.text("POST", "/continue_generation", {}, CONTROL_TIMEOUT)

    async def _loads(self) -> tuple[Json, ...]:
        """One for each replica."""
        return tuple((await self._wire.get(LOADS))["loads"])

    async def _require_idle(self) -> None:
        loads = await self._loads()
        if not loads:
            raise self._no("it does not say whether it is idle", BUSY)
        if count := sum(map(_in_flight, loads)):
            raise self._no(f"it has {count} requests, and a release would kill it", BUSY)

    async def cancel(self, model: ModelId) -> None:
        """All requests. The body is needed: without it nothing is ended."""
        await self._served(model)
        body = {"rid": "", "abort_all": True}
        await self._wire.text("POST", "/abort_request", body, CONTROL_TIMEOUT)

    async def _is_paused(self) -> bool:
        """Paused, or still starting. False also of an older one, which cannot tell."""
        try:
            await self._wire.text("GET", "/ready")
        except EngineRefused as no:
            if no.status not in (404, 503):
                raise
            self._tells_pause = no.status == 503
            self._narrow()
            return self._tells_pause
        return False

    async def _served(self, wanted: ModelId | None = None) -> Json:
        """The model that it serves, which has to be the one that is wanted."""
        models = await self._wire.get("/v1/models")
        for entry in models["data"]:
            if "parent" in entry:  # an adapter (LoRA), which is no model
                continue
            if wanted is not None and _id(entry) != wanted:
                raise self._no(f"it serves {_id(entry)}, not {wanted}", 404)
            return entry
        raise EngineConfused(models.engine, models.call, "it serves no model")

    async def _look(self) -> Server:
        return self._note(await self._wire.get(self._info))

    def _note(self, info: Json) -> Server:
        self._server = server = _server(info)
        if server.run != self._run:
            self._run = server.run
            self._step = self._recalled()
        self._narrow()
        return server

    def _narrow(self) -> None:
        able, server = {Ability.LIST, Ability.CANCEL}, self._server
        if self._counts:
            able.add(Ability.IN_FLIGHT)
            if server and server.saver and server.run and self._tells_pause:
                able.add(Ability.SLEEP if server.backup else Ability.DEEP_SLEEP)
        self.abilities = frozenset(able)

    def _no(self, why: str, status: int) -> EngineRefused:
        return EngineRefused(self.id, "sleep or wake", why, status)


def _server(info: Json) -> Server:
    def is_on(name: str) -> bool:
        flag = info.get(name)
        return flag is not None and flag.flag()

    # How long it took to start; two starts may take as long, but draw two seeds.
    start, seed, path = (info.get(k) for k in ("startup_time", "random_seed", "model_path"))
    return Server(
        saver=is_on("enable_memory_saver"),
        backup=is_on("enable_weights_cpu_backup"),
        run=None if start is None else f"{start.value} {seed and seed.value}",
        path=None if path is None else path.text(),
    )


def _in_flight(load: Json) -> int:
    """One replica's requests: running, waiting, or held in a queue of their own."""
    queues = load.get("queues")
    apart = ("grammar", "paused", "retracted", "prealloc_ready")
    held = [] if queues is None else [n for name in apart if (n := queues.get(name)) is not None]
    return sum(n.count() for n in (load["num_running_reqs"], load["num_waiting_reqs"], *held))


def _id(entry: Json) -> ModelId:
    return ModelId(entry["id"].name())
