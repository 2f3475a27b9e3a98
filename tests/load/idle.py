"""`python -m tests.load.idle [--seconds S]`: what the daemon costs with eight GPUs, one engine with
ten models, and nothing to do; beside each figure what is asked. 1: a figure is too large.

Bytes and series are the same on any machine, and always judged. A share of a core and milliseconds
are this machine's: shared with others they say as much of them, so that they are judged only where
nothing else runs, and else shown beside what is asked.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

import psutil
import uvloop
from rich.console import Console

from tests.daemon import Daemon
from tests.nvml.fake_nvml import build, compiler

from .clients import percentile
from .found import Found
from .machine import GPUS, Machine
from .outside import MIB
from .storms import show

WARM_UP, SECONDS = 15.0, 30.0
SCRAPES = 20
RESIDENT, SERIES = 80 * MIB, 2000
SHARE, SCRAPE = 1.0, 10.0  # percent of a core; milliseconds
ALONE = 0.5  # load average of a minute up to which the machine is ours


async def idle(folder: Path, library: Path, warm_up: float, seconds: float) -> Found:
    found = Found()
    async with Machine(folder, engines=1, models=10) as machine:
        state = folder / "s"
        state.mkdir()
        machine.learned(state / "journal.db")
        (engine,) = machine.engines
        for model in engine.models[:3]:
            engine.take(model)
        config = 'sample_interval = "1s"\n' + machine.config()
        async with Daemon(state, config, machine.cards.driver.env(library)) as daemon:
            await daemon.wait(lambda s: len(s["models"]) == 3)
            await asyncio.sleep(warm_up)
            process = psutil.Process(daemon.pid)
            children = process.children(recursive=True)
            before, beside = _cpu(process), sum(map(_cpu, children))
            await asyncio.sleep(seconds)
            share = 100 * (_cpu(process) - before) / seconds
            reading = 100 * (sum(map(_cpu, children)) - beside) / seconds
            resident = process.memory_info().rss
            took, series = await _scrapes(daemon)
            others = sum(child.memory_info().rss for child in children)
    load = os.getloadavg()[0]
    found.add("the daemon at rest", f"{GPUS} GPUs, 1 engine, 10 models, a look each second")
    found.add("the process that reads the driver", f"{reading:.2f} %, {others / MIB:.0f} MiB")
    found.add("load average", f"{load:.1f}, so that what takes time is {_told(load)}")
    found.at_most("resident, MiB", resident / MIB, RESIDENT / MIB)
    found.at_most("series of /metrics", series, SERIES)
    found.at_most("percent of a core", share, SHARE, timed=True)
    found.at_most("/metrics, ms, median", 1000 * percentile(took, 0.5), SCRAPE, timed=True)
    return found


def _told(load: float) -> str:
    return "judged" if load <= ALONE else "shown, and not judged"


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _scrapes(daemon: Daemon) -> tuple[list[float], int]:
    """Seconds that each took, and how many series there are."""
    took, text = [], ""
    for _ in range(SCRAPES):
        began = time.perf_counter()
        text = (await daemon.client.get("/metrics")).text
        took.append(time.perf_counter() - began)
    return took, sum(bool(line) and not line.startswith("#") for line in text.splitlines())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load.idle", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    asked = parser.parse_args()
    if sys.platform != "linux" or compiler() is None:
        print("the stand-in driver needs Linux and a C compiler", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="ullage-idle-") as own:
        folder = Path(own)
        found = uvloop.run(idle(folder, build(folder), WARM_UP, asked.seconds))
    show(found, Console(width=None if sys.stdout.isatty() else 160))
    alone = os.getloadavg()[0] <= ALONE
    return 0 if found.held(timed=alone) else 1


if __name__ == "__main__":
    raise SystemExit(main())
