"""One client's connection: requests are read whole, one after the other, within limits, and each is
answered before the next is looked at.

Whatever stage a request is in, the connection is read on, so that a client that leaves is noticed.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from . import reply as replies
from .bodies import BadBody, Counted, Unchunked
from .heads import END, LAST_CHUNK, BadHead, Head, Headers
from .limits import Limits
from .reply import Reply
from .stages import Request, Stage

if TYPE_CHECKING:
    from .connections import Connections


# By these names: asking an Enum for a member takes as long as ten attributes, before Python 3.12.
_HEAD, _BODY, _SERVED, _TUNNEL, _LEAVING, _CLOSED = Stage

Serve = Callable[["Client", Request], None]


class Client(asyncio.Protocol):
    """`serve` is called with each request once it is whole. It, or whoever it passes the request
    on to, answers in one of four ways: `answer`; `begin_events` … `end_events`; a relay, which
    writes an engine's answer; a tunnel. `on_gone` is called if the client leaves before that is
    over, `on_flow(False)` when it reads more slowly than is written, `on_flow(True)` when it has
    caught up."""

    __slots__ = (
        "_asked", "_body", "_clock", "_due", "_got", "_head", "_holds", "_like", "_loop",
        "_passage", "_rest", "_served", "connections", "events", "gone", "http11", "keep", "limits",
        "moved", "on_flow", "on_gone", "paused", "peer", "serve", "since", "stage", "transport",
        "tunnel", "without_body", "write",
    )  # fmt: skip

    def __init__(
        self, serve: Serve, limits: Limits, connections: Connections | None = None
    ) -> None:
        self.serve = serve
        self.limits = limits
        if connections is None:
            from .connections import Connections

            connections = Connections(serve, limits)
        self.connections = connections
        self._clock = connections.clock
        self.peer = ""
        self.gone = False
        self.on_gone: Callable[[], None] | None = None
        self.on_flow: Callable[[bool], None] | None = None
        self.tunnel: Callable[[bytes], None] | None = None
        self.stage = _HEAD
        self.since = 0.0  # when the stage began, or last moved on
        self.moved = False  # since the last sweep
        self.paused = False  # it does not read what we write
        self.keep = True  # the connection outlives the request
        self.events = False  # a stream of ours has begun
        self.http11 = True
        self.without_body = False  # it asked for the head alone
        self._rest = b""  # bytes that came and are not yet looked at
        self._due = False  # they begin the next request, and are looked at in the loop's next turn
        self._head: Head | None = None
        self._like: Head | None = None  # of the last request: most begin alike
        self._body = bytearray()  # no list: pieces of a byte each would take ten times their size
        self._passage: Unchunked | Counted | None = None
        self._got = 0  # bytes of the body
        self._asked = 0.0  # when its body began
        self._holds = 0  # bytes of it that are counted with everybody's
        self._served = 0  # requests
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.write: Callable[[bytes], None] = _nowhere

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # not by name: uvloop has its own
        self.write = self.transport.write
        self._loop = asyncio.get_running_loop()
        peer: Any = transport.get_extra_info("peername")
        # "" is for Unix sockets alone, which need no token: who has hung up already has no address.
        unix = isinstance(peer, (str, bytes))
        self.peer = str(peer[0]) if isinstance(peer, tuple) else "" if unix else "gone"
        if self.connections.add(self):
            self.since = self._clock.now
            if self.connections.closing:
                self.rest()
        else:
            self._refuse(503, "too many connections are open")

    def data_received(self, data: bytes) -> None:
        self.moved = True
        stage = self.stage
        if stage is _HEAD and not self._due:
            self._read_head(data)
        elif stage is _BODY:
            self._read_body(data)
        elif stage is _TUNNEL:
            if self.tunnel is not None:
                self.tunnel(data)
        elif stage is _SERVED or stage is _HEAD:
            self._rest += data
            if len(self._rest) > self.limits.ahead:
                self.cut()  # it sends the next requests without waiting, without end
        elif stage is _LEAVING:
            self._got += len(data)
            if self._got > self.limits.leaving:
                self.transport.abort()

    def eof_received(self) -> None:
        """A client that will send no more is taken for gone: so is it by nginx."""

    def connection_lost(self, exc: Exception | None) -> None:
        self.stage, self.gone, self.write = _CLOSED, True, _nowhere
        self.connections.remove(self)
        self._let_go()
        self._rest = b""
        called, self.on_gone, self.on_flow, self.tunnel = self.on_gone, None, None, None
        if called is not None:
            called()

    def pause_writing(self) -> None:
        self.paused, self.since = True, self._clock.now
        if self.on_flow is not None:
            self.on_flow(False)

    def resume_writing(self) -> None:
        self.paused = False
        if self.on_flow is not None:
            self.on_flow(True)

    # How a request is read.

    def _read_head(self, data: bytes) -> None:
        rest, like, now = self._rest, self._like, self._clock.now
        if rest:
            seen, data = max(0, len(rest) - 3), rest + data
        elif like is not None and (found := like.again(data)) is not None:
            self.since = now
            return self._go(like, *found, data)
        else:
            if data[0] < 32:  # empty lines after the last request's body: they begin nothing
                data = data.lstrip(b"\r\n")
                if not data:
                    return None
            seen, self.since = 0, now
        end = data.find(END, seen) + 4
        if end == 3 or end > self.limits.head:
            if len(data) > self.limits.head:
                return self._refuse(431, f"the head has more than {self.limits.head} bytes")
            self._rest = data
            return None
        try:
            head, length = self.connections.heads.read(data[:end])
        except BadHead as error:
            return self._refuse(error.status, error.message)
        self._like = head
        return self._go(head, end, length, data)

    def _go(self, head: Head, end: int, length: int, data: bytes) -> None:
        """`data` begins with a head that ends at `end`, and announces so long a body."""
        self._head, self.keep, self.http11 = head, head.keep_alive, head.http11
        self.without_body = head.method == b"HEAD"
        if length > self.limits.body:
            return self._refuse(413, f"the body has more than {self.limits.body} bytes")
        whole, size = end + length, len(data)
        admit = self.connections.admit
        if admit is not None and (refused := admit(self, head)) is not None:
            return self._refuse_with(refused, size == whole and not head.chunked)
        if size >= whole and not head.chunked:
            self._rest = data[whole:] if size > whole else b""
            return self._begin(head, data[end:whole])
        self._rest, self._got, self.stage, self._asked = b"", 0, _BODY, self._clock.now
        self._passage = Unchunked() if head.chunked else Counted(length)
        if head.expects and size == end:
            self.write(replies.CONTINUE)
        if size > end:
            self._read_body(data[end:])
        return None

    def _read_body(self, data: bytes) -> None:
        passage = self._passage
        assert passage is not None
        try:
            piece = passage.feed(data)
        except BadBody as error:
            return self._refuse(400, f"the body's chunks are not whole: {error}")
        self._got += len(piece)
        if self._got > self.limits.body:
            return self._refuse(413, f"the body has more than {self.limits.body} bytes")
        if (why := self._hold(len(piece))) is not None:
            return self._refuse(503, why)
        self._body += piece
        if passage.over:
            if passage.more and isinstance(passage, Counted):
                self._rest = data[len(piece) :]
            elif passage.more:
                self.keep = False  # what follows is dropped, for where it begins is not known
            body, self._body, self._passage = bytes(self._body), bytearray(), None
            assert self._head is not None
            self._begin(self._head, body)
        return None

    def _hold(self, size: int) -> str | None:
        self._holds += size
        return self.connections.take(size, self._holds)

    def _begin(self, head: Head, body: bytes) -> None:
        self.stage, self.since = _SERVED, self._clock.now
        if not self._holds and body and (why := self._hold(len(body))) is not None:
            return self._refuse(503, why)
        self._served += 1
        self.serve(self, Request(head, body))
        return None

    # How it is answered.

    def answer(self, reply: Reply) -> None:
        """A whole answer; then the next request is read. Nothing happens if the client is gone."""
        if self.stage is not _SERVED:
            return
        keep = self.keep and not self.connections.closing
        self.write(replies.encoded(reply, keep, self.without_body))
        self.finished(keep)

    def hint(self, headers: Headers) -> None:
        """An early hint (103), to a client that asked for such."""
        if self.stage is _SERVED and not self.events:
            self.write(b"HTTP/1.1 103 Early Hints\r\n" + replies.lines_of(headers) + b"\r\n")

    def begin_events(self, headers: Headers = ()) -> None:
        """Says 200 and that events follow. From now on only comments, events and the end can."""
        if self.stage is not _SERVED or self.events:
            return
        self.events = True
        self.keep = self.keep and self.http11
        framing = b"transfer-encoding: chunked\r\n" if self.http11 else b""
        if not self.keep:
            framing += b"connection: close\r\n"
        self.write(replies.EVENTS + replies.lines_of(headers) + framing + b"\r\n")

    def comment(self, text: bytes) -> None:
        """A line that clients of event streams pass over."""
        self.piece(b": " + text + b"\n\n")

    def piece(self, data: bytes) -> None:
        """A piece of the stream that was begun."""
        if self.events and data and self.stage is _SERVED:
            self.write(replies.chunk(data) if self.http11 else data)

    def end_events(self, last: bytes = b"") -> None:
        """The stream ends, with `last`."""
        if self.stage is not _SERVED or not self.events:
            return
        self.piece(last)
        if self.http11:
            self.write(LAST_CHUNK)
        self.finished(self.keep)

    def finished(self, keep: bool, whole: bool = True) -> None:
        """The answer is written whole: the next request is read, or the connection closed. `whole`:
        so was the request read."""
        self.on_gone = self.on_flow = None
        if self.stage is not _SERVED:
            return
        self._let_go()
        self.events = False
        if not keep or self.connections.closing:
            self._leave(whole)
            return
        self.stage, self._head, self.without_body = _HEAD, None, False
        self.since = self._clock.now
        if self._rest:
            self._due = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        self._due = False
        if self.stage is _HEAD and self._rest:
            data, self._rest = self._rest, b""
            self.data_received(data)

    def switch(self, tunnel: Callable[[bytes], None]) -> bytes:
        """From now on bytes pass both ways; what came already is given back."""
        self.stage, self.tunnel = _TUNNEL, tunnel
        came, self._rest = self._rest, b""
        return came

    def cut(self, hard: bool = False) -> None:
        """Ends the connection in the middle of an answer; `hard`, where nothing else would tell the
        client that the answer is not whole, with a reset."""
        if self.gone:
            return
        sock: socket.socket | None = self.transport.get_extra_info("socket")
        if hard and sock is not None:
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort() if hard or self.paused else self.transport.close()

    # How it is refused.

    def _refuse(self, status: int, message: str) -> None:
        self._refuse_with(self.connections.fault(self._head, status, message), False)

    def _refuse_with(self, reply: Reply, whole: bool) -> None:
        """Answers early. Unless the request is there `whole`, a little of what still comes is read
        off: who closes on unread bytes resets the connection, and the answer is lost."""
        self.keep = self.keep and whole
        self.write(replies.encoded(reply, self.keep, self.without_body))
        self.stage = _SERVED
        self._rest = b""
        self.finished(self.keep, whole)

    def _leave(self, whole: bool) -> None:
        transport = self.transport
        self.stage, self._got, self.since = _LEAVING, 0, self._clock.now
        if transport.is_closing():
            return
        if transport.can_write_eof():
            transport.write_eof()
        elif whole and not transport.get_write_buffer_size():
            transport.close()  # TLS has no half of a goodbye

    @property
    def keeps_us_waiting(self) -> bool:
        """Whether it has yet to say a request, or the rest of one."""
        return self.stage in (_HEAD, _BODY)

    @property
    def switches(self) -> bool:
        """Whether it asked for another protocol."""
        return self._head is not None and self._head.upgrade is not None

    # How it is watched.

    def watch(self, now: float) -> None:
        """Called each second: whoever takes too long is told so, or cut off."""
        limits, stage, lasted = self.limits, self.stage, now - self.since
        moved, self.moved = self.moved, False
        unread = self.transport.get_write_buffer_size()
        if stage is _SERVED or stage is _TUNNEL:
            late = self.paused and lasted > limits.stalled
        elif stage is _LEAVING:
            late = lasted > (limits.stalled if unread else limits.leave_within)
            if late and not unread:
                return self.transport.close()  # in TLS with a goodbye: what it has is whole
        elif stage is _HEAD:
            if self._rest and lasted > limits.head_within:
                return self._refuse(408, f"the head took more than {limits.head_within:g} s")
            idle = limits.idle if self._served else limits.head_within
            late = lasted > (limits.stalled if unread else idle)
        elif self._drips(now):
            return self._refuse(408, f"less than {limits.slowest} bytes of the body came a second")
        elif moved:
            self.since, late = now, False
        elif lasted > limits.body_within:
            return self._refuse(408, f"no byte of the body came for {limits.body_within:g} s")
        else:
            late = False
        if late:
            self.transport.abort()
        return None

    def _drips(self, now: float) -> bool:
        """After its first half minute a body is to come at some pace, on the whole: with a byte
        now and then somebody could keep all connections for ever."""
        lasted = now - self._asked - self.limits.paced_after
        return lasted > 0 and self._got < lasted * self.limits.slowest

    def rest(self) -> None:
        """One more request at most: what is on its way is answered, and who asks for nothing is
        waited for no longer. Closed at once, a request that comes meanwhile would be reset."""
        if self.stage is _HEAD and not self._rest:
            wait = self.limits.last_kept if self._served else self.limits.last_new
            self._loop.call_later(wait, self._rested)

    def _rested(self) -> None:
        if self.stage is _HEAD and not self._rest:
            self.transport.close()

    def _let_go(self) -> None:
        self.connections.held -= self._holds
        self._holds, self._body, self._passage = 0, bytearray(), None


def _nowhere(data: bytes) -> None:
    """Where the bytes for a client go that is gone."""
