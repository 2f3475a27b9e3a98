"""One timer for all that may take too long: no request has a timer of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PERIOD = 1.0  # seconds; time limits are kept to within this


class Sweep:
    """Calls `visit(now)` each second, from when it is woken until that returns False. `now` is the
    loop's time as of the last visit: good enough to say since when something lasts."""

    __slots__ = ("_handle", "_loop", "_visit", "now")

    def __init__(self, visit: Callable[[float], bool]) -> None:
        self._visit = visit
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handle: asyncio.TimerHandle | None = None
        self.now = 0.0

    def wake(self) -> None:
        """Something is there to be watched."""
        if self._handle is None:
            self._loop = asyncio.get_running_loop()
            self.now = self._loop.time()
            self._handle = self._loop.call_later(PERIOD, self._turn)

    def _turn(self) -> None:
        assert self._loop is not None
        self._handle = None
        self.now = self._loop.time()
        if self._visit(self.now):
            self._handle = self._loop.call_later(PERIOD, self._turn)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
