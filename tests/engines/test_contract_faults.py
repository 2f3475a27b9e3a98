"""What every adapter makes of whatever an engine may answer, or not answer."""

import asyncio
import json
import sys
from itertools import cycle, product

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.core.snapshot import Ability
from supervisor.engines import ENGINES, base, wire
from supervisor.engines.base import (
    EngineConfused,
    EngineDown,
    EngineError,
    EngineRefused,
)
from tests.engines.contract import (
    controls,
    engine,
    kinds,
    lifecycle,
    outcomes,
)
from tests.engines.fakes import FAKES
from tests.engines.replay import Replay, always

GARBAGE = {
    "a page of HTML": b"<!doctype html><html><body>It works!</body></html>",
    "nothing": b"",
    "cut off": b'{"models": [{"name": "qwen3:8b", "si',
    "another shape": b'{"data": {"id": 3}, "models": 7, "version": []}',
    "a list": b"[1, 2, 3]",
    "null": b"null",
    "a number": b"17",
    "deep": b"[" * 100_000,
    "not text": b'{"version": "\xff\xfe\xfa"}',
    "a number of many digits": b'{"models": [], "data": ' + b"9" * 10_000 + b"}",
}


@kinds
def test_garbage_confuses_and_identifies_nobody(kind):
    for name, content in GARBAGE.items():
        found = asyncio.run(outcomes(engine(kind, always(content))))
        assert found["identify"] is None, name
        assert isinstance(found["list"], EngineConfused), name
        assert "GET /" in str(found["list"])


@kinds
def test_an_answer_of_any_length_is_not_read_to_its_end(kind):
    sent = []

    async def endless():
        sent.append(0)
        mine = len(sent) - 1
        while sent[mine] < 1 << 30:
            sent[mine] += 1 << 20
            yield b" " * (1 << 20)

    client = httpx.AsyncClient(
        transport=httpx.MockTransport(lambda request: httpx.Response(200, content=endless()))
    )
    with pytest.raises(EngineConfused, match=f"more than {wire.MOST >> 20} MiB"):
        asyncio.run(engine(kind, client).list())
    assert max(sent) <= wire.MOST + 2 * 1024**2


@kinds
def test_a_redirect_is_not_followed(kind):
    asked = []

    def answer(request):
        asked.append(request.url.host)
        return httpx.Response(307, headers={"location": "http://192.0.2.1/api/tags"})

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer), follow_redirects=True)
    found = asyncio.run(outcomes(engine(kind, client)))
    assert set(asked) == {"127.0.0.1"}
    assert "192.0.2.1" in str(found["list"])
    assert found["identify"] is None
    for name in ("list", *controls(kind)):
        assert isinstance(found[name], EngineConfused), name


REFUSALS = [400, 401, 403, 404, 405, 429, 500, 502, 503]


WORDS = [b"", b"Nope.", b'{"error": {"message": "Nope."}}']


@kinds
def test_a_refusal_keeps_its_status_and_the_engines_own_words(kind):
    for status, content in zip(REFUSALS, cycle(WORDS), strict=False):  # each of both, not each pair
        _is_told(kind, status, content)


@pytest.mark.slow
@kinds
def test_a_refusal_does_so_whatever_its_status_and_words(kind):
    for status, content in product(REFUSALS, WORDS):
        _is_told(kind, status, content)


def _is_told(kind, status, content):
    found = asyncio.run(outcomes(engine(kind, always(content, status))))
    for name in ("list", *controls(kind)):
        assert isinstance(found[name], EngineRefused), (name, status, content)
        assert found[name].status == status
        assert str(found[name]).endswith("Nope." if content else "without a word")


@kinds
def test_identify_does_not_take_a_locked_door_for_a_stranger(kind):
    for status, raises in [(401, True), (403, True), (404, False), (502, True)]:
        found = asyncio.run(outcomes(engine(kind, always(b"no", status)), only={"identify"}))
        identity = found["identify"]
        assert isinstance(identity, EngineRefused) if raises else identity is None, status


def hasty(monkeypatch, kind):
    """Give every call a hundredth of a second."""
    for module in (base, wire, sys.modules[ENGINES[kind].__module__]):
        for name in ("CALL_TIMEOUT", "CONTROL_TIMEOUT", "LOAD_TIMEOUT"):
            monkeypatch.setattr(module, name, 0.01, raising=False)


@kinds
def test_an_engine_that_never_answers_is_down(kind, monkeypatch):
    hasty(monkeypatch, kind)

    async def ask():
        async with FAKES[kind](["m"]) as server, wire.client() as client:
            server.fault = "hang"
            return await outcomes(engine(kind, client, server.url))

    found = asyncio.run(ask())
    asks = ["identify", "list", *controls(kind)]
    for name in asks + ["activity"] * (Ability.IN_FLIGHT in ENGINES[kind].abilities):
        assert isinstance(found[name], EngineDown), name
        assert "no answer within" in str(found[name])


@kinds
def test_an_engine_that_sends_a_byte_now_and_then_is_late_too(kind, monkeypatch):
    hasty(monkeypatch, kind)

    async def drip(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0)

    async def ask():
        server = await asyncio.start_server(drip, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, wire.client() as client:
            return await outcomes(engine(kind, client, url), only={"list"})

    assert isinstance(asyncio.run(ask())["list"], EngineDown)


@kinds
def test_an_engine_that_is_not_there_is_down(kind):
    async def ask():
        async with FAKES[kind](["m"]) as server, wire.client() as client:
            await server.stop()
            return await outcomes(engine(kind, client, server.url))

    found = asyncio.run(ask())
    for name in ("identify", "list", *controls(kind)):
        assert isinstance(found[name], EngineDown)


# Words that the adapters look for, so that an arbitrary answer gets past the first check.
KEYS = """models data id name status value args meta size size_vram digest expires_at version
cloud role build_info default_generation_settings is_processing id_task is_sleeping model_path
error message modelfile remote_host"""
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
words = st.sampled_from(["loaded", "sleeping", "--model", "--port", "FROM /x", "router", "\ud800"])
JSON = st.recursive(
    scalars | words,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS.split()) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=20,
)


FEW, MANY = 5, 100  # examples: each time, and where there is time

anything = given(value=JSON, status=st.sampled_from([200, 200, 200, 201, 400, 404, 501, 503]))


@kinds
@settings(max_examples=FEW, deadline=None)
@anything
def test_whatever_is_answered_nothing_but_an_engine_error_is_raised(kind, value, status):
    asyncio.run(outcomes(engine(kind, always(json.dumps(value).encode(), status))))


@kinds
@settings(max_examples=FEW, deadline=None)
@given(data=st.data())
def test_one_wrong_value_in_a_true_answer_raises_nothing_else_either(kind, data):
    _look_at_a_spoilt_one(kind, data)


@pytest.mark.slow
@kinds
@settings(max_examples=MANY, deadline=None)
@anything
def test_whatever_is_answered_at_length(kind, value, status):
    asyncio.run(outcomes(engine(kind, always(json.dumps(value).encode(), status))))


@pytest.mark.slow
@kinds
@settings(max_examples=MANY, deadline=None)
@given(data=st.data())
def test_one_wrong_value_at_length(kind, data):
    _look_at_a_spoilt_one(kind, data)


def _look_at_a_spoilt_one(kind, data):
    told = lifecycle(kind)
    for reply in told["replies"]:
        if reply["call"].startswith("GET") and "body" in reply:
            _spoil(reply["body"], data)

    async def look():
        made = engine(kind, Replay(told).client())
        try:
            await made.identify()
            for model in await made.list():
                await made.activity(model)
            await made.habits()
        except EngineError:
            pass

    asyncio.run(look())


def _spoil(value, data):
    """Put something else in the place of one member, somewhere."""
    while isinstance(value, dict | list) and value:
        step = data.draw(
            st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value)))
        )
        if data.draw(st.integers(0, 3)) == 0:
            value[step] = data.draw(JSON)
            return
        value = value[step]
