"""Stepped time: sleeps end in their order, at once, and the same on every run."""

import asyncio
import time

import pytest

from supervisor.demo.clock import Clock, run


def test_sleepers_wake_in_the_order_of_their_times_and_not_of_their_start():
    async def main():
        clock, woken = Clock(), []

        async def sleeper(seconds):
            await clock.sleep(seconds)
            woken.append((seconds, clock() - started))

        started = clock()
        tasks = [asyncio.create_task(sleeper(s)) for s in (3, 1, 2, 60)]
        await clock.advance(3)
        assert woken == [(1, 1), (2, 2), (3, 3)]
        await clock.advance(56)
        assert len(woken) == 3
        await clock.advance(1)
        assert woken[-1] == (60, 60)
        await asyncio.gather(*tasks)

    run(main())


def test_an_hour_passes_in_no_time():
    async def main():
        clock = Clock()
        before, real = clock(), time.perf_counter()
        await clock.advance(3600)
        assert clock() - before == 3600
        assert time.perf_counter() - real < 1

    run(main())


def test_after_an_advance_everybody_has_done_what_was_due():
    async def main():
        clock, done = Clock(), []

        async def worker():
            await clock.sleep(5)
            for _ in range(200):  # work of many turns that takes no time
                await asyncio.sleep(0)
            done.append(True)

        task = asyncio.create_task(worker())
        await clock.advance(5)
        assert done == [True]
        await task

    run(main())


def test_a_timeout_ends_by_the_stepped_clock():
    async def main():
        before = Clock()()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.get_running_loop().create_future()
        assert Clock()() - before == 30

    run(main())


def test_work_for_another_thread_is_done_before_time_goes_on():
    async def main():
        before = Clock()()
        assert await asyncio.to_thread(lambda: 42) == 42
        with pytest.raises(ValueError, match="no"):
            await asyncio.to_thread(int, "no")
        assert Clock()() == before

    run(main())


def test_waiting_for_what_nobody_will_ever_do_is_an_error_and_no_hang():
    async def main():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="everybody waits"):
        run(main())


def test_a_clock_on_a_real_loop_cannot_be_advanced():
    async def main():
        with pytest.raises(RuntimeError, match="stepped"):
            await Clock().advance(1)

    asyncio.run(main())


def test_a_clock_runs_at_its_speed_and_its_wall_clock_with_it():
    async def main():
        clock = Clock(speed=10)
        before, wall = clock(), clock.wall()
        await clock.sleep(5)
        assert clock() - before == pytest.approx(5)
        assert clock.wall() - wall == pytest.approx(5)

    run(main())
