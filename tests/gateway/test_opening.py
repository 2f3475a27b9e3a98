"""The first word of a streamed answer: found wherever it stands, passed on, and counted once."""

from __future__ import annotations

import pytest

from supervisor.gateway.opening import MOST, Opening, streams
from supervisor.tally import Durations
from tests.gateway.desk import Desk, desk
from tests.gateway.wires import House, run, streamed, whole
from tests.scenarios.gate import LOAD, story

ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
WORD = b'data: {"choices":[{"delta":{"content":"Hel"}}]}\n\n'
DONE = b"data: [DONE]\n\n"

SAYS = {
    "chat": WORD,
    "spaced": b'data: {"choices": [{"delta": {"content": "Hel"}}]}\n\n',
    "completions": b'data: {"choices":[{"text":" a"}]}\n\n',
    "thought": b'data: {"choices":[{"delta":{"reasoning_content":"Hm"}}]}\n\n',
    "tool": b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c1"}]}}]}\n\n',
    "responses": b'data: {"type":"response.output_text.delta","delta":"H"}\n\n',
    "messages": b'data: {"type":"content_block_delta","delta":{"type":"text_delta",'
    b'"text":"H"}}\n\n',
    "messages_tool": b'data: {"type":"content_block_start","content_block":'
    b'{"type":"tool_use"}}\n\n',
    "ollama_chat": b'{"message":{"role":"assistant","content":"H"},"done":false}\n',
    "ollama_tool": b'{"message":{"content":"","tool_calls":[{"function":{"name":"f"}}]}}\n',
    "generate": b'{"response":"H","done":false}\n',
    "picture": b'data: {"type":"image_generation.partial_image","b64_json":"iVBO"}\n\n',
}
SILENT = {
    "comment": b": keep-alive\n\n",
    "role": ROLE,
    "usage": b'data: {"choices":[],"usage":{"prompt_tokens":7,"total_tokens":9}}\n\n',
    "message_start": b'event: message_start\ndata: {"type":"message_start","message":'
    b'{"id":"m","type":"message","role":"assistant","content":[],"model":"m"}}\n\n',
    "block_start": b'data: {"type":"content_block_start","content_block":'
    b'{"type":"text","text":""}}\n\n',
    "ping": b'event: ping\ndata: {"type":"ping"}\n\n',
    "response.created": b'data: {"type":"response.created","response":{"id":"r","output":[],'
    b'"text":{"format":{"type":"text"}}}}\n\n',
    "ollama_done": b'{"response":"","done":true,"total_duration":5}\n',
    "done": DONE,
}


@pytest.mark.parametrize("said", SAYS.values(), ids=SAYS)
def test_what_each_api_says_is_a_word(said: bytes) -> None:
    opening = Opening()
    assert opening.over(said)
    assert opening.said


@pytest.mark.parametrize("announced", SILENT.values(), ids=SILENT)
def test_what_only_announces_an_answer_is_none(announced: bytes) -> None:
    opening = Opening()
    assert not opening.over(announced)
    assert not opening.said


@pytest.mark.parametrize("said", SAYS.values(), ids=SAYS)
def test_a_word_may_come_byte_by_byte(said: bytes) -> None:
    opening = Opening()
    assert [opening.over(bytes([b])) for b in ROLE + said].count(True) >= 1
    assert not any(Opening().over(ROLE[:n]) for n in range(len(ROLE)))


def test_a_stream_without_a_word_is_not_looked_through_for_ever() -> None:
    opening = Opening()
    pieces = 0
    while not opening.over(b"x" * 1000):
        pieces += 1
    assert not opening.said
    assert pieces == MOST // 1000


@pytest.mark.parametrize(
    ("status", "kind", "is_one"),
    [
        (200, b"text/event-stream; charset=utf-8", True),
        (200, b"application/x-ndjson", True),
        (200, b"application/json", False),
        (500, b"text/event-stream", False),
        (200, b"", False),
    ],
)
def test_an_answer_that_comes_piece_by_piece_is_told_by_its_head(
    status: int, kind: bytes, is_one: bool
) -> None:
    assert streams(status, kind) is is_one


def test_the_listener_hears_of_the_first_word_once_and_after_it_went() -> None:
    async def story() -> None:
        house = House()
        house.asks()
        answer = streamed(ROLE, WORD, WORD, DONE)
        first = answer.index(WORD)
        house.says(answer[:first])
        assert house.heard.words_begun == 0
        assert ROLE in house.near.taken()
        house.says(answer[first : first + len(WORD) + 2])
        assert house.heard.words_begun == 1
        assert WORD in house.near.taken()
        house.says(answer[first + len(WORD) + 2 :])
        assert house.heard.words_begun == 1
        assert house.near.taken().endswith(DONE + b"\r\n0\r\n\r\n")
        assert house.at_rest()

    run(story)


def test_a_stream_in_which_nothing_is_said_has_no_first_word_however_long_it_is() -> None:
    async def story() -> None:
        house = House()
        house.asks()
        noise = b": " + b"x" * (MOST // 2) + b"\n\n"
        answer = streamed(noise, noise, noise, WORD)
        for at in range(0, len(answer), len(noise)):
            house.says(answer[at : at + len(noise)])
        assert house.heard.words_begun == 0
        assert house.near.taken().count(noise) == 3
        assert house.at_rest()

    run(story)


def test_a_whole_answer_has_no_first_word() -> None:
    async def story() -> None:
        house = House()
        house.asks()
        house.says(whole(b'{"choices":[{"message":{"content":"Hello"}}]}'))
        assert house.heard.words_begun == 0

    run(story)


def _spoke(at: Desk) -> Durations:
    facts = at.gate.counts.facts()
    (found,) = (value for name, labels, value in facts if (name, labels) == (TTFT, ("one",)))
    assert isinstance(found, Durations)
    return found


TTFT = "time_to_first_token_seconds"


@pytest.mark.parametrize("comments_after", [0.1, 600.0])
def test_the_time_to_the_first_word_includes_the_wait_for_the_model(comments_after: float) -> None:
    async def tale() -> None:
        async with desk(comments_after=comments_after) as at:
            line, wire = at.engine()
            guest = at.asks(model="a", stream=True, messages=[])
            await at.town.until(lambda: wire.sent)
            assert (b": ullage" in guest.heard()) == (comments_after < LOAD)  # it has its head
            line.data_received(streamed(ROLE, end=b""))
            assert _spoke(at).count == 0
            await at.town.clock.advance(2)
            piece = b"%x\r\n%s\r\n" % (len(WORD), WORD)
            line.data_received(piece + b"%x\r\n%s\r\n" % (len(DONE), DONE) + b"0\r\n\r\n")
            assert WORD in guest.heard()
            found = _spoke(at)
            assert found.count == 1
            assert LOAD + 2 <= found.total < LOAD + 4

    story(tale)()


@story
async def test_an_answer_that_says_nothing_counts_for_no_first_word() -> None:
    async with desk() as at:
        await at.town.has("a")
        line, _ = at.engine()
        at.asks(model="a", stream=True, messages=[])
        line.data_received(streamed(ROLE, DONE))
        assert _spoke(at).count == 0
        line, _ = at.engine()
        at.asks("/api/generate", model="a", prompt="x")
        said = b'{"response":"H"}\n'
        line.data_received(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ncontent-length: %d\r\n\r\n%s"
            % (len(said), said)
        )
        assert _spoke(at).count == 1
