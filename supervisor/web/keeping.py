"""The routes of what clients hold: leases, bytes for their own jobs, retentions; and how these
look in JSON."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from supervisor.claims import Claims, Leased
from supervisor.core import explain
from supervisor.core.headroom import taken
from supervisor.core.lease import Lease
from supervisor.core.policy import Retention
from supervisor.core.snapshot import ModelRef
from supervisor.door import Unknown
from supervisor.loop import Loop
from supervisor.reserved import Job
from supervisor.retentions import Wish

from . import bodies
from .problems import Json, problem
from .requests import GONE, body_of, queried, told, while_there
from .site import Site

Row = dict[str, Any]


def routes(site: Site) -> list[Route]:
    at, api = Holds(site), "/api/v1"
    writes = ["PUT", "POST"]
    return [
        Route(f"{api}/leases", at.leases),
        Route(f"{api}/leases", at.lease, methods=["POST"]),
        Route(f"{api}/leases/{{id}}", at.one_lease),
        Route(f"{api}/leases/{{id}}", at.close_lease, methods=["DELETE"]),
        Route(f"{api}/leases/{{id}}/renew", at.renew_lease, methods=writes),
        Route(f"{api}/reservations", at.reservations),
        Route(f"{api}/reservations", at.reserve, methods=["POST"]),
        Route(f"{api}/reservations/{{id}}", at.one_reservation),
        Route(f"{api}/reservations/{{id}}", at.close_reservation, methods=["DELETE"]),
        Route(f"{api}/reservations/{{id}}/renew", at.renew_reservation, methods=writes),
        Route(f"{api}/retention", at.retentions),
        Route(f"{api}/retention", at.retain, methods=["POST"]),
    ]


class Holds:
    def __init__(self, site: Site) -> None:
        self._site, self._claims = site, Claims(site.door)

    # -- leases

    @queried("model")
    async def leases(self, request: Request) -> Response:
        loop, name = self._site.loop, request.query_params.get("model")
        ref = None if name is None else self._site.door.resolve(name)
        found = [e for e in loop.keeping.leases.all if ref in (None, e.ref)]
        return Json({"leases": [lease_row(e, loop) for e in found]})

    @queried()
    async def one_lease(self, request: Request) -> Response:
        id = request.path_params["id"]
        if (lease := self._site.loop.keeping.leases.get(id)) is None:
            raise Unknown("lease", id, ())
        return Json({"lease": self._with_status(lease)})

    @queried()
    async def lease(self, request: Request) -> Response:
        body = await body_of(request, bodies.Lease)
        wish = self._claims.lease(body.model, body.client, body.ttl, wait=body.wait)
        leased = await while_there(request, wish)
        return problem(503, GONE) if leased is None else self._leased(leased)

    def _leased(self, leased: Leased) -> Response:
        carried, lease = leased.carried, leased.lease
        row: Row = {"lease": None if lease is None else self._with_status(lease)}
        row |= {} if carried is None else told(carried)
        row.setdefault("sentences", [])
        return Json({**row, "ok": lease is not None}, 200 if lease is None else 201)

    def _with_status(self, lease: Lease) -> Row:
        loop = self._site.loop
        return lease_row(lease, loop) | {"status": self._claims.standing(lease.ref).status.value}

    @queried()
    async def renew_lease(self, request: Request) -> Response:
        body = await body_of(request, bodies.Renewal)
        leased = self._claims.renew_lease(request.path_params["id"], body.ttl)
        assert leased.lease is not None
        return Json({"lease": self._with_status(leased.lease)})

    @queried()
    async def close_lease(self, request: Request) -> Response:
        lease = self._claims.close_lease(request.path_params["id"])
        return Json({"closed": lease.id, "model": str(lease.ref)})

    # -- reservations

    @queried()
    async def reservations(self, request: Request) -> Response:
        return Json({"reservations": reservations(self._site.loop)})

    @queried()
    async def one_reservation(self, request: Request) -> Response:
        id = request.path_params["id"]
        if (job := self._site.loop.keeping.reserved.get(id)) is None:
            raise Unknown("reservation", id, ())
        return Json({"reservation": job_row(job, self._site.loop)})

    @queried()
    async def reserve(self, request: Request) -> Response:
        body = await body_of(request, bodies.Reserve)
        pool = self._site.door.pool(body.pool)
        wish = self._claims.reserve(
            body.size, pool, body.client, body.period, body.pids, wait=body.wait
        )
        granted = await while_there(request, wish)
        if granted is None:
            return problem(503, GONE)
        job = granted.job
        row = None if job is None else job_row(job, self._site.loop)
        found = told(granted.carried) | {"reservation": row, "ok": job is not None}
        return Json(found, 200 if job is None else 201)

    @queried()
    async def renew_reservation(self, request: Request) -> Response:
        body = await body_of(request, bodies.Extension)
        job = self._claims.renew_reservation(request.path_params["id"], body.period, body.pids)
        return Json({"reservation": job_row(job, self._site.loop)})

    @queried()
    async def close_reservation(self, request: Request) -> Response:
        job = self._claims.close_reservation(request.path_params["id"])
        return Json({"closed": job.id})

    # -- retentions

    @queried()
    async def retentions(self, request: Request) -> Response:
        return Json({"retention": retentions(self._site.loop)})

    @queried()
    async def retain(self, request: Request) -> Response:
        body = await body_of(request, bodies.Retain)
        scope = self._claims.scope(body.model, body.engine)
        if body.reset:
            return Json({"scope": scope, "reset": self._claims.reset_retention(scope)})
        wish = Wish(body.retention or Retention.KEEP_ALIVE, body.keep_alive)
        self._claims.set_retention(scope, wish)
        return Json({"scope": scope, **wish.body})


def lease_row(lease: Lease, loop: Loop) -> Row:
    deadlines = loop.keeping.deadlines
    return {
        "id": lease.id,
        "model": str(lease.ref),
        "client": lease.client,
        "ttl": loop.keeping.leases.ttl_of(lease.id),
        "opened": deadlines.unix(lease.opened_at),
        "expires": deadlines.unix(lease.expires_at),
        "left": round(max(0.0, lease.expires_at - deadlines.now), 3),
    }


def reservations(loop: Loop) -> list[Row]:
    return [job_row(job, loop) for job in loop.keeping.reserved.all]


def job_row(job: Job, loop: Loop) -> Row:
    """`used` is what its processes hold, as far as they are known; the rest is kept free."""
    deadlines, snapshot = loop.keeping.deadlines, loop.snapshot
    mine = (r for r in loop.keeping.reserved.reservations if r.job == job.id)
    found = 0 if snapshot is None else sum(taken(snapshot, r, job.pool) for r in mine)
    return {
        "id": job.id,
        "client": job.client,
        "pool": job.pool,
        "size": job.size,
        "used": found,
        "held": max(0, job.size - found),
        "pids": sorted(job.pids),
        "expires": deadlines.unix(job.ends),
        "left": round(max(0.0, job.ends - deadlines.now), 3),
    }


def retentions(loop: Loop) -> list[Row]:
    """Those that were set while running; the configuration's are not among them."""
    return [{"scope": s, **wish.body} for s, wish in loop.keeping.retentions.all.items()]


def state(loop: Loop) -> Row:
    """The part of the state that clients hold. Times are Unix time."""
    keeping = loop.keeping
    return {
        "pins": sorted(keeping.pins.names),
        "pins_end": {n: keeping.deadlines.unix(at) for n, at in keeping.pins.ends.items()},
        "leases": [lease_row(lease, loop) for lease in keeping.leases.all],
        "reservations": reservations(loop),
        "retention": retentions(loop),
        "leaving": sorted(str(ref) for ref in keeping.farewells.all),
    }


def lapsed(ref: ModelRef, loop: Loop) -> list[str]:
    """A pin that has ended of late."""
    pins, now = loop.keeping.pins, loop.clock()
    return [
        f"its pin ended {explain.duration(now - at)} ago"
        for name, at in pins.lapsed.items()
        if name in (str(ref), ref.model)
    ]
