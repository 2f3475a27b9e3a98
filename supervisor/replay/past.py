"""The journal's own history, as a trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import RLock
from typing import NamedTuple

from collectors.reading import Bytes, Seconds
from supervisor.core.history import usual_reload
from supervisor.core.snapshot import ModelRef
from supervisor.journal.trail import Passed, Trail

from .trace import Model, Request, Trace


class Past(NamedTuple):
    """`trace` has its times in Unix time. `skipped` requests are not in it: nobody knows what
    their models hold. `loads` and `paid` (seconds) are what was really loaded."""

    trace: Trace
    skipped: int
    loads: int
    paid: Seconds


def recorded(path: Path) -> list[Passed]:
    """All that a journal's file has. Raises OSError."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    return Trail(RLock(), lambda statements: None, path).since(0.0)


def past(
    passed: Iterable[Passed],
    known: Mapping[ModelRef, Model] | None = None,
    since: float = 0.0,
) -> Past:
    """What the trail has, in order. `known` says more of models than it does; `since` (Unix
    time): what was paid from then on."""
    rows = sorted(passed, key=lambda p: p.at)
    models = dict(known or {})
    for ref, told in _told(rows).items():
        models.setdefault(ref, told)
    requests = [Request(p.at, p.ref, p.service or Seconds(0.0)) for p in rows if p.ref in models]
    paid = [p.load for p in rows if p.load is not None and p.at >= since]
    asked = {r.ref for r in requests}
    trace = Trace("journal", requests, {ref: m for ref, m in models.items() if ref in asked})
    return Past(trace, len(rows) - len(requests), len(paid), Seconds(sum(paid)))


def _told(rows: Iterable[Passed]) -> dict[ModelRef, Model]:
    """What each held when it was last seen, and what it took to load in the middle."""
    sizes: dict[ModelRef, Bytes] = {}
    loads: dict[ModelRef, list[float]] = {}
    for row in rows:
        if row.size:
            sizes[row.ref] = row.size
        if row.load is not None:
            loads.setdefault(row.ref, []).append(row.load)
    found = {}
    for ref, size in sizes.items():
        times = sorted(loads.get(ref, ()))
        middle = times[len(times) // 2] if times else usual_reload(size)
        found[ref] = Model(size, Seconds(middle))
    return found
