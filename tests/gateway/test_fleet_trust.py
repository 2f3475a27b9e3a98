"""Whom a gateway trusts about other hosts: by their certificates, and by the fleet's tokens."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from supervisor.config.gated import TokenConfig
from supervisor.gateway.elsewhere import unreached
from supervisor.gateway.limits import Limits
from supervisor.gateway.question import Question, Said, written
from supervisor.gateway.upstream import Links, Origin, far
from supervisor.tls.authorities import read, trusting
from tests.certificates import Authority, authority
from tests.gateway.hosts import TOKEN, other
from tests.gateway.hosts import fleet as town_of
from tests.gateway.test_fleet import HELLO, PLACED, sent
from tests.gateway.test_fleet_hosts import Fleet, whole
from tests.gateway.wires import whole as answer
from tests.scenarios.gate import story

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("authority"))


@asynccontextmanager
async def gateway(issuer: Authority) -> AsyncIterator[str]:
    """Answers over TLS. Its address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(ANSWER)

    own = issuer.serve()
    own.load()
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=own.context)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def asked(links: Links, origin: Origin) -> Said | str:
    answer = asyncio.get_running_loop().create_future()
    Question(links, origin, written(b"GET", b"/"), 10.0, answer.set_result)
    found: Said | str = await answer
    return found


def test_only_who_is_vouched_for_is_asked_and_that_may_change(
    issuer: Authority, tmp_path: Path
) -> None:
    ours = trusting(read(issuer.cafile))
    strange = trusting(read(authority(tmp_path).cafile))

    async def story() -> None:
        async with gateway(issuer) as address:
            links = Links(Limits(), ours)
            assert await asked(links, far(address)) == Said(200, b"{}")
            # An engine's address is no other host's: there it is as it always was.
            assert (
                "certificate verify failed" in str(await asked(links, Origin.of(address))).lower()
            )
            links.trusts(strange)  # not even by the connection that is there
            assert "certificate verify failed" in str(await asked(links, far(address))).lower()
            assert links.open == set()  # and that is closed
            links.trusts(ours)
            assert await asked(links, far(address)) == Said(200, b"{}")
            links.trusts(None)
            assert "certificate verify failed" in str(await asked(links, far(address))).lower()
            links.close()

    asyncio.run(story())


def test_a_certificate_that_is_not_trusted_is_told_as_such(issuer: Authority) -> None:
    class Asks:
        error: OSError | None = None

        def refused(self, error: OSError) -> None:
            self.error = error
            over.set()

        def watch(self, now: float) -> None: ...

    async def story() -> OSError | None:
        asks = Asks()
        links = Links(Limits())
        async with gateway(issuer) as address:
            links.take(far(address), asks)  # type: ignore[arg-type]
            await over.wait()
        links.close()
        return asks.error

    over = asyncio.Event()
    told = unreached(asyncio.run(story()))
    assert told.startswith("shows a certificate that is not trusted here (")
    assert told.endswith("): see fleet.ca_file")
    assert unreached(ConnectionRefusedError(111, "refused")) == "did not answer"


# -- whom it believes


@story
async def test_another_token_is_good_at_once_and_the_one_before_while_it_is_there() -> None:
    known = TokenConfig("laptop", sha256(b"laptop").digest())

    async with town_of(tokens=(known,)) as town:
        at = town.at
        await at.town.has("a")

        def placed_here(secret: str) -> bool:
            """With the very head that was let in before, if it was."""
            line, wire = at.engine()
            lines = (PLACED[0], f"Authorization: Bearer {secret}")
            guest = at.asks("/v1/chat/completions", *lines, model="a", **HELLO)
            if wire.taken():
                line.data_received(answer())
                return guest.answer()[0] == 200
            wire.close()
            return guest.answer()[0] != 401

        assert [placed_here(t) for t in (TOKEN, "next-token")] == [True, False]
        at.gateway.in_fleet(other(tokens=("next-token", TOKEN)))
        assert [placed_here(t) for t in (TOKEN, "next-token")] == [True, True]
        _, far = town.host("b")
        at.asks("/v1/chat/completions", "Authorization: Bearer laptop", model="far", **HELLO)
        town.agent.places("b")
        assert sent(far)[1]["authorization"] == "Bearer next-token"
        at.gateway.in_fleet(other(tokens=("next-token",)))
        assert [placed_here(t) for t in (TOKEN, "next-token")] == [False, True]


# -- real gateways


class Secured(Fleet):
    """Host "b" speaks TLS, and "a" trusts who is in `ca` about it."""

    def begin(self, issuer: Authority, ca: Path) -> None:
        cert, key = issuer.issue("b")
        tls = f'[gateway]\ntls_cert = "{cert}"\ntls_key = "{key}"\n'
        self.host("a", None, ("[fleet]\n", f'[fleet]\nca_file = "{ca}"\n'))
        self.host("b", self.engine("engine"), ("[gateway]\n", tls), ('"http://', '"https://'))
        self.agents()

    def accepts(self, host: str, token: str) -> bool:
        """Is a request that comes with it one that was placed there?"""
        body = b'{"model": "nosuch", "prompt": "x"}'
        told = (
            "POST /v1/completions HTTP/1.1", "Host: 127.0.0.1", "Connection: close",
            "X-Ullage-Placed: z", f"Authorization: Bearer {token}", f"Content-Length: {len(body)}",
        )  # fmt: skip
        with socket.create_connection(("127.0.0.1", self.ports[host]), timeout=60) as plain:
            asks = plain
            if host == "b":
                anybody = ssl.create_default_context()
                anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
                asks = anybody.wrap_socket(plain)
            asks.sendall("\r\n".join(told).encode() + b"\r\n\r\n" + body)
            head = whole(asks).partition(b"\r\n\r\n")[0]
        return b"x-ullage-refused: model_not_found" in head


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Secured]:
    with Secured(tmp_path) as made:
        yield made


def renew(file: Path, text: str) -> None:
    """At once, as whoever renews a file should."""
    draft = file.with_suffix(".new")
    draft.write_text(text)
    draft.chmod(0o600)
    draft.replace(file)


@pytest.mark.slow
def test_a_fleet_over_tls_goes_from_one_token_to_the_next_without_a_restart(
    fleet: Secured, issuer: Authority, tmp_path: Path
) -> None:
    ca = tmp_path / "others.pem"
    (tmp_path / "strange").mkdir()
    ca.write_text(authority(tmp_path / "strange").cafile.read_text())
    fleet.begin(issuer, ca)
    status, _, body = fleet.answer("a", stream=False)
    assert status >= 500, body
    assert b"b shows a certificate that is not trusted here" in body
    renew(ca, issuer.cafile.read_text())
    fleet.until(lambda: fleet.answer("a", stream=False)[0] == 200)

    one, two = "token-of-the-fleet", "the-token-after-that"
    tokens = {host: tmp_path / host / "fleet.token" for host in "ab"}

    def served_until(host: str, so: str) -> None:
        """Every request is served meanwhile."""
        ends = time.monotonic() + 60
        while not fleet.accepts(host, so):
            assert fleet.answer("a", stream=False)[0] == 200
            assert time.monotonic() < ends

    renew(tokens["b"], f"{one}\n{two}\n")
    served_until("b", two)
    renew(tokens["a"], f"{two}\n{one}\n")
    served_until("a", two)
    renew(tokens["b"], f"{two}\n")
    fleet.until(lambda: not fleet.accepts("b", one))
    assert fleet.answer("a", stream=False)[0] == 200
