"""The routes of what happens: as a stream of events, or those that are kept; and the time line."""

from __future__ import annotations

import asyncio
from difflib import get_close_matches
from itertools import islice
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from supervisor.config.entrusted import READ
from supervisor.feed import KEPT, KINDS, Event, Feed, NoSuchPlace, Reader
from supervisor.units import shown

from .callers import CALLER, Stay
from .guard import STREAM
from .operations import API, Call, Operation
from .problems import Json, problem
from .queries import Query
from .rows import Row
from .site import Site
from .values import Whole, Written

MOST_READERS = 32  # of the connections that there may be: pages left open lock nobody out
EVERY = 15.0  # seconds without anything else, and it is said that we are still here
RETRY = 2000  # milliseconds after which a browser comes back
AT_ONCE = 8  # events between two looks at who else is to be served
SOME = 100


def _kinds(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    found = [word.strip() for word in text.split(",") if word.strip()]
    if not found:
        raise ValueError(f"there are {', '.join(KINDS)}")
    for word in found:
        if word not in KINDS:
            near = get_close_matches(word, KINDS, 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(KINDS)}"
            raise ValueError(f"no kind of event is called {shown(word)}; {hint}")
    return found


class Asked(Query):
    after: Annotated[str | None, Field(max_length=64, description="what came after this id")] = None
    kinds: Annotated[
        list[Annotated[str, Written({"type": "string", "enum": list(KINDS)})]],
        Field(min_length=1, description="these alone, with commas between"),
        BeforeValidator(_kinds),
    ] = Field(default_factory=list)
    limit: Annotated[
        int, Whole(1, KEPT), Field(description="how many at most; of a stream there is no end")
    ] = SOME


class Span(Query):
    minutes: Annotated[int, Whole(1, 1440), Field(description="how far back")] = 60


class EventsAnswer(Row):
    """The oldest first; `last` is what to ask for `after` the next time."""

    events: list[dict[str, Any]]
    last: str


class Series(Row):
    """Of one pool: `t` in Unix time, the others in bytes; null where it could not be read."""

    total: int | None
    reserve: int | None
    t: list[int]
    free: list[int | None]
    held: list[int | None]
    headroom: list[int | None]


class MarkRow(Row):
    at: float
    model: str
    pool: str | None
    size: int | None
    what: str
    why: str
    decision: str | None


class TimelineAnswer(Row):
    """`step` is the seconds from one point to the next: each is the tightest moment of its step."""

    step: int
    pools: dict[str, Series]
    marks: list[MarkRow]


def operations(site: Site) -> list[Operation]:
    told = _Told(site)
    events, timeline = f"{API}/events", f"{API}/timeline"
    about = f"What happens: as {STREAM} with Accept, else the latest that are kept"
    span = "How full each pool was, and when models came and went"
    return [
        Operation(
            "GET",
            events,
            told.events,
            about,
            EventsAnswer,
            Asked,
            problems=(503,),
            also=(STREAM,),
            scope=READ,
        ),
        Operation("GET", timeline, told.timeline, span, TimelineAnswer, Span, scope=READ),
    ]


class _Told:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def events(self, call: Call[Asked, None]) -> Response:
        request, query, feed = call.request, call.query, self._site.feed
        if request.method != "GET" or not _wants_stream(request):
            return Json(kept(feed, query))
        if feed.closed:
            return problem(503, "the daemon is stopping", headers={"retry-after": "2"})
        if len(feed.readers) >= MOST_READERS:
            text = (
                f"{MOST_READERS} clients read the events already, as many as may: close a page that"
                f" shows them, or ask again and again with `Accept: application/json`"
            )
            return problem(503, text, headers={"retry-after": "5"})
        after = request.headers.get("last-event-id") or query.after
        stay = Stay(self._site.callers, request.scope[CALLER], READ)
        return Stream(feed, self._site.version, query.kinds, after, stay)

    async def timeline(self, call: Call[Span, None]) -> Response:
        told = self._site.timeline.told(self._site.loop.wall(), call.query.minutes)
        # A day of many pools takes milliseconds to write out: not on the loop.
        return await asyncio.to_thread(Json, told)


def _wants_stream(request: Request) -> bool:
    return STREAM in request.headers.get("accept", "")


def kept(feed: Feed, query: Asked) -> dict[str, Any]:
    """Those that are kept: the latest, or the first that came after an id."""
    found: list[dict[str, Any]] = []
    number = 0
    if query.after is not None:
        try:
            number = feed.place(query.after)
        except NoSuchPlace as why:
            data = {"at": feed.wall(), "why": f"{why}; read the state anew"}
            found.append({"id": feed.last, "kind": "reset", **data})
            return {"events": found, "last": feed.last}
    events = (e for e in feed.after(number) if not query.kinds or e.kind in query.kinds)
    if query.after is None:
        found = [row(feed, e) for e in events][-query.limit :]
        return {"events": found, "last": feed.last}
    found = [row(feed, e) for e in islice(events, query.limit)]
    more = len(found) == query.limit
    return {"events": found, "last": found[-1]["id"] if more else feed.last}


def row(feed: Feed, event: Event) -> dict[str, Any]:
    """One that is kept. Of a decision, whose own id this is, is in "decision"."""
    assert event.number is not None
    return {**event.data, "id": feed.id_of(event.number), "kind": event.kind}


class Stream(Response):
    """Events for as long as the client reads them, and may, and the daemon runs."""

    media_type = STREAM
    charset = "utf-8"

    def __init__(
        self, feed: Feed, version: str, kinds: list[str], after: str | None, stay: Stay
    ) -> None:
        self._feed, self._version, self._kinds, self._after = feed, version, kinds, after
        self._stay = stay
        self.status_code, self.background = 200, None
        # Behind nginx nothing would come until its buffer is full.
        self.init_headers({"x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reader = self._feed.read(self._kinds, self._after)
        client = asyncio.create_task(_gone(receive), name="client of events")
        client.add_done_callback(lambda _: reader.wake.set())
        self._stay.begun(reader.wake.set)
        start = {"status": self.status_code, "headers": self.raw_headers}
        try:
            await send({"type": "http.response.start", **start})
            await _say(send, self._hello())
            while not client.done() and (left := self._stay.left()) > 0.0:
                if found := reader.take(AT_ONCE):
                    await _say(send, "".join(self._written(e) for e in found))
                    await asyncio.sleep(0)
                elif reader.over:
                    break
                elif not await _within(min(EVERY, left), reader) and left >= EVERY:
                    await _say(send, ": still here\n\n")
            await _say(send, "", more=False)
        finally:
            self._stay.over(reader.wake.set)
            reader.close()
            client.cancel()

    def _hello(self) -> str:
        feed = self._feed
        told = {"at": feed.wall(), "version": self._version, "last": feed.last}
        return f"retry: {RETRY}\n\n{self._written(Event.of(None, 'hello', told))}"

    def _written(self, event: Event) -> str:
        id = "" if event.number is None else f"id: {self._feed.id_of(event.number)}\n"
        return f"{id}event: {event.kind}\ndata: {event.text}\n\n"


async def _say(send: Send, text: str, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": text.encode("ascii"), "more_body": more})


async def _within(seconds: float, reader: Reader) -> bool:
    """False: nothing has happened for so long."""
    try:
        async with asyncio.timeout(seconds):
            await reader.wake.wait()
    except TimeoutError:
        return False
    return True


async def _gone(receive: Receive) -> None:
    """Returns when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass
