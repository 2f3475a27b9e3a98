"""A machine with three engines, its people, and one daemon after the other on one disk.

Everything happens when it is told to: between two steps of a story no time passes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from collectors.reading import RAM, Bytes, PoolId, Seconds, Tier, gib
from supervisor.alerting import Alerting
from supervisor.config.alerted import Kind
from supervisor.config.gated import GatewayConfig
from supervisor.core.policy import Amount, Brake, Policy
from supervisor.core.record import Mode
from supervisor.core.snapshot import EngineId, ModelId, ModelRef, Share, Source
from supervisor.demo.clock import EPOCH, Clock, SteppedLoop
from supervisor.demo.engines import DemoModel
from supervisor.demo.machine import GPU0, GPU1, DemoCollector, DemoMachine, InlineAside, InlineOwner
from supervisor.demo.world import DRAIN, World, assemble
from supervisor.gateway.admission import Admission
from tests.alerting.post import action, config
from tests.stateful.disk import Disk, journal_on
from tests.stateful.engines import Troubled, TroubledComfy, TroubledOllama, Witness

INTERVAL, SETTLE = Seconds(1.0), Seconds(3.0)
GATEWAY = replace(
    GatewayConfig(),
    max_wait=Seconds(20),
    max_held=6,
    loads_per_pool=2,
    drain_after=Seconds(5),
    drain_timeout=Seconds(5),
)
# Of what alerts may do, what makes somebody go; as often as there are alerts.
ALERTS = config(
    action(Kind.EVICT, "room", match={}, below=Amount(fraction=1.0), free=Amount(fraction=0.7)),
    limit=Brake(1000, Seconds(1)),
)
ONE, TWO, THREE = EngineId("one"), EngineId("two"), EngineId("three")
TENANTS: dict[EngineId, dict[str, tuple[PoolId, float, float]]] = {
    # of each model: where it is, its GiB there, and its GiB of RAM besides
    ONE: {"a": (GPU0, 8, 0), "b": (GPU0, 8, 0), "c": (GPU0, 12, 1), "d": (GPU1, 6, 0)},
    TWO: {"e": (GPU0, 5, 0), "f": (GPU1, 7, 0), "g": (GPU1, 9, 0), "h": (RAM, 20, 0)},
    THREE: {"i": (GPU1, 5, 2)},
}
REFS = tuple(ModelRef(e, ModelId(m)) for e, found in TENANTS.items() for m in found)


class SteppedWall(Clock):
    """A wall clock that somebody sets, beside the monotonic one that nobody can."""

    ahead = 0.0

    def wall(self) -> float:
        return EPOCH + self() + self.ahead


class Told(DemoCollector):
    """What the driver last said of each pool, and when; None: that it cannot be read."""

    last: dict[PoolId, tuple[float, Bytes | None]]

    def read(self, tiers: Tier) -> Any:
        now = self.machine.clock()
        try:
            sample = super().read(tiers)
        except RuntimeError:
            self.last |= dict.fromkeys(self.machine.totals, (now, None))
            raise
        self.last |= dict.fromkeys(self.machine.totals, (now, None))
        self.last |= {p.id: (now, p.free) for p in sample.pools}
        return sample


class Errors(logging.Handler):
    """Whatever the daemon says of its own bugs, and of requests that nobody ended."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info and record.levelno >= logging.ERROR:
            self.found.append(f"{text}: {record.exc_info[1]!r}")
        elif "was never ended" in text:
            self.found.append(text)


class Town:
    """`told` hears each call to an engine before it does anything."""

    def __init__(self, witness: Witness, policy: Policy) -> None:
        self.runner = asyncio.Runner(loop_factory=SteppedLoop)
        self.errors = Errors()
        self._log = logging.getLogger("ullage")
        self._log.addHandler(self.errors)
        self._propagated, self._log.propagate = self._log.propagate, False
        self._work: set[asyncio.Task[Any]] = set()
        self.disk, self.policy, self.boot = Disk(), policy, "first"
        self.mode = Mode.ENFORCE
        self.do(self._build(witness))

    async def _build(self, witness: Witness) -> None:
        self.clock = SteppedWall()
        self.machine = DemoMachine(self.clock)
        self.machine.start("system", {RAM: gib(6)})
        kinds = {ONE: Troubled, TWO: TroubledOllama, THREE: TroubledComfy}
        self.engines = {
            id: kind(
                id,
                self.machine,
                self.clock.sleep,
                witness,
                self.keep,
                *(_model(name, *TENANTS[id][name]) for name in TENANTS[id]),
            )
            for id, kind in kinds.items()
        }

    # -- time

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def pass_time(self, seconds: float | None) -> None:
        """None: one turn of the loop and no more; 0: until everybody waits for something."""

        async def passed() -> None:
            if seconds is None:
                await asyncio.sleep(0)
            elif seconds == 0:
                await asyncio.get_running_loop().settled()  # type: ignore[attr-defined]
            else:
                await self.clock.advance(seconds)

        self.do(passed())

    def keep(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Somebody does something, whoever may have asked for it; call it from within the loop."""
        task = asyncio.ensure_future(work)
        self._work.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._work.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited for it may have gone

    # -- daemons

    def begin(self) -> None:
        self.do(self._begin())

    async def _begin(self) -> None:
        self.collector = Told(self.machine)
        self.collector.last = {}
        journal, self.pen = journal_on(self.disk, self.clock.wall)
        self.world: World = assemble(
            self.clock,
            [InlineOwner(self.collector, self.clock)],
            list(self.engines.values()),
            self.policy,
            processes=self.machine.processes(),
            aside=InlineAside("read processes"),
            mode=self.mode,
            interval=INTERVAL,
            settle=SETTLE,
            journal=journal,
        )
        loop = self.world.loop
        object.__setattr__(loop.keeping.deadlines, "boot", lambda: self.boot)
        began = self.clock()
        await self.world.start()
        self.began = began
        self.admission = Admission(loop, GATEWAY)
        self.alerting = Alerting(ALERTS, self.world.door)
        self.alerting.start()
        for ref in REFS:
            if journal.footprint(ref) is None:
                takes = self.engines[ref.engine].models[ref.model].takes
                shares = tuple(Share(p, s, Source.LEARNED) for p, s in sorted(takes.items()))
                journal.remember(ref, shares)

    def end(self) -> None:
        """As it is told to: what is under way is finished, and everybody else sent away."""

        async def end() -> None:
            self.admission.stop()
            await self.world.loop.drain(DRAIN)
            await self.alerting.stop()
            await self.world.stop()
            await self.admission.close()

        self.do(end())

    def kill(self, wrote: int | None) -> None:
        """At once: nobody is told anything, and not a byte more is written than so many of the
        writes that wait; None: than all of them."""

        async def kill() -> None:
            self.pen.stop(wrote)
            for work in self.alerting._work.values():
                work.resolved = False  # its task would see to that yet
            self.admission.traffic.listener = None
            mine = asyncio.current_task()
            tasks = [t for t in asyncio.all_tasks() if t is not mine and t not in self._work]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self.world.jobs.scheduler.shutdown(wait=False)
            self.admission._agenda.close()

        self.do(kill())

    def close(self) -> None:
        self._log.removeHandler(self.errors)
        self._log.propagate = self._propagated
        self.runner.close()

    # -- how it is

    def is_told_to_go(self, ref: ModelRef) -> bool:
        """Its engine has been told to unload it, and has not answered yet."""
        calls = (c for c in self.engines[ref.engine].calls if c.ref == ref and c.kind == "unload")
        return any(c.ended is None and c.began >= self.began for c in calls)

    def holds(self, ref: ModelRef, pool: PoolId) -> int:
        tenant = self.engines[ref.engine].models[ref.model].tenant
        return 0 if tenant is None else tenant.holds(pool, self.clock())


def home(ref: ModelRef) -> PoolId:
    return TENANTS[ref.engine][ref.model][0]


def _model(name: str, pool: PoolId, size: float, ram: float) -> DemoModel:
    takes = {pool: gib(size)} | ({RAM: gib(ram)} if ram else {})
    return DemoModel(ModelId(name), takes, load=2.0, free=0.5)
