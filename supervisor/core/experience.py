"""What experience says to whoever plans: whose word not to count on, and what was seen of each."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

from .history import History
from .snapshot import ModelRef


@dataclass(frozen=True, slots=True)
class Experience:
    """`distrusted` are models whose last unload did not give back what it promised."""

    distrusted: Set[ModelRef] = frozenset()
    history: History = field(default_factory=History)


NONE_YET = Experience()
