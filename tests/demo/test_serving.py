"""The demo's daemon answers as a real one does."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import httpx
import pytest

from supervisor.demo import main
from supervisor.demo.clock import Clock
from supervisor.demo.serving import PORT, configuration, invitation, served
from supervisor.demo.story import POLICY, stage


def test_it_is_configured_as_the_story_wants_it() -> None:
    config = configuration()
    assert config.policy == replace(POLICY, models=config.policy.models, pools=config.policy.pools)
    assert {p: v.reserve for p, v in config.policy.pools.items()} == {
        p: v.reserve for p, v in POLICY.pools.items()
    }
    (mine,), (story,) = config.policy.models.values(), POLICY.models.values()
    assert mine.watchdog == story.watchdog
    again = config.again({"single_model_mode": "true"}).policy
    assert (again.grace, again.busy_while_fresh) == (POLICY.grace, POLICY.busy_while_fresh)


async def _ask(http: httpx.AsyncClient) -> None:
    state = (await http.get("/api/v1/state")).json()
    assert [p["id"] for p in state["pools"]] == ["ram", "gpu0", "gpu1"]
    assert (await http.get("/")).status_code == 200
    path = '/api/v1/settings/models."cellar/qwen3:8b".pinned'
    changed = await http.put(path, json={"value": True})
    assert changed.status_code == 200, changed.text
    assert (await http.get(path)).json()["value"] == "true"
    asked = await http.post("/api/v1/load", json={"model": "nomic-embed"})
    assert asked.json()["ok"], asked.text
    alert = {"status": "firing", "name": "UllageHeadroomLow", "labels": {"pool": "gpu0"}}
    told = await http.post("/api/v1/alerts/plain", json=alert)
    assert told.json()["accepted"] == 1, told.text
    (row,) = (await http.get("/api/v1/alerts")).json()["alerts"]
    assert row["outcome"] in (None, "done", "disagreed", "nothing_to_do")
    events = (await http.get("/api/v1/events")).json()["events"]
    assert "decision" in {e["kind"] for e in events}


def test_the_page_the_api_and_changes_are_there() -> None:
    async def play() -> None:
        config = configuration()
        cast = stage(Clock(20.0), config.policy)
        async with cast.world, served(cast, config, 0) as server:
            async with httpx.AsyncClient(base_url=server.addresses[0], trust_env=False) as http:
                await _ask(http)

    asyncio.run(play())


def test_its_settings_are_of_what_is_there() -> None:
    """It has no gateway, and answers where it was told to."""
    config = configuration(18552)
    assert (config.gateway.enabled, config.listen_port) == (False, 18552)
    assert configuration().listen_port == PORT


def test_whoever_tries_the_commands_is_told_how_they_find_another_port() -> None:
    usual, other = f"http://127.0.0.1:{PORT}", "http://127.0.0.1:18552"
    assert "ULLAGE_URL" not in invitation(usual)
    assert f"`export ULLAGE_URL={other}`:" in invitation(other)
    assert invitation(other).splitlines()[0].endswith(f" {other}"), "programs read it, too"


def test_an_address_that_cannot_be_had_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(serve=port, seconds=1.0, speed=20.0) == 1
    told = capsys.readouterr().err
    assert str(port) in told
    assert "try: ullage demo --serve --port 0" in told


def test_it_says_where_it_answers_and_what_happens(capsys: pytest.CaptureFixture[str]) -> None:
    told = ""
    # Its story goes by real time, of which a busy machine has less.
    for seconds in (3.0, 12.0, 48.0):
        assert main(serve=0, seconds=seconds, speed=20.0) == 0
        told = capsys.readouterr().out
        if "a notes program needs the embedding model" in told:
            break
    assert "answers at http://127.0.0.1:" in told
    assert "a notes program needs the embedding model" in told
