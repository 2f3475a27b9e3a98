"""Lines of a CSV file, plain or gzip, with their numbers; and what is wrong with them."""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, cast

LONGEST_LINE = 4096  # characters: no sensible one has more, and a file need not have lines at all
MOST_LINES = 5_000_000
MOST_TOLD = 8  # mistakes; the rest are counted
MOST_COUNTED = 1000  # whoever makes more has given another file
_GZIP = b"\x1f\x8b"


class TraceError(Exception):
    """A trace cannot be read. `mistakes` has each with its file and line."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = tuple(mistakes)


@dataclass(slots=True)
class Mistakes:
    path: Path
    found: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, line: Line, what: str) -> None:
        self.at(line.number, what)

    def at(self, number: int, what: str) -> None:
        self.count += 1
        if self.count <= MOST_TOLD:
            self.found.append(f"{self.path}:{number}: {what}")
        if self.count >= MOST_COUNTED:
            self.told()

    def told(self) -> None:
        """Raises TraceError with all that was found, if anything was."""
        if self.count > MOST_TOLD:
            self.found.append(f"and {self.count - MOST_TOLD} more")
        if self.found:
            raise TraceError(self.found)


@dataclass(frozen=True, slots=True)
class Line:
    path: Path
    number: int
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    @property
    def where(self) -> str:
        return f"{self.path}:{self.number}"


@dataclass(slots=True)
class Lines:
    """An open file; closes itself at the end of `with`."""

    path: Path
    number: int
    _file: IO[bytes]
    _columns: Sequence[str] = ()

    @classmethod
    def of(cls, path: Path) -> Lines:
        """Raises TraceError where it cannot be opened."""
        try:
            with path.open("rb") as raw:
                packed = raw.read(2) == _GZIP
            if path.suffix == ".gz" and not packed:
                raise TraceError([f"{path}: it is called .gz and is not gzip"])
            opened = gzip.open(path) if packed else path.open("rb")  # noqa: SIM115
        except OSError as error:
            raise TraceError([f"{path}: {error.strerror or error}"]) from None
        return cls(path, 0, cast(IO[bytes], opened))

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._file.close()

    def header(self, needed: Sequence[str], together: Sequence[str]) -> Sequence[str]:
        """The columns: all that are `needed`, and all of `together` or none. Raises TraceError."""
        line = next(self._lines(), None)
        if line is None:
            raise TraceError([f"{self.path}:1: the file is empty"])
        columns = [c.strip() for c in self._cells(line)]
        known = (*needed, *together)
        told = f"it takes {', '.join(needed)}"
        if together:
            told += f", and together {', '.join(together)}"
        wrong = [f"no column is called {c[:60]!r}" for c in columns if c not in known]
        wrong += [f"column {c} is missing" for c in needed if c not in columns]
        wrong += [f"column {c} is there twice" for c in known if columns.count(c) > 1]
        some = [c for c in together if c in columns]
        wrong += [f"column {c} is missing" for c in together if some and c not in columns]
        if wrong:
            first = wrong[: MOST_TOLD - 1]
            raise TraceError([f"{self.path}:1: {w}" for w in first] + [f"{self.path}:1: {told}"])
        self._columns = columns
        return columns

    def rows(self, mistakes: Mistakes) -> Iterator[Line]:
        """What follows the header. Lines with nothing on them are passed over."""
        for text in self._lines():
            if not text.strip():
                continue
            cells = self._cells(text)
            if len(cells) != len(self._columns):
                what = f"expected {len(self._columns)} columns, found {len(cells)}"
                mistakes.at(self.number, what)
                continue
            yield Line(self.path, self.number, dict(zip(self._columns, cells, strict=True)))

    def _cells(self, text: str) -> list[str]:
        try:
            return next(csv.reader([text], strict=True))
        except csv.Error as error:
            raise TraceError([f"{self.path}:{self.number}: {error}"]) from None

    def _lines(self) -> Iterator[str]:
        while raw := self._next():
            self.number += 1
            where = f"{self.path}:{self.number}"
            if self.number > MOST_LINES:
                raise TraceError([f"{where}: more than {MOST_LINES:,} lines; replay a part of it"])
            if len(raw) > LONGEST_LINE:
                raise TraceError([f"{where}: a line of more than {LONGEST_LINE} characters"])
            try:
                # Some programs begin a text with a mark that says it is one.
                text = raw.decode("utf-8-sig" if self.number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise TraceError([f"{where}: this is not text (UTF-8)"]) from None
            yield text.rstrip("\r\n")

    def _next(self) -> bytes:
        try:
            return self._file.readline(LONGEST_LINE + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            where = f"{self.path}:{self.number + 1}"
            raise TraceError([f"{where}: the gzip file is damaged: {error}"]) from None
        except OSError as error:
            raise TraceError([f"{self.path}: {error.strerror or error}"]) from None


def number(line: Line, column: str, mistakes: Mistakes) -> float | None:
    """A finite number that is not negative; else None, and a mistake."""
    text = line[column]
    try:
        found = float(text)
    except ValueError:
        what = f"{text[:40]!r} is not a number" if text.strip() else "is missing"
        mistakes.add(line, f"{column} {what}")
        return None
    if not math.isfinite(found) or found < 0:
        mistakes.add(line, f"{column} is {text.strip()[:40]}: expected a number from 0 on")
        return None
    return found


def size(line: Line, column: str, mistakes: Mistakes) -> int | None:
    """Whole bytes, more than none; else None, and a mistake."""
    found = number(line, column, mistakes)
    if found is None:
        return None
    if found < 1 or found != int(found):
        mistakes.add(line, f"{column} is {line[column].strip()[:40]}: expected bytes, from 1 on")
        return None
    return int(found)
