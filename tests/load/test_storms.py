"""What judges the storms; a small one of bodies; and the daemon at rest."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon
from tests.load import storm_slow
from tests.load.found import Found
from tests.load.idle import idle
from tests.load.machine import Machine
from tests.load.storm_alerts import judge
from tests.load.storm_bodies import LINES, big_bodies
from tests.load.storm_slow import silent

PATIENT = 0.3  # seconds for which the stand-in for a listener waits


@pytest.mark.parametrize(("limit", "ok"), [(2 * PATIENT, True), (PATIENT / 2, False)])
def test_a_listener_is_judged_by_who_is_let_go_last(
    limit: float, ok: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storm_slow, "LIMIT", limit)
    monkeypatch.setattr(storm_slow, "SLACK", 0.0)
    found = Found()

    async def lets_go(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(PATIENT)
        writer.close()

    async def story() -> None:
        async with await asyncio.start_server(lets_go, "127.0.0.1", 0) as server:
            await silent("gateway", server.sockets[0].getsockname(), 2, found)

    asyncio.run(story())
    assert {v.what: v.ok for v in found.verdicts} == {
        "2 say nothing to the gateway: let go": ok,
        "2 say half a head to the gateway: let go": ok,
        "2 say half a body to the gateway: let go": ok,
    }


def decision(number: int, id: str, *actions: str) -> dict[str, Any]:
    cause = f"alert Full-{number} asks to make room in GPU-0000"
    return {"id": id, "at": 1.0, "cause": cause, "actions": list(actions)}


@pytest.mark.parametrize(
    ("decisions", "unloads", "broken"),
    [
        ([decision(1, "d-1", "evict"), decision(12, "d-2")], 1, set()),
        ([decision(1, "d-1", "evict"), decision(1, "d-2")], 1, {"an alert is decided once"}),
        ([decision(1, "d-1")], 0, {"some of them act"}),
        ([], 0, {"an alert is decided once", "some of them act"}),
        ([decision(i, f"d-{i}", "evict") for i in range(7)], 7, {"no more than is allowed"}),
    ],
)
def test_an_alert_acts_once_and_not_more_of_them_than_may(
    decisions: list[dict[str, Any]], unloads: int, broken: set[str]
) -> None:
    found = Found()
    judge(decisions, unloads, found)
    assert {v.what for v in found.verdicts if not v.ok} == broken


@pytest.mark.slow
def test_bodies_that_are_meant_to_take_memory_take_none(tmp_path: Path, nvml_library: Path) -> None:
    async def story() -> Found:
        found = Found()
        async with Machine(tmp_path, engines=1, models=1) as machine:
            config = machine.config(LINES)
            env = machine.cards.driver.env(nvml_library)
            async with Daemon(tmp_path / "s", config, env) as daemon:
                gateway = (await daemon.state())["gateway"]["addresses"][0]
                await big_bodies(daemon, gateway, found, clients=20)
        return found

    found = asyncio.run(story())
    assert {v.what: v.said for v in found.verdicts if not v.ok} == {}
    assert len(found.verdicts) == 14


@pytest.mark.slow
def test_at_rest_it_holds_little_and_tells_few_series(tmp_path: Path, nvml_library: Path) -> None:
    found = asyncio.run(idle(tmp_path, nvml_library, warm_up=1.0, seconds=1.0))
    assert {v.what: v.said for v in found.verdicts if not v.ok and not v.timed} == {}
    assert {v.what for v in found.verdicts if v.timed} == {
        "percent of a core", "/metrics, ms, median",
    }  # fmt: skip
