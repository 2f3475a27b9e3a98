"""Each engine has connections of its own."""

import asyncio
import random
import time
from contextlib import suppress

import httpx
import uvloop

from supervisor.engines import pools, wire
from supervisor.engines.base import EngineError
from supervisor.engines.pools import LIMITS, Pools
from supervisor.engines.wire import Wire
from tests.engines.fake import FakeOllama


def test_an_engine_that_hangs_takes_no_connection_from_the_others():
    async def ask():
        async with FakeOllama() as deaf, FakeOllama() as well, wire.client() as client:
            deaf.fault = "hang"
            asked = [
                asyncio.create_task(Wire("deaf", deaf.url, client).get("/api/ps"))
                for _ in range(LIMITS.max_connections)
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
            (pool,) = client._transport._pools.values()
            return version, pool.under_way, len(pool.transport._pool.connections)

    version, under_way, connections = uvloop.run(ask())
    assert (version, under_way) == ("0.32.15", 0)
    assert connections <= LIMITS.max_keepalive_connections
