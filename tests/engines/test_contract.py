"""What every engine's adapter keeps to. One added to ENGINES needs a capture and a fake."""

import asyncio
import inspect
import json
import sys

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines import ENGINES, base, wire
from supervisor.engines.base import EngineConfused, EngineDown, EngineError, EngineRefused
from tests.engines.fake import FakeLlamaRouter, FakeOllama
from tests.engines.replay import CAPTURES, Replay, always, capture

URL = "http://127.0.0.1:1"
FAKES = {"llamacpp": FakeLlamaRouter, "ollama": FakeOllama}


def lifecycle(kind):
    """The capture of `kind` that names an idle model, one that is gone, and an unknown one."""
    found = [p.stem for p in sorted(CAPTURES.glob(f"{kind}-*.json")) if "idle" in capture(p.stem)]
    assert found, f"{kind} has no capture to be tested with"
    return capture(found[0])


def engine(kind, client, url=URL, key=None):
    return ENGINES[kind](EngineId(kind), url, client, key)


async def everything(made):
    """Each call of the protocol by name, as something that can be awaited."""
    model = base.EngineModel(ModelId("m"), State.LOADED)
    yield "identify", made.identify()
    yield "list", made.list()
    yield "activity", made.activity(model)
    yield "load", made.load(ModelId("m"))
    yield "unload", made.unload(ModelId("m"))


async def outcomes(made):
    """What each call comes to: the error that it raised, or what it returned."""
    found = {}
    async for name, call in everything(made):
        try:
            found[name] = await call
        except EngineError as error:
            found[name] = error
    return found


kinds = pytest.mark.parametrize("kind", ENGINES)


@kinds
def test_an_engine_knows_its_own_kind(kind):
    identity = asyncio.run(engine(kind, Replay(lifecycle(kind)).client()).identify())
    assert identity is not None
    assert identity.version


@kinds
@pytest.mark.parametrize("other", ENGINES)
def test_an_engine_does_not_take_another_kind_for_its_own(kind, other):
    identity = asyncio.run(engine(kind, Replay(lifecycle(other)).client()).identify())
    assert (identity is not None) == (kind == other)


@kinds
def test_a_list_tells_what_holds_memory_from_what_is_only_installed(kind):
    told = lifecycle(kind)
    models = {m.id: m for m in asyncio.run(engine(kind, Replay(told).client()).list())}
    assert models[told["idle"]].state is State.LOADED
    assert models[told["idle"]].process is not None
    assert models[told["gone"]].state is None
    assert models[told["gone"]].process is None
    assert told["unknown"] not in models


@kinds
def test_a_model_can_be_loaded_and_an_unknown_one_is_refused(kind):
    told = lifecycle(kind)
    asyncio.run(engine(kind, Replay(told).client()).load(ModelId(told["idle"])))
    with pytest.raises(EngineRefused) as no:
        asyncio.run(engine(kind, Replay(told).client()).load(ModelId(told["unknown"])))
    assert no.value.status == 404


@kinds
def test_an_unload_of_a_model_that_is_gone_already_has_reached_its_end(kind):
    told = lifecycle(kind)
    for model in (told["idle"], told["gone"]):
        asyncio.run(engine(kind, Replay(told).client()).unload(ModelId(model)))


@kinds
def test_an_unload_of_an_unknown_model_is_refused(kind):
    told = lifecycle(kind)
    with pytest.raises(EngineRefused):
        asyncio.run(engine(kind, Replay(told).client()).unload(ModelId(told["unknown"])))


@kinds
def test_looking_never_loads(kind):
    replay = Replay(lifecycle(kind))
    made = engine(kind, replay.client())

    async def look():
        await made.identify()
        for model in await made.list():
            await made.activity(model)

    asyncio.run(look())
    harmless = ("GET ", "POST /api/show")
    assert all(call.startswith(harmless) for call, _ in replay.asked)


@kinds
def test_the_key_is_sent_with_every_call_and_only_where_there_is_one(kind):
    seen = []

    def answer(request):
        seen.append(request.headers.get("authorization"))
        return httpx.Response(404)

    for key in ("open sesame", None):
        client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
        seen.clear()
        asyncio.run(outcomes(engine(kind, client, key=key)))
        assert set(seen) == {None if key is None else "Bearer open sesame"}


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
@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
def test_garbage_confuses_and_identifies_nobody(kind, content):
    found = asyncio.run(outcomes(engine(kind, always(content))))
    assert found["identify"] is None
    assert isinstance(found["list"], EngineConfused)
    assert "GET /" in str(found["list"])


@kinds
def test_an_answer_of_any_length_is_not_read_to_its_end(kind):
    sent = 0

    async def endless():
        nonlocal sent
        while sent < 1 << 30:
            sent += 1 << 20
            yield b" " * (1 << 20)

    with pytest.raises(EngineConfused, match="more than 16 MiB"):
        asyncio.run(engine(kind, always(endless())).unload(ModelId("m")))
    assert sent <= wire.MOST + 2 * 1024**2


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
    for name in ("list", "load", "unload"):
        assert isinstance(found[name], EngineConfused)


@kinds
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 429, 500, 502, 503])
@pytest.mark.parametrize("content", [b"", b"Nope.", b'{"error": {"message": "Nope."}}'])
def test_a_refusal_keeps_its_status_and_the_engines_own_words(kind, status, content):
    found = asyncio.run(outcomes(engine(kind, always(content, status))))
    for name in ("list", "load", "unload"):
        assert isinstance(found[name], EngineRefused)
        assert found[name].status == status
        assert str(found[name]).endswith("Nope." if content else "without a word")


@kinds
@pytest.mark.parametrize(
    ("status", "raises"), [(401, True), (403, True), (404, False), (502, True)]
)
def test_identify_does_not_take_a_locked_door_for_a_stranger(kind, status, raises):
    found = asyncio.run(outcomes(engine(kind, always(b"no", status))))
    assert isinstance(found["identify"], EngineRefused) if raises else found["identify"] is None


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

    for name, outcome in asyncio.run(ask()).items():
        if name != "activity" or Ability.IN_FLIGHT in ENGINES[kind].abilities:
            assert isinstance(outcome, EngineDown), name
            assert "no answer within" in str(outcome)


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
            return await outcomes(engine(kind, client, url))

    assert isinstance(asyncio.run(ask())["list"], EngineDown)


@kinds
def test_an_engine_that_is_not_there_is_down(kind):
    async def ask():
        async with FAKES[kind](["m"]) as server, wire.client() as client:
            await server.stop()
            return await outcomes(engine(kind, client, server.url))

    found = asyncio.run(ask())
    for name in ("identify", "list", "load", "unload"):
        assert isinstance(found[name], EngineDown)


@kinds
def test_a_model_lives_its_whole_life_over_a_real_socket(kind):
    taken, given = [], []

    async def live():
        fake = FAKES[kind](["a", "b"], on_load=taken.append, on_unload=given.append)
        async with fake as server, wire.client() as client:
            made = engine(kind, client, server.url)
            assert await made.identify() is not None
            states = []
            for call in (made.load, made.load, made.unload, made.unload):
                await call(ModelId("a"))
                states.append([m.state for m in await made.list()])
            return states

    there, gone = [State.LOADED, None], [None, None]
    assert asyncio.run(live()) == [there, there, gone, gone]
    assert (taken, given) == (["a"], ["a"])


@kinds
def test_the_process_described_is_the_one_that_runs(kind):
    async def described():
        async with FAKES[kind](["a", "b"]) as server, wire.client() as client:
            server.take("a")
            server.take("b")
            models = await engine(kind, client, server.url).list()
            return [m.process for m in models], [server.argv("a"), server.argv("b")]

    def fits(process, argv):
        return all(
            any(tuple(argv[i : i + len(run)]) == run for i in range(len(argv)))
            for run in process.argv
        )

    processes, argvs = asyncio.run(described())
    assert [[fits(p, argv) for argv in argvs] for p in processes] == [[True, False], [False, True]]


@kinds
def test_every_call_of_the_protocol_is_there(kind):
    for name in ("identify", "list", "activity", "load", "unload"):
        own, agreed = getattr(ENGINES[kind], name), getattr(base.Engine, name)
        assert list(inspect.signature(own).parameters) == list(inspect.signature(agreed).parameters)


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


@kinds
@settings(max_examples=150, deadline=None)
@given(value=JSON, status=st.sampled_from([200, 200, 200, 201, 400, 404, 501, 503]))
def test_whatever_is_answered_nothing_but_an_engine_error_is_raised(kind, value, status):
    asyncio.run(outcomes(engine(kind, always(json.dumps(value).encode(), status))))


@kinds
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_one_wrong_value_in_a_true_answer_raises_nothing_else_either(kind, data):
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
