"""Errors, in the form of each API."""

import json

import pytest

from supervisor.engines.serves import Api
from supervisor.gateway.faults import LONGEST, event, fault
from tests.gateway.desk import desk
from tests.scenarios.gate import story

TOLD = {"state": "loading", "eta_seconds": 34}


def body(reply):
    return json.loads(reply.body)


def test_openais_error_has_a_message_a_type_a_code_and_a_param():
    reply = fault(Api.OPENAI, 404, "no such", "model_not_found", TOLD, param="model")
    assert (reply.status, reply.type) == (404, b"application/json")
    assert body(reply) == {
        "error": {
            "message": "no such",
            "type": "invalid_request_error",
            "code": "model_not_found",
            "param": "model",
        },
        "ullage": TOLD,
    }


@pytest.mark.parametrize(
    ("status", "type"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (421, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)
def test_anthropics_error_has_the_type_of_its_status(status, type):
    told = body(fault(Api.ANTHROPIC, status, "why"))
    assert told == {"type": "error", "error": {"type": type, "message": "why"}}


def test_ollamas_error_is_a_text():
    assert body(fault(Api.OLLAMA, 503, "full", "full", TOLD)) == {"error": "full", "ullage": TOLD}


def test_an_engines_own_way_is_answered_with_a_problem():
    reply = fault(Api.NATIVE, 404, "no engine", "engine_not_found", headers=((b"a", b"b"),))
    assert reply.type == b"application/problem+json"
    assert reply.headers == ((b"a", b"b"),)
    assert body(reply) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "no engine",
        "code": "engine_not_found",
    }


def test_the_end_of_a_stream_is_an_event_that_each_library_takes_for_an_error():
    chat = event(Api.OPENAI, 502, "it died", "engine_died", TOLD)
    assert chat.startswith(b"data: ")
    assert chat.endswith(b"\n\n")
    assert chat.count(b"\n") == 2
    assert json.loads(chat[6:])["error"]["code"] == "engine_died"
    first, second = event(Api.ANTHROPIC, 503, "it died").rstrip().split(b"\n")
    assert first == b"event: error"
    assert json.loads(second[6:])["error"]["type"] == "overloaded_error"
    line = event(Api.OLLAMA, 502, "it died", None, TOLD)
    assert line.endswith(b"\n")
    assert json.loads(line) == {"error": "it died", "ullage": TOLD}


def test_openais_responses_have_events_of_their_own():
    first, second = event(Api.OPENAI, 502, "died", "x", part="responses").rstrip().split(b"\n")
    told = json.loads(second[6:])
    assert first == b"event: error"
    assert (told["type"], told["message"], told["code"]) == ("error", "died", "x")
    assert told["error"]["message"] == "died"


@pytest.mark.parametrize("api", Api)
def test_what_is_no_text_or_has_no_end_costs_nobody_the_answer(api):
    reply = fault(api, 404, "\ud800" + "x" * 10_000 + '"\n')
    json.loads(reply.body)
    assert len(reply.body) < LONGEST + 500
    assert b"\n" not in reply.body


@story
async def test_what_the_connection_itself_refuses_is_counted_and_may_come_again_or_not() -> None:
    async with desk() as at:
        late = at.gate.fault(None, 503, "there is too little memory for so large a body")
        assert (late.status, dict(late.headers)) == (503, {b"retry-after": b"1"})
        assert b'"overloaded"' in late.body
        wrong = at.gate.fault(None, 505, "this is HTTP/1.1")
        assert (wrong.status, wrong.headers) == (505, ())
        assert b'"bad_request"' in wrong.body
        refusals = at.gate.counts.refusals
        assert (refusals["overloaded"], refusals["bad_request"]) == (1, 1)
