"""Calls and shapes: what is sent, and how a wrong answer is named."""

import asyncio
import errno
import gzip
import socket

import httpx
import pytest

from supervisor.engines import wire
from supervisor.engines.base import EngineConfused, EngineDown, EngineRefused
from supervisor.engines.wire import Json, Wire
from tests.engines.fake import FakeOllama
from tests.engines.replay import always

ANSWER = {"models": [{"name": "a", "size": 7, "loaded": True}, {"name": "", "size": True}]}


def json(value=ANSWER):
    return Json("ol", "GET /api/ps", value)


def refused(content, status=500):
    with pytest.raises(EngineRefused) as no:
        asyncio.run(Wire("ol", "http://127.0.0.1:1", always(content, status)).get("/x"))
    return no.value.message


def test_values_are_read_in_the_shape_asked_for():
    first, _ = json()["models"]
    assert (first["name"].name(), first["size"].size(), first["loaded"].flag()) == ("a", 7, True)
    assert first.get("mark") is None
    assert "name" in first
    assert "mark" not in first


@pytest.mark.parametrize(
    ("read", "complaint"),
    [
        (lambda j: j["data"], "the answer: expected an object with 'data', found an object"),
        (lambda j: j["models"]["data"], "models: expected an object, found a list"),
        (lambda j: list(j), "the answer: expected a list, found an object"),
        (lambda j: next(iter(j["models"]))["size"].text(), "models.0.size: expected text"),
        (lambda j: list(j["models"])[1]["name"].name(), "models.1.name: expected a name"),
        (lambda j: list(j["models"])[1]["size"].size(), "found true or false"),
        (lambda j: next(iter(j["models"]))["name"].flag(), "expected true or false, found text"),
    ],
)
def test_a_wrong_shape_is_named_with_its_place(read, complaint):
    with pytest.raises(EngineConfused) as confused:
        read(json())
    assert str(confused.value).startswith("ol: GET /api/ps: ")
    assert complaint in str(confused.value)


@pytest.mark.parametrize("value", [-1, 1.0, True, "7", None, 2**63, float("nan")])
def test_bytes_are_whole_and_not_negative_and_not_a_flag(value):
    with pytest.raises(EngineConfused):
        json(value).size()


@pytest.mark.parametrize("value", ["", "a\nb", "a\x1b[31m", "a\x9bb", "a\u2028b", "\ud800"])
def test_a_name_is_one_line_without_controls_that_can_be_stored(value):
    with pytest.raises(EngineConfused):
        json(value).name()


@pytest.mark.parametrize(
    "value", ["modèle\u00a07b", "می\u200cخواهم", "👩\u200d💻", "\u202ea", "a" * 300]
)
def test_a_name_may_have_whatever_people_call_their_files(value):
    assert json(value).name() == value


FAILED = "All connection attempts failed"
REFUSES = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)")


@pytest.mark.parametrize(
    ("cause", "words", "number"),
    [
        (REFUSES, "Connection refused", errno.ECONNREFUSED),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known", -2),
        (OSError(113, "No route to host"), "No route to host", 113),
        (
            ExceptionGroup("two addresses", [REFUSES, REFUSES]),
            "Connection refused",
            errno.ECONNREFUSED,
        ),
        (ExceptionGroup("two", [REFUSES, OSError(113, "No route")]), FAILED, None),
        (ExceptionGroup("two", [REFUSES, TimeoutError()]), FAILED, None),
        (None, FAILED, None),
    ],
)
def test_a_connection_that_fails_is_told_in_the_system_s_own_words(cause, words, number):
    def fail(request):
        raise httpx.ConnectError(FAILED) from cause

    client = httpx.AsyncClient(transport=httpx.MockTransport(fail))
    with pytest.raises(EngineDown) as down:
        asyncio.run(Wire("ol", "http://127.0.0.1:1", client).get("/x"))
    assert (down.value.message, down.value.number) == (words, number)
    assert down.value.refused == (number == errno.ECONNREFUSED)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"error": "no such model"}', "500 no such model"),
        (b'{"error": {"code": 400, "message": "not running"}}', "500 not running"),
        (b'{"detail": "Not Found"}', "500 Not Found"),
        (b'{"detail": [1]}', '500 {"detail": [1]}'),
        (b"service\n\n unavailable\n", "500 service unavailable"),
        (b"  <!doctype html><html></html>", "500 with a page of HTML"),
        (b"", "500 without a word"),
        (b"[" * 100_000, "500 " + "[" * wire.QUOTED),
    ],
)
def test_a_refusal_is_told_in_the_engines_words(content, words):
    assert refused(content) == words


def test_an_error_dressed_as_success_is_a_refusal():
    assert "Unexpected endpoint" in refused(b'{"error": "Unexpected endpoint or method."}', 200)


def test_the_name_of_the_call_leaves_out_its_query():
    with pytest.raises(EngineRefused) as no:
        asyncio.run(Wire("ls", "http://127.0.0.1:1/", always(b"", 404)).get("/slots?model=m"))
    assert no.value.call == "GET /slots"


def test_a_packed_answer_is_not_unpacked():
    client = always(gzip.compress(b"{}"), headers={"content-encoding": "gzip"})
    with pytest.raises(EngineConfused, match="packed"):
        asyncio.run(Wire("ol", "http://127.0.0.1:1", client).get("/x"))


@pytest.mark.parametrize(
    ("url", "key"), [("http://127.0.0.1:99999", None), ("http://[", None), ("http://a", "ключ")]
)
def test_a_call_that_cannot_be_sent_says_so(url, key):
    async def ask():
        async with wire.client() as client:
            await Wire("ol", url, client, key).get("/x")

    with pytest.raises((EngineConfused, EngineDown)):
        asyncio.run(ask())


def test_no_proxy_of_the_environment_comes_between_us_and_an_engine(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    async def ask():
        async with FakeOllama() as server, wire.client() as client:
            return (await Wire("ol", server.url, client).get("/api/version"))["version"].text()

    assert asyncio.run(ask()) == "0.32.15"


def test_a_shortage_of_our_own_connections_is_not_blamed_on_the_engine(monkeypatch):
    monkeypatch.setattr(wire, "PATIENCE", httpx.Timeout(None, pool=0.01))

    async def ask():
        connected = asyncio.Event()

        async def hang(reader, writer):
            connected.set()
            await reader.read()

        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        limits = httpx.Limits(max_connections=1)
        async with server, httpx.AsyncClient(limits=limits) as client:
            line = Wire("ol", url, client)
            first = asyncio.create_task(line.get("/api/ps"), name="first")
            await connected.wait()
            try:
                await line.get("/api/ps")
            finally:
                first.cancel()

    with pytest.raises(EngineDown, match="our connections are in use"):
        asyncio.run(ask())


# -- connections that were kept open


class Closing:
    """Closes so many connections as they are used; counts the requests."""

    def __init__(self, closes, error=httpx.RemoteProtocolError):
        self.closes, self.error, self.requests = closes, error, 0

    def __call__(self, request):
        self.requests += 1
        if self.requests <= self.closes:
            raise self.error("Server disconnected without sending a response.")
        return httpx.Response(200, json={"here": True})

    def get(self, **options):
        async def story():
            async with httpx.AsyncClient(transport=httpx.MockTransport(self)) as client:
                wire = Wire("an engine", "http://127.0.0.1:1", client, None, **options)
                return await wire.get("/models")

        return asyncio.run(story())


@pytest.mark.parametrize("error", [httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError])
def test_a_request_on_a_connection_that_the_engine_has_just_closed_is_sent_anew(error):
    server = Closing(2, error)
    assert server.get()["here"].flag()
    assert server.requests == 3


def test_an_engine_that_closes_every_connection_is_down():
    server = Closing(99)
    with pytest.raises(EngineDown, match="disconnected"):
        server.get()
    assert server.requests == 3


def test_what_must_not_be_done_twice_is_asked_once():
    server = Closing(1)
    with pytest.raises(EngineDown, match="disconnected"):
        server.get(again=False)
    assert server.requests == 1


def test_nobody_is_asked_again_who_does_not_listen():
    server = Closing(99, httpx.ConnectError)
    with pytest.raises(EngineDown):
        server.get()
    assert server.requests == 1


def test_an_answer_that_breaks_off_is_not_asked_for_again():
    async def story():
        asked = []

        async def half(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            asked.append(1)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(half, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with httpx.AsyncClient(trust_env=False) as client:
            with pytest.raises(EngineDown):
                await Wire("an engine", f"http://127.0.0.1:{port}", client, None).get("/models")
        server.close()
        return len(asked)

    assert asyncio.run(story()) == 1


def test_what_one_engine_gives_to_keep_is_not_shown_to_another():
    seen = []

    def answer(request):
        seen.append(request.headers.get("cookie"))
        return httpx.Response(200, json={}, headers={"set-cookie": "session=1; Path=/"})

    async def ask():
        http = wire.client()
        http._transport = httpx.MockTransport(answer)
        await Wire("a", "http://127.0.0.1:1", http).get("/")
        await Wire("b", "http://127.0.0.1:2", http).get("/")
        await http.aclose()

    asyncio.run(ask())
    assert seen == [None, None]
