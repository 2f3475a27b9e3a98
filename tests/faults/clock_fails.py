"""The wall clock is set while the daemon runs, or is wrong as it starts."""

from __future__ import annotations

import time
from typing import Any

import psutil

from tests.faults.bench import NORMAL, Bench
from tests.faults.disk_fails import on_such_a_disk
from tests.faults.killed import LATE, compare, kept, promise
from tests.faults.registry import fault

HOUR, YEAR = 3600.0, 365.25 * 86400.0
STEPS = {
    "an hour back": -HOUR,
    "an hour on": HOUR,
    "ten years back": -10 * YEAR,
    "ten years on": 10 * YEAR,
}
WHILE = 2.5  # seconds that it stays so
GAP = 2 * 0.1 + 0.5  # seconds between two samples: two intervals, and a busy machine
SPIN = 0.3  # of a CPU, more than before
STEPPED = "ullage_clock_steps_total"


def step(bench: Bench, ahead: float) -> None:
    assert bench.below is not None
    bench.below.clock(ahead)
    bench.life.wall = min(bench.life.wall, time.time() + ahead)


async def leases(bench: Bench) -> dict[str, float]:
    """When each ends, by our own monotonic clock."""
    now = bench.history.now()
    return {e["id"]: now + e["left"] for e in (await bench.daemon.state())["leases"]}


async def nobody_notices(bench: Bench, before: dict[str, float], cpu: float) -> None:
    history, daemon = bench.history, bench.daemon
    process = psutil.Process(daemon.pid)
    began, spent = time.monotonic(), sum(process.cpu_times()[:2])
    while time.monotonic() < began + WHILE:
        state: dict[str, Any] = await daemon.state()
        if state["sample_age"] > GAP:
            history.say("clock", f"the last sample is {state['sample_age']:.1f} s old")
        if not bench.people.pins <= set(state["pins"]):
            history.say("clock", f"a pin is gone: {state['pins']}")
        now = await leases(bench)
        for id in before:
            if abs(now.get(id, 0.0) - before[id]) > LATE:
                history.say("I10", f"lease {id} ends at {now.get(id)}, and not at {before[id]}")
    used = (sum(process.cpu_times()[:2]) - spent) / (time.monotonic() - began)
    if used > cpu + SPIN:
        history.say("clock", f"it takes {used:.0%} of a CPU, and took {cpu:.0%}")


async def usual(bench: Bench) -> float:
    """The part of a CPU that the daemon takes when nothing is wrong, and it is asked as much."""
    process = psutil.Process(bench.daemon.pid)
    began, spent = time.monotonic(), sum(process.cpu_times()[:2])
    while time.monotonic() < began + WHILE:
        await bench.daemon.state()
        await leases(bench)
    return float(sum(process.cpu_times()[:2]) - spent) / (time.monotonic() - began)


async def in_order(bench: Bench) -> None:
    """The newest first, by their numbers, whatever time they are from."""
    ids = [d["id"] for d in (await bench.daemon.decisions())[::-1]]
    if ids != sorted(ids, reverse=True):
        bench.history.say("clock", f"decisions are told of in this order: {ids[:20]}")
    if lost := bench.people.decisions - set(ids):
        bench.history.say("clock", f"these are told of no more: {sorted(lost)}")


@fault("the wall clock is set", runs=8, limit=4.0, together=4, adapt=on_such_a_disk)
async def clock_set(bench: Bench) -> None:
    """Nobody may notice, whether a client or a model; it is counted, and told of."""
    name, daemon = list(STEPS)[len(bench.history.troubles) // 2 % len(STEPS)], bench.daemon
    await promise(bench)
    await bench.people.look()
    before, cpu = await leases(bench), await usual(bench)
    for what, ahead in ((name, STEPS[name]), (f"{name}, and right again", 0.0)):
        steps = await daemon.metric(STEPPED)

        async def counted(steps: float = steps) -> bool:
            return await daemon.metric(STEPPED) == steps + 1

        async with bench.trouble(f"the clock is set: {what}"):
            step(bench, ahead)
            await nobody_notices(bench, before, cpu)
            await bench.within(NORMAL, counted, "a step that is counted")
            await bench.people.ask("b")
            await in_order(bench)
    if daemon.log.count("the wall clock stepped by") < 2:
        bench.history.say("clock", "no line of the log tells of it")


@fault(
    "the wall clock is wrong as the daemon starts",
    runs=4,
    limit=8.0,
    together=4,
    adapt=on_such_a_disk,
)
async def wrong_at_start(bench: Bench) -> None:
    """What is kept is kept, as long as it was meant to be, also once the clock is right."""
    name = list(STEPS)[len(bench.history.troubles) // 2 % len(STEPS)]
    await promise(bench)
    await bench.people.look()
    for what, ahead in ((name, STEPS[name]), (f"{name} before, and right now", 0.0)):
        ends = await leases(bench)
        async with bench.trouble(f"the clock is {what}", daemon=True) as trouble:
            await bench.kill()
            before = kept(bench)
            assert bench.below is not None
            bench.below.clock(ahead)
            trouble.lifted = bench.history.now()
            await bench.launch()
            await compare(bench, before)
            now = await leases(bench)
            for id in ends:
                if abs(now.get(id, 0.0) - ends[id]) > LATE:
                    bench.history.say("I10", f"lease {id} ends at {now.get(id)}, not {ends[id]}")
            await in_order(bench)
