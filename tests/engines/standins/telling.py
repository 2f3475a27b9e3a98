"""What the tests of each kind share: an engine over its stand-in, and a story told of it."""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import asynccontextmanager

import httpx
import pytest

from supervisor.core.snapshot import EngineId
from supervisor.engines import ENGINES
from supervisor.engines.base import EngineDown, EngineRefused
from supervisor.extras import needs

NAMES = {"systemd": "unit", "container": "container", "kubernetes": "deployment"}
PATIENCE = 60.0  # seconds, for a whole story


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


async def hung(s, e):
    """A story: it hangs, and each call says so."""
    s.hang()
    for call in (e.identify(), e.list(), e.load("alpha"), e.unload("alpha"), e.logs("alpha", 1),
                 e.habits()):  # fmt: skip
        with pytest.raises(EngineDown, match="no answer within"):
            await call


async def denied(s, e):
    """A story: what is said to whom a load is not allowed."""
    s.deny()
    with pytest.raises(EngineRefused) as no:
        await e.load("alpha")
    return no.value


def lacking(module, extra, monkeypatch):
    """A story: without a library it is said what to install."""

    async def story(s, e):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(EngineDown, match=re.escape(needs(extra))):
            await e.identify()

    return story


async def only(e):
    (model,) = await e.list()
    return model


async def until(true):
    """Waits for what is under way, and not for ever."""
    async with asyncio.timeout(PATIENCE / 2):
        while not true():
            await asyncio.sleep(0)
