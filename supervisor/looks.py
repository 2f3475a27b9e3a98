"""The samples that are under way: at most one urgent one, and one that is not."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from collectors.reading import Seconds

from .core.snapshot import Snapshot
from .events import Event, Sampled, SampleFailed
from .tally import Counts

log = logging.getLogger("ullage.loop")


class Look(Protocol):
    def __call__(self, *, urgent: bool) -> Awaitable[Snapshot]: ...


@dataclass(slots=True)
class Looks:
    """`start` begins a task of that name; what comes of it is posted."""

    look: Look
    start: Callable[[str, Coroutine[Any, Any, None]], None]
    post: Callable[[Event], None]
    counts: Counts
    clock: Callable[[], float]
    _under_way: set[bool] = field(default_factory=set)  # True the urgent one, False not
    _failing: bool = False
    _once_more: bool = False  # an alarm came while an urgent one was under way: look again

    def begin(self, *, urgent: bool = False) -> None:
        if urgent not in self._under_way:
            self._under_way.add(urgent)
            self._once_more = self._once_more and not urgent
            self.start("urgent sample" if urgent else "sample", self._sample(urgent))

    def pressed(self) -> None:
        """An alarm: beside what a slow engine may hold up."""
        self._once_more = True in self._under_way
        self.begin(urgent=True)

    def ended(self, urgent: bool) -> None:
        self._under_way.discard(urgent)

    def failed(self, event: SampleFailed) -> None:
        self.ended(event.urgent)
        self.counts.failed_samples += 1
        level = logging.DEBUG if self._failing else logging.ERROR
        log.log(level, "sampling failed: %s: %s", type(event.error).__name__, event.error)
        self._failing = True

    def works(self) -> None:
        self.counts.samples += 1
        if self._failing:
            self._failing = False
            log.info("sampling works again")

    def catch_up(self) -> None:
        """Look for the alarm that came meanwhile."""
        if self._once_more and True not in self._under_way:
            self.begin(urgent=True)

    async def _sample(self, urgent: bool) -> None:
        began = Seconds(self.clock())
        try:
            snapshot = await self.look(urgent=urgent)
        except Exception as error:
            log.debug("sampling", exc_info=True)
            self.post(SampleFailed(error, urgent))
        else:
            self.post(Sampled(snapshot, urgent=urgent, began=began))
