"""Builds everything and runs it: the one place where the parts meet."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx

from collectors.cgroup import Groups
from collectors.errors import CollectorError
from collectors.machine import find
from collectors.owner import Owner
from collectors.reading import Seconds

from . import __version__
from .attribution import Attribution, Processes
from .children.keep import Keep
from .children.records import folders
from .config import Config, EngineConfig, effective
from .core.explain import of_room
from .core.headroom import rooms
from .core.lines import lines_of
from .core.pace import SLOWEST, Pace
from .core.patience import Patience
from .core.snapshot import EngineId
from .door import Door
from .engines import ENGINES
from .engines.base import Engine
from .engines.launched import Told
from .engines.wire import client as engine_client
from .events import Reported
from .executor import Executor
from .feed import Feed
from .force import Force
from .gateway import build as gateways
from .gateway.server import Gateway
from .ghosts import EVERY as COMPARE_EVERY
from .housing import Service, service
from .jobs import Jobs
from .journal import Journal
from .lock import Lock, Taken
from .loop import Loop
from .overrides import Overrides
from .reloading import EVERY as LOOK_EVERY
from .reloading import Reloading
from .sampler import Sampler
from .scout import Scout
from .served import Launching
from .signals import Signals
from .sources import PERIODS, Sources
from .stalls import MACHINE, Stalls
from .timeline import Timeline
from .watcher import Watcher
from .web.server import ListenError, Server
from .web.site import Site

log = logging.getLogger("ullage")

# systemd and people wait 10 s for an end; an unload under way settles within 5.
DRAIN = Seconds(6.5)
LET_GO = Seconds(0.5)
LAST_ANSWERS = Seconds(5.0)  # for what clients are being told
LISTEN_EVERY = Seconds(5.0)  # where the gateway's address cannot be had
END = Seconds(9.0)  # for all of it, the last writes to the disk included
DETECT_EVERY = Seconds(3.0)
FILES = 65536
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
    gateway: Gateway | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _former: list[Keep] = field(default_factory=list)  # engines that are configured no more

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
        self.watcher.listen()
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
        await self.server.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.loop.sampler.close()
        await asyncio.to_thread(self._end_readers)
        await self.client.aclose()
        self.journal.close(max(0.5, END - (time.monotonic() - started)))
        self.lock.free()

    async def _end_former(self) -> None:
        """Begin to end what was started for engines that have left the configuration since."""
        named = [engine.id for engine in self.config.engines]
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


def build(
    config: Config, *, owners: Iterable[Owner] | None = None, processes: Processes | None = None
) -> App:
    """Put the parts together. Touches nothing outside the process yet."""
    client = engine_client()
    engines: dict[EngineId, Engine] = {
        e.id: _engine(e, e.kind, client, config.state_dir)
        for e in config.engines
        if e.kind is not None
    }
    sampler = Sampler(
        sources=Sources(
            tuple(owners) if owners is not None else tuple(Owner(c) for c in find(apart=True)),
            processes_interval=config.holders_interval,
            # At rest, too, one late answer is no reason to call a pool unreadable.
            fresh=Seconds(PERIODS * SLOWEST * config.sample_interval),
        ),
        engines=engines,
        attribution=Attribution(processes or Processes()),
        busy_while_fresh=config.policy.busy_while_fresh,
    )
    journal = Journal(config.state_dir / "journal.db")
    services = {e.id: _service(e, *e.service, client, config) for e in config.engines if e.service}
    sampler.services = {e.id: e.service[1] for e in config.engines if e.service}
    executor = Executor(
        sample=sampler.sample,
        engines=engines,
        mode=config.mode,
        settle=config.settle,
        step=config.settle_step,
        force=Force(engines, services, sampler.attribution.started),
    )
    patience = Patience(config.lru_eviction_max_retries, config.lru_eviction_retry_interval)
    loop = Loop(sampler, executor, journal, config.policy, config.mode, patience)
    executor.sample = loop.look
    loop.keeping.processes = sampler.processes
    door = Door(loop)
    overrides = Overrides(config, loop, journal.shelves["overrides"])
    gateway = gateways.build(config, loop) if config.gateway.enabled else None
    watcher = Watcher(loop, Feed(), Timeline())
    reloading = Reloading(overrides)
    reloading.tell.append(partial(watcher.feed.tell, "config"))
    site = Site(
        door=door,
        version=__version__,
        started_at=time.monotonic(),
        token=config.token,
        allowed_hosts=frozenset(config.allowed_hosts),
        bound_host=config.listen_host,
        overrides=overrides,
        reloading=reloading,
        gateway=None if gateway is None else gateways.shown(gateway),
        feed=watcher.feed,
        timeline=watcher.timeline,
    )
    server = Server(site, config.listen_host, config.listen_port, config.socket)
    loop.pace = Pace(config.sample_interval)
    sampler.sources.incident = lambda incident: loop.post(Reported(incident))
    jobs = Jobs(loop.post, config.sample_interval, period=lambda: loop.period)
    scout = Scout(client, config.engines, config.detect, sampler.engines, loop.post)
    if gateway is not None:
        reloading.take.append(gateway.gate.keys.add)
        scout.ours = lambda: (gateway.port,) if gateway.addresses else ()
    reloading.takes = scout.takes
    reloading.take.append(scout.take)
    jobs.every["read the configuration"] = (LOOK_EVERY, reloading.look)
    jobs.every["find engines"] = (DETECT_EVERY, scout.look)
    jobs.every["compare rankings"] = (COMPARE_EVERY, door.compare)
    if gateway is not None:
        jobs.every["listen"] = (LISTEN_EVERY, gateway.start)
    lock = Lock(config.state_dir)
    stalls = Stalls(loop.post, pressure_files())
    parts = (server, journal, client, scout, lock, stalls, overrides, reloading, watcher, gateway)
    return App(config, loop, door, jobs, *parts)


def _engine(told: EngineConfig, kind: str, client: httpx.AsyncClient, state_dir: Path) -> Engine:
    options = told.options
    if isinstance(options, Launching):

        def speak(kind: str, id: EngineId, url: str) -> Engine:
            return ENGINES[kind](id, url, client, told.key)

        options = Told(options, speak, state_dir / CHILDREN / told.id)
    return ENGINES[kind](told.id, told.url, client, told.key, options)


def _service(
    told: EngineConfig, kind: str, name: str, client: httpx.AsyncClient, config: Config
) -> Service:
    def launch(kind: str, options: Told) -> Engine:
        return ENGINES[kind](told.id, "", client, None, options)

    return service(kind, name, config.state_dir / CHILDREN / told.id, launch)


def pressure_files() -> list[str]:
    """What the kernel raises an alarm by: for the machine, and for the group that limits us."""
    try:
        lowest = min(Groups(Path("/")).limits(), key=lambda found: found.limit, default=None)
    except CollectorError:
        lowest = None
    if lowest is None:
        return [MACHINE]
    return [MACHINE, str(Path(lowest.file).with_name("memory.pressure"))]


async def serve(app: App) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code."""
    signals = Signals()
    signals.listen()
    try:
        await app.start()
    except (ListenError, Taken) as error:
        print(f"error: {error}", file=sys.stderr)
        await app.client.aclose()
        return 1
    log.info("listening on %s (pid %d)", ", ".join(app.server.addresses), os.getpid())
    introduction = asyncio.create_task(_introduce(app.loop), name="introduction")
    reads = asyncio.create_task(signals.serve(app.reloading), name="SIGHUP")
    await signals.ended.wait()
    introduction.cancel()
    reads.cancel()
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
    log.info("ullage %s; the settings in force:", __version__)
    for key, value, source in effective(config):
        log.info("  %s = %s%s", key, value, "" if source == "default" else f"  ({source})")
    more_files()
    runner = asyncio.Runner(loop_factory=_event_loop)
    code = runner.run(serve(build(config)))
    # All is written and closed. A thread may still hang, in a name that nobody resolves or a
    # mount that is gone: the program's end does not wait for it.
    last = threading.Timer(LET_GO, os._exit, (code,))
    last.daemon = True
    last.start()
    runner.close()
    return code


def more_files() -> None:
    """A thousand clients and their engines' connections take twice as many descriptors, and the
    usual limit is 1024; as many as the system lets us have are ours for the asking."""
    try:
        from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit, setrlimit
    except ImportError:  # on Windows
        return
    soft, hard = getrlimit(RLIMIT_NOFILE)
    most = FILES if hard == RLIM_INFINITY else min(hard, FILES)
    if soft != RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            setrlimit(RLIMIT_NOFILE, (most, hard))


def _event_loop() -> asyncio.AbstractEventLoop:
    """The fast one where there is one: what the gateway relays costs half as much with it."""
    try:
        from uvloop import new_event_loop
    except ImportError:  # on Windows
        return asyncio.new_event_loop()
    return new_event_loop()


def settle_in() -> None:
    """What is there once a daemon runs stays to its end, and need not be looked through for
    garbage again: that takes 20 ms, during which the loop serves nobody, and 1 ms without it."""
    gc.collect()
    gc.freeze()


async def _introduce(loop: Loop) -> None:
    """Say what was found, once it is known."""
    await loop.changed()
    settle_in()
    snapshot = loop.snapshot
    if snapshot is not None:
        lines = {pool.id: lines_of(pool, loop.policy) for pool in snapshot.pools}
        for room in rooms(snapshot, loop.policy):
            log.info("pool %s", of_room(room, lines[room.pool]))
        for pool, why in sorted(snapshot.blind.items()):
            log.warning("pool %s cannot be read: %s", pool, why)
    for note in loop.sampler.machine.notes if loop.sampler.machine else ():
        log.info("%s", note)
