"""The directory begins anew: Ray has started its actor again."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import suppress

from .cluster import POLL, Cluster, send, until
from .steps import Figures

SETTLED = 2.0 + 4.5  # seconds: an offer of before may be accepted, and its host be heard of


async def the_directory_fills_by_itself_when_ray_starts_it_again(cluster: Cluster) -> Figures:
    """Nobody is given up for it, and no agent joins anew. What is not loaded yet is placed once
    whatever was begun before is known."""
    a, b, c = cluster.hosts.values()
    (before,) = a.find("node", "ray::Directory")
    drivers = {host.name: host.find("agent", "supervisor.agent.rayed") for host in (a, b, c)}
    lost: list[tuple[str, str]] = []

    async def watch() -> None:
        while True:
            for host in (a, b, c):
                lost.extend((host.name, h) for h, p in (await host.sees()).items() if p == "lost")
            await asyncio.sleep(POLL)

    watching = asyncio.create_task(watch(), name="who is lost")
    try:
        began = time.monotonic()
        send([before], signal.SIGKILL)

        async def another() -> bool:
            return any(p.pid != before.pid for p in a.find("node", "ray::Directory"))

        there = await until(another, cluster.told)
        await cluster.whole()
        filled = time.monotonic() - began
        status, found = await b.place("later:8b", within=30)
        placed = time.monotonic() - began
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    assert (status, found["host"]) == (200, "c"), found
    assert placed > SETTLED, placed
    assert lost == []
    for host in (a, b, c):
        assert host.find("agent", "supervisor.agent.rayed") == drivers[host.name], host.name
    return {"there again": there, "filled": filled, "placed": placed}
