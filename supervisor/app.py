"""Builds everything and runs it: the one place where the parts meet."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import threading
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import httpx

from collectors.cgroup import Groups
from collectors.errors import CollectorError
from collectors.machine import find
from collectors.owner import Owner
from collectors.reading import Seconds

from . import __version__
from .accounts import group_id
from .alerting import Alerting
from .allowance import Allowance
from .attribution import Attribution, Processes
from .config.config import Config, EngineConfig, effective
from .config.served import Launching
from .core.explain import of_room
from .core.headroom import rooms
from .core.lines import lines_of
from .core.pace import SLOWEST, Pace
from .core.patience import Patience
from .core.snapshot import EngineId
from .daemon import CHILDREN, LET_GO, App
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
from .ghosts import EVERY as COMPARE_EVERY
from .housing import Service, service
from .jobs import Jobs
from .journal.audit import EVERY as SETTLE_EVERY
from .journal.journal import Journal
from .journal.shelves import Notes
from .lock import Lock, Taken
from .loop import Loop
from .neighbours import EVERY as NEIGHBOURS_EVERY
from .neighbours import Neighbours
from .notify import Notifier
from .overrides import Overrides
from .process import event_loop, more_files, settle_in
from .reloading import EVERY as LOOK_EVERY
from .reloading import Reloading
from .sampler import Sampler
from .scout import Scout
from .signals import Signals
from .sources import PERIODS, Sources
from .stalls import MACHINE, Stalls
from .telemetry import logs
from .timeline import Timeline
from .tls.certificates import EVERY as RENEW_EVERY
from .tls.certificates import Certificate
from .watcher import Watcher
from .web.callers import Callers
from .web.server import ListenError, Server
from .web.site import Site

log = logging.getLogger("ullage")

LISTEN_EVERY = Seconds(5.0)  # where the gateway's address cannot be had
DETECT_EVERY = Seconds(3.0)


def build(
    config: Config, *, owners: Iterable[Owner] | None = None, processes: Processes | None = None
) -> App:
    """Put the parts together. Touches nothing outside the process yet."""
    client = engine_client()
    journal = Journal(config.state_dir / "journal.db")
    notes = Notes(journal.shelves["engines"])
    engines: dict[EngineId, Engine] = {
        e.id: _engine(e, e.kind, client, config.state_dir, notes)
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
    services = {e.id: _service(e, *e.service, client, config) for e in config.engines if e.service}
    sampler.mains.services = services
    sampler.roster.services = {e.id: e.service[1] for e in config.engines if e.service}
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
    executor.sample, executor.glance = loop.look, loop.glance
    loop.keeping.processes = sampler.processes
    door = Door(loop)
    overrides = Overrides(config, loop, journal.shelves["overrides"])
    gateway = gateways.build(config, loop) if config.gateway.enabled else None
    watcher = Watcher(loop, Feed(), Timeline())
    reloading = Reloading(overrides)
    reloading.tell.append(partial(watcher.feed.tell, "config"))
    reloading.note = journal.audit.reread
    alerting = Alerting(config.alerts, door, watcher.feed)
    group = None if config.socket_group is None else group_id(config.socket_group)
    callers = Callers(lambda: overrides.current.token, lambda: overrides.current.tokens, group)
    api = Certificate.of("API", config.tls_cert, config.tls_key)
    both = (api, None if gateway is None else gateway.certificate)
    served = [c for c in both if c is not None]
    neighbours = Neighbours(config.fleet) if config.fleet.said else None
    site = Site(
        door=door,
        version=__version__,
        started_at=time.monotonic(),
        callers=callers,
        allowed_hosts=frozenset(config.allowed_hosts),
        bound_host=config.listen_host,
        overrides=overrides,
        reloading=reloading,
        gateway=None if gateway is None else gateways.shown(gateway),
        alerting=alerting,
        feed=watcher.feed,
        timeline=watcher.timeline,
        certificates=tuple(served),
        fleet=config.fleet,
        neighbours=neighbours,
        aliases=config.gateway.aliases,
    )
    server = Server(
        site,
        config.listen_host,
        config.listen_port,
        config.socket,
        socket_mode=config.socket_mode,
        socket_group=group,
        certificate=api,
    )
    loop.pace = Pace(config.sample_interval)
    sampler.sources.incident = lambda incident: loop.post(Reported(incident))
    jobs = Jobs(loop.post, config.sample_interval, period=lambda: loop.period)
    scout = Scout(client, config.engines, config.detect, sampler.engines, loop.post, notes=notes)
    scout.replaceable = lambda: sampler.roster.replaceable
    if gateway is not None:
        reloading.take.append(gateway.gate.keys.add)
        reloading.take.append(lambda _: gateway.admits(overrides.current.gateway.admits))
        reloading.take.append(lambda _: gateway.in_fleet(overrides.current.fleet))
        scout.ours = lambda: (gateway.port,) if gateway.addresses else ()
    reloading.take.append(lambda _: callers.changed())
    reloading.take.append(lambda _: alerting.configured(overrides.current.alerts))
    reloading.takes = scout.takes
    reloading.take.append(scout.take)
    jobs.every["read the configuration"] = (LOOK_EVERY, reloading.look)
    jobs.every["audit trail"] = (SETTLE_EVERY, journal.audit.settle)
    jobs.every["find engines"] = (DETECT_EVERY, scout.look)
    jobs.every["compare rankings"] = (COMPARE_EVERY, door.compare)
    for each in served:
        jobs.every[f"certificate of the {each.listener}"] = (RENEW_EVERY, each.look)
    if gateway is not None:
        jobs.every["listen"] = (LISTEN_EVERY, gateway.start)
    if neighbours is not None:
        jobs.every["ask the fleet's agent"] = (NEIGHBOURS_EVERY, neighbours.look)
    lock = Lock(config.state_dir)
    stalls = Stalls(loop.post, pressure_files())
    parts = (server, journal, client, scout, lock, stalls, overrides, reloading, watcher)
    return App(config, loop, door, jobs, *parts, alerting, gateway)


def _engine(
    told: EngineConfig, kind: str, client: httpx.AsyncClient, state_dir: Path, notes: Notes
) -> Engine:
    def speak(kind: str, id: EngineId, url: str, options: object = None) -> Engine:
        made = ENGINES[kind](id, url, client, told.key, options)
        made.remembers(notes)
        return made

    options = told.options
    if isinstance(options, Launching):
        options = Told(options, speak, state_dir / CHILDREN / told.id)
    return speak(kind, told.id, told.url, options)


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
    notifier = Notifier.of(app.loop, os.environ)
    if notifier.watchdog is not None:
        faulthandler.enable()  # who is given up gets SIGABRT: the log then has where it hung
    try:
        await app.start()
    except (ListenError, Taken) as error:
        notifier.failed(error)
        logs.last_word(str(error))
        await app.client.aclose()
        return 1
    where = ", ".join(app.server.addresses)
    log.info("listening on %s (pid %d)", where, os.getpid(), extra={"event": "listening"})
    notifier.ready()
    beside = (
        asyncio.create_task(_introduce(app.loop), name="introduction"),
        asyncio.create_task(signals.serve(app.reloading, notifier.reloading), name="SIGHUP"),
        asyncio.create_task(notifier.run(), name="service manager"),
    )
    for task in beside:
        task.add_done_callback(_failed)
    await signals.ended.wait()
    for task in beside:
        task.cancel()
    notifier.stopping()
    log.info("stopping: finishing what is under way", extra={"event": "stopping"})
    await app.stop()
    log.info("stopped", extra={"event": "stopped"})
    return 0


def _failed(task: asyncio.Task[None]) -> None:
    """What ends by itself, and should not, is told at once: nobody waits for it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("the %s ended: %r", task.get_name(), error, exc_info=error)


def run(config: Config) -> int:
    """The daemon, from start to end. Says the effective settings first."""
    lines = logs.begin(config)
    log.info("ullage %s; the settings in force:", __version__, extra={"event": "start"})
    for key, value, source in effective(config):
        more = {"event": "setting", "setting": key, "value": value, "source": source}
        told = "" if source == "default" else f"  ({source})"
        log.info("  %s = %s%s", key, value, told, extra=more)
    more_files()
    allowance = Allowance()
    runner = asyncio.Runner(loop_factory=lambda: event_loop(allowance))
    app = build(config)
    app.bounded(allowance)
    # Keys of engines that come later are secrets as well, and tokens that are others.
    app.journal.audit.redact = lines.redact

    def hide(found: Iterable[EngineConfig]) -> None:
        now = app.overrides.current
        lines.hide(found, now.token, *now.fleet.tokens)

    app.reloading.take.append(hide)
    code = runner.run(serve(app))
    # All is written and closed. A thread may still hang, in a name that nobody resolves or a
    # mount that is gone: the program's end does not wait for it.
    last = threading.Timer(LET_GO, os._exit, (code,))
    last.daemon = True
    last.start()
    runner.close()
    return code


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
