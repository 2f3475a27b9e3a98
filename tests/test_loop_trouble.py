"""What goes wrong while a decision is carried out is told, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from collectors.reading import Seconds
from supervisor.core.plan import Plan, dismiss, plan
from supervisor.core.plan import Trigger as Because
from supervisor.core.policy import Policy
from supervisor.core.record import Mode
from supervisor.core.snapshot import EngineId, ModelId, ModelRef, Snapshot, State
from supervisor.door import Door, NotReady
from supervisor.engines.base import Engine
from supervisor.events import Run, Sampled, Tick
from supervisor.executor import Executor
from supervisor.journal.journal import Journal
from supervisor.loop import Loop
from tests.builders import NO_RESERVE, demand, machine, ref, resident

WORLD = machine(resident("a", 4, idle=9), resident("b", 4, idle=9), free=4)


@dataclass
class World:
    """A sampler, an engine and an executor in one: what a test says goes wrong, does."""

    snapshot: Snapshot = WORLD
    unloads: Callable[[str], Awaitable[None]] | None = None
    fails: Exception | None = None
    missing: tuple[Any, ...] = ()
    sources: Any = field(default_factory=lambda: SimpleNamespace(wake=lambda: None))

    async def sample(self, **_: Any) -> Snapshot:
        if self.fails is not None:
            raise self.fails
        return self.snapshot

    async def unload(self, model: ModelId) -> None:
        if self.unloads is not None:
            await self.unloads(model)
        gone = [r for r in self.snapshot.residents if r.model == model]
        (card,) = self.snapshot.pools
        self.snapshot = replace(
            self.snapshot,
            pools=(replace(card, free=card.free + gone[0].size),),
            residents=tuple(r for r in self.snapshot.residents if r.model != model),
        )

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        raise ZeroDivisionError("a bug of ours")

    def loop(self, mode: Mode = Mode.ENFORCE, policy: Policy = NO_RESERVE) -> Loop:
        engines: dict[EngineId, Engine] = {EngineId("ollama"): self}  # type: ignore[dict-item]
        executor = Executor(self.sample, engines, mode, Seconds(0.0))
        loop = Loop(self, executor, Journal(None), policy, mode)  # type: ignore[arg-type]
        loop.snapshot = self.snapshot
        return loop


def unload(*refs: ModelRef) -> Any:
    return lambda snapshot, policy, doubt: dismiss(snapshot, policy, refs, Because.OPERATOR)


def load(name: str) -> Any:
    def replan(snapshot: Snapshot, policy: Policy, doubt: Any) -> Plan:
        return plan(snapshot, policy, demand(name, 5), doubt)

    return replan


def play(loop: Loop, story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        task = asyncio.create_task(loop.run())
        try:
            async with asyncio.timeout(60):
                await story()
        finally:
            task.cancel()

    asyncio.run(bounded())


def told(run: Run) -> list[tuple[str, str, str]]:
    return [(o.action.ref.model, o.result.value, o.detail) for o in run.outcomes]


def test_a_bug_in_the_middle_of_a_plan_ends_it_with_an_outcome_for_each_action() -> None:
    async def broken(model: str) -> None:
        if model == "b":
            raise ZeroDivisionError("a bug of ours")

    loop = World(unloads=broken).loop()

    async def story() -> None:
        run = await loop.ask("asked", unload(ref("a"), ref("b")))
        await run.done
        bug = "internal error: ZeroDivisionError: a bug of ours; what came of it is not known"
        assert told(run) == [("a", "done", ""), ("b", "failed", bug)]
        assert (loop.runs, loop.leaving, loop.reservations) == ([], frozenset(), ())
        (row,) = loop.journal.decisions(1)
        assert [o["result"] for o in row["outcomes"]] == ["done", "failed"]
        assert ref("b") in loop.experience.distrusted  # or it would be tried again each second

    play(loop, story)


def test_a_sample_that_fails_before_anything_is_begun_skips_it_all() -> None:
    world = World()
    loop = world.loop()

    async def story() -> None:
        world.fails = OSError("no")
        run = await loop.ask("asked", unload(ref("a"), ref("b")))
        await run.done
        why = "internal error: OSError: no"
        assert told(run) == [("a", "skipped", why), ("b", "skipped", why)]
        assert (loop.runs, loop.leaving) == ([], frozenset())

    play(loop, story)


def test_bytes_promised_to_a_load_that_breaks_are_given_back() -> None:
    loop = World(machine(free=10)).loop()

    async def story() -> None:
        run = await loop.ask("asked", load("new"))
        assert [r.ref for r in loop.reservations] == [ref("new")]
        await run.done
        assert told(run)[0][:2] == ("new", "failed")
        assert loop.reservations == ()

    play(loop, story)


def test_each_outcome_is_in_the_journal_as_soon_as_it_is_known() -> None:
    gate = asyncio.Event()

    async def slow(model: str) -> None:
        if model == "b":
            await gate.wait()

    loop = World(unloads=slow).loop()

    async def story() -> None:
        run = await loop.ask("asked", unload(ref("a"), ref("b")))
        while ref("b") not in loop.leaving:
            await asyncio.sleep(0)
        while not loop.journal.decisions(1)[0]["outcomes"]:
            await asyncio.sleep(0)
        assert loop.leaving == {ref("b")}
        assert not run.done.done()
        gate.set()
        await run.done
        assert len(loop.journal.decisions(1)[0]["outcomes"]) == 2

    play(loop, story)


def test_at_the_end_what_was_cut_short_and_what_was_not_begun_are_written_down() -> None:
    async def hangs(model: str) -> None:
        await asyncio.Event().wait()

    loop = World(unloads=hangs).loop()

    async def story() -> None:
        run = await loop.ask("asked", unload(ref("a"), ref("b")))
        while ref("a") not in loop.leaving:
            await asyncio.sleep(0)
        await loop.drain(Seconds(0.05))
        assert told(run) == [
            ("a", "failed", "the daemon ended; what came of it is not known"),
            ("b", "skipped", "the daemon ended before it was begun"),
        ]
        assert len(loop.journal.decisions(1)[0]["outcomes"]) == 2

    play(loop, story)


def test_no_wish_is_taken_once_the_daemon_is_stopping() -> None:
    loop = World().loop()

    async def story() -> None:
        loop.executor.stopping = True
        with pytest.raises(NotReady, match="stopping"):
            await Door(loop).evict(["a"])
        assert loop.journal.decisions(1) == []

    play(loop, story)


def test_a_wish_whose_asker_is_gone_is_dropped_and_harms_no_plan_under_way() -> None:
    gate = asyncio.Event()

    async def slow(model: str) -> None:
        await gate.wait()

    loop = World(unloads=slow).loop()
    door = Door(loop)

    async def story() -> None:
        first = asyncio.create_task(door.evict(["a"]))
        second = asyncio.create_task(door.evict(["b"]))
        while ref("a") not in loop.leaving:
            await asyncio.sleep(0)
        (run,) = loop.runs
        for task in (first, second):
            task.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        assert not run.done.done()  # its end is waited for by others too
        gate.set()
        await run.done
        while any(t.get_name() == "wait for another plan" for t in asyncio.all_tasks()):
            await asyncio.sleep(0)
        loop.post(Sampled(loop.snapshot or WORLD, began=Seconds(loop.clock())))
        await loop.changed()
        assert [d["cause"] for d in loop.journal.decisions(9)] == ["asked to unload ollama/a"]

    play(loop, story)


def test_sampling_that_goes_on_failing_is_said_once_and_so_is_its_recovery(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    loop = world.loop()

    async def story() -> None:
        for error in (OSError("no"), OSError("no"), None, None, OSError("again")):
            world.fails = error
            before = loop.counts.samples + loop.counts.failed_samples
            loop.post(Tick(0.0))
            while loop.counts.samples + loop.counts.failed_samples == before:
                await asyncio.sleep(0)

    with caplog.at_level(logging.INFO, "ullage.loop"):
        play(loop, story)
    said = [r.getMessage() for r in caplog.records]
    assert said == [
        "sampling failed: OSError: no",
        "sampling works again",
        "sampling failed: OSError: again",
    ]


def test_what_is_said_in_advise_mode_is_said_although_another_plan_was_in_its_way() -> None:
    gate = asyncio.Event()
    world = World(machine(resident("a", 4, idle=9), resident("b", 4, idle=5), free=4))
    loop = world.loop(Mode.ADVISE, replace(NO_RESERVE, max_active=1))
    look = world.sample

    async def held(**words: Any) -> Snapshot:
        await gate.wait()
        return await look(**words)

    async def story() -> None:
        loop.executor.sample = held
        await loop.ask("asked", unload(ref("b")))
        for _ in range(2):
            loop.post(Sampled(world.snapshot, began=Seconds(loop.clock())))
            await loop.changed()
        assert len(loop.journal.decisions(9)) == 1
        gate.set()
        await loop.runs[0].done
        for _ in range(3):
            loop.post(Sampled(world.snapshot, began=Seconds(loop.clock())))
            await loop.changed()
        assert [d["trigger"] for d in loop.journal.decisions(9)] == ["limit", "operator"]

    play(loop, story)


def test_models_that_no_engine_lists_any_more_are_not_remembered_for_ever() -> None:
    loop = World().loop()

    async def story() -> None:
        for name in ("x", "y", "z"):
            seen = machine(resident(name, 1, state=State.LOADED), free=9)
            loop.post(Sampled(seen))
            await loop.changed()
        assert len(loop.witnesses.footprints.learned._sizes) <= 1

    play(loop, story)
