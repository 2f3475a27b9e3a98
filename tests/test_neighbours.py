"""What the agent knows of the fleet, asked now and then; one that is silent costs nothing."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collectors.reading import RAM, Bytes, PoolId, Seconds, gib
from supervisor.config.fleet import FleetConfig
from supervisor.fleet.glance import glances
from supervisor.fleet.hosts import (
    Directory,
    Host,
    HostId,
    Housed,
    Presence,
    Promise,
    PromiseId,
    Space,
    Word,
)
from supervisor.fleet.words import directory_row
from supervisor.neighbours import MOST_HOSTS, OTHERS, SHOWN, Neighbours

from .desk import Desk, serving

GPU = PoolId("GPU-1")


def host(name: str, heard: float = 99.0, presence: Presence = Presence.HERE, **of: Any) -> Host:
    spaces = (Space(GPU, gib(24), gib(9), gib(8)), Space(RAM, gib(64), gib(50), gib(40)))
    models = (
        Housed("a", "ollama", "loaded", True, gib(6), in_flight=2, waiting=1),
        Housed("b", "ollama", "local"),
    )
    told = {"address": f"http://{name}:8553", "spaces": spaces, "models": models} | of
    word = Word(HostId(name), "e", 7, "1.2.3", 0.0, **told)
    return Host(word, Seconds(heard), presence)


def directory(*hosts: Host, promised: int = 3) -> Directory:
    promise = Promise(PromiseId("p"), "a", hosts[0].id, gib(promised), Seconds(110))
    return Directory(Seconds(100), {h.id: h for h in hosts}, (promise,))


def answer(*hosts: Host, **more: Any) -> dict[str, Any]:
    return {"self": "gpu1", "backend": "ray", "connected": True, "trouble": ["gpu2 is silent"],
            "placements": {"ready": 3, "load": 1}, "directory": directory_row(directory(*hosts)),
            } | more  # fmt: skip


TWO = (host("gpu1"), host("gpu2", 96.5, Presence.SILENT))


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Desk]:
    with serving(tmp_path / "fleet.sock", {("GET", "/fleet"): (200, answer(*TWO))}) as desk:
        yield desk


def looked(path: Path, now: float = 1000.0, later: float = 2.0) -> Neighbours:
    """It has asked once, and two seconds have passed."""
    clock = [now]
    found = Neighbours(FleetConfig(name="gpu1", socket=path, said=True), lambda: clock[0])
    asyncio.run(found.look())
    clock[0] += later
    return found


def facts(found: Neighbours) -> dict[tuple[str, ...], float]:
    return {(name, *labels): value for name, labels, value in found.facts()}


# -- a directory in short


def test_a_hosts_headroom_is_that_of_its_accelerators_and_else_of_ram() -> None:
    plain = host("b", spaces=(Space(RAM, gib(64), gib(50), Bytes(-5)),))
    first, second = glances(directory(host("a"), plain))
    assert (first.total, first.headroom, first.promised) == (gib(24), gib(8), gib(3))
    assert (second.total, second.headroom, second.promised) == (gib(64), -5, 0)
    assert (first.ready, first.in_flight, first.waiting, first.age) == (1, 2, 1, 1.0)


# -- asked


def test_what_the_agent_says_is_told_with_its_age(agent: Desk) -> None:
    state = looked(agent.path).state()
    assert (state["host"], state["backend"], state["connected"]) == ("gpu1", "ray", True)
    assert (state["heard"], state["fault"], state["promises"]) == (2.0, None, 1)
    assert state["trouble"] == ["gpu2 is silent"]
    rows = {row["host"]: row for row in state["hosts"]}
    assert (rows["gpu1"]["age"], rows["gpu2"]["age"]) == (3.0, 5.5)
    assert rows["gpu2"]["presence"] == "silent"
    assert rows["gpu1"]["promised"] == gib(3)


def test_its_metrics_have_every_presence_and_every_result_from_the_start(agent: Desk) -> None:
    found = facts(looked(agent.path))
    assert found["fleet_agent_up",] == 1
    assert found["fleet_connected",] == 1
    assert found["fleet_troubles",] == 1
    assert [found["fleet_hosts", p.value] for p in Presence] == [1, 1, 0, 0]
    assert found["fleet_word_age_seconds", "gpu2"] == 5.5
    assert found["fleet_promised_bytes", "gpu1"] == gib(3)
    assert found["fleet_placements_total", "load"] == 1
    assert found["fleet_placements_total", "unknown"] == 0


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        ({"detail": "no"}, 503, "it answered 503"),
        (b"no JSON", 200, "cannot be read"),
        (b"[" * 100_000, 200, "cannot be read"),
        ([], 200, "cannot be read"),
        (answer(*TWO, connected="yes"), 200, "connected"),
        (answer(*TWO) | {"directory": {"at": 1, "hosts": [{}]}}, 200, "hosts[0]"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_cannot_be_read_is_told_and_takes_the_place_of_what_was_known(
    agent: Desk, body: Any, status: int, why: str
) -> None:
    found = looked(agent.path)
    agent.answers["GET", "/fleet"] = (status, body)
    asyncio.run(found.look())
    state = found.state()
    assert why in state["fault"]
    assert state["hosts"] == []
    assert facts(found) == {("fleet_agent_up",): 0}


def test_an_answer_that_is_too_long_is_given_up(
    agent: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor.neighbours.MOST", 1024**2)
    agent.answers["GET", "/fleet"] = (200, b" " * (1024**2 + 1))
    assert "longer than" in looked(agent.path).state()["fault"]


def test_without_an_agent_nothing_is_known_and_that_is_said(tmp_path: Path) -> None:
    found = looked(tmp_path / "nobody.sock")
    assert str(tmp_path / "nobody.sock") in found.state()["fault"]
    assert facts(found) == {("fleet_agent_up",): 0}


def test_one_that_is_silent_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor.neighbours.PATIENCE", Seconds(0.05))
    path = tmp_path / "deaf.sock"
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(path))
        deaf.listen()
        assert "no answer within 0.05 s" in looked(path).state()["fault"]


def test_of_very_many_hosts_metrics_name_some_this_one_among_them(agent: Desk) -> None:
    many = [host(f"a{n:03}", heard=100.0 - n) for n in range(MOST_HOSTS + 10)]
    agent.answers["GET", "/fleet"] = (200, answer(*many, host("gpu1")))
    neighbours = looked(agent.path)
    found = facts(neighbours)
    named = [key[1] for key in found if key[0] == "fleet_headroom_bytes"]
    assert len(named) == MOST_HOSTS + 1
    assert {"gpu1", OTHERS, "a000"} <= set(named)
    assert found["fleet_hosts", "here"] == MOST_HOSTS + 11
    total = sum(n for key, n in found.items() if key[0] == "fleet_headroom_bytes")
    assert total == gib(8) * (MOST_HOSTS + 11)
    assert found["fleet_word_age_seconds", OTHERS] == MOST_HOSTS + 9 + 2
    agent.answers["GET", "/fleet"] = (200, answer(*(host(f"b{n}") for n in range(SHOWN + 3))))
    asyncio.run(neighbours.look())
    state = neighbours.state()
    assert (len(state["hosts"]), state["left_out"]) == (SHOWN, 3)


def test_an_older_agent_that_counts_no_placements_is_understood(agent: Desk) -> None:
    row = answer(*TWO)
    del row["placements"]
    agent.answers["GET", "/fleet"] = (200, json.loads(json.dumps(row)))
    assert facts(looked(agent.path))["fleet_placements_total", "ready"] == 0
