"""From the nouns of the deciding part to the JSON of the API. Pure; sizes are whole bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from enum import Enum
from typing import Any

from collectors.reading import (
    RAM,
    Bytes,
    Device,
    DeviceKind,
    Health,
    HostFacts,
    PoolId,
    Seconds,
    mib,
)
from supervisor.core import explain
from supervisor.core.account import Account, Owner, Part, account
from supervisor.core.headroom import Room, rooms
from supervisor.core.limits import Traits
from supervisor.core.plan import Plan
from supervisor.core.policy import Policy
from supervisor.core.rows import plan_row
from supervisor.core.snapshot import EngineState, Resident, Snapshot, Source
from supervisor.core.status import Standing, Standings
from supervisor.core.watch import Finding
from supervisor.journal.journal import Journal

Json = dict[str, Any]


def of_snapshot(snapshot: Snapshot, policy: Policy) -> Json:
    """The part of the state that a snapshot tells: pools, models, engines, foreign processes."""
    return {
        "pools": pools(snapshot, policy),
        "models": models(snapshot, policy),
        "installed": installed(snapshot, policy),
        "engines": [engine(e) for e in snapshot.engines],
        "foreign": foreign(snapshot),
        "devices": [device(d, snapshot.health.get(d.uuid)) for d in snapshot.devices],
        "host": None if snapshot.host is None else host(snapshot.host),
    }


NOTHING: Json = {
    "pools": [],
    "models": [],
    "installed": [],
    "engines": [],
    "foreign": [],
    "devices": [],
    "host": None,
}


def installed(snapshot: Snapshot, policy: Policy) -> list[Json]:
    """Every model that an engine could load, by name."""
    standings = Standings(snapshot, policy)
    return [
        {
            "name": str(i.ref),
            "engine": i.ref.engine,
            "model": i.ref.model,
            "size": i.size,
            "trouble": i.trouble,
            "status": standings.of(i.ref).status.value,
        }
        for i in sorted(snapshot.installed, key=lambda i: i.ref)
    ]


def engine(state: EngineState) -> Json:
    return {
        "id": state.id,
        "kind": state.kind,
        "url": state.url,
        "up": state.up,
        "fault": state.fault,
        "degraded": state.degraded,
        "version": state.version,
        "abilities": sorted(a.value for a in state.abilities),
    }


# A machine has hundreds of processes: of each pool the largest are named, the others counted.
NAMED = 8
SMALL = mib(1)


def foreign(snapshot: Snapshot) -> list[Json]:
    """The largest processes of each pool that are no model's, the largest first."""
    rows = []
    for pool in sorted({f.pool for f in snapshot.foreign}):
        mine = [f for f in snapshot.foreign if f.pool == pool]
        rows += [
            {"pool": f.pool, "pid": f.pid, "name": f.name, "size": f.size, "engine": f.engine}
            for f in sorted(mine, key=lambda f: (-f.size, f.pid))[:NAMED]
        ]
    return rows


def parts(account: Account) -> list[Json]:
    """Where the used bytes of a pool are. The sizes add up to `used`."""
    strangers = [p for p in account.parts if p.owner is Owner.FOREIGN]
    named = [p for p in strangers[:NAMED] if p.size >= SMALL]
    rest = strangers[len(named) :]
    rows = []
    for part in account.parts:
        if part.owner is not Owner.FOREIGN or part in named:
            rows.append(_part(part))
        elif part == rest[0]:
            word = "1 other process" if len(rest) == 1 else f"{len(rest)} other processes"
            size = Bytes(sum(p.size for p in rest))
            rows.append(_part(Part(Owner.FOREIGN, word, size)))
    return rows


def _part(part: Part) -> Json:
    return {
        "owner": part.owner.value,
        "name": part.name,
        "size": part.size,
        "pid": part.pid,
        "engine": part.engine,
    }


def device(device: Device, health: Health | None) -> Json:
    """One accelerator, and how it feels; what it cannot tell is null."""
    return {**_plain(device), "health": None if health is None else _plain(health)}


def host(facts: HostFacts) -> Json:
    """What is known of RAM besides its pool, in bytes; what cannot be told is null."""
    return _plain(facts)


def _plain(value: Any) -> Json:
    """A dataclass as JSON, enums by their values."""

    def made(items: list[tuple[str, Any]]) -> Json:
        return {k: v.value if isinstance(v, Enum) else v for k, v in items}

    return asdict(value, dict_factory=made)


def pools(snapshot: Snapshot, policy: Policy) -> list[Json]:
    """Every pool, read or not. Of one that could not be read the numbers are null."""
    accounts = {a.pool: a for a in account(snapshot)}
    seen = [
        {
            **_row_of_room(room),
            "kind": pool.kind.value,
            "device_limit": pool.device_limit,
            "device_used": pool.device_used,
            "mapped": snapshot.mapped.get(pool.id, 0),
            "parts": parts(accounts[pool.id]),
            "overlap": accounts[pool.id].overlap,
            "blind": None,
        }
        for pool, room in zip(snapshot.pools, rooms(snapshot, policy), strict=True)
    ]
    unseen: list[Json] = [
        {**dict.fromkeys(_UNSEEN), "id": pool, "parts": [], "blind": why}
        for pool, why in sorted(snapshot.blind.items())
    ]
    return [{**row, "name": name_of(row["id"], snapshot.devices)} for row in (*seen, *unseen)]


_NUMBERS = (
    "total",
    "free",
    "reserve",
    "budget",
    "held",
    "promised",
    "foreign",
    "headroom",
    "hard",
)
_UNSEEN = (*_NUMBERS, "kind", "device_limit", "device_used", "mapped", "overlap")


def _row_of_room(room: Room) -> Json:
    return {"id": room.pool, **{n: getattr(room, n) for n in _NUMBERS}}


def name_of(pool: str, devices: Iterable[Device]) -> str:
    """What a person calls this pool: its devices' names, or RAM."""
    names = " + ".join(d.name for d in devices if d.pool == pool and d.kind is DeviceKind.GPU)
    return names or ("RAM" if pool == RAM else pool)


def models(snapshot: Snapshot, policy: Policy) -> list[Json]:
    """Every model that holds memory, by name. Seconds are rounded to milliseconds."""
    standings = Standings(snapshot, policy)
    traits = Traits(snapshot, policy)
    return [
        {
            "name": str(r.ref),
            "engine": r.engine,
            "model": r.model,
            "state": r.state.value,
            "size": r.size,
            "shares": shares(r),
            "busy": r.busy,
            "in_flight": r.in_flight,
            "idle": round(r.idle_for, 3),
            "busy_for": round(r.busy_for, 3),
            "pinned": policy.is_pinned(r.ref),
            "type": traits.type_of(r.ref).value,
            "pids": list(r.pids),
            **standing_row(standings.of(r.ref), snapshot.taken_at),
        }
        for r in sorted(snapshot.residents, key=lambda r: r.ref)
    ]


def standing_row(found: Standing, now: Seconds) -> Json:
    """Its status in one word, who keeps it in words, and how many use it."""
    return {
        "status": found.status.value,
        "kept_by": [explain.of_keeper(k, now) for k in found.keepers],
        "contexts": found.contexts,
    }


def shares(resident: Resident) -> list[Json]:
    """What a model holds, pool by pool, file pages included."""
    sources: dict[PoolId, Source] = {s.pool: s.source for s in resident.shares}
    return [
        {
            "pool": pool,
            "size": resident.holds(pool),
            "source": sources.get(pool, Source.MEASURED).value,
        }
        for pool in sorted(resident.pools)
    ]


def journal(journal: Journal) -> Json:
    """How writing goes. Not `persistent`: there is no file that could be used, or, where it is not
    `meant_to_persist`, none was asked for."""
    return {
        "lag": journal.lag,
        "failures": journal.failures,
        "persistent": journal.persistent,
        "meant_to_persist": journal.meant_to_persist,
    }


def findings(found: Iterable[Finding], now: Seconds) -> list[Json]:
    """`now` is on the monotonic clock, as a finding's `since` is."""
    return [
        {
            "kind": f.kind.value,
            "subject": f.subject,
            "for": round(max(0.0, now - f.since), 3),
            "severity": f.severity.value,
            "detail": f.detail,
        }
        for f in found
    ]


def row_of_plan(plan: Plan) -> Json:
    """A plan as decisions are recorded, and whether it works."""
    return {"works": plan.works, **plan_row(plan)}
