"""Tryll, by its documentation, with a stand-in for its client: neither is public."""

import asyncio
import sys
import threading

import httpx
import pytest

from supervisor.core.snapshot import EngineId, ModelId, State
from supervisor.engines import base, detect, tryll, wire
from supervisor.engines.base import (
    EngineConfused,
    EngineDown,
    EngineError,
    EngineModel,
    EngineRefused,
    Process,
)
from supervisor.engines.tryll import Tryll
from tests.engines.contract import outcomes
from tests.engines.fake import FakeOllama
from tests.engines.fakes.tryll import (
    ABSENT,
    DOWNLOADED,
    DOWNLOADING,
    LOADED,
    LOCAL,
    FakeTryll,
    TryllClient,
    TryllError,
    client_module,
)

A, B = ModelId("a"), ModelId("b")


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    monkeypatch.setattr(TryllClient, "at_large", set())
    monkeypatch.setitem(sys.modules, "tryll_client", client_module())
    yield
    assert TryllClient.at_large == set()  # whatever happened


def engine(url):
    nobody = httpx.AsyncClient(transport=httpx.MockTransport(lambda request: httpx.Response(500)))
    return Tryll(EngineId("t"), url, nobody, None)


def on_socket(story, models=("a", "b")):
    """What `story` returns, of (the adapter, the fake behind a real socket)."""

    async def play():
        async with FakeTryll(models) as fake:
            made = engine(fake.url)
            try:
                return await story(made, fake)
            finally:
                await made.close()

    return asyncio.run(play())


async def states(made):
    return {m.id: m.state for m in await made.list() if m.state is not None}


def test_a_model_lives_its_whole_life_over_a_real_socket():
    async def live(made, fake):
        assert (await made.identify()).version == "not told"
        assert await states(made) == {}
        for _ in range(2):
            await made.load(A)
            assert await states(made) == {A: State.LOADED}
        for _ in range(2):
            await made.unload(A)
            assert await states(made) == {}
        assert [r["ask"] for r in fake.requests if "Model" in r["ask"] and "model" in r] == [
            "LoadModel",
            "LoadModel",
            "UnloadModel",  # the second found it gone
        ]

    on_socket(live)


def test_a_model_whose_agents_live_on_stays_listed_until_the_last_has_ended():
    async def live(made, fake):
        await made.load(A)
        fake.agents["a"] = 1
        await made.unload(A)
        assert await states(made) == {A: State.LOADED}
        fake.agents["a"] = 0
        assert await states(made) == {}

    on_socket(live)


def test_what_an_agent_has_loaded_can_be_pinned():
    async def live(made, fake):
        fake.agents["a"] = 1
        await made.load(A)
        assert fake.pinned == {"a"}

    on_socket(live)


@pytest.mark.parametrize(
    ("status", "found"),
    [
        (ABSENT, None),
        (DOWNLOADING, None),
        (LOCAL, EngineModel(A, file_size=1 << 30)),
        (DOWNLOADED, EngineModel(A, file_size=1 << 30)),
        (LOADED, EngineModel(A, State.LOADED, file_size=1 << 30, process=Process(whole=True))),
    ],
)
def test_each_status_of_a_model(status, found):
    async def live(made, fake):
        fake.on_disk["a"] = status
        return await made.list()

    assert on_socket(live, ["a"]) == (() if found is None else (found,))


def test_a_status_that_is_not_known_is_neither_there_nor_gone(monkeypatch):
    monkeypatch.setattr(tryll, "LOADED", 99)

    async def live(made, fake):
        fake.pinned.add("a")
        return await states(made)

    assert on_socket(live) == {A: State.UNKNOWN}


def test_two_models_in_one_process_have_none_of_their_own():
    async def live(made, fake):
        fake.pinned |= {"a", "b"}
        return {m.process for m in await made.list()}

    assert on_socket(live) == {None}


def test_an_unload_reaches_nobody_but_the_model_that_is_named():
    async def live(made, fake):
        fake.pinned.add("b")
        await made.unload(A)
        assert fake.pinned == {"b"}
        for call in (made.unload, made.load):
            with pytest.raises(EngineRefused) as no:
                await call(ModelId("nobody"))
            assert no.value.status == 404
        assert fake.pinned == {"b"}

    on_socket(live)


@pytest.mark.parametrize("status", [ABSENT, DOWNLOADING])
def test_what_is_not_on_disk_is_not_loaded(status):
    async def live(made, fake):
        fake.on_disk["a"] = status
        with pytest.raises(EngineRefused, match="not on its disk"):
            await made.load(A)
        assert fake.pinned == set()

    on_socket(live)


def test_its_models_are_those_of_the_backend_that_runs_language_and_embedding_models():
    async def live(made, fake):
        await made.list()
        return fake.requests[0]

    assert on_socket(live) == {"ask": "ConfigureSession", "engines": [1, 1]}


def test_one_session_is_kept_for_every_look_and_closed_at_the_end():
    async def live(made, fake):
        for _ in range(3):
            await made.list()
        assert len(TryllClient.at_large) == 1
        await made.load(A)
        assert len(TryllClient.at_large) == 1
        assert [r["ask"] for r in fake.requests].count("ConfigureSession") == 2  # one for the load
        await made.close()
        await made.close()
        assert TryllClient.at_large == set()

    on_socket(live)


def test_looking_never_loads():
    async def live(made, fake):
        await made.identify()
        for model in await made.list():
            await made.activity(model)
        await made.habits()
        return {r["ask"] for r in fake.requests}

    assert on_socket(live) == {"ConfigureSession", "ListModels"}


def test_after_a_restart_of_the_server_a_new_session_is_made():
    async def live(made, fake):
        await made.list()
        await fake.stop()
        await fake.start()
        with pytest.raises(EngineDown):
            await made.list()
        assert len(await made.list()) == 2

    on_socket(live)


def test_a_server_that_is_not_there_is_down():
    async def ask(made, fake):
        await fake.stop()
        return await outcomes(made, {"identify", "list", "load", "unload"})

    for outcome in on_socket(ask).values():
        assert isinstance(outcome, EngineDown)
        assert "refused" in str(outcome)
        assert outcome.refused


def test_a_server_that_never_answers_is_down(monkeypatch):
    monkeypatch.setattr(base, "CALL_TIMEOUT", 0.05)

    async def ask(made, fake):
        fake.fault = "hang"
        return await outcomes(made, {"list", "load", "unload"})

    for name, outcome in on_socket(ask).items():
        assert isinstance(outcome, EngineDown), name
        assert "no answer within 0.05 s" in str(outcome)


@pytest.mark.parametrize(
    ("ask", "name", "timeout"),
    [("LoadModel", "load", "LOAD_TIMEOUT"), ("UnloadModel", "unload", "CONTROL_TIMEOUT")],
)
def test_a_load_or_an_unload_has_its_own_time(monkeypatch, ask, name, timeout):
    monkeypatch.setattr(tryll, timeout, 0.05)

    async def live(made, fake):
        fake.pinned.add("b")
        fake.faults[ask] = "hang"
        with pytest.raises(EngineDown, match=r"no answer within 0\.05 s"):
            await getattr(made, name)(B)

    on_socket(live)


def test_a_load_keeps_no_list_waiting():
    async def live(made, fake):
        fake.faults["LoadModel"] = "hang"
        load = asyncio.create_task(made.load(B))
        while {"ask": "LoadModel", "model": "b"} not in fake.requests:
            await asyncio.sleep(0)
        assert len(await made.list()) == 2
        assert not load.done()
        await fake.stop()
        with pytest.raises(EngineDown):
            await load

    on_socket(live)


def test_a_client_that_does_not_keep_its_own_time_is_given_up(monkeypatch):
    monkeypatch.setattr(base, "CALL_TIMEOUT", 0.02)
    monkeypatch.setattr(tryll, "GRACE", 0.02)
    gate = threading.Event()

    def connect(host, port, timeout):
        gate.wait()
        raise TryllError("too late")

    monkeypatch.setattr(TryllClient, "connect", connect)

    async def live(made, fake):
        try:
            async with asyncio.timeout(60):
                for _ in range(2):  # its thread is still stuck in the first
                    with pytest.raises(EngineDown, match=r"no answer within 0\.02 s"):
                        await made.list()
        finally:
            gate.set()

    on_socket(live)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (0, EngineDown),
        (1001, EngineDown),
        (2001, EngineDown),
        (2002, EngineRefused),
        (4001, EngineRefused),
        (5003, EngineConfused),
    ],
)
def test_whose_fault_an_error_is_follows_from_its_code(code, kind):
    async def live(made, fake):
        fake.faults["LoadModel"] = (code, "no room")
        with pytest.raises(EngineError, match="no room") as error:
            await made.load(A)
        return error.value

    assert type(on_socket(live)) is kind


def test_an_answer_that_cannot_be_read_confuses():
    async def live(made, fake):
        await made.list()
        fake.fault = "garbage"
        with pytest.raises(EngineConfused, match="ListModelsRequest"):
            await made.list()
        fake.fault = None
        assert len(await made.list()) == 2

    on_socket(live)


def test_without_its_client_it_says_what_to_install_and_asks_nobody(monkeypatch):
    monkeypatch.setitem(sys.modules, "tryll_client", None)

    async def live(made, fake):
        found = await outcomes(made, {"identify", "list", "load", "unload"})
        return found, fake.sessions

    found, sessions = on_socket(live)
    assert sessions == 0
    for outcome in found.values():
        assert isinstance(outcome, EngineRefused)
        assert "tryll_client" in str(outcome)


@pytest.mark.parametrize(
    "greeting",
    [
        None,  # as HTTP: it waits to be asked
        b"",
        b"\4\0\0\0",
        b"\x0a8.0.36\0and the rest of a greeting of MySQL, whose frames begin alike",
        b"\x0c\0\0\0" + bytes(1 << 20),
    ],
)
def test_who_does_not_speak_first_in_such_frames_is_somebody_else(greeting, monkeypatch):
    monkeypatch.setattr(tryll, "PATIENCE", 0.05)

    async def live(made, fake):
        fake.greeting = greeting
        return await made.identify(), fake.requests

    assert on_socket(live) == (None, [])


def test_an_address_that_is_none_confuses():
    with pytest.raises(EngineConfused, match="no address"):
        asyncio.run(engine("http://127.0.0.1:99999").identify())


def test_what_it_cannot_do_is_refused():
    found = on_socket(lambda made, fake: outcomes(made, {"sleep", "wake", "restart"}))
    assert all(isinstance(outcome, EngineRefused) for outcome in found.values())


def test_it_is_found_by_its_port_and_an_http_server_is_not_taken_for_it(monkeypatch):
    monkeypatch.setattr(tryll, "PATIENCE", 0.05)

    async def search():
        async with FakeTryll() as fake, FakeOllama() as other, wire.client() as client:
            return fake, other, await detect.detect(client, [fake.url, other.url])

    fake, other, found = asyncio.run(search())
    assert [(f.kind, f.url) for f in found] == [("tryll", fake.url), ("ollama", other.url)]


def test_without_its_client_the_search_for_others_goes_on(monkeypatch):
    monkeypatch.setitem(sys.modules, "tryll_client", None)

    async def search():
        async with FakeOllama() as other, wire.client() as client:
            return await detect.detect(client, [other.url])

    assert [found.kind for found in asyncio.run(search())] == ["ollama"]
