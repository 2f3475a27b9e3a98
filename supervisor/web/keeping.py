"""What clients hold: leases, bytes for their own jobs, retentions; and how these
look in JSON."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from supervisor.claims import Claims, Granted, Leased
from supervisor.config.entrusted import ADMIN, OPERATE, READ
from supervisor.core import explain
from supervisor.core.headroom import jobs
from supervisor.core.lease import Lease
from supervisor.core.policy import Retention
from supervisor.core.snapshot import ModelRef
from supervisor.door import Door, Unknown
from supervisor.keeping.reserved import Job
from supervisor.keeping.retentions import Wish
from supervisor.loop import Loop

from . import answers, bodies, queries
from .background import Errands
from .operations import API, Call, Endpoint, Operation
from .problems import Json
from .queries import Query
from .requests import told
from .site import Site

Row = dict[str, Any]


def operations(site: Site, errands: Errands) -> list[Operation]:
    at = Holds(site, errands)
    leases, reservations = f"{API}/leases", f"{API}/reservations"
    lease, reservation = f"{leases}/{{id}}", f"{reservations}/{{id}}"
    made, gone, asked = (200, 201), (404,), (404, 409, 503)
    return [
        Operation(
            "GET",
            leases,
            at.leases,
            "Every lease",
            answers.Leases,
            queries.OfModel,
            problems=asked,
            scope=READ,
        ),
        Operation(
            "POST",
            leases,
            at.lease,
            "Hold a model for a client; it is loaded first",
            answers.Leased,
            body=bodies.Leasing,
            statuses=made,
            problems=asked,
            scope=OPERATE,
        ),
        Operation(
            "GET", lease, at.one_lease, "One lease", answers.OneLease, problems=asked, scope=READ
        ),
        Operation(
            "DELETE",
            lease,
            at.close_lease,
            "Give it back",
            answers.LeaseClosed,
            problems=gone,
            scope=OPERATE,
        ),
        *_twice(f"{lease}/renew", at.renew_lease, answers.OneLease, bodies.Renewal, problems=asked),
        Operation(
            "GET",
            reservations,
            at.reservations,
            "Bytes kept free",
            answers.Reservations,
            scope=READ,
        ),
        Operation(
            "POST",
            reservations,
            at.reserve,
            "Keep bytes free for another program; room is made first",
            answers.Reserved,
            body=bodies.Reserve,
            statuses=made,
            problems=asked,
            scope=OPERATE,
        ),
        Operation(
            "GET",
            reservation,
            at.one_reservation,
            "One reservation",
            answers.OneReservation,
            problems=gone,
            scope=READ,
        ),
        Operation(
            "DELETE",
            reservation,
            at.close_reservation,
            "Give it back",
            answers.ReservationClosed,
            problems=gone,
            scope=OPERATE,
        ),
        *_twice(
            f"{reservation}/renew",
            at.renew_reservation,
            answers.OneReservation,
            bodies.Extension,
            problems=gone,
        ),
        Operation(
            "GET",
            f"{API}/retention",
            at.retentions,
            "Retentions that were set while running",
            answers.Retentions,
            scope=READ,
        ),
        Operation(
            "POST",
            f"{API}/retention",
            at.retain,
            "Set how long a model stays, those of an engine, or all; or reset that",
            answers.Retained,
            body=bodies.Retain,
            problems=asked,
            scope=ADMIN,
        ),
    ]


def _twice(
    path: str, endpoint: Endpoint, answer: Any, body: type[bodies.Body], problems: tuple[int, ...]
) -> list[Operation]:
    about = "Its time begins anew"
    return [
        Operation(m, path, endpoint, about, answer, body=body, problems=problems, scope=OPERATE)
        for m in ("POST", "PUT")
    ]


class Holds:
    def __init__(self, site: Site, errands: Errands) -> None:
        self._site, self._claims, self._errands = site, Claims(site.door), errands

    # -- leases

    async def leases(self, call: Call[queries.OfModel, None]) -> Response:
        loop, name = self._site.loop, call.query.model
        ref = None if name is None else self._site.door.resolve(name)
        found = [e for e in loop.keeping.leases.all if ref in (None, e.ref)]
        return Json({"leases": [lease_row(e, loop) for e in found]})

    async def one_lease(self, call: Call[Query, None]) -> Response:
        id = call.named()
        if (lease := self._site.loop.keeping.leases.get(id)) is None:
            raise Unknown("lease", id, ())
        return Json({"lease": self._with_status(lease)})

    async def lease(self, call: Call[Query, bodies.Leasing]) -> Response:
        body = call.body

        def ask(door: Door) -> Coroutine[Any, Any, Leased]:
            claims = replace(self._claims, door=door)
            if body.there:
                return claims.hold(body.model, body.client, body.ttl)
            return claims.lease(body.model, body.client, body.ttl, wait=body.wait)

        return await self._errands.answer(call.request, body.background, ask, self._leased)

    def _leased(self, leased: Leased) -> tuple[Row, int]:
        carried, lease = leased.carried, leased.lease
        row: Row = {"lease": None if lease is None else self._with_status(lease)}
        row |= {} if carried is None else told(carried)
        row.setdefault("sentences", [])
        return {**row, "ok": lease is not None}, 200 if lease is None else 201

    def _with_status(self, lease: Lease) -> Row:
        loop = self._site.loop
        return lease_row(lease, loop) | {"status": self._claims.standing(lease.ref).status.value}

    async def renew_lease(self, call: Call[Query, bodies.Renewal]) -> Response:
        body = call.body
        leased = self._claims.renew_lease(call.named(), body.ttl)
        assert leased.lease is not None
        return Json({"lease": self._with_status(leased.lease)})

    async def close_lease(self, call: Call[Query, None]) -> Response:
        lease = self._claims.close_lease(call.named())
        return Json({"closed": lease.id, "model": str(lease.ref)})

    # -- reservations

    async def reservations(self, call: Call[Query, None]) -> Response:
        return Json({"reservations": reservations(self._site.loop)})

    async def one_reservation(self, call: Call[Query, None]) -> Response:
        id = call.named()
        if (job := self._site.loop.keeping.reserved.get(id)) is None:
            raise Unknown("reservation", id, ())
        return Json({"reservation": job_row(job, self._site.loop)})

    async def reserve(self, call: Call[Query, bodies.Reserve]) -> Response:
        body = call.body
        pool = self._site.door.pool(body.pool)

        def ask(door: Door) -> Coroutine[Any, Any, Granted]:
            claims = replace(self._claims, door=door)
            return claims.reserve(
                body.size, pool, body.client, body.period, body.pids, wait=body.wait
            )

        return await self._errands.answer(call.request, body.background, ask, self._reserved)

    def _reserved(self, granted: Granted) -> tuple[Row, int]:
        job = granted.job
        row = None if job is None else job_row(job, self._site.loop)
        found = told(granted.carried) | {"reservation": row, "ok": job is not None}
        return found, 200 if job is None else 201

    async def renew_reservation(self, call: Call[Query, bodies.Extension]) -> Response:
        body = call.body
        job = self._claims.renew_reservation(call.named(), body.period, body.pids)
        return Json({"reservation": job_row(job, self._site.loop)})

    async def close_reservation(self, call: Call[Query, None]) -> Response:
        job = self._claims.close_reservation(call.named())
        return Json({"closed": job.id})

    # -- retentions

    async def retentions(self, call: Call[Query, None]) -> Response:
        return Json({"retention": retentions(self._site.loop)})

    async def retain(self, call: Call[Query, bodies.Retain]) -> Response:
        body = call.body
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
    found = 0
    if snapshot is not None:
        own = loop.keeping.reserved.reservations
        there = jobs(replace(snapshot, reservations=own), job.pool)
        found = sum(used for r, _, used in there if r.job == job.id)
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
