"""The gateway, asked by whoever means ill: names with lines in them or without number, secrets."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from hashlib import sha256

import pytest

from supervisor.config.gated import TokenConfig
from tests.gateway.desk import desk, get, post
from tests.gateway.wires import whole
from tests.scenarios.gate import run, story

HELLO = {"messages": [{"role": "user", "content": "hi"}]}
EVIL = "a\r\nX-Evil: 1\r\n\r\nGET /smuggled HTTP/1.1\r\n\x1b[2J\u2028"


@story
async def test_of_two_models_in_one_body_the_engine_sees_the_one_that_was_let_through() -> None:
    async with desk() as at:
        await at.town.has("a")
        line, wire = at.engine()
        guest = at.guest()
        body = b'{"model":"b","messages":[],"model":"a"}'
        line_of = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        guest.says(line_of + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        sent = wire.taken().partition(b"\r\n\r\n")[2]
        pairs = json.loads(sent, object_pairs_hook=list)
        assert pairs == [("model", "a"), ("messages", [])]
        line.data_received(whole())
        assert guest.answer()[0] == 200


MINE = TokenConfig("mine", sha256(b"a-token-of-my-own").digest(), models=("a",))
BEARER = "Authorization: Bearer a-token-of-my-own"


@story
async def test_a_models_name_in_the_query_reaches_no_model_that_was_not_let_through() -> None:
    """The token may use "a", and the engine has a "b" besides."""
    async with desk(tokens=(MINE,)) as at:
        await at.town.has("a")
        line, wire = at.engine()
        for query in ("model=b", "mod%65l=b", "x=1&Model=b&y=2", "x=1;model=b"):
            guest = at.asks(f"/v1/chat/completions?{query}", BEARER, model="a", **HELLO)
            first = wire.taken().partition(b" HTTP/1.1\r\n")[0]
            assert first.startswith(b"POST /v1/chat/completions"), query
            assert b"b" not in first.partition(b"?")[2], query
            line.data_received(whole())
            assert guest.answer()[0] == 200, query
        for path in ("/engines/one/v1/audio/voices?model=b", "/engines/one/v2/predictions/b"):
            guest = at.asks(path, BEARER, model="a")
            assert guest.answer()[0] == 403, path
            assert wire.taken() == b"", path


@story
async def test_a_form_in_disguise_reaches_no_model_that_was_not_let_through() -> None:
    """It is JSON that is a form as well: by its type engines would read the form."""
    async with desk(tokens=(MINE,)) as at:
        await at.town.has("a")
        line, wire = at.engine()
        type = "Content-Type: application/x-www-form-urlencoded"
        body = {"model": "a", "messages": "&model=b&"}
        guest = at.asks("/v1/chat/completions", BEARER, type, **body)
        sent = wire.taken()
        assert b"urlencoded" not in sent
        assert sent.count(b"content-type: application/json\r\n") == 1
        line.data_received(whole())
        assert guest.answer()[0] == 200


@story
async def test_lines_in_a_models_name_reach_no_head() -> None:
    async with desk() as at:
        await at.town.has("a")
        _, wire = at.engine()
        for path, body in (
            ("/v1/chat/completions", {"model": EVIL, **HELLO}),
            ("/api/chat", {"model": EVIL, **HELLO}),
            ("/api/show", {"model": EVIL}),
            ("/v1/messages", {"model": EVIL, **HELLO}),
        ):
            guest = at.asks(path, **body)
            head, _, answer = guest.heard().partition(b"\r\n\r\n")
            assert head.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")), path
            assert b"evil" not in head.lower(), path
            assert b"\x1b" not in answer, path
            json.loads(answer)
        for path in ("/v1/models/a%0d%0aX-Evil:%201", "/engines/a%0d%0aX-Evil:1/x"):
            guest = at.guest()
            guest.says(get(path))
            head = guest.heard().partition(b"\r\n\r\n")[0]
            assert head.startswith(b"HTTP/1.1 404")
            assert b"evil" not in head.lower()
        assert wire.taken() == b""


@story
async def test_lines_in_a_name_of_the_path_stay_in_the_path() -> None:
    async with desk() as at:
        await at.town.has("a")
        line, wire = at.engine()
        guest = at.guest()
        guest.says(get("/engines/one/v1/x%0d%0aX-Evil:%201?y=%0d%0a"))
        sent = wire.taken()
        assert sent.startswith(b"GET /v1/x%0d%0aX-Evil:%201?y=%0d%0a HTTP/1.1\r\n")
        assert sent.count(b"\r\n") == 4  # with the host and our own mark
        line.data_received(whole())
        assert guest.answer()[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/engines/one/v1/../api/delete", "/engines/one/%2e%2e/api/pull",
        "/engines/one//api//create",
        "/engines/one/v1/..%2fapi%2fpush", "/engines/one/x/..\\..\\api\\delete",
        "/engines/one/API/Delete", "/engines/one/api/delete/", "/engines/one/api/delete;x",
        "/engines/one/%61pi/%64elete", "/engines/one/v1/%2e%2e/slots/0",
    ],
)  # fmt: skip
def test_no_way_of_writing_a_path_changes_what_an_engine_has(path: str) -> None:
    async def tale() -> None:
        async with desk() as at:
            _, wire = at.engine()
            guest = at.asks(path, model="a")
            assert guest.answer()[0] in (403, 404, 400)
            assert wire.taken() == b""

    run(tale())


@pytest.mark.slow
@story
async def test_names_without_number_are_a_few_series_and_a_few_names() -> None:
    async with desk() as at:
        await at.town.has("a")

        def size() -> tuple[int, int, int]:
            gate = at.gate
            return (
                len(list(gate.counts.facts())),
                len(gate.sessions),
                len(at.gateway.clients.heads._kept),
            )

        for i in range(50):
            at.asks(
                f"/v1/chat/completions?x={i}", f"X-Ullage-Session: s{i}", model=f"none-{i}"
            ).heard()
        series, _, _ = size()
        for i in range(3000):
            line, _ = at.engine() if i % 300 == 0 else (None, None)
            name = "a" if line is not None else f"wrong-{i}"
            lines = (f"X-Ullage-Session: t{i}", f"User-Agent: u{i}", f"traceparent: {i}")
            guest = at.asks(
                f"/v1/chat/completions?y={i}", *lines, model=name, user=f"w{i}", **HELLO
            )
            if line is not None:
                line.data_received(whole())
            guest.heard()
            await guest.hangs_up()
        found, names, heads = size()
        assert found < series + 40  # of the one model that was asked in the end
        assert names <= 1024
        assert heads <= 256


@story
async def test_no_token_and_no_engines_key_is_told_or_logged_or_passed_on() -> None:
    heard: list[str] = []

    class Hears(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    logging.getLogger().addHandler(handler := Hears())
    try:
        mine = TokenConfig("laptop", sha256(b"secret-of-mine").digest())
        async with desk(tokens=(mine,)) as at:
            await at.town.has("a")
            line, wire = at.engine()
            ways: tuple[str, ...] = (
                "Authorization: Bearer secret-of-mine", "X-Api-Key: secret-of-mine",
                "api-key: secret-of-mine",
            )  # fmt: skip
            for way in ways:
                guest = at.asks("/v1/chat/completions", way, "Cookie: c=secret-of-mine", model="a")
                assert b"secret-of-mine" not in wire.taken(), way
                line.data_received(whole(b"{}", b"200 OK", b"Set-Cookie: secret-of-engine"))
                assert b"secret" not in guest.heard(), way
            for wrong in ("secret-of-them", "a\tb", "x" * 4000, "\x80\xff"):
                body: Mapping[str, object] = {"model": "a"}
                guest = at.guest()
                raw = post("/v1/chat/completions", body, "Authorization: Bearer WRONG")
                guest.says(raw.replace(b"WRONG", wrong.encode("latin-1")))
                answer = guest.heard()
                assert answer[9:12] in (b"401", b"429")
                assert wrong.encode("latin-1") not in answer
            assert wire.taken() == b""
            assert not any("secret" in text for text in heard)
    finally:
        logging.getLogger().removeHandler(handler)
