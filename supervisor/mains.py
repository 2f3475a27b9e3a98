"""The main processes of engines whose unit or container is named, asked of systemd or of the
container's engine where the kernel tells us nobody who listens. Aside, and rarely."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from collectors.reading import Seconds

from .core.snapshot import EngineId
from .engines.base import CALL_TIMEOUT, EngineError

log = logging.getLogger("ullage.mains")

INTERVAL = Seconds(60.0)


class Service(Protocol):
    async def pid(self) -> int | None:
        """Raises EngineError."""


@dataclass(slots=True)
class Mains:
    services: Mapping[EngineId, Service] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    _told: dict[EngineId, int] = field(default_factory=dict)
    _asked_at: dict[EngineId, float] = field(default_factory=dict)
    _open: dict[EngineId, asyncio.Task[None]] = field(default_factory=dict)

    def of(self, engines: Collection[EngineId]) -> Mapping[EngineId, int]:
        """Their main processes, as far as that was told; who was not asked lately is asked now.

        What was told of others is forgotten: when they are named again, they have begun anew.
        """
        wanted = self.services.keys() & set(engines)
        for engine in self._asked_at.keys() - wanted:
            self._told.pop(engine, None)
            del self._asked_at[engine]
            if (task := self._open.pop(engine, None)) is not None:
                task.cancel()
        now = self.clock()
        for engine in wanted:
            at = self._asked_at.get(engine)
            if (at is None or now - at >= INTERVAL) and engine not in self._open:
                self._asked_at[engine] = now
                self._open[engine] = asyncio.create_task(
                    self._ask(engine), name=f"main process of {engine}"
                )
        return {engine: pid for engine, pid in self._told.items() if engine in wanted}

    async def close(self) -> None:
        """End what is still being asked."""
        tasks, self._open = list(self._open.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, engine: EngineId) -> None:
        pid: int | None = None
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                pid = await self.services[engine].pid()
        except (EngineError, TimeoutError) as error:
            log.debug("the main process of %s is not told: %s", engine, error)
        except Exception:  # our bug: it costs us this answer, and no other
            log.warning("asking for the main process of %s", engine, exc_info=True)
        self._open.pop(engine, None)
        if pid is None:
            self._told.pop(engine, None)
        else:
            self._told[engine] = pid
