"""One run: at rest, under load, at rest again; and what came of it.

The daemon is not ended within it: what it keeps, and for how long, is one process's. Kills are for
`make faults`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from shutil import copy
from typing import Any

from psutil import Process

from tests.daemon import Daemon

from .churn import Churn
from .clients import Crowd
from .judged import Figures, Run, judged
from .machine import GPUS, Machine
from .orders import Orders
from .outside import Outside, write
from .picture import draw

LOOK_EVERY = 3.0
POLL = 0.5
WORDS = 12  # of an answer, on average, one each second
WARM_UP = 25.0  # seconds, at most
MORE = 0.02  # clients above `streams`: at any moment some have just been answered


@dataclass(frozen=True)
class Plan:
    """Times in seconds: under load, at rest before and after it, in which the clients come, and
    until pooled connections are let go of; 0: engines hang up instead. `pace`: of the churn.
    `fills`: with as many alerts as are remembered."""

    seconds: float = 1800.0
    rest: float = 60.0
    streams: int = 1000
    engines: int = 20
    models: int = 10  # of each engine
    ramp: float = 25.0
    settled: float = 30.0
    pace: float = 1.0
    fills: bool = True
    draws: bool = True
    seed: int = 1
    stacks: bool = False
    nice: int = 0

    @property
    def title(self) -> str:
        return (
            f"{self.streams} streams at once, {self.engines} engines,"
            f" {self.engines * self.models} models, {GPUS} GPUs, {self.seconds / 60:g} min"
        )


async def soak(folder: Path, library: Path, out: Path, plan: Plan) -> Figures:
    machine = Machine(folder, plan.engines, plan.models)
    async with machine:
        state = folder / "s"
        state.mkdir()
        machine.learned(state / "journal.db")
        probe = out / "probe.jsonl"
        probe.unlink(missing_ok=True)
        env = machine.cards.driver.env(library) | {"PROBE": str(probe)}
        env |= {"PROBE_STACKS": "1"} if plan.stacks else {}
        inside = (sys.executable, "-m", "tests.load.inside")
        async with Daemon(state, machine.config(), env, program=inside) as daemon:
            if plan.nice:
                _be_nice(daemon.pid, plan.nice)
            run = await _loaded(daemon, machine, probe, plan)
    (out / "log").write_text(daemon.log)
    write(run.outside.rows, out / "rows.jsonl")
    if plan.draws:
        draw(run.outside.rows, run.beats, out, plan.title)
    figures = judged(run, plan.title)
    if figures.wrong:  # why it was decided so
        copy(daemon.folder / "journal.db", out / "journal.db")
    (out / "figures.json").write_text(
        json.dumps({"title": plan.title, "table": figures.table, "wrong": figures.wrong}, indent=1)
    )
    return figures


def _be_nice(pid: int, nice: int) -> None:
    for process in (pid, *(c.pid for c in Process(pid).children())):
        os.setpriority(os.PRIO_PROCESS, process, nice)
        for thread in os.listdir(f"/proc/{process}/task"):
            os.setpriority(os.PRIO_PROCESS, int(thread), nice)


async def _loaded(daemon: Daemon, machine: Machine, probe: Path, plan: Plan) -> Run:
    journal = daemon.folder / "journal.db"
    outside = Outside(daemon.pid, journal)
    wall, rest = time.time(), plan.rest
    gateway = (await daemon.state())["gateway"]["addresses"][0]
    hot = [e.models[0] for e in machine.engines]
    tail = [m for e in machine.engines for m in e.models[1:]]
    crowd = Crowd(gateway, hot, tail, WORDS, plan.seed)
    churn = Churn(daemon, machine, tail, plan.seed, plan.pace)
    orders = Orders(machine, crowd, churn, daemon.pid, journal)

    def told() -> tuple[int, int, int]:
        loaded = sum(len(e.loaded) for e in machine.engines)
        return crowd.told.open, loaded, sum(crowd.told.endings.values())

    watching = asyncio.create_task(outside.watch(LOOK_EVERY, told))
    # What every daemon has after its first requests, it has before they count.
    crowd.begin(20, 2.0)
    churn.begin()
    if plan.fills:
        await churn.fill()
    await asyncio.sleep(min(WARM_UP, rest))
    await churn.end()
    await crowd.end()
    await _settled(daemon, machine, plan)
    await _counted(daemon, probe)
    outside.phase = "rest"
    await asyncio.sleep(rest)

    outside.phase = "ramp"
    crowd.begin(plan.streams + max(1, round(MORE * plan.streams)), plan.ramp)
    churn.begin()
    await asyncio.sleep(plan.ramp + POLL)
    outside.phase = "load"
    before, began = sum(crowd.told.endings.values()), time.monotonic()
    await asyncio.sleep(plan.seconds)
    answered_s = (sum(crowd.told.endings.values()) - before) / (time.monotonic() - began)
    await _counted(daemon, probe)
    outside.phase = "end"
    await churn.end()
    await crowd.end()
    await _settled(daemon, machine, plan)
    outside.phase = "after"
    await asyncio.sleep(rest)
    await _counted(daemon, probe)
    watching.cancel()
    state = await daemon.state()
    text = (await daemon.client.get("/metrics")).text
    found = re.findall(r"^ullage_decisions_total\{[^}]*\} ([0-9.e+]+)", text, re.MULTILINE)
    return Run(
        daemon, machine, crowd, churn, orders, outside, _beats(probe, wall), plan.streams,
        plan.seconds, answered_s, state, round(sum(float(n) for n in found)), outside.began,
    )  # fmt: skip


async def _settled(daemon: Daemon, machine: Machine, plan: Plan) -> None:
    """Nobody is loaded, nothing is under way, and no connection is kept for the next request."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for engine in machine.engines:
            for model in list(engine.loaded):
                engine.drop(model)
        state = await daemon.state()
        if not state["running"] and not state["models"]:
            break
        await asyncio.sleep(POLL)
    if plan.settled:
        await asyncio.sleep(min(plan.settled, plan.rest))
        return
    for engine in machine.engines:
        await engine.goes_away()
        await engine.comes_back()
    await daemon.wait(lambda s: all(e["up"] for e in s["engines"]))


def _censuses(probe: Path) -> int:
    return probe.read_text().count('"census"')


def _beats(probe: Path, wall: float) -> list[dict[str, Any]]:
    """What the probe said, its times in seconds since `wall`."""
    beats: list[dict[str, Any]] = [json.loads(line) for line in probe.read_text().splitlines()]
    return [beat | {"at": beat["at"] - wall} for beat in beats]


async def _counted(daemon: Daemon, probe: Path) -> None:
    """Until the probe has told the census."""
    seen = _censuses(probe)
    probe.with_suffix(".wish").touch()
    deadline = time.monotonic() + 60
    while _censuses(probe) == seen:
        assert time.monotonic() < deadline, daemon.log[-5000:]
        await asyncio.sleep(POLL)
