"""A house whose models take what they hold of RAM: each 2 GiB, unless told otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from collectors.reading import RAM, Bytes, Seconds, gib
from supervisor.config.config import load
from supervisor.core.policy import Amount, Policy, PoolPolicy
from supervisor.core.snapshot import Share
from supervisor.overrides import Overrides
from tests.builders import ref
from tests.configs import KINDS
from tests.engines.fake import FakeOllama
from tests.scenarios.house import House, Ram, house

# Nothing is short of memory here, but where a test says so.
ROOMY = Policy(pools={RAM: PoolPolicy(reserve=Amount(size=gib(1)))})
SIZE = gib(2)

Story = Callable[[], Coroutine[Any, Any, None]]


def run(story: Story) -> None:
    asyncio.run(story())


class Inn:
    """`at` is the house; engines are called one, two, and so on, by the models that they have."""

    def __init__(self, at: House, ram: Ram, servers: Mapping[str, FakeOllama]) -> None:
        self.at, self.ram, self.servers = at, ram, servers
        self.overrides = self.settings()

    def settings(self, **flags: str) -> Overrides:
        """As a daemon that starts now would have them, of a configuration that says this."""
        flags = {k.replace("__", "."): v for k, v in flags.items()}
        given = {"pools.ram.reserve": "1GiB", **flags}
        config = load(None, {}, given, kinds=KINDS, places=[])
        return Overrides(config, self.at.loop, self.at.journal.shelves["overrides"])

    @property
    def loaded(self) -> list[str]:
        return sorted(m for s in self.servers.values() for m in s.loaded)

    def server_of(self, model: str) -> FakeOllama:
        return next(s for s in self.servers.values() if model in s.models)

    async def client_loads(self, *models: str) -> None:
        """Behind our back, one second after the other."""
        for model in models:
            self.server_of(model).take(model)
            await self.at.tick()
            await self.at.settle()

    async def used(self, *models: str) -> None:
        """Each serves a request, one second after the other."""
        for model in models:
            self.server_of(model).worked[model] += 1
            await self.at.tick()

    async def rest(self, seconds: float = 10) -> None:
        """Long enough for everybody to be idle."""
        await self.at.tick(seconds / 4, times=4)
        await self.at.settle()

    def last(self) -> dict[str, Any]:
        found: dict[str, Any] = self.at.decisions()[-1]
        return found


@asynccontextmanager
async def inn(
    *,
    one: Iterable[str] = ("a", "b", "c"),
    two: Iterable[str] = (),
    sizes: Mapping[str, float] | None = None,
    policy: Policy = ROOMY,
) -> AsyncIterator[Inn]:
    ram = Ram()
    big = {m: gib(n) for m, n in (sizes or {}).items()}

    def came(model: str) -> None:
        ram.free = Bytes(ram.free - big.get(model, SIZE))

    def left(model: str) -> None:
        ram.free = Bytes(ram.free + big.get(model, SIZE))

    servers = {}
    for number, (name, models) in enumerate((("one", one), ("two", two))):
        if names := list(models):
            all_sizes = {m: big.get(m, SIZE) for m in names}
            servers[name] = FakeOllama(names, sizes=all_sizes, on_load=came, on_unload=left)
            servers[name].pids = {m: 7000 + 100 * number + i for i, m in enumerate(names)}
    async with AsyncExitStack() as stack:
        for server in servers.values():
            await stack.enter_async_context(server)
        at = await stack.enter_async_context(house(servers, (ram,), policy))
        await at.tick()
        for name, server in servers.items():
            for model in server.models:
                held = (Share(RAM, all_held(big, model)),)
                at.journal.remember(ref(model, name), held)
        yield Inn(at, ram, servers)


def all_held(sizes: Mapping[str, Bytes], model: str) -> Bytes:
    return sizes.get(model, SIZE)


A_MINUTE = Seconds(60)
