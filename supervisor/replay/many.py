"""A trace of a few models made into one of thousands: each is a copy of one that was recorded,
which begins at another hour of the day, and of whose requests only a part is kept."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Mapping, Sequence

from collectors.reading import Seconds
from supervisor.core.snapshot import EngineId, ModelId, ModelRef

from .trace import Model, Request, Trace

ENGINE = EngineId("replay")


def copies(trace: Trace, models: int, keep: float, lasts: Seconds, seed: int = 1) -> Trace:
    """`models` of them, over `lasts` seconds; of the requests the share `keep` (0 to 1)."""
    dice = random.Random(seed)
    length = max((r.at for r in trace.requests), default=0.0) + 1.0
    recorded: dict[ModelRef, list[Request]] = {ref: [] for ref in trace.models}
    for request in trace.requests:
        recorded[request.ref].append(request)
    refs = sorted(trace.models)
    known: dict[ModelRef, Model] = {}
    requests: list[Request] = []
    for i in range(models):
        source = refs[i % len(refs)]
        ref = ModelRef(ENGINE, ModelId(f"{source.model}-{i}"))
        known[ref] = trace.models[source]
        begins = dice.uniform(0.0, length)
        for at, service in _window(recorded[source], begins, lasts, length):
            if dice.random() < keep:
                requests.append(Request(at, ref, service))
    requests.sort(key=lambda r: (r.at, r.ref))
    return Trace(f"{trace.name} x {models}", requests, known, trace.seed)


def _window(
    recorded: Sequence[Request], begins: float, lasts: float, length: float
) -> list[tuple[float, Seconds]]:
    """Those within `lasts` seconds from `begins` on; at the end it begins again."""
    times = [r.at for r in recorded]
    found: list[tuple[float, Seconds]] = []
    offset, start = -begins, begins
    while times and offset < lasts:
        for request in recorded[bisect_left(times, start) :]:
            if request.at + offset >= lasts:
                return found
            found.append((request.at + offset, request.service))
        offset, start = offset + length, 0.0
    return found


def installed(
    models: Mapping[ModelRef, Model], hosts: int, copies: int, seed: int = 1
) -> list[list[ModelRef]]:
    """Of each host what it has on disk: every model is on `copies` of them, or on all."""
    dice = random.Random(seed)
    found: list[list[ModelRef]] = [[] for _ in range(hosts)]
    for ref in sorted(models):
        for host in dice.sample(range(hosts), min(copies, hosts)):
            found[host].append(ref)
    return found
