"""The process that reads the driver is killed; the driver answers with an error nobody knows."""

from __future__ import annotations

import os
import signal

from tests.faults.bench import Bench
from tests.faults.engines_fail import past
from tests.faults.host_fails import impatient
from tests.faults.registry import fault
from tests.readers import GPU, blind, readers_of

WHILE = 4.0  # seconds that something stays broken
UNKNOWN = 999  # of NVML
# Seconds until a GPU that cannot be read is told to be so: two samples, and a busy machine.
TOLD = 2 * 0.1 + 0.5


async def _is_dark(bench: Bench, why: str, within: float) -> None:
    """Until the daemon says of the GPU that it cannot be read."""

    async def dark() -> bool:
        found = blind(await bench.daemon.state()).get(GPU)
        return found is not None and why in found

    await bench.within(within, dark, f"a GPU that cannot be read {why}")


@fault("the reader of the driver is killed", runs=6, limit=10.0, together=3, adapt=impatient)
async def reader_killed(bench: Bench) -> None:
    """Another one takes its place; nothing is decided by its last words meanwhile."""
    pids = readers_of(bench.daemon.pid)
    async with bench.trouble("reader", proof=lambda: bool(pids), dark=True) as trouble:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        trouble.lifted = bench.history.now()
        await _is_dark(bench, "ended by SIGKILL", TOLD)


@fault("the driver answers with an unknown error", runs=6, limit=10.0, together=3)
async def unknown_error(bench: Bench) -> None:
    async with bench.trouble("unknown error", dark=True):
        bench.card.driver.fault(UNKNOWN)
        await _is_dark(bench, "", TOLD)
        await past(WHILE)
        bench.card.driver.drop("fault")
