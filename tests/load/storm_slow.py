"""Clients by the hundred that never say a whole request, at the gateway and at the API.

Both let go within 10 s of who says no whole head, or no further byte of a body. What such a client
holds meanwhile is one connection of 2,048 and the bytes that it sent, and it is the first to go
where those run short.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

import httpx

from tests.daemon import Daemon

from .clients import Crowd, percentile
from .found import Found, ms, port_of

EACH = 500  # connections of each kind
JSON = b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
GATEWAY = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
API = b"POST /api/v1/load HTTP/1.1\r\nHost: 127.0.0.1\r\n"
LIMIT = 10.0  # seconds in which its client is let go
SLACK = 1.0  # seconds for a loop that has thousands to let go at once
GOOD = 20  # clients that ask as they should
BETWEEN = 0.1  # seconds from one look at the API to the next
CALM = 15.0  # seconds of good traffic alone
ADDED = 20.0  # milliseconds that a storm may add to the slowest of a hundred
SHUT_OUT = 0.01  # of those who ask the API just as a thousand connections come at once


def kinds(request: bytes) -> Mapping[str, bytes]:
    """What is said of a request."""
    return {"nothing": b"", "half a head": request + b"X-Half: ", "half a body": request + JSON}


LISTENERS = {"gateway": kinds(GATEWAY), "API": kinds(API)}


async def _silent(at: tuple[str, int], said: bytes) -> float:
    """Seconds until it was let go."""
    reader, writer = await asyncio.open_connection(*at)
    began = time.monotonic()
    writer.write(said)
    with suppress(ConnectionError):
        await reader.read()
    writer.close()
    return time.monotonic() - began


async def silent(listener: str, at: tuple[str, int], each: int, found: Found) -> None:
    """So many of each kind at once."""
    told = LISTENERS[listener]
    names = [name for name in told for _ in range(each)]
    lasted = await asyncio.gather(*(_silent(at, told[name]) for name in names))
    for kind in told:
        longest = max(s for name, s in zip(names, lasted, strict=True) if name == kind)
        found.judge(
            f"{each} say {kind} to the {listener}: let go",
            longest <= LIMIT + SLACK,
            f"{longest:.1f} of {LIMIT:g} s",
        )


async def _looks(daemon: Daemon, took: list[float], wrong: Counter[str]) -> None:
    """Somebody who asks the API, on a connection of its own each time, until cancelled."""
    while True:
        began = time.perf_counter()
        try:
            async with httpx.AsyncClient(timeout=20.0) as client:
                status = str((await client.get(f"{daemon.url}/api/v1/state")).status_code)
        except httpx.HTTPError as error:
            status = type(error).__name__
        took.append(time.perf_counter() - began)
        wrong[status] += status != "200"
        await asyncio.sleep(BETWEEN)


async def slow_clients(daemon: Daemon, crowd: Crowd, gateway: str, found: Found) -> None:
    crowd.begin(GOOD, 1.0)
    looked: list[float] = []
    wrong: Counter[str] = Counter()
    looking = asyncio.create_task(_looks(daemon, looked, wrong))
    await asyncio.sleep(CALM)
    calm, calm_looks = list(crowd.told.firsts), list(looked)
    crowd.told.firsts.clear()
    looked.clear()
    at = {"gateway": port_of(gateway), "API": port_of(daemon.url)}
    await asyncio.gather(*(silent(name, at[name], EACH, found) for name in LISTENERS))
    looking.cancel()
    await crowd.end()
    added = 1000 * (percentile(crowd.told.firsts, 0.99) - percentile(calm, 0.99))
    found.add("first words before them: ms, p50/p99/max", f"{ms(calm)} of {len(calm)}")
    found.add("first words beside them", f"{ms(crowd.told.firsts)} of {len(crowd.told.firsts)}")
    found.add("the API's state before them: ms", f"{ms(calm_looks)} of {len(calm_looks)}")
    found.add("the API's state beside them", f"{ms(looked)} of {len(looked)}")
    found.judge("good streams are not slower", added < ADDED, f"{added:+.1f} ms of {ADDED:g}")
    found.judge("all of them were answered", not crowd.told.wrong, f"{crowd.told.wrong[:2]}")
    refused = {k: n for k, n in wrong.items() if n}
    few = sum(refused.values()) <= SHUT_OUT * (len(calm_looks) + len(looked))
    found.judge("the API answers meanwhile", few, f"all but {refused}" if refused else "all")
