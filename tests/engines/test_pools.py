"""Each engine has connections of its own."""

import asyncio
import random
import time
from contextlib import suppress

import httpx
import pytest
import uvloop

from supervisor.engines import pools, wire
from supervisor.engines.base import EngineError
from supervisor.engines.pools import AT_ONCE, EXPIRES, KEPT, Pools
from supervisor.engines.wire import Wire
from tests.engines.fake import FakeOllama


def test_an_engine_that_hangs_takes_no_connection_from_the_others():
    async def ask():
        async with FakeOllama() as deaf, FakeOllama() as well, wire.client() as client:
            deaf.fault = "hang"
            asked = [
                asyncio.create_task(Wire("deaf", deaf.url, client).get("/api/ps"))
                for _ in range(AT_ONCE)
            ]
            while len(deaf.requests) < len(asked):
                await asyncio.sleep(0)
            version = await Wire("well", well.url, client).get("/api/version")
            for task in asked:
                task.cancel()
                with suppress(asyncio.CancelledError, EngineError):
                    await task
            return version["version"].text()

    assert asyncio.run(ask()) == "0.32.15"


class Silent(httpx.AsyncBaseTransport):
    closed = False

    async def handle_async_request(self, request):
        return httpx.Response(200)

    async def aclose(self):
        self.closed = True


def test_addresses_that_are_never_used_again_are_forgotten():
    now, made = 0.0, []

    def make():
        made.append(Silent())
        return made[-1]

    async def ask():
        nonlocal now
        kept = Pools(make, lambda: now)
        async with httpx.AsyncClient(transport=kept) as client:
            for port in range(1, 3 * pools.MOST):
                now += pools.SILENT / 10
                await client.get(f"http://127.0.0.1:{port}/")
                await client.get("http://127.0.0.1:65535/")  # is used all the time
                assert len(kept) <= pools.MOST
        assert len(kept) == 0

    asyncio.run(ask())
    assert all(transport.closed for transport in made)
    assert len(made) == 3 * pools.MOST  # the one in use was made once


@pytest.mark.slow
def test_calls_that_are_cut_short_at_any_moment_leave_no_connection_in_use():
    """Their time and that of who asks end in the same turn of a loop that was held up."""
    dice = random.Random(1)

    async def ask():
        async with FakeOllama() as server, wire.client() as client:
            line = Wire("late", server.url, client)

            async def late(within):
                with suppress(EngineError, TimeoutError):
                    async with asyncio.timeout(within):
                        await line.call("GET", "/api/version", None, within)

            for _ in range(40):
                asked = [asyncio.create_task(late(dice.random() / 50)) for _ in range(20)]
                for _ in range(dice.randrange(12)):
                    await asyncio.sleep(0)
                held = time.perf_counter() + dice.random() / 50
                while time.perf_counter() < held:
                    pass
                await asyncio.gather(*asked)
            version = (await line.get("/api/version"))["version"].text()
            (place,) = client._transport._places.values()
            held = sum(len(line.transport._pool.connections) for line in place.rest)
            return version, len(place.busy), held

    version, under_way, connections = uvloop.run(ask())
    assert (version, under_way) == ("0.32.15", 0)
    assert connections <= KEPT


def test_a_connection_without_a_call_is_kept_for_two_seconds_and_no_longer():
    now = 0.0

    async def ask():
        nonlocal now
        async with FakeOllama() as server, wire.client() as client:
            client._transport._clock = lambda: now
            line = Wire("o", server.url, client)
            await asyncio.gather(*(line.get("/api/version") for _ in range(3 * KEPT)))
            (place,) = client._transport._places.values()
            kept = set(place.rest)
            assert len(kept) == KEPT
            await line.get("/api/version")
            assert set(place.rest) == kept, "the next call has one of them"
            now += EXPIRES + 0.1
            await line.get("/api/version")
            assert len(place.rest) == 1
            await asyncio.gather(*client._transport._closing)
            held = [old for old in kept - {*place.rest} if old.transport._pool.connections]
            assert held == []

    asyncio.run(ask())


def test_an_address_that_is_not_called_any_more_keeps_nothing_open(monkeypatch):
    monkeypatch.setattr(pools, "EXPIRES", 0.02)

    async def ask():
        made = []

        def make():
            made.append(Silent())
            return made[-1]

        async with httpx.AsyncClient(transport=Pools(make)) as client:
            urls = [f"http://127.0.0.1:{port}/" for port in (1, 2)]
            await asyncio.gather(*(client.get(url) for url in urls))
            async with asyncio.timeout(60):
                while not all(line.closed for line in made):
                    await asyncio.sleep(0)
            assert client._transport._sweep is None, "nothing is left to look after"

    asyncio.run(ask())


def test_a_call_that_cannot_begin_takes_nobodys_place():
    async def ask():
        short = [MemoryError()] * (AT_ONCE + 1)

        def make():
            if short:
                raise short.pop()
            return Silent()

        async with httpx.AsyncClient(transport=Pools(make)) as client:
            for _ in range(AT_ONCE + 1):
                with pytest.raises(MemoryError):
                    await client.get("http://127.0.0.1:1/", timeout=httpx.Timeout(5, pool=0.01))
            assert (await client.get("http://127.0.0.1:1/")).status_code == 200

    asyncio.run(ask())


def test_who_asks_while_all_connections_are_in_use_is_told_so_in_time():
    async def ask():
        async with FakeOllama() as deaf, wire.client() as client:
            deaf.fault = "hang"
            busy = [asyncio.create_task(client.get(f"{deaf.url}/api/ps")) for _ in range(AT_ONCE)]
            while len(deaf.requests) < AT_ONCE:
                await asyncio.sleep(0)
            patience = httpx.Timeout(5.0, pool=0.01)
            with pytest.raises(httpx.PoolTimeout, match="64 calls are under way"):
                await client.get(f"{deaf.url}/api/ps", timeout=patience)
            for task in busy:
                task.cancel()
            await asyncio.gather(*busy, return_exceptions=True)
            deaf.fault = None
            assert (await client.get(f"{deaf.url}/api/version")).status_code == 200

    asyncio.run(ask())


def test_the_end_ends_calls_that_are_under_way():
    async def ask():
        async with FakeOllama() as deaf:
            deaf.fault = "hang"
            async with wire.client() as client:
                call = asyncio.create_task(client.get(f"{deaf.url}/api/ps"))
                while not deaf.requests:
                    await asyncio.sleep(0)
            async with asyncio.timeout(60):
                with pytest.raises(httpx.HTTPError):
                    await call

    asyncio.run(ask())
