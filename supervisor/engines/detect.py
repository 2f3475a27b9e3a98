"""Who listens on this machine? Asks the usual ports of every kind of engine, on loopback only."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

import httpx

from collectors.reading import Seconds
from supervisor.core.snapshot import EngineId

from . import ENGINES
from .base import EngineDown, EngineError

DEADLINE = Seconds(3.0)  # for everything that is asked at one URL


@dataclass(frozen=True, slots=True)
class Found:
    kind: str
    url: str
    version: str | None = None


async def detect(client: httpx.AsyncClient, urls: Iterable[str] | None = None) -> list[Found]:
    """The engines at `urls`, in that order; None: at the usual ports of 127.0.0.1.

    Raises ValueError for a URL that is not loopback's: nobody else's machine is searched.
    """
    if urls is None:
        ports = {port for engine in ENGINES.values() for port in engine.ports}
        urls = [f"http://127.0.0.1:{port}" for port in sorted(ports)]
    once = list(dict.fromkeys(url.rstrip("/") for url in urls))
    if strangers := [url for url in once if not _is_loopback(url)]:
        raise ValueError(f"not on loopback: {', '.join(strangers)}")
    answers = await asyncio.gather(*(_ask(client, url) for url in once))
    return [found for found in answers if found is not None]


async def _ask(client: httpx.AsyncClient, url: str) -> Found | None:
    try:
        async with asyncio.timeout(DEADLINE):
            return await _first(client, url)
    except TimeoutError:
        return None


async def _first(client: httpx.AsyncClient, url: str) -> Found | None:
    for kind, engine in ENGINES.items():
        try:
            identity = await engine(EngineId(kind), url, client, None).identify()
        except EngineDown:
            return None  # nobody there: the other kinds need not be tried
        except EngineError:
            continue
        if identity is not None:
            return Found(kind, url, identity.version)
    return None


def _is_loopback(url: str) -> bool:
    try:
        host = httpx.URL(url).host
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except (httpx.InvalidURL, ValueError):
        return False
