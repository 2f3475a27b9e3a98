"""Time for the demo and its tests: sped up on a real event loop, or stepped on one of values."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
Ready = list[tuple[selectors.SelectorKey, int]]

EPOCH = 1_790_000_000.0  # Unix time of the stepped clock's zero: the same on every run


class Clock:
    """A monotonic clock in seconds, `speed` times as fast as the running event loop's."""

    def __init__(self, speed: float = 1.0, epoch: float = EPOCH) -> None:
        self.speed = speed
        self._loop = asyncio.get_running_loop()
        self._epoch = epoch

    def __call__(self) -> float:
        return self._loop.time() * self.speed

    def wall(self) -> float:
        """Unix time in seconds, as fast as the clock and never stepping."""
        return self._epoch + self()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.speed)

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass, then everybody do what is due by then. Only on a stepped loop."""
        loop = self._loop
        if not isinstance(loop, SteppedLoop):
            raise RuntimeError("only a stepped clock can be advanced; see clock.run")
        await self.sleep(seconds)
        await loop.settled()


class _Selector(selectors.DefaultSelector):
    """Never waits: tells `idle` for how long the loop would have."""

    idle: Callable[[float | None], None]

    def select(self, timeout: float | None = None) -> Ready:
        ready = super().select(0)
        if not ready and (timeout is None or timeout > 0):
            self.idle(timeout)
        return ready


class SteppedLoop(asyncio.SelectorEventLoop):
    """An event loop whose seconds pass in no time: as soon as everybody waits, it is later.

    So sleeps and timeouts of all tasks end in their order, and the same on every run. What
    is given to another thread runs here at once. Sockets are of no use on it: whoever waits
    for one is overtaken by the next timer.
    """

    def __init__(self) -> None:
        selector = _Selector()
        selector.idle = self._idle
        self._now = 1000.0  # not 0, so that nobody mistakes "now" for "never"
        self._settlers: list[asyncio.Future[None]] = []
        super().__init__(selector)

    def time(self) -> float:
        return self._now

    async def settled(self) -> None:
        """Returns when everybody else waits for a time that has not come."""
        settler = self.create_future()
        self._settlers.append(settler)
        await settler

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def _idle(self, timeout: float | None) -> None:
        settlers = [s for s in self._settlers if not s.done()]
        self._settlers = []
        if settlers:
            for settler in settlers:
                settler.set_result(None)
        elif timeout is None:
            raise RuntimeError("everybody waits, and no time that may come will wake anybody")
        else:
            self._now += timeout


def run(main: Coroutine[Any, Any, T]) -> T:
    """asyncio.run, on a stepped loop."""
    with asyncio.Runner(loop_factory=SteppedLoop) as runner:
        return runner.run(main)
