"""Bodies as they go by: what of the bytes that come belongs to one, and where it ends. No I/O."""

from __future__ import annotations

from typing import Final, Protocol

import httptools

from .heads import END, LAST_CHUNK

_BROKEN: Final = (httptools.HttpParserError, httptools.HttpParserUpgrade)
_HEAD: Final = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
_TAIL: Final = 4  # bytes before a read in which a body's end may have begun


class BadBody(Exception):
    """Its framing is broken."""


class Passage(Protocol):
    """A body that goes by."""

    over: bool  # it has ended
    more: bool  # and something followed that is none of it: the connection cannot be used again

    def feed(self, data: bytes) -> bytes:
        """What of `data` goes on. Raises BadBody."""
        ...


class Chunked:
    """In chunks, which go on as they are: the framing is followed in C, and nothing is done here
    for a chunk."""

    __slots__ = ("_before", "_parser", "more", "over")

    def __init__(self) -> None:
        self.over, self.more = True, False
        self._before = b""
        self._parser = httptools.HttpResponseParser(self)

    def begin(self) -> None:
        """A body begins with what is fed next."""
        self._parser.feed_data(_HEAD)
        self.over = self.more = False
        self._before = b""

    def feed(self, data: bytes) -> bytes:
        try:
            self._parser.feed_data(data)
        except _BROKEN as error:
            self._broke(error)
        if not self.over:
            self._before = data if len(data) >= _TAIL else self._before[-_TAIL:] + data
            return data
        if not self.more and data.endswith(LAST_CHUNK):
            return data
        # There are trailers, or the last chunk came in two reads, or there is more than the body.
        tail = self._before[-_TAIL:]
        seen = tail + data
        if self.more:
            # It ended with an empty line; the first one may stand in a chunk. Then the client
            # gets too little, and sees it, for its connection is closed. It never gets too much.
            end = seen.find(END) + 4
            if end == 3:
                raise BadBody("more follows than the body, and where it ended cannot be told")
        else:
            end = len(seen.rstrip(b"\r\n")) + 4
        end = max(0, end - len(tail))
        self.more = self.more or end < len(data)
        return data[:end]

    def _broke(self, error: Exception) -> None:
        if not self.over:
            raise BadBody(str(error)) from None
        self.more = True

    def between(self) -> bool:
        """Whether it stands between two chunks, so that one of our own may follow. Asked once, of a
        body that will get no more: the parser is told that it ends here."""
        if self.over:
            return False
        try:
            self._parser.feed_data(LAST_CHUNK)
        except _BROKEN:
            return False
        return self.over and not self.more

    def on_message_begin(self) -> None:
        self.more = self.over

    def on_message_complete(self) -> None:
        self.over = True


class Unchunked(Chunked):
    """In chunks, of which only what is in them goes on: at a call for each."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        super().__init__()
        self.begin()

    def feed(self, data: bytes) -> bytes:
        try:
            self._parser.feed_data(data)
        except _BROKEN as error:
            self._broke(error)
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken

    def on_body(self, data: bytes) -> None:
        if not self.over:
            self._pieces.append(data)


class Counted:
    """Of a length that was announced."""

    __slots__ = ("_left", "more", "over")

    def __init__(self, length: int) -> None:
        self._left = length
        self.over, self.more = not length, False

    def feed(self, data: bytes) -> bytes:
        size, left = len(data), self._left
        if size < left:
            self._left = left - size
            return data
        self.over = True
        self._left = 0
        if size == left:
            return data
        self.more = True
        return data[:left]


class UntilClose:
    """All that comes, until the connection is closed."""

    over = False
    more = True

    def feed(self, data: bytes) -> bytes:
        return data
