"""Who may ask: a table of requests and what becomes of them."""

from __future__ import annotations

import asyncio
from itertools import product
from typing import Any

import pytest

from supervisor.accounts import PEER, Peer
from supervisor.hosts import LOOPBACK, host_of
from supervisor.web.callers import Callers
from supervisor.web.guard import HEADERS, Guard, Rules, rules
from supervisor.web.operations import Needs
from supervisor.web.problems import Json
from supervisor.web.table import operations
from tests.web.fakes import World, site

US, STRANGER, UNIX = ("127.0.0.1", 5), ("192.0.2.7", 5), None
HERE = ("127.0.0.1", 8552)
TOKEN = "a-token-of-some-length"
BEARER = {"authorization": f"Bearer {TOKEN}"}
JSON = {"content-type": "application/json"}


NEEDS = Needs(operations(site(World())))
KEPT = Rules(callers=Callers(lambda: TOKEN), needs=NEEDS)


class Reply:
    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.status: int = messages[0]["status"]
        self.headers = {k.decode(): v.decode() for k, v in messages[0]["headers"]}
        self.body = b"".join(m.get("body", b"") for m in messages[1:])


async def echo(scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    await Json({"length": len(message["body"])})(scope, receive, send)


def ask(
    method: str = "GET",
    path: str = "/api/v1/state",
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    *,
    rules: Rules = Rules(),  # noqa: B008
    client: tuple[str, int] | None = US,
    server: tuple[str, int | None] = HERE,
    chunks: tuple[bytes, ...] = (b"{}",),
    app: Any = echo,
    stalls: bool = False,
    peer: Peer | None = None,
) -> Reply:
    """One request through the guard. `stalls`: the body's end never comes."""
    given = list(headers.items()) if isinstance(headers, dict) else list(headers or [])
    if not isinstance(headers, list) and "host" not in dict(given):
        given.append(("host", "127.0.0.1:8552"))
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in given],
        "client": client,
        "server": server,
        PEER: peer,
    }
    waiting = list(chunks)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if waiting:
            chunk = waiting.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(waiting) or stalls}
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(app, rules)(scope, receive, send))
    return Reply(sent)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8552",
        "localhost",
        "LOCALHOST:1",
        "[::1]",
        "[::1]:8552",
        "box.lan:80",
    ],
)
def test_we_answer_to_our_own_names(host):
    allowed = rules("127.0.0.1", ["Box.lan"], Callers())
    assert ask(headers={"host": host}, rules=allowed).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8552",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example@127.0.0.1",
        "127.0.0.1@evil.example",
        "127.0.0.1/evil.example",
        "127.0.0.1#evil.example",
        "127.0.0.1:port",
        "127.0.0.1 evil.example",
        "127.0.0.1\tx",
        "[::1",
        "0.0.0.0",
        "192.168.1.5",
        "",
        "é.example",
    ],
)
def test_a_rebound_name_is_refused_whatever_it_asks(host):
    for method in ("GET", "POST", "HEAD", "DELETE"):
        reply = ask(method, headers={"host": host, **JSON})
        assert reply.status == 421, method
        assert b"listen.allowed_hosts" in reply.body, method
        assert reply.headers["connection"] == "close", method


@pytest.mark.parametrize("hosts", [[], ["127.0.0.1", "127.0.0.1"], ["evil.example", "127.0.0.1"]])
def test_a_request_names_exactly_one_host(hosts):
    assert ask(headers=[("host", h) for h in hosts]).status == 421


def test_where_we_listen_is_a_name_of_ours():
    assert rules("192.0.2.1", (), Callers()).hosts == LOOPBACK | {"192.0.2.1"}
    assert host_of("[FE80::1]:80") in rules("fe80::1", (), Callers()).hosts


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://127.0.0.1:8552", "sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "http://127.0.0.1:8552.evil.example"}, 403),
        ({"origin": ""}, 403),
        ({"origin": "http://[::1"}, 403),
        ({"origin": "http://127.0.0.1:8552@evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:8552"}, 403),
    ],
)
def test_a_page_of_another_site_changes_nothing(headers, status):
    assert ask("POST", headers={**JSON, **headers}).status == status


def test_another_sites_page_is_refused_even_with_the_token():
    headers = {**JSON, **BEARER, "origin": "http://evil.example"}
    assert ask("POST", headers=headers, rules=KEPT).status == 403


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "QUERY", "MKCOL"])
def test_every_method_that_is_not_known_to_be_harmless_counts_as_a_change(method):
    assert ask(method, headers={"origin": "http://evil.example"}).status == 403
    assert ask(method, client=STRANGER).status == 403
    assert ask(method, rules=KEPT).status == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (BEARER, 200),
        ({"authorization": f"bearer  {TOKEN}"}, 200),
        ({}, 401),
        ({"authorization": f"Basic {TOKEN}"}, 401),
        ({"authorization": TOKEN}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"authorization": f"Bearer {TOKEN}x"}, 401),
        ({"authorization": f"Bearer {TOKEN[:-1]}"}, 401),
        ({"authorization": "Bearer é"}, 401),
    ],
)
def test_where_there_is_a_token_everything_needs_it(headers, status):
    for client, path in product([US, STRANGER], ["/api/v1/state", "/metrics", "/plain"]):
        reply = ask(path=path, headers=headers, client=client, rules=KEPT)
        assert reply.status == status, (client, path)
        assert ("www-authenticate" in reply.headers) == (status == 401), (client, path)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_whether_we_live_may_be_asked_without_a_token(path):
    assert ask(path=path, client=STRANGER, rules=KEPT).status == 200


@pytest.mark.parametrize(
    ("client", "status"),
    [
        (US, 200),
        (("127.8.8.8", 1), 200),
        (("::1", 1), 200),
        (("::ffff:127.0.0.1", 1), 200),
        (STRANGER, 403),
        (("fe80::1%eth0", 1), 403),
        (("testclient", 1), 403),
        (None, 403),  # a TCP peer that is gone already
    ],
)
def test_without_a_token_only_this_machine_changes_things(client, status):
    reply = ask("POST", headers=JSON, client=client)
    assert reply.status == status
    if status == 403:
        assert b"listen.token_file" in reply.body
    assert ask("GET", client=client).status == 200


def test_whoever_the_socket_is_for_needs_no_token():
    inside = {
        "client": UNIX,
        "server": ("/run/ullage.sock", None),
        "peer": Peer(0),
        "rules": KEPT,
    }
    assert ask("POST", headers=JSON, **inside).status == 200
    assert ask("POST", headers={**JSON, "host": "evil.example"}, **inside).status == 421


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/jsonp", 415),
        ("", 415),
    ],
)
def test_a_body_is_json(kind, status):
    assert ask("POST", headers={"content-type": kind} if kind else {}).status == status


@pytest.mark.parametrize(
    ("chunks", "status"),
    [((b"x" * 10,), 200), ((b"x" * 11,), 413), ((b"x" * 6, b"x" * 5), 413), ((b"",) * 50, 200)],
)
def test_a_body_is_counted_as_it_comes(chunks, status):
    reply = ask("POST", headers=JSON, chunks=chunks, rules=Rules(largest_body=10))
    assert reply.status == status
    if status == 413:
        assert reply.headers["connection"] == "close"


@pytest.mark.slow
def test_a_body_that_says_that_it_is_too_large_is_not_waited_for():
    headers = {**JSON, "content-length": "11"}
    assert ask("POST", headers=headers, chunks=(), rules=Rules(largest_body=10)).status == 413


def test_a_body_that_does_not_end_is_given_up():
    reply = ask("POST", headers=JSON, stalls=True, rules=Rules(body_timeout=0.01))
    assert reply.status == 408
    assert reply.headers["connection"] == "close"


def test_the_body_reaches_whoever_is_behind_whole():
    reply = ask("POST", headers=JSON, chunks=(b"abc", b"", b"de"))
    assert reply.body == b'{"length":5}'


@pytest.mark.parametrize("headers", [{"content-length": "5"}, {"transfer-encoding": "chunked"}])
def test_a_request_that_only_reads_has_no_body(headers):
    assert ask("GET", headers=headers).status == 400


@pytest.mark.parametrize("headers", [{}, {"host": "evil.example"}, {"content-length": "5"}])
def test_every_answer_carries_the_headers_of_caution(headers):
    reply = ask(headers=headers)
    assert HEADERS.items() <= reply.headers.items()


def test_an_error_of_ours_is_a_problem_without_a_trace(caplog):
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("a secret")

    reply = ask(app=broken)
    assert reply.status == 500
    assert reply.headers["content-type"] == "application/problem+json"
    assert b"secret" not in reply.body
    assert "a secret" in caplog.text
