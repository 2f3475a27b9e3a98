"""Questions about one kind of thing each: pools, devices, processes, engines, findings, groups,
limits, pins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from starlette.responses import Response

from collectors.reading import Seconds
from supervisor.config.entrusted import READ
from supervisor.core.groups import members
from supervisor.core.limits import Slots
from supervisor.core.policy import Policy, Retention
from supervisor.core.snapshot import Resident, Snapshot
from supervisor.door import Unknown

from . import answers, queries, view
from .operations import API, Call, Operation
from .problems import Json
from .queries import Query
from .site import Site

Plain = Call[Query, None]


def operations(site: Site) -> list[Operation]:
    at = Inventory(site)
    once, one = (503,), (404, 409, 503)

    def get(path: str) -> tuple[str, str]:
        return "GET", f"{API}/{path}"

    return [
        Operation(*get("pools"), at.pools, "Every pool", answers.Pools, problems=once, scope=READ),
        Operation(
            *get("pools/{id}"), at.pool, "One pool", answers.OnePool, problems=one, scope=READ
        ),
        Operation(
            *get("devices"), at.devices, "Accelerators", answers.Devices, problems=once, scope=READ
        ),
        Operation(
            *get("processes"),
            at.processes,
            "Who holds memory: models' processes, engines' and others",
            answers.Processes,
            queries.Processes,
            problems=one,
            scope=READ,
        ),
        Operation(
            *get("engines"), at.engines, "Every engine", answers.Engines, problems=once, scope=READ
        ),
        Operation(
            *get("engines/{id}"),
            at.engine,
            "One engine, with its models",
            answers.OneEngine,
            problems=one,
            scope=READ,
        ),
        Operation(
            *get("findings"),
            at.findings,
            "What is wrong, and what was",
            answers.Findings,
            queries.Findings,
            scope=READ,
        ),
        Operation(
            *get("groups"),
            at.groups,
            "Models that are never, or always, together",
            answers.Groups,
            problems=once,
            scope=READ,
        ),
        Operation(
            *get("limits"),
            at.limits,
            "How many models may be active, and how many are",
            answers.Limits,
            problems=once,
            scope=READ,
        ),
        Operation(*get("pins"), at.pins, "Who is pinned", answers.Pins, scope=READ),
    ]


class Inventory:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def pools(self, call: Plain) -> Response:
        return Json({"pools": view.pools(*self._now())})

    async def pool(self, call: Plain) -> Response:
        id = self._site.door.pool(call.named())
        (row,) = [row for row in view.pools(*self._now()) if row["id"] == id]
        return Json({"pool": row})

    async def devices(self, call: Plain) -> Response:
        snapshot, _ = self._now()
        rows = [view.device(d, snapshot.health.get(d.uuid)) for d in snapshot.devices]
        host = None if snapshot.host is None else view.host(snapshot.host)
        return Json({"devices": rows, "host": host})

    async def processes(self, call: Call[queries.Processes, None]) -> Response:
        snapshot, _ = self._now()
        name, limit = call.query.pool, call.query.limit
        pool = None if name is None else self._site.door.pool(name)
        found = [row for row in _processes(snapshot) if pool in (None, row["pool"])]
        found.sort(key=lambda row: (-(row["size"] or 0), row["pool"], row["pid"]))
        return Json({"processes": found[:limit], "left_out": max(0, len(found) - limit)})

    async def engines(self, call: Plain) -> Response:
        snapshot, _ = self._now()
        return Json({"engines": [view.engine(e) for e in snapshot.engines]})

    async def engine(self, call: Plain) -> Response:
        snapshot, policy = self._now()
        name = call.named()
        found = next((e for e in snapshot.engines if e.id == name), None)
        if found is None:
            known = [e.id for e in snapshot.engines]
            raise Unknown("engine", name, _near(name, known))
        mine = [r for r in view.models(snapshot, policy) if r["engine"] == name]
        rest = [r for r in view.installed(snapshot, policy) if r["engine"] == name]
        return Json({"engine": view.engine(found), "models": mine, "installed": rest})

    async def findings(self, call: Call[queries.Findings, None]) -> Response:
        loop = self._site.loop
        now = view.findings(loop.findings, Seconds(loop.clock()))
        return Json({"findings": now, "past": loop.journal.findings(call.query.limit)})

    async def groups(self, call: Plain) -> Response:
        snapshot, policy = self._now()
        loaded = {r.ref for r in snapshot.residents}
        rows = []
        for name, group in sorted(policy.groups.items()):
            refs = members(group, snapshot)
            row = {
                "name": name,
                "rule": group.rule.value,
                "models": list(group.models),
                "members": [str(ref) for ref in refs],
                "loaded": [str(ref) for ref in refs if ref in loaded],
            }
            rows.append(row)
        return Json({"groups": rows})

    async def limits(self, call: Plain) -> Response:
        slots = Slots(*self._now(), exact=True)
        rows = [
            {"limit": name, "most": most, "active": active}
            for name, (most, active) in sorted(slots.counts.items())
        ]
        return Json({"limits": rows, "exceeded": list(slots.full())})

    async def pins(self, call: Plain) -> Response:
        loop = self._site.loop
        pins, given = loop.keeping.pins, loop.keeping.given
        unix = loop.keeping.deadlines.unix
        ends = {name: unix(at) for name, at in pins.ends.items()}
        rows = [{"model": n, "until": ends.get(n), "source": "set"} for n in sorted(pins.names)]
        fixed = sorted(set(_pinned(given)) - pins.names)
        rows += [{"model": n, "until": None, "source": "configured"} for n in fixed]
        rows += [
            {"model": n, "until": unix(hold.ends), "source": f"the alert {hold.alert}"}
            for n, hold in sorted(loop.keeping.alert_holds.pins.items())
        ]
        return Json({"pins": rows})

    def _now(self) -> tuple[Snapshot, Policy]:
        """Raises NotReady before the first sample."""
        loop = self._site.loop
        return loop.keeping.as_claimed(self._site.door.snapshot(), loop.policy)


def _near(name: str, known: Sequence[str]) -> tuple[str, ...]:
    return tuple(get_close_matches(name, known, 3, 0.4) or known[:3])


def _pinned(policy: Policy) -> Iterator[str]:
    """Models that are configured to be."""
    yield from policy.pinned
    for name, own in policy.models.items():
        if own.pinned or own.keeps is Retention.PINNED:
            yield name


def _processes(snapshot: Snapshot) -> Iterator[view.Json]:
    for resident in snapshot.residents:
        yield from _of_model(resident)
    for f in snapshot.foreign:
        row = {"pool": f.pool, "pid": f.pid, "name": f.name, "size": f.size}
        yield {**row, "model": None, "engine": f.engine}


def _of_model(resident: Resident) -> Iterator[view.Json]:
    """Bytes are told of a model, and so of its process where it has just one."""
    alone = len(resident.pids) == 1
    for pool in sorted(resident.pools):
        for pid in resident.pids:
            size = resident.holds(pool) if alone else None
            row = {"pool": pool, "pid": pid, "name": resident.model, "size": size}
            yield {**row, "model": str(resident.ref), "engine": resident.engine}
