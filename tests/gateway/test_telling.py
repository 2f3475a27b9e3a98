"""An engine's whole answer as the end of a stream that the client was told to expect."""

import json

import pytest

from supervisor.engines.serves import Api
from supervisor.gateway.relay import TOO_LARGE
from supervisor.gateway.telling import event_of

OPENAI, ANTHROPIC = Api.OPENAI, Api.ANTHROPIC


@pytest.mark.parametrize(
    ("api", "part", "body", "event"),
    [
        (OPENAI, "images", b'{"data":[1]}', b'data: {"data":[1]}\n\ndata: [DONE]\n\n'),
        (OPENAI, "chat", b'{\r\n "a": "\\n"\n}\n', b'data: { "a": "\\n"}\n\ndata: [DONE]\n\n'),
        (OPENAI, "responses", b'{"object":"r"}', b'event: r\ndata: {"object":"r"}\n\n'),
        (ANTHROPIC, "messages", b'{"type":"t"}', b'event: t\ndata: {"type":"t"}\n\n'),
        (ANTHROPIC, "messages", b'{"type":7}', b'event: message\ndata: {"type":7}\n\n'),
        (ANTHROPIC, "messages", b'{"type":"a\\nb"}', b'event: a?b\ndata: {"type":"a\\nb"}\n\n'),
    ],
)
def test_a_good_answer_is_one_event_of_one_line(api, part, body, event):
    assert event_of(api, part, 200, body) == event


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (500, b'{"error":{"message":"no room"}}', "no room"),
        (400, b'{"detail":"no such picture"}', "no such picture"),
        (502, TOO_LARGE, "the engine's answer is too large for a stream"),
        (200, b'["a"]', '["a"]'),
        (200, b"\xff", "\N{REPLACEMENT CHARACTER}"),
        (200, b"", "the engine gave no reason"),
        (500, b"[" * 100_000, "[" * 1000),
    ],
)
def test_any_other_is_an_error_with_the_engines_reason(status, body, reason):
    event = event_of(OPENAI, "images", status, body)
    error = json.loads(event.removeprefix(b"data: "))["error"]
    assert (error["message"], error["code"]) == (reason, "engine_error")
