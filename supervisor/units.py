"""Sizes and durations as people write them: "6GiB", "12%", "2h30m". Inside: bytes and seconds.

`parse_*` read what an operator wrote and raise UnitError, which says what would be right.
`format_size`, `format_amount` and `format_duration` are exact: parsing gives the same value
back. `format_bytes` and `format_seconds` round, for people.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from collectors.reading import Bytes, Seconds

if TYPE_CHECKING:
    from supervisor.core.policy import Amount

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_UNITS: dict[str, int] = {"": 1, **{u.lower(): 1024**i for i, u in enumerate(_BINARY)}} | {
    u: 1000**i for i, u in enumerate(("kb", "mb", "gb", "tb", "pb"), start=1)
}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_SIZE = re.compile(rf"({_NUMBER})\s*([A-Za-z]*)")
_SHARE = re.compile(rf"({_NUMBER})\s*%")
_PARTS: dict[str, int | Fraction] = {
    "d": 86400,
    "h": 3600,
    "m": 60,
    "s": 1,
    "ms": Fraction(1, 1000),
}
_DURATION = re.compile("".join(rf"(?:({_NUMBER})\s*{unit}\s*)?" for unit in _PARTS))

LARGEST = 2**63 - 1  # bytes: what a file, a database and every other program can hold too
LONGEST = 36500 * 86400  # seconds: a century
_MOST_CHARACTERS = 400  # the longest text of a float is shorter

_A_SIZE = 'write it as "6GiB", "512MiB" or "6GB"'
_AN_AMOUNT = 'write bytes as "6GiB" or a share as "12%"'
_A_DURATION = 'write it as "2h30m", "90s" or "250ms"'


class UnitError(ValueError):
    """What was written cannot be read; the message says what would be right."""


def shown(value: object) -> str:
    """`value` as its writer would recognise it, in the words of TOML and short."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, int) and value.bit_length() > 200:  # str() refuses the longest ones
        return "a number of that size"
    text = str(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return f'"{text}"' if isinstance(value, str) else text


def parse_size(value: object, right: str = _A_SIZE) -> Bytes:
    """Bytes from "6GiB", "6GB" (decimal), "1024" or a whole number. Parts of a byte are dropped."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise UnitError(f"{shown(value)} is negative; {right}")
        return _bounded(Fraction(value), value, right)
    if not isinstance(value, str):
        raise UnitError(f"{shown(value)} is not a size; {right}")
    match = _SIZE.fullmatch(_short(value, "size", right))
    unit = match[2].lower() if match else ""
    if match is None:
        raise UnitError(f"{shown(value)} {_fault(value, 'size')}; {right}")
    if unit in tuple("kmgtp"):
        raise UnitError(
            f"{shown(value)} is ambiguous; write {match[1]}{unit.upper()}iB (powers of 1024)"
            f" or {match[1]}{unit.upper()}B (powers of 1000)"
        )
    if unit not in _UNITS:
        raise UnitError(f"{shown(value)} is not a size; {right}")
    size = Fraction(match[1]) * _UNITS[unit]
    if unit in ("", "b") and size.denominator != 1:
        raise UnitError(f"{shown(value)} is not a whole number of bytes; {right}")
    return _bounded(size, value, right)


def parse_amount(value: object) -> Amount:
    """A size, or a share of the pool from "0%" to "100%"."""
    from supervisor.core.policy import Amount  # all of policy: no command that only shows needs it

    match = None
    if isinstance(value, str):
        match = _SHARE.fullmatch(_short(value, "size", _AN_AMOUNT))
    if match is None:
        return Amount(size=parse_size(value, _AN_AMOUNT))
    share = Fraction(match[1]) / 100
    if share > 1:
        raise UnitError(f"{shown(value)} is more than all of the pool; a share is 0% to 100%")
    return Amount(fraction=float(share))


def parse_duration(value: object) -> Seconds:
    """Seconds from "2h30m", "250ms", "1.5s", "1d", "90" or a number. Never negative."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not 0 <= value <= LONGEST:  # nan is not either
            raise UnitError(f"{shown(value)} {_fault(value, 'duration')}; {_A_DURATION}")
        return Seconds(float(value))
    if not isinstance(value, str):
        raise UnitError(f"{shown(value)} is not a duration; {_A_DURATION}")
    text = _short(value, "duration", _A_DURATION)
    if re.fullmatch(_NUMBER, text):
        total = Fraction(text)
    else:
        match = _DURATION.fullmatch(text)
        if match is None or not text:
            raise UnitError(f"{shown(value)} {_fault(value, 'duration')}; {_A_DURATION}")
        sizes = zip(match.groups(), _PARTS.values(), strict=True)
        total = sum((Fraction(n) * size for n, size in sizes if n), Fraction(0))
    if total > LONGEST:
        raise UnitError(f"{shown(value)} is longer than a century; {_A_DURATION}")
    return Seconds(float(total))


def format_size(size: int) -> str:
    """Exact, in the largest unit that divides it: 256MiB, 1000."""
    for power in range(len(_BINARY) - 1, 0, -1):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{_BINARY[power]}"
    return str(size)


def format_amount(amount: Amount) -> str:
    """Exact: 6GiB, 12%. An amount that has both reads as "512MiB or 3%, the larger"."""
    share = f"{_decimal(Decimal(repr(amount.fraction)) * 100)}%"
    if amount.size and amount.fraction:
        return f"{format_size(amount.size)} or {share}, the larger"
    return share if amount.fraction else format_size(amount.size)


def format_duration(seconds: float) -> str:
    """Exact: 2h30m, 250ms, 1.5s."""
    rest = Decimal(repr(float(seconds)))
    if 0 < rest < 1:
        return f"{_decimal(rest * 1000)}ms"
    text = ""
    for unit in ("d", "h", "m"):
        count, rest = divmod(rest, int(_PARTS[unit]))
        text += f"{int(count)}{unit}" if count else ""
    return f"{text}{_decimal(rest)}s" if rest or not text else text


def format_bytes(size: int) -> str:
    """Rounded, for people: 5.6 GiB, 512 MiB, 0 B. Headroom may be negative."""
    sign, value = "-" if size < 0 else "", float(abs(size))
    unit = _BINARY[0]
    for unit in _BINARY:
        if round(value, 1) < 1024 or unit == _BINARY[-1]:
            break
        value /= 1024
    return f"{sign}{value:.1f}".removesuffix(".0") + f" {unit}"


def format_seconds(seconds: float) -> str:
    """Rounded, for people: 1d2h, 2h30m, 1m30s, 41s, 0.4s, 40ms."""
    sign, value = "-" if seconds < 0 else "", abs(seconds)
    if value == 0:
        return "0s"
    if value < 0.0995:
        return f"{sign}{value * 1000:.0f}ms"
    if value < 9.95:
        return f"{sign}{value:.1f}".removesuffix(".0") + "s"
    whole = round(value)
    if whole >= 3600:
        whole = round(value / 60) * 60
    if whole >= 86400:
        whole = round(value / 3600) * 3600
    return sign + format_duration(whole)


def _short(text: str, noun: str, right: str) -> str:
    if len(text) > _MOST_CHARACTERS:
        raise UnitError(f"{shown(text)} is not a {noun}; {right}")
    return text.strip()


def _bounded(size: Fraction, value: object, right: str) -> Bytes:
    if size > LARGEST:
        raise UnitError(f"{shown(value)} is more than any machine has; {right}")
    return Bytes(math.floor(size))


def _fault(value: object, noun: str) -> str:
    text = shown(value).strip('" ')
    if text.startswith("-") and any(c.isdigit() for c in text):
        return "is negative"
    return f"is not a {noun}"


def _decimal(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
