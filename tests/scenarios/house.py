"""The whole house on stand-ins that speak over real sockets and through the real binding.

Time is a stepped clock: waiting for memory to settle takes none. `tick` is one round of the
loop: sample, assemble, watch, decide; `settle` lets what was begun come to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from collectors.owner import Owner
from collectors.reading import (
    RAM,
    Bytes,
    Collector,
    HostFacts,
    MemoryPool,
    PoolKind,
    ProcessMemory,
    Sample,
    Seconds,
    Tier,
    gib,
)
from supervisor.attribution import Attribution, Processes
from supervisor.claims import Claims
from supervisor.core.patience import Patience
from supervisor.core.policy import Policy
from supervisor.core.record import Mode
from supervisor.core.snapshot import EngineId, Snapshot
from supervisor.door import Door
from supervisor.engines import ENGINES
from supervisor.engines.base import Engine
from supervisor.events import Tick
from supervisor.executor import Executor
from supervisor.journal.journal import Journal
from supervisor.loop import Loop
from supervisor.sampler import Sampler
from supervisor.sources import Sources
from tests.engines.fakes import FAKES
from tests.scenarios.plain import Plain

KINDS = {type_.__name__: kind for kind, type_ in FAKES.items() if type_ is not None}


class Ram:
    """A host of 64 GiB of which 40 are free, unless told otherwise."""

    name = "host"
    deadline = Seconds(5.0)

    def __init__(self) -> None:
        self.free = gib(40)
        self.fault: str | None = None

    def read(self, tiers: Tier) -> Sample:
        if self.fault:
            raise OSError(self.fault)
        pool = MemoryPool(RAM, PoolKind.HOST, gib(64), self.free)
        return Sample(pools=(pool,), host=HostFacts(Bytes(0), Bytes(0)))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


PATIENCE = 60.0  # seconds, real ones: a loop that has ended never looks


class Children:
    """The processes of the fake engines' models: as many bytes as a test says."""

    def __init__(self) -> None:
        self.engines: list[Any] = []
        self.anonymous: dict[int, Bytes] = {}
        self.cpu: dict[int, float] = {}
        self.listening: dict[int, int] = {}  # port → pid, of engines that are not their models

    def commands(self) -> dict[int, tuple[str, ...]]:
        return {e.pids[m]: tuple(e.argv(m)) for e in self.engines for m in (*e.loaded, *e.loading)}

    def listener(self, port: int) -> int | None:
        """Of an engine that is one model: the process of that model."""
        whole = (e for e in self.engines if e.port == port and e.starts_loaded)
        models = (e.pids[m] for e in whole for m in e.loaded)
        return self.listening.get(port) or next(models, None)

    def read(self, pids: Iterable[int]) -> dict[int, ProcessMemory]:
        alive = {*self.commands(), *self.listening.values()}
        return {
            pid: ProcessMemory(
                pid, 1.0, self.anonymous.get(pid, Bytes(0)), (), Seconds(self.cpu.get(pid, 0.0))
            )
            for pid in pids
            if pid in alive
        }


class House:
    def __init__(
        self,
        servers: dict[str, Any],
        collectors: Iterable[Collector],
        policy: Policy,
        mode: Mode,
        journal: Journal | None = None,
        began: float = 1000.0,
    ) -> None:
        self.clock = Clock()
        self.clock.now = began
        self.children = Children()
        self.children.engines = list(servers.values())
        self.client = httpx.AsyncClient(transport=Plain(), trust_env=False, timeout=None)
        engines: dict[EngineId, Engine] = {}
        for name, server in servers.items():
            kind = ENGINES[KINDS[type(server).__name__]]
            engines[EngineId(name)] = kind(EngineId(name), server.url, self.client, None)
        self.sampler = Sampler(
            # Threads of a busy machine: what is late in real time is not late in this story.
            Sources(
                tuple(Owner(c, self.clock) for c in collectors),
                clock=self.clock,
                soon=Seconds(5.0),
            ),
            engines,
            Attribution(
                Processes(
                    self.children.read,
                    self.children.commands,
                    self.children.read,
                    self.children.listener,
                    lambda pid: None,
                ),
                self.clock,
            ),
            clock=self.clock,
        )
        self.executor = Executor(
            self.sampler.sample, engines, mode, clock=self.clock, sleep=self.clock.sleep
        )
        self.journal = journal or Journal(None)
        self.loop = Loop(
            self.sampler, self.executor, self.journal, policy, mode, Patience(), clock=self.clock
        )
        self.executor.sample, self.executor.glance = self.loop.look, self.loop.glance
        self.loop.keeping.processes = self.sampler.processes
        self.door = Door(self.loop, sleep=self._pass_time)
        self.claims = Claims(self.door)

    async def tick(self, seconds: float = 1.0, times: int = 1) -> Snapshot:
        """Let `seconds` pass and look, `times` over; what is decided is begun, not awaited."""
        for _ in range(times):
            self.clock.now += seconds
            seen = self.loop.counts.samples
            self.loop.post(Tick(self.clock.now))
            async with asyncio.timeout(PATIENCE):
                while self.loop.counts.samples == seen:
                    await self.loop.changed()
        assert self.loop.snapshot is not None
        return self.loop.snapshot

    async def settle(self) -> Snapshot:
        """Wait for the runs under way, then look once more."""
        while self.loop.runs:
            await asyncio.wait([r.done for r in self.loop.runs])
        return await self.tick(0.0)

    async def _pass_time(self, seconds: float) -> None:
        await self.tick(seconds)

    def findings(self) -> set[tuple[str, str]]:
        return {(f.kind.value, f.subject) for f in self.loop.findings}

    def decisions(self) -> list[dict[str, Any]]:
        """Oldest first."""
        return self.journal.decisions(limit=100)[::-1]


@asynccontextmanager
async def house(
    servers: dict[str, Any],
    collectors: Iterable[Collector] | None = None,
    policy: Policy | None = None,
    mode: Mode = Mode.ENFORCE,
    journal: Journal | None = None,
    began: float = 1000.0,
) -> AsyncIterator[House]:
    built = House(servers, collectors or (Ram(),), policy or Policy(), mode, journal, began)
    built.journal.open()
    built.loop.policy = built.loop.keeping.recall(built.loop.policy)
    task = asyncio.create_task(built.loop.run())
    try:
        yield built
    finally:
        await built.loop.drain(Seconds(5.0))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await built.sampler.close()
        await built.client.aclose()
        built.journal.close()
