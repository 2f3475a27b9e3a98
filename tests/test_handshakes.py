"""The listener that speaks TLS, on real sockets: who gets in, who is sent away, who waits for
nobody."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from typing import Any

import pytest

from supervisor import listen
from supervisor.tls.certificates import Certificate
from supervisor.tls.handshakes import Handshakes
from tests.certificates import Authority, authority
from tests.gateway.loopback import loops

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("authority"))


class Echo(asyncio.Protocol):
    """Says what it hears, and hangs up."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)
        self.transport.close()


@asynccontextmanager
async def listening(certificate: Certificate, **limits: Any) -> AsyncIterator[tuple[Any, int]]:
    certificate.load()
    bound = listen.tcp("127.0.0.1", 0)
    port = bound.getsockname()[1]
    served = Handshakes(bound, Echo, certificate, **limits)
    try:
        async with asyncio.timeout(20):
            yield served, port
    finally:
        served.close()
        await asyncio.sleep(0)


async def ask(port: int, trust: ssl.SSLContext, server_hostname: str = "localhost") -> Any:
    """What is echoed, and what was agreed upon."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=trust, server_hostname=server_hostname
    )
    with closing(writer):
        writer.write(b"hello")
        spoken = writer.get_extra_info("ssl_object")
        return await reader.read(), spoken.version(), spoken.selected_alpn_protocol()


async def plainly(port: int, text: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with closing(writer):
        writer.write(text)
        return await reader.read()


async def until(true: Callable[[], bool]) -> None:
    """The test's own timeout bounds it."""
    while not true():
        await asyncio.sleep(0)


Story = Callable[[], Awaitable[None]]


@loops
def test_a_client_gets_in_and_both_agree_on_http(run, issuer):
    async def story() -> None:
        trust = issuer.trust()
        trust.set_alpn_protocols(["h2", "http/1.1"])
        async with listening(issuer.serve()) as (served, port):
            assert await ask(port, trust) == (b"hello", "TLSv1.3", "http/1.1")
            trust.maximum_version = ssl.TLSVersion.TLSv1_2
            assert (await ask(port, trust))[1] == "TLSv1.2"
            await until(lambda: served.under_way == 0)
            assert served.failed == 0

    run(story())


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@loops
def test_old_tls_is_refused(run, issuer):
    async def story() -> None:
        trust = issuer.trust()
        trust.set_ciphers("ALL:@SECLEVEL=0")
        trust.minimum_version = ssl.TLSVersion.TLSv1
        trust.maximum_version = ssl.TLSVersion.TLSv1_1
        async with listening(issuer.serve()) as (served, port):
            with pytest.raises(OSError):
                await ask(port, trust)
            await until(lambda: served.failed == 1)

    run(story())


@loops
def test_plain_http_is_told_to_speak_https(run, issuer):
    async def story() -> None:
        async with listening(issuer.serve()) as (_, port):
            said = await plainly(port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert said.startswith(b"HTTP/1.1 400 ")
            head, _, body = said.partition(b"\r\n\r\n")
            assert b"write https:// before" in body
            assert f"content-length: {len(body)}".encode() in head

    run(story())


@loops
def test_who_says_nothing_or_half_a_word_is_left(run, issuer):
    async def story() -> None:
        async with listening(issuer.serve(), within=0.3) as (served, port):
            words = (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01")
            said = await asyncio.gather(*(plainly(port, word) for word in words))
            assert b"HTTP" not in b"".join(said)
            await until(lambda: served.failed == 3)
            assert served.under_way == 0

    run(story())


@loops
def test_many_half_open_handshakes_keep_nobody_out(run, issuer):
    """Of a thousand that say no more than their first byte, the oldest go."""

    async def story() -> None:
        async with listening(issuer.serve(), within=60.0, most=50) as (served, port):
            silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
            for _ in range(49):
                for _ in range(20):
                    each = socket.create_connection(("127.0.0.1", port))
                    each.send(b"\x16")
                    silent.append(each)
                await until(lambda: served.under_way + served.failed >= len(silent) - 1)
            assert len(silent) == 1000
            assert served.under_way <= 50
            assert (await ask(port, issuer.trust()))[0] == b"hello"
            for each in silent:
                each.close()
            await until(lambda: served.under_way == 0)

    run(story())


@loops
def test_a_renewed_certificate_is_for_whoever_comes_next(run, issuer):
    async def story() -> None:
        served = issuer.serve("first")
        async with listening(served) as (_, port):
            trust = issuer.trust()
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=trust, server_hostname="localhost"
            )
            shown = writer.get_extra_info("peercert")["subject"]
            for new, old in zip(issuer.issue("second"), served.files, strict=True):
                shutil.copy(new, old)
            await served.look()
            await served.look()
            _, other = await asyncio.open_connection(
                "127.0.0.1", port, ssl=trust, server_hostname="localhost"
            )
            with closing(writer), closing(other):
                assert shown == ((("commonName", "first"),),)
                assert other.get_extra_info("peercert")["subject"] == ((("commonName", "second"),),)
                writer.write(b"still here")
                assert await reader.read() == b"still here"

    run(story())


@loops
def test_its_port_is_free_when_it_has_ended(run, issuer):
    async def story() -> None:
        async with listening(issuer.serve(), within=3600.0) as (served, port):
            _, silent = await asyncio.open_connection("127.0.0.1", port)
            await until(lambda: served.under_way == 1)
        async with asyncio.timeout(60):
            await until(lambda: served.under_way == 0)
        await asyncio.sleep(0)
        with closing(silent), pytest.raises(ConnectionRefusedError):
            await plainly(port, b"")

    run(story())
