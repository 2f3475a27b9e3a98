"""Looks at a snapshot and says what is wrong, since when, and what would help.

A finding is a fact. It keeps its `since` for as long as it stays true and clears itself
when it is not; what to do about it is decided elsewhere (see `due`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from collectors.reading import Incident, PoolId, Remedy, Seconds

from .headroom import rooms
from .limits import Slots
from .lines import for_relief, lines_of
from .policy import Policy
from .retention import idle_for, is_at_rest
from .snapshot import ModelRef, Resident, Snapshot, State


class Kind(Enum):
    PRESSURE = "pressure"  # a pool is below its soft line, or its models beyond their budget
    FOREIGN = "foreign"  # somebody who is no model took so much that a rule holds
    GROWTH = "growth"  # a model takes more and more
    SETTINGS = (
        "settings"  # a setting that cannot be meant, with this machine or with what is pinned
    )
    OVER_LIMIT = "over_limit"  # more models are active than allowed
    IDLE = "idle"  # a model has been idle for longer than its timeout
    STUCK = "stuck"  # a model has been busy, without progress, for longer than its timeout
    ENGINE_DOWN = "engine_down"
    BLIND = "blind"  # a pool could not be read
    INEFFECTIVE = "ineffective"  # an unload did not give back what it promised
    DEVICE = "device"  # an accelerator reported an error
    FAILED = "failed"  # a model's process ended by itself, or could not be started
    NO_FIT = "no_fit"  # a load failed for want of memory, with more room too: it is refused a while
    DRIFT = "drift"  # a model holds far more or less than it did, or grows as it works
    OUTDONE = "outdone"  # another ranking would have spent less on reloads for days


class Severity(Enum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


# How much each remedy disturbs: the most disturbing one is worth saying.
GRAVITY = {
    Remedy.NOTHING: 0,
    Remedy.INSPECT: 1,
    Remedy.RESTART: 2,
    Remedy.RESET: 3,
    Remedy.REBOOT: 4,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """`since` is on the monotonic clock. `amount`: bytes, seconds or models, as `kind` says."""

    kind: Kind
    subject: str  # a pool, an engine, "engine/model", or "host"
    since: Seconds
    severity: Severity
    detail: str
    amount: float = 0.0
    ref: ModelRef | None = None

    @property
    def key(self) -> tuple[Kind, str]:
        return self.kind, self.subject


def watch(
    snapshot: Snapshot, policy: Policy, previous: Iterable[Finding] = ()
) -> tuple[Finding, ...]:
    """Everything that is wrong now. Findings that were there before keep their `since`."""
    seen = [
        *_pressure(snapshot, policy),
        *_limits(snapshot, policy),
        *(f for r in snapshot.residents for f in _model(r, snapshot, policy)),
        *_engines(snapshot),
        *_blind(snapshot),
        *_devices(snapshot),
        *_failed(snapshot),
    ]
    return _lasting(seen, snapshot, previous)


def _lasting(
    seen: Iterable[Finding], snapshot: Snapshot, previous: Iterable[Finding]
) -> tuple[Finding, ...]:
    since = {f.key: f.since for f in previous}
    return tuple(replace(f, since=since.get(f.key, snapshot.taken_at)) for f in seen)


def due(
    findings: Iterable[Finding],
    policy: Policy,
    now: Seconds,
    resting: Mapping[PoolId, Seconds] | None = None,
    alarmed: Collection[PoolId] = (),
    calm: Mapping[PoolId, Seconds] | None = None,
) -> frozenset[PoolId]:
    """The pools that need relief now: below the soft line for the grace period, or the hard one.

    `resting` are pools that memory is still coming back to, and until when to wait for it; `calm`
    those that were relieved lately, and until when only their hard line counts. In those that are
    `alarmed` work stands still already: they are given neither the grace period nor the pause.
    """
    until, paused = resting or {}, calm or {}
    return frozenset(
        pool
        for f in findings
        if f.kind is Kind.PRESSURE
        and now >= until.get(pool := PoolId(f.subject), now)
        and (
            f.severity is Severity.CRITICAL
            or pool in alarmed
            or (now - f.since >= policy.grace_of(pool) and now >= paused.get(pool, now))
        )
    )


def pressing(
    snapshot: Snapshot, policy: Policy, previous: Iterable[Finding] = ()
) -> tuple[Finding, ...]:
    """The pools that are too full, of all that `watch` sees."""
    return _lasting(_pressure(snapshot, policy), snapshot, previous)


def _pressure(snapshot: Snapshot, policy: Policy) -> Iterator[Finding]:
    """By what is measured alone: what is promised to a load is a matter of admission."""
    measured = replace(snapshot, reservations=()) if snapshot.reservations else snapshot
    eased, _ = for_relief(measured, policy)
    lines = {pool.id: lines_of(pool, policy) for pool in snapshot.pools}
    for room in rooms(measured, eased):
        if room.headroom < 0:
            of_pool = lines[room.pool]
            hard = -room.headroom > of_pool.soft - of_pool.hard
            severity = Severity.CRITICAL if hard else Severity.WARNING
            detail = "free memory is below its " + ("hard line" if hard else "soft line")
            if room.budget is not None and room.held > room.budget:
                detail = "models hold more than their budget"
            yield _found(Kind.PRESSURE, room.pool, severity, detail, -room.headroom)


def _limits(snapshot: Snapshot, policy: Policy) -> Iterator[Finding]:
    over = Slots(snapshot, policy).full()
    for limit in sorted(set(over)):
        count = over.count(limit)
        detail = f"{count} more active than allowed"
        yield _found(Kind.OVER_LIMIT, limit, Severity.WARNING, detail, count)


def _model(resident: Resident, snapshot: Snapshot, policy: Policy) -> Iterator[Finding]:
    if resident.state in (State.UNKNOWN, State.LEAVING, State.LOADING):
        return
    name = str(resident.ref)
    limit, idle = policy.idle_timeout_of(resident.ref), idle_for(resident, snapshot)
    # Of 0 s it is not a watchdog that minds, but whoever sees its last user go.
    if limit and not resident.busy and idle >= limit and not is_at_rest(resident, policy):
        detail = f"idle for longer than its timeout of {limit:g} s"
        yield _found(Kind.IDLE, name, Severity.INFO, detail, idle, resident.ref)
    busy = policy.busy_timeout_of(resident.ref)
    if busy is not None and resident.busy and resident.stalled_for >= busy:
        detail = f"busy without progress for longer than its timeout of {busy:g} s"
        amount = resident.stalled_for
        yield _found(Kind.STUCK, name, Severity.WARNING, detail, amount, resident.ref)


def _engines(snapshot: Snapshot) -> Iterator[Finding]:
    for engine in snapshot.engines:
        if engine.fault is not None:
            yield _found(Kind.ENGINE_DOWN, engine.id, Severity.WARNING, engine.fault)


def _blind(snapshot: Snapshot) -> Iterator[Finding]:
    for pool, why in sorted(snapshot.blind.items()):
        yield _found(Kind.BLIND, pool, Severity.WARNING, why)


def _failed(snapshot: Snapshot) -> Iterator[Finding]:
    for model in snapshot.installed:
        if model.trouble is not None:
            name = str(model.ref)
            yield _found(Kind.FAILED, name, Severity.WARNING, model.trouble, ref=model.ref)


def _devices(snapshot: Snapshot) -> Iterator[Finding]:
    """The gravest of each device's recent incidents, and the latest of those."""
    gravest: dict[str, Incident] = {}
    for incident in snapshot.incidents:
        known = gravest.get(incident.device)
        if known is None or GRAVITY[incident.remedy] >= GRAVITY[known.remedy]:
            gravest[incident.device] = incident
    for device, incident in sorted(gravest.items()):
        grave = incident.remedy in (Remedy.RESET, Remedy.REBOOT)
        severity = Severity.CRITICAL if grave else Severity.WARNING
        if incident.remedy is Remedy.NOTHING:
            severity = Severity.INFO
        remedy = "" if incident.remedy is Remedy.NOTHING else f": {incident.remedy.value}"
        yield _found(Kind.DEVICE, device, severity, f"{incident.text}{remedy}")


def _found(
    kind: Kind,
    subject: str,
    severity: Severity,
    detail: str,
    amount: float = 0.0,
    ref: ModelRef | None = None,
) -> Finding:
    return Finding(kind, subject, Seconds(0), severity, detail, amount, ref)
