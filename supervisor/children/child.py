"""One run of a model: how it is started, what is kept of it, how it ended."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass, field

from collectors.reading import Bytes, Seconds

from .ending import Kindred
from .records import Record
from .spawn import Program

GRACE = Seconds(10.0)  # from the signal to the kill, unless the operator says otherwise


class StillThere(Exception):
    """Something of it does not end, killed as it is. The message says what."""


@dataclass(frozen=True, slots=True)
class Start:
    """How a model is started. `program` makes it for a port and a mark; `port` is None where any
    free one will do."""

    program: Callable[[int, str], Program]
    fingerprint: str
    port: int | None = None
    memory: Bytes | None = None
    signal: signal.Signals = signal.SIGTERM
    grace: Seconds = GRACE


@dataclass(slots=True)
class Child:
    """One run of a model. `start` is None for what is only to be ended."""

    record: Record
    kindred: Kindred
    start: Start | None
    attempt: int = 1
    answers: bool = False  # its own port is served, and by itself
    leaving: bool = False
    again: bool = False  # leaving to be started once more at once
    told: bool = False  # its end is wanted: no failure
    stuck: frozenset[int] = frozenset()  # pids that SIGKILL does not end
    look: asyncio.Task[None] | None = None  # at whether it answers
    over: asyncio.Event = field(default_factory=asyncio.Event)  # gone, replaced, or stuck

    @property
    def run(self) -> str:
        return self.record.mark.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that ended by itself, and how, in words."""

    run: str
    text: str
