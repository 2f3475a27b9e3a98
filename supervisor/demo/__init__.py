"""`ullage demo`: the daemon's own parts on a machine made of values, or on a small real one."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live

from .clock import Clock
from .feed import Errors, Feed, Line
from .screen import Screen
from .story import LENGTH, Cast, play, stage

TITLE = "ullage demo: the real daemon, a machine made of values; Ctrl-C ends it"


@dataclass(slots=True)
class Seen:
    """What is said at the end."""

    seconds: float = 0.0
    decisions: int = 0
    loads: int = 0
    unloads: Counter[str] = field(default_factory=Counter)  # by verdict

    def add(self, cast: Cast) -> None:
        counts = cast.world.loop.counts
        self.seconds += cast.world.clock() - cast.feed.started
        self.decisions += counts.decisions.total()
        self.loads += sum(n for (_, result), n in counts.loads.items() if result == "done")
        for (_, verdict), n in counts.verdicts.items():
            self.unloads[verdict] += n

    def summary(self) -> str:
        bad = self.unloads.total() - self.unloads["recovered"]
        return (
            f"{self.seconds:.0f} s: {_count(self.decisions, 'decision')}, "
            f"{_count(self.loads, 'load')}, {_count(self.unloads.total(), 'unload')}, "
            f"{bad} of which gave back less than promised"
        )


def main(
    *,
    real: bool = False,
    speed: float = 1.0,
    seconds: float | None = None,
    plain: bool = False,
    model: str | None = None,
    serve: int | None = None,
) -> int:
    """Run the demo until Ctrl-C, or for `seconds` on its own clock; returns the exit status.

    `speed` is how many of its seconds pass in one. `plain`, or a stdout that is no terminal:
    one line of text an event. `real`: a real llama-server with `model`, a GGUF file. `serve`:
    the port at which the demo's daemon answers, besides telling what happens; 0: any free one.
    """
    if real:
        from .real import main as real_main

        return real_main(model)
    seen = Seen()
    if serve is not None:
        showing = _serve(speed, seconds, seen, serve)
    elif plain or not sys.stdout.isatty():
        showing = _tell(speed, seconds, seen)
    else:
        showing = _show(speed, seconds, seen)
    status = run_until_stopped(showing)
    if status == 0:
        print(seen.summary())
    return status


def run_until_stopped(work: Coroutine[Any, Any, int]) -> int:
    """The exit status of `work`; 0 when Ctrl-C or SIGTERM ended it. Its clean-up is awaited.

    1 where nobody reads the output any more, as in `ullage demo | head`.
    """
    try:
        return asyncio.run(_stoppable(work))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 0
    except BaseExceptionGroup as errors:
        if errors.split(BrokenPipeError)[1] is not None:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


async def _stoppable(work: Coroutine[Any, Any, int]) -> int:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


async def _tell(speed: float, seconds: float | None, seen: Seen) -> int:
    """Every event as a line."""

    def watch(cast: Cast) -> AbstractAsyncContextManager[None]:
        cast.feed.hear = tell
        return beside(cast.feed.follow())

    return await _rounds(speed, seconds, seen, watch)


async def _serve(speed: float, seconds: float | None, seen: Seen, port: int) -> int:
    """Every event as a line; the page, the API and the commands besides. The story goes on and on
    on one machine: what was pinned or set meanwhile stays."""
    from .serving import ListenError, configuration, invitation, served

    config = configuration(port)
    clock = Clock(speed, time.time() - asyncio.get_running_loop().time() * speed)
    ends = math.inf if seconds is None else clock() + seconds
    cast = stage(clock, config.policy)
    cast.feed.hear = tell
    try:
        async with cast.world, served(cast, config, port) as server, beside(cast.feed.follow()):
            print(invitation(server.addresses[0]), flush=True)
            with errors_told(cast.feed):
                while (left := ends - clock()) > 0:
                    await play(cast, length=min(LENGTH, left))
    except ListenError as error:
        print(f"error: {error}\n  try: ullage demo --serve --port 0", file=sys.stderr)
        return 1
    finally:
        seen.add(cast)
    return 0


async def _show(speed: float, seconds: float | None, seen: Seen) -> int:
    """On the whole screen."""
    with Live(console=Console(), screen=True, auto_refresh=False) as live:

        def watch(cast: Cast) -> AbstractAsyncContextManager[None]:
            return beside(cast.feed.follow(), Screen(TITLE, cast.feed).show(live))

        return await _rounds(speed, seconds, seen, watch)


Watch = Callable[[Cast], AbstractAsyncContextManager[None]]


async def _rounds(speed: float, seconds: float | None, seen: Seen, watch: Watch) -> int:
    """The story again and again, each time on a fresh machine, with `watch` beside it."""
    clock = Clock(speed)
    ends = math.inf if seconds is None else clock() + seconds
    while (left := ends - clock()) > 0:
        cast = stage(clock)
        try:
            async with cast.world, watch(cast):
                with errors_told(cast.feed):
                    await play(cast, length=min(LENGTH, left))
                    cast.feed.look()
        finally:
            seen.add(cast)
    return 0


def tell(line: Line) -> None:
    """Print an event."""
    print(f"[{line.at:6.1f}s] {line.text}", *(f"           {m}" for m in line.more), sep="\n")
    sys.stdout.flush()


@asynccontextmanager
async def beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Each of `work` in a task of its own, until the body ends; where one fails, all end."""
    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(w, name=f"beside {i}") for i, w in enumerate(work)]
        yield
        for task in started:
            task.cancel()


@contextmanager
def errors_told(feed: Feed) -> Iterator[None]:
    """What the daemon logs goes to the feed: a screen has no room for a log beside it."""
    logger, handler = logging.getLogger("ullage"), Errors(feed)
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
