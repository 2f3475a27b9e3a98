"""The real pipeline on a demo machine: sampler, loop, executor, door, jobs, journal."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from collectors.owner import Owner
from collectors.reading import Seconds
from supervisor.aside import Aside
from supervisor.attribution import Attribution, Processes
from supervisor.core.policy import Policy
from supervisor.core.record import Mode
from supervisor.door import Door
from supervisor.engines.base import Engine
from supervisor.executor import Executor
from supervisor.jobs import Jobs
from supervisor.journal.journal import Journal
from supervisor.loop import Loop
from supervisor.sampler import Sampler
from supervisor.sources import Sources

from .clock import Clock, SteppedLoop
from .machine import DemoCollector, DemoMachine, InlineAside, InlineOwner

DRAIN = Seconds(2.0)
INTERVAL = Seconds(0.5)
SETTLE = Seconds(3.0)


@dataclass(slots=True)
class World:
    """Everything that runs while a demo runs. `start` and `stop` once each, or `async with`."""

    clock: Clock
    loop: Loop
    door: Door
    jobs: Jobs
    journal: Journal
    owners: tuple[Owner, ...]
    _task: asyncio.Task[None] | None = field(default=None)

    async def __aenter__(self) -> World:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Returns when the first sample is in."""
        self.journal.open()
        self.loop.policy = self.loop.keeping.recall(self.loop.policy)
        self._task = asyncio.create_task(self.loop.run(), name="loop")
        self.jobs.start()
        await self.loop.changed()

    async def stop(self) -> None:
        await self.jobs.stop()
        await self.loop.drain(DRAIN)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.loop.sampler.close()
        for owner in self.owners:
            owner.close()
        self.journal.close()


def assemble(
    clock: Clock,
    owners: Iterable[Owner],
    engines: Iterable[Engine],
    policy: Policy,
    *,
    processes: Processes | None = None,
    aside: Aside | None = None,
    mode: Mode = Mode.ENFORCE,
    interval: Seconds = INTERVAL,
    settle: Seconds = SETTLE,
    journal: Journal | None = None,
) -> World:
    """Put the daemon's parts together as app.build does, with time as an argument."""
    owners, by_id = tuple(owners), {e.id: e for e in engines}
    sampler = Sampler(
        sources=Sources(owners, clock=clock),
        engines=by_id,
        attribution=Attribution(processes or Processes(), clock, aside or Aside("read processes")),
        busy_while_fresh=policy.busy_while_fresh,
        clock=clock,
    )
    executor = Executor(
        sample=sampler.sample,
        engines=by_id,
        mode=mode,
        settle=settle,
        clock=clock,
        wall=clock.wall,
        sleep=clock.sleep,
    )
    journal = journal or Journal(None)
    loop = Loop(sampler, executor, journal, policy, mode, clock=clock, wall=clock.wall)
    executor.sample, executor.glance = loop.look, loop.glance
    door = Door(loop, sleep=clock.sleep)
    jobs = Jobs(loop.post, interval, clock=clock, wall=clock.wall, sleep=clock.sleep)
    return World(clock, loop, door, jobs, journal, owners)


def assemble_demo(
    clock: Clock,
    machine: DemoMachine,
    engines: Iterable[Engine],
    policy: Policy,
    *,
    mode: Mode = Mode.ENFORCE,
    interval: Seconds = INTERVAL,
) -> World:
    """A world on `machine`. On a stepped loop nothing is left to another thread."""
    stepped = isinstance(asyncio.get_running_loop(), SteppedLoop)
    owner = (InlineOwner if stepped else Owner)(DemoCollector(machine), clock)
    aside = (InlineAside if stepped else Aside)("read processes")
    return assemble(
        clock,
        [owner],
        engines,
        policy,
        processes=machine.processes(),
        aside=aside,
        mode=mode,
        interval=interval,
    )
