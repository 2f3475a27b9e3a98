"""A daemon that is in a fleet, and how it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from supervisor.config.fleet import FleetConfig
from supervisor.core.record import Mode
from supervisor.engines.base import EngineError
from supervisor.web.server import Site

from .fakes import API, FakeEngine, World, running, site

FLEET = FleetConfig(name="gpu1", address="http://10.0.0.5:8553", said=True)
OFFERS = f"{API}/fleet/offers"
GEMMA = "ollama/gemma3:4b"

Story = Callable[[httpx.AsyncClient, Site], Awaitable[Any]]


def play(story: Story, world: World | None = None, mode: Mode = Mode.ENFORCE, **rest: Any) -> Any:
    """Run `story` with a client of a daemon that is in a fleet, and with its parts."""

    async def run() -> Any:
        made = site(world or World(), mode, fleet=FLEET, **rest)
        async with running(made) as http:
            return await story(http, made)

    return asyncio.run(run())


async def offer(http: httpx.AsyncClient, model: str = "gemma3:4b") -> Any:
    reply = await http.post(OFFERS, json={"model": model})
    assert reply.status_code == 200, reply.text
    return reply.json()


async def accept(http: httpx.AsyncClient, id: str) -> httpx.Response:
    return await http.post(f"{OFFERS}/{id}/accept", json={})


async def ended(http: httpx.AsyncClient, accepted: httpx.Response) -> Any:
    assert accepted.status_code == 202, accepted.text
    where = accepted.headers["location"]
    while (found := (await http.get(where)).json())["state"] in ("waiting", "running"):
        await asyncio.sleep(0)
    return found


def at(made: Site, now: float) -> None:
    """The daemon's monotonic clock says so from now on."""
    made.loop.clock = lambda: now


class Gated(World):
    """Unloads end when the gate is opened, and loads if it is `slow`; they are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.gate = asyncio.Event(), asyncio.Event()
        self.loads: list[str] = []
        self.slow = False
        self.fails: list[str] = []  # what the next loads say
        self.before_failing: Callable[[], None] = lambda: None

    def engine(self, id: str) -> FakeEngine:
        return _GatedEngine(self, id)


class _GatedEngine(FakeEngine):
    world: Gated

    async def unload(self, model: str) -> None:
        self.world.begun.set()
        await self.world.gate.wait()
        await super().unload(model)

    async def load(self, model: str, devices: object = ()) -> None:
        self.world.loads.append(model)
        if self.world.fails:
            self.world.before_failing()
            raise EngineError(self.id, "POST /load", self.world.fails.pop(0))
        if self.world.slow:
            await self.world.gate.wait()
        await super().load(model, devices)
