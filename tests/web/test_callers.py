"""Who asks, and how far each may go: every kind of caller against every kind of request."""

from __future__ import annotations

import json
import os
import re
from hashlib import sha256
from typing import Any

import pytest

from supervisor.accounts import UNKNOWN, Peer
from supervisor.config.entrusted import (
    ADMIN,
    ALL,
    FORCE,
    FREE,
    METRICS,
    OPERATE,
    READ,
    SCOPES,
    WRITE,
    Entrusted,
    briefly,
    included,
    who_may,
)
from supervisor.web.callers import CALLER, LONGEST, Callers
from supervisor.web.guard import Rules
from supervisor.web.problems import Json
from supervisor.web.table import operations
from tests.web.fakes import World, site
from tests.web.test_guard import JSON, NEEDS, STRANGER, TOKEN, UNIX, US, Reply, ask

MAIN, ALERTS, FORCED, OLD = TOKEN, "ullage-alertmanager-1", "ullage-forced-1234", "ullage-old-12"
INSIDE: Any = {"client": UNIX, "server": ("/run/ullage.sock", None)}
NOW = 1_000.0
POSTS = ["/api/v1/alerts", "/api/v1/alerts/plain"]


def entrusted(name: str, secret: str, *scopes: str, expires: float | None = None) -> Entrusted:
    return Entrusted(name, sha256(secret.encode()).digest(), included(scopes), expires)


KNOWN = (
    entrusted("am", ALERTS, WRITE),
    entrusted("boss", FORCED, FORCE),
    entrusted("old", OLD, WRITE, expires=NOW),
)


async def who(scope: Any, receive: Any, send: Any) -> None:
    caller = scope[CALLER]
    said = {"name": caller.name, "scopes": sorted(caller.scopes), "force": caller.force}
    await Json(said)(scope, receive, send)


def callers(main: str | None = None, known: tuple[Entrusted, ...] = KNOWN) -> Callers:
    return Callers(lambda: main, lambda: known, wall=lambda: NOW)


def asked(
    method: str, path: str, secret: str | None = None, by: Callers | None = None, **rest: Any
) -> Reply:
    headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
    headers |= JSON if method in ("POST", "PUT") else {}
    allowed = Rules(callers=callers() if by is None else by, needs=NEEDS)
    return ask(method, path, headers, rules=allowed, app=who, **rest)


def caller(reply: Reply) -> tuple[str, list[str], bool]:
    assert reply.status == 200, reply.body
    found = json.loads(reply.body)
    return found["name"], found["scopes"], found["force"]


# -- who may


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("main", [MAIN, None])
@pytest.mark.parametrize("peer", [US, STRANGER])
def test_a_token_with_a_scope_does_what_that_is_for_from_wherever_it_comes(path, main, peer):
    by = callers(main)
    assert caller(asked("POST", path, ALERTS, by, client=peer)) == ("am", [WRITE], False)
    assert caller(asked("POST", path, FORCED, by, client=peer)) == ("boss", [FORCE, WRITE], True)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/alerts"),
        ("HEAD", "/api/v1/alerts"),
        ("PUT", "/api/v1/alerts"),
        ("POST", "/api/v1/alerts/"),
        ("POST", "/api/v1/alerts/plain/"),
        ("POST", "//api/v1/alerts"),
        ("POST", "/api/v1/Alerts"),
        ("post", "/api/v1/alerts"),
        ("GET", "/api/v1/state"),
        ("GET", "/metrics"),
        ("POST", "/api/v1/evict"),
        ("PUT", "/api/v1/settings/mode"),
    ],
)
@pytest.mark.parametrize("main", [MAIN, None])
@pytest.mark.parametrize("secret", [ALERTS, FORCED])
def test_a_token_with_a_scope_does_nothing_else(method, path, main, secret):
    """Not even what this machine may do without any token."""
    reply = asked(method, path, secret, callers(main))
    assert reply.status == 403
    said = json.loads(reply.body)
    assert said["needs"] == NEEDS(method, path)
    assert WRITE in said["has"]
    who = "am has alerts:write" if secret == ALERTS else "boss has alerts:force"
    assert said["detail"] == f"{method} {path} needs {said['needs']}; token {who}"


def test_a_token_without_the_scope_that_is_needed_is_told_of_both():
    known = (entrusted("x", "ullage-nothing"),)
    reply = asked("POST", POSTS[0], "ullage-nothing", callers(known=known))
    assert reply.status == 403
    said = json.loads(reply.body)
    assert (said["needs"], said["has"]) == (WRITE, [])
    assert said["detail"] == f"POST {POSTS[0]} needs {WRITE}; token x has no scope"


def example(path: str) -> str:
    return re.sub(r"\{(\w+)(:path)?\}", "x", path)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("main", [MAIN, None])
def test_a_token_does_what_its_scope_includes_and_nothing_else_of_all_that_there_is(scope, main):
    by = callers(main, (entrusted("x", "ullage-scoped-token", scope),))
    may = included((scope,))
    for operation in operations(site(World())):
        path = example(operation.path)
        reply = asked(operation.method, path, "ullage-scoped-token", by, client=STRANGER)
        allowed = operation.scope == FREE or operation.scope in may
        assert reply.status == (200 if allowed else 403), (operation.method, path)
        if not allowed:
            said = json.loads(reply.body)
            assert (said["needs"], said["has"]) == (operation.scope, sorted(may))


def test_the_scopes_include_one_another_as_they_are_told():
    assert included((READ,)) == {READ, METRICS}
    assert included((OPERATE,)) == {OPERATE, READ, METRICS}
    assert included((ADMIN,)) == ALL == {ADMIN, OPERATE, READ, METRICS, WRITE, FORCE}
    assert briefly(ALL) == [ADMIN]
    assert briefly({READ, METRICS, WRITE}) == [READ, WRITE]
    assert who_may(METRICS) == [METRICS, READ, OPERATE, ADMIN]
    assert who_may(WRITE) == [WRITE, ADMIN, FORCE]


def test_what_each_scope_is_for():
    """Of some, by name: the whole table is in the reference."""
    there = operations(site(World()))
    needs = {(o.method, o.path.removeprefix("/api/v1/")): o.scope for o in there}
    assert {needs["GET", p] for p in ("state", "models", "events", "settings")} == {READ}
    assert needs["POST", "plan"] == READ
    moving = ("evict", "load", "pin", "unpin", "leases", "pause", "drain", "release", "sleep")
    assert {needs["POST", p] for p in moving} == {OPERATE}
    assert needs["DELETE", "leases/{id}"] == OPERATE
    lasting = [("PUT", "settings/{key:path}"), ("POST", "config/reload"), ("POST", "retention")]
    assert {needs[row] for row in [*lasting, ("GET", "logs")]} == {ADMIN}
    assert needs["GET", "/metrics"] == METRICS
    assert needs["GET", "/healthz"] == needs["GET", "/readyz"] == FREE


def test_what_is_not_in_the_table_takes_everything_to_change_and_a_look_to_see():
    assert NEEDS("GET", "/api/v1/none") == NEEDS("OPTIONS", "/api/v1/evict") == READ
    assert NEEDS("PATCH", "/api/v1/settings/mode") == NEEDS("POST", "/healthz") == ADMIN
    assert NEEDS("HEAD", "/metrics") == METRICS
    assert NEEDS("GET", "/assets/a/b") == NEEDS("GET", "/api/v1/state/") == READ


ROOT = Peer(0)
SOMEBODY, MEMBER = Peer(54321, frozenset({7})), Peer(54321, frozenset({7, 8}))


@pytest.mark.parametrize("path", [*POSTS, "/api/v1/evict", "/api/v1/config/reload"])
def test_the_main_token_and_root_on_the_socket_may_do_everything(path):
    main = callers(MAIN)
    assert caller(asked("POST", path, MAIN, main, client=STRANGER)) == ("token", sorted(ALL), True)
    for by in (main, callers()):
        name, scopes, force = caller(asked("POST", path, None, by, **INSIDE, peer=ROOT))
        assert name.startswith("uid:0")
        assert (scopes, force) == (sorted(ALL), True)


def test_on_the_socket_those_of_the_group_do_everything_and_others_look():
    by = Callers(lambda: MAIN, lambda: KNOWN, 8, wall=lambda: NOW)
    assert caller(asked("POST", "/api/v1/evict", None, by, **INSIDE, peer=MEMBER))[1] == sorted(ALL)
    for peer in (SOMEBODY, None):  # None: the kernel does not tell
        assert caller(asked("GET", "/api/v1/state", None, by, **INSIDE, peer=peer))[1] == sorted(
            included((READ,))
        )
        reply = asked("POST", "/api/v1/evict", None, by, **INSIDE, peer=peer)
        assert reply.status == 403
        assert json.loads(reply.body)["needs"] == OPERATE
    without = Callers(lambda: MAIN, wall=lambda: NOW)
    assert asked("POST", "/api/v1/evict", None, without, **INSIDE, peer=MEMBER).status == 403


def test_on_the_socket_a_token_adds_to_what_one_may_and_takes_nothing():
    by = callers(MAIN)
    assert caller(asked("POST", POSTS[0], ALERTS, by, **INSIDE, peer=SOMEBODY))[0] == "am"
    assert caller(asked("POST", "/api/v1/evict", ALERTS, by, **INSIDE, peer=ROOT))[1] == sorted(ALL)
    assert caller(asked("POST", "/api/v1/evict", MAIN, by, **INSIDE, peer=SOMEBODY))[0] == "token"
    assert asked("POST", "/api/v1/evict", "wrong", by, **INSIDE, peer=SOMEBODY).status == 403


def test_our_own_account_does_everything_on_the_socket():
    for peer, may in [(Peer(os.geteuid()), True), (Peer(UNKNOWN), False)]:
        reply = asked("POST", "/api/v1/evict", None, callers(MAIN), **INSIDE, peer=peer)
        assert (reply.status == 200) == may


def test_a_credential_of_the_socket_counts_nowhere_else():
    """Whatever stands in the scope: it is the listener's word, and TCP has none."""
    reply = asked("POST", "/api/v1/evict", None, callers(MAIN), peer=ROOT)
    assert reply.status == 401


def test_this_machine_without_any_token_may_do_everything_but_force():
    free = callers(known=())
    may = sorted(ALL - {FORCE})
    assert caller(asked("POST", "/api/v1/alerts", None, free)) == ("local", may, False)
    assert caller(asked("POST", "/api/v1/evict", None, free)) == ("local", may, False)
    assert asked("POST", "/api/v1/alerts", None, free, client=STRANGER).status == 403
    assert asked("GET", "/api/v1/logs", None, free, client=STRANGER).status == 403
    assert caller(asked("GET", "/api/v1/state", None, free, client=STRANGER))[1] == sorted(
        included((READ,))
    )


@pytest.mark.parametrize("scope", SCOPES)
def test_a_token_that_opens_the_api_closes_it_to_whoever_has_none(scope):
    """On this machine, too; and when it has expired, for that was no wish to be open to all."""
    closes = scope in (READ, OPERATE, ADMIN, METRICS)
    for expires in (None, NOW - 1):
        by = callers(known=(entrusted("x", "ullage-scoped-token", scope, expires=expires),))
        for secret in (None, "wrong"):
            for way in (("GET", "/api/v1/state"), ("POST", "/api/v1/evict"), ("GET", "/metrics")):
                assert asked(*way, secret, by).status == (401 if closes else 200), way
        assert asked("GET", "/healthz", None, by).status == 200


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "x-real-ip"])
def test_what_came_through_a_proxy_is_not_taken_for_this_machine(header):
    """A proxy on this machine would otherwise let everybody do everything."""
    for value in ("127.0.0.1", "for=127.0.0.1", ""):
        headers = {**JSON, header: value}
        rules = Rules(callers=callers(known=()), needs=NEEDS)
        assert ask("POST", "/api/v1/evict", headers, rules=rules, app=who).status == 403
        read = ask("GET", "/api/v1/state", {header: value}, rules=rules, app=who)
        assert caller(read)[1] == sorted(included((READ,)))
        main = Rules(callers=callers(MAIN), needs=NEEDS)
        with_token = {**headers, "authorization": f"Bearer {MAIN}"}
        assert ask("POST", "/api/v1/evict", with_token, rules=main, app=who).status == 200
        assert ask("POST", "/api/v1/evict", headers, rules=main, app=who).status == 401


def test_whoever_sends_none_is_told_which_would_do():
    by = callers(known=(entrusted("x", "ullage-scoped-token", READ),))
    said = json.loads(asked("POST", "/api/v1/evict", None, by).body)["detail"]
    assert said == "this needs a token with operate or admin, as 'Authorization: Bearer ...'"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/", "/assets/main.js"])
def test_what_is_free_is_nobodys(path):
    for secret in (None, OLD, "wrong", ALERTS):
        assert caller(asked("GET", path, secret, callers(MAIN))) == ("", [], False)


# -- who may not


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("peer", [US, STRANGER])
@pytest.mark.parametrize("secret", [None, "", "wrong", ALERTS[:-1], ALERTS + "x", "x" * 5000])
def test_once_there_is_a_token_for_alerts_they_need_one_on_this_machine_too(path, peer, secret):
    reply = asked("POST", path, secret, client=peer)
    assert reply.status == 401
    assert "www-authenticate" in reply.headers
    said = json.loads(reply.body)["detail"]
    assert ("not known" in said) == (secret not in (None, "", "x" * 5000))
    assert WRITE in said or "not known" in said


def test_and_all_else_stays_as_free_as_it_was():
    for secret in (None, "wrong"):
        assert caller(asked("POST", "/api/v1/evict", secret))[0] == "local"
        assert asked("GET", "/api/v1/alerts", secret).status == 200
        assert asked("POST", "/api/v1/evict", secret, client=STRANGER).status == 403


@pytest.mark.parametrize("path", [*POSTS, "/api/v1/state"])
def test_a_token_that_has_expired_says_so(path):
    reply = asked("POST", path, OLD)
    assert reply.status == 401
    assert b"token old has expired" in reply.body
    fresh = callers(known=(entrusted("old", OLD, WRITE, expires=NOW + 1),))
    assert asked("POST", POSTS[0], OLD, fresh).status == 200


def test_a_token_that_is_too_long_is_none_at_all():
    long = "x" * (LONGEST + 1)
    known = (entrusted("long", long, WRITE),)
    assert asked("POST", POSTS[0], long, callers(known=known)).status == 401
    assert asked("POST", POSTS[0], long[1:], callers(known=(entrusted("l", long[1:], WRITE),))
                 ).status == 200  # fmt: skip


def test_every_known_digest_is_compared_however_soon_one_is_found(monkeypatch):
    compared = []

    def compare(one, other):
        compared.append(one)
        return one == other

    monkeypatch.setattr("supervisor.web.callers.compare_digest", compare)
    for secret in (ALERTS, FORCED, MAIN, "wrong"):
        compared.clear()
        asked("POST", POSTS[0], secret, callers(MAIN))
        digests = {token.digest for token in KNOWN} | {sha256(MAIN.encode()).digest()}
        assert set(compared) == digests, secret
        assert len(compared) == len(digests), secret
