"""What the metrics say, taken from the loop's latest snapshot. Never samples, never waits.

A fact is a family's name without its prefix, the values of its labels, and a number. What
this machine cannot tell is not there, rather than 0; what may happen later is there as 0, so
that the first time counts.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Mapping

from collectors.reading import PoolId, PoolKind
from supervisor.core.account import Account, Owner, account
from supervisor.core.headroom import rooms
from supervisor.core.snapshot import EngineId, ModelId, ModelRef
from supervisor.core.watch import Finding, Kind, Severity
from supervisor.loop import Loop

from .callers import WHYS
from .deeds import alerts, copied, deeds
from .hardware import ages, errors, hardware
from .residency import MOST_MODELS, OTHERS, Moment, models, moment
from .site import Fact, Site

__all__ = ["MOST_MODELS", "OTHERS", "facts", "of_moment"]

KINDS = {PoolKind.DEDICATED: "vram", PoolKind.UNIFIED: "unified", PoolKind.HOST: "ram"}
PROCESSES = "processes"  # what models' processes hold, as the sampler calls that source
OF_POOLS = frozenset({Kind.PRESSURE, Kind.FOREIGN, Kind.BLIND})
UNDER_WAY = ("requests_held", "requests_in_flight")


def facts(site: Site) -> tuple[list[Fact], Moment | None]:
    """What changes from one turn of the loop to the next, and what is left to be told of this
    moment; None: nothing was seen yet."""
    loop, snapshot = site.loop, site.loop.snapshot
    found: list[Fact] = [("build_info", (site.version, platform.python_version()), 1)]
    found += _process(loop)
    found += _findings(loop)
    found.append(("event_readers", (), len(site.feed.readers)))
    refused = site.callers.refused
    found += [("api_refusals_total", (why,), refused[why]) for why in WHYS]
    found += _sources(loop)
    found += ages(loop)
    if site.reloading is not None:
        found += site.reloading.facts
    for each in site.certificates:
        if each.ends is not None:
            label = (each.listener.lower(),)
            found.append(("tls_certificate_expiry_timestamp_seconds", label, each.ends))
    found += alerts(site.alerting)
    if site.neighbours is not None:
        found += site.neighbours.facts()
    engines = set() if snapshot is None else {str(e.id) for e in snapshot.engines}
    gateway = [] if site.gateway is None else list(site.gateway.facts(sorted(engines)))
    found += gateway
    found += deeds(loop, engines)
    if snapshot is None:
        return found, None
    for engine in snapshot.engines:
        drained = loop.keeping.pausing.drain_of(engine.id)
        found.append(("engine_drained", (engine.id,), drained is not None))
    found += errors(loop, snapshot)
    asked = (labels for name, labels, value in gateway if name in UNDER_WAY and value)
    refs = (ModelRef(EngineId(e), ModelId(model)) for e, model in asked if e in engines)
    return found, moment(loop, snapshot, refs)


def of_moment(at: Moment, most: int) -> Iterator[Fact]:
    """All the rest, in whatever thread. `most` models keep their names."""
    yield "sample_timestamp_seconds", (), at.wall(at.snapshot.as_of)
    yield from _memory(at)
    yield from hardware(at.snapshot)
    for engine in at.snapshot.engines:
        yield "engine_up", (engine.id,), engine.up
    yield from models(at, most)


def _wall(loop: Loop, monotonic: float) -> float:
    """Unix time of a moment on the monotonic clock, to the millisecond."""
    return round(loop.wall() - (loop.clock() - monotonic), 3)


def _process(loop: Loop) -> Iterator[Fact]:
    counts = loop.counts
    yield "samples_total", (), counts.samples
    yield "sample_failures_total", (), counts.failed_samples
    yield "clock_steps_total", (), counts.clock_steps
    yield "host_memory_alarms_total", (), loop.alarms.rung
    yield "sample_interval_seconds", (), loop.period
    yield "event_loop_lag_seconds", (), counts.lag
    yield "journal_persistent", (), loop.journal.persistent
    yield "journal_lag", (), loop.journal.lag
    yield "journal_write_failures_total", (), loop.journal.failures
    yield "journal_writes_dropped_total", (), loop.journal.dropped
    yield "paused", (), loop.keeping.pausing.pause is not None
    yield "pins", (), len(loop.keeping.pins.names)
    yield "leases", (), len(loop.keeping.leases.all)
    yield "job_reservations", (), len(loop.keeping.reserved.all)
    yield "reservations", (), len(loop.reservations)
    yield "tick_delay_seconds", (), copied(counts.ticks, counts.ticks.bounds)


def _findings(loop: Loop) -> Iterator[Fact]:
    """By kind, engine and pool; of each kind those that are about neither, if only as 0."""
    devices = {} if loop.snapshot is None else {d.uuid: d.pool for d in loop.snapshot.devices}
    found = Counter((f.kind.value, *_about(f, devices)) for f in loop.findings)
    nothing = {(kind.value, "", ""): 0 for kind in Kind}
    for labels, count in sorted((nothing | found).items()):
        yield "findings", labels, count


def _about(finding: Finding, devices: Mapping[str, PoolId | None]) -> tuple[str, str]:
    """The engine and the pool; empty where it is about none, or about more than one."""
    if finding.ref is not None:
        return finding.ref.engine, ""
    if finding.kind is Kind.ENGINE_DOWN:
        return finding.subject, ""
    if finding.kind is Kind.DEVICE:
        return "", devices.get(finding.subject) or ""
    return "", finding.subject if finding.kind in OF_POOLS else ""


def _sources(loop: Loop) -> Iterator[Fact]:
    """How collectors and engines did when they were last asked."""
    collectors = {o.collector.name for o in loop.sampler.sources.owners} | {PROCESSES}
    snapshot = loop.snapshot
    known = None if snapshot is None else {e.id for e in snapshot.engines}
    for source, health in sorted(loop.sampler.health.items()):
        engine = source.removeprefix("engine ")
        if engine != source:
            if known is None or engine in known:
                yield "engine_probe_duration_seconds", (engine,), health.took
                yield "engine_probe_failures_total", (engine,), health.failures
                if health.answered_at is not None:
                    at = _wall(loop, health.answered_at)
                    yield "engine_last_success_timestamp_seconds", (engine,), at
        elif source in collectors:
            if health.answered_at is not None:
                at = _wall(loop, health.answered_at)
                yield "collector_last_success_timestamp_seconds", (source,), at
            yield "collector_duration_seconds", (source,), health.took
            yield "collector_errors_total", (source,), health.failures
            yield "collector_stalled", (source,), health.late


def _memory(at: Moment) -> Iterator[Fact]:
    snapshot = at.snapshot
    severities = {f.subject: f.severity for f in at.findings if f.kind is Kind.PRESSURE}
    accounts = {a.pool: a for a in account(snapshot)}
    found = zip(snapshot.pools, rooms(snapshot, at.policy), strict=True)
    for pool, room in found:
        labels = (pool.id, KINDS[pool.kind])
        yield "memory_capacity_bytes", labels, pool.total
        yield "memory_free_bytes", labels, pool.free
        yield "memory_reserved_bytes", labels, pool.reserved
        yield "memory_headroom_bytes", labels, room.headroom
        yield "memory_hard_headroom_bytes", labels, room.hard
        yield "memory_mapped_bytes", labels, snapshot.mapped.get(pool.id, 0)
        if pool.device_limit is not None:
            yield "memory_device_limit_bytes", labels, pool.device_limit
        if pool.device_used is not None:
            yield "memory_device_used_bytes", labels, pool.device_used
        yield "memory_reserve_bytes", (pool.id,), room.reserve
        if room.budget is not None:
            yield "memory_budget_bytes", (pool.id,), room.budget
        yield "memory_promised_bytes", (pool.id,), room.promised
        yield "job_reserved_bytes", (pool.id,), room.jobs
        owners = _owners(accounts[pool.id])
        unknown = owners["_unknown"]
        yield "memory_unattributed_bytes", labels, unknown
        told = {str(e.id) for e in snapshot.engines}.union(o for o in owners if o.startswith("_"))
        for owner in sorted(told):
            yield "memory_attributed_bytes", (pool.id, owner), owners[owner]
        severity = severities.get(pool.id)
        level = 0 if severity is None else 2 if severity is Severity.CRITICAL else 1
        yield "pressure", (pool.id,), level


def _owners(account: Account) -> Counter[str]:
    """Bytes by owner: an engine by its name, everybody else by a word with a line before it."""
    owners: Counter[str] = Counter({"_external": 0, "_unknown": 0})
    for part in account.parts:
        owners[_WORDS.get(part.owner) or part.engine or "_unknown"] += part.size
    return owners


_WORDS = {
    Owner.FOREIGN: "_external",
    Owner.DEVICE: "_accelerators",
    Owner.UNSEEN: "_unseen",
    Owner.SHARED: "_shared",
    Owner.KERNEL: "_kernel",
    Owner.HUGE: "_huge_pages",
    Owner.COMPRESSED: "_compressed",
    Owner.UNACCOUNTED: "_unknown",
}
