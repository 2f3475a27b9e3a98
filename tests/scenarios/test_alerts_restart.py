"""What outlives the daemon: what holds, what was received, and what was not yet acted on."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from collectors.reading import RAM, Bytes, Seconds, gib
from supervisor.alerting import Alerting
from supervisor.config.alerted import Kind
from supervisor.core.policy import Amount, Brake, Policy, PoolPolicy
from supervisor.journal.journal import Journal
from supervisor.journal.store import Statement
from tests.alerting.post import Post, action, config
from tests.engines.fake import FakeLlamaRouter
from tests.scenarios.house import House, house
from tests.stateful.disk import Disk, journal_on

HOLD = Seconds(60)
HUSH = action(Kind.PAUSE, "hush", below=Amount(fraction=1.0))
FEW = Policy(pools={RAM: PoolPolicy(reserve=Amount(gib(4)))}, restore_margin=Bytes(0))


def run(tale: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(tale(), 30))


async def starts(home: House, *actions: Any, **more: Any) -> Post:
    box = Post(Alerting(config(*actions, **{"hold_for": HOLD, **more}), home.door))
    box.alerting.start()
    await home.tick()
    return box


async def passes(home: House, times: int = 3) -> None:
    for _ in range(times):
        await home.tick(0.1)
        await asyncio.sleep(0)
    await home.settle()


def test_what_holds_and_what_was_received_outlives_the_daemon(tmp_path: Path) -> None:
    file = tmp_path / "journal.db"
    actions = (
        HUSH,
        action(Kind.PIN, "keep", models=("a",), match={"m": "pin"}),
        action(Kind.RESERVE, "spare", size=gib(2), match={"m": "reserve"}),
    )
    more = {"pin": {"name": "P", "m": "pin"}, "reserve": {"name": "R", "m": "reserve"}}

    async def tale() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}, policy=FEW, journal=Journal(file)) as home:
                box = await starts(home, *actions)
                await box.fire("pause")
                for id, labels in more.items():
                    await box.fire(id, **labels)
                await passes(home)
                assert len(box.alerting.holds) == 3
                before = box.alerting.told(10)
                await box.alerting.stop()
            later = home.clock.now + 30
            async with house(
                {"llama": server}, policy=FEW, journal=Journal(file), began=later
            ) as home:
                keeping = home.loop.keeping
                assert keeping.alert_holds.closed(next(iter(home.loop.sampler.engines)))
                assert "llama/a" in home.loop.policy.pinned, "before the first decision"
                assert len(keeping.reserved.all) == 1
                box = await starts(home, *actions)
                assert sorted(h["kind"] for h in box.alerting.holds) == ["pause", "pin", "reserve"]
                assert box.alerting.told(10) == before
                assert box.alerting.ledger.firing == 3
                for id, labels in more.items():
                    assert await box.fire(id, **labels) == ["duplicate"]
                await box.resolve("reserve", **more["reserve"])
                await home.tick(40)  # the pause was heard of 70 s ago, the pin 40
                await passes(home)
                assert [h["kind"] for h in box.alerting.holds] == ["pin"]
                assert keeping.reserved.all == ()
                await box.alerting.stop()

    run(tale)


def test_what_was_accepted_and_not_acted_on_is_taken_up_by_the_next_daemon(tmp_path: Path) -> None:
    file = tmp_path / "journal.db"
    evict = action(Kind.EVICT, "go", models=("a",), below=Amount(fraction=1.0))

    async def tale() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}, policy=FEW, journal=Journal(file)) as home:
                box = await starts(home, evict)
                home.loop.executor.stopping = False
                await box.fire()
                await box.alerting.stop()  # at once: nothing has been begun
                assert box.came() is None
            assert server.loaded == ["a"]
            async with house(
                {"llama": server}, policy=FEW, journal=Journal(file), began=home.clock.now
            ) as home:
                box = await starts(home, evict)
                await passes(home)
                assert (box.came(), server.loaded) == ("done", [])
                assert await box.fire() == ["duplicate"]
                await box.alerting.stop()

    run(tale)


def test_what_was_begun_when_the_daemon_died_is_not_begun_again(tmp_path: Path) -> None:
    file = tmp_path / "journal.db"
    evict = action(Kind.EVICT, "go", models=("a",), below=Amount(fraction=1.0))

    async def tale() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}, policy=FEW, journal=Journal(file)) as home:
                box = await starts(home, evict)
                await box.fire()
                await passes(home)
                row = box.row()
                shelf = home.journal.shelves["alerts"]
                shelf.keep(row["id"], {**row, "outcome": None, "force": False})
                await box.alerting.stop()
            server.take("a")
            async with house(
                {"llama": server}, policy=FEW, journal=Journal(file), began=home.clock.now
            ) as home:
                box = await starts(home, evict)
                await passes(home)
                assert (box.came(), server.loaded) == ("failed", ["a"])
                assert "the daemon ended before it was known" in box.row()["detail"]
                await box.alerting.stop()

    run(tale)


def test_what_had_begun_to_hold_when_the_daemon_died_is_not_begun_twice(tmp_path: Path) -> None:
    file = tmp_path / "journal.db"
    spare = action(Kind.RESERVE, "spare", size=gib(2))

    async def tale() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            async with house({"llama": server}, policy=FEW, journal=Journal(file)) as home:
                box = await starts(home, spare)
                await box.fire()
                await passes(home)
                row, shelf = box.row(), home.journal.shelves["alerts"]
                unknown = {"outcome": None, "decision": None, "force": False}
                shelf.keep(row["id"], {**row, **unknown})
                await box.alerting.stop()
            async with house(
                {"llama": server}, policy=FEW, journal=Journal(file), began=home.clock.now
            ) as home:
                box = await starts(home, spare)
                await passes(home)
                assert box.came() == "held"
                assert len(home.loop.keeping.reserved.all) == 1
                await box.alerting.stop()

    run(tale)


def test_the_limit_and_the_age_of_alerts_outlive_the_daemon(tmp_path: Path) -> None:
    file = tmp_path / "journal.db"
    evict = action(Kind.EVICT, "go", models=("a",), below=Amount(fraction=1.0))
    most = Brake(1, Seconds(10_000))

    async def tale() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}, policy=FEW, journal=Journal(file)) as home:
                box = await starts(home, evict, limit=most)
                await box.fire()
                await passes(home)
                assert box.came() == "done"
                await box.fire("old", at=1)
                await box.alerting.stop()
                shelf = home.journal.shelves["alerts"]
                body = shelf.get(box.row("old", at=1)["id"])
                assert body is not None
                shelf.keep(body["id"], {**body, "at": body["at"] - 3600})
            server.take("a")
            async with house(
                {"llama": server}, policy=FEW, journal=Journal(file), began=home.clock.now
            ) as home:
                box = await starts(home, evict, limit=most)
                await passes(home)
                assert box.came("old", at=1) == "superseded"
                assert "nothing has been heard of it since" in box.row("old", at=1)["detail"]
                await box.fire("new", at=2)
                await passes(home)
                assert (box.came("new", at=2), server.loaded) == ("limited", ["a"])
                await box.alerting.stop()

    run(tale)


def test_a_shelf_that_cannot_be_read_costs_what_is_on_it_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def tale() -> None:
        journal = Journal(tmp_path / "journal.db")
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}, policy=FEW, journal=journal) as home:
                home.journal.shelves["alerts"].keep("a-1", {"name": 1})
                home.journal.shelves["alert_holds"].keep("x", {"alert": "x", "ends": {}})
                home.loop.keeping.alert_holds.recall()
                box = await starts(home, HUSH)
                assert (box.alerting.told(9), box.alerting.holds) == ([], [])
                assert home.journal.shelves["alerts"].all() == {}
                assert home.journal.shelves["alert_holds"].all() == {}
                await box.alerting.stop()

    run(tale)
    assert "cannot be read: it is forgotten" in caplog.text
    assert "cannot be read: it is dropped" in caplog.text


@pytest.mark.parametrize("kind", [Kind.EVICT, Kind.PAUSE, Kind.RESERVE])
def test_what_an_alert_has_caused_is_on_disk_before_it_is_done(kind: Kind) -> None:
    """Killed in between, the next daemon would have to believe that nothing was begun for it yet,
    and would do it once more."""
    acts = action(kind, "act", below=Amount(fraction=1.0), size=gib(1))
    written: list[str] = []

    class Noted(Disk):
        def write(self, statements: Sequence[Statement]) -> None:
            super().write(statements)
            for sql, values in statements:
                if "decisions" in sql.split():
                    written.append(json.loads(values[-1])["id"])
                elif "shelves" in sql and values[0] == "alerts" and "INSERT" in sql:
                    written.append(f"row of {json.loads(values[2])['decision']}")

    async def tale() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            journal, _ = journal_on(Noted(), time.time)
            async with house({"llama": server}, policy=FEW, journal=journal) as home:
                box = await starts(home, acts)
                await box.fire()
                await passes(home)
                decision = box.row()["decision"]
                assert written.index(f"row of {decision}") < written.index(decision)
                await box.alerting.stop()

    run(tale)
