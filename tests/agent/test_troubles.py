"""What is wrong with other hosts, from their words to what people are shown of it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from collectors.reading import Seconds, gib
from supervisor.agent.agent import LONGEST
from supervisor.agent.backend import BackendError, Heard, Row
from supervisor.agent.rayed import Driver
from supervisor.agent.safety import Rules
from supervisor.cli import fleet_checks, show_fleet
from supervisor.cli.bars import Screen
from supervisor.cli.checkup import Status
from supervisor.fleet.hosts import HostId
from supervisor.fleet.words import read_directory
from supervisor.neighbours import read

from .fakes import Daemon, Fleet

WIDE = Screen(width=1000)


class Odd(Daemon):
    """Says of itself what it is told to."""

    def __init__(self, host: str, **says: Any) -> None:
        super().__init__(host, gib(9))
        self.says, self.ahead = says, 0.0

    async def word(self, within: float = 1.0) -> Row:
        row = await super().word(within) | self.says
        return row | {"wall": row["wall"] + self.ahead}


def story(tell: Callable[[Fleet], Awaitable[None]], **daemons: Daemon) -> None:
    async def run() -> None:
        fleet = Fleet(**{h: Odd(h) for h in "abc"} | daemons)
        await fleet.beat(count=3)
        await tell(fleet)

    asyncio.run(run())


def told(fleet: Fleet, at: str = "a") -> list[str]:
    """What is wrong, as `ullage fleet status`, `ullage doctor` and the page have it: all alike."""
    answer = fleet.agents[at].fleet()
    found: list[str] = answer["trouble"]
    page = show_fleet.status(answer, WIDE)
    checks = fleet_checks.checks(None, Rules(), answer | {"backend": "single"})
    seen = read(json.dumps(answer).encode(), Seconds(0.0))
    assert list(seen.trouble) == found
    for line in found:
        assert line in page
    assert [c.what for c in checks if c.status is Status.WARN] == found
    return found


def test_a_fleet_in_order_has_nothing_to_tell():
    async def tell(fleet: Fleet) -> None:
        assert [told(fleet, host) for host in "abc"] == [[], [], []]

    story(tell)


def test_a_clock_that_is_an_hour_off_is_told_of_its_host_and_by_how_much():
    async def tell(fleet: Fleet) -> None:
        fleet.engine.daemons["c"].ahead = 3600.0  # type: ignore[attr-defined]
        await fleet.beat(count=2)  # nothing else of it has changed
        for host in "ab":
            (line,) = told(fleet, host)
            assert line.startswith("the clock of c is 60 min ahead of this host's: set both by NTP")
        fleet.engine.daemons["c"].ahead = 0.0  # type: ignore[attr-defined]
        await fleet.beat(count=2)
        assert told(fleet) == []

    story(tell)


def test_another_version_of_ullage_is_told():
    async def tell(fleet: Fleet) -> None:
        (line,) = told(fleet)
        assert line.startswith("c has Ullage 0.9, and this host 1: upgrade")
        (line,) = told(fleet, "c")
        assert line.startswith("a, b have Ullage 1, and this host 0.9: upgrade")

    story(tell, c=Odd("c", version="0.9"))


def test_another_version_of_ray_is_told(monkeypatch: pytest.MonkeyPatch):
    async def tell(fleet: Fleet) -> None:
        backend = fleet.backends["a"]
        heard = backend.tell

        async def with_versions(*words: Any) -> Heard:
            found = await heard(*words)
            return replace(found, versions={"a": "2.60.0", "b": "2.60.0", "c": "2.54.1"})

        monkeypatch.setattr(backend, "tell", with_versions)
        await fleet.beat()
        (line,) = told(fleet)
        assert line.startswith("c has Ray 2.54.1, and this host 2.60.0: Ray wants one version")

    story(tell)


def test_a_host_without_pools_is_told():
    async def tell(fleet: Fleet) -> None:
        (line,) = told(fleet)
        assert line.startswith("c has no pools: nothing is placed there.")

    story(tell, c=Odd("c", spaces=[]))


def test_two_hosts_of_one_name_are_told():
    async def tell(fleet: Fleet) -> None:
        twin = await Odd("c", epoch="another").word()
        for _ in range(8):
            await fleet.beat()
            fleet.engine.directory.tell("c", "the twin's agent", twin)
            await fleet.agents["a"].beat()
        (line,) = told(fleet)
        assert line.startswith("two daemons call themselves c: the one that started last")
        await fleet.beat(count=60)  # the twin has ended
        assert told(fleet) == []

    story(tell)


def test_a_promise_that_is_not_understood_is_told_and_is_nobodys():
    async def tell(fleet: Fleet) -> None:
        good = {"id": "1", "model": "m", "shares": {"c": 7}, "left": 5.0}
        for wrong in ({**good, "shares": {"c": "much"}}, {"id": "1", "left": 5.0}, {"left": 5.0}):
            fleet.engine.directory.tell("b", "b", None, (good, wrong, {"id": "2"}))
            await fleet.agents["a"].beat()
            (line,) = told(fleet)
            assert line.startswith("b is not understood: promise")
            promises = fleet.agents["a"].fleet()["directory"]["promises"]
            assert [(p["id"], p["host"], p["size"]) for p in promises] == [("1", "c", 7)]
        await fleet.beat()
        assert told(fleet) == []

    story(tell)


def test_a_promise_whose_time_is_over_is_shown_no_more_though_its_owner_says_nothing():
    async def tell(fleet: Fleet) -> None:
        kept = {"id": "1", "model": "m", "shares": {"b": 7}, "left": 5.0}
        fleet.engine.directory.tell("b", "b", None, (kept,))
        for left in (True, True, True, True, False, False):
            fleet.clock.now += 1
            await fleet.agents["a"].beat()
            assert bool(fleet.agents["a"].fleet()["directory"]["promises"]) is left

    story(tell)


def test_a_host_that_is_not_understood_any_more_is_not_taken_for_what_it_was():
    async def tell(fleet: Fleet) -> None:
        word = {**await fleet.engine.daemons["c"].word(), "number": 99, "models": "many"}
        for state in ("here", "here", "silent", "silent", "lost"):
            fleet.clock.now += 1
            fleet.engine.directory.tell("c", "another version", word)
            for host in "ab":
                await fleet.agents[host].beat()
            hosts = read_directory(fleet.agents["a"].fleet()["directory"]).hosts
            assert hosts[HostId("c")].presence.value == state
            assert any(line.startswith("c is not understood") for line in told(fleet))
        fleet.engine.directory.leave("c", "another version")
        await fleet.agents["a"].beat()
        assert told(fleet) == []

    story(tell)


def test_what_an_engine_complains_of_is_told_on_a_line_that_everybody_can_read():
    async def tell(fleet: Fleet) -> None:
        fleet.backends["a"].trouble = ("Ray\x1b[2J was not joined:\n" + "x" * 5000,)
        (line,) = told(fleet)
        assert line.startswith("Ray\\x1b[2J was not joined:\\n")
        assert len(line) == LONGEST

    story(tell)


def test_a_ray_of_another_version_that_cannot_be_joined_is_told_with_both_versions(
    monkeypatch: pytest.MonkeyPatch,
):
    def init(**how: Any) -> None:
        raise RuntimeError(
            "Version mismatch: The cluster was started with:\n    Ray: 2.54.1\n    Python: 3.11.2\n"
            "This process on node 10.0.0.5 was started with:\n    Ray: 2.60.0\n    Python: 3.12.0\n"
        )

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    with pytest.raises(BackendError) as wrong:
        Driver("a", "unix:/nowhere", None).join("auto", None, 1.0, True)
    assert "Ray: 2.54.1 Python: 3.11.2 This process" in wrong.value.detail
    assert wrong.value.detail.endswith("Ray: 2.60.0 Python: 3.12.0")
