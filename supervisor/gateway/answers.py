"""Heads of engines' answers: read strictly, and written anew for the client. No I/O.

Engines begin their answers alike, so what was read is kept by the head's bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import httptools

from .heads import HOP_BY_HOP, Headers, words

# An engine's word on who may read its answers, its cookies and its name are none of our client's.
DROPPED: Final = HOP_BY_HOP | {b"set-cookie", b"server", b"content-length", b"alt-svc"}
KEPT = 128  # heads
_CONTROLS: Final = bytes((*range(32), 127))


class BadAnswer(Exception):
    """What came is no answer in HTTP/1.1."""


class Body(IntEnum):
    """How an answer's body ends."""

    NONE = 0
    LENGTH = 1
    CHUNKED = 2
    UNTIL_CLOSE = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """An engine's head: how its body ends, whether its connection stays open, and the lines that
    go on to the client (without those that frame the body)."""

    status: int
    headers: Headers
    body: Body
    length: int
    keep: bool
    type: bytes
    lines: bytes
    framed: bytes  # the lines, and the one that frames the body as the engine framed it
    raw: bytes  # as it came


_kept: dict[bytes, Answer] = {}


def read(raw: bytes) -> Answer:
    """Of a whole head, its empty line included. Raises BadAnswer."""
    answer = _kept.get(raw)
    if answer is None:
        answer = _parse(raw)
        if len(_kept) >= KEPT:
            _kept.clear()
        _kept[raw] = answer
    return answer


class _Seen:
    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))


def _parse(raw: bytes) -> Answer:
    seen = _Seen()
    parser = httptools.HttpResponseParser(seen)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise BadAnswer(f"this is not HTTP/1.1: {error}") from None
    status, http11 = parser.get_status_code(), parser.get_http_version() == "1.1"
    codings = [v.strip().lower() for n, v in seen.headers if n == b"transfer-encoding"]
    lengths = [v for n, v in seen.headers if n == b"content-length"]
    if (codings and (codings != [b"chunked"] or lengths)) or len(lengths) > 1:
        raise BadAnswer("a body that is framed in two ways, or in one that is not known")
    if lengths and not lengths[0].isdigit():
        raise BadAnswer("a length that is no number")
    if not 100 <= status <= 599:
        raise BadAnswer(f"status {status}")
    body, length = Body.UNTIL_CLOSE, 0
    if status < 200 or status in (204, 304):
        body = Body.NONE
    elif codings:
        body = Body.CHUNKED
    elif lengths:
        body, length = Body.LENGTH, int(lengths[0])
    listed = words([value for name, value in seen.headers if name == b"connection"])
    first = raw[raw.index(b" ") : raw.index(b"\r\n") + 2]
    if first.translate(None, _CONTROLS) != first[:-2]:  # the parser takes any
        raise BadAnswer("a control character in its first line")
    gone = DROPPED | listed
    lines = (
        b"HTTP/1.1"
        + first
        + b"".join(
            b"%s: %s\r\n" % (name, value)
            for name, value in seen.headers
            if name not in gone and not name.startswith(b"access-control-")
        )
    )
    framing = b""
    if codings:
        framing = b"transfer-encoding: chunked\r\n"
    elif lengths:
        framing = b"content-length: %s\r\n" % lengths[0]
    return Answer(
        status,
        tuple(seen.headers),
        body,
        length,
        http11 and b"close" not in listed and body is not Body.UNTIL_CLOSE,
        next((v for n, v in seen.headers if n == b"content-type"), b""),
        lines,
        lines + framing,
        raw,
    )
