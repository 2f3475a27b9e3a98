"""The engines that answer on this machine's usual ports, asked once and without a daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import httpx

from supervisor.core.snapshot import EngineId
from supervisor.doctor import Advice, habits_of
from supervisor.engines import ENGINES
from supervisor.engines.detect import Found, detect, listens, usual
from supervisor.engines.wire import client as engine_client

DEADLINE = 10.0  # seconds, for all of them


def engines(ours: Collection[str] = ()) -> list[Found]:
    """Who answers, but for our own gateway at the URLs `ours`. On loopback alone."""
    return asyncio.run(_engines(ours))


def engines_and_habits() -> tuple[list[Found], list[Advice]]:
    """Who answers, and what each does of its own accord that works against us."""
    return asyncio.run(_both())


async def _engines(ours: Collection[str]) -> list[Found]:
    async with engine_client() as client:
        return await _detect(client, ours)


async def _both() -> tuple[list[Found], list[Advice]]:
    async with engine_client() as client:
        found = await _detect(client, ())
        asked = (ENGINES[f.kind](EngineId(f.kind), f.url, client, None) for f in found)
        habits = await asyncio.gather(*(habits_of(engine) for engine in asked))
    return found, [advice for each in habits for advice in each]


async def _detect(client: httpx.AsyncClient, ours: Collection[str]) -> list[Found]:
    urls = [url for url in usual() if url not in ours and listens(url)]
    try:
        async with asyncio.timeout(DEADLINE):
            return await detect(client, urls)
    except TimeoutError:
        return []
