"""Trust but verify: does what we measured say the same as the alert? Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from collectors.reading import PoolId
from supervisor.config.alerted import ActionConfig, Kind
from supervisor.core.lines import lines_of
from supervisor.core.on_alert import in_trouble, short_pools
from supervisor.core.policy import Policy
from supervisor.core.snapshot import EngineId, ModelRef, Snapshot
from supervisor.core.watch import Finding
from supervisor.units import format_amount, format_bytes

from .target import Target

TOLD = 3  # pools


class Agreement(NamedTuple):
    """`against`: why what we measured says otherwise; None: it agrees. `pools` are those in which
    something is to be done, `stuck` the models that are, `down`: their engine is."""

    against: str | None = None
    pools: tuple[PoolId, ...] = ()
    stuck: frozenset[ModelRef] = frozenset()
    down: bool = False


def agreement(
    action: ActionConfig,
    target: Target,
    snapshot: Snapshot,
    policy: Policy,
    findings: Iterable[Finding],
) -> Agreement:
    """A pin and a reserve are no matter of want, and need none unless `below` says so."""
    if action.kind is Kind.RESTART:
        assert target.engine is not None
        return _of_engine(target.engine, snapshot, policy, findings)
    about = _about(target, snapshot)
    if action.below is None and action.kind in (Kind.PIN, Kind.RESERVE):
        return Agreement(pools=about)
    short = short_pools(snapshot, policy, about, action.below)
    if short:
        return Agreement(pools=short)
    return Agreement(_told(action, about, snapshot, policy), about)


def _about(target: Target, snapshot: Snapshot) -> tuple[PoolId, ...]:
    """The pools that it can be about."""
    if target.pools is not None:
        return target.pools
    if target.refs is not None:
        mine = [r for r in snapshot.residents if r.ref in target.refs]
        return tuple(p.id for p in snapshot.pools if any(r.holds(p.id) for r in mine))
    return tuple(p.id for p in snapshot.pools)


def _told(
    action: ActionConfig, about: Collection[PoolId], snapshot: Snapshot, policy: Policy
) -> str:
    found = [p for p in snapshot.pools if p.id in about]
    if not found:
        return "by our own measurement none of them holds any memory"
    parts = []
    for pool in found[:TOLD]:
        line = "its restore line is " + format_bytes(lines_of(pool, policy).restore)
        if action.below is not None:
            line = f"it acts below {format_amount(action.below)}"
        parts.append(f"{pool.id} has {format_bytes(pool.free)} free, and {line}")
    return f"by our own measurement {'; '.join(parts)}"


def _of_engine(
    engine: EngineId, snapshot: Snapshot, policy: Policy, findings: Iterable[Finding]
) -> Agreement:
    down, stuck = in_trouble(engine, snapshot, findings)
    if down or stuck:
        return Agreement(None, (), stuck, down)
    mine = [r for r in snapshot.residents if r.engine == engine]
    why = f"by our own measurement {engine} answers, and none of its models is stuck"
    if mine and all(policy.busy_timeout_of(r.ref) is None for r in mine):
        why += " (nobody looks for that: watchdog.busy is off)"
    return Agreement(why)
