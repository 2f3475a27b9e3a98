"""Samples that are under way at once: who shares them, which count, and how often engines are asked
for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from collectors.reading import Bytes, Seconds
from supervisor.core.pace import Pace
from supervisor.core.snapshot import Snapshot
from supervisor.events import Sampled, SampleFailed, Scope, Tick
from supervisor.looks import BREATH
from supervisor.loop import Loop
from tests.builders import ref
from tests.test_loop_trouble import World, play

ALL, MEMORY = None, ()
NUMBER = ref("number")  # whose RAM is that of the sample


class Slow(World):
    """`asked` has of each sample which engines were to be asked. Each waits for `gate`, but does
    not see what happens meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.now = 100.0
        self.breaths: list[float] = []
        self.reads_first = False  # memory is read when a sample begins, and not as it ends

    async def breathe(self, seconds: float) -> None:
        self.breaths.append(seconds)

    async def sample(self, **words: Any) -> Snapshot:
        self.asked.append(words.get("only"))
        number = len(self.asked)
        read_at = Seconds(self.now) if self.reads_first else None
        await self.gate.wait()
        if self.fails is not None:
            raise self.fails
        seen = replace(self.snapshot, taken_at=Seconds(self.now), read_at=read_at)
        return replace(seen, lingering={NUMBER: Bytes(number)})

    def begun(self) -> Loop:
        loop = self.loop()
        loop.clock = lambda: self.now
        loop._looks.sleep = self.breathe
        loop.pace = Pace(Seconds(1.0))
        return loop


def number(snapshot: Snapshot | None) -> Any:
    assert snapshot is not None
    return snapshot.lingering[NUMBER]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


def told(story: Callable[[Slow, Loop], Awaitable[None]]) -> None:
    world = Slow()
    loop = world.begun()
    play(loop, lambda: story(world, loop))


def test_who_asks_while_a_look_is_under_way_shares_the_next() -> None:
    async def story(world: Slow, loop: Loop) -> None:
        world.gate.clear()
        first = asyncio.create_task(loop.look())
        await until(lambda: len(world.asked) == 1)
        others = [asyncio.create_task(loop.look()) for _ in range(8)]
        await asyncio.sleep(0)
        assert len(world.asked) == 1
        world.gate.set()
        assert number(await first) == 1
        assert {number(found) for found in await asyncio.gather(*others)} == {2}
        assert number(await loop.look()) == 3

    told(story)


def test_who_hangs_up_takes_the_look_from_nobody() -> None:
    async def story(world: Slow, loop: Loop) -> None:
        world.gate.clear()
        first, other = (asyncio.create_task(loop.look()) for _ in range(2))
        await until(lambda: len(world.asked) == 1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        world.gate.set()
        assert number(await other) == 1

    told(story)


def test_a_look_that_fails_is_told_to_all_who_share_it_and_the_next_is_another() -> None:
    async def story(world: Slow, loop: Loop) -> None:
        world.fails = OSError("no")
        both = await asyncio.gather(loop.look(), loop.look(), return_exceptions=True)
        assert [str(error) for error in both] == ["no", "no"]
        world.fails = None
        assert number(await loop.look()) == 2

    told(story)


def test_engines_are_asked_once_in_a_base_period_and_whenever_somebody_wants_to_know() -> None:
    async def story(world: Slow, loop: Loop) -> None:
        for after, asked in ((0, ALL), (0.25, MEMORY), (0.25, MEMORY), (0.25, MEMORY), (0.25, ALL)):
            world.now += after
            seen = loop.counts.samples
            loop.post(Tick(world.now, paced=True))
            await until(lambda seen=seen: loop.counts.samples > seen)  # type: ignore[misc]
            assert world.asked[-1] == asked
        loop.post(Tick(world.now))
        await until(lambda: len(world.asked) == 6)
        assert world.asked[-1] is ALL
        world.now += 0.95
        await loop.look()  # of a run; then, too, all have just been asked
        loop.post(Tick(world.now, paced=True))
        await until(lambda: len(world.asked) == 8)
        assert world.asked[-2:] == [ALL, MEMORY]

    told(story)


def test_who_wants_to_know_now_is_not_told_what_was_asked_before() -> None:
    async def story(world: Slow, loop: Loop) -> None:
        world.gate.clear()
        loop.post(Tick(world.now, paced=True))
        await until(lambda: len(world.asked) == 1)
        for _ in range(3):
            loop.post(Tick(world.now))
        loop.post(Tick(world.now, paced=True))
        await asyncio.sleep(0)
        world.gate.set()
        await until(lambda: len(world.asked) == 2)
        await until(lambda: number(loop.snapshot) == 2)
        await asyncio.sleep(0)
        assert world.asked == [ALL, ALL]
        assert world.breaths == [BREATH], "others come first for a moment, and not before the first"

    told(story)


def test_of_two_samples_that_crossed_the_one_begun_later_counts() -> None:
    async def story(world: Slow, loop: Loop) -> None:
        world.gate.clear()
        loop.post(Tick(world.now))
        await until(lambda: len(world.asked) == 1)
        later = replace(world.snapshot, taken_at=Seconds(100.5), lingering={NUMBER: Bytes(0)})
        loop.post(Sampled(later, ticked=False, began=Seconds(100.2)))
        await until(lambda: loop.snapshot is not None and loop.snapshot.taken_at == 100.5)
        world.now = 101.0  # and it ends after that one
        world.gate.set()
        await until(lambda: not any(t.get_name() == "sample" for t in asyncio.all_tasks()))
        await asyncio.sleep(0)
        assert number(loop.snapshot) == 0
        loop.post(Tick(world.now))
        await until(lambda: number(loop.snapshot) == 2)

    told(story)


def test_memory_that_was_read_before_an_engine_was_waited_for_is_not_shown_after_newer() -> None:
    async def story(world: Slow, loop: Loop) -> None:
        world.reads_first = True
        world.gate.clear()
        loop.post(Tick(world.now))
        await until(lambda: len(world.asked) == 1)
        pressed = replace(world.snapshot, taken_at=Seconds(100.5), lingering={NUMBER: Bytes(0)})
        loop.post(Sampled(pressed, ticked=False, scope=Scope.URGENT))
        await until(lambda: loop.snapshot is not None and loop.snapshot.taken_at == 100.5)
        world.now = 102.0
        world.gate.set()
        await until(lambda: not any(t.get_name() == "sample" for t in asyncio.all_tasks()))
        await asyncio.sleep(0)
        assert number(loop.snapshot) == 0
        loop.post(Tick(world.now))
        await until(lambda: number(loop.snapshot) == 2)

    told(story)


@pytest.mark.parametrize("paced", [True, False])
def test_after_one_that_failed_the_next_is_begun(paced: bool) -> None:
    async def story(world: Slow, loop: Loop) -> None:
        heard: list[object] = []
        post = loop._events.put_nowait
        loop._events = SimpleNamespace(  # type: ignore[assignment]
            put_nowait=lambda e: (heard.append(e), post(e)), get=loop._events.get
        )
        world.fails = OSError("no")
        loop.post(Tick(world.now, paced=paced))
        await until(lambda: loop.counts.failed_samples == 1)
        assert any(isinstance(event, SampleFailed) for event in heard)
        world.fails = None
        loop.post(Tick(world.now, paced=paced))
        await until(lambda: loop.counts.samples == 1)
        assert world.asked == [ALL, ALL]

    told(story)
