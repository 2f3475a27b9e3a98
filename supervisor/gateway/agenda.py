"""When to look after those who are held: soon after something has happened, when something is due
that nothing else tells of, and never so often that nothing else gets its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

SERVES_A_PART = 0.1  # of the time, at most, goes to looking who is next
SOONEST = 0.01  # seconds between two such looks
SLICE = 0.005  # seconds of a look, after which others have their turn before it goes on
SECOND_LOOK = 0.3  # seconds after a first one that may have seen work that was over

Later = Callable[[float, Callable[[], None]], asyncio.TimerHandle]


class Agenda:
    """`look` is called when it is time, and goes on step by step; `due` says when it has to be
    again; `tick` asks for a snapshot. `later` calls back after so many seconds of `clock`."""

    def __init__(
        self,
        look: Callable[[float], Iterator[None]],
        due: Callable[[float], float],
        tick: Callable[[], None],
        clock: Callable[[], float],
        later: Later | None = None,
    ) -> None:
        self._work, self._due, self._tick = look, due, tick
        self._clock, self._later = clock, later
        self._timer: asyncio.TimerHandle | None = None
        self._second: asyncio.TimerHandle | None = None
        self._looks_at = float("inf")  # when the timer is due
        self._looked_at = float("-inf")
        self._steps: Iterator[None] | None = None  # of a look that is not over
        self._spent = 0.0  # seconds, on it
        self._again = False  # something has happened since it began
        self._rest = 0.0  # seconds until it may be looked again

    def soon(self) -> None:
        """After whatever happens in this turn."""
        self.at(max(self._clock(), self._looked_at + self._rest))

    def at(self, moment: float) -> None:
        if self._steps is not None:
            self._again = True
            return
        if moment >= self._looks_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._looks_at = moment
        self._timer = self._call(max(0.0, moment - self._clock()), self._look)

    def tick_twice(self) -> None:
        """Now, and once more in a moment: what rests is known only if nothing is seen of it."""
        self._tick()
        if self._second is None:
            self._second = self._call(SECOND_LOOK, self._tick_again)

    def close(self) -> None:
        for timer in (self._timer, self._second):
            if timer is not None:
                timer.cancel()

    def _call(self, delay: float, work: Callable[[], None]) -> asyncio.TimerHandle:
        return (self._later or asyncio.get_running_loop().call_later)(delay, work)

    def _look(self) -> None:
        self._timer, self._looks_at = None, float("inf")
        self._spent, self._again = 0.0, False
        self._steps = self._work(self._clock())
        self._go_on()

    def _go_on(self) -> None:
        self._timer = None
        try:
            self._step()
        except BaseException:  # want of memory, above all: who is held is looked after again
            self._steps = None
            self.at(self._clock() + SECOND_LOOK)
            raise

    def _step(self) -> None:
        assert self._steps is not None
        began = self._clock()
        for _ in self._steps:
            if self._clock() - began >= SLICE:
                self._spent += self._clock() - began
                self._timer = self._call(0.0, self._go_on)
                return
        self._looked_at = now = self._clock()
        self._spent += now - began
        self._steps = None
        self._rest = max(SOONEST, self._spent / SERVES_A_PART)
        due = now if self._again else self._due(now)
        if due < float("inf"):
            self.at(max(due, now + self._rest))

    def _tick_again(self) -> None:
        self._second = None
        self._tick()
