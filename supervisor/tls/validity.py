"""How long a certificate is good for: read of its DER, without a library for it. No I/O."""

from __future__ import annotations

import binascii
import re
from datetime import UTC, datetime
from typing import NamedTuple

_FIRST = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_SEQUENCE, _VERSION, _UTC, _GENERALIZED = 0x30, 0xA0, 0x17, 0x18


class Validity(NamedTuple):
    """Unix time."""

    begins: float
    ends: float


def validity(pem: bytes) -> Validity | None:
    """Of the first certificate in a PEM file, which is the server's own. None: cannot be read."""
    found = _FIRST.search(pem)
    try:
        return None if found is None else _of(binascii.a2b_base64(found[1]))
    except (ValueError, IndexError, OverflowError):
        return None


def _of(der: bytes) -> Validity:
    whole = _within(der, _SEQUENCE)
    rest = _within(whole, _SEQUENCE)  # what is signed
    if rest[0] == _VERSION:
        rest = _after(rest)
    for _ in ("serial number", "algorithm", "issuer"):
        rest = _after(rest)
    times = _within(rest, _SEQUENCE)
    return Validity(_time(times), _time(_after(times)))


def _header(der: bytes) -> tuple[int, int]:
    """Where the value of the first element begins, and where it ends."""
    size = der[1]
    if size < 0x80:
        return 2, 2 + size
    count = size & 0x7F
    if not 1 <= count <= 4:
        raise ValueError("no length of DER")
    return 2 + count, 2 + count + int.from_bytes(der[2 : 2 + count])


def _within(der: bytes, tag: int) -> bytes:
    begin, end = _header(der)
    if der[0] != tag or end > len(der):
        raise ValueError(f"not the element {tag:#x}")
    return der[begin:end]


def _after(der: bytes) -> bytes:
    return der[_header(der)[1] :]


def _time(der: bytes) -> float:
    begin, end = _header(der)
    text = der[begin:end].decode("ascii")
    if der[0] == _UTC:  # a year of two digits, up to 2049
        text = ("19" if text[:2] >= "50" else "20") + text
    elif der[0] != _GENERALIZED:
        raise ValueError("no time of DER")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
