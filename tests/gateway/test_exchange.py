"""Requests on their way: let through, held, refused, passed on, sent again, and ended."""

from __future__ import annotations

from hashlib import sha256

import pytest

from supervisor.config.gated import TokenConfig
from tests.gateway.desk import Deaf, Spoken, desk, get, post
from tests.gateway.wires import streamed, whole
from tests.scenarios.gate import LOAD, models, story

HELLO = {"messages": [{"role": "user", "content": "hi"}]}


@story
async def test_a_request_for_a_loaded_model_passes_and_is_counted_while_it_does() -> None:
    async with desk() as at:
        await at.town.has("a")
        line, wire = at.engine()
        guest = at.asks(model="a", **HELLO)
        assert at.in_flight == {at.town.ref("a"): 1}
        sent = wire.taken()
        assert sent.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:1\r\n")
        assert sent.endswith(b'{"model": "a", "messages": [{"role": "user", "content": "hi"}]}')
        line.data_received(whole(b'{"ok":1}'))
        status, headers, body = guest.answer()
        assert (status, body) == (200, {"ok": 1})
        assert headers["x-ullage-model"] == "one/a"
        assert "x-ullage-waited" not in headers
        assert at.in_flight == {}
        facts = {
            name: value for name, labels, value in at.gate.counts.facts() if labels == ("one",)
        }
        assert facts["response_bytes_total"] == len(b'{"ok":1}')


@story
async def test_a_request_for_a_model_that_is_not_there_waits_until_it_is() -> None:
    async with desk() as at:
        line, wire = at.engine()
        guest = at.asks(model="a", **HELLO)
        assert guest.heard() == wire.taken() == b""
        await at.town.until(lambda: wire.sent)
        line.data_received(whole())
        _, headers, _ = guest.answer()
        assert LOAD <= float(headers["x-ullage-waited"]) < LOAD + 1
        assert at.town.loads == ["a"]


@story
async def test_a_stream_is_told_how_it_stands_and_goes_on_as_if_nothing_had_been() -> None:
    async with desk() as at:
        line, wire = at.engine()
        guest = at.asks(model="a", stream=True, **HELLO)
        await at.town.until(lambda: wire.sent)
        said = guest.heard()
        assert b"200 OK" in said
        assert b"content-type: text/event-stream" in said
        assert b"\r\n: ullage: one/a is being loaded" in said
        line.data_received(streamed(b"data: 1\n\n", b"data: [DONE]\n\n"))
        chunks = guest.heard()
        assert b"data: 1\n\n" in chunks
        assert b"HTTP/1.1" not in chunks
        assert chunks.endswith(b"0\r\n\r\n")
        assert not guest.wire.is_closing()  # and the connection is good for another request


@story
async def test_no_word_comes_to_who_gets_its_model_soon_or_cannot_read_one() -> None:
    async with desk(comments_after=60.0) as at:
        _, wire = at.engine()
        at.engine()
        guest, lines = at.asks(model="a", stream=True), at.asks("/api/chat", model="a", **HELLO)
        await at.town.until(lambda: wire.sent)
        assert guest.heard() == b""
        await at.town.clock.advance(120)
        assert lines.heard() == b""


@story
async def test_early_hints_come_to_who_asks_for_them() -> None:
    async with desk(models("abc")) as at:
        at.engine()
        at.engine()
        first = at.asks("/v1/embeddings", "X-Ullage-Hints: 103", model="a", input="x")
        second = at.asks("/v1/embeddings", "X-Ullage-Hints: 103", model="b", input="x")
        silent = at.asks("/v1/embeddings", model="c", input="x")
        assert first.heard().startswith(b"HTTP/1.1 103 Early Hints\r\nx-ullage-position: 1\r\n")
        assert b"x-ullage-position: 2\r\n" in second.heard()
        assert silent.heard() == b""


@story
async def test_a_client_that_speaks_http_1_0_is_sent_no_early_hint() -> None:
    """It would take it for the answer."""
    async with desk(models("a", load=10)) as at:
        guest = at.guest()
        asks = post("/v1/embeddings", {"model": "a", "input": "x"}, "X-Ullage-Hints: 103")
        guest.says(asks.replace(b"HTTP/1.1", b"HTTP/1.0"))
        await at.town.clock.advance(5)
        assert at.gate.under_way
        assert guest.heard() == b""
        await guest.hangs_up()


@story
async def test_who_hangs_up_while_it_waits_is_forgotten_and_nothing_is_loaded_for_it() -> None:
    async with desk() as at:
        await at.town.has("a")
        guest = at.asks(model="b", stream=True, **HELLO)
        await guest.hangs_up()
        await at.town.clock.advance(10)
        assert at.town.loads == []
        assert at.gate.counts.clients_gone == 1
        assert not at.gate.under_way


@story
async def test_who_hangs_up_in_the_middle_ends_the_engines_work_too() -> None:
    async with desk() as at:
        await at.town.has("a")
        line, wire = at.engine()
        guest = at.asks(model="a", stream=True, **HELLO)
        line.data_received(streamed(b"data: 1\n\n", end=b""))
        await guest.hangs_up()
        await at.town.clock.advance(0.1)
        assert wire.aborted
        assert at.in_flight == {}


@story
async def test_an_engine_that_never_answers_is_given_up() -> None:
    async with desk(engine_timeout=30.0) as at:
        await at.town.has("a")
        at.engine()
        guest = at.asks(model="a", **HELLO)
        await at.town.clock.advance(29)
        assert guest.heard() == b""
        await at.town.clock.advance(3)
        status, _, body = guest.answer()
        assert status == 504
        assert "sent nothing for 30 s" in body["error"]["message"]
        assert at.in_flight == {}


@story
async def test_an_error_of_the_engine_reaches_a_stream_that_has_begun_as_an_event() -> None:
    async with desk() as at:
        line, wire = at.engine()
        guest = at.asks(model="a", stream=True, **HELLO)
        await at.town.until(lambda: wire.sent)
        guest.heard()
        line.data_received(whole(b'{"error":{"message":"too long"}}', b"400 Bad Request"))
        said = guest.heard()
        assert b'data: {"error":{"message":"too long"' in said
        assert said.endswith(b"0\r\n\r\n")


@story
async def test_and_so_does_an_answer_that_is_no_stream() -> None:
    async with desk() as at:
        line, wire = at.engine()
        guest = at.asks(model="a", stream=True, **HELLO)
        await at.town.until(lambda: wire.sent)
        line.data_received(whole(b'{"object":"chat.completion",\n"choices":[]}'))
        said = guest.heard()
        assert b'data: {"object":"chat.completion","choices":[]}\n\ndata: [DONE]\n\n' in said


@story
async def test_names_that_are_not_known_are_refused_with_the_closest_ones() -> None:
    async with desk(models({"alpha": 8.0, "beta": 8.0})) as at:
        status, _, body = at.asks(model="alpa", **HELLO).answer()
        assert status == 404
        assert body["error"]["code"] == "model_not_found"
        assert "did you mean alpha?" in body["error"]["message"]
        status, _, body = at.asks("/v1/messages", model="alpa", **HELLO).answer()
        assert (status, body["type"]) == (404, "error")
        assert body["error"]["type"] == "not_found_error"
        status, _, body = at.asks("/api/chat", model="alpa", **HELLO).answer()
        assert status == 404
        assert isinstance(body["error"], str)
        assert at.gate.counts.refusals["unknown_model"] == 3


@story
async def test_a_full_queue_says_when_to_come_again() -> None:
    async with desk(max_held=1) as at:
        at.engine()
        at.asks(model="a", **HELLO)
        status, headers, body = at.asks(model="b", **HELLO).answer()
        assert status == 429
        assert int(headers["retry-after"]) > 0
        assert body["error"]["code"] == "queue_full"
        assert body["ullage"]["model"] == "one/b"


@story
async def test_a_model_that_can_never_fit_is_refused_with_who_holds_the_bytes() -> None:
    async with desk(models({"a": 8.0, "huge": 30.0})) as at:
        guest = at.asks(model="huge", **HELLO)
        await at.town.until(lambda: guest.wire.sent)
        status, headers, body = guest.answer()
        assert status == 503
        assert "retry-after" in headers
        assert body["error"]["code"] == "insufficient_memory"
        assert body["ullage"]["needed_bytes"] > body["ullage"]["free_bytes"]


@story
async def test_what_waits_too_long_is_told_so() -> None:
    async with desk(models("abcd"), max_wait=3.0) as at:
        await at.town.has("a", "b", "c")
        for name in "abc":  # all at work: nobody can leave
            at.engine()
            at.asks(model=name, **HELLO)
        guest = at.asks(model="d", **HELLO)
        await at.town.until(lambda: guest.wire.sent)
        status, _, body = guest.answer()
        assert status == 503
        assert body["error"]["code"] == "model_wait_timeout"
        assert {h["name"] for h in body["ullage"]["holders"]} == {"one/a", "one/b", "one/c"}


@story
async def test_an_alias_is_sent_on_under_the_engines_own_name() -> None:
    async with desk(aliases={"gpt": "one/a"}) as at:
        await at.town.has("a")
        _, wire = at.engine()
        at.asks(model="gpt", temperature=1.10, **HELLO)
        body = wire.taken().partition(b"\r\n\r\n")[2]
        assert body.startswith(b'{"model":"a","temperature":1.1')


@story
async def test_an_api_that_the_engine_does_not_speak_is_refused_with_one_that_it_does() -> None:
    async with desk(kinds=(Deaf, Spoken)) as at:
        status, _, body = at.asks("/api/chat", model="a", **HELLO).answer()
        assert status == 400
        assert "/v1/chat/completions" in body["error"]


@story
async def test_what_nobody_has_foreseen_costs_its_client_the_answer_and_leaves_nothing() -> None:
    async with desk() as at:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("supervisor.gateway.exchange.look", lambda *_: 1 / 0)
            status, _, body = at.asks(model="a", **HELLO).answer()
        assert (status, body["error"]["code"]) == (500, "internal_error")
        assert not at.gate.under_way


@story
async def test_a_number_of_any_length_is_taken_for_the_time_that_a_model_is_to_stay() -> None:
    async with desk() as at:
        await at.town.has("a")
        line, wire = at.engine()
        guest = at.asks("/api/chat", model="a", keep_alive=10**400, stream=False, **HELLO)
        assert wire.taken().startswith(b"POST /api/chat HTTP/1.1\r\n")
        line.data_received(whole())
        assert guest.answer()[0] == 200


@story
async def test_a_request_to_an_engine_that_names_no_model_keeps_all_of_its_models() -> None:
    async with desk() as at:
        await at.town.has("a")
        line, wire = at.engine()
        guest = at.asks("/engines/one/prompt", x=1)
        assert wire.taken().startswith(b"POST /prompt HTTP/1.1\r\n")
        marked = at.gate.loop.traffic.mark(at.gate.loop.snapshot)  # type: ignore[arg-type]
        assert [r.busy for r in marked.residents] == [True]
        line.data_received(whole())
        assert guest.answer()[0] == 200
        marked = at.gate.loop.traffic.mark(at.gate.loop.snapshot)  # type: ignore[arg-type]
        assert [r.busy for r in marked.residents] == [False]


@story
async def test_what_changes_an_engine_is_not_passed_on_unless_that_is_allowed() -> None:
    async with desk() as at:
        assert at.asks("/api/pull", model="x").answer()[0] == 403
        assert at.asks("/engines/one/api/delete", model="x").answer()[0] == 403
    async with desk(manage=True) as at:
        _, wire = at.engine()
        at.asks("/api/pull", model="x")
        assert wire.taken().startswith(b"POST /api/pull HTTP/1.1\r\n")


@story
async def test_tokens_open_the_gate_as_far_as_they_may() -> None:
    digest = sha256(b"secret").digest()
    tokens = (TokenConfig("laptop", digest, models=("a",), max_in_flight=1),)
    async with desk(tokens=tokens) as at:
        await at.town.has("a")
        line, _ = at.engine()
        assert at.asks(model="a", **HELLO).answer()[0] == 401
        assert at.asks("/v1/chat/completions", "x-api-key: wrong", model="a").answer()[0] == 401
        (noted,) = at.gate.loop.journal.audit.find(9)  # one entry, however often
        assert (noted["what"], noted["via"]) == ("POST /v1/chat/completions", "gateway")
        assert (noted["status"], noted["times"], noted["who"]) == (401, 2, "nobody")
        mine = "Authorization: Bearer secret"
        first = at.asks("/v1/chat/completions", mine, model="a", **HELLO)
        status, headers, _ = at.asks("/v1/chat/completions", mine, model="a", **HELLO).answer()
        assert status == 429
        assert "retry-after" in headers
        line.data_received(whole())
        assert first.answer()[0] == 200
        assert at.asks("/v1/chat/completions", mine, model="b", **HELLO).answer()[0] in (403, 404)
        guest = at.guest()
        guest.says(get("/v1/models", mine))
        assert [m["id"] for m in guest.answer()[2]["data"]] == ["a"]


@story
async def test_strange_hosts_and_pages_are_refused_before_their_body_is_read() -> None:
    async with desk() as at:
        guest = at.guest()
        guest.says(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: evil.test\r\ncontent-length: 9\r\n\r\n"
        )
        assert guest.answer()[0] == 421
        guest = at.guest()
        page = post("/v1/chat/completions", {"model": "a"}, "Origin: https://evil.test")
        guest.says(page)
        assert guest.answer()[0] == 403
        assert at.gate.counts.refusals["origin"] == 1


@story
async def test_at_the_daemons_end_the_held_are_refused_and_streams_end_with_an_error() -> None:
    async with desk(models("abcd")) as at:
        await at.town.has("a")
        line, _ = at.engine()
        flows = at.asks(model="a", stream=True, **HELLO)
        line.data_received(streamed(b"data: 1\n\n", end=b""))
        waits = at.asks(model="b", **HELLO)
        flows.heard()
        await at.gateway.stop(0.0)
        status, _, body = waits.answer()
        assert (status, body["error"]["code"]) == (503, "stopping")
        assert b"the daemon is stopping" in flows.heard()
        assert at.in_flight == {}


@story
async def test_lists_are_of_the_whole_host() -> None:
    async with desk(models("ab"), models("c")) as at:
        await at.town.has("a")
        for path, name in (("/v1/models", "data"), ("/api/tags", "models")):
            guest = at.guest()
            guest.says(get(path))
            listed = guest.answer()[2][name]
            assert [m.get("id") or m["name"] for m in listed] == ["a", "b", "c"]
        guest = at.guest()
        guest.says(get("/api/ps"))
        assert [m["name"] for m in guest.answer()[2]["models"]] == ["a"]
        guest.says(get("/nothing"))
        assert guest.answer()[0] == 404


@story
async def test_two_engines_with_the_same_model_are_one_to_clients() -> None:
    async with desk(models("a"), models("a")) as at:
        await at.town.has("two/a")
        line, _ = at.engine()
        guest = at.asks(model="a", **HELLO)
        line.data_received(whole())
        assert guest.answer()[1]["x-ullage-model"] == "two/a"
