"""Wishes: what is unloaded, loaded, put to sleep, woken, pinned, let go of; and what would be."""

from __future__ import annotations

from functools import partial
from typing import TypeVar

from starlette.responses import Response

from collectors.reading import Seconds
from supervisor.config.entrusted import OPERATE, READ
from supervisor.core import explain
from supervisor.door import Carried, DoorError, Unknown
from supervisor.sleeping import put_to_sleep, wake

from . import answers, bodies, view
from .background import PATH, Ask, Errands, Row
from .operations import API, Call, Endpoint, Operation
from .problems import Json
from .queries import Query
from .requests import BadBody, told, went_well
from .site import Site

W = TypeVar("W", bound=bodies.Wish)
WRONG = (404, 409, 503)


def operations(site: Site, errands: Errands) -> list[Operation]:
    at = Wishes(site, errands)
    return [
        Operation(
            "POST",
            f"{API}/plan",
            at.plan,
            "What would be done; changes nothing",
            answers.Proposal,
            body=bodies.Plan,
            problems=WRONG,
            scope=READ,
        ),
        _wish("evict", at.evict, "Unload models, all, or as many as make room", bodies.Evict),
        _wish("unload", at.evict, "Unload models, or all of them", bodies.Unload),
        _wish("load", at.load, "Make room for a model and load it", bodies.Load),
        _wish("sleep", at.sleep, "Have models give VRAM back, and stay in RAM", bodies.Sleep),
        _wish("wake", at.wake, "Make room for a model that sleeps, and wake it", bodies.Wake),
        Operation(
            "GET",
            f"{PATH}/{{id}}",
            at.operation,
            "What has become of a wish in the background",
            answers.Errand,
            problems=(404,),
            scope=READ,
        ),
        _now(
            "pin",
            at.pin,
            "Never evict a model, or not for a while",
            answers.Pinned,
            bodies.Pin,
        ),
        _now("unpin", at.unpin, "Take a pin back", answers.Unpinned, bodies.Unpin),
        _now(
            "release",
            at.release,
            "Let go of the GPUs a while",
            answers.Released,
            bodies.Release,
        ),
        _now("resume", at.resume, "Take the GPUs back", answers.Resumed, bodies.Resume),
    ]


def _wish(name: str, endpoint: Endpoint, summary: str, body: type[bodies.Body]) -> Operation:
    return Operation(
        "POST",
        f"{API}/{name}",
        endpoint,
        summary,
        answers.Carried,
        body=body,
        statuses=(200, 202),
        problems=WRONG,
        scope=OPERATE,
    )


def _now(
    name: str, endpoint: Endpoint, summary: str, answer: object, body: type[bodies.Body]
) -> Operation:
    return Operation(
        "POST", f"{API}/{name}", endpoint, summary, answer, body=body, problems=WRONG, scope=OPERATE
    )


class Wishes:
    def __init__(self, site: Site, errands: Errands) -> None:
        self._site, self._errands = site, errands

    async def evict(self, call: Call[Query, bodies.Unload]) -> Response:
        body = call.body
        if isinstance(body, bodies.Evict) and body.free is not None:
            pool, size = self._site.door.pool(body.pool), body.free
            return await self._wish(call, lambda door: door.free(size, pool, wait=body.wait))
        how = {"force": body.force, "wait": body.wait}
        if body.all:
            return await self._wish(call, lambda door: door.evict_all(**how))
        names = body.models or []
        return await self._wish(call, lambda door: door.evict(names, **how))

    async def load(self, call: Call[Query, bodies.Load]) -> Response:
        body = call.body
        return await self._wish(
            call, lambda door: door.load(body.model, wait=body.wait, client=body.client)
        )

    async def sleep(self, call: Call[Query, bodies.Sleep]) -> Response:
        body = call.body
        return await self._wish(call, lambda door: put_to_sleep(door, body.models, wait=body.wait))

    async def wake(self, call: Call[Query, bodies.Wake]) -> Response:
        body = call.body
        return await self._wish(call, lambda door: wake(door, body.model, wait=body.wait))

    async def operation(self, call: Call[Query, None]) -> Response:
        id = call.named()
        if (errand := self._errands.get(id)) is None:
            first = "the last 256 since the daemon was started are remembered"
            raise Unknown("operation", id, (), first)
        return Json(errand.row)

    async def pin(self, call: Call[Query, bodies.Pin]) -> Response:
        body, door = call.body, self._site.door
        period = body.period
        if body.until is not None:
            period = Seconds(body.until - self._site.loop.wall())
            if period <= 0:
                raise BadBody(["until: that is over already"])
        until = None if period is None else self._site.loop.wall() + period
        return Json({"pinned": await door.pin(body.model, period), "until": until})

    async def unpin(self, call: Call[Query, bodies.Unpin]) -> Response:
        name = call.body.model
        try:
            return Json({"unpinned": await self._site.door.unpin(name)})
        except Unknown:
            pins = self._site.loop.keeping.alert_holds.pins
            for full, hold in pins.items():
                if name in (full, full.partition("/")[2]):
                    raise DoorError(
                        f"{full} is kept by the alert {hold.alert} until it resolves; POST"
                        " /api/v1/alerts/plain with its name, its fingerprint as id and status"
                        " resolved ends that"
                    ) from None
            raise

    async def release(self, call: Call[Query, bodies.Release]) -> Response:
        names = await self._site.door.release(call.body.period)
        return Json({"released": names, "until": self._site.loop.wall() + call.body.period})

    async def resume(self, call: Call[Query, bodies.Resume]) -> Response:
        return Json({"resumed": await self._site.door.resume()})

    async def plan(self, call: Call[Query, bodies.Plan]) -> Response:
        door, body = self._site.door, call.body
        if body.load is not None:
            plan = door.plan_load(body.load)
        elif body.free is not None:
            plan = door.plan_free(body.free, door.pool(body.pool))
        else:
            plan = door.plan_evict(body.evict or [], force=body.force)
        return Json({**view.row_of_plan(plan), "sentences": explain.of_plan(plan)})

    async def _wish(self, call: Call[Query, W], ask: Ask[Carried]) -> Response:
        tell = partial(row_of, self._site)
        return await self._errands.answer(call.request, call.body.background, ask, tell)


def row_of(site: Site, carried: Carried) -> tuple[Row, int]:
    """What is answered where something was carried out, and the status."""
    found = told(carried) | {
        "ok": went_well(carried) and not site.loop.executor.stopping,
        "leaving": [{"model": str(r), "contexts": n} for r, n in carried.leaving],
    }
    return found, 202 if carried.leaving and found["ok"] else 200
