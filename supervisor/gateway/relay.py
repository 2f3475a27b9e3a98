"""One request to an engine, and its answer to the client.

The answer's head is read and written anew; its body goes on as it came, a write for a read, and
where it ends is followed on the side. Nothing here waits: it is all called back.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from .answers import Answer, BadAnswer, Body, read
from .bodies import BadBody, Chunked, Counted, Passage, Unchunked, UntilClose
from .client import Client
from .heads import END, LAST_CHUNK, Headers
from .opening import Opening, streams
from .reply import chunk, lines_of
from .stages import Stage as Reading
from .upstream import Link, Links, Origin


class End(Enum):
    """How a relay ended. `begun` of the relay says whether the client got any of an answer: of one
    that did not, someone else has to answer."""

    DONE = "the answer was passed on whole"
    CLIENT_GONE = "the client left"
    NOT_BEGUN = "the engine refused, or left before a byte of its answer: it may be asked again"
    CUT = "the engine left in the middle: the stream was ended with an error, or cut"
    SILENT = "no byte came in time"
    BAD = "what came was not HTTP"


class Moves(Protocol):
    def moved(self) -> None: ...


class Listener(Protocol):
    """Who hears of a relay."""

    @property
    def flight(self) -> Moves: ...
    def answered(self, status: int, headers: Headers) -> Headers:
        """The engine answers. Gives what is added to its headers. May cancel the relay: then the
        client hears nothing of this answer, and somebody else has to answer."""
        ...

    def spoke(self) -> None:
        """The first piece of a streamed answer that says something has gone to the client."""
        ...

    def ended(self, end: End, status: int) -> None:
        """Called once, last of all; `status` is 0 where the engine gave none."""
        ...

    def last_words(self, content_type: bytes) -> bytes | None:
        """What ends a stream that the engine did not end: an error in the client's API's form. It
        may have to end a half event first."""
        ...

    def event_of(self, status: int, content_type: bytes, body: bytes) -> bytes:
        """An answer that is no stream, as the last event of one that the client expects."""
        ...


class Stage(Enum):
    WAITS = "for a connection"
    HEAD = "the request is sent"
    BODY = "the answer comes"
    OVER = "nothing more"


# By these names: asking an Enum for a member takes as long as ten attributes, before Python 3.12.
_WAITS, _HEAD, _BODY, _OVER = Stage
_NONE, _LENGTH, _CHUNKED, _UNTIL_CLOSE = Body
_DONE, _TUNNEL = End.DONE, Reading.TUNNEL

MOST_HEAD = 64 * 1024  # bytes
MOST_ERROR = 256 * 1024  # bytes of an error that becomes an event
TOO_LARGE = b"the engine's answer is too large for a stream"


class Relay:
    """Sends `request` at once, and passes on the answer. `cancel` ends it before its time."""

    __slots__ = (
        "_came", "_fresh", "_link", "_links", "_listener", "_moved", "_origin", "_passage",
        "_pieces", "_put", "_request", "_since", "_stage", "_stirred", "answer", "begun", "client",
        "error", "sent",
    )  # fmt: skip

    def __init__(
        self, client: Client, links: Links, origin: Origin, request: bytes, listener: Listener
    ) -> None:
        self.client = client
        self.begun = False  # something of the answer has reached the client
        self.sent = 0  # bytes of the answer's body, as the engine framed them
        self.answer: Answer | None = None
        self.error: OSError | None = None  # why there is no connection
        self._links, self._origin, self._listener = links, origin, listener
        self._moved: Callable[[], None] = listener.flight.moved
        self._request = request
        self._came = b""  # of a head
        self._passage: Passage | None = None
        self._put: Callable[[bytes], None] = client.write
        self._pieces: list[bytes] | None = None  # of an answer that becomes an event
        self._fresh = False  # the connection was made for this request
        self._stirred = True  # since the last sweep
        self._stage = _WAITS
        client.on_gone, client.on_flow = self._gone, self._client_flow
        self._link: Link | None = None
        self._since = 0.0
        link = links.take(origin, self)
        if link is not None:
            self._send(link)

    # What the link calls.

    def connected(self, link: Link) -> None:
        self._fresh = True
        self._send(link)

    def _send(self, link: Link) -> None:
        self._link, self._stage, self._since = link, _HEAD, self._links.clock.now
        if self.client.paused:  # by the end of its last answer
            link.transport.pause_reading()
        link.write(self._request)

    def refused(self, error: OSError) -> None:
        self.error = error
        self._end(End.NOT_BEGUN)

    def flow(self, on: bool) -> None:
        """The engine is slow to read: a request is here whole, but a tunnel's client waits."""
        if self.client.stage is _TUNNEL:
            transport = self.client.transport
            transport.resume_reading() if on else transport.pause_reading()

    def received(self, data: bytes) -> None:
        self._moved()
        self._stirred = True
        if self._stage is _HEAD:
            self._read_head(data)
        else:
            self._pass(b"", data)

    def lost(self, exc: Exception | None) -> None:
        """The engine closed the connection, or it broke."""
        self._link = None
        stage = self._stage
        if stage is _HEAD and not self._fresh and not self._came:
            # It was closed just when it was used again. A new one is tried, once.
            self._stage = _WAITS
            self._links.take(self._origin, self, fresh=True)
        elif stage is _HEAD:
            self._end(End.NOT_BEGUN)
        elif stage is _BODY:
            tunnel = self.client.stage is _TUNNEL
            if tunnel or (isinstance(self._passage, UntilClose) and exc is None):
                self._complete()
            else:
                self._break(End.CUT)

    def watch(self, now: float) -> None:
        """Called each second."""
        if self._stirred or self.client.paused or self.client.stage is _TUNNEL:
            self._stirred, self._since = False, now
        elif self._stage is not _WAITS and now - self._since > self._links.limits.silence:
            self._give_up(End.SILENT)

    # What the client's side calls.

    def cancel(self) -> None:
        """Ends it now: a stream that began with an error, else the client still has to be
        answered."""
        if self._stage is not _OVER:
            self._give_up(End.CUT if self.begun else End.NOT_BEGUN)

    def _gone(self) -> None:
        self._drop()
        self._end(End.CLIENT_GONE)

    def _client_flow(self, on: bool) -> None:
        if self._link is not None:
            if on:
                self._link.transport.resume_reading()
            else:
                self._link.transport.pause_reading()

    # How an answer is passed on.

    def _read_head(self, data: bytes) -> None:
        for _ in range(100):  # one early answer (1xx) after the other is passed over
            if not (data := self._read_one(data)):
                return
        self._give_up(End.BAD)

    def _read_one(self, data: bytes) -> bytes:
        data = self._came + data
        link = self._link
        assert link is not None
        answer = link.answer  # the last one: most begin alike
        if answer is not None and data.startswith(answer.raw):
            end = len(answer.raw)
        else:
            end = data.find(END) + 4
            if end == 3:
                self._came = data
                if len(data) > MOST_HEAD or not data.startswith(b"HTTP/1."[: len(data)]):
                    self._give_up(End.BAD)
                return b""
            try:
                answer = link.answer = read(data[:end])
            except BadAnswer:
                self._give_up(End.BAD)
                return b""
        rest, self._came = data[end:], b""
        if answer.status == 101:
            self._switch(answer, rest)
            return b""
        if answer.status < 200:
            return rest
        self._request = b""
        self.answer, self._stage = answer, _BODY
        extra = self._listener.answered(answer.status, answer.headers)
        if self._stage is _BODY:
            self._pass(self._begin(answer, lines_of(extra)), rest)
        return b""

    def _begin(self, answer: Answer, extra: bytes) -> bytes:
        """Chooses how the body goes on. Gives the head that goes before it."""
        client, body = self.client, answer.body
        bare = body is _NONE or client.without_body
        raw = not client.events and (client.http11 or body is not _CHUNKED)
        if bare:
            self._passage = Counted(0)
        elif body is _LENGTH:
            self._passage = Counted(answer.length)
        elif body is _UNTIL_CLOSE:
            self._passage = UntilClose()
        elif raw and self._link is not None:
            self._passage = self._link.chunked
            self._link.chunked.begin()
        else:
            self._passage = Unchunked()
        if client.events:  # the client has its head
            self._put = client.piece
            if answer.status >= 300 or not answer.type.startswith(b"text/event-stream"):
                self._pieces, self.begun = [], True
            elif not bare:
                self._hear()
            return b""
        if not bare and streams(answer.status, answer.type):
            self._hear()
        if not raw or (body is _UNTIL_CLOSE and not bare):
            client.keep = False
        lines = answer.framed if raw else answer.lines
        return lines + extra + (b"\r\n" if client.keep else b"connection: close\r\n\r\n")

    def _hear(self) -> None:
        """Looks for the first word of an answer; what comes after it is passed on unseen."""
        put, opening = self._put, Opening()

        def passed(data: bytes) -> None:
            put(data)
            if opening.over(data):
                self._put = put
                if opening.said:
                    self._listener.spoke()

        self._put = passed

    def _pass(self, head: bytes, data: bytes) -> None:
        passage = self._passage
        assert passage is not None
        try:
            data = passage.feed(data)
        except BadBody:
            self._give_up(End.BAD if head and not self.begun else End.CUT)
            return None
        self.sent += len(data)
        if self._pieces is not None:
            self._pieces.append(data)
            if self.sent > self._most:
                self._pieces = None
                self._drop()
                self.client.end_events(self._listener.event_of(502, b"text/plain", TOO_LARGE))
                return self._end(End.CUT)
        elif head or data:
            self.begun = True
            self._put(head + data if head else data)
        if passage.over:
            self._complete()
        return None

    # How it ends.

    def _complete(self) -> None:
        """The answer is there whole."""
        link, self._link, answer, passage = self._link, None, self.answer, self._passage
        assert answer is not None
        assert passage is not None
        if link is not None:
            unsent = link.transport.get_write_buffer_size()  # of a request answered early
            if answer.keep and not passage.more and not unsent:
                if self.client.paused:
                    link.transport.resume_reading()
                self._links.give(link)
            else:
                link.drop()
        client = self.client
        if passage.more and isinstance(passage, Chunked):
            client.keep = False
        if client.events:
            client.end_events(self._as_event())
        elif client.stage is _TUNNEL:
            client.cut()
        else:
            client.finished(client.keep)
        self._end(_DONE)

    @property
    def _most(self) -> int:
        """Bytes of an answer that becomes an event: pictures come whole, and are no errors."""
        wrong = self.answer is None or self.answer.status >= 300
        return MOST_ERROR if wrong else self._links.limits.body

    def _as_event(self) -> bytes:
        if self._pieces is None or self.answer is None:
            return b""
        return self._listener.event_of(self.answer.status, self.answer.type, b"".join(self._pieces))

    def _break(self, end: End) -> None:
        """The answer will not be whole. What has begun is ended with last words, where they can be
        said so that the client reads them; else the connection is cut. What has not begun is for
        whoever listens to answer."""
        client, answer, passage = self.client, self.answer, self._passage
        if self._pieces is not None and answer is not None and answer.status < 300:
            client.end_events(self._listener.last_words(b"text/event-stream") or b"")
        elif self._pieces is not None:
            client.end_events(self._as_event())
        elif self.begun and answer is not None:
            words = self._listener.last_words(answer.type)
            bare = isinstance(passage, UntilClose | Unchunked) and not client.events
            if words is None or isinstance(passage, Counted):
                client.cut(hard=bare)
            elif client.events:
                client.end_events(words)
            elif bare:
                client.write(words)
                client.finished(False)
            elif isinstance(passage, Chunked) and passage.between():
                client.write(chunk(words) + LAST_CHUNK)
                client.finished(client.keep)
            else:
                client.cut()
        self._end(end)

    def _give_up(self, end: End) -> None:
        self._drop()
        self._break(end)

    def _drop(self) -> None:
        if self._link is not None:
            self._link.drop()
            self._link = None

    def _end(self, end: End) -> None:
        if self._stage is _OVER:
            return
        self._stage = _OVER
        self._links.leave(self)
        self._request = b""
        client = self.client
        if client.on_gone == self._gone:
            client.on_gone = client.on_flow = None
        self._listener.ended(end, 0 if self.answer is None else self.answer.status)

    def _switch(self, answer: Answer, rest: bytes) -> None:
        """The engine changes to another protocol: from now on bytes pass both ways, as they are."""
        link, client = self._link, self.client
        if link is None or not client.switches or client.events:
            self._give_up(End.BAD)
            return
        self.answer, self._stage, self._passage = answer, _BODY, UntilClose()
        self._request = b""
        extra = lines_of(self._listener.answered(101, answer.headers))
        self.begun = True
        client.write(
            answer.lines + extra + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n" + rest
        )
        came = client.switch(self._to_engine)
        if came:
            self._to_engine(came)

    def _to_engine(self, data: bytes) -> None:
        self._moved()
        if self._link is not None:
            self._link.write(data)
