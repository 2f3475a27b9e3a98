"""Forms (multipart/form-data): the small fields by name, each with its place in the body, so that
one can be replaced and every other byte stays as it is.

Engines read forms by half a dozen libraries, which differ over whatever is not written as it should
be. What one of them could read as another field than we do is refused: it could name another model
than the one that was let through.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from python_multipart.multipart import parse_options_header

PARTS = 1000  # in one form
HEADERS = 16 * 1024  # bytes of one part's
SMALL = 4096  # bytes of a field that is read
FEW = 100  # boundaries that go on, in a file: of more, each by itself would take too long
MODEL = "model"  # of whom it is asked: a field that nothing may hide

_BOUNDARIES: Final = re.compile(rb"[;\s]boundary[\s*\d]*=", re.IGNORECASE)
_ENDS: Final = (b" ", b"\t", b"\r", b"\n", b"-")  # after a boundary; all else is something else
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n]*)")
# Nothing is tried twice: whoever means ill could make that take for ever.
_PARAMETER: Final = re.compile(
    rb';\s*+([^\s=;"]++)\s*+=\s*+("(?:[^"\\]|\\.)*+"|[^;"]*+)\s*+',
)
_DISPOSITION: Final = re.compile(rb'\s*+[^\s;"]++\s*+(?:%b)*+;?+\s*+' % _PARAMETER.pattern)


class BadForm(Exception):
    """It is no form, in these words, or none that all engines read alike. `param` is the field
    that is wrong."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class Field:
    """`start` and `end` are where its value stands in the body."""

    name: str
    value: bytes
    start: int
    end: int


def fields(content_type: bytes, body: bytes) -> Iterator[Field]:
    """The fields of a form that are small and no files; a `model` that is neither is refused.
    Raises BadForm."""
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not 0 < len(boundary) <= 70:
        raise BadForm("the form's Content-Type names no boundary")
    if len(_BOUNDARIES.findall(content_type)) > 1:
        raise BadForm("the form's Content-Type names two boundaries")
    mark = b"\r\n--" + boundary
    # What comes before the first one is nothing, unless an engine finds a boundary there.
    first = body.find(mark[2:])
    begins = first == 0 or (first > 0 and body.startswith(mark, first - 2))
    at = _end(body, first + len(mark) - 2) if begins else -1
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
        name, is_file = _name(body[begin + 2 : stop], begin)
        if name is not None and name.strip().lower() == MODEL:
            if is_file:
                raise BadForm('the form\'s "model" is a file: it is to be a plain field', MODEL)
            if name != MODEL:
                raise BadForm(f'the form has a field {name!r}: it is written "model"', MODEL)
            if end - start > SMALL:
                raise BadForm(f'the form\'s "model" has more than {SMALL} bytes', MODEL)
        if name is not None and not is_file and end - start <= SMALL:
            yield Field(name, body[start:end], start, end)
    raise BadForm(f"the form has more than {PARTS} parts")


def _mark(body: bytes, mark: bytes, start: int) -> int:
    """The end of the next boundary, or -1. One that goes on is something else, in a file; but for
    one after which only the end of the line could be meant. Raises BadForm."""
    for _ in range(FEW):
        if (found := body.find(mark, start)) < 0:
            return -1
        if body[found + len(mark) : found + len(mark) + 1] in _ENDS:
            break
        start = found + 2
    else:  # many go on: they are passed over without a look at each
        far = re.compile(re.escape(mark) + rb"(?=[ \t\r\n-])").search(body, start)
        if far is None:
            return -1
        found = far.start()
    end = found + len(mark)
    if _end(body, end) == end:
        return end
    raise BadForm(f"the form's boundary at byte {found} goes on: nothing may follow it")


def _end(body: bytes, end: int) -> int:
    """`end`, if a boundary ends there; -1, if it goes on."""
    line = body.find(b"\r\n", end, end + 80)
    over = body.startswith(b"--", end) or (line >= 0 and not body[end:line].strip(b" \t"))
    return end if over else -1


def _name(headers: bytes, at: int) -> tuple[str | None, bool]:
    """The name of a part, if it has one, and whether it is a file; its headers are at byte `at`.
    Raises BadForm."""
    named: tuple[str | None, bool] | None = None
    for line in headers.split(b"\r\n") if headers else ():
        header = _HEADER.fullmatch(line)
        if header is None:
            raise BadForm(f"a header of the form's part at byte {at} is not one line, NAME: TEXT")
        if header[1].lower() == b"content-disposition":
            if named is not None:
                raise BadForm(f"the form's part at byte {at} has two Content-Dispositions")
            named = _disposed(header[2], at)
    return named or (None, False)


def _disposed(value: bytes, at: int) -> tuple[str | None, bool]:
    """What a Content-Disposition says. Raises BadForm."""
    found = [(key.lower(), text.strip()) for key, text in _PARAMETER.findall(value)]
    keys = [key for key, _ in found]
    names = [text for key, text in found if key == b"name"]
    odd = any(key.startswith(b"name*") for key in keys) or any(b"\\" in name for name in names)
    if odd or len(names) > 1 or not _DISPOSITION.fullmatch(value):
        raise BadForm(f"the form's part at byte {at} has a name that can be read in two ways")
    if not names:
        return None, False
    is_file = any(key.startswith(b"filename") for key in keys)
    return names[0].strip(b'"').decode(errors="replace"), is_file


def replaced(body: bytes, field: Field, value: bytes) -> bytes:
    """The form with another value of `field`."""
    return b"".join((body[: field.start], value, body[field.end :]))


def added(content_type: bytes, body: bytes, name: str, value: bytes) -> bytes:
    """The form with one more field, before all others."""
    boundary = parse_options_header(content_type)[1][b"boundary"]
    head = b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n' % (boundary, name.encode())
    at = body.index(b"--" + boundary)
    return b"".join((body[:at], head, value, b"\r\n", body[at:]))
