"""A request of a client, and how far its connection has come with it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .heads import Head


@dataclass(slots=True, eq=False)  # frozen, each would cost half a microsecond more
class Request:
    """A request that is there whole. Nobody changes it."""

    head: Head
    body: bytes


class Stage(Enum):
    HEAD = "reads a head"
    BODY = "reads a body"
    SERVED = "is being served"
    TUNNEL = "passes bytes both ways"
    LEAVING = "was answered early: what still comes is read off"
    CLOSED = "is gone"
