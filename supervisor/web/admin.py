"""The routes. Questions are answered from the latest snapshot and the journal; wishes go to the
loop's door."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from collectors.reading import Seconds
from supervisor.core import explain
from supervisor.door import Ambiguous, Carried, DoorError, NotReady, Unknown

from . import bodies, keeping, view
from .metrics import Page
from .page import POLICY, page
from .problems import Json, problem
from .requests import GONE, BadBody, BadQuery, body_of, queried, told, went_well, while_there
from .site import Site

STALE = 10.0  # seconds: a sample that is older says nothing of now
MOST_DECISIONS = 1000
SOME_DECISIONS = 50
MOST_LINES = 10_000
SOME_LINES = 50
RECENT = 20  # decisions that `why` looks back on


def routes(site: Site) -> list[Route]:
    admin = Admin(site)
    api = "/api/v1"
    return [
        Route("/", admin.page),
        Route("/healthz", admin.healthz),
        Route("/readyz", admin.readyz),
        Route("/metrics", admin.metrics),
        Route(f"{api}/version", admin.version),
        Route(f"{api}/state", admin.state),
        Route(f"{api}/models", admin.models),
        Route(f"{api}/decisions", admin.decisions),
        Route(f"{api}/why", admin.why),
        Route(f"{api}/logs", admin.logs),
        Route(f"{api}/doctor", admin.doctor),
        *(
            Route(f"{api}/{name}", endpoint, methods=["POST"])
            for name, endpoint in (
                ("evict", admin.evict),
                ("load", admin.load),
                ("pin", admin.pin),
                ("unpin", admin.unpin),
                ("plan", admin.plan),
                ("release", admin.release),
                ("resume", admin.resume),
            )
        ),
    ]


class Admin:
    def __init__(self, site: Site) -> None:
        self._site = site

    # -- for people and machines that watch

    @queried()
    async def page(self, request: Request) -> Response:
        text = page(self._state()).encode("utf-8", "replace")
        return HTMLResponse(text, headers={"content-security-policy": POLICY})

    @queried()
    async def healthz(self, request: Request) -> Response:
        """Whoever can answer this is alive, however the machine is."""
        return Json({"ok": True})

    @queried()
    async def readyz(self, request: Request) -> Response:
        reason = self._not_ready()
        return Json({"ready": True}) if reason is None else problem(503, reason)

    @queried()
    async def metrics(self, request: Request) -> Response:
        found = Page(self._site)
        # Hundreds of models take tens of milliseconds to write out: not on the loop.
        text, kind = await asyncio.to_thread(found.text, request.headers.get("accept", ""))
        return Response(text, headers={"content-type": kind})

    @queried()
    async def version(self, request: Request) -> Response:
        return Json({"version": self._site.version})

    # -- questions

    @queried()
    async def state(self, request: Request) -> Response:
        return Json(self._state())

    @queried()
    async def models(self, request: Request) -> Response:
        state = self._state()
        return Json({"models": state["models"], "installed": state["installed"]})

    @queried("limit", "model", "before")
    async def decisions(self, request: Request) -> Response:
        query = request.query_params
        limit = _count("limit", query.get("limit"), SOME_DECISIONS, MOST_DECISIONS)
        model = query.get("model")
        found = self._site.loop.journal.decisions(limit, model=model, before=query.get("before"))
        if model is not None and not found:
            # A model that is gone still has its past; a name without any may be a typo.
            with suppress(Ambiguous, NotReady):
                self._site.door.resolve(model)
        return Json({"decisions": self._said_if_under_way(found)})

    @queried("model")
    async def why(self, request: Request) -> Response:
        name = request.query_params.get("model")
        if not name:
            raise BadQuery("say which: ?model=NAME")
        door, loop = self._site.door, self._site.loop
        ref = door.resolve(name)
        found = loop.journal.decisions(RECENT, model=str(ref))
        left = loop.journal.departures(RECENT, model=str(ref))
        now = loop.keeping.as_claimed(door.snapshot(), loop.policy)
        told = explain.why(ref, *now, found, left, loop.findings)
        told += keeping.lapsed(ref, loop)
        told += [line for line in (loop.relief.strangers.why(ref),) if line is not None]
        rows = self._said_if_under_way(found)
        told_of = {"model": str(ref), "sentences": told, "decisions": rows}
        return Json(told_of | {"departures": left})

    @queried()
    async def doctor(self, request: Request) -> Response:
        advice, gateway = await self._site.door.advice(), self._site.gateway
        if gateway is not None:
            advice = (*gateway.advice(self._site.door.snapshot()), *advice)
        rows = [{"about": a.about, "what": a.what, "remedy": a.remedy} for a in advice]
        return Json({"advice": rows})

    @queried("model", "lines")
    async def logs(self, request: Request) -> Response:
        name = request.query_params.get("model")
        if not name:
            raise BadQuery("say which: ?model=NAME")
        lines = _count("lines", request.query_params.get("lines"), SOME_LINES, MOST_LINES)
        ref, found = await self._site.door.logs(name, lines)
        return Json({"model": str(ref), "lines": found})

    # -- wishes

    @queried()
    async def evict(self, request: Request) -> Response:
        door, body = self._site.door, await body_of(request, bodies.Evict)
        if body.free is not None:
            pool = door.pool(body.pool)
            return await self._wish(request, door.free(body.free, pool, wait=body.wait))
        if body.all:
            return await self._wish(request, door.evict_all(force=body.force, wait=body.wait))
        names = body.models or []
        return await self._wish(request, door.evict(names, force=body.force, wait=body.wait))

    @queried()
    async def load(self, request: Request) -> Response:
        body = await body_of(request, bodies.Load)
        wish = self._site.door.load(body.model, wait=body.wait, client=body.client)
        return await self._wish(request, wish)

    @queried()
    async def pin(self, request: Request) -> Response:
        body, door = await body_of(request, bodies.Pin), self._site.door
        period = body.period
        if body.until is not None:
            period = Seconds(body.until - self._site.loop.wall())
            if period <= 0:
                raise BadBody(["until: that is over already"])
        until = None if period is None else self._site.loop.wall() + period
        return Json({"pinned": await door.pin(body.model, period), "until": until})

    @queried()
    async def unpin(self, request: Request) -> Response:
        body = await body_of(request, bodies.Unpin)
        return Json({"unpinned": await self._site.door.unpin(body.model)})

    @queried()
    async def release(self, request: Request) -> Response:
        body = await body_of(request, bodies.Release)
        names = await self._site.door.release(body.period)
        until = self._site.loop.wall() + body.period
        return Json({"released": names, "until": until})

    @queried()
    async def resume(self, request: Request) -> Response:
        await body_of(request, bodies.Resume)
        return Json({"resumed": await self._site.door.resume()})

    @queried()
    async def plan(self, request: Request) -> Response:
        door, body = self._site.door, await body_of(request, bodies.Plan)
        if body.load is not None:
            plan = door.plan_load(body.load)
        elif body.free is not None:
            plan = door.plan_free(body.free, door.pool(body.pool))
        else:
            plan = door.plan_evict(body.evict or [], force=body.force)
        return Json({**view.row_of_plan(plan), "sentences": explain.of_plan(plan)})

    # -- what they are made of

    def _said_if_under_way(self, rows: list[view.Json]) -> list[view.Json]:
        """A decision without an outcome is under way, or its daemon was killed meanwhile."""
        running = {run.decision.id for run in self._site.loop.runs}
        return [row | {"running": row["id"] in running} for row in rows]

    def _not_ready(self) -> str | None:
        loop = self._site.loop
        if loop.snapshot is None:
            return "the first sample is not in yet"
        age = loop.clock() - loop.snapshot.taken_at
        return None if age < STALE else f"the latest sample is {age:.0f} s old"

    def _state(self) -> view.Json:
        loop, snapshot = self._site.loop, self._site.loop.snapshot
        now, machine = Seconds(loop.clock()), loop.sampler.machine
        seen = view.NOTHING
        if snapshot is not None:
            seen = view.of_snapshot(*loop.keeping.as_claimed(snapshot, loop.policy))
        age = None if snapshot is None else round(max(0.0, now - snapshot.taken_at), 3)
        return {
            "version": self._site.version,
            "mode": loop.mode.value,
            "now": loop.wall(),
            "uptime": round(now - self._site.started_at, 3),
            "sample_age": age,
            "ready": self._not_ready() is None,
            **seen,
            "findings": view.findings(loop.findings, now),
            **keeping.state(loop),
            "gateway": None if self._site.gateway is None else self._site.gateway.state(),
            "running": [run.decision.id for run in loop.runs],
            "journal": view.journal(loop.journal),
            "notes": [] if machine is None else list(machine.notes),
        }

    async def _wish(self, request: Request, wish: Coroutine[Any, Any, Carried]) -> Response:
        carried = await while_there(request, wish)
        return problem(503, GONE) if carried is None else self._carried(carried)

    def _carried(self, carried: Carried) -> Response:
        found = told(carried) | {
            "ok": went_well(carried) and not self._site.loop.executor.stopping,
            "leaving": [{"model": str(r), "contexts": n} for r, n in carried.leaving],
        }
        return Json(found, 202 if carried.leaving and found["ok"] else 200)


def _count(name: str, given: str | None, usual: int, most: int) -> int:
    if given is None:
        return usual
    if given.isascii() and given.isdecimal() and len(given) < 6 and 1 <= int(given) <= most:
        return int(given)
    raise BadQuery(f"{name} is a whole number from 1 to {most}, not {given!r}")


# -- errors, by type, as problems


def _of_door(request: Request, error: Exception) -> Response:
    text = str(error)
    if isinstance(error, Unknown):
        return problem(404, text, what=error.what, closest=list(error.closest))
    if isinstance(error, NotReady):
        return problem(503, text, headers={"retry-after": "1"})
    assert isinstance(error, Ambiguous | DoorError)
    return problem(409, text)


def _of_body(request: Request, error: Exception) -> Response:
    assert isinstance(error, BadBody)
    count = len(error.mistakes)
    text = f"the body has {count} mistakes" if count > 1 else "the body has a mistake"
    return problem(422, text, errors=error.mistakes)


def _of_query(request: Request, error: Exception) -> Response:
    return problem(422, str(error))


def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    where = request.url.path
    detail = {
        404: f"there is nothing at {where}; / says what there is",
        405: f"{request.method} is not for {where}",
    }.get(error.status_code, error.detail)
    return problem(error.status_code, detail, headers=dict(error.headers or {}))


ERRORS: dict[Any, Callable[[Request, Exception], Response]] = {
    DoorError: _of_door,
    BadBody: _of_body,
    BadQuery: _of_query,
    HTTPException: _of_http,
}
