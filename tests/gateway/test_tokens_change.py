"""Tokens of the gateway that come and go while requests are held, answered and streamed."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from supervisor.config.entrusted import GATEWAY, READ, Entrusted, guests
from supervisor.config.gated import TokenConfig
from supervisor.gateway.exchange import REVOKED
from supervisor.gateway.tokens import Caller
from tests.gateway.desk import Desk, Guest, desk, get
from tests.gateway.test_tokens import AWAY, GOOD, OTHER, bearer, named, refused, token, tokens
from tests.gateway.wires import streamed, whole
from tests.scenarios.gate import story

OLD = TokenConfig("laptop", sha256(b"secret").digest())
NEXT = TokenConfig("laptop-2", sha256(b"another").digest())
HELLO = {"messages": [{"role": "user", "content": "hi"}]}


def asks(at: Desk, secret: str = "secret", **body: object) -> Guest:
    return at.asks("/v1/chat/completions", f"x-api-key: {secret}", **HELLO, **body)


@story
async def test_two_are_good_at_once_and_the_one_that_leaves_is_good_for_nothing() -> None:
    async with desk(tokens=(OLD,)) as at:

        def status(secret: str) -> int:
            guest = at.guest()
            guest.says(get("/v1/models", f"x-api-key: {secret}"))
            return guest.answer()[0]

        assert (status("secret"), status("another")) == (200, 401)
        at.gateway.admits((OLD, NEXT))
        assert (status("secret"), status("another")) == (200, 200)
        at.gateway.admits((NEXT,))
        assert (status("secret"), status("another")) == (401, 200)
        at.gateway.admits(())  # none at all: whoever reaches it may ask
        assert (status("secret"), status("x")) == (200, 200)
        at.gateway.admits((OLD,))
        assert (status("secret"), status("x")) == (200, 401)


@story
async def test_a_request_that_is_held_is_refused_when_its_token_goes() -> None:
    async with desk(tokens=(OLD, NEXT), comments_after=0.5) as at:
        _, wire = at.engine()
        mine, theirs = asks(at, model="a"), asks(at, "another", model="a")
        told = asks(at, model="a", stream=True)
        await at.town.clock.advance(1.0)
        before = told.heard()
        assert b"is being loaded" in before
        at.gateway.admits((NEXT,))
        status, _, body = mine.answer()
        assert (status, body["error"]["message"]) == (401, REVOKED)
        assert REVOKED.encode() in before + told.heard()
        await at.town.until(lambda: wire.sent)  # the other one is served
        at.links[0][0].data_received(whole(b'{"ok":1}'))
        assert theirs.answer()[0] == 200


@story
async def test_an_answer_that_has_begun_ends_with_an_error_when_its_token_goes() -> None:
    async with desk(tokens=(OLD,)) as at:
        await at.town.has("a")
        line, wire = at.engine()
        guest = asks(at, model="a", stream=True)
        line.data_received(streamed(b"data: 1\n\n", end=b""))
        assert b"data: 1" in guest.heard()
        at.gateway.admits((NEXT,))
        assert REVOKED.encode() in guest.heard()
        assert at.in_flight == {}
        assert wire.is_closing()  # so that the engine works for nobody


@story
async def test_a_request_that_an_engine_has_not_begun_to_answer_is_sent_to_no_other() -> None:
    async with desk(tokens=(OLD,)) as at:
        await at.town.has("a")
        _, wire = at.engine()
        _, spare = at.engine()
        guest = asks(at, model="a")
        at.gateway.admits((NEXT,))
        assert guest.answer()[0] == 401
        assert (wire.is_closing() or spare.is_closing(), at.in_flight) == (True, {})
        assert not (wire.sent and spare.sent)


@story
async def test_who_is_not_touched_goes_on_as_before() -> None:
    async with desk(tokens=(OLD,)) as at:
        await at.town.has("a")
        line, _ = at.engine()
        guest = asks(at, model="a")
        at.gateway.admits((replace(OLD, per_minute=5), NEXT))
        line.data_received(whole(b'{"ok":1}'))
        assert guest.answer()[0] == 200
        (mine, _) = at.gate.tokens.callers
        assert (mine.requests, mine.in_flight, mine.token.per_minute) == (1, 0, 5)  # type: ignore[union-attr]


def test_limits_that_change_count_from_then_on_and_what_was_counted_stays() -> None:
    known = tokens(token(max_in_flight=2))
    mine = known.identify(bearer(GOOD), AWAY)
    assert isinstance(mine, Caller)
    mine.begin(), mine.begin()
    assert refused(mine.begin()).status == 429
    assert known.take((token(max_in_flight=3, models=("b",)),)) == ()
    assert known.identify(bearer(GOOD), AWAY) is mine
    mine.begin()
    assert (mine.in_flight, mine.requests) == (3, 3)
    assert refused(mine.begin()).status == 429
    turn = known.turn
    assert known.take((token(max_in_flight=3, models=("b",)),)) == ()
    assert known.turn == turn  # nothing has changed, and nobody is looked up again


def test_the_same_name_with_another_token_is_somebody_else() -> None:
    known = tokens(token())
    same = bearer(GOOD)
    mine = known.identify(same, AWAY)
    assert known.take((token(secret=OTHER),)) == (mine,)
    assert refused(known.identify(same, AWAY)).status == 401
    assert named(known.identify(bearer(OTHER), AWAY)) == "laptop"


def test_the_same_token_with_another_name_is_somebody_else() -> None:
    known = tokens(token())
    mine = known.identify(bearer(GOOD), AWAY)
    assert known.take((token("desk"),)) == (mine,)
    assert named(known.identify(bearer(GOOD), AWAY)) == "desk"


@pytest.mark.parametrize("scopes", [{GATEWAY}, {GATEWAY, READ}, {READ}])
def test_a_token_of_the_api_with_the_scope_is_let_in_without_limits(scopes: set[str]) -> None:
    there = (Entrusted("desk", sha256(GOOD).digest(), frozenset(scopes), 2000.0),)
    known = tokens(token("ci", OTHER), *guests(there))
    found = known.identify(bearer(GOOD), AWAY)
    if GATEWAY not in scopes:
        assert refused(found).status == 401
        return
    assert named(found) == "desk"
    assert isinstance(found, Caller)
    assert found.token == TokenConfig("desk", sha256(GOOD).digest(), expires=2000.0)
