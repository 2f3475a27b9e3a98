"""The best schedule that knows the future, or the best of those that are found.

Whom to evict with known requests is NP-hard as soon as sizes differ. Where the models are few it is
solved; else it is the best of some greedy schedules that look ahead: on slices of real traces such
ones were 0 to 14 % (in the middle 8 %) above what an integer program finds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from collectors.reading import Bytes
from supervisor.core.choose import Chosen, cheapest
from supervisor.core.headroom import Tally
from supervisor.core.limits import Slots
from supervisor.core.rank import Ranking, Score, Weighing
from supervisor.core.snapshot import ModelRef, Resident

from .rules import Rule, ranked
from .trace import Model, Request, Trace

MOST_STATES = 500  # sets of models that may be in memory at the same point of the trace
MOST_STEPS = 1_000_000  # sets looked at, all together
NEVER = float("inf")
SOON = 1e-3  # seconds: as good as now
POWERS = (0.5, 0.75, 1.0, 1.25)  # each is the best for some trace


class Offline(NamedTuple):
    """Seconds spent on loading. `exact`: there is no better one."""

    reload: float
    cold: int
    exact: bool
    loads: tuple[tuple[float, float], ...] = ()  # when, and seconds


def optimum(trace: Trace, capacity: Bytes) -> Offline:
    """The best schedule that is found for requests one after another, each miss a load."""
    solved = _solved(trace, capacity)
    return solved or min(
        (_ahead(trace, capacity, power) for power in POWERS), key=lambda found: found.reload
    )


# -- a look ahead


def _ahead(trace: Trace, capacity: Bytes, power: float) -> Offline:
    """At each miss those go who are worth least together: seconds to load, by the time until they
    are asked for again to that `power`."""
    requests, models = trace.requests, trace.models
    resident: dict[ModelRef, float] = {}  # until when it is not asked for
    free: int = capacity
    loads: list[tuple[float, float]] = []
    for (at, ref, _), again in zip(requests, next_uses(requests), strict=True):
        if ref not in resident:
            size, load = models[ref]
            if size > capacity:
                continue
            if free < size:
                worth = {
                    r: models[r].load / max(until - at, SOON) ** power
                    for r, until in resident.items()
                }
                for victim in _victims(worth, models, size - free):
                    del resident[victim]
                    free += models[victim].size
            free -= size
            loads.append((at, load))
        resident[ref] = again
    return Offline(sum(load for _, load in loads), len(loads), False, tuple(loads))


def _victims(
    worth: Mapping[ModelRef, float], models: Mapping[ModelRef, Model], need: int
) -> Sequence[ModelRef]:
    """Those who free `need` bytes and are worth least together."""
    order = sorted(worth, key=lambda r: (worth[r] / models[r].size, r))
    chosen = cheapest([models[r].size for r in order], [worth[r] for r in order], need)
    assert chosen is not None  # whatever fits an empty memory
    return [order[i] for i in chosen]


def next_uses(requests: Sequence[Request]) -> list[float]:
    """For each request, when its model is asked for the next time."""
    found, coming = [NEVER] * len(requests), dict[ModelRef, float]()
    for i in range(len(requests) - 1, -1, -1):
        ref = requests[i].ref
        found[i] = coming.get(ref, NEVER)
        coming[ref] = requests[i].at
    return found


# -- solved, where the models are few


def _solved(trace: Trace, capacity: Bytes) -> Offline | None:
    """By all sets that can be in memory, request by request. None: there are too many.

    Nobody need leave before their bytes are wanted, nor more than are wanted: it can be put off.
    """
    refs = sorted({r.ref for r in trace.requests if trace.models[r.ref].size <= capacity})
    bit = {ref: 1 << i for i, ref in enumerate(refs)}
    sizes = [trace.models[ref].size for ref in refs]

    @cache
    def held(state: int) -> int:
        return sum(size for i, size in enumerate(sizes) if state >> i & 1)

    @cache
    def left(state: int, wanted: int) -> tuple[int, ...]:
        """Who may be left when so many bytes more are wanted."""
        return tuple(_survivors(state, held(state) + wanted - capacity, sizes))

    # By set: what it has cost, and the loads so far as (when, seconds, those before).
    states: dict[int, tuple[float, object]] = {0: (0.0, None)}
    steps = 0
    for at, ref, _ in trace.requests:
        if ref not in bit:
            continue
        steps += len(states)
        own, model, following = bit[ref], trace.models[ref], dict[int, tuple[float, object]]()
        for state, (cost, path) in states.items():
            if state & own:
                if state not in following or cost < following[state][0]:
                    following[state] = (cost, path)
                continue
            cost += model.load
            loaded = (at, model.load, path)
            for kept in left(state, model.size):
                new = kept | own
                if new not in following or cost < following[new][0]:
                    following[new] = (cost, loaded)
        if len(following) > MOST_STATES or steps > MOST_STEPS:
            return None
        states = following
    cost, path = min(states.values(), key=lambda found: found[0])
    loads = tuple(_unwound(path))[::-1]
    return Offline(cost, len(loads), True, loads)


def _survivors(state: int, need: int, sizes: Sequence[int]) -> Iterator[int]:
    """What is left of `state` after each set of it that frees `need` bytes with nobody in vain."""
    if need <= 0:
        yield state
        return
    members = sorted((i for i in range(len(sizes)) if state >> i & 1), key=lambda i: -sizes[i])

    def go(first: int, need: int, left: int) -> Iterator[int]:
        # Largest first: whoever comes last is the smallest, so if it is needed all are.
        for n in range(first, len(members)):
            i = members[n]
            if sizes[i] >= need:
                yield left & ~(1 << i)
            else:
                yield from go(n + 1, need - sizes[i], left & ~(1 << i))

    yield from go(0, need, state)


def _unwound(path: object) -> Iterator[tuple[float, float]]:
    while isinstance(path, tuple):
        at, load, path = path
        yield at, load


# -- the same, on a host


class Future:
    """When each model is asked for again, after any time."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._times: dict[ModelRef, list[float]] = {}
        for at, ref, _ in requests:
            self._times.setdefault(ref, []).append(at)

    def loss(self, ref: ModelRef, load: float, now: float) -> float:
        """What it is worth to keep it: seconds to load, by the time until it is asked for."""
        times = self._times.get(ref, [])
        i = bisect_right(times, now)
        return load / max(times[i] - now, SOON) if i < len(times) else 0.0


def foresight(trace: Trace) -> Rule:
    """A rule that knows the future, where requests wait and what comes of it is not known."""
    future = Future(trace.requests)

    def loss(weighing: Weighing, resident: Resident) -> float:
        return future.loss(resident.ref, trace.models[resident.ref].load, weighing.now)

    def score(weighing: Weighing, resident: Resident) -> Score:
        return (loss(weighing, resident) / (resident.size or 1),)

    def choose(
        weighing: Weighing,
        candidates: Sequence[Resident],
        asleep: Mapping[ModelRef, Resident],
        tally: Tally,
        slots: Slots,
    ) -> Chosen:
        losses = [loss(weighing, r) for r in candidates]
        found = cheapest([r.size for r in candidates], losses, sum(tally.lacking.values()))
        chosen = list(candidates) if found is None else [candidates[i] for i in found]
        for resident in chosen:
            tally.leave(resident)
        return chosen, (tally.lacking, slots.full())

    ranking = Ranking("oracle", score, choose, "who is asked for last, by what loading it takes")
    return ranked(ranking)
