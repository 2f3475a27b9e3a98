"""The API over TLS: the server's own port, its clients, and the Unix socket beside it."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from supervisor.cli.client import BadAddress, Client, NoDaemon, Refused, Timeout
from supervisor.listen import ListenError
from supervisor.web.server import Server
from tests.certificates import Authority, authority
from tests.gateway.loopback import loops

from .fakes import World, site

pytestmark = pytest.mark.slow

ASKS = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in ("ULLAGE_URL", "ULLAGE_TOKEN", "ULLAGE_CAFILE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


@asynccontextmanager
async def serving(issuer: Authority, path: Path | None = None) -> AsyncIterator[Server]:
    server = Server(site(World()), "127.0.0.1", 0, path, certificate=issuer.serve())
    await server.start()
    try:
        async with asyncio.timeout(20):
            yield server
    finally:
        await server.stop()


@loops
def test_its_port_speaks_tls_and_its_socket_does_not(run, issuer, tmp_path):
    path = tmp_path / "s"

    async def story() -> None:
        async with serving(issuer, path) as server:
            assert server.addresses == [f"https://127.0.0.1:{server.port}", f"unix:{path}"]
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.port, ssl=issuer.trust(), server_hostname="localhost"
            )
            with closing(writer):
                writer.write(ASKS)
                said = await reader.read()
                assert json.loads(said.partition(b"\r\n\r\n")[2]) == {"ok": True}
            reader, writer = await asyncio.open_unix_connection(path)
            with closing(writer):
                writer.write(ASKS)
                assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", server.port)

    run(story())


@loops
def test_it_ends_in_time_with_handshakes_and_clients_that_say_nothing(run, issuer):
    async def story() -> None:
        async with serving(issuer) as server:
            half = socket.create_connection(("127.0.0.1", server.port))
            half.send(b"\x16\x03")
            _, writer = await asyncio.open_connection(
                "127.0.0.1", server.port, ssl=issuer.trust(), server_hostname="localhost"
            )
        half.close()
        writer.close()

    run(story())


def test_a_broken_certificate_leaves_nothing_open(issuer):
    async def story() -> None:
        certificate = issuer.serve()
        certificate.files.key.write_bytes(b"word")
        server = Server(site(World()), "127.0.0.1", 0, None, certificate=certificate)
        with pytest.raises(ListenError, match=r"listen\.tls_key: .* holds no private key"):
            await server.start()
        assert server.port == 0

    asyncio.run(story())


def asked(issuer: Authority, url: str, **how: Any) -> dict[str, Any]:
    """What a client of the command line gets of a server at `url`, a text with its port in it."""

    async def story() -> dict[str, Any]:
        async with serving(issuer) as server:

            def ask() -> dict[str, Any]:
                client = Client(url.format(port=server.port), timeout=60, **how)
                return client.get("/api/v1/version").document

            return await asyncio.to_thread(ask)

    return asyncio.run(story())


def test_the_command_line_asks_by_https_with_its_own_authority(issuer, monkeypatch):
    cafile = str(issuer.cafile)
    assert "version" in asked(issuer, "https://localhost:{port}", cafile=cafile)
    assert "version" in asked(issuer, "HTTPS://127.0.0.1:{port}", cafile=cafile)
    monkeypatch.setenv("ULLAGE_CAFILE", cafile)
    assert "version" in asked(issuer, "https://localhost:{port}")
    monkeypatch.delenv("ULLAGE_CAFILE")
    monkeypatch.setenv("SSL_CERT_FILE", cafile)
    assert "version" in asked(issuer, "https://localhost:{port}")


def test_a_certificate_that_nobody_vouches_for_is_not_believed(issuer):
    with pytest.raises(NoDaemon) as found:
        asked(issuer, "https://localhost:{port}")
    assert "is not trusted" in found.value.what
    assert "--cafile" in found.value.try_


def test_who_asks_without_tls_is_told_what_to_write(issuer):
    with pytest.raises(Refused) as found:
        asked(issuer, "http://localhost:{port}")
    assert "write https://" in found.value.what


def test_who_asks_a_server_without_tls_by_https_is_told_so(issuer):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        async def story() -> None:
            def answer() -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

            def ask() -> None:
                with pytest.raises(NoDaemon, match="does not speak TLS"):
                    Client(f"https://localhost:{port}", timeout=60).get("/")

            await asyncio.gather(asyncio.to_thread(answer), asyncio.to_thread(ask))

        asyncio.run(story())


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_an_authority_that_cannot_be_read_is_a_mistake_of_whoever_asks(tmp_path, text):
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)
    with pytest.raises(BadAddress, match="cannot be used for --cafile"):
        Client("https://localhost:1", cafile=str(file)).get("/")


def test_a_slow_answer_over_tls_ends_in_time(issuer):
    """A socket's own timeout begins again with every byte, and TLS has a state of its own."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 750\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        gone = asyncio.ensure_future(reader.read())
        while not (await asyncio.wait({gone}, timeout=0.02))[0]:
            writer.write(b"x")
        writer.close()

    async def story() -> None:
        certificate = issuer.serve()
        certificate.load()
        server = await asyncio.start_server(drip, "127.0.0.1", 0, ssl=certificate.context)
        port = server.sockets[0].getsockname()[1]
        client = Client(f"https://localhost:{port}", timeout=0.4, cafile=str(issuer.cafile))
        begun = time.monotonic()
        try:
            with pytest.raises(Timeout):
                await asyncio.to_thread(client.get, "/")
            assert time.monotonic() - begun < 10  # all of it would have taken fifteen
        finally:
            server.close()

    asyncio.run(story())
