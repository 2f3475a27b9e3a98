"""The daemon has not enough of what a process needs: descriptors, memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import time
from collections.abc import Awaitable, Callable
from functools import partial

import httpx
import psutil

from tests.faults.bench import Bench
from tests.faults.disk_fails import all_is_written, limit
from tests.faults.engines_fail import past
from tests.faults.registry import fault

WHILE = 2.0
MOST = 8  # requests at a time
BODY = 24 << 20  # bytes of one
SPARES = (1 << 20, 100 << 20)  # bytes that are left to it: next to none, less than a body takes
AT_START = 64 << 30  # bytes that it may have, by a limit that is there when it starts
TOO_LITTLE = 120 << 20  # for its start
MEETS = 15.0  # seconds in which it meets a limit; what it has at hand lasts for a while
# What the log says then, by the runbook.
NO_FILE = "Too many open files"
FULL = 503  # the answer to a large body then


def said(bench: Bench, words: str) -> Callable[[], bool]:
    """Whether a line of the log has said so since."""
    since = len(bench.daemon.lines)
    return lambda: any(words in line for line in bench.daemon.lines[since:])


async def _met(
    told: Callable[[], bool], ask: Callable[[], Awaitable[object]], within: float = MEETS
) -> None:
    """Until the daemon has met its limit, with more and more that is asked of it at once."""

    async def one() -> None:
        with contextlib.suppress(httpx.HTTPError):
            await ask()

    deadline, most = time.monotonic() + within, 1
    while not told() and time.monotonic() < deadline:
        await asyncio.gather(*(one() for _ in range(most)))
        most = min(MOST, most + 1)


@fault("no file can be opened any more", runs=4, limit=10.0, together=2)
async def no_descriptors(bench: Bench) -> None:
    used, told = len(os.listdir(f"/proc/{bench.daemon.pid}/fd")), said(bench, NO_FILE)
    async with bench.trouble("descriptors", told, daemon=True, disk=True):
        limit(bench, resource.RLIMIT_NOFILE, used + 2)
        await _met(told, partial(bench.daemon.client.get, "/api/v1/state"))
        await past(WHILE)
        limit(bench, resource.RLIMIT_NOFILE, 4096)


async def _send(bench: Bench, body: bytes, answers: list[int]) -> None:
    url, kind = f"{bench.people.gateway}/v1/chat/completions", {"content-type": "application/json"}
    answers.append((await bench.people.http.post(url, content=body, headers=kind)).status_code)


def limited(bench: Bench) -> None:
    most = (AT_START, resource.RLIM_INFINITY)
    bench.before = lambda: resource.setrlimit(resource.RLIMIT_AS, most)


@fault("the daemon gets no more memory", runs=6, limit=10.0, together=3, adapt=limited)
async def no_memory(bench: Bench) -> None:
    """It refuses large bodies, may fail whoever asks, does not end, and forgets nothing. That there
    is a limit it knows from its start; what is left until it is met is little."""
    pid, answers = bench.daemon.pid, list[int]()
    size = psutil.Process(pid).memory_info().vms
    words = [{"role": "user", "content": "x" * BODY}]
    body = json.dumps({"model": bench.engines["o"].models[0], "messages": words}).encode()
    send = partial(_send, bench, body, answers)  # far more than there is memory for

    def refused() -> bool:
        return FULL in answers

    async with bench.trouble("memory", refused, daemon=True, disk=True, repeats=True):
        limit(bench, resource.RLIMIT_AS, size + bench.people.dice.choice(SPARES))
        await _met(refused, send)
        await _met(lambda: False, send, within=WHILE)
        limit(bench, resource.RLIMIT_AS, AT_START)
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
