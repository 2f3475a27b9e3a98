"""An event loop whose clock moves only when nothing else is left to do: no test waits for real."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everything waits, and nothing is due"
            self.now += timeout
        return ready


class SteppedLoop(asyncio.SelectorEventLoop):
    """Not for tests with threads, or with another process: it would not wait for them."""

    def __init__(self) -> None:
        self.seconds = _Selector()
        super().__init__(self.seconds)

    def time(self) -> float:
        return self.seconds.now


def now() -> float:
    """On the clock of the running loop."""
    return asyncio.get_running_loop().time()


def pass_time(seconds: float) -> None:
    """All at once: whoever is due meanwhile is late."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SteppedLoop)
    loop.seconds.now += seconds


def play(story: Callable[[], Awaitable[T]]) -> T:
    async def told() -> T:
        return await story()

    with asyncio.Runner(loop_factory=SteppedLoop) as runner:
        return runner.run(told())
