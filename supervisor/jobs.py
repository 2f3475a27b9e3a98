"""Which event is posted how often. Jobs post; they never act.

APScheduler 3 reads the wall clock: when that steps back by an hour, its jobs sleep for an
hour. So whatever keeps headroom is paced here by the monotonic clock, the rest is left to
the scheduler, and a guard that runs with the pace notices a step and repairs its jobs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from collectors.reading import Seconds

from .events import ClockStepped, Event, Tick

# Wall and monotonic clocks drift by parts per million; whoever sets the clock moves it by more.
STEP = Seconds(2.0)


class Steady(IntervalTrigger):  # type: ignore[misc]
    """What was missed is not made up for. The scheduler goes through each run that is overdue
    before it makes one of them: of a clock that is set ten years on those are many millions, and
    the loop stood still for as long, if that came before the guard."""

    def get_next_fire_time(
        self, previous_fire_time: datetime | None, now: datetime
    ) -> datetime | None:
        if previous_fire_time is not None and now - previous_fire_time > self.interval:
            later: datetime = now + self.interval
            return later
        found: datetime | None = super().get_next_fire_time(previous_fire_time, now)
        return found


@dataclass(slots=True)
class Jobs:
    """`every` maps a job's name to its period in seconds and what it does: post, or start
    something that posts. `period` tells how long until the next tick; without it, `interval`."""

    post: Callable[[Event], None]
    interval: Seconds
    every: dict[str, tuple[Seconds, Callable[[], Awaitable[None]]]] = field(default_factory=dict)
    period: Callable[[], Seconds] | None = None
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    scheduler: AsyncIOScheduler = field(
        default_factory=lambda: AsyncIOScheduler(
            timezone="UTC",
            # The default forgives a job one second of lateness and runs all that it missed.
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
    )
    _pace: asyncio.Task[None] | None = None
    _offset: float = 0.0

    def start(self) -> None:
        """Needs a running event loop."""
        logging.getLogger("apscheduler").setLevel(logging.ERROR)  # it warns at every late tick
        for name, (seconds, work) in self.every.items():
            trigger = Steady(seconds=seconds)
            self.scheduler.add_job(_to_its_end, trigger, (work,), id=name, name=name)
        self.scheduler.start()
        self._pace = asyncio.create_task(self.pace(), name="pace")

    async def stop(self) -> None:
        self.scheduler.shutdown(wait=False)
        if self._pace is not None:
            self._pace.cancel()
            await asyncio.gather(self._pace, return_exceptions=True)

    async def pace(self) -> None:
        """Post a tick each period, on the monotonic clock, until cancelled."""
        self._offset = self.wall() - self.clock()
        due_at = self.clock()
        while True:
            self.post(Tick(due_at, paced=True))
            last, seen_at, left = due_at, self.clock(), 1.0
            while left > 0:
                left = max(0.0, max(last + self._period(), seen_at) - self.clock())
                # A long rest is slept in pieces: what is begun meanwhile may end it.
                await self.sleep(min(left, self.interval / 4) if self.period else left)
                self._look_at_clock()
                # A period that has shrunk since we looked: the tick was not due before.
                due_at = max(last + self._period(), seen_at)
                seen_at = self.clock()
                left = due_at - seen_at

    def _period(self) -> Seconds:
        return self.interval if self.period is None else self.period()

    def _look_at_clock(self) -> None:
        step = (self.wall() - self.clock()) - self._offset
        if abs(step) > STEP:
            self._offset += step
            self.post(ClockStepped(step))
            self.repair()

    def repair(self) -> None:
        """Count every job's next run from now, by the clock as it is now."""
        for job in self.scheduler.get_jobs():
            job.reschedule(Steady(seconds=self.every[job.id][0]))


async def _to_its_end(work: Callable[[], Awaitable[None]]) -> None:
    """A job that is under way when the scheduler ends is cancelled: no failure to be told of."""
    with contextlib.suppress(asyncio.CancelledError):
        await work()
