"""What the metrics say, taken from the loop's latest snapshot. Never samples, never waits.

A fact is a family's name without its prefix, the values of its labels, and a number. What
this machine cannot tell is not there, rather than 0; what may happen later is there as 0, so
that the first time counts.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Iterator

from collectors.reading import PoolKind
from supervisor.core.account import Account, Owner, account
from supervisor.core.headroom import rooms
from supervisor.core.plan import Trigger
from supervisor.core.record import Result
from supervisor.core.snapshot import ModelRef, Resident, Snapshot
from supervisor.core.status import Standings, Status
from supervisor.core.verdict import Verdict
from supervisor.core.watch import Kind, Severity
from supervisor.loop import Loop
from supervisor.tally import LOAD_BUCKETS, UNLOAD_BUCKETS, Durations

from .hardware import ages, hardware
from .site import Fact, Site

KINDS = {PoolKind.DEDICATED: "vram", PoolKind.UNIFIED: "unified", PoolKind.HOST: "ram"}

# More series than this help nobody, and an engine may list what it likes: the largest models
# keep their names, the others are added up as one.
MOST_MODELS = 500
OTHERS = "_other"


def facts(site: Site, most: int = MOST_MODELS) -> Iterator[Fact]:
    loop = site.loop
    yield "build_info", (site.version, platform.python_version()), 1
    yield from _process(loop)
    yield "event_readers", (), len(site.feed.readers)
    yield from _sources(loop)
    yield from ages(loop)
    if site.reloading is not None:
        yield from site.reloading.facts
    snapshot = loop.snapshot
    if site.gateway is not None:
        yield from site.gateway.facts(() if snapshot is None else [e.id for e in snapshot.engines])
    if snapshot is None:
        return
    yield "sample_timestamp_seconds", (), _wall(loop, snapshot.taken_at)
    yield from _memory(loop, snapshot)
    yield from hardware(loop, snapshot)
    for engine in snapshot.engines:
        yield "engine_up", (engine.id,), engine.up
        drained = loop.keeping.pausing.drain_of(engine.id)
        yield "engine_drained", (engine.id,), drained is not None
    yield from _models(loop, snapshot, most)
    yield from _actions(loop, {e.id for e in snapshot.engines})


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
    for trigger in Trigger:
        yield "decisions_total", (trigger.value,), counts.decisions[trigger.value]
    found = Counter(f.kind for f in loop.findings)
    for kind in Kind:
        yield "findings", (kind.value,), found[kind]


def _sources(loop: Loop) -> Iterator[Fact]:
    """How collectors and engines did when they were last asked."""
    collectors = {o.collector.name for o in loop.sampler.sources.owners}
    for source, health in sorted(loop.sampler.health.items()):
        engine = source.removeprefix("engine ")
        if engine != source:
            yield "engine_probe_duration_seconds", (engine,), health.took
        elif source in collectors:
            if health.answered_at is not None:
                at = _wall(loop, health.answered_at)
                yield "collector_last_success_timestamp_seconds", (source,), at
            yield "collector_duration_seconds", (source,), health.took
            yield "collector_errors_total", (source,), health.failures
            yield "collector_stalled", (source,), health.late


def _memory(loop: Loop, snapshot: Snapshot) -> Iterator[Fact]:
    severities = {f.subject: f.severity for f in loop.findings if f.kind is Kind.PRESSURE}
    accounts = {a.pool: a for a in account(snapshot)}
    found = zip(snapshot.pools, rooms(snapshot, loop.policy), strict=True)
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
        for engine in snapshot.engines:
            yield "memory_attributed_bytes", (pool.id, engine.id), owners[engine.id]
        for owner in sorted(o for o in owners if o.startswith("_")):
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


def _models(loop: Loop, snapshot: Snapshot, most: int) -> Iterator[Fact]:
    yield from _statuses(loop, snapshot)
    leases = Counter(lease.ref for lease in snapshot.leases)
    named, others = _fold(snapshot.residents, most)
    for r in named:
        labels = (r.engine, r.model)
        for pool in sorted(r.pools):
            yield "model_memory_bytes", (*labels, pool), r.holds(pool)
        yield "model_resident", (*labels, r.state.value), 1
        yield "model_pinned", labels, loop.policy.is_pinned(r.ref)
        yield "model_leases", labels, leases[r.ref]
        used = _wall(loop, snapshot.taken_at - r.idle_for)
        yield "model_last_used_timestamp_seconds", labels, used
        if r.in_flight is not None:
            yield "model_in_flight", labels, r.in_flight
    sizes: Counter[tuple[str, str]] = Counter()
    states: Counter[tuple[str, str]] = Counter()
    for r in others:
        states[r.engine, r.state.value] += 1
        for pool in r.pools:
            sizes[r.engine, pool] += r.holds(pool)
    for (name, pool_id), size in sorted(sizes.items()):
        yield "model_memory_bytes", (name, OTHERS, pool_id), size
    for (name, state), count in sorted(states.items()):
        yield "model_resident", (name, OTHERS, state), count


def _statuses(loop: Loop, snapshot: Snapshot) -> Iterator[Fact]:
    """How many models of each engine have each status."""
    refs = {i.ref for i in snapshot.installed} | {r.ref for r in snapshot.residents}
    refs |= {lease.ref for lease in snapshot.leases}
    standings = Standings(snapshot, loop.policy)
    found = Counter((r.engine, standings.of(r).status) for r in refs)
    for engine in sorted({e.id for e in snapshot.engines} | {e for e, _ in found}):
        for status in Status:
            yield "models", (engine, status.value), found[engine, status]


def _fold(residents: Iterable[Resident], most: int) -> tuple[list[Resident], list[Resident]]:
    """The `most` largest, by name, and the others."""

    def size(resident: Resident) -> tuple[int, ModelRef]:
        return -resident.size, resident.ref

    ranked = sorted(residents, key=size)
    return sorted(ranked[:most], key=lambda r: r.ref), ranked[most:]


def _actions(loop: Loop, engines: set[str]) -> Iterator[Fact]:
    counts = loop.counts
    results = [r.value for r in Result]
    for engine in sorted(engines | {e for e, _, _ in counts.evictions}):
        for trigger in Trigger:
            for result in results:
                key = (engine, trigger.value, result)
                yield "evictions_total", key, counts.evictions[key]
        yield "departures_total", (engine,), loop.departures.counts[engine]
        for verdict in Verdict:
            seen = (engine, verdict.name.lower())
            yield "eviction_verdicts_total", seen, counts.verdicts[seen]
        yield "eviction_promised_bytes_total", (engine,), counts.promised[engine]
        yield "eviction_reclaimed_bytes_total", (engine,), counts.returned[engine]
        unloads = counts.unload_seconds.get(engine) or Durations(UNLOAD_BUCKETS)
        yield "eviction_duration_seconds", (engine,), unloads
        for result in results:
            yield "model_loads_total", (engine, result), counts.loads[engine, result]
        for result in results:
            yield "model_cancels_total", (engine, result), counts.cancels[engine, result]
        loads = counts.load_seconds.get(engine) or Durations(LOAD_BUCKETS)
        yield "model_load_duration_seconds", (engine,), loads
