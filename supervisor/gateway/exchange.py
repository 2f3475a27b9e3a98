"""One request, from when it is whole to the last byte of its answer.

It is let through, held or refused; passed to an engine; and, where that engine did not begin to
answer, once more let through, held or refused. Whatever happens, it is over once, and nothing of it
is counted as under way after that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from supervisor.core.snapshot import ModelId, ModelRef, Snapshot
from supervisor.engines.base import Engine, EngineDown

from . import lists
from .asked import Asked, BadRequest, look, renamed, typed
from .client import Client
from .courses import Course, course, unloading
from .faults import event, fault
from .gate import Entry, Gate, after, of_refused
from .heads import Headers, forward
from .holding import Ticket
from .marks import REFUSED
from .relay import End, Relay
from .reply import Reply
from .stages import Request
from .surfaces import Does, target
from .telling import Standing, Telling, code_of, event_of, last_words, status_of, told_of
from .tokens import Pass, Refused
from .traced import ADDED, Trace
from .unforeseen import guarded
from .upstream import Origin
from .wishes import STILL, Flies, Grant, Refusal, Wish
from .wrong import UnknownModel, WrongModel

if TYPE_CHECKING:
    from .elsewhere import Way

REVOKED = "the token of this request is not known here any more"
LEFT = 499  # as nginx counts it: the client did not wait for an answer
# An attribute of an enumeration costs seven times what a name does, and this is done a lot.
_DONE, _GONE, _NOT_BEGUN, _CUT = End.DONE, End.CLIENT_GONE, End.NOT_BEGUN, End.CUT
_WORK: Final = frozenset({Does.PASS, Does.MANAGE})  # of an engine; the others are questions
_READS: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})


class Exchange:
    __slots__ = (
        "_asked", "_began", "_client", "_entry", "_first", "_flight", "_gate", "_grant", "_over",
        "_pass", "_ref", "_relay", "_request", "_spoke", "_telling", "_ticket", "_trace",
        "_unknown", "_waited", "_way",
    )  # fmt: skip

    def __init__(self, gate: Gate, client: Client, request: Request, entry: Entry) -> None:
        self._gate, self._client, self._request, self._entry = gate, client, request, entry
        self._began = gate.clock()
        self._first: float | None = None
        self._spoke: float | None = None
        self._asked: Asked | None = None
        self._pass: Pass | None = None
        self._ticket: Ticket | None = None
        self._telling: Telling | None = None
        self._grant: Grant | None = None
        self._flight: Flies = STILL
        self._relay: Relay | None = None
        self._ref: ModelRef | None = None
        self._waited: float | None = None
        self._over = False
        self._trace: Trace | None = None
        self._unknown: UnknownModel | None = None  # these two where other hosts may serve it
        self._way: Way | None = None

    # -- what is asked

    @guarded
    def begin(self) -> None:
        gate, entry, request = self._gate, self._entry, self._request
        surface = entry.surface
        if gate.tracing is not None and not entry.ours:
            named = entry.caller.name, entry.label
            self._trace = Trace.of(gate.tracing, request.head, surface.name, *named)
        snapshot = gate.snapshot
        if snapshot is None:
            return self._refuse(503, "the first sample is not in yet", "starting", wait=1.0)
        try:
            if entry.ours:
                return self._own(snapshot)
            asked = self._asked = look(surface, request.head, request.body)
            if entry.infers:
                return self._infer(snapshot, asked)
            way = course(
                surface, asked, snapshot, gate.names, gate.engines, entry.caller,
                gate.config.manage,
            )  # fmt: skip
            name = asked.model if surface.does is Does.PASS else None
            if name is not None and gate.names.knows(name, snapshot, surface):
                return self._infer(snapshot, asked)
            return self._straight(way)
        except BadRequest as wrong:
            gate.counts.refused("bad_request")
            return self._refuse(wrong.status, wrong.message, "bad_request", param=wrong.param)
        except WrongModel as wrong:
            return self._wrong(wrong)

    def _own(self, snapshot: Snapshot) -> None:
        self._say(self._gate.own(self._entry, snapshot))

    def _wrong(self, wrong: WrongModel) -> None:
        self._gate.counts.refused(wrong.why)
        told = dict(wrong.told) or None
        return self._refuse(wrong.status, wrong.message, wrong.code, told, wrong.wait, "model")

    def _infer(self, snapshot: Snapshot, asked: Asked) -> None:
        gate, entry, head = self._gate, self._entry, self._request.head
        caller, name = entry.caller, asked.model or ""
        try:
            if caller.token is None:
                candidates = gate.names.candidates(name, snapshot, entry.surface)
            else:
                candidates = gate.names.candidates(name, snapshot, entry.surface, caller.may_use)
                candidates = tuple(ref for ref in candidates if caller.may_use(ref, name))
                if not candidates:
                    return self._not_allowed()
        except UnknownModel as wrong:
            candidates = self._not_here(wrong)
        if asked.unload and not any(map(gate.admission.loaded.is_open, candidates)):
            way = unloading(candidates, snapshot, gate.engines)  # for that nothing is waited for
            return self._straight(way) if way else self._say(lists.unloaded(entry.surface, name))
        if caller.token is not None:  # of nobody in particular nothing is counted
            passed = caller.begin()
            if isinstance(passed, Refused):
                gate.counts.refused(passed.why)
                return self._say(of_refused(entry.api, passed, entry.cors))
            self._pass = passed
        client = gate.sessions.who(head, asked.user, caller)
        return self._enter(Wish(candidates, client, entry.priority, entry.lease, caller.name))

    def _not_here(self, wrong: UnknownModel) -> tuple[ModelRef, ...]:
        """No model of this host is called that."""
        raise wrong

    def _not_allowed(self) -> None:
        self._gate.counts.refused("not_allowed")
        text = f"token {self._entry.caller.name} may not use {self._asked and self._asked.model!r}"
        return self._refuse(403, text, "not_allowed", param="model")

    def _enter(self, wish: Wish) -> None:
        found = self._gate.admission.enter(wish, self._ready)
        return self._go(found) if type(found) is Grant else self._take(found)

    # -- let through, held, or refused

    def _take(self, found: Grant | Ticket | Refusal) -> None:
        if self._trace is not None:
            self._trace.told(found)
        if isinstance(found, Grant):
            self._go(found)
        elif isinstance(found, Ticket):
            self._ticket, self._ref = found, found.ref
            self._client.on_gone = self._left
            self._tell(found, (*self._gate.told(found.ref), *self._entry.cors))
        else:
            self._turned_away(found)

    def _tell(self, standing: Standing, headers: Headers) -> None:
        """The client, for as long as it waits."""
        self._telling = Telling(self._client, self._request.head, standing, headers)
        stream = self._asked is not None and self._asked.stream
        self._telling.begin(self._entry.surface, stream, self._gate.config.comments_after)

    @guarded
    def _ready(self, found: Grant | Refusal) -> None:
        """The wait is over, in the turn of the loop in which that was decided."""
        self._quiet()
        self._take(found)

    def _quiet(self) -> None:
        """It waits no more."""
        self._ticket = self._client.on_gone = None
        if self._telling is not None:
            self._telling.end()
            self._telling = None

    def _step_out(self) -> None:
        """Of the line, where it stands in one."""
        ticket = self._ticket
        self._quiet()
        if ticket is not None:
            ticket.leave()

    def _left(self) -> None:
        """The client is gone while its request was held."""
        self._step_out()
        self._gate.counts.gone()
        self._end(LEFT)

    def _turned_away(self, refusal: Refusal) -> None:
        self._gate.counts.refused(refusal.why.value)
        if refusal.ref is not None:
            self._ref = refusal.ref
        status, code = status_of(refusal.why), code_of(refusal.why)
        self._refuse(status, refusal.message, code, told_of(refusal), refusal.retry_after)

    # -- to an engine

    def _go(self, grant: Grant) -> None:
        self._grant, self._flight, self._ref = grant, grant.flight, grant.ref
        if grant.waited:
            self._waited = grant.waited
        engine = self._gate.engines.get(grant.ref.engine)
        if engine is None:
            return self._refuse(502, f"{grant.ref.engine} is not there any more", "engine_gone")
        return self._send(engine, grant.ref.model, grant.url)

    def _straight(self, course: Course) -> None:
        """To an engine that needs no room for this."""
        engine, gate, halts = course.engine, self._gate, self._gate.admission.loads.halts
        if self._entry.surface.does in _WORK and (refused := halts.of_engine(engine.id)):
            return self._turned_away(refused)
        if course.model is not None:
            self._ref = ModelRef(engine.id, course.model)
        elif course.busy and self._request.head.method not in _READS:
            self._flight = gate.loop.traffic.begin_engine(engine.id)
        try:
            url = engine.url if course.model is None else engine.address(course.model)
        except EngineDown as error:
            return self._refuse(503, f"{engine.id}: {error.message}", "engine_down")
        return self._send(engine, course.model, url)

    def _send(self, engine: Engine, model: ModelId | None, url: str) -> None:
        gate, request, surface = self._gate, self._request, self._entry.surface
        head, body = request.head, request.body
        name = ""
        if model is not None:
            name, asked = engine.called(model), self._asked
            same = asked is not None and asked.model == name and not asked.anew
            if not same or asked is None or asked.members is None or surface.model:
                body = renamed(surface, head, body, name, asked)
        way: tuple[Origin, bytes, Headers] | None = head.memo.get((url, name))
        if way is None:
            path = target(surface, engine.serves(model or ModelId("")), head, name)
            try:
                origin = Origin.of(url)
            except ValueError:
                text = f"{engine.id} has no address that can be used"
                return self._refuse(502, text, "engine_down")
            if path is None:
                text = f"{engine.id} has nothing like {surface.name}"
                return self._refuse(404, text, "wrong_api")
            add = (*gate.keys.engine_headers(engine.id), *typed(surface, head))
            way = origin, origin.base + path, add
            head.memo[url, name] = way
        origin, path, add = way
        trace = self._trace
        to = forward(head, body, origin.header, path, add if trace is None else (*add, *ADDED))
        if trace is not None:
            to = trace.sent(to, engine.id, self._ref, origin)
        self._relay = Relay(self._client, gate.links, origin, to, self)
        return None

    # -- what the relay tells

    @property
    def flight(self) -> Flies:
        return self._flight

    def answered(self, status: int, headers: Headers) -> Headers:
        self._first = self._gate.clock() - self._began
        if self._ref is None:
            return self._entry.cors
        told = self._gate.told(self._ref)
        if self._waited is not None:
            told = (*told, (b"x-ullage-waited", b"%.3f" % self._waited))
        return (*told, *self._entry.cors) if self._entry.cors else told

    def spoke(self) -> None:
        self._spoke = self._gate.clock() - self._began

    def ended(self, end: End, status: int) -> None:
        relay, self._relay = self._relay, None
        begun, sent = (False, 0) if relay is None else (relay.begun, relay.sent)
        self._flight.end()
        if self._trace is not None:
            self._trace.left(status, None if end is _DONE else end.name.lower())
        if end is _DONE:
            return self._end(status, sent)
        if end is _GONE:
            self._gate.counts.gone()
            return self._end(LEFT, sent)
        if begun:
            if end is _CUT and self._grant is not None and not self._stopping:
                self._gate.admission.broke_off(self._grant.ref)
            return self._end(status, sent)
        if self._entry.caller.gone:
            return self._refuse(401, REVOKED, "token")
        if end is _NOT_BEGUN and not self._stopping and self._again():
            return None
        whose = str(self._ref or "the engine")
        if end is End.SILENT:
            waited = self._gate.config.engine_timeout
            return self._refuse(504, f"{whose} sent nothing for {waited:g} s", "engine_silent")
        if self._stopping:
            return self._refuse(503, "the daemon is stopping", "stopping")
        what = "answered with something that is not HTTP" if end is End.BAD else "did not answer"
        return self._refuse(502, f"{whose} {what}", "engine_failed")

    def _again(self) -> bool:
        """Nobody has begun to answer: is somebody else to?"""
        grant = self._grant
        if grant is None or (self._asked is not None and self._asked.unload):
            return False
        self._grant, self._flight = None, STILL
        self._take(self._gate.admission.again(grant, self._ready))
        return True

    def last_words(self, content_type: bytes) -> bytes | None:
        text = f"{self._ref or 'the engine'} ended in the middle of its answer"
        if self._stopping:
            text = "the daemon is stopping"
        if self._entry.caller.gone:
            text = REVOKED
        entry, told = self._entry, {"model": str(self._ref)} if self._ref else {}
        return last_words(entry.api, entry.surface.name, content_type, text, "engine_failed", told)

    def event_of(self, status: int, content_type: bytes, body: bytes) -> bytes:
        return event_of(self._entry.api, self._entry.surface.name, status, body)

    # -- the end

    @property
    def _stopping(self) -> bool:
        return self._client.connections.closing

    def revoke(self) -> None:
        """Where its token is not known any more: who is held is refused, and an answer ends."""
        if not self._entry.caller.gone:
            return None
        if self._ticket is not None:
            self._step_out()
            return self._revoked()
        return self.abandon()

    def _revoked(self) -> None:
        self._gate.counts.refused("token")
        return self._refuse(401, REVOKED, "token")

    def broke(self, text: str) -> None:
        self._step_out()
        self._refuse(500, text, "internal_error")

    def abandon(self) -> None:
        """It ends now, however far it is: an answer that has begun, with an error."""
        if self._relay is not None:
            self._relay.cancel()

    def _refuse(
        self,
        status: int,
        text: str,
        code: str,
        ullage: dict[str, object] | None = None,
        wait: float | None = None,
        param: str | None = None,
    ) -> None:
        """An error of ours: as an answer, or as the end of a stream that has begun."""
        entry, client = self._entry, self._client
        if client.events:
            client.end_events(event(entry.api, status, text, code, ullage, entry.surface.name))
            return self._end(status)
        headers = (*after(wait), *entry.cors)
        if self._ref is not None:
            headers = (*headers, *self._gate.told(self._ref))
        if entry.placed:
            headers = (*headers, (REFUSED, code.encode()))
        return self._say(fault(entry.api, status, text, code, ullage, headers, param))

    def _say(self, reply: Reply) -> None:
        self._client.answer(reply)
        self._end(reply.status, len(reply.body))

    @property
    def _counted(self) -> ModelRef | None:
        """By what name its model is told of in metrics."""
        return self._ref

    def _end(self, status: int, sent: int = 0) -> None:
        if self._over:
            return
        self._over = True
        self._flight.end()
        if self._pass is not None:
            self._pass.end()
        gate = self._gate
        gate.counts.answered(
            self._counted, self._entry.label, status, self._first,
            gate.clock() - self._began, sent, self._spoke,
        )  # fmt: skip
        if self._trace is not None:
            self._trace.end(self._ref, status, sent, self._first, self._spoke)
        gate.under_way.discard(self)
