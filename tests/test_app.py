from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace

from supervisor.app import _introduce


class Quiet:
    """A loop of whose machine nothing is known."""

    snapshot = None
    sampler = SimpleNamespace(machine=None)

    async def changed(self) -> None: ...


def test_what_is_there_once_a_daemon_runs_is_not_looked_through_for_garbage_again() -> None:
    assert gc.get_freeze_count() == 0
    try:
        asyncio.run(_introduce(Quiet()))
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()
