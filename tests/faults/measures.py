"""What is measured beside a fault: a series of the daemon's, and whether others are as quick."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Iterator, Sequence
from statistics import median

from tests.faults.bench import Bench
from tests.faults.history import NEVER, History, Trouble

ASKERS = 2
MORE = 0.1  # by which a request to another engine may take longer: the part of what it took
NOISE = 0.03  # seconds: a busy machine
TIMES, LATER = 3.0, 0.5  # by which the slowest of them may: so many times, and seconds beside


async def count(bench: Bench, series: str) -> float:
    """The value of a series, named with its labels as in the page; 0: there is none yet."""
    page = (await bench.daemon.client.get("/metrics")).text.splitlines()
    return next((float(x.rpartition(" ")[2]) for x in page if x.startswith(series + " ")), 0.0)


async def fault_of(bench: Bench, engine: str) -> str:
    """Why this engine is not up, by the daemon; "": it is."""
    state = await bench.daemon.state()
    return next(
        (str(e["fault"]) for e in state["engines"] if e["id"] == engine and not e["up"]), ""
    )


async def steady(bench: Bench, model: str, seconds: float) -> list[float]:
    """How long requests for this model take that find it loaded, in seconds each."""
    took: list[float] = []
    ends = bench.history.now() + seconds

    async def ask() -> None:
        while bench.history.now() < ends:
            there = bench.engine_of(model).is_doing(model) == "loaded"
            request = await bench.people.ask(model)
            if there and request.ending == "whole" and request.ended is not None:
                took.append(request.ended - request.began)

    await asyncio.gather(*(ask() for _ in range(ASKERS)))
    return took


def no_slower(bench: Bench, before: Sequence[float], during: Sequence[float], why: str) -> None:
    """By the median of each: of so few the slowest are those that a load has come before."""
    if not before or not during:
        bench.history.say("bench", f"{why}: {len(before)} and {len(during)} requests to compare")
        return
    was, now = median(before), median(during)
    if now > was * (1 + MORE) + NOISE:
        bench.history.say("slow", f"{why}: {now:.3f} s for others, and before {was:.3f} s")


def no_tail(bench: Bench, trouble: Trouble, since: float) -> None:
    """The same while it is broken still, by the slowest of all who have asked since then."""
    history = bench.history
    spans = list(_undisturbed(history, trouble.engines, since))
    before = [ended - began for began, ended in spans if ended < trouble.began]
    during = [ended - began for began, ended in spans if ended >= trouble.began]
    if not before or not during:
        words = f"{len(before)} and {len(during)} requests of others to compare"
        history.say("bench", f"{trouble.what}: {words}")
        return
    was, now = tail(before), tail(during)
    if now > was * TIMES + LATER:
        words = f"{now:.3f} s for the slowest of others, and before {was:.3f} s"
        history.say("slow", f"{trouble.what}: {words}")


def tail(took: Sequence[float]) -> float:
    """The 99th percentile; of fewer than a hundred, the slowest."""
    return sorted(took)[math.ceil(0.99 * len(took)) - 1]


def _undisturbed(
    history: History, sick: Collection[str], since: float
) -> Iterator[tuple[float, float]]:
    """From when until when each request went for a model that was there all the while, of other
    engines than these: who waits for a load is slow for that. Until now, where it goes on."""
    for request in history.requests:
        if request.began < since or request.engine in sick or request.was != "loaded":
            continue
        ended = history.now() if request.ended is None else request.ended
        moved = any(
            (c.engine, c.model) == (request.engine, request.model)
            and c.began <= ended
            and (NEVER if c.ended is None else c.ended) >= request.began
            for c in history.calls
        )
        if not moved and request.ending in (None, "whole"):
            yield request.began, ended
