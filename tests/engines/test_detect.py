"""Who is who on loopback: true engines are found, and nobody is mistaken for one."""

import asyncio
import socket
from contextlib import suppress

import httpx
import pytest

from supervisor.core.snapshot import EngineId
from supervisor.engines import ENGINES, base, detect, wire
from supervisor.engines.base import EngineRefused
from supervisor.engines.detect import Found
from tests.engines.contract import ASKED
from tests.engines.fake import FakeLlamaRouter, FakeOllama
from tests.engines.replay import CAPTURES, Replay, capture

pytestmark = pytest.mark.slow

IMITATORS = sorted(p.stem for p in (CAPTURES / "imitators").glob("*.json"))
TRUE_OLLAMA = {
    "replies": [
        reply
        for reply in capture("ollama-0.32.15")["replies"]
        if reply["call"] in ("GET /api/version", "GET /api/tags", "GET /api/ps")
    ]
}
HERE = "http://127.0.0.1:9"


def found_in(*captures):
    return asyncio.run(detect.detect(Replay(*captures).client(), [HERE]))


@pytest.mark.parametrize("name", IMITATORS)
def test_an_imitator_is_taken_for_nobody_but_itself(name):
    for kind in ASKED:
        engine = ENGINES[kind](
            EngineId(kind), HERE, Replay(capture(f"imitators/{name}")).client(), None
        )
        if name == "ramalama":  # where it does not know its way, it breaks
            with suppress(EngineRefused):
                assert asyncio.run(engine.identify()) is None, kind
        else:
            assert (asyncio.run(engine.identify()) is not None) == (kind == name), kind
    assert {f.kind for f in found_in(capture(f"imitators/{name}"))} == {name} & ENGINES.keys()


# Ullage's gateway says who it is with its version: of one that had Ollama's, nobody could tell.
ILL_MANNERED = [n for n in IMITATORS if n not in ("speaches", "ramalama", "ullage")]


@pytest.mark.parametrize("name", ILL_MANNERED)
def test_an_imitator_with_perfect_manners_still_gives_itself_away(name):
    # Should its answers one day carry true digests and sizes, its own paths tell.
    found = found_in(TRUE_OLLAMA, capture(f"imitators/{name}"))
    assert {f.kind for f in found} == {name} & ENGINES.keys()


def test_the_same_answers_without_an_imitator_behind_them_are_ollamas():
    elsewhere = {"replies": [], "elsewhere": {"status": 404}}
    assert found_in(TRUE_OLLAMA, elsewhere) == [Found("ollama", HERE, "0.32.15")]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("ollama-0.32.15", Found("ollama", HERE, "0.32.15")),
        ("llamacpp-router-b1-7e4c0a9", Found("llamacpp", HERE, "b1-7e4c0a9")),
        ("llamacpp-single-b1-7e4c0a9", Found("llamacpp", HERE, "b1-7e4c0a9")),
    ],
)
def test_a_true_engine_is_found_with_its_version(name, found):
    assert found_in(capture(name)) == [found]


def test_engines_are_found_over_real_sockets_and_silence_is_no_engine():
    async def look():
        async with FakeLlamaRouter() as router, FakeOllama() as ollama, FakeOllama() as gone:
            await gone.stop()
            async with wire.client() as client:
                urls = [gone.url, ollama.url, router.url + "/", router.url]
                return await detect.detect(client, urls), router.url, ollama.url, gone

    found, router, ollama, gone = asyncio.run(look())
    assert found == [Found("ollama", ollama, "0.32.15"), Found("llamacpp", router, "b1-fake")]
    assert gone.requests == []


def test_one_that_never_answers_does_not_hold_up_the_others(monkeypatch):
    monkeypatch.setattr(detect, "DEADLINE", 1.0)
    monkeypatch.setattr(base, "CALL_TIMEOUT", 3600.0)

    async def look():
        async with FakeLlamaRouter() as router, FakeOllama() as stuck, wire.client() as client:
            stuck.fault = "hang"
            async with asyncio.timeout(60):
                return await detect.detect(client, [stuck.url, router.url])

    assert [found.kind for found in asyncio.run(look())] == ["llamacpp"]


def test_the_usual_ports_of_loopback_are_asked_once_where_nobody_listens():
    asked = []

    def answer(request):
        asked.append((request.url.host, request.url.port))
        raise httpx.ConnectError("refused")

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    assert asyncio.run(detect.detect(client)) == []
    ports = {port for engine in ENGINES.values() for port in engine.ports}
    assert sorted(asked) == [("127.0.0.1", port) for port in sorted(ports)]


@pytest.mark.parametrize(
    "url",
    ["http://192.0.2.7:11434", "http://0.0.0.0:8080", "http://gpu.example:8080", "ollama", ""],
)
def test_no_other_machine_is_ever_searched(url):
    def answer(request):
        raise AssertionError(f"{request.url} was asked")

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    with pytest.raises(ValueError, match="not on loopback"):
        asyncio.run(detect.detect(client, [HERE, url]))


@pytest.mark.parametrize("url", ["http://localhost:1", "http://127.0.0.9:1", "http://[::1]:1"])
def test_every_name_of_loopback_will_do(url):
    client = Replay(capture("ollama-0.32.15")).client()
    assert asyncio.run(detect.detect(client, [url])) == [Found("ollama", url, "0.32.15")]


def test_whether_somebody_listens_is_known_before_anybody_is_asked():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert not detect.listens(url)
        server.listen()
        assert detect.listens(url)
    assert not detect.listens(url)
