"""When who is held is looked after: soon, not too often, and never in the way of others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from supervisor.gateway.agenda import SECOND_LOOK, SERVES_A_PART, SLICE, Agenda


class Desk:
    """A look takes `steps` of `each` seconds; what is called later is kept until `turn`."""

    def __init__(self, steps: int, each: float) -> None:
        self.steps, self.each, self.now = steps, each, 0.0
        self.looks: list[float] = []
        self.done = 0
        self.fails_at: int | None = None
        self.due_at = float("inf")
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.agenda = Agenda(self._look, lambda _: self.due_at, self._tick, self.clock, self._call)

    def clock(self) -> float:
        return self.now

    def _tick(self) -> None:
        pass

    def _call(self, delay: float, work: Callable[[], None]) -> asyncio.TimerHandle:
        at = self.now + delay
        self.later.append((at, work))
        return _Handle(lambda: self.later.remove((at, work)))  # type: ignore[return-value]

    def _look(self, now: float) -> Iterator[None]:
        self.looks.append(now)
        for i in range(self.steps):
            if i == self.fails_at:
                raise MemoryError
            self.now += self.each
            self.done += 1
            yield

    def turn(self) -> float:
        """What is due next. Seconds that it took."""
        at, work = self.later.pop(self.later.index(min(self.later, key=lambda c: c[0])))
        self.now = began = max(self.now, at)
        work()
        return self.now - began


class _Handle:
    def __init__(self, cancel: Callable[[], None]) -> None:
        self.cancel = cancel


def test_a_long_look_is_taken_in_slices_and_others_have_their_turn_between() -> None:
    desk = Desk(100, 0.002)
    desk.agenda.soon()
    took = [desk.turn()]
    while desk.later:
        took.append(desk.turn())
    assert desk.done == 100
    assert desk.looks == [0.0]
    assert max(took) < SLICE + desk.each
    assert len(took) >= 100 * desk.each / (SLICE + desk.each)


def test_a_short_look_is_taken_at_once() -> None:
    desk = Desk(3, 0.001)
    desk.agenda.soon()
    desk.turn()
    assert (desk.done, desk.later) == (3, [])


def test_what_happens_during_a_look_is_looked_after_when_that_is_over_and_not_too_soon() -> None:
    desk = Desk(50, 0.002)
    desk.agenda.soon()
    desk.turn()
    desk.agenda.soon()
    desk.agenda.at(0.0)
    assert len(desk.later) == 1, "the look goes on, and no second one has begun"
    while desk.done < 50:
        desk.turn()
    ended = desk.now
    desk.turn()
    first, second = desk.looks
    assert first == 0.0
    assert second >= ended + 50 * desk.each / SERVES_A_PART * 0.99


def test_what_is_due_later_is_looked_after_then() -> None:
    desk = Desk(1, 0.001)
    desk.due_at = 7.0
    desk.agenda.soon()
    desk.turn()
    desk.turn()
    assert desk.looks == [0.0, 7.0]


@pytest.mark.parametrize("when", [0, 3])
def test_a_look_that_fails_is_not_the_last_one(when: int) -> None:
    desk = Desk(4, 0.001)
    desk.agenda.soon()
    desk.fails_at = when
    with pytest.raises(MemoryError):
        desk.turn()
    desk.fails_at = None
    desk.turn()
    assert (len(desk.looks), desk.done) == (2, when + 4)
    assert desk.now >= SECOND_LOOK
    desk.agenda.soon()
    desk.turn()
    assert len(desk.looks) == 3, "and it goes on as ever"


def test_the_end_ends_a_look_in_its_middle() -> None:
    desk = Desk(50, 0.002)
    desk.agenda.soon()
    desk.turn()
    desk.agenda.close()
    assert desk.later == []
    assert desk.done < 50
