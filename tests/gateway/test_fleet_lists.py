"""Lists of models in a fleet: this host's and the others', and which hosts have each."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from supervisor.config.gated import TokenConfig
from tests.gateway.desk import get
from tests.gateway.hosts import Town, address, fleet, housed, seen
from tests.gateway.test_fleet import TOKEN, sent
from tests.gateway.wires import whole
from tests.scenarios.gate import story

HOSTS = (
    ("a", [housed("a"), housed("b")]),
    ("b", [housed("b", "two"), housed("far", "two", status="loaded", ready=True, size=7)]),
    ("c", [housed("far", "three"), housed("rare", "three")]),
)


def asks(town: Town, path: str, *lines: str) -> Any:
    guest = town.at.guest()
    guest.says(get(path, *lines))
    return guest


def listed(town: Town, path: str, *lines: str) -> Any:
    """What is listed once the agent has told what there is."""
    guest = asks(town, path, *lines)
    if town.agent.asked():
        town.agent.says(200, **seen(*HOSTS))
    return guest.answer()[2]


@story
async def test_a_list_of_models_has_those_of_all_hosts_and_says_where_they_are() -> None:
    async with fleet() as town:
        found = {row["id"]: row for row in listed(town, "/v1/models")["data"]}
        assert {id: row["ullage"]["hosts"] for id, row in found.items()} == {
            "a": ["a"],
            "b": ["a", "b"],
            "far": ["b", "c"],
            "rare": ["c"],
        }
        far = found["far"]
        assert (far["object"], far["owned_by"]) == ("model", "two")  # the one that is ready
        assert (far["ullage"]["state"], far["ullage"]["size"]) == ("loaded", 7)
        anthropic = listed(town, "/v1/models", "anthropic-version: 2023-06-01")
        assert [row["id"] for row in anthropic["data"]] == list(found)
        assert anthropic["last_id"] == "rare"


@story
async def test_ollamas_lists_say_it_in_ollamas_words() -> None:
    async with fleet() as town:
        tags = {row["name"]: row for row in listed(town, "/api/tags")["models"]}
        assert list(tags) == ["a", "b", "far", "rare"]
        assert "remote_host" not in tags["b"]
        assert tags["far"]["remote_host"] == address("b")
        assert tags["far"]["remote_model"] == "two/far"
        assert tags["far"]["digest"]
        loaded = listed(town, "/api/ps")["models"]
        assert [(row["name"], row["size"], row["remote_host"]) for row in loaded] == [
            ("far", 7, address("b"))
        ]


@story
async def test_one_model_is_told_of_whichever_host_has_it() -> None:
    async with fleet() as town:
        assert listed(town, "/v1/models/far")["ullage"]["hosts"] == ["b", "c"]
        assert listed(town, "/v1/models/b")["ullage"]["hosts"] == ["a", "b"]
        assert listed(town, "/v1/models/nobody")["error"]["code"] == "model_not_found"


@story
async def test_what_there_is_is_asked_once_for_all_who_want_to_know_and_kept_for_a_moment() -> None:
    async with fleet() as town:
        guests = [asks(town, "/v1/models") for _ in range(3)]
        assert town.agent.asked() == ["/fleet"]
        town.agent.says(200, **seen(*HOSTS))
        assert all(len(guest.answer()[2]["data"]) == 4 for guest in guests)
        await town.at.town.clock.advance(1)
        assert len(listed(town, "/v1/models")["data"]) == 4
        assert town.agent.asked() == []
        await town.at.town.clock.advance(2)
        guest = asks(town, "/v1/models")
        assert town.agent.asked() == ["/fleet"]
        await guest.hangs_up()
        town.agent.says(500)


@story
async def test_without_an_agent_the_list_is_this_hosts_once_what_was_known_is_old() -> None:
    async with fleet() as town:
        assert len(listed(town, "/v1/models")["data"]) == 4
        town.agent.hangs_up()
        await town.at.town.clock.advance(3)
        guest = asks(town, "/v1/models")
        await town.at.town.clock.advance(0.1)
        assert len(guest.answer()[2]["data"]) == 4
        await town.at.town.clock.advance(30)
        guest = asks(town, "/v1/models")
        await town.at.town.clock.advance(0.1)
        data = guest.answer()[2]["data"]
        assert [row["id"] for row in data] == ["a", "b"]
        assert "hosts" not in data[0]["ullage"]


@story
async def test_a_token_sees_what_it_may_use_and_no_more() -> None:
    only = TokenConfig("only", sha256(b"only").digest(), models=("b", "r*"))
    async with fleet(tokens=(only,)) as town:
        line = "Authorization: Bearer only"
        assert [row["id"] for row in listed(town, "/v1/models", line)["data"]] == ["b", "rare"]


@story
async def test_hosts_that_are_away_or_without_a_gateway_are_not_listed() -> None:
    async with fleet() as town:
        guest = asks(town, "/v1/models")
        told = seen(*HOSTS, ("d", [housed("gone")]))
        told["directory"]["hosts"][1]["presence"] = "silent"
        told["directory"]["hosts"][2]["presence"] = "drained"
        told["directory"]["hosts"][3]["word"]["address"] = None
        town.agent.says(200, **told)
        assert [row["id"] for row in guest.answer()[2]["data"]] == ["a", "b"]


@story
async def test_what_is_told_of_a_model_of_another_host_is_told_there() -> None:
    async with fleet() as town:
        line, wire = town.host("b")
        guest = town.at.asks("/api/show", model="far")
        assert town.agent.asked() == ["/fleet"]
        town.agent.says(200, **seen(*HOSTS))
        path, headers, body = sent(wire)
        assert (path, body) == ("/api/show", {"model": "two/far"})
        assert headers["authorization"] == f"Bearer {TOKEN}"
        line.data_received(whole(b'{"details":{}}'))
        assert guest.answer()[:1] == (200,)
        assert town.agent.asked() == []  # nothing was placed for that
        guest = town.at.asks("/api/show", model="nobody")
        status, _, body = guest.answer()
        assert status == 404
        assert "nobody" in json.dumps(body)
