"""A house in which an unload stands still where a story says: before its engine is asked, while it
is asked, or while the decision is written down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from collectors.reading import RAM, Bytes, Seconds, gib
from supervisor.core.ladder import Rung
from supervisor.core.policy import Policy
from supervisor.core.record import Decision
from supervisor.core.snapshot import ModelRef, Resident, Share, Snapshot
from supervisor.door import Carried
from supervisor.engines.base import EngineRefused
from supervisor.force import Force
from supervisor.journal.journal import Journal
from supervisor.web.requests import went_well
from tests.builders import ref
from tests.engines.fake import FakeLlamaRouter
from tests.scenarios.house import House, Ram, house

A, B = ref("a", "llama"), ref("b", "llama")


class Stop:
    """Whoever passes waits here while it is `shut`, and says that it has come."""

    def __init__(self) -> None:
        self.reached, self._open = asyncio.Event(), asyncio.Event()
        self._open.set()

    def shut(self) -> None:
        self.reached.clear()
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def __call__(self) -> None:
        if not self._open.is_set():
            self.reached.set()
            await self._open.wait()


class SlowJournal(Journal):
    def __init__(self) -> None:
        super().__init__(None)
        self.writing = Stop()

    async def record(self, decision: Decision) -> bool:
        await self.writing()
        return await super().record(decision)


@dataclass(slots=True)
class SlowForce(Force):
    """`refuses`: the engine answers, once it is let, that it does not unload."""

    asking: Stop = field(default_factory=Stop)
    refuses: bool = False

    async def take(self, rung: Rung, resident: Resident) -> None:
        await self.asking()
        if self.refuses:
            raise EngineRefused(resident.engine, "unload", "not now")
        # By its name: an attribute of a class with slots has no super() without arguments.
        await Force.take(self, rung, resident)


class Stage:
    """A house with one engine, whose models "a" and "b" hold 2 GiB each, and "a" is there."""

    def __init__(
        self, home: House, server: FakeLlamaRouter, journal: SlowJournal, ram: Ram
    ) -> None:
        self.ram = ram
        self.home, self.server, self.door = home, server, home.door
        self.force = SlowForce(home.executor.engines)
        home.executor.force = self.force
        home.executor.sample = self._look
        self.before = Stop()  # a look of who carries out
        self.writing, self.asking = journal.writing, self.force.asking
        self.seen: Callable[[], None] = lambda: None  # as soon as it has looked
        self._begun: list[asyncio.Task[Any]] = []

    async def _look(self) -> Snapshot:
        await self.before()
        snapshot = await self.home.loop.look()
        self.seen()
        return snapshot

    def begin(self, wish: Awaitable[Any]) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.ensure_future(wish)
        self._begun.append(task)
        return task

    async def chat(self, count: int, model: ModelRef = A) -> None:
        """So many are at work from now on, and that is seen."""
        self.server.busy[model.model] = count
        while bool((await self.home.tick()).contexts(model)) is not bool(count):
            pass

    async def rest(self, times: int = 3) -> None:
        await self.home.tick(times=times)
        await self.home.settle()

    async def everybody(self) -> None:
        """What was posted has been served, by whoever needs no answer from outside."""
        for _ in range(20):
            await asyncio.sleep(0)

    @property
    def farewells(self) -> frozenset[Any]:
        return self.home.loop.keeping.farewells.all

    @property
    def unloads(self) -> int:
        return len(self.server.calls("POST /models/unload"))

    @property
    def loads(self) -> int:
        return len(self.server.calls("POST /models/load"))


@asynccontextmanager
async def stage(policy: Policy | None = None, models: str = "a") -> AsyncIterator[Stage]:
    journal = SlowJournal()
    ram = Ram()

    def came(model: str) -> None:
        ram.free = Bytes(ram.free - gib(2))

    def left(model: str) -> None:
        ram.free = Bytes(ram.free + gib(2))

    async with FakeLlamaRouter(["a", "b"], on_load=came, on_unload=left) as server:
        for model in models:
            server.take(model)
        async with house({"llama": server}, (ram,), policy, journal=journal) as home:
            for model in "ab":
                home.children.anonymous[server.pids[model]] = gib(2)
                journal.remember(ref(model, "llama"), (Share(RAM, gib(2)),))
            found = Stage(home, server, journal, ram)
            await home.tick()
            yield found
            for task in found._begun:
                assert task.done()


def play(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 30))


def wants(at: Stage, how: str) -> Awaitable[Any]:
    if how == "lease":
        return at.home.claims.lease("a", "agent", Seconds(600))
    return at.door.pin("a") if how == "pin" else _load(at)


async def _load(at: Stage) -> Carried:
    carried = await at.door.load("a")
    assert went_well(carried)
    return carried
