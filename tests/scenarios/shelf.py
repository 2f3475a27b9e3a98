"""RAM whose every byte a test says: a few models in a router, and somebody who is not known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from collectors.reading import RAM, Bytes, gib
from supervisor.core.policy import Amount, Policy, PoolPolicy
from supervisor.core.rank import RANKINGS
from tests.engines.fake import FakeLlamaRouter
from tests.scenarios.house import House, Ram, house

# Who goes first is not what these stories are about: the longest idle.
POLICY = Policy(
    pools={RAM: PoolPolicy(reserve=Amount(size=gib(4)))},
    restore_margin=Bytes(0),
    ranking=RANKINGS["lru"],
)


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


class Shelf(Ram):
    """Of 64 GiB `other` is taken by nobody who is known; each model holds what a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.other = 0.0
        self.held: dict[str, float] = {}

    def weigh(self) -> None:
        self.free = gib(64 - self.other - sum(self.held.values()))


@asynccontextmanager
async def shelf(
    policy: Policy = POLICY, **sizes: float
) -> AsyncIterator[tuple[House, Shelf, FakeLlamaRouter]]:
    """Models of so many GiB, the first the longest idle; 44 - their sum are free."""
    ram = Shelf()
    home: House

    def came(model: str) -> None:
        ram.held[model] = sizes[model]
        ram.weigh()

    def went(model: str) -> None:
        del ram.held[model]
        ram.weigh()

    server = FakeLlamaRouter(list(sizes), on_load=came, on_unload=went)
    async with server:
        ram.other = 20
        for model in sizes:
            server.take(model)
        async with house({"llama": server}, (ram,), policy) as home:
            for model, size in sizes.items():
                home.children.anonymous[server.pids[model]] = gib(size)
            await home.tick(times=8)
            for model in sizes:
                server.worked[model] += 1
                await home.tick(2)
            await home.tick(6)
            yield home, ram, server


async def later(home: House, seconds: int, step: float = 1) -> None:
    for _ in range(int(seconds / step)):
        await home.tick(step)
        if home.loop.runs:
            await home.settle()


async def other(home: House, ram: Shelf, size: float, seconds: int = 12) -> None:
    ram.other = size
    ram.weigh()
    await later(home, seconds)
