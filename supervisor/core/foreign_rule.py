"""What a process that is no model of ours may do to the models, by rule."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from collectors.reading import NONE, Bytes


class ForeignRule(Enum):
    """What is done when strangers take so much of a pool that it falls short."""

    IGNORE = "ignore"  # nothing: newcomers have less room, and nobody leaves for it
    YIELD = "yield"  # models leave, and come back when it has ended
    REFUSE = "refuse"  # nobody is loaded into the pool while it is there; who is there stays
    ALERT = "alert"  # a finding, and nothing else


@dataclass(frozen=True, slots=True)
class Stranger:
    """Processes by a pattern of their name, as "steam*", and what holds for each that has at
    least `minimum` bytes of a pool. In a pattern `*` is any text and `?` any character; letters
    may be of either case."""

    pattern: str
    rule: ForeignRule
    minimum: Bytes = NONE
    _like: re.Pattern[str] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        parts = re.split(r"([*?])", self.pattern)
        words = ({"*": ".*", "?": "."}.get(part) or re.escape(part) for part in parts)
        like = re.compile("".join(words), re.IGNORECASE | re.DOTALL)
        object.__setattr__(self, "_like", like)

    def fits(self, name: str, size: Bytes) -> bool:
        """`name` may be a path: then its last part counts too."""
        names = {name, name.rpartition("/")[2]}
        return size >= self.minimum and any(map(self._like.fullmatch, names))

    @property
    def particular(self) -> tuple[bool, int, str]:
        """The larger, the more it says of whom it means: a plain name, then the longer pattern."""
        letters = re.sub(r"[*?]", "", self.pattern)
        return letters == self.pattern, len(letters), self.pattern


def rule_for(strangers: Iterable[Stranger], name: str, size: Bytes) -> ForeignRule | None:
    """The rule of the most particular pattern that fits. None: none does."""
    fitting = [s for s in strangers if s.fits(name, size)]
    return max(fitting, key=lambda s: s.particular).rule if fitting else None
