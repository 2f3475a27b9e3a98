"""A daemon made of values on a real port, beside a test that drives a browser."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, Self

from supervisor.alerting import Alerting
from supervisor.config.alerted import AlertsConfig
from supervisor.config.config import load
from supervisor.config.entrusted import Entrusted
from supervisor.events import Tick
from supervisor.feed import Feed
from supervisor.neighbours import Neighbours
from supervisor.overrides import Overrides
from supervisor.timeline import FINE, Timeline
from supervisor.watcher import Watcher
from supervisor.web.callers import Callers
from supervisor.web.server import Server
from tests.configs import KINDS
from tests.web.fakes import EPOCH, NOW, World, gateway, site

PATIENCE = 60.0  # seconds


class Stage:
    """`start` and `stop` as often as one likes: each time another daemon on the same port."""

    def __init__(
        self,
        world: World | None = None,
        token: str | None = None,
        alerts: AlertsConfig | None = None,
        entrusted: tuple[Entrusted, ...] = (),
        neighbours: Neighbours | None = None,
    ) -> None:
        self.neighbours = neighbours
        self.world, self.token, self.port = world or World(), token, 0
        self.alerts, self.entrusted = alerts or AlertsConfig(), entrusted
        self.passed = 0.0  # seconds: each look is a step of the time line later
        self._running = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._running.run_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """In the daemon's own thread."""
        return asyncio.run_coroutine_threadsafe(work, self._running).result(PATIENCE)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.close()

    def start(self) -> None:
        self.do(self._start())

    def stop(self) -> None:
        self.do(self._stop())

    def close(self) -> None:
        self._running.call_soon_threadsafe(self._running.stop)
        self._thread.join(PATIENCE)
        self._running.close()

    def ask(self, what: Callable[[Any], Awaitable[Any]]) -> Any:
        """Something of the door, and then a look at what came of it."""

        async def asked() -> Any:
            found = await what(self.site.door)
            await self._tick()
            return found

        return self.do(asked())

    def tick(self) -> None:
        self.do(self._tick())

    def _wall(self) -> float:
        return EPOCH + self.passed

    async def _start(self) -> None:
        callers = Callers(lambda: self.token, lambda: self.entrusted)
        feed = Feed(wall=self._wall)
        made = site(self.world, callers=callers, gateway=gateway(), feed=feed)
        made.loop.wall = self._wall
        config = load(None, {}, {}, kinds=KINDS, places=[])
        own = Overrides(config, made.loop, made.loop.journal.shelves["overrides"])
        self.alerting = Alerting(self.alerts, made.door, made.feed)
        self.site = replace(made, overrides=own, timeline=Timeline(), alerting=self.alerting)
        self.site = replace(self.site, neighbours=self.neighbours)
        self.watcher = Watcher(self.site.loop, self.site.feed, self.site.timeline)
        self.site.loop.journal.open()
        self.alerting.start()
        self.watcher.listen()
        work = (self.site.loop.run(), self.watcher.run())
        self._tasks = [asyncio.create_task(w) for w in work]
        await asyncio.sleep(0)
        for _ in range(3):  # the time line is a line
            await self._tick()
        self._server = Server(self.site, "127.0.0.1", self.port)
        await self._server.start()
        self.port = self._server.port

    async def _stop(self) -> None:
        self.site.feed.tell("daemon", text="stopping")
        self.site.feed.close()
        await self._server.stop()
        await self.alerting.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.site.loop.journal.close()

    async def _tick(self) -> None:
        self.passed += FINE
        seen = asyncio.create_task(self.site.loop.changed())
        await asyncio.sleep(0)
        self.site.loop.post(Tick(NOW))
        await seen
