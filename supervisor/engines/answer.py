"""What an engine answered, as JSON that knows where each value stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unicodedata import category

from collectors.reading import Bytes

from .base import EngineConfused

MOST = 5000  # entries of a list, all of which are gone through each second
LONGEST = 512  # characters of a name, which is kept for as long as anybody may ask what it did
NO_NAME = ("Cc", "Zl", "Zp")  # Unicode's controls, and its ends of lines


@dataclass(frozen=True, slots=True)
class Json:
    """A value of an answer that knows where it stands, so that a complaint can name it.

    Each reader returns the value in the shape asked for, or raises EngineConfused.
    """

    engine: str
    call: str
    value: Any
    where: str = "the answer"

    def get(self, key: str) -> Json | None:
        """The member `key` of an object; None where it is absent or null."""
        found = self._object().get(key)
        return None if found is None else self._at(found, key)

    def __getitem__(self, key: str) -> Json:
        found = self.get(key)
        if found is None:
            raise self._confused(f"with {key!r}")
        return found

    def __contains__(self, key: str) -> bool:
        return isinstance(self.value, dict) and self.value.get(key) is not None

    def __iter__(self) -> Iterator[Json]:
        if not isinstance(self.value, list):
            raise self._confused("a list")
        if len(self.value) > MOST:
            raise self._confused(f"a list of at most {MOST:,}")
        return iter([self._at(v, str(i)) for i, v in enumerate(self.value)])

    def text(self) -> str:
        """Text that can be sent and stored again: half a surrogate pair is not text."""
        if not isinstance(self.value, str):
            raise self._confused("text")
        try:
            self.value.encode()
        except UnicodeEncodeError:
            raise self._confused("text") from None
        return self.value

    def texts(self) -> tuple[str, ...]:
        """A list of texts; ten models' command lines are read each second, so in one go."""
        words = self.value
        if isinstance(words, list) and all(type(word) is str for word in words):
            try:
                "".join(words).encode()
            except UnicodeEncodeError:
                pass  # told below, with its place
            else:
                return tuple(words)
        return tuple(word.text() for word in self)

    def name(self) -> str:
        """Text that names something: not empty, and on one line. Whoever shows it to a terminal
        has to mind that it may hold more than letters, as a joiner or a space that does not break.
        """
        text = self.text()
        if len(text) > LONGEST:
            raise self._confused(f"a name of at most {LONGEST} characters")
        if not text or any(category(c) in NO_NAME for c in text):
            raise self._confused("a name")
        return text

    def size(self) -> Bytes:
        """A number of bytes."""
        if type(self.value) is not int or not 0 <= self.value < 2**63:
            raise self._confused("a number of bytes")
        return Bytes(self.value)

    def count(self) -> int:
        """A whole number of things, 0 or more."""
        if type(self.value) is not int or not 0 <= self.value < 2**63:
            raise self._confused("a whole number")
        return self.value

    def number(self) -> float:
        """A finite number."""
        if type(self.value) not in (int, float) or not abs(self.value) < 2**63:
            raise self._confused("a number")
        return float(self.value)

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self._confused("true or false")
        return self.value

    def _object(self) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            raise self._confused("an object")
        return self.value

    def _at(self, value: Any, step: str) -> Json:
        where = step if self.where == "the answer" else f"{self.where}.{step}"
        return Json(self.engine, self.call, value, where)

    def _confused(self, wanted: str) -> EngineConfused:
        kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
        found = "nothing" if self.value is None else kinds.get(type(self.value), "a number")
        message = f"{self.where}: expected {'an object ' if wanted[:4] == 'with' else ''}{wanted}"
        return EngineConfused(self.engine, self.call, f"{message}, found {found}")
