"""Which names are like a name that is not known: by the pieces of three letters they share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Generic, TypeVar

T = TypeVar("T")

LEAST = 0.2  # likeness, of 1: below it a name is no help
FEW = 100  # names, which are compared letter by letter
LONGEST = 200  # characters of a name that are looked at


class Likeness(Generic[T]):
    """Of many names with what they stand for. Comparing takes about 1 µs for each of them, so that
    a flood of wrong names is none of the loop's troubles."""

    def __init__(self, names: Iterable[tuple[str, T]]) -> None:
        self._names = [(name, what, _pieces(name)) for name, what in names]

    def closest(self, name: str, of: Callable[[T], bool], most: int = 3) -> tuple[str, ...]:
        """Up to `most` names that look like `name`, the most like it first."""
        pieces = _pieces(name)
        rated = (
            (-2 * len(pieces & own) / (len(pieces) + len(own)), known, what)
            for known, what, own in self._names
        )
        # The best are asked first whether they may be shown: that may be dear.
        found: list[str] = []
        for rate, known, what in sorted(rated, key=lambda r: r[:2]):
            if -rate < LEAST or len(found) == most:
                break
            if of(what):
                found.append(known)
        return tuple(found)


def _pieces(name: str) -> frozenset[str]:
    text = f"  {name[:LONGEST].lower()} "
    return frozenset(text[i : i + 3] for i in range(len(text) - 2))


def closest(name: str, known: Iterable[str], most: int, cutoff: float) -> list[str]:
    """As difflib's get_close_matches; of many by their pieces, for it takes 50 µs for each, and
    whoever asks may ask a thousand times."""
    names = list(known)
    if len(names) <= FEW:
        return get_close_matches(name, names, most, cutoff)
    return list(Likeness((known, None) for known in names).closest(name, lambda _: True, most))
