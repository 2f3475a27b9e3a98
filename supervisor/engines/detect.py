"""Who listens there? Asks as every kind of engine is asked; searches on loopback only."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import select
import socket
from collections.abc import Iterable
from dataclasses import dataclass

import httpx

from collectors.reading import Seconds
from supervisor.core.snapshot import EngineId

from . import ENGINES
from .base import EngineConfused, EngineDown, EngineError, EngineRefused

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
    once = list(dict.fromkeys(url.rstrip("/") for url in (usual() if urls is None else urls)))
    if strangers := [url for url in once if not _is_loopback(url)]:
        raise ValueError(f"not on loopback: {', '.join(strangers)}")
    answers = await asyncio.gather(*(_ask(client, url) for url in once))
    return [found for found in answers if found is not None]


def usual() -> list[str]:
    """Where engines listen on this machine, unless they are told otherwise."""
    ports = {port for engine in ENGINES.values() for port in engine.ports}
    return [f"http://127.0.0.1:{port}" for port in sorted(ports)]


def listens(url: str) -> bool:
    """Might somebody listen there, on this machine? Takes 15 us; a request that is refused, thirty
    times as long, and there are many usual ports."""
    port = httpx.URL(url).port
    if port is None:
        return True
    with socket.socket() as probe:
        probe.setblocking(False)
        found = probe.connect_ex(("127.0.0.1", port))
        decided = select.poll()
        decided.register(probe, select.POLLOUT)
        if found == errno.EINPROGRESS and decided.poll(0):
            found = probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return found in (0, errno.EINPROGRESS)


async def identify(
    client: httpx.AsyncClient, url: str, id: EngineId, key: str | None = None
) -> Found:
    """What answers at `url`, which may be on another machine. Raises EngineError: why not."""
    try:
        async with asyncio.timeout(DEADLINE):
            return await _first(client, url, id, key)
    except TimeoutError:
        raise EngineDown(id, "identify", f"no answer within {DEADLINE:g} s") from None


async def _ask(client: httpx.AsyncClient, url: str) -> Found | None:
    try:
        return await identify(client, url, EngineId(url))
    except EngineError:
        return None


async def _first(client: httpx.AsyncClient, url: str, id: EngineId, key: str | None) -> Found:
    refusal: EngineError = EngineConfused(id, "identify", "what answers is no engine that we know")
    for kind, engine in ENGINES.items():
        if engine.described:
            continue
        try:
            identity = await engine(id, url, client, key).identify()
        except EngineDown:
            raise  # nobody there: the other kinds need not be tried
        except EngineRefused as no:
            refusal = no if no.status in (401, 403) else refusal
        except EngineError:
            continue
        else:
            if identity is not None:
                return Found(kind, url, identity.version)
    raise refusal


def _is_loopback(url: str) -> bool:
    try:
        host = httpx.URL(url).host
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except (httpx.InvalidURL, ValueError):
        return False
