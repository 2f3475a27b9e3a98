from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from collectors.reading import Seconds
from supervisor.events import ClockStepped, Event, Tick
from supervisor.jobs import Jobs, Steady


@dataclass
class Clocks:
    """A monotonic and a wall clock that only `sleep` moves; `steps` move the wall clock alone."""

    monotonic: float = 1000.0
    offset: float = 1.7e9
    steps: list[float] = field(default_factory=list)
    oversleep: float = 0.0
    turns: int = 8

    async def sleep(self, seconds: float) -> None:
        self.monotonic += seconds + self.oversleep
        if self.steps:
            self.offset += self.steps.pop(0)
        self.turns -= 1
        if self.turns < 0:
            raise asyncio.CancelledError
        await asyncio.sleep(0)

    def wall(self) -> float:
        return self.monotonic + self.offset


def paced(clocks: Clocks, period: Callable[[], Seconds] | None = None) -> list[Event]:
    posted: list[Event] = []

    async def story() -> None:
        jobs = Jobs(
            posted.append,
            Seconds(1.0),
            clock=lambda: clocks.monotonic,
            wall=clocks.wall,
            sleep=clocks.sleep,
            period=period,
        )
        await asyncio.gather(jobs.pace(), return_exceptions=True)

    asyncio.run(story())
    return posted


def test_a_tick_is_posted_each_interval_of_the_monotonic_clock() -> None:
    ticks = [e.due_at for e in paced(Clocks()) if isinstance(e, Tick)]
    assert ticks == [1000.0 + i for i in range(9)]


def test_a_step_of_the_wall_clock_is_noticed_and_stops_no_tick() -> None:
    events = paced(Clocks(steps=[0, -3600.0, 0, 0, 1e9]))
    assert [e.due_at for e in events if isinstance(e, Tick)] == [1000.0 + i for i in range(9)]
    assert [round(e.by) for e in events if isinstance(e, ClockStepped)] == [-3600, 10**9]


def test_drift_of_a_well_kept_clock_is_no_step() -> None:
    assert not [e for e in paced(Clocks(steps=[0.01] * 8)) if isinstance(e, ClockStepped)]


def test_ticks_that_were_slept_through_are_not_made_up_for() -> None:
    ticks = [e.due_at for e in paced(Clocks(oversleep=4.0)) if isinstance(e, Tick)]
    # Each says when it was due, and was posted 4 s later: one per wake-up, never a burst.
    assert ticks == [1000.0, *(1001.0 + 4 * i for i in range(8))]


@pytest.mark.parametrize("period", [0.25, 0.4, 1.0, 3.0])
def test_a_tick_is_posted_each_period_of_the_pace(period: float) -> None:
    """From a quarter of the base, 1 s here, to three times it."""
    clocks = Clocks(turns=40)
    ticks = [e.due_at for e in paced(clocks, lambda: Seconds(period)) if isinstance(e, Tick)]
    assert len(ticks) >= 4
    assert ticks == pytest.approx([1000.0 + i * period for i in range(len(ticks))])


def test_a_rest_is_cut_short_when_the_period_shrinks() -> None:
    clocks = Clocks(turns=12)
    ticks = [
        e.due_at
        for e in paced(clocks, lambda: Seconds(0.25 if clocks.monotonic >= 1001.6 else 3.0))
        if isinstance(e, Tick)
    ]
    # Looked at each quarter of the base: seen at 1001.75, and not before.
    assert ticks[:4] == [1000.0, 1001.5, 1001.75, 1002.0]


def test_a_tick_that_was_not_due_before_is_not_called_late() -> None:
    """What is posted is when it was due: whoever measures lateness by it must not be misled."""
    clocks, lags = Clocks(turns=12), list[float]()

    async def story() -> None:
        jobs = Jobs(
            lambda e: lags.append(clocks.monotonic - e.due_at) if isinstance(e, Tick) else None,
            Seconds(1.0),
            clock=lambda: clocks.monotonic,
            wall=clocks.wall,
            sleep=clocks.sleep,
            period=lambda: Seconds(0.25 if clocks.monotonic >= 1002.6 else 3.0),
        )
        await asyncio.gather(jobs.pace(), return_exceptions=True)

    asyncio.run(story())
    assert len(lags) > 2
    assert max(lags) <= 0.25, "a nap at most"


def test_a_period_that_grows_meanwhile_puts_the_tick_off() -> None:
    clocks = Clocks(turns=12)
    ticks = [
        e.due_at
        for e in paced(clocks, lambda: Seconds(2.0 if clocks.monotonic >= 1000.5 else 1.0))
        if isinstance(e, Tick)
    ]
    assert ticks[:2] == [1000.0, 1002.0]


def test_after_a_step_back_the_scheduler_s_jobs_run_again_within_their_period() -> None:
    async def story() -> tuple[timedelta, timedelta]:
        async def work() -> None: ...

        jobs = Jobs(lambda e: None, Seconds(3600), {"find engines": (Seconds(15), work)})
        jobs.start()
        # As it stands after the wall clock went back by an hour: due an hour from now.
        job = jobs.scheduler.get_job("find engines")
        job.modify(next_run_time=datetime.now(UTC) + timedelta(hours=1))
        stuck = jobs.scheduler.get_job("find engines").next_run_time - datetime.now(UTC)
        jobs.repair()
        mended = jobs.scheduler.get_job("find engines").next_run_time - datetime.now(UTC)
        await jobs.stop()
        return stuck, mended

    stuck, mended = asyncio.run(story())
    assert stuck > timedelta(minutes=59)
    assert mended <= timedelta(seconds=15)


def test_a_job_that_is_under_way_at_the_end_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def play() -> None:
        jobs = Jobs(lambda event: None, Seconds(60), {"waits": (Seconds(0.01), work)})
        jobs.start()
        async with asyncio.timeout(20):
            await begun.wait()
        await jobs.stop()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(play())
    assert begun.is_set()
    assert caplog.records == []


def test_of_ten_years_that_a_clock_is_set_on_one_run_is_made_up_for() -> None:
    """As the scheduler counts them: until one is due that lies ahead."""
    began, step = datetime(2016, 11, 21, tzinfo=UTC), Steady(seconds=5.0)
    now, at, overdue = began + timedelta(days=3653), began, 0
    while at <= now:
        overdue += 1
        assert overdue == 1
        found = step.get_next_fire_time(at, now)
        assert found is not None
        at = found
    assert at == now + timedelta(seconds=5)


def test_a_run_is_due_an_interval_after_the_one_before() -> None:
    at, step = datetime(2026, 11, 21, tzinfo=UTC), Steady(seconds=5.0)
    assert step.get_next_fire_time(at, at + timedelta(seconds=2)) == at + timedelta(seconds=5)
