"""What was spent on reloads, by the whole house: loads are seen, and told of at the door."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collectors.reading import Seconds, gib
from supervisor.core.policy import Policy
from supervisor.core.rank import RANKINGS
from supervisor.core.snapshot import EngineId, ModelId, ModelRef
from supervisor.door import DoorError, NotReady
from supervisor.journal.journal import Journal
from supervisor.journal.trail import Passed
from tests.engines.fake import FakeLlamaRouter
from tests.scenarios.house import House, house

DAY = 86400.0
NAMES = ("a", "b", "c")
LOADS = {"a": 2.0, "b": 2.0, "c": 60.0}


def of(name: str) -> ModelRef:
    return ModelRef(EngineId("llama"), ModelId(name))


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


async def loads(home: House, server: FakeLlamaRouter, name: str) -> None:
    """A client has it loaded, behind our back; somebody has to go for it."""
    server.loading[name] = asyncio.Event()
    await home.tick()
    await home.tick(LOADS[name] - 1)
    server.finish(name)
    await home.tick()
    await home.tick(30)


def begun(server: FakeLlamaRouter, home: House) -> None:
    """Two of them have room beside what strangers hold."""
    for name in NAMES:
        home.children.anonymous[server.pids[name]] = gib(12)


def test_what_loads_took_is_told_with_what_others_would_have_paid() -> None:
    async def story() -> None:
        server = FakeLlamaRouter(list(NAMES))
        async with server, house({"llama": server}) as home:
            begun(server, home)
            with pytest.raises(NotReady):
                await home.door.savings(1)
            await home.tick()
            for name in "abab":
                await loads(home, server, name)
                await home.tick(10)
                server.drop(name)  # whoever serves them keeps one alone: room for two is wasted
                await home.tick(60)
            found = await home.door.savings(1)
            assert (found.requests, found.loads) == (4, 4)
            assert found.paid == pytest.approx(8.0)
            assert found.ranking == "value"
            assert found.ghosts["value"].all == found.optimum == pytest.approx(4.0)

    run(story())


def history(home: House, days: int) -> None:
    """For days a is asked for often, and b and c in between: the dear one is worth keeping."""
    began = home.loop.wall() - days * DAY
    rows = [Passed(began + i * 1200.0, of("abc"[i % 3]), Seconds(5.0)) for i in range(days * 72)]
    home.journal.trail.add(rows)


@pytest.mark.slow
def test_a_ranking_that_is_outdone_for_days_is_a_finding_until_it_is_not(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        server = FakeLlamaRouter(list(NAMES))
        policy = Policy(ranking=RANKINGS["lru"])
        journal = Journal(tmp_path / "journal.db")
        async with server, house({"llama": server}, policy=policy, journal=journal) as home:
            begun(server, home)
            await home.tick()
            for name in NAMES:  # what loading each takes is seen once
                await loads(home, server, name)
                server.drop(name)
                await home.tick(5)
            history(home, 4)
            await asyncio.to_thread(journal.flush)
            await home.door.compare()
            await home.tick()
            assert ("outdone", "lru") in home.findings()
            (finding,) = [f for f in home.loop.findings if f.kind.value == "outdone"]
            assert "try ranking = " in finding.detail
            assert finding.amount > 60
            since = finding.since
            await home.tick(100)
            await home.door.compare()
            await home.tick()
            assert [f.since for f in home.loop.findings if f.kind.value == "outdone"] == [since]
            # The operator follows the advice: then nobody is better.
            better = finding.detail.split('"')[1]
            home.loop.policy = replace(home.loop.policy, ranking=RANKINGS[better])
            await home.door.compare()
            await home.tick()
            assert not [f for f in home.findings() if f[0] == "outdone"]

    run(story())


def test_a_journal_that_cannot_be_read_is_said_and_nothing_else_stops(tmp_path: Path) -> None:
    async def story() -> None:
        server = FakeLlamaRouter(list(NAMES))
        journal = Journal(tmp_path / "journal.db")
        async with server, house({"llama": server}, journal=journal) as home:
            await home.tick()
            await home.door.compare()  # nothing was asked for yet
            await asyncio.to_thread(journal.flush)
            journal.trail.path = tmp_path / "other.db"
            journal.trail.path.write_bytes(b"this is no database, however long one looks" * 50)
            with pytest.raises(DoorError, match="cannot be replayed"):
                await home.door.savings(7)
            await home.door.compare()
            await home.tick()
            assert home.findings() == set()

    run(story())


def test_a_replay_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from supervisor import ghosts

    monkeypatch.setattr(ghosts, "AT_MOST", 0.0)

    async def story() -> None:
        server = FakeLlamaRouter(list(NAMES))
        async with server, house({"llama": server}) as home:
            await home.tick()
            with pytest.raises(DoorError, match="cannot be replayed"):
                await home.door.savings(7)
            await home.door.compare()
            assert home.loop.witnesses.ghosts.findings == ()

    run(story())
