"""Builds everything and runs it: the one place where the parts meet."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import httpx

from collectors.machine import Owner, find
from collectors.reading import Seconds

from . import __version__
from .attribution import Attribution, Processes
from .config import Config, effective
from .core.patience import Patience
from .core.snapshot import EngineId
from .door import Door
from .engines import ENGINES
from .engines.base import Engine
from .engines.detect import detect
from .engines.wire import client as engine_client
from .events import EnginesFound
from .executor import Executor
from .jobs import Jobs
from .journal import Journal
from .loop import Loop
from .sampler import Sampler
from .web.server import ListenError, Server
from .web.site import Site

log = logging.getLogger("ullage")

# systemd and people wait 10 s for an end; an unload under way settles within 5.
DRAIN = Seconds(7.0)
DETECT_EVERY = Seconds(15.0)


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
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> None:
        """Raises ListenError when the address cannot be had; then nothing has been started."""
        await self.server.start()
        self.journal.open()
        self.loop.policy = replace(self.loop.policy, pinned=self.journal.pins())
        self._tasks.append(asyncio.create_task(self.loop.run(), name="loop"))
        await self.find_engines()
        self.jobs.start()

    async def stop(self) -> None:
        """Finish the action under way, write the state, let go. Bounded: about 9 s at worst."""
        await self.jobs.stop()
        await self.loop.drain(DRAIN)
        await self.server.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.loop.sampler.close()
        await self.client.aclose()
        self.journal.close()

    async def find_engines(self) -> None:
        """Look for engines that were named without a kind, and on the usual ports."""
        known = {e.url for e in self.loop.sampler.engines.values()}
        found: list[Engine] = []
        for wanted in self.config.engines:
            if wanted.kind is None and wanted.url not in known:
                kind = await _kind_at(self.client, wanted.url)
                if kind is not None:
                    engine = ENGINES[kind](wanted.id, wanted.url, self.client, wanted.key)
                    found.append(engine)
        named = {e.url for e in self.config.engines}
        if self.config.detect:
            for hit in await detect(self.client):
                if hit.url not in known | named and not _same_port(hit.url, known | named):
                    id = self._name_for(hit.kind, hit.url, found)
                    found.append(ENGINES[hit.kind](id, hit.url, self.client, None))
        if found:
            self.loop.post(EnginesFound(tuple(found)))
        elif not known and not self.jobs.scheduler.running:
            log.warning(
                "no engine found on this machine's usual ports; still looking. "
                "Name one with --engine NAME=URL, or see `ullage demo`"
            )

    def _name_for(self, kind: str, url: str, found: Iterable[Engine]) -> EngineId:
        taken = set(self.loop.sampler.engines) | {e.id for e in found}
        taken |= {e.id for e in self.config.engines}
        return EngineId(kind if kind not in taken else f"{kind}-{urlsplit(url).port}")


def build(
    config: Config, *, owners: Iterable[Owner] | None = None, processes: Processes | None = None
) -> App:
    """Put the parts together. Touches nothing outside the process yet."""
    client = engine_client()
    engines: dict[EngineId, Engine] = {
        e.id: ENGINES[e.kind](e.id, e.url, client, e.key)
        for e in config.engines
        if e.kind is not None
    }
    sampler = Sampler(
        owners=tuple(owners) if owners is not None else tuple(Owner(c) for c in find()),
        engines=engines,
        attribution=Attribution(processes or Processes()),
        holders_interval=config.holders_interval,
        busy_while_fresh=config.policy.busy_while_fresh,
    )
    journal = Journal(config.state_dir / "journal.db")
    executor = Executor(
        sample=sampler.sample,
        engines=engines,
        mode=config.mode,
        settle=config.settle,
        step=config.settle_step,
    )
    patience = Patience(config.lru_eviction_max_retries, config.lru_eviction_retry_interval)
    loop = Loop(sampler, executor, journal, config.policy, config.mode, patience)
    executor.sample = loop.look
    door = Door(loop)
    site = Site(
        door=door,
        version=__version__,
        started_at=time.monotonic(),
        token=config.token,
        allowed_hosts=frozenset(config.allowed_hosts),
        bound_host=config.listen_host,
    )
    server = Server(site, config.listen_host, config.listen_port, config.socket)
    jobs = Jobs(loop.post, config.sample_interval)
    app = App(config, loop, door, jobs, server, journal, client)
    jobs.every["find engines"] = (DETECT_EVERY, app.find_engines)
    return app


async def serve(app: App) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code."""
    ended = asyncio.Event()
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, ended.set)
    try:
        await app.start()
    except ListenError as error:
        print(f"error: {error}", file=sys.stderr)
        await app.client.aclose()
        return 1
    log.info("listening on %s (pid %d)", ", ".join(app.server.addresses), os.getpid())
    await ended.wait()
    log.info("stopping: finishing the action under way")
    await app.stop()
    log.info("stopped")
    return 0


def run(config: Config) -> int:
    """The daemon, from start to end. Says the effective settings first."""
    logging.basicConfig(
        level=config.log_level.value.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # One line per engine call and second is noise; what went wrong is said by ourselves.
    for chatty in ("httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    log.info("ullage %s; settings that are not the default:", __version__)
    for key, value, source in effective(config):
        if source != "default":
            log.info("  %s = %s  (%s)", key, value, source)
        else:
            log.debug("  %s = %s  (default)", key, value)
    return asyncio.run(serve(build(config)))


async def _kind_at(client: httpx.AsyncClient, url: str) -> str | None:
    hits = await detect(client, [url])
    return hits[0].kind if hits else None


def _same_port(url: str, urls: Iterable[str]) -> bool:
    """Is the engine at `url` known already by another name of this machine?"""
    port = urlsplit(url).port
    local = ("localhost", "127.0.0.1", "::1")
    return any(urlsplit(u).hostname in local and urlsplit(u).port == port for u in urls)
