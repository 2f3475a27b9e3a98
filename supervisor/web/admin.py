"""Questions about all of it: whether it lives, the state, decisions and reasons, logs, advice."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from difflib import get_close_matches

from starlette.responses import HTMLResponse, Response

from collectors.reading import Seconds
from supervisor.config.entrusted import ADMIN, FREE, METRICS, READ
from supervisor.core import explain
from supervisor.core.pace import too_old
from supervisor.door import Ambiguous, NotReady, Unknown
from supervisor.journal.search import Search
from supervisor.tls.encryption import of_certificates

from . import answers, keeping, pausing, queries, view
from .callers import CALLER, Caller
from .metrics import Page
from .operations import API, Call, Operation
from .page import POLICY, page
from .problems import Json, problem
from .queries import Query
from .rows import Whoami
from .site import Site

RECENT = 20  # decisions that `why` looks back on

Plain = Call[Query, None]


def operations(site: Site) -> list[Operation]:
    at = Admin(site)
    reasons = "Why a model is where it is, and what would have to change"
    asked = (404, 409, 503)
    return [
        Operation("GET", "/plain", at.page, "A page without scripts", "text/html", scope=READ),
        Operation(
            "GET", "/healthz", at.healthz, "Whether the daemon lives", answers.Ok, scope=FREE
        ),
        Operation(
            "GET",
            "/readyz",
            at.readyz,
            "Whether it sees the machine",
            answers.Ready,
            problems=(503,),
            scope=FREE,
        ),
        Operation(
            "GET", f"{API}/whoami", at.whoami, "Who asks, and what it may do", Whoami, scope=READ
        ),
        Operation(
            "GET", "/metrics", at.metrics, "Metrics, for Prometheus", "text/plain", scope=METRICS
        ),
        Operation(
            "GET",
            f"{API}/version",
            at.version,
            "Which version answers",
            answers.Version,
            scope=READ,
        ),
        Operation(
            "GET", f"{API}/state", at.state, "All that is known now", answers.State, scope=READ
        ),
        Operation(
            "GET",
            f"{API}/models",
            at.models,
            "Models that are loaded, and those that could be",
            answers.Models,
            scope=READ,
        ),
        Operation(
            "GET",
            f"{API}/decisions",
            at.decisions,
            "What was decided and what came of it, the newest first",
            answers.Decisions,
            queries.Decisions,
            problems=(404, 409),
            scope=READ,
        ),
        Operation(
            "GET",
            f"{API}/decisions/{{id}}",
            at.decision,
            "One decision, also in words",
            answers.OneDecision,
            problems=(404,),
            scope=READ,
        ),
        Operation(
            "GET",
            f"{API}/why",
            at.why,
            reasons,
            answers.Why,
            queries.Which,
            problems=asked,
            scope=READ,
        ),
        Operation(
            "GET",
            f"{API}/logs",
            at.logs,
            "The last lines that a model's process wrote",
            answers.Logs,
            queries.Logs,
            problems=asked,
            scope=ADMIN,
        ),
        Operation(
            "GET",
            f"{API}/doctor",
            at.doctor,
            "What works against us here, and what would be right",
            answers.Doctor,
            problems=(503,),
            scope=READ,
        ),
    ]


class Admin:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._writer = ThreadPoolExecutor(1, "metrics")  # one page at a time, however many ask

    # -- for people and machines that watch

    async def page(self, call: Plain) -> Response:
        text = page(self._state()).encode("utf-8", "replace")
        return HTMLResponse(text, headers={"content-security-policy": POLICY})

    async def healthz(self, call: Plain) -> Response:
        """Whoever can answer this is alive, however the machine is."""
        return Json({"ok": True})

    async def readyz(self, call: Plain) -> Response:
        reason = self._not_ready()
        return Json({"ready": True}) if reason is None else problem(503, reason)

    async def metrics(self, call: Plain) -> Response:
        found, accept = Page(self._site), call.request.headers.get("accept", "")
        # Hundreds of models take ten milliseconds to write out: not on the loop; and not where
        # names are looked up, which may hang.
        loop = asyncio.get_running_loop()
        text, kind = await loop.run_in_executor(self._writer, found.text, accept)
        return Response(text, headers={"content-type": kind})

    async def version(self, call: Plain) -> Response:
        return Json({"version": self._site.version})

    # -- questions

    async def whoami(self, call: Plain) -> Response:
        caller: Caller = call.request.scope[CALLER]
        told = {"name": caller.name, "via": caller.via, "scopes": sorted(caller.scopes)}
        return Json(told)

    async def state(self, call: Plain) -> Response:
        return Json(self._state())

    async def models(self, call: Plain) -> Response:
        state = self._state()
        return Json({"models": state["models"], "installed": state["installed"]})

    async def decisions(self, call: Call[queries.Decisions, None]) -> Response:
        query = call.query.model_dump()
        limit = query.pop("limit")
        search = Search(**query)
        found = self._site.loop.journal.decisions(limit + 1, search=search)
        if not found:
            self._know(search)
        rows = self._said_if_under_way(found[:limit])
        return Json({"decisions": rows, "next": rows[-1]["id"] if len(found) > limit else None})

    def _know(self, search: Search) -> None:
        """Who is gone still has a past; a name without any may be a typo."""
        with suppress(Ambiguous, NotReady):
            if search.model is not None:
                self._site.door.resolve(search.model)
            snapshot = self._site.door.snapshot()
            known = {str(e.id) for e in snapshot.engines}
            if search.engine is None or search.engine in known:
                return
            past = Search(engine=search.engine)
            if not self._site.loop.journal.decisions(1, search=past):
                close = get_close_matches(search.engine, sorted(known), 3, 0.4)
                raise Unknown("engine", search.engine, tuple(close))

    async def decision(self, call: Plain) -> Response:
        found = self._site.loop.journal.decision(call.named())
        if found is None:
            raise Unknown("decision", call.named(), (), "the last thousand are remembered")
        (row,) = self._said_if_under_way([found])
        return Json({"decision": row, "sentences": explain.tell(found)})

    async def why(self, call: Call[queries.Which, None]) -> Response:
        door, loop = self._site.door, self._site.loop
        ref = door.resolve(call.query.model)
        found = loop.journal.decisions(RECENT, model=str(ref))
        left = loop.journal.departures(RECENT, model=str(ref))
        now = loop.keeping.as_claimed(door.snapshot(), loop.policy)
        told = explain.why(ref, *now, found, left, loop.findings, loop.wall())
        told += keeping.lapsed(ref, loop)
        told += [line for line in (loop.witnesses.relief.strangers.why(ref),) if line is not None]
        rows = self._said_if_under_way(found)
        told_of = {"model": str(ref), "sentences": told, "decisions": rows}
        return Json(told_of | {"departures": left})

    async def doctor(self, call: Plain) -> Response:
        advice, gateway = await self._site.door.advice(), self._site.gateway
        if gateway is not None:
            advice = (*gateway.advice(self._site.door.snapshot()), *advice)
        advice = (*of_certificates(self._site.certificates), *advice)
        rows = [{"about": a.about, "what": a.what, "remedy": a.remedy} for a in advice]
        return Json({"advice": rows})

    async def logs(self, call: Call[queries.Logs, None]) -> Response:
        ref, found = await self._site.door.logs(call.query.model, call.query.lines)
        return Json({"model": str(ref), "lines": found})

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
        return None if age < too_old(loop.period) else f"the latest sample is {age:.0f} s old"

    def _state(self) -> view.Json:
        loop, snapshot = self._site.loop, self._site.loop.snapshot
        now, machine = Seconds(loop.clock()), loop.sampler.machine
        seen = view.NOTHING
        if snapshot is not None:
            seen = view.of_snapshot(*loop.keeping.as_claimed(snapshot, loop.policy))
        age = None if snapshot is None else round(max(0.0, now - snapshot.as_of), 3)
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
            **pausing.state(loop),
            "config": None if self._site.reloading is None else self._site.reloading.state,
            "fleet": None if self._site.neighbours is None else self._site.neighbours.state(),
            "gateway": None if self._site.gateway is None else self._site.gateway.state(),
            "alerts": self._site.alerting.state,
            "callers": self._site.callers.state,
            "running": [run.decision.id for run in loop.runs],
            "journal": view.journal(loop.journal),
            "notes": [] if machine is None else list(machine.notes),
        }
