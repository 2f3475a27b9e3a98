"""The server on real sockets: patience, framing, addresses, and its end."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from supervisor import listen
from supervisor.listen import ListenError
from supervisor.web.server import Server

from .fakes import World, running, site

pytestmark = pytest.mark.slow

HEAD = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
BODY = '{"models": ["llama3:70b"]}'
WAITS = '{"free": "15GiB"}'.ljust(len(BODY))  # for somebody who is busy
POST = (
    "POST /api/v1/evict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(BODY)}\r\n\r\n"
)


@asynccontextmanager
async def serving(of: Any = None, path: Path | None = None, **rest: Any) -> AsyncIterator[Server]:
    server = Server(of or site(World()), "127.0.0.1", 0, path, **rest)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def play(story: Callable[[Server], Awaitable[Any]], **rest: Any) -> Any:
    async def run() -> Any:
        async with serving(**rest) as server:
            async with asyncio.timeout(60):
                return await story(server)

    return asyncio.run(run())


async def say(server: Server, text: str | bytes, path: Path | None = None) -> bytes:
    """All that comes back until the server closes the connection."""
    if path is None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    else:
        reader, writer = await asyncio.open_unix_connection(path)
    with closing(writer):
        writer.write(text if isinstance(text, bytes) else text.encode())
        return await reader.read()


def status(raw: bytes) -> int:
    return int(raw.split(b" ", 2)[1])


def test_it_answers_on_the_port_that_it_got():
    async def story(server: Server) -> Any:
        assert server.port > 0
        assert server.addresses == [f"http://127.0.0.1:{server.port}"]
        return await say(server, HEAD + "Connection: close\r\n\r\n")

    head, _, body = play(story).partition(b"\r\n\r\n")
    assert status(head) == 200
    assert json.loads(body) == {"ok": True}
    assert b"\r\nserver:" not in head.lower()
    assert b"x-frame-options: DENY" in head


def test_a_head_has_no_body():
    async def story(server: Server) -> Any:
        return await say(server, HEAD.replace("GET", "HEAD") + "Connection: close\r\n\r\n")

    head, _, body = play(story).partition(b"\r\n\r\n")
    assert (status(head), body) == (200, b"")
    assert b"content-length: 11" in head


def answers(texts: dict[str, str], **rest: Any) -> dict[str, bytes]:
    """What one server says to each of `texts`, until it closes the connection."""

    async def story(server: Server) -> list[bytes]:
        return await asyncio.gather(*(say(server, text) for text in texts.values()))

    return dict(zip(texts, play(story, **rest), strict=True))


def test_whoever_does_not_finish_the_headers_is_let_go():
    texts = ["", "G", HEAD, HEAD + "X-Half: ", "\r\n"]
    found = answers({t: t for t in texts}, head_timeout=0.05)
    assert found == dict.fromkeys(texts, b"")


def test_an_honest_request_is_not_hurried_by_the_patience_for_its_headers():
    async def story(server: Server) -> Any:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        with closing(writer):
            writer.write(HEAD.encode())
            await asyncio.sleep(0)
            writer.write(b"\r\n")
            first = await reader.readuntil(b"}")
            writer.write((HEAD + "\r\n").encode())
            second = await reader.readuntil(b"}")
            writer.write(HEAD.encode())  # and then nothing: also a later request must end
            return first, second, await reader.read()

    first, second, rest = play(story, head_timeout=0.3)
    assert (status(first), status(second), rest) == (200, 200, b"")


def test_an_answer_may_take_longer_than_the_headers():
    async def run() -> bytes:
        of = site(World())
        later = asyncio.Event()

        async def busy_for_a_while(_: float) -> None:
            asyncio.get_running_loop().call_later(0.5, later.set)
            await later.wait()

        of.door.sleep = busy_for_a_while
        async with running(of), serving(of, head_timeout=0.25) as server:
            return await say(server, POST.replace("Host", "Connection: close\r\nHost") + WAITS)

    assert status(asyncio.run(run())) == 200


UNCLEAN = {
    "TE and CL": HEAD + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two CL": HEAD + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "+CL": HEAD + "Content-Length: +5\r\n\r\nhello",
    "identity": HEAD + "Transfer-Encoding: identity\r\n\r\n",
    "proxy": "GET http://evil.example/healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "folded": HEAD + " folded: 1\r\n\r\n",
    "space": HEAD + "Bad Name: 1\r\n\r\n",
    "nul": HEAD + "X-Nul: \0\r\n\r\n",
    "nonsense": "nonsense\r\n\r\n",
    "long": HEAD + "X-Long: " + "x" * 70_000 + "\r\n\r\n",
    "many": HEAD + "X-Many: 1\r\n" * 10_000 + "\r\n",
    "long in all": f"GET /{'x' * 40_000} HTTP/1.1\r\nHost: localhost\r\nX: {'x' * 40_000}\r\n\r\n",
    "long path": f"GET /{'x' * 70_000} HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


def test_what_is_no_clean_http_is_refused_and_closed():
    found = answers(UNCLEAN)
    assert {name: status(answer) for name, answer in found.items()} == dict.fromkeys(UNCLEAN, 400)


def test_a_wrong_host_is_refused_on_the_wire_too():
    hosts = ["", "Host: localhost\r\nHost: localhost\r\n", "Host: evil.example\r\n"]
    found = answers({h: f"GET / HTTP/1.1\r\n{h}\r\n" for h in hosts})
    assert [status(answer) for answer in found.values()] == [421, 421, 421]


def test_an_address_in_use_is_said_in_words():
    async def story(server: Server) -> Any:
        other = Server(site(World()), "127.0.0.1", server.port)
        with pytest.raises(ListenError) as caught:
            await other.start()
        await other.stop()  # harmless
        return str(caught.value), server.port

    text, port = play(story)
    assert text == (
        f"127.0.0.1:{port} is in use, probably by another ullage; "
        "stop it or choose another with --port"
    )


def test_an_address_of_another_machine_is_said_in_words():
    with pytest.raises(ListenError, match=r"^cannot listen on 192\.0\.2\.1:0: "):
        listen.tcp("192.0.2.1", 0)
    with pytest.raises(ListenError, match="cannot listen on"):
        listen.tcp("no.such.host.invalid", 0)


def test_the_socket_file_serves_without_a_token_and_is_gone_afterwards(tmp_path):
    path = tmp_path / "u.sock"

    async def run() -> Any:
        of = site(World(), token="a-token-of-some-length")
        async with running(of), serving(of, path) as server:
            mode = stat.S_IMODE(path.stat().st_mode)
            head = "GET /api/v1/version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            post = POST.replace("Content-T", "Connection: close\r\nContent-T")
            body = BODY.replace("llama3:70b", "qwen3:8b").ljust(len(BODY))
            inside = [await say(server, t, path) for t in (head, post + body)]
            outside = [await say(server, t) for t in (head, post + body)]
            return mode, server.addresses[1], [status(t) for t in (*inside, *outside)]

    mode, address, answers = asyncio.run(run())
    assert mode == 0o660
    assert address == f"unix:{path}"
    assert answers == [200, 200, 401, 401]
    assert not path.exists()


def test_a_socket_file_that_nobody_serves_is_replaced(tmp_path):
    path = tmp_path / "u.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    assert path.exists()
    listen.unix(path).close()


def test_a_socket_file_that_somebody_serves_is_left_alone(tmp_path):
    path = tmp_path / "u.sock"

    async def story(server: Server) -> Any:
        other = Server(site(World()), "127.0.0.1", 0, path)
        with pytest.raises(ListenError, match="is in use, probably by another ullage"):
            await other.start()
        return await say(server, HEAD + "Connection: close\r\n\r\n", path)

    assert status(play(story, path=path)) == 200


def test_a_file_that_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("precious")
    with pytest.raises(ListenError, match="is no socket"):
        listen.unix(path)
    assert path.read_text() == "precious"


def test_the_end_does_not_remove_what_another_has_put_there(tmp_path):
    path = tmp_path / "u.sock"

    async def story(server: Server) -> None:
        path.unlink()
        path.write_text("of somebody else")

    play(story, path=path)
    assert path.read_text() == "of somebody else"


def test_a_failed_start_leaves_nothing_open(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("in the way")

    async def run() -> int:
        server = Server(site(World()), "127.0.0.1", 0, path)
        with pytest.raises(ListenError):
            await server.start()
        return server.port

    port = asyncio.run(run())
    with socket.socket() as free, pytest.raises(ConnectionRefusedError):
        free.connect(("127.0.0.1", port))


def test_the_end_waits_for_nobody():
    """Idle, half a head, half a body, and an answer that takes for ever."""

    async def run() -> tuple[float, list[Any]]:
        of = site(World())
        waiting = asyncio.Event()

        async def for_ever(_: float) -> None:
            waiting.set()
            await asyncio.Event().wait()

        of.door.sleep = for_ever
        async with running(of):
            server = Server(of, "127.0.0.1", 0)
            await server.start()
            opened = []
            for text in ("", HEAD, POST + BODY[:5], POST + WAITS):
                opened.append(await asyncio.open_connection("127.0.0.1", server.port))
                opened[-1][1].write(text.encode())
            await waiting.wait()
            started = time.monotonic()
            await server.stop()
            took = time.monotonic() - started
            rest = [await asyncio.gather(r.read(), return_exceptions=True) for r, _ in opened]
            for _, writer in opened:
                writer.close()
            return took, rest

    took, rest = asyncio.run(run())
    assert took < 3
    (idle,), (half_head,), (half_body,), (waiting,) = rest
    assert idle == half_head == b""
    for answer in (half_body, waiting):
        assert status(answer) == 503
        assert b"the daemon is stopping" in answer


def test_stopping_what_was_never_started_is_harmless():
    asyncio.run(Server(site(World()), "127.0.0.1", 0).stop())


def test_an_answer_does_not_wait_for_the_client_to_have_seen_the_last_one() -> None:
    """asyncio sends at once on sockets of which it knows that they speak TCP."""
    with listen.tcp("127.0.0.1", 0) as bound:
        assert bound.proto == socket.IPPROTO_TCP
