"""Forms (multipart/form-data): the small fields by name, each with its place in the body, so that
one can be replaced and every other byte stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header

PARTS = 1000  # in one form
HEADERS = 16 * 1024  # bytes of one part's
SMALL = 4096  # bytes of a field that is read


class BadForm(Exception):
    """It is no form, in these words."""


@dataclass(frozen=True, slots=True)
class Field:
    """`start` and `end` are where its value stands in the body."""

    name: str
    value: bytes
    start: int
    end: int


def fields(content_type: bytes, body: bytes) -> Iterator[Field]:
    """The fields of a form that are small and no files. Raises BadForm."""
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not 0 < len(boundary) <= 70:
        raise BadForm("the form's Content-Type names no boundary")
    mark = b"\r\n--" + boundary
    at = _mark(body, mark[2:], 0) if body.startswith(mark[2:]) else -1
    at = at if at >= 0 else _mark(body, mark, 0)
    if at < 0:
        raise BadForm("the form does not have the boundary that its Content-Type names")
    for _ in range(PARTS):
        if body.startswith(b"--", at):
            return
        begin = body.find(b"\r\n", at)
        stop = body.find(b"\r\n\r\n", begin, begin + HEADERS)
        if stop < 0:
            raise BadForm(f"the headers of the form's part at byte {begin} do not end")
        start, at = stop + 4, _mark(body, mark, stop + 2)
        if at < 0:
            raise BadForm("the form ends before its last boundary")
        end = at - len(mark)
        name = _name(body[begin:stop])
        if name is not None and end - start <= SMALL:
            yield Field(name, body[start:end], start, end)
    raise BadForm(f"the form has more than {PARTS} parts")


def _mark(body: bytes, mark: bytes, start: int) -> int:
    """The end of the next boundary, or -1. One that goes on is something else, in a file."""
    while (found := body.find(mark, start)) >= 0:
        end = found + len(mark)
        line = body.find(b"\r\n", end, end + 80)
        if body.startswith(b"--", end) or (line >= 0 and not body[end:line].strip(b" \t")):
            return end
        start = found + 2
    return -1


def _name(headers: bytes) -> str | None:
    """The name of a field; None: it is a file, or has no name."""
    for line in headers.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.strip().lower() == b"content-disposition":
            options = parse_options_header(value.strip())[1]
            if b"filename" in options or b"name" not in options:
                return None
            return options[b"name"].decode(errors="replace")
    return None


def replaced(body: bytes, field: Field, value: bytes) -> bytes:
    """The form with another value of `field`."""
    return b"".join((body[: field.start], value, body[field.end :]))


def added(content_type: bytes, body: bytes, name: str, value: bytes) -> bytes:
    """The form with one more field, before all others."""
    boundary = parse_options_header(content_type)[1][b"boundary"]
    head = b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n' % (boundary, name.encode())
    at = body.index(b"--" + boundary)
    return b"".join((body[:at], head, value, b"\r\n", body[at:]))
