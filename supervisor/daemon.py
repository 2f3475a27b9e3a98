"""The daemon: its parts, started in order and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field

import httpx

from collectors.reading import Seconds

from . import __version__
from .alerting import Alerting
from .allowance import EVERY as ALLOWANCE_EVERY
from .allowance import Allowance
from .children.keep import Keep
from .children.records import folders
from .config.config import Config
from .door import Door
from .gateway.server import Gateway
from .jobs import Jobs
from .journal.journal import Journal
from .lock import Lock
from .loop import Loop
from .overrides import Overrides
from .reloading import Reloading
from .scout import Scout
from .stalls import Stalls
from .watcher import Watcher
from .web.server import ListenError, Server

log = logging.getLogger("ullage")

# systemd and people wait 10 s for an end; an unload under way settles within 5.
DRAIN = Seconds(6.5)
LET_GO = Seconds(0.5)
LAST_ANSWERS = Seconds(5.0)  # for what clients are being told
END = Seconds(9.0)  # for all of it, the last writes to the disk included
CHILDREN = "engines"  # below the state directory: a folder for each engine that starts some


@dataclass(slots=True)
class App:
    """A daemon, built and not yet started. `start` and `stop` once each."""

    config: Config
    loop: Loop
    door: Door
    jobs: Jobs
    server: Server
    journal: Journal
    client: httpx.AsyncClient
    scout: Scout
    lock: Lock
    stalls: Stalls
    overrides: Overrides
    reloading: Reloading
    watcher: Watcher
    alerting: Alerting
    gateway: Gateway | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _former: list[Keep] = field(default_factory=list)  # engines that are configured no more

    def bounded(self, allowance: Allowance) -> None:
        """Memory may be refused to this process: large bodies then wait until there is some."""
        self.jobs.every["memory"] = (ALLOWANCE_EVERY, allowance.watch)
        if self.gateway is not None:
            self.gateway.clients.room = allowance.admits

    async def start(self) -> None:
        """Raises Taken or ListenError when the state directory or the address cannot be had; then
        nothing has been started."""
        self.lock.take()
        try:
            await self.server.start()
        except ListenError:
            self.lock.free()
            raise
        self.journal.open()
        self.loop.policy = self.loop.keeping.configured(self.overrides.recall())
        self.loop.policy = self.loop.keeping.recall(self.loop.policy)
        self.journal.audit.note("daemon", "start", via="daemon", wish=f"version {__version__}")
        self.alerting.start()
        self.watcher.listen()
        self.loop.beginning.search()
        self._tasks.append(asyncio.create_task(self.loop.run(), name="loop"))
        self._tasks.append(asyncio.create_task(self.watcher.run(), name="watcher"))
        self._tasks.append(asyncio.create_task(self.scout.look(), name="find engines"))
        await self._end_former()
        if self.gateway is not None:
            await self.gateway.start()
        self.jobs.start()
        self.stalls.start()

    async def stop(self) -> None:
        """Finish the action under way, write the state, let go. Bounded by END."""
        started = time.monotonic()
        self.watcher.feed.tell("daemon", text="stopping")
        self.watcher.feed.close()
        self.stalls.close()
        await self.jobs.stop()
        await asyncio.gather(self.loop.drain(DRAIN), self._end_gateway(), self._end_engines())
        await self.alerting.stop()
        await self.server.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.loop.sampler.close()
        await asyncio.to_thread(self._end_readers)
        await self.client.aclose()
        self.journal.audit.note("daemon", "stop", via="daemon")
        self.journal.close(max(0.5, END - (time.monotonic() - started)))
        self.lock.free()

    async def _end_former(self) -> None:
        """Begin to end what was started for engines that have left the configuration since."""
        # Of another kind nobody would look after what was started under its name.
        named = [engine.id for engine in self.config.engines if engine.kind == "process"]
        for folder in folders(self.config.state_dir / CHILDREN, named):
            keep = Keep(folder.name, folder, {})
            self._former.append(keep)
            with contextlib.suppress(OSError):
                await keep.look()

    async def _end_gateway(self) -> None:
        if self.gateway is not None:
            await self.gateway.stop(LAST_ANSWERS)

    async def _end_engines(self) -> None:
        """Those that are ours to start end with us, all at once, or are left to the next daemon."""
        closing = [e.close() for e in self.loop.sampler.engines.values()]
        closing += [keep.close() for keep in self._former]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN + LET_GO):
                for error in await asyncio.gather(*closing, return_exceptions=True):
                    if error is not None:
                        log.error("an engine could not be closed: %s", error)

    def _end_readers(self) -> None:
        """Ends the processes that read drivers. One that hangs in its driver is left behind."""
        for owner in self.loop.sampler.sources.owners:
            close = getattr(owner.collector, "close", None)
            if close is not None:
                close()
