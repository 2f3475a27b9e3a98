"""Engines by name: whom a name leads to is looked at for each connection to them."""

import asyncio
from contextlib import asynccontextmanager

import httpx
import pytest
import uvloop

from supervisor.children import ports
from supervisor.core.snapshot import EngineId
from supervisor.engines import wire
from supervisor.engines.base import EngineDown
from supervisor.engines.tryll import Tryll
from supervisor.engines.wire import Wire
from tests.resolver import Resolver

METADATA = "169.254.169.254"
loops = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


@asynccontextmanager
async def server(keeps=False):
    """Its port on 127.0.0.1, and the requests that reached it."""
    asked = []

    async def answer(reader, writer):
        try:
            while True:
                asked.append(await reader.readuntil(b"\r\n\r\n"))
                end = b"" if keeps else b"Connection: close\r\n"
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + end + b"\r\n{}")
                if not keeps:
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    stands = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield stands.sockets[0].getsockname()[1], asked
    finally:
        stands.close()


@loops
def test_an_engine_whose_name_leads_to_a_metadata_service_later_is_not_called_any_more(
    run, monkeypatch
):
    names = Resolver(monkeypatch, engine=["127.0.0.1"])

    async def story():
        async with server() as (port, asked), wire.client() as client:
            engine = Wire("far", f"http://engine:{port}", client, "a key")
            await engine.get("/api/ps")
            assert b"host: engine:%d\r\n" % port in asked[0].lower()  # as ever
            names.led["engine"] = [METADATA]
            with pytest.raises(EngineDown, match=r"engine leads to 169\.254\.169\.254") as down:
                await engine.get("/api/ps")
            assert "never called" in down.value.message
            names.led["engine"] = ["127.0.0.1"]
            await engine.get("/api/ps")  # and is again, without having been configured anew
            assert len(asked) == 2

    run(story())


@loops
def test_a_connection_is_made_to_the_address_that_was_looked_at(run, monkeypatch):
    """Who asks twice may be told something else the second time."""
    names = Resolver(monkeypatch, engine=["127.0.0.1"])

    async def story():
        async with server() as (port, _), wire.client() as client:
            for number in range(1, 4):
                await Wire("far", f"http://engine:{port}", client).get("/")
                assert names.names == ["engine"] * number

    run(story())


def test_a_connection_that_is_kept_is_looked_at_once(monkeypatch):
    names = Resolver(monkeypatch, engine=["127.0.0.1"])

    async def story():
        async with server(keeps=True) as (port, asked), wire.client() as client:
            for _ in range(5):
                await Wire("far", f"http://engine:{port}", client).get("/")
            assert len(asked) == 5

    asyncio.run(story())
    assert names.names == ["engine"]


def test_an_engine_is_called_at_the_address_of_its_name_that_answers(monkeypatch):
    Resolver(monkeypatch, engine=[METADATA, "::1", "127.0.0.1"])

    async def story():
        async with server() as (port, asked), wire.client() as client:
            await Wire("far", f"http://engine:{port}", client).get("/")
            return len(asked)

    assert asyncio.run(story()) == 1


def test_a_name_that_is_not_known_is_told_in_the_system_s_words(monkeypatch):
    Resolver(monkeypatch)

    async def story():
        async with wire.client() as client:
            with pytest.raises(EngineDown, match="Name or service not known") as down:
                await Wire("far", "http://engine:1", client).get("/")
            assert down.value.number == -2

    asyncio.run(story())


@pytest.mark.parametrize("ask", ["identify", "list"])
def test_a_client_that_looks_names_up_by_itself_is_given_an_address(ask, monkeypatch):
    """Tryll's own, which connects by itself."""
    Resolver(monkeypatch, engine=[METADATA])
    given = []

    class Client:
        @classmethod
        def connect(cls, host, port, timeout):
            given.append(host)
            raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(Tryll, "_client", lambda self: type("Module", (), {"TryllClient": Client}))
    monkeypatch.setattr("supervisor.engines.tryll.find_spec", lambda name: name)

    async def story():
        made = Tryll(EngineId("t"), "http://engine:9100", httpx.AsyncClient(), None)
        with pytest.raises(EngineDown, match="never called"):
            await getattr(made, ask)()
        Resolver(monkeypatch, engine=["::1", "127.0.0.1"])
        with pytest.raises(EngineDown, match="refused"):
            await made.list()
        await made.close()

    asyncio.run(story())
    assert given == ["::1", "127.0.0.1"]


def test_nobody_knocks_there_to_see_whether_somebody_listens(monkeypatch):
    names = Resolver(monkeypatch, engine=[METADATA], box=["127.0.0.1"])

    async def story():
        async with server() as (port, _):
            assert await ports.accepts("box", port)
            assert not await ports.accepts("engine", port)

    asyncio.run(story())
    assert names.names == ["box", "engine"]
