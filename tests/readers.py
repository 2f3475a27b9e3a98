"""A daemon on the stand-in driver: what it says of its pools, and the processes around it, which
are its reader and those that hold models."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.daemon import POLL, Daemon, State

GPU = "GPU-aaaa"  # of tests.daemon.Card
SOON = 10.0  # seconds; only ever waited for in full when a test fails

SEIZE, DETACH = 0x4206, 17  # of linux/ptrace.h
TRACE_EXIT = 0x40


def run(story: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await story

    asyncio.run(bounded())


def blind(state: State) -> dict[str, str]:
    """Why they cannot be read, by pool."""
    return {p["id"]: p["blind"] for p in state["pools"] if p["blind"] is not None}


def read(state: State) -> set[str]:
    return {p["id"] for p in state["pools"] if p["blind"] is None}


async def readable(daemon: Daemon, *pools: str) -> State:
    """Once these can be read, besides RAM, and all others too."""
    return await daemon.wait(lambda s: read(s) == {"ram", *pools} and not blind(s))


async def refused(daemon: Daemon, model: str) -> str:
    """What a plan to load the model says, which it says must not be done."""
    code, out, err = await daemon.cli("plan", "--load", model)
    assert code == 5, out + err
    return out


def holds(state: State, model: str, pool: str) -> int | None:
    """Bytes of the pool, measured, that the model holds."""
    for found in state["models"]:
        for share in found["shares"]:
            if (found["model"], share["pool"], share["source"]) == (model, pool, "measured"):
                size: int = share["size"]
                return size
    return None


# -- processes


def readers_of(parent: int) -> list[int]:
    """The processes that read the driver for this daemon."""
    children = psutil.Process(parent).children()
    target = "collectors.nvidia:NvidiaCollector"
    return [c.pid for c in children if _runs(c) and target in c.cmdline()]


def reader_of(parent: int) -> int:
    (pid,) = readers_of(parent)
    return pid


def state_of(pid: int) -> str:
    """The kernel's letter for its first thread; "" where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def ends(pid: int, *, reaped: bool = False) -> bool:
    """Within some seconds. `reaped`: nothing is left of it, not even a zombie."""
    deadline = time.monotonic() + SOON
    while state_of(pid) not in (("",) if reaped else ("", "Z", "X")):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


@contextmanager
def standing_for(server: Any, *models: str) -> Iterator[dict[str, int]]:
    """Processes called as the children of `server` that hold these models: their pids."""
    with ExitStack() as stack:
        pids = {}
        for model in models:
            command = ["sh", "-c", "read _", *server.argv(model)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE)
            pids[model] = stack.enter_context(process).pid
        yield pids


@contextmanager
def unkillable(pid: int) -> Iterator[None]:
    """Inside, a process that is killed stops on its way out, all its files open.

    So does one that hangs in a driver: until the driver lets go of it, no signal does anything.
    """
    if _trace(SEIZE, pid, TRACE_EXIT) != 0:
        pytest.skip("one process may not trace another here")
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + SOON
        while _trace(DETACH, pid) != 0 and time.monotonic() < deadline:
            time.sleep(POLL)


def _trace(request: int, pid: int, data: int = 0) -> int:
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    ptrace.restype = ctypes.c_long
    return int(ptrace(request, pid, None, data))


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
