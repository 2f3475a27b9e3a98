"""The daemon has not enough of what a process needs: descriptors, memory."""

from __future__ import annotations

import os
import resource

import psutil

from tests.faults.bench import Bench
from tests.faults.disk_fails import all_is_written, limit
from tests.faults.engines_fail import past
from tests.faults.registry import fault

WHILE = 2.0
SPARE = 1 << 20  # bytes that are left to it
TOO_LITTLE = 120 << 20  # for its start


@fault("no file can be opened any more", runs=4, limit=10.0, together=2)
async def no_descriptors(bench: Bench) -> None:
    used = len(os.listdir(f"/proc/{bench.daemon.pid}/fd"))
    async with bench.trouble("descriptors", daemon=True, disk=True, dark=True):
        limit(bench, resource.RLIMIT_NOFILE, used + 2)
        await past(WHILE)
        limit(bench, resource.RLIMIT_NOFILE, 4096)


@fault("the daemon gets no more memory", runs=6, limit=35.0, together=3)
async def no_memory(bench: Bench) -> None:
    """It may fail whoever asks; it does not end, and forgets nothing."""
    pid = bench.daemon.pid
    size = psutil.Process(pid).memory_info().vms
    async with bench.trouble("memory", daemon=True, disk=True, dark=True):
        limit(bench, resource.RLIMIT_AS, size + SPARE)
        await past(WHILE)
        limit(bench, resource.RLIMIT_AS, resource.RLIM_INFINITY)
        if bench.daemon.process.returncode is not None or bench.daemon.pid != pid:
            bench.history.say("end", f"the daemon has ended: {bench.daemon.log[-500:]}")
        await all_is_written(bench)


@fault("there is too little memory to start", runs=2, limit=12.0)
async def cannot_start(bench: Bench) -> None:
    """It says so, ends with 1, and the next one has all that was kept."""
    daemon, history = bench.daemon, bench.history
    async with bench.trouble("memory", daemon=True) as trouble:
        await bench.kill()
        daemon.before = lambda: resource.setrlimit(resource.RLIMIT_AS, (TOO_LITTLE, TOO_LITTLE))
        since = len(daemon.lines)
        code, _ = await daemon.fails()
        daemon.before = None
        said = daemon.lines[since:]
        if code != 1 or not any("memory" in line for line in said) or len(said) > 5:
            history.say("start", f"ended with {code}, and said {said[-5:]}")
        trouble.lifted = history.now()
        await bench.launch()
