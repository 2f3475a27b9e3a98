"""`ullage demo --serve`: the demo's daemon answers over HTTP, as a real one does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from supervisor import __version__
from supervisor.alerting import Alerting
from supervisor.config.config import Config, load
from supervisor.engines import ENGINES
from supervisor.feed import Feed
from supervisor.listen import ListenError
from supervisor.overrides import Overrides
from supervisor.timeline import Timeline
from supervisor.watcher import Watcher
from supervisor.web.server import Server
from supervisor.web.site import Site

from .story import POLICY, QWEN, Cast

__all__ = ["PORT", "ListenError", "configuration", "invitation", "served"]

HOST = "127.0.0.1"
PORT = 8552
# The story's policy as a configuration has it, so that it can be changed at run time.
FLAGS = {
    "pools.gpu0.reserve": "1GiB",
    "pools.gpu1.reserve": "1GiB",
    f'models."cellar/{QWEN}".watchdog.idle_timeout': "25s",
    "ranking": "lru",
    "gateway.enabled": False,
    "alerts.actions.make-room.action": "evict",
    "alerts.actions.make-room.match": {"alertname": "UllageHeadroomLow"},
}


def configuration(port: int = PORT) -> Config:
    """What the demo's daemon is configured by, which answers at `port`."""
    flags = FLAGS if port == PORT else FLAGS | {"listen.port": port}
    return _hurried(load(None, {}, flags, kinds=frozenset(ENGINES), places=[]))


def invitation(address: str) -> str:
    """What can be done with the demo's daemon at `address`, which commands may not look at."""
    usual = address == f"http://{HOST}:{PORT}"
    first = "" if usual else f" after `export ULLAGE_URL={address}`"
    lines = (
        f"the demo's daemon answers at {address}",
        f"open that in a browser, or try in another terminal{first}:",
        "  ullage status · ullage top · ullage why qwen3:8b · ullage settings get",
    )
    return "\n".join(lines)


def _hurried(config: Config) -> Config:
    """What no setting says, and a minute is too short for."""
    hurry = replace(config.policy, grace=POLICY.grace, busy_while_fresh=POLICY.busy_while_fresh)
    return replace(config, policy=hurry, again=lambda texts: _hurried(config.again(texts)))


@asynccontextmanager
async def served(cast: Cast, config: Config, port: int) -> AsyncIterator[Server]:
    """While this lasts, the started world of `cast` answers at `port`. Raises ListenError."""
    world = cast.world
    watcher = Watcher(world.loop, Feed(wall=world.clock.wall), Timeline())
    watcher.listen()
    alerting = Alerting(config.alerts, world.door, watcher.feed)
    alerting.start()
    site = Site(
        door=world.door,
        version=__version__,
        started_at=world.clock(),
        alerting=alerting,
        overrides=Overrides(config, world.loop, world.journal.shelves["overrides"]),
        feed=watcher.feed,
        timeline=watcher.timeline,
    )
    server = Server(site, HOST, port)
    await server.start()
    watcher.look()
    task = asyncio.create_task(watcher.run(), name="watcher")
    try:
        yield server
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await alerting.stop()
        watcher.feed.close()
        await server.stop()
