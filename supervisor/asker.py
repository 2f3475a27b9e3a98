"""On whose behalf something is asked: known wherever that leads, and written into decisions."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace

from .core.record import Decision


@dataclass(frozen=True, slots=True, eq=False)
class Asker:
    """`decided` is told the id of each decision that is made for it."""

    name: str
    decided: Callable[[str], None] = lambda id: None

    def sign(self, decision: Decision) -> Decision:
        self.decided(decision.id)
        return replace(decision, by=self.name)


ASKER: ContextVar[Asker | None] = ContextVar("asker", default=None)


def asker() -> Asker | None:
    """None: nobody asks, it is the daemon's own doing."""
    return ASKER.get()
