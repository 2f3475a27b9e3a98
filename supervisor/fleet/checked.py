"""One JSON object from another host, read strictly: what is wrong is told with where it stands.

What is not known is passed over: a newer host may say more. What may be left out has its default.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from supervisor.printable import printable

T = TypeVar("T")

LONGEST = 1024  # characters of a name or a sentence
MOST = 100_000  # entries of a list
LARGEST = 2**63  # a whole number
_MUST = object()  # there is no default


class Checked:
    """`where`: what it is, and where it stands, as in "word of alpha: models[3]"."""

    __slots__ = ("_row", "where")

    def __init__(self, row: object, where: str) -> None:
        if not isinstance(row, dict):
            raise ValueError(f"{where} is {_kind(row)}; it has to be an object")
        self._row: dict[str, Any] = row
        self.where = where

    def text(self, key: str) -> str:
        """A name: not empty, on one line, and of a bearable length."""
        value = self._given(key, _MUST)
        if not isinstance(value, str) or not value:
            raise self.wrong(key, "a text that is not empty", value)
        return self._bearable(key, value)

    def sentence(self, key: str) -> str:
        """As `text`, and "" where there is none."""
        value = self._given(key, "")
        if not isinstance(value, str):
            raise self.wrong(key, "a text", value)
        return self._bearable(key, value)

    def text_or_none(self, key: str) -> str | None:
        return None if self._row.get(key) is None else self.text(key)

    def flag(self, key: str, default: Any = _MUST) -> bool:
        value = self._given(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false", value)
        return value

    def whole(self, key: str, default: Any = _MUST, *, negative: bool = False) -> int:
        value = self._given(key, default)
        wanted = "a whole number" if negative else "a whole number, 0 or more"
        if isinstance(value, bool) or not isinstance(value, int) or (value < 0 and not negative):
            raise self.wrong(key, wanted, value)
        if not -LARGEST < value < LARGEST:
            raise self.wrong(key, f"{wanted}, of 64 bits", value)
        return value

    def whole_or_none(self, key: str) -> int | None:
        return None if self._row.get(key) is None else self.whole(key)

    def number(self, key: str, default: Any = _MUST, *, negative: bool = False) -> float:
        value = self._given(key, default)
        wanted = "a number" if negative else "a number, 0 or more"
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, wanted, value)
        if not _finite(value) or (value < 0 and not negative):
            raise self.wrong(key, wanted, value)
        return float(value)

    def number_or_none(self, key: str) -> float | None:
        return None if self._row.get(key) is None else self.number(key)

    def each(self, key: str, read: Callable[[object, str], T], of: str = "") -> tuple[T, ...]:
        """Every entry of a list, by `read(entry, where)`. Without the list: none."""
        value = self._given(key, [])
        if not isinstance(value, list):
            raise self.wrong(key, "a list", value)
        if len(value) > MOST:
            raise ValueError(f"{self.where}: {key} has {len(value):,} entries; {MOST:,} at most")
        start = f"{of or self.where}: {key}"
        return tuple(read(entry, f"{start}[{i}]") for i, entry in enumerate(value))

    def texts(self, key: str) -> tuple[str, ...]:
        return self.each(key, self._one_text)

    def value(self, key: str) -> object:
        return self._given(key, _MUST)

    def wrong(self, key: str, wanted: str, value: object) -> ValueError:
        return ValueError(f"{self.where}: {key} is {_kind(value)}; it has to be {wanted}")

    def _given(self, key: str, default: Any) -> Any:
        value = self._row.get(key, default)
        if value is _MUST:
            raise ValueError(f"{self.where}: {key} is missing")
        return value

    def _bearable(self, key: str, value: str) -> str:
        if len(value) > LONGEST:
            told = f"{len(value):,} characters; {LONGEST:,} at most"
            raise ValueError(f"{self.where}: {key} has {told}")
        if not value.isprintable():
            raise self.wrong(key, "a text on one line", value)
        return value

    def _one_text(self, value: object, where: str) -> str:
        if not isinstance(value, str) or not value:
            raise ValueError(f"{where} is {_kind(value)}; it has to be a text that is not empty")
        if len(value) > LONGEST or not value.isprintable():
            raise ValueError(f"{where} is {_kind(value)}; it has to be a short text on one line")
        return value


def once(names: tuple[str, ...], what: str, where: str) -> None:
    """Raises ValueError where a name is there twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{where}: {what} {printable(name)} is there twice")
        seen.add(name)


def _finite(value: int | float) -> bool:
    """A whole number may be too large to be a float at all."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _kind(value: object) -> str:
    """What stands there, shortly: 'null', 'a list', '-3', '"abc"'."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{printable(value[:40])}{"…" if len(value) > 40 else ""}"'
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number of too many digits"
    return printable(value)[:40]
