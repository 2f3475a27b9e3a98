"""Why a load failed, where its engine does not say: what its process wrote last, and whether the
kernel has killed somebody meanwhile."""

from __future__ import annotations

import asyncio

from collectors.reading import Seconds

from .core.retry import shortage
from .core.snapshot import ModelId, Snapshot
from .engines.base import Engine, EngineError

LINES = 100  # of the log: what is said of memory comes some dozen lines before the end
TIMEOUT = Seconds(5.0)
QUOTED = 300  # characters


async def because(
    detail: str, engine: Engine | None, model: ModelId, before: Snapshot, now: Snapshot
) -> str:
    """`detail`, and what else tells that memory was missing."""
    if shortage(detail) is not None:
        return detail
    line = None if engine is None else await _line(engine, model)
    if line is None and _killed(before, now):
        line = "meanwhile the kernel killed a process for want of memory"
    return detail if line is None else f"{detail}; {line[:QUOTED]}"


async def _line(engine: Engine, model: ModelId) -> str | None:
    """The first of the log's last lines that says so."""
    try:
        async with asyncio.timeout(TIMEOUT):
            lines = await engine.logs(model, LINES)
    except (EngineError, TimeoutError):  # most engines show no logs
        return None
    return next((line for line in lines if shortage(line) is not None), None)


def _killed(before: Snapshot, now: Snapshot) -> bool:
    if before.host is None or now.host is None:
        return False
    then, since = before.host.oom_kills, now.host.oom_kills
    return then is not None and since is not None and since > then
