"""What becomes of a request at which a fault of ours shows: its client is told, nothing of it stays
behind, and nobody else notices."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from .exchange import Exchange

log = logging.getLogger("ullage.gateway")

E = TypeVar("E", bound="Exchange")
P = ParamSpec("P")

FAILED = "Ullage itself failed here; its log says how"


def guarded(step: Callable[Concatenate[E, P], None]) -> Callable[Concatenate[E, P], None]:
    """A step of an exchange before which no byte of an engine's answer was passed on."""

    @wraps(step)
    def guards(exchange: E, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            step(exchange, *args, **kwargs)
        except Exception:
            log.exception("a request could not go on")
            exchange.broke(FAILED)

    return guards
