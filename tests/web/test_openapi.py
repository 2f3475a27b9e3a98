"""The table, and the description that is made of it."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import httpx
import pytest

from supervisor.config.entrusted import FORCE, FREE, GATEWAY, METRICS, READ, SCOPES
from supervisor.web.bodies import Wish
from supervisor.web.openapi import document
from supervisor.web.operations import Call, Operation, routes_of
from supervisor.web.server import application
from supervisor.web.table import operations

from .fakes import API, World, client, early, get, play, site


@pytest.fixture(scope="module")
def described() -> Any:
    return early(f"{API}/openapi.json").json()


def test_every_operation_is_described_and_every_route_is_one(described: Any) -> None:
    said = {(m.upper(), p) for p, methods in described["paths"].items() for m in methods}
    table = operations(site(World()))
    there = {(o.method, o.path.replace(":path", "")) for o in table}
    assert there == said
    routes = {
        (method, route.path.replace(":path", ""))
        for route in application(site(World())).routes
        for method in route.methods - {"HEAD"}
    }
    assert routes - there == {("GET", "/"), ("GET", "/assets/{name}")}  # the page, and its files


def test_it_is_whole_and_what_it_refers_to_is_there(described: Any) -> None:
    assert described["openapi"] == "3.1.0"
    assert described["info"]["version"] == "1.2.3"
    text = json.dumps(described)
    components = described["components"]
    for part in text.split('"$ref": "')[1:]:
        kind, name = part.split('"')[0].removeprefix("#/components/").split("/")
        assert name in components[kind], part[:80]
    assert not [n for n in components["schemas"] if not n.isalpha()]  # no two of one name
    used = {p.split('"')[0].rpartition("/")[2] for p in text.split('"$ref": "')[1:]}
    assert set(components["schemas"]) <= used
    assert components["securitySchemes"]["token"]["scheme"] == "bearer"


def test_every_operation_says_what_it_is_for_and_what_may_go_wrong(described: Any) -> None:
    each = [o for methods in described["paths"].values() for o in methods.values()]
    assert len({o["operationId"] for o in each}) == len(each)
    for operation in each:
        assert operation["summary"]
        assert {"401", "403", "421", "422", "500"} <= set(operation["responses"])
        assert any(status < "300" for status in operation["responses"])
        for parameter in operation["parameters"]:
            assert parameter.get("description") or parameter["in"] == "path", parameter


def test_sizes_and_times_are_described_with_their_units(described: Any) -> None:
    pool = described["components"]["schemas"]["Pool"]["properties"]
    assert "bytes" in json.dumps(pool["held"])
    lease = described["components"]["schemas"]["Lease"]["properties"]
    assert (lease["left"]["description"], lease["expires"]["description"]) == (
        "seconds",
        "Unix time in seconds",
    )


def test_bodies_say_what_goes_with_what_and_answers_may_grow(described: Any) -> None:
    schemas = described["components"]["schemas"]
    forms = schemas["Evict"]["oneOf"]
    assert [form["required"] for form in forms] == [["models"], ["all"], ["free"]]
    assert [("pool" in form["properties"]) for form in forms] == [False, False, True]
    assert all(form["additionalProperties"] is False for form in forms)
    assert schemas["Load"]["additionalProperties"] is False
    assert "additionalProperties" not in schemas["State"]


def test_every_wish_may_be_in_the_background(described: Any) -> None:
    wishes = [o for o in operations(site(World())) if o.body and issubclass(o.body, Wish)]
    names = {o.path.rpartition("/")[2] for o in wishes}
    assert names == {
        "evict", "unload", "load", "sleep", "wake", "leases", "reservations",
    }  # fmt: skip
    for operation in wishes:
        found = described["paths"][operation.path]["post"]["responses"]["202"]
        assert "Location" in found["headers"]
        assert "Begun" in json.dumps(found)


def test_the_description_names_the_token_and_what_is_free_of_it(described: Any) -> None:
    assert described["paths"]["/healthz"]["get"]["security"] == []
    told = described["components"]["securitySchemes"]["token"]["description"]
    for operation in operations(site(World())):
        path = described["paths"][operation.path.replace(":path", "")]
        security = path[operation.method.lower()]["security"]
        if operation.scope == FREE:
            assert security == []
        else:
            assert security == [{"token": [operation.scope]}, {}]
            assert f"`{operation.scope}`: " in told


def test_every_operation_has_a_scope_that_a_token_can_have() -> None:
    for operation in operations(site(World())):
        assert operation.scope in (FREE, *SCOPES), operation.id
        assert operation.scope not in (GATEWAY, FORCE), operation.id
        if operation.scope in (FREE, READ, METRICS):  # what only looks changes nothing
            assert operation.method == "GET" or operation.path == f"{API}/plan", operation.id
    with pytest.raises(TypeError, match="scope"):
        Operation("GET", "/x", None, "without", dict)  # type: ignore[call-arg,arg-type]


def test_no_operation_forgets_the_token() -> None:
    async def run() -> dict[str, int]:
        made = site(World(), token="0123456789abcdef")
        async with client(made) as http:
            found = {}
            for o in operations(made):
                path = re.sub(r"{.*?}", "x", o.path)
                body = None if o.method in ("GET", "DELETE") else {}
                reply = await http.request(o.method, path, json=body)
                found[f"{o.method} {o.path}"] = reply.status_code
        return found

    found = asyncio.run(run())
    assert {o for o, status in found.items() if status != 401} == {"GET /healthz", "GET /readyz"}


def test_it_is_made_once() -> None:
    async def story(http: httpx.AsyncClient) -> Any:
        first = await http.get(f"{API}/openapi.json")
        return first.content, (await http.get(f"{API}/openapi.json")).content

    first, second = play(story)
    assert first == second


def test_a_path_has_each_method_once_and_says_which_there_are() -> None:
    async def answer(_: Call[Any, Any]) -> Any:
        raise NotImplementedError

    one = Operation("GET", "/x", answer, "x", dict, scope=READ)
    with pytest.raises(ValueError, match="GET /x is there twice"):
        routes_of([one, one])
    for path, allowed in (("settings/mode", {"GET", "HEAD", "PUT", "DELETE"}), ("pin", {"POST"})):
        reply = play(lambda http, path=path: http.patch(f"{API}/{path}", json={}))
        assert reply.status_code == 405
        assert set(reply.headers["allow"].split(", ")) == allowed


def test_what_takes_no_body_is_sent_none() -> None:
    async def story(http: httpx.AsyncClient) -> Any:
        return await http.request("DELETE", f"{API}/leases/x", json={"force": True})

    reply = play(story)
    assert (reply.status_code, reply.json()["errors"]) == (422, ["this takes no body"])


def test_a_body_of_which_nothing_has_to_be_said_may_be_empty() -> None:
    async def story(http: httpx.AsyncClient) -> Any:
        return await http.post(f"{API}/resume", headers={"content-type": "application/json"})

    assert play(story).status_code == 200


def test_a_path_that_is_not_there_leads_to_the_description() -> None:
    assert f"{API}/openapi.json says what there is" in get(f"{API}/stat").json()["detail"]


def test_documents_are_the_same_each_time() -> None:
    table = operations(site(World()))
    assert json.dumps(document(table, "1")) == json.dumps(document(table, "1"))
