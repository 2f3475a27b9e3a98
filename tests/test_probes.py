"""Whoever does not answer is not waited for a second time."""

from __future__ import annotations

import asyncio

from supervisor.probes import Probes


class Source:
    """Answers `value` when it is let; None is silence."""

    def __init__(self) -> None:
        self.value: str | None = "first"
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def question(self) -> str | None:
        self.asked += 1
        await self.gate.wait()
        return self.value

    async def ask(self, probes: Probes[str, str | None]) -> str | None:
        return await probes.ask("it", self.question, lambda answer: answer is None, "last")


def test_whoever_answers_is_asked_and_waited_for_each_time() -> None:
    async def story() -> None:
        probes, source = Probes[str, str | None]("probe"), Source()
        assert await source.ask(probes) == "first"
        source.value = "second"
        assert await source.ask(probes) == "second"
        assert source.asked == 2

    asyncio.run(story())


def test_after_silence_the_last_answer_counts_until_there_is_a_new_one() -> None:
    async def story() -> None:
        probes, source = Probes[str, str | None]("probe"), Source()
        source.value = None
        assert await source.ask(probes) is None
        source.gate.clear()  # it hangs from here on
        await asyncio.sleep(0)
        for _ in range(3):
            assert await asyncio.wait_for(source.ask(probes), 60) == "last"
        assert source.asked == 2  # one question is open, and no second is put
        source.value = "back"
        source.gate.set()
        while (answer := await source.ask(probes)) == "last":
            await asyncio.sleep(0)
        assert answer == "back"

    asyncio.run(story())


def test_an_answer_that_came_while_nobody_looked_is_not_taken_for_a_later_one() -> None:
    async def story() -> None:
        probes, source = Probes[str, str | None]("probe"), Source()
        source.value = None
        await source.ask(probes)
        source.value = "up"
        while await source.ask(probes) != "up":
            await asyncio.sleep(0)
        source.value = None  # and it is gone again
        assert await source.ask(probes) is None

    asyncio.run(story())


def test_what_is_still_asked_ends_with_the_probes_or_when_it_is_forgotten() -> None:
    async def story() -> None:
        probes, source = Probes[str, str | None]("probe"), Source()
        source.value = None
        await source.ask(probes)
        source.gate.clear()
        probes.forget_all_but({"it"})
        await asyncio.sleep(0)
        probes.forget_all_but({"another"})
        await asyncio.sleep(0)
        assert [t for t in asyncio.all_tasks() if t.get_name() == "probe it"] == []
        source.gate.set()
        await source.ask(probes)
        source.gate.clear()
        await asyncio.sleep(0)
        await probes.close()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(story())
