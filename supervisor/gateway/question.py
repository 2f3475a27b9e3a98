"""One question to a neighbour that answers at once, over the links that requests go by: its answer
whole, or in words why there is none. Nothing here waits; whoever asks is called back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from .answers import Answer, BadAnswer, Body, read
from .bodies import BadBody, Counted, Passage, Unchunked, UntilClose
from .heads import END
from .upstream import Link, Links, Origin

MOST = 16 * 1024 * 1024  # bytes of an answer


class Said(NamedTuple):
    status: int
    body: bytes


def written(method: bytes, target: bytes, body: bytes = b"") -> bytes:
    """A question, as it goes over the wire."""
    head = b"%s %s HTTP/1.1\r\nhost: localhost\r\naccept: application/json\r\n" % (method, target)
    if body or method not in (b"GET", b"DELETE"):
        head += b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)
    return head + b"\r\n" + body


class Question:
    """Sent at once. `then` is called once, with the answer, or with the reason why there is none;
    `within` so many seconds."""

    __slots__ = (
        "_answer", "_came", "_fresh", "_link", "_links", "_origin", "_passage", "_pieces",
        "_request", "_then", "_timer",
    )  # fmt: skip

    def __init__(
        self,
        links: Links,
        origin: Origin,
        request: bytes,
        within: float,
        then: Callable[[Said | str], None],
    ) -> None:
        self._links, self._origin, self._request = links, origin, request
        self._then: Callable[[Said | str], None] | None = then
        self._came = b""  # of the head
        self._pieces: list[bytes] = []
        self._answer: Answer | None = None
        self._passage: Passage | None = None
        self._fresh = False  # the connection was made for this question
        self._link: Link | None = None
        late = f"no answer within {within:g} s"
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(within, self._give_up, late)
        link = links.take(origin, self)
        if link is not None:
            self._send(link)

    def drop(self) -> None:
        """Nobody wants the answer any more: `then` is not called."""
        self._then = lambda _: None
        self._give_up("")

    # What the link calls.

    def connected(self, link: Link) -> None:
        self._fresh = True
        self._send(link)

    def _send(self, link: Link) -> None:
        self._link = link
        link.write(self._request)

    def refused(self, error: OSError) -> None:
        self._end(error.strerror or str(error) or "no connection could be had")

    def received(self, data: bytes) -> None:
        try:
            self._read(data)
        except (BadAnswer, BadBody) as error:
            self._give_up(f"what it answered is not HTTP: {error}")

    def lost(self, exc: Exception | None) -> None:
        self._link = None
        if self._answer is None and not self._fresh and not self._came:
            # It was closed just when it was used again. A new one is tried, once.
            self._links.take(self._origin, self, fresh=True)
        elif isinstance(self._passage, UntilClose) and exc is None:
            self._complete()
        else:
            self._end("it hung up before it had answered")

    def flow(self, on: bool) -> None: ...

    def watch(self, now: float) -> None: ...

    # How the answer is read.

    def _read(self, data: bytes) -> None:
        while self._answer is None:
            data = self._came + data
            end = data.find(END) + 4
            if end == 3:
                self._came = data
                if len(data) > MOST:
                    self._give_up("its answer has no end")
                return
            answer, data, self._came = read(data[:end]), data[end:], b""
            if answer.status >= 200:
                self._answer, self._passage = answer, _passage(answer)
        passage = self._passage
        assert passage is not None
        self._pieces.append(passage.feed(data))
        if passage.over:
            self._complete()
        elif sum(map(len, self._pieces)) > MOST:
            self._give_up("its answer has no end")

    # How it ends.

    def _complete(self) -> None:
        link, self._link, answer, passage = self._link, None, self._answer, self._passage
        assert answer is not None
        assert passage is not None
        if link is not None:
            if answer.keep and not passage.more:
                self._links.give(link)
            else:
                link.drop()
        self._end(Said(answer.status, b"".join(self._pieces)))

    def _give_up(self, why: str) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.drop()
        self._end(why)

    def _end(self, said: Said | str) -> None:
        then, self._then = self._then, None
        if then is None:
            return
        self._timer.cancel()
        self._links.leave(self)
        then(said)


def _passage(answer: Answer) -> Passage:
    if answer.body is Body.CHUNKED:
        return Unchunked()
    if answer.body is Body.UNTIL_CLOSE:
        return UntilClose()
    return Counted(answer.length)
