"""What a client is told while its request is held, and how a stream ends that cannot go on.

A stream of events can say how it stands by comments, which clients pass over; but from the first
one on its status is 200, so they begin only when it takes a while. Early hints (103) go to clients
that ask for them: some take any 1xx but 100 for the answer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from math import ceil
from typing import Final, Protocol

import msgspec

from supervisor.engines.serves import Api
from supervisor.printable import printable
from supervisor.units import format_seconds

from .client import Client
from .faults import event
from .heads import Head, Headers
from .surfaces import Streams, Surface
from .wishes import Refusal, RefusalKind

EVERY = 5.0  # seconds between two words to a client that waits
HINTS = b"x-ullage-hints"
SSE, NDJSON = b"text/event-stream", b"application/x-ndjson"

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_any: Final = msgspec.json.Decoder()
_STATUS: Final = {RefusalKind.FULL: 429, RefusalKind.LIMIT: 429, RefusalKind.FAULT: 500}
_CODES: Final = {
    RefusalKind.FULL: "queue_full",
    RefusalKind.WAITED: "model_wait_timeout",
    RefusalKind.NO_ROOM: "insufficient_memory",
    RefusalKind.LOAD_FAILED: "model_load_failed",
    RefusalKind.COOLING_DOWN: "model_cooling_down",
    RefusalKind.STOPPING: "stopping",
    RefusalKind.ENGINE_DOWN: "engine_down",
    RefusalKind.LIMIT: "rate_limit_exceeded",
    RefusalKind.PAUSED: "paused",
    RefusalKind.DRAINED: "engine_drained",
    RefusalKind.HOST_LOST: "host_lost",
    RefusalKind.FAULT: "internal_error",
}


class Standing(Protocol):
    """A request that waits, as it stands at the moment it is asked. `ref` is its model, `doing`
    what becomes of that; `position` its place in line, `eta` in seconds."""

    @property
    def ref(self) -> object: ...
    @property
    def doing(self) -> str: ...
    @property
    def position(self) -> int: ...
    @property
    def eta(self) -> float | None: ...


class Telling:
    """Tells the client of one held request how it stands, until `end`."""

    __slots__ = ("_client", "_headers", "_hints", "_ticket", "_timer")

    def __init__(self, client: Client, head: Head, ticket: Standing, headers: Headers) -> None:
        self._client, self._ticket, self._headers = client, ticket, headers
        self._hints = client.http11 and head.get(HINTS) == b"103"  # HTTP/1.0 knows no 1xx
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, surface: Surface, stream: bool, after: float) -> None:
        """`after` so many seconds, where its protocol allows it."""
        comments = stream and surface.streams is Streams.SSE
        if self._hints:
            self._hint()
        if comments or self._hints:
            tell = self._comment if comments else self._hint
            self._timer = asyncio.get_running_loop().call_later(after, self._turn, tell)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _turn(self, tell: Callable[[], None]) -> None:
        tell()
        self._timer = asyncio.get_running_loop().call_later(EVERY, self._turn, tell)

    def _comment(self) -> None:
        client = self._client
        if not client.events:
            client.begin_events(self._headers)
        client.comment(_line(self._ticket))

    def _hint(self) -> None:
        place = [(b"x-ullage-position", b"%d" % self._ticket.position)]
        if (eta := self._ticket.eta) is not None:
            place.append((b"x-ullage-eta", b"%d" % ceil(eta)))
        self._client.hint(tuple(place))


def _line(ticket: Standing) -> bytes:
    """One line for people, whatever is in a model's name."""
    position, eta = ticket.position, ticket.eta
    text = f"ullage: {ticket.ref} {ticket.doing if position <= 1 else 'waits'}"
    if position > 1:
        text += f", number {position} in line"
    if eta is not None:
        text += f", about {format_seconds(float(max(1, ceil(eta))))}"
    return printable(text, "?").encode()


# -- refusals


def status_of(kind: RefusalKind) -> int:
    return _STATUS.get(kind, 503)


def code_of(kind: RefusalKind) -> str:
    """For programs."""
    return _CODES[kind]


def told_of(refusal: Refusal) -> dict[str, object]:
    """What stands in "ullage" of the answer: who holds the bytes, how long it may take."""
    told: dict[str, object] = {}
    if refusal.ref is not None:
        told |= {"model": str(refusal.ref), "engine": refusal.ref.engine}
        told["why"] = f"/api/v1/why?model={refusal.ref}"
    if refusal.state:
        told["state"] = refusal.state
    if refusal.eta is not None:
        told["eta_seconds"] = round(refusal.eta, 1)
    if refusal.needed is not None:
        told["needed_bytes"] = refusal.needed
    if refusal.free is not None:
        told["free_bytes"] = refusal.free
    if refusal.holders:
        told["holders"] = [{"name": name, "bytes": size} for name, size in refusal.holders]
    return told


# -- streams that end before their time


def last_words(
    api: Api, part: str, content_type: bytes, message: str, code: str, ullage: Mapping[str, object]
) -> bytes | None:
    """An error as the end of an answer that has begun; it ends a half event or line before that.
    None: the client could not tell it from what it asked for."""
    kind = content_type.partition(b";")[0].strip().lower()
    if kind == SSE and api is not Api.OLLAMA:
        return b"\n\n" + event(api, 502, message, code, ullage, part)
    if kind == NDJSON and api is Api.OLLAMA:
        return b"\n" + event(api, 502, message, code, ullage, part)
    return None


def event_of(api: Api, part: str, status: int, body: bytes) -> bytes:
    """An engine's whole answer, as the end of a stream of events that the client was told to
    expect while it was held."""
    if status < 400 and (kind := _kind(body)) is not None:
        plain = api is Api.OPENAI and part != "responses"
        begun = b"" if plain else b"event: %s\n" % kind
        # Line ends stand between values alone. Nothing is built anew: a picture has megabytes.
        line = body.strip().replace(b"\r", b"").replace(b"\n", b"")
        return b"".join((begun, b"data: ", line, b"\n\n", b"data: [DONE]\n\n" if plain else b""))
    return event(api, status if status >= 400 else 502, _said(body), "engine_error", None, part)


def _kind(body: bytes) -> bytes | None:
    """What an object says that it is; None: it is no JSON object."""
    try:
        members = _members.decode(body)
        told = (_any.decode(members[key]) for key in ("type", "object") if key in members)
        kind = next((name for name in told if isinstance(name, str) and name), "message")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return printable(kind, "?").encode()


def _said(body: bytes) -> str:
    """What an engine gives as its reason, wherever it puts it."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    found = content.get("error", content) if isinstance(content, dict) else content
    if isinstance(found, dict):
        found = found.get("message") or found.get("detail") or found
    text = found if isinstance(found, str) else body.decode(errors="replace")
    return text.strip()[:1000] or "the engine gave no reason"
