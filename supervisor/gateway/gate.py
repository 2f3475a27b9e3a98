"""What requests need on their way: who asks, what for, and where the engines are. One for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from typing import TYPE_CHECKING

from supervisor.config.gated import GatewayConfig
from supervisor.core.policy import Policy
from supervisor.core.snapshot import EngineId, ModelRef, Snapshot
from supervisor.engines.base import Engine
from supervisor.engines.serves import Api
from supervisor.journal.audit import MINUTE, REFUSED
from supervisor.loop import Loop
from supervisor.telemetry.tracing import Tracing

from . import lists, placing
from .admission import Admission
from .client import Client
from .counts import Counts
from .faults import fault
from .fleet import Fleet
from .guard import Guard
from .heads import Head, Headers
from .keys import Keys
from .marks import Marks
from .names import Names
from .reply import Reply
from .sessions import Sessions, lease_of, priority_of
from .surfaces import Does, Surface, api_of, nothing_at, spoken, surface_of
from .tokens import Caller, Refused, Tokens
from .upstream import Links

if TYPE_CHECKING:
    from .exchange import Exchange

TO_ENGINES = frozenset({Does.INFER, Does.SHOW, Does.STORED, Does.MANAGE, Does.PASS})
AGAIN = 1.0  # seconds after which who was refused for want of room may ask again
MODELS = 1024  # of which it is remembered how they are told of


@dataclass(frozen=True, slots=True)
class Entry:
    """What follows from a request's head alone: it may pass, and asks in this way. `cors` is for
    the answer; from `expires` on, in Unix time, and at another `turn` of the tokens, who asks has
    to be looked up again. `ours`: we answer it ourselves, `infers`: a model is to work on it.
    `placed`: another host of the fleet has placed it here; `roams`: it may be placed by us.
    `label` is the API's in metrics."""

    caller: Caller
    surface: Surface
    api: Api
    cors: Headers
    expires: float
    priority: int
    lease: str | None
    ours: bool
    infers: bool
    label: str
    turn: int
    placed: bool = False
    roams: bool = False


@dataclass(slots=True)
class Gate:
    config: GatewayConfig
    loop: Loop
    guard: Guard
    tokens: Tokens
    sessions: Sessions
    names: Names
    admission: Admission
    counts: Counts
    links: Links
    keys: Keys
    marks: Marks = field(default_factory=Marks)
    fleet: Fleet | None = None
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    tracing: Tracing | None = None
    under_way: set[Exchange] = field(default_factory=set)
    _given: Policy | None = None  # by which names were looked up
    _told: dict[ModelRef, Headers] = field(default_factory=dict)

    # -- who comes in

    def admit(self, client: Client, head: Head) -> Reply | None:
        """Before the body is read: a refusal, where the head is enough for one."""
        found = self.entry(client, head)
        return found if isinstance(found, Reply) else None

    def entry(self, client: Client, head: Head) -> Entry | Reply:
        """Clients send the same head again and again: what it comes to is kept with it."""
        key = "entry" if client.peer else "entry of this machine"
        found: Entry | None = head.memo.get(key)
        if (
            found is not None
            and found.turn == self._turn
            and (found.expires == 0.0 or self.wall() < found.expires)
        ):
            return found
        made = self._judge(client, head)
        if isinstance(made, Entry):
            head.memo[key] = made
        return made

    def _judge(self, client: Client, head: Head) -> Entry | Reply:
        api = api_of(head.path, head)
        if (refused := self.guard.refuse(head)) is not None:
            return self._refused(client, head, api, refused)
        if (allowed := self.guard.preflight(head)) is not None:
            return Reply(204, b"", headers=allowed)
        cors = self.guard.cors(head)
        surface = surface_of(head.method, head.path)
        if surface is not None:
            api = spoken(surface, head)
        placed = self.marks.believed(head)
        caller = self.marks.caller if placed else self.tokens.identify(head, client.peer or None)
        if isinstance(caller, Refused):
            return self._refused(client, head, api, caller, cors)
        if surface is None:
            status, message, headers = nothing_at(head.method, head.path)
            self.counts.answered(None, named(api), status, None, 0.0, 0)
            return fault(api, status, message, "not_found", headers=(*headers, *cors))
        expires = 0.0 if caller.token is None else caller.token.expires or 0.0
        return Entry(
            caller,
            surface,
            api,
            cors,
            expires,
            priority_of(head, caller),
            lease_of(head),
            surface.does not in TO_ENGINES,
            surface.does is Does.INFER,
            named(api),
            self._turn,
            placed,
            self.fleet is not None and not placed and surface.engine is None,
        )

    @property
    def _turn(self) -> int:
        """Another whenever somebody else may come in."""
        return self.tokens.turn + self.marks.turn

    def _refused(
        self, client: Client, head: Head, api: Api, refused: Refused, cors: Headers = ()
    ) -> Reply:
        if refused.status in REFUSED:
            at = client.peer or "unix socket"
            what = f"{head.method.decode('latin-1')} {head.path.decode('latin-1')}"
            told = (MINUTE, refused.status, refused.message)
            self.loop.journal.audit.sum_up("nobody", what, *told, via="gateway", address=at)
        self.counts.refused(refused.why)
        self.counts.answered(None, named(api), refused.status, None, 0.0, 0)
        return of_refused(api, refused, cors)

    def fault(self, head: Head | None, status: int, message: str) -> Reply:
        """What is wrong with the connection itself, in the form of the client's API."""
        why = {413: "too_large", 408: "too_slow", 503: "overloaded"}.get(status, "bad_request")
        self.counts.refused(why)
        api = Api.OPENAI if head is None else api_of(head.path, head)
        self.counts.answered(None, named(api), status, None, 0.0, 0)
        full = status == 503
        later = after(AGAIN if full else None)
        return fault(api, status, message, "overloaded" if full else "bad_request", headers=later)

    def own(self, entry: Entry, snapshot: Snapshot, fleet: placing.Fleet | None = None) -> Reply:
        """What we answer ourselves; lists tell of the `fleet`, too. Raises WrongModel."""
        surface, caller, names = entry.surface, entry.caller, self.names
        visible = caller.may_use
        match surface.does:
            case Does.MODELS:
                reply = lists.models(snapshot, names, entry.api, visible, fleet)
            case Does.MODEL:
                name = surface.model or ""
                reply = lists.model(name, snapshot, names, surface, entry.api, visible, fleet)
            case Does.TAGS:
                reply = lists.tags(snapshot, names, visible, fleet)
            case Does.PS:
                reply = lists.ps(snapshot, names, visible, fleet)
            case Does.VERSION:
                reply = lists.version(snapshot)
            case Does.HELLO:
                reply = lists.HELLO
            case _:
                reply = lists.HEALTHY
        return replace(reply, headers=(*reply.headers, *entry.cors)) if entry.cors else reply

    # -- where it goes

    @property
    def snapshot(self) -> Snapshot | None:
        """The latest; None before the first."""
        loop = self.loop
        if loop.keeping.given is not self._given:
            self._given = loop.keeping.given
            self.names.forget()  # what models are for may have been set anew
        return loop.snapshot

    @property
    def engines(self) -> Mapping[EngineId, Engine]:
        return self.loop.sampler.engines

    def told(self, ref: ModelRef) -> Headers:
        """Which model it is that answers, as a header."""
        found = self._told.get(ref)
        if found is None:
            if len(self._told) >= MODELS:
                self._told.clear()
            text = str(ref).encode("ascii", "replace")
            printable = bytes(b if 32 <= b < 127 else 63 for b in text)
            found = self._told[ref] = ((b"x-ullage-model", printable),)
        return found


def named(api: Api) -> str:
    """As metrics have it."""
    return api.name.lower()


def of_refused(api: Api, refused: Refused, cors: Headers = ()) -> Reply:
    """A refusal of the guard or of a token's limits, in the client's form."""
    headers = (*refused.headers, *after(refused.retry_after), *cors)
    return fault(api, refused.status, refused.message, refused.why, headers=headers)


def after(seconds: float | None) -> Headers:
    """When it is worth to ask again."""
    return () if seconds is None else ((b"retry-after", b"%d" % max(1, ceil(seconds))),)
