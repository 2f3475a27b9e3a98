"""What the tests of each kind share: an engine over its stand-in, and a story told of it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import httpx

from supervisor.core.snapshot import EngineId
from supervisor.engines import ENGINES

NAMES = {"systemd": "unit", "container": "container", "kubernetes": "deployment"}
PATIENCE = 10.0  # seconds, for a whole story


@asynccontextmanager
async def engine(kind, s, **said):
    """An engine as the configuration `said` has it; nobody waits between two of its looks."""
    served = {m: {NAMES[kind]: m} for m in s.models}
    async with httpx.AsyncClient(verify=False) as client:
        table = s.told(**{"served": served, **said})
        made = ENGINES[kind](EngineId("own"), "", client, None, table)
        made.runner.sleep = lambda seconds: asyncio.sleep(0)
        try:
            yield made
        finally:
            await made.close()


def told(s, kind, story, **said):
    """What comes of `story(stand-in, engine)`."""

    async def run():
        async with asyncio.timeout(PATIENCE), s, engine(kind, s, **said) as e:
            return await story(s, e)

    return asyncio.run(run())


async def only(e):
    (model,) = await e.list()
    return model


async def until(true):
    """Waits for what is under way, and not for ever."""
    async with asyncio.timeout(PATIENCE / 2):
        while not true():
            await asyncio.sleep(0)
