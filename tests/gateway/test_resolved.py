"""The gateway's connections to engines by name: each is made to an address that was looked at."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from supervisor.addresses import NeverCalled
from supervisor.gateway.limits import Limits
from supervisor.gateway.upstream import Link, Links, Origin, far
from tests.gateway.loopback import Run, loops
from tests.resolver import Resolver

METADATA = "169.254.169.254"


class Waits:
    """Who wants a connection: what became of it."""

    def __init__(self) -> None:
        self.told: asyncio.Future[Link | OSError] = asyncio.get_running_loop().create_future()

    def connected(self, link: Link) -> None:
        self.told.set_result(link)

    def refused(self, error: OSError) -> None:
        self.told.set_result(error)

    def received(self, data: bytes) -> None: ...
    def lost(self, exc: Exception | None) -> None: ...
    def flow(self, on: bool) -> None: ...
    def watch(self, now: float) -> None: ...


async def took(links: Links, origin: Origin) -> Link | OSError:
    user = Waits()
    assert links.take(origin, user) is None
    found = await user.told
    links.leave(user)
    return found


@asynccontextmanager
async def engine() -> AsyncIterator[int]:
    """Its port on 127.0.0.1."""

    loop = asyncio.get_running_loop()
    stands = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    try:
        yield stands.sockets[0].getsockname()[1]
    finally:
        stands.close()


@loops
@pytest.mark.parametrize("kind", [Origin.of, far], ids=["an engine", "another host's gateway"])
def test_a_name_that_leads_to_a_metadata_service_later_is_not_called_any_more(
    run: Run, kind: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = Resolver(monkeypatch, engine=["127.0.0.1"])

    async def story() -> None:
        links = Links(Limits())
        async with engine() as port:
            origin = kind(f"http://engine:{port}")
            first = await took(links, origin)
            assert isinstance(first, Link)
            assert first.transport.get_extra_info("peername")[0] == "127.0.0.1"
            names.led["engine"] = [METADATA]
            for _ in range(3):
                error = await took(links, origin)
                assert isinstance(error, NeverCalled)
                assert f"engine leads to {METADATA}" in str(error)
            names.led["engine"] = ["127.0.0.1"]
            assert isinstance(await took(links, origin), Link)
            assert names.names == ["engine"] * 5  # each time once
            links.close()

    with caplog.at_level(logging.WARNING, "ullage.gateway"):
        run(story())
    assert [
        r.getMessage().partition(": ")[0] for r in caplog.records if r.name == "ullage.gateway"
    ] == [
        "requests are not passed to engine"  # once, however often it was asked
    ]


@loops
def test_an_address_that_another_host_tells_of_is_looked_at_too(run: Run) -> None:
    async def story() -> None:
        links = Links(Limits())
        for url in (f"http://{METADATA}", "http://[fe80::1]:80", "https://[fd00:ec2::254]"):
            assert isinstance(await took(links, far(url)), NeverCalled)
        assert not links.open
        links.close()

    run(story())


@loops
def test_the_next_address_of_a_name_is_tried_with_a_link_of_its_own(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Resolver(monkeypatch, engine=[METADATA, "::1", "127.0.0.1"])

    async def story() -> None:
        links = Links(Limits())
        async with engine() as port:
            link = await took(links, Origin.of(f"http://engine:{port}"))
            assert isinstance(link, Link)
            assert links.open == {link}
            links.close()

    run(story())


@loops
def test_who_speaks_tls_is_known_by_its_name_and_not_by_its_address(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Resolver(monkeypatch, engine=["127.0.0.1"])
    asked: list[dict[str, Any]] = []

    async def story() -> None:
        async def connects(made: Any, host: str, port: int, **how: Any) -> Any:
            asked.append({"host": host, **how})
            raise ConnectionRefusedError

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(type(loop), "create_connection", lambda _, *a, **k: connects(*a, **k))
        links = Links(Limits(), trusted := ssl.create_default_context())
        await took(links, far("https://engine:8443"))
        links.close()
        assert asked == [{"host": "127.0.0.1", "ssl": trusted, "server_hostname": "engine"}]

    run(story())
