"""Answers of our own, as bytes: whole ones, early hints, and streams of events that we frame."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from .heads import Head, Headers


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. Its length, date and connection are added when it is sent."""

    status: int
    body: bytes
    type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EVENTS = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"x-accel-buffering: no\r\n"
)

# How an error of the connection itself is put: (head as far as it was read, status, message).
Fault = Callable[[Head | None, int, str], Reply]


def fault(head: Head | None, status: int, message: str) -> Reply:
    """The usual form of an error, where nobody says how the client's API puts it."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    body = {"error": {"message": message, "type": kind, "code": None, "param": None}}
    return Reply(status, json.dumps(body).encode())


def encoded(reply: Reply, keep_alive: bool, without_body: bool = False) -> bytes:
    """The answer as it goes over the wire; to a HEAD request `without_body`."""
    lines = [status_line(reply.status), b"date: " + _date(int(time.time()))]
    bodiless = reply.status in (204, 304)
    if not bodiless:
        lines += [b"content-type: " + reply.type, b"content-length: %d" % len(reply.body)]
    lines += [b"%s: %s" % pair for pair in reply.headers]
    if not keep_alive:
        lines.append(b"connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n" + (b"" if without_body or bodiless else reply.body)


def status_line(status: int) -> bytes:
    """Without its line's end."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    return f"HTTP/1.1 {status} {phrase}".encode()


def lines_of(headers: Headers) -> bytes:
    """Headers as lines, each with its end."""
    return b"".join([b"%s: %s\r\n" % pair for pair in headers])


def chunk(data: bytes) -> bytes:
    """One piece of a body that comes in chunks."""
    return b"%x\r\n%s\r\n" % (len(data), data)


_dated: tuple[int, bytes] = (0, b"")


def _date(second: int) -> bytes:
    global _dated
    if _dated[0] != second:
        _dated = (second, formatdate(second, usegmt=True).encode())
    return _dated[1]
