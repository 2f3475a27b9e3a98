"""From the nouns of the deciding part to the JSON of the API. Pure; sizes are whole bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from collectors.reading import RAM, Device, PoolId, Seconds
from supervisor.core.headroom import Room, rooms
from supervisor.core.plan import Plan
from supervisor.core.policy import Policy
from supervisor.core.rows import plan_row
from supervisor.core.snapshot import Resident, Snapshot, Source
from supervisor.core.watch import Finding
from supervisor.journal import Journal

Json = dict[str, Any]


def of_snapshot(snapshot: Snapshot, policy: Policy) -> Json:
    """The part of the state that a snapshot tells: pools, models, engines, foreign processes."""
    return {
        "pools": pools(snapshot, policy),
        "models": models(snapshot, policy),
        "installed": [
            {"name": str(i.ref), "engine": i.ref.engine, "model": i.ref.model, "size": i.size}
            for i in sorted(snapshot.installed, key=lambda i: i.ref)
        ],
        "engines": [
            {
                "id": e.id,
                "kind": e.kind,
                "url": e.url,
                "up": e.up,
                "fault": e.fault,
                "version": e.version,
                "abilities": sorted(a.value for a in e.abilities),
            }
            for e in snapshot.engines
        ],
        "foreign": [
            {"pool": f.pool, "pid": f.pid, "name": f.name, "size": f.size}
            for f in sorted(snapshot.foreign, key=lambda f: (f.pool, -f.size, f.pid))
        ],
    }


NOTHING: Json = {"pools": [], "models": [], "installed": [], "engines": [], "foreign": []}


def pools(snapshot: Snapshot, policy: Policy) -> list[Json]:
    """Every pool, read or not. Of one that could not be read the numbers are null."""
    kinds = {p.id: p.kind.value for p in snapshot.pools}
    seen = [
        {**_row_of_room(room), "kind": kinds[room.pool], "blind": None}
        for room in rooms(snapshot, policy)
    ]
    unseen = [
        {**dict.fromkeys(_NUMBERS), "id": pool, "kind": None, "blind": why}
        for pool, why in sorted(snapshot.blind.items())
    ]
    return [{**row, "name": name_of(row["id"], snapshot.devices)} for row in (*seen, *unseen)]


_NUMBERS = ("total", "free", "reserve", "budget", "held", "promised", "foreign", "headroom")


def _row_of_room(room: Room) -> Json:
    return {"id": room.pool, **{n: getattr(room, n) for n in _NUMBERS}}


def name_of(pool: str, devices: Iterable[Device]) -> str:
    """What a person calls this pool: its devices' names, or RAM."""
    names = " + ".join(d.name for d in devices if d.pool == pool)
    return names or ("RAM" if pool == RAM else pool)


def models(snapshot: Snapshot, policy: Policy) -> list[Json]:
    """Every model that holds memory, by name. Seconds are rounded to milliseconds."""
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
            "pids": list(r.pids),
        }
        for r in sorted(snapshot.residents, key=lambda r: r.ref)
    ]


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
    """How writing goes. Not `persistent`: there is no file that could be used."""
    return {
        "lag": journal.lag,
        "failures": journal.failures,
        "persistent": journal.persistent,
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
