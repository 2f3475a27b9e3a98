"""The routes of what rests by the operator's word: a pause, and engines that are drained; and how
these look in JSON."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import Field
from starlette.responses import Response

from collectors.reading import Seconds
from supervisor.config.entrusted import OPERATE, READ
from supervisor.core.explain import of_drain, of_pause
from supervisor.core.halt import Halt
from supervisor.core.policy import EVERY_ENGINE
from supervisor.core.snapshot import EngineId
from supervisor.door import DoorError, Unknown
from supervisor.keeping.pausing import Pausing
from supervisor.loop import Loop

from .answers import Drained, Paused
from .bodies import Body, Long, Name
from .operations import API, Call, Operation
from .problems import Json
from .queries import Query
from .rows import Row, Sentences
from .site import Site

UNTIL = "how long; nothing: until it is taken back"


class Pause(Body):
    period: Annotated[Long | None, Field(alias="for", description=UNTIL)] = None


class Drain(Body):
    engine: Name | None = Field(None, description="its name; null: every engine")
    period: Annotated[Long | None, Field(alias="for", description=UNTIL)] = None
    unload: bool = Field(True, description="its models leave when nobody uses them")


class OfEngine(Query):
    engine: Annotated[Name | None, Field(description="its name; none: all that are drained")] = None


class PausedAnswer(Row):
    paused: Paused | None
    sentences: Sentences


class DrainedAnswer(Row):
    drained: list[Drained]
    sentences: Sentences


def operations(site: Site) -> list[Operation]:
    at, pause, drain = _Rests(site), f"{API}/pause", f"{API}/drain"
    begin = "Unload and load nothing but what is asked for"
    no_more = "Send an engine no requests and no loads, and unload its models"
    takes = "Let an engine take requests and loads again"
    return [
        Operation("GET", pause, at.paused, "Is it a pause?", PausedAnswer, scope=READ),
        Operation("POST", pause, at.pause, begin, PausedAnswer, body=Pause, scope=OPERATE),
        Operation("DELETE", pause, at.go_on, "End the pause", PausedAnswer, scope=OPERATE),
        Operation(
            "GET", drain, at.drained, "Which engines are drained?", DrainedAnswer, scope=READ
        ),
        Operation(
            "POST",
            drain,
            at.drain,
            no_more,
            DrainedAnswer,
            body=Drain,
            problems=(404, 503),
            scope=OPERATE,
        ),
        Operation(
            "DELETE",
            drain,
            at.undrain,
            takes,
            DrainedAnswer,
            OfEngine,
            problems=(404, 409),
            scope=OPERATE,
        ),
    ]


class _Rests:
    """What is said is in force at once; the table of operations has answers wait for the disk."""

    def __init__(self, site: Site) -> None:
        self._site = site

    @property
    def _pausing(self) -> Pausing:
        return self._site.loop.keeping.pausing

    def _ends(self, period: Seconds | None) -> Seconds | None:
        return None if period is None else self._site.loop.keeping.deadlines.after(period)

    async def paused(self, call: Call[Query, None]) -> Response:
        loop, found = self._site.loop, self._pausing.pause
        lines = [] if found is None else [of_pause(found, loop.keeping.deadlines.now)]
        return Json({"paused": state(loop)["paused"], "sentences": lines})

    async def pause(self, call: Call[Query, Pause]) -> Response:
        self._pausing.set_pause(self._ends(call.body.period))
        self._site.door.claims_changed()
        return await self.paused(Call(call.request, call.query, None))

    async def go_on(self, call: Call[Query, None]) -> Response:
        self._pausing.end_pause()
        self._site.door.claims_changed()
        return await self.paused(call)

    async def drained(self, call: Call[Any, Any]) -> Response:
        loop, pausing = self._site.loop, self._pausing
        now = loop.keeping.deadlines.now
        lines = [of_drain(id or "every engine", h, now) for id, h in pausing.drained.items()]
        lines += self._who_stays()
        return Json({"drained": state(loop)["drained"], "sentences": lines})

    def _who_stays(self) -> list[str]:
        """Of those that were to leave."""
        loop = self._site.loop
        if loop.snapshot is None:
            return []
        snapshot, policy = loop.keeping.as_claimed(loop.snapshot, loop.policy)
        leave = (r for r in snapshot.residents if (h := policy.drain_of(r.engine)) and h.unload)
        return [
            f"{r.ref} stays: it is pinned; `ullage unpin {r.ref}` lets it go"
            for r in leave
            if policy.is_pinned(r.ref)
        ]

    async def drain(self, call: Call[Query, Drain]) -> Response:
        body = call.body
        engine = EVERY_ENGINE if body.engine is None else self._known(body.engine)
        self._pausing.drain(engine, Halt(self._ends(body.period), body.unload))
        self._site.door.claims_changed()
        return await self.drained(call)

    def _known(self, name: str) -> EngineId:
        known = [e.id for e in self._site.door.snapshot().engines]
        if name not in known:
            near = get_close_matches(name, known, 3, 0.4)
            raise Unknown("engine", name, tuple(near or known[:3]))
        return EngineId(name)

    async def undrain(self, call: Call[OfEngine, None]) -> Response:
        name, drained = call.query.engine, self._pausing.drained
        if name is None:
            for engine in list(drained):
                self._pausing.end_drain(engine)
        elif name in drained:
            self._pausing.end_drain(EngineId(name))
        else:
            self._known(name)
            if EVERY_ENGINE in drained:
                raise DoorError(
                    "every engine is drained, and not this one by itself: `ullage undrain` ends"
                    " that for all of them, and `ullage drain NAME` drains one"
                )
        self._site.door.claims_changed()
        return await self.drained(call)


def state(loop: Loop) -> dict[str, Any]:
    """The part of the state that tells what rests. Times are Unix time."""
    pausing, unix = loop.keeping.pausing, loop.keeping.deadlines.unix

    def until(halt: Halt) -> float | None:
        return None if halt.ends is None else unix(halt.ends)

    pause = pausing.pause
    return {
        "paused": None if pause is None else {"until": until(pause)},
        "drained": [
            {"engine": id or None, "until": until(halt), "in_flight": in_flight(loop, id)}
            for id, halt in sorted(pausing.drained.items())
        ],
    }


def in_flight(loop: Loop, engine: EngineId) -> int:
    """The requests that its models work on, EVERY_ENGINE: that all do."""
    if loop.snapshot is None:
        return 0
    residents = loop.traffic.mark(loop.snapshot).residents
    mine = (r for r in residents if engine in (EVERY_ENGINE, r.ref.engine))
    return sum(r.in_flight or int(r.busy) for r in mine)
