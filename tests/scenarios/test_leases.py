"""Leases on models, and bytes that are kept free for foreign jobs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from collectors.reading import (
    RAM,
    Bytes,
    Seconds,
    gib,
)
from supervisor.core.plan import Why
from supervisor.core.policy import Amount, Policy, PoolPolicy, Retention
from supervisor.core.record import Mode
from supervisor.core.snapshot import Share
from supervisor.core.status import Hold, Status
from supervisor.door import DoorError, Unknown
from supervisor.journal.journal import Journal
from tests.builders import ref
from tests.engines.fake import FakeLlamaRouter
from tests.scenarios.house import House, Ram, house

A, B = ref("a", "llama"), ref("b", "llama")
ON_DEMAND = Policy(retention=Retention.ON_DEMAND)
BARE = Policy(pools={RAM: PoolPolicy(reserve=Amount(gib(4)))}, restore_margin=Bytes(0))


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 30))


async def until_settled(home: House, seconds: float = 1.0, times: int = 1) -> None:
    await home.tick(seconds, times)
    await home.settle()


def sized(home: House, server: FakeLlamaRouter, **sizes: int) -> None:
    """What each model's process holds, and what is known of it before it is loaded."""
    for model, size in sizes.items():
        home.children.anonymous[server.pids[model]] = gib(size)
        home.journal.remember(ref(model, "llama"), (Share(RAM, gib(size)),))


# -- leases


def test_an_on_demand_model_is_loaded_for_its_first_lease_and_goes_with_its_last() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            async with house({"llama": server}, policy=ON_DEMAND) as home:
                sized(home, server, a=4)
                await home.tick()
                one = await home.claims.lease("a", "agent-1", Seconds(60))
                assert server.loaded == ["a"]
                assert one.lease is not None
                assert one.standing.status is Status.LOADED
                two = await home.claims.lease("a", "agent-2", Seconds(90))
                assert (two.carried, two.standing.contexts) == (None, 2)
                await until_settled(home, 50.0)
                assert two.lease is not None
                assert home.claims.close_lease(one.lease.id).client == "agent-1"
                await until_settled(home)
                assert server.loaded == ["a"]  # agent-2 holds it still
                assert [k.client for k in home.claims.standing(A).keepers] == ["agent-2"]
                home.claims.close_lease(two.lease.id)
                await until_settled(home)
                assert server.loaded == []
                assert home.decisions()[-1]["trigger"] == "unused"

    run(story)


def test_a_client_that_is_lost_loses_its_lease_and_one_that_renews_does_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "ullage.loop")

    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}, policy=ON_DEMAND) as home:
                await home.tick()
                kept = (await home.claims.lease("a", "renews", Seconds(60))).lease
                lost = (await home.claims.lease("a", "is lost", Seconds(60))).lease
                assert kept is not None
                assert lost is not None
                for _ in range(4):
                    await until_settled(home, 40.0)
                    home.claims.renew_lease(kept.id, None)
                assert [e.client for e in home.loop.keeping.leases.all] == ["renews"]
                assert "is lost has lost its lease on llama/a" in caplog.text
                with pytest.raises(Unknown, match="expired"):
                    home.claims.renew_lease(lost.id, None)
                with pytest.raises(Unknown, match="expired"):
                    home.claims.close_lease(lost.id)
                assert server.loaded == ["a"]
                await until_settled(home, 61.0)
                assert server.loaded == []

    run(story)


def test_a_leased_model_is_spared_also_when_memory_is_short_and_that_is_said() -> None:
    async def story() -> None:
        ram = Ram()
        async with FakeLlamaRouter(["a", "b"]) as server:
            server.take("a")
            server.take("b")
            async with house({"llama": server}, [ram], BARE) as home:
                sized(home, server, a=10, b=10)
                await home.tick()
                await home.claims.lease("a", "agent", Seconds(600))
                ram.free = gib(1)
                await until_settled(home, times=2)
                assert server.loaded == ["a"]
                notes = {n["model"]: n["why"] for n in home.decisions()[-1]["notes"]}
                assert notes["llama/a"] == Why.LEASED.value
                ram.free = gib(1)
                await until_settled(home, times=30)
                assert server.loaded == ["a"]  # nobody else is left, and it stays
                await home.door.evict(["a"], force=True)
                assert server.loaded == []

    run(story)


def test_a_lease_that_expires_while_its_model_is_loading_leaves_nothing_behind() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.slow_loads = True
            async with house({"llama": server}, policy=ON_DEMAND) as home:
                sized(home, server, a=4)
                await home.tick()
                leased = await home.claims.lease("a", "in a hurry", Seconds(5), wait=False)
                assert leased.lease is not None
                assert leased.standing.status is Status.LOADING
                await home.tick(1.0, times=9)
                assert home.loop.keeping.leases.all == ()
                server.finish("a")
                await until_settled(home)
                await until_settled(home)
                assert server.loaded == []  # its only user has gone meanwhile

    run(story)


def test_the_time_of_a_lease_begins_when_the_model_is_there_for_whoever_waits() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.slow_loads = True
            async with house({"llama": server}, policy=ON_DEMAND) as home:
                sized(home, server, a=4)
                await home.tick()
                asked = asyncio.create_task(home.claims.lease("a", "patient", Seconds(5)))
                while not server.loading:
                    await home.tick()
                await home.tick(1.0, times=9)
                assert not asked.done()
                server.finish("a")
                while not asked.done():
                    await home.tick(0.1)
                lease = asked.result().lease
                assert lease is not None
                assert lease.expires_at - home.clock.now > 4
                await until_settled(home)
                assert server.loaded == ["a"]

    run(story)


def test_a_client_that_hangs_up_while_its_model_is_loading_has_no_lease() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.slow_loads = True
            async with house({"llama": server}, policy=ON_DEMAND) as home:
                sized(home, server, a=4)
                await home.tick()
                asked = asyncio.create_task(home.claims.lease("a", "gone", Seconds(600)))
                while not server.loading:
                    await home.tick()
                asked.cancel()
                with suppress(asyncio.CancelledError):
                    await asked
                assert home.loop.keeping.leases.all == ()
                server.finish("a")
                await until_settled(home, times=2)

    run(story)


def test_a_lease_on_what_does_not_fit_or_is_not_there_is_refused() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"]) as server:
            server.take("b")
            async with house({"llama": server}, policy=BARE) as home:
                sized(home, server, a=60, b=2)
                await home.tick()
                refused = await home.claims.lease("a", "agent", Seconds(60))
                assert refused.lease is None
                assert refused.carried is not None
                assert refused.carried.decision.plan.unmet
                with pytest.raises(Unknown):
                    await home.claims.lease("nobody", "agent", Seconds(60))
                assert home.loop.keeping.leases.all == ()

    run(story)


def test_a_model_that_is_leaving_is_not_leased_to_anybody_until_that_is_taken_back() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}) as home:
                sized(home, server, a=4)
                await home.tick()
                held = (await home.claims.lease("a", "agent", Seconds(60))).lease
                assert held is not None
                carried = await home.door.evict(["a"])
                assert carried.leaving == ((A, 1),)
                await home.tick()
                with pytest.raises(DoorError, match=r"contexts=1"):
                    await home.claims.lease("a", "late", Seconds(60))
                home.claims.renew_lease(held.id, None)  # its holder may go on
                await home.door.pin("a")
                assert (await home.claims.lease("a", "late", Seconds(60))).lease is not None
                await home.door.unpin("a")
                await home.door.evict(["a"])
                home.claims.close_lease(held.id)
                await until_settled(home)
                assert server.loaded == ["a"]  # the late one holds it
                await until_settled(home, 61.0)
                assert server.loaded == []

    run(story)


def test_leases_survive_a_restart_with_the_time_that_they_have_left(tmp_path: Path) -> None:
    async def story() -> None:
        file = tmp_path / "journal.db"
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}, policy=ON_DEMAND, journal=Journal(file)) as home:
                await home.tick()
                await home.claims.lease("a", "short", Seconds(30))
                await home.claims.lease("a", "long", Seconds(200))
            journal = Journal(file)
            again = house({"llama": server}, policy=ON_DEMAND, journal=journal, began=1100.0)
            async with again as home:
                await until_settled(home)
                (lease,) = home.loop.keeping.leases.all
                assert (lease.client, lease.ref) == ("long", A)
                assert 95 < lease.expires_at - home.clock.now < 105
                await until_settled(home, 90.0)
                assert server.loaded == ["a"]
                await until_settled(home, 20.0)
                assert server.loaded == []

    run(story)


def test_a_daemon_that_only_advises_loads_nothing_for_a_lease() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"]) as server:
            server.take("b")
            async with house({"llama": server}, mode=Mode.ADVISE) as home:
                sized(home, server, a=2, b=2)
                await home.tick()
                assert (await home.claims.lease("a", "agent", Seconds(60))).lease is None
                assert (await home.claims.lease("b", "agent", Seconds(60))).lease is not None
                assert (await home.door.evict(["b"])).leaving == ()

    run(story)


def test_who_waits_is_kept_by_name() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}) as home:
                await home.tick()
                await home.claims.lease("a", "agent", Seconds(60))
                keepers = home.claims.standing(A).keepers
                assert [(k.hold, k.client) for k in keepers] == [(Hold.LEASE, "agent")]
                assert home.claims.standing(B).status is Status.ABSENT

    run(story)
