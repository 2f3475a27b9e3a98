"""Bytes that are kept free for jobs that are none of our models."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from collectors.reading import (
    RAM,
    Bytes,
    HostFacts,
    MemoryPool,
    PoolKind,
    Process,
    Sample,
    Seconds,
    Tier,
    gib,
)
from supervisor.core.headroom import rooms
from supervisor.core.policy import Amount, Policy, PoolPolicy
from supervisor.core.snapshot import Share
from supervisor.door import Unknown
from supervisor.journal.journal import Journal
from tests.builders import ref
from tests.engines.fake import FakeLlamaRouter
from tests.scenarios.house import House, Ram, house

BARE = Policy(pools={RAM: PoolPolicy(reserve=Amount(gib(4)))}, restore_margin=Bytes(0))


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 30))


def sized(home: House, server: FakeLlamaRouter, **sizes: int) -> None:
    """What each model's process holds, and what is known of it before it is loaded."""
    for model, size in sizes.items():
        home.children.anonymous[server.pids[model]] = gib(size)
        home.journal.remember(ref(model, "llama"), (Share(RAM, gib(size)),))


class Machine(Ram):
    """RAM, and a table of processes."""

    def __init__(self, *processes: Process) -> None:
        super().__init__()
        self.processes = processes

    def read(self, tiers: Tier) -> Sample:
        pool = MemoryPool(RAM, PoolKind.HOST, gib(64), self.free)
        facts = HostFacts(Bytes(0), Bytes(0))
        return Sample(pools=(pool,), host=facts, processes=self.processes or None)


def process(pid: int, parent: int, size: int) -> Process:
    return Process(pid, parent, "python", gib(size), Bytes(0))


def headroom(home: House) -> float:
    assert home.loop.snapshot is not None
    (room,) = rooms(home.loop.snapshot, home.loop.policy)
    return room.headroom / gib(1)


def test_room_is_made_for_a_job_and_kept_until_it_is_given_back() -> None:
    async def story() -> None:
        ram = Ram()

        def back(model: str) -> None:
            ram.free = Bytes(ram.free + gib(20))

        async with FakeLlamaRouter(["a", "b"], on_unload=back) as server:
            server.take("a")
            async with house({"llama": server}, [ram], BARE) as home:
                sized(home, server, a=20, b=10)
                ram.free = gib(12)
                await home.tick()
                granted = await home.claims.reserve(gib(18), RAM, "train", Seconds(3600))
                job = granted.job
                assert job is not None
                assert server.loaded == []
                await home.tick()
                assert headroom(home) == 32 - 4 - 18
                refused = await home.claims.lease("b", "agent", Seconds(60))
                assert refused.lease is not None  # 10 are left
                ram.free = gib(22)
                await home.tick(times=2)
                assert headroom(home) == 0
                with pytest.raises(Unknown):
                    home.claims.renew_reservation("r-none", None)
                home.claims.close_reservation(job.id)
                await home.tick()
                assert headroom(home) == 18

    run(story)


def test_what_cannot_be_had_is_refused_and_evicts_nobody() -> None:
    async def story() -> None:
        ram = Ram()
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}, [ram], BARE) as home:
                sized(home, server, a=10)
                await home.tick()
                granted = await home.claims.reserve(gib(60), RAM, "train", Seconds(3600))
                assert granted.job is None
                assert server.loaded == ["a"]
                assert home.loop.keeping.reserved.all == ()
                await home.tick()
                assert headroom(home) == 36  # and nothing is held for it

    run(story)


def test_a_job_that_runs_already_needs_room_for_what_it_has_not_taken_yet() -> None:
    async def story() -> None:
        ram = Machine(process(10, 1, 2), process(11, 10, 6), process(99, 1, 3))
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}, [ram], BARE) as home:
                sized(home, server, a=10)
                ram.free = gib(33)
                await home.tick(20.0)
                granted = await home.claims.reserve(gib(36), RAM, "t", Seconds(3600), [10])
                assert granted.job is not None
                assert server.loaded == ["a"], "nobody had to go for it"
                await home.tick(20.0)
                assert headroom(home) == 33 - 4 - (36 - 2 - 6)

    run(story)


def test_what_a_job_holds_already_counts_for_one_of_its_reservations_alone() -> None:
    async def story() -> None:
        ram = Machine(process(10, 1, 6))
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}, [ram], BARE) as home:
                sized(home, server, a=10)
                ram.free = gib(14)
                await home.tick(20.0)
                first = await home.claims.reserve(gib(6), RAM, "t", Seconds(3600), [10])
                assert first.job is not None
                assert headroom(home) == 14 - 4, "all of it is there"
                second = await home.claims.reserve(gib(6), RAM, "t", Seconds(3600), [10])
                assert second.job is not None
                await home.tick(20.0)
                assert headroom(home) == 14 - 4 - 6
                third = await home.claims.reserve(gib(6), RAM, "t", Seconds(3600), [10])
                assert third.job is None, "4 are left"

    run(story)


def test_bytes_that_the_job_uses_are_not_counted_twice() -> None:
    async def story() -> None:
        ram = Machine(process(10, 1, 1), process(99, 1, 3))
        async with FakeLlamaRouter(["a"]) as server:
            async with house({"llama": server}, [ram], BARE) as home:
                await home.tick()
                job = (await home.claims.reserve(gib(12), RAM, "t", Seconds(3600), [10])).job
                assert job is not None
                await home.tick(20.0)
                assert headroom(home) == 40 - 4 - 11
                # It starts a worker of its own, and both take memory.
                ram.processes = (process(10, 1, 2), process(11, 10, 6), process(99, 1, 3))
                ram.free = gib(33)
                await home.tick(20.0, times=2)
                assert headroom(home) == 33 - 4 - 4
                ram.processes = (process(11, 1, 14), process(99, 1, 3))  # the parent has ended
                ram.free = gib(27)
                await home.tick(20.0, times=2)
                assert headroom(home) == 27 - 4  # it takes more than it asked for
                assert home.loop.keeping.reserved.all == (job,)
                ram.processes = (process(99, 1, 3),)
                ram.free = gib(41)
                await home.tick(20.0, times=2)
                assert home.loop.keeping.reserved.all == ()  # all of it has ended

    run(story)


def test_a_budget_is_not_for_jobs() -> None:
    async def story() -> None:
        own = PoolPolicy(reserve=Amount(gib(4)), budget=Amount(gib(10)))
        policy = Policy(pools={RAM: own}, restore_margin=Bytes(0))
        async with FakeLlamaRouter(["a"]) as server:
            async with house({"llama": server}, policy=policy) as home:
                sized(home, server, a=8)
                await home.tick()
                assert (await home.claims.reserve(gib(20), RAM, "t", Seconds(60))).job is not None
                await home.tick()
                assert headroom(home) == 10  # what the models' budget leaves
                assert (await home.claims.lease("a", "agent", Seconds(60))).lease is not None

    run(story)


def test_a_reservation_runs_out_and_survives_a_restart_until_then(tmp_path: Path) -> None:
    async def story() -> None:
        file = tmp_path / "journal.db"
        async with FakeLlamaRouter(["a"]) as server:
            async with house({"llama": server}, policy=BARE, journal=Journal(file)) as home:
                await home.tick()
                assert (await home.claims.reserve(gib(9), RAM, "a", Seconds(50))).job is not None
                assert (await home.claims.reserve(gib(5), RAM, "b", Seconds(300))).job is not None
                await home.tick()
                assert headroom(home) == 36 - 14
            again = house({"llama": server}, policy=BARE, journal=Journal(file), began=1100.0)
            async with again as home:
                await home.tick()
                assert headroom(home) == 36 - 5
                (job,) = home.loop.keeping.reserved.all
                home.claims.renew_reservation(job.id, Seconds(500))
                await home.tick(400.0)
                assert headroom(home) == 36 - 5
                await home.tick(200.0)
                assert headroom(home) == 36

    run(story)


def test_two_that_ask_at_once_are_not_given_the_same_bytes() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            async with house({"llama": server}, policy=BARE) as home:
                await home.tick()
                one, two = await asyncio.gather(
                    home.claims.reserve(gib(20), RAM, "one", Seconds(60)),
                    home.claims.reserve(gib(20), RAM, "two", Seconds(60)),
                )
                assert [g.job is not None for g in (one, two)].count(True) == 1
                await home.tick()
                assert headroom(home) == 16

    run(story)
