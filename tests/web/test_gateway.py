"""What the API and the page tell of the gateway."""

from __future__ import annotations

import asyncio

import pytest

from supervisor.door import Door

from .fakes import API, FakeLive, World, gateway, play, running, site


@pytest.fixture(autouse=True)
def engines_without_habits(monkeypatch):
    async def nothing(self):
        return ()

    monkeypatch.setattr(Door, "advice", nothing)


def test_the_gateway_is_told_of_where_there_is_one():
    async def story(http):
        return (await http.get(f"{API}/state")).json(), (await http.get("/plain")).text

    assert play(story)[0]["gateway"] is None

    async def run():
        async with running(site(World(), gateway=gateway())) as http:
            return (*await story(http), (await http.get(f"{API}/doctor")).json())

    state, page, doctor = asyncio.run(run())
    assert state["gateway"]["addresses"] == ["http://127.0.0.1:8553"]
    assert state["gateway"]["held"] == [{"model": "ollama/gemma3:4b", "count": 2, "longest": 7.5}]
    assert "<p>Gateway: http://127.0.0.1:8553.</p>" in page
    assert "<td>ollama/gemma3:4b</td><td class=n>0</td><td class=n>2</td><td class=n>7.5s" in page
    assert "<td>ollama/llama3:70b</td><td class=n>1</td><td class=n>0</td>" in page
    assert doctor["advice"] == []  # what engines have that do not answer, nobody knows


def test_a_gateway_without_a_port_says_why_on_the_page_too():
    live = FakeLive()
    live.fault = "127.0.0.1:8553 is <in> use"

    async def run():
        async with running(site(World(), gateway=gateway(live))) as http:
            return (await http.get("/plain")).text, (await http.get(f"{API}/doctor")).json()

    page, doctor = asyncio.run(run())
    assert "<p>Gateway: does not listen, 127.0.0.1:8553 is &lt;in&gt; use.</p>" in page
    about = {row["about"] for row in doctor["advice"]}
    assert "the gateway" in about
