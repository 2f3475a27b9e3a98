"""What the loop promises whoever asks it, whatever happens in between."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from supervisor.core.plan import Plan, Trigger, dismiss
from supervisor.core.record import Outcome
from supervisor.core.snapshot import ModelRef, Snapshot
from supervisor.events import Ended, Sampled
from supervisor.journal.journal import Journal
from supervisor.loop import Loop
from tests.builders import NO_RESERVE, machine, ref, resident

WORLD = machine(resident("a", 4, idle=9), resident("b", 4, idle=9), free=4)


@dataclass
class Hands:
    """An executor that holds every action until it is let go."""

    stopping: bool = False
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[tuple[ModelRef, ...]] = field(default_factory=list)

    async def carry_out(self, decision: str, decided: Plan, *_: Any) -> list[Outcome]:
        self.asked.append(tuple(e.ref for e in decided.evictions))
        await self.gate.wait()
        return []


def _loop(hands: Hands) -> Loop:
    loop = Loop(None, hands, Journal(None), NO_RESERVE)  # type: ignore[arg-type]
    loop.snapshot = WORLD
    return loop


def _wish(*refs: ModelRef) -> Any:
    return lambda snapshot, policy, doubt: dismiss(snapshot, policy, refs, Trigger.OPERATOR)


def test_a_second_plan_for_the_same_pool_waits_for_the_first() -> None:
    async def story() -> None:
        hands = Hands()
        loop = _loop(hands)
        task = asyncio.create_task(loop.run())
        first = await loop.ask("one", _wish(ref("a")))
        second = asyncio.create_task(loop.ask("two", _wish(ref("b"))))
        while not any(t.get_name() == "wait for another plan" for t in asyncio.all_tasks()):
            await asyncio.sleep(0)
        assert hands.asked == [(ref("a"),)]
        hands.gate.set()
        await first.done
        await (await second).done
        assert hands.asked == [(ref("a"),), (ref("b"),)]
        assert [d["id"] for d in loop.journal.decisions(10)] == ["d-000002", "d-000001"]
        task.cancel()

    asyncio.run(story())


def test_a_wish_that_has_to_wait_is_served_though_the_first_plan_ends_at_that_moment() -> None:
    async def story() -> None:
        hands = Hands()
        loop = _loop(hands)
        task = asyncio.create_task(loop.run())
        first = await loop.ask("one", _wish(ref("a")))
        # Both are served in one turn of the loop, before any task that they start begins.
        asked = asyncio.create_task(loop.ask("two", _wish(ref("b"))))
        await asyncio.sleep(0)
        loop.post(Ended(first))
        async with asyncio.timeout(60):
            second = await asked
        assert [e.ref for e in second.decision.plan.evictions] == [ref("b")]
        hands.gate.set()
        await second.done
        task.cancel()

    asyncio.run(story())


def test_an_event_that_cannot_be_served_ends_neither_the_loop_nor_whoever_asked() -> None:
    def broken(snapshot: Snapshot, *_: Any) -> Plan:
        raise ZeroDivisionError

    async def story() -> None:
        hands = Hands()
        hands.gate.set()
        loop = _loop(hands)
        task = asyncio.create_task(loop.run())
        with pytest.raises(RuntimeError, match="internal error"):
            await loop.ask("broken", broken)
        loop.post(Sampled(WORLD))
        await loop.changed()
        run = await loop.ask("one", _wish(ref("a")))
        await run.done
        task.cancel()

    asyncio.run(story())
