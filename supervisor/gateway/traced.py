"""The trace of one request: arrived, held, planned, evicted and loaded for, sent, its first token.

What is done here while a request is under way is to note the time. Only when it has ended are its
spans made, with whatever was decided meanwhile for the model that it waited for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from supervisor.core.snapshot import ModelRef
from supervisor.telemetry.tracing import (
    SLOT,
    TRACEPARENT,
    Attributes,
    Done,
    Finished,
    Span,
    Tracing,
    Value,
)
from supervisor.telemetry.tracing import write as traceparent

from .heads import Head, Headers
from .holding import Ticket
from .upstream import Origin
from .wishes import Grant, Refusal

ADDED: Headers = ((TRACEPARENT, SLOT),)  # what `sent` puts the span's own header in place of
MOST = 16  # actions that one hold shows
LONGEST = 256  # characters of a path


@dataclass(slots=True)
class _Hold:
    ref: ModelRef
    ticket: Ticket
    began: float
    ended: float | None = None
    refused: str | None = None


@dataclass(slots=True)
class _Sent:
    id: int
    engine: str
    model: str | None
    origin: Origin
    began: float
    ended: float | None = None
    status: int = 0
    error: str | None = None


@dataclass(slots=True)
class Trace:
    tracing: Tracing
    trace: int
    parent: int
    id: int
    began: float
    unix: float  # at the same moment
    about: dict[str, Value]
    name: str
    _holds: list[_Hold] = field(default_factory=list)
    _sent: list[_Sent] = field(default_factory=list)

    @staticmethod
    def of(tracing: Tracing, head: Head, surface: str, caller: str, api: str) -> Trace | None:
        """None: this request is not traced."""
        parent = tracing.begins(head.get(TRACEPARENT))
        if parent is None:
            return None
        method = head.method.decode()
        about: dict[str, Value] = {
            "http.request.method": method,
            "ullage.surface": surface,
            "url.path": head.path.decode("ascii", "backslashreplace")[:LONGEST],
            "ullage.api": api,
        }
        if caller:
            about["ullage.token"] = caller
        began, unix = tracing.clock(), tracing.wall()
        name = f"{method} {surface}"
        own = tracing.new_id()
        return Trace(tracing, parent.trace, parent.span, own, began, unix, about, name)

    # -- while it is under way

    def told(self, found: Grant | Ticket | Refusal) -> None:
        """It is held; or it has been, and goes on."""
        self._over()
        if isinstance(found, Ticket):
            self._holds.append(_Hold(found.ref, found, self.tracing.clock()))
        elif isinstance(found, Refusal):
            self.about["ullage.refused"] = found.why.value
            if self._holds:
                self._holds[-1].refused = found.message

    def _over(self) -> None:
        if self._holds and self._holds[-1].ended is None:
            self._holds[-1].ended = self.tracing.clock()
            self._holds[-1].ref = self._holds[-1].ticket.ref  # it may have been moved to another

    def sent(self, request: bytes, engine: str, ref: ModelRef | None, origin: Origin) -> bytes:
        """`request` as it is to go out: as a part of this span."""
        id = self.tracing.new_id()
        model = None if ref is None else str(ref)
        self._sent.append(_Sent(id, engine, model, origin, self.tracing.clock()))
        return request.replace(SLOT, traceparent(self.trace, id), 1)

    def left(self, status: int, error: str | None) -> None:
        """The engine has answered, or has not."""
        if self._sent:
            last = self._sent[-1]
            last.ended, last.status, last.error = self.tracing.clock(), status, error

    # -- when it has ended

    def end(
        self, ref: ModelRef | None, status: int, sent: int, first: float | None, spoke: float | None
    ) -> None:
        """`first` and `spoke` are seconds since it began: the answer's first byte, and its first
        word."""
        self._over()
        self.about["http.response.status_code"] = status
        self.about["ullage.response_bytes"] = sent
        if ref is not None:
            self.about["ullage.engine"], self.about["ullage.model"] = ref.engine, str(ref)
        steps = [*self._held(), *self._engines(first, spoke)]
        ids = dict.fromkeys(
            str(s.attributes["ullage.decision"]) for s in steps if "ullage.decision" in s.attributes
        )
        if ids:
            self.about["ullage.decisions"] = tuple(ids)
        error = None
        if status >= 500:
            error = self.about["error.type"] = str(status)
        elif status == 499:
            self.about["error.type"] = "client_gone"
        whole = self._span(
            self.name, self.id, self.parent, self.began, self.tracing.clock(), self.about,
            error, "server",
        )  # fmt: skip
        self.tracing.put(Finished(self.trace, self.parent != 0, (whole, *steps)))

    def _held(self) -> Iterator[Span]:
        for hold in self._holds:
            ended = hold.ended or hold.began
            own, ref = self.tracing.new_id(), str(hold.ref)
            inner = list(self._decided(hold, own, ended))
            about: dict[str, Value] = {"ullage.model": ref, "ullage.engine": hold.ref.engine}
            if inner:
                about["ullage.decision"] = inner[-1].attributes["ullage.decision"]
            error = hold.refused
            yield self._span("held", own, self.id, hold.began, ended, about, error)
            yield from inner

    def _decided(self, hold: _Hold, parent: int, ended: float) -> Iterator[Span]:
        """What was done meanwhile, cut to the time in which it was waited for."""
        new, since, shown = self.tracing.new_id, hold.began, 0
        ids = tuple(hold.ticket.decisions)
        for decided in self.tracing.decisions.during(ids, str(hold.ref), hold.began, ended):
            if decided.at >= since:
                yield self._span("plan", new(), parent, since, decided.at, decided.attributes)
            for done in decided.done:
                if done.ended >= hold.began and done.began <= ended and shown < MOST:
                    shown += 1
                    yield self._action(done, new(), parent, hold.began, ended)
            if (open := decided.under_way(str(hold.ref), ended)) is not None:
                yield self._action(open, new(), parent, hold.began, ended)
            since = max(since, decided.ended)

    def _action(self, done: Done, id: int, parent: int, first: float, last: float) -> Span:
        began, ended = max(done.began, first), min(done.ended, last)
        return self._span(done.name, id, parent, began, ended, done.attributes, done.error)

    def _engines(self, first: float | None, spoke: float | None) -> Iterator[Span]:
        for sent in self._sent:
            ended = self.tracing.clock() if sent.ended is None else sent.ended
            about: dict[str, Value] = {
                "ullage.engine": sent.engine,
                "server.address": sent.origin.unix or sent.origin.host,
            }
            if sent.origin.port:
                about["server.port"] = sent.origin.port
            if sent.model is not None:
                about["ullage.model"] = sent.model
            if sent.status:
                about["http.response.status_code"] = sent.status
            if sent.error is not None:
                about["error.type"] = sent.error
            yield self._span(
                sent.engine, sent.id, self.id, sent.began, ended, about, sent.error, "client"
            )
            came = spoke if spoke is not None else first
            if sent is self._sent[-1] and came is not None:
                name = "first byte" if spoke is None else "first token"
                at = max(self.began + came, sent.began)
                yield self._span(name, self.tracing.new_id(), sent.id, sent.began, at, {})

    def _span(
        self,
        name: str,
        id: int,
        parent: int,
        began: float,
        ended: float,
        about: Attributes,
        error: str | None = None,
        kind: str = "internal",
    ) -> Span:
        start, end = (self._at(moment) for moment in (began, max(began, ended)))
        return Span(name, id, parent, kind, start, end, about, error)

    def _at(self, moment: float) -> int:
        """In Unix nanoseconds, by the clock that nobody sets."""
        return int(self.unix * 1e9) + int((moment - self.began) * 1e9)
