"""The agent's API over its Unix socket: what is asked well, what is asked wrongly, who is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from collectors.reading import gib
from supervisor.accounts import SocketMode
from supervisor.agent.serving import LARGEST, Server
from supervisor.listen import ListenError

from .fakes import MODEL, Daemon, Fleet

pytestmark = pytest.mark.slow

Story = Callable[[httpx.AsyncClient, Fleet], Awaitable[None]]


def play(tmp_path: Path, story: Story) -> None:
    async def run() -> None:
        fleet = Fleet(a=Daemon("a", gib(9)), b=Daemon("b", gib(20)))
        await fleet.beat(count=16)
        path = tmp_path / "fleet.sock"
        server = Server(fleet.agents["a"], path, SocketMode.GROUP, None)
        await server.start()
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as http:
            await story(http, fleet)
        await server.stop()
        assert not path.exists()

    asyncio.run(run())


def test_it_answers_for_the_whole_fleet(tmp_path):
    async def story(http: httpx.AsyncClient, fleet: Fleet) -> None:
        found = (await http.get("/fleet")).json()
        assert [h["word"]["host"] for h in found["directory"]["hosts"]] == ["a", "b"]
        reply = await http.post("/place", json={"model": MODEL})
        assert (reply.status_code, reply.json()["host"]) == (200, "b")
        why = (await http.get("/why", params={"model": MODEL, "limit": 1})).json()
        assert [row["id"] for row in why["placements"]] == [reply.json()["placement"]]
        assert (await http.post("/drain", json={"host": "b", "for": 60})).status_code == 200
        assert fleet.engine.daemons["b"].drained == 60
        assert (await http.delete("/drain", params={"host": "b"})).status_code == 200
        assert not fleet.engine.daemons["b"].drained

    play(tmp_path, story)


def test_what_is_not_to_be_had_is_told_with_why_for_every_host(tmp_path):
    async def story(http: httpx.AsyncClient, fleet: Fleet) -> None:
        for daemon in fleet.engine.daemons.values():
            daemon.room = gib(1)
        await fleet.beat()
        reply = await http.post("/place", json={"model": MODEL})
        assert (reply.status_code, reply.json()["code"]) == (409, "queued")
        assert {n["host"]: n["why"] for n in reply.json()["notes"]} == {
            "a": "no fit", "b": "no fit",
        }  # fmt: skip
        reply = await http.post("/place", json={"model": "qwen3:9b"})
        assert reply.status_code == 404
        assert MODEL in reply.json()["closest"]

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "/place", b"{", 422, "the body is no JSON"),
        ("POST", "/place", b"[]", 422, "the body is"),
        ("POST", "/place", b'{"model": 3}', 422, "model is 3"),
        ("POST", "/place", b'{"model": "m", "within": 9999}', 422, "600 seconds at most"),
        ("POST", "/place", b'{"model": "m", "within": -1}', 422, "within"),
        ("POST", "/place", b" " * (LARGEST + 1), 422, f"longer than {LARGEST} bytes"),
        ("POST", "/drain", b'{"host": "z"}', 404, "there is no host z; there are a, b"),
        ("DELETE", "/drain", b"", 422, "/drain?host=NAME"),
        ("GET", "/why?limit=no", b"", 422, "it has to be a number from 1 to 1000"),
        ("GET", "/fleets", b"", 404, "there is nothing at /fleets"),
        ("PUT", "/place", b"", 405, "PUT is not for /place"),
    ],
)
def test_what_is_asked_wrongly_is_told(tmp_path, method, path, body, status, said):
    async def story(http: httpx.AsyncClient, fleet: Fleet) -> None:
        reply = await http.request(method, path, content=body)
        assert reply.status_code == status
        assert said in reply.json()["detail"]
        assert reply.json()["code"]

    play(tmp_path, story)


def test_a_second_agent_of_this_host_is_refused_and_the_first_stays(tmp_path):
    async def story(http: httpx.AsyncClient, fleet: Fleet) -> None:
        other = Server(fleet.agents["b"], tmp_path / "fleet.sock", SocketMode.GROUP, None)
        with pytest.raises(ListenError, match="is in use"):
            await other.start()
        assert (await http.get("/fleet")).json()["self"] == "a"

    play(tmp_path, story)
