"""What the kernel and the drivers say by themselves, and what the loop makes of it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from collectors.reading import RAM, Bytes, Incident, MemoryPool, PoolKind, Remedy, Seconds, gib
from supervisor.alarms import ALARMED, RECENT
from supervisor.core.policy import Amount, Policy, PoolPolicy
from supervisor.core.record import Mode
from supervisor.core.snapshot import EngineId, Snapshot
from supervisor.core.watch import Kind
from supervisor.engines.base import Engine
from supervisor.events import Pressed, Reported, Tick
from supervisor.executor import Executor
from supervisor.journal.journal import Journal
from supervisor.loop import Loop
from supervisor.stalls import Stalls
from tests.builders import machine, resident
from tests.collectors.conftest import Clock

AT_ONCE = 0.05  # seconds
RESERVE = gib(4)
POLICY = Policy(pools={RAM: PoolPolicy(Amount(size=RESERVE))}, restore_margin=Bytes(0))


def ram(free: float, *names: str) -> Snapshot:
    """64 GiB of RAM, and idle models of 8 GiB each in it."""
    pool = MemoryPool(RAM, PoolKind.HOST, gib(64), gib(free))
    models = (resident(n, 8, pool=RAM, idle=9 - i) for i, n in enumerate(names))
    return replace(machine(*models, free=1), pools=(pool,))


SHORT = ram(3, "a", "b")  # below the reserve, and not below half of it


@dataclass
class World:
    """Sampler, engine and time in one. Held: samples, or unloads, wait until they are let go."""

    snapshot: Snapshot = SHORT
    clock: Callable[[], float] = field(default_factory=Clock)
    looks: int = 0
    urgent: int = 0
    unloaded: list[str] = field(default_factory=list)
    samples: asyncio.Event = field(default_factory=asyncio.Event)
    unloads: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    fails: bool = False
    missing: tuple[Any, ...] = ()
    sources: Any = field(default_factory=lambda: SimpleNamespace(wake=lambda: None))

    def __post_init__(self) -> None:
        self.samples.set()
        self.unloads.set()

    async def sample(
        self, *, incidents: tuple[Incident, ...] = (), urgent: bool = False, **_: Any
    ) -> Snapshot:
        self.looks += 1
        self.urgent += urgent
        await self.samples.wait()
        if self.fails:
            raise OSError("no")
        now = Seconds(self.clock())
        return replace(self.snapshot, taken_at=now, incidents=incidents)

    async def unload(self, model: str) -> None:
        self.unloaded.append(model)
        self.begun.set()
        await self.unloads.wait()
        (pool,) = self.snapshot.pools
        stay = tuple(r for r in self.snapshot.residents if r.model != model)
        pool = replace(pool, free=Bytes(pool.free + gib(8)))
        self.snapshot = replace(self.snapshot, pools=(pool,), residents=stay)

    def loop(self, mode: Mode = Mode.ENFORCE) -> Loop:
        engines: dict[EngineId, Engine] = {EngineId("ollama"): self}  # type: ignore[dict-item]
        executor = Executor(self.sample, engines, mode, Seconds(0.0))  # type: ignore[arg-type]
        return Loop(self, executor, Journal(None), POLICY, mode, clock=self.clock)  # type: ignore[arg-type]


def play(world: World, story: Callable[[Loop], Awaitable[None]]) -> None:
    """After the first look: memory is short, and the grace period has just begun."""

    async def bounded() -> None:
        loop = world.loop()
        task = asyncio.create_task(loop.run())
        try:
            async with asyncio.timeout(60):
                await look(loop, Tick(0))
                await story(loop)
        finally:
            task.cancel()

    asyncio.run(bounded())


async def look(loop: Loop, *events: Any) -> None:
    """Post, and wait for the next snapshot."""
    seen = loop.counts.samples
    for event in events:
        loop.post(event)
    while loop.counts.samples == seen:
        await loop.changed()


async def idle(loop: Loop) -> None:
    """Until nothing is under way, and nothing waits to be."""
    while loop._tasks or loop.runs or not loop._events.empty():
        await asyncio.sleep(0)
    await asyncio.sleep(0)


def decisions(loop: Loop) -> list[str]:
    return [d["trigger"] for d in loop.journal.decisions(100)]


# -- alarms


def test_an_alarm_starts_relief_at_once_although_the_grace_period_is_not_over() -> None:
    """From the kernel's word to the call of the engine, on the real clock and event loop. The
    best of a few: a machine that runs many tests at once may be busy elsewhere for a moment."""

    async def once() -> float:
        world = World(clock=time.monotonic)
        loop = world.loop()
        task = asyncio.create_task(loop.run())
        kernel, theirs = socket.socketpair()
        stalls = Stalls(loop.post, ("alarm",), lambda path: theirs.detach())
        stalls.start()
        async with asyncio.timeout(60):
            await look(loop, Tick(0))
            assert [f.kind for f in loop.findings] == [Kind.PRESSURE]
            await idle(loop)
            assert (loop.policy.grace, world.unloaded) == (10, [])
            rung_at = time.monotonic()
            kernel.send(b"!", socket.MSG_OOB)
            await world.begun.wait()
            took = time.monotonic() - rung_at
            await idle(loop)
        stalls.close()
        kernel.close()
        task.cancel()
        assert world.unloaded == ["a"]
        return took

    assert min(asyncio.run(once()) for _ in range(5)) < AT_ONCE


def test_without_an_alarm_the_grace_period_is_kept() -> None:
    world = World()

    async def story(loop: Loop) -> None:
        await look(loop, Tick(0))
        await idle(loop)
        assert world.unloaded == []

    play(world, story)


def test_an_alarm_while_headroom_is_at_ease_evicts_nobody() -> None:
    world = World(ram(5, "a", "b"))

    async def story(loop: Loop) -> None:
        for _ in range(3):
            await look(loop, Pressed())
            await idle(loop)
        assert (world.unloaded, decisions(loop), loop.alarms.rung) == ([], [], 3)

    play(world, story)


def test_an_alarm_that_is_over_hurries_nobody() -> None:
    clock = Clock()
    world = World(ram(5, "a", "b"), clock)

    async def story(loop: Loop) -> None:
        await look(loop, Pressed())
        clock.now += ALARMED + 0.1
        world.snapshot = SHORT
        await look(loop, Tick(0))
        await idle(loop)
        assert world.unloaded == []

    play(world, story)


def test_an_alarm_does_not_wait_for_the_sample_under_way_and_further_ones_lead_to_one_more() -> (
    None
):
    world = World(ram(5, "a"))

    async def story(loop: Loop) -> None:
        world.samples.clear()
        for event in (Tick(0), Pressed(), Pressed(), Pressed()):
            loop.post(event)
        await turns_until(lambda: loop.alarms.rung == 3 and world.looks == 3)
        assert world.urgent == 1
        world.samples.set()
        await idle(loop)
        assert (world.looks, world.urgent) == (4, 2)

    play(world, story)


def test_an_alarm_during_a_sample_that_fails_is_answered_all_the_same() -> None:
    world = World()

    async def story(loop: Loop) -> None:
        world.samples.clear()
        world.fails = True
        loop.post(Tick(0))
        loop.post(Pressed())
        await turns_until(lambda: loop.alarms.rung == 1)
        world.samples.set()
        await turns_until(lambda: loop.counts.failed_samples == 2)
        world.fails = False
        loop.post(Pressed())  # the kernel goes on
        await idle(loop)
        assert world.unloaded == ["a"]

    play(world, story)


async def turns_until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0)


def test_a_noisy_alarm_starts_no_second_plan_while_one_is_under_way() -> None:
    world = World()

    async def story(loop: Loop) -> None:
        world.unloads.clear()
        loop.post(Pressed())
        await world.begun.wait()
        for _ in range(20):
            await look(loop, Pressed())
        assert (world.unloaded, len(loop.runs), decisions(loop)) == (["a"], 1, ["relief"])
        world.unloads.set()
        await idle(loop)
        for _ in range(20):
            await look(loop, Pressed())
            await idle(loop)
        assert (world.unloaded, decisions(loop)) == (["a"], ["relief"])
        assert [m.model for m in world.snapshot.residents] == ["b"]

    play(world, story)


def test_an_alarm_that_nobody_can_be_unloaded_for_is_told_once() -> None:
    world = World(ram(3))

    async def story(loop: Loop) -> None:
        for _ in range(10):
            await look(loop, Pressed())
            await idle(loop)
        [row] = loop.journal.decisions(100)
        assert "nobody can be unloaded" in row["cause"]

    play(world, story)


def test_a_daemon_that_only_observes_looks_and_does_nothing() -> None:
    world = World()

    async def story() -> None:
        loop = world.loop(Mode.OBSERVE)
        task = asyncio.create_task(loop.run())
        async with asyncio.timeout(60):
            for _ in range(3):
                await look(loop, Pressed())
        assert (world.unloaded, decisions(loop), world.looks) == ([], [], 3)
        task.cancel()

    asyncio.run(story())


# -- incidents


def xid(remedy: Remedy, at: float, code: int = 79) -> Incident:
    return Incident("GPU-a", "xid", code, remedy, f"Xid {code}", Seconds(at))


@pytest.mark.parametrize(
    ("remedy", "severity"),
    [
        (Remedy.NOTHING, "info"),
        (Remedy.INSPECT, "warning"),
        (Remedy.RESTART, "warning"),
        (Remedy.RESET, "critical"),
        (Remedy.REBOOT, "critical"),
    ],
)
def test_an_incident_is_a_finding_as_grave_as_its_remedy_for_ten_minutes(
    remedy: Remedy, severity: str
) -> None:
    clock = Clock()
    world = World(ram(30, "a"), clock)

    async def story(loop: Loop) -> None:
        await look(loop, Reported(xid(remedy, clock.now)), Tick(0))
        for _ in range(3):
            [found] = loop.findings
            assert (found.kind, found.subject) == (Kind.DEVICE, "GPU-a")
            assert (found.severity.value, found.since) == (severity, clock.now)
            await look(loop, Tick(0))
        clock.now += RECENT
        await look(loop, Tick(0))
        assert len(loop.findings) == 1
        clock.now += 0.1
        await look(loop, Tick(0))
        assert loop.findings == ()
        assert loop.alarms.counts == {("GPU-a", "xid", "79"): 1}, "looked at often, counted once"
        assert (world.unloaded, decisions(loop)) == ([], [])

    play(world, story)


def test_of_several_incidents_of_a_device_the_gravest_is_told() -> None:
    clock = Clock()
    world = World(ram(30), clock)

    async def story(loop: Loop) -> None:
        grave, later = xid(Remedy.RESET, clock.now), xid(Remedy.RESTART, clock.now + 1, 13)
        await look(loop, Reported(grave), Reported(later), Tick(0))
        [found] = loop.findings
        assert found.detail == "Xid 79: reset the device"

    play(world, story)
