"""The samples that are under way: of those that ticks and alarms ask for, at most one urgent one,
and one that is not."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from collectors.reading import Seconds

from .core.snapshot import EngineId, Snapshot
from .events import Sampled, SampleFailed

if TYPE_CHECKING:
    from .loop import Loop

log = logging.getLogger("ullage.loop")


@dataclass(slots=True)
class Looks:
    """What comes of them is posted."""

    loop: Loop
    _under_way: set[bool] = field(default_factory=set)  # True the urgent one, False not
    _failing: bool = False
    _once_more: bool = False  # an alarm came while an urgent one was under way: look again
    # When the newest was begun for which all engines were asked. One may be held up by a slow
    # source, and end after others that were begun later.
    _began: float = -math.inf

    async def sampled(
        self,
        *,
        thorough: bool = False,
        urgent: bool = False,
        only: Collection[EngineId] | None = None,
    ) -> Snapshot:
        """A sample, with what is promised and who is leaving; see Sampler.sample."""
        loop = self.loop
        snapshot = await loop.sampler.sample(
            thorough=thorough,
            urgent=urgent,
            only=only,
            reservations=loop.reservations,
            leaving=loop.leaving,
            incidents=loop.alarms.recent(Seconds(loop.clock())),
            residues=loop.journal.residues(),
            tied=loop.policy.pools_of,
        )
        dressed = loop.keeping.dress(loop.witnesses.footprints.fill(snapshot, loop.policy))
        return loop.traffic.mark(loop.witnesses.rules.mark(dressed))

    def begin(self, *, urgent: bool = False) -> None:
        if urgent not in self._under_way:
            self._under_way.add(urgent)
            self._once_more = self._once_more and not urgent
            self.loop.start("urgent sample" if urgent else "sample", self._sample(urgent))

    def pressed(self) -> None:
        """An alarm: beside what a slow engine may hold up."""
        self._once_more = True in self._under_way
        self.begin(urgent=True)

    def newest(self, event: Sampled) -> Seconds | None:
        """When it was begun to look at what a sample shows. None: a newer one is in already."""
        if event.ticked:
            self._under_way.discard(event.urgent)
        before, snapshot = self.loop.snapshot, event.snapshot
        began = snapshot.taken_at if event.began is None else event.began
        if before is not None and snapshot.taken_at < before.taken_at:
            return None
        if event.urgent:  # no engine was asked for it
            return Seconds(min(began, self._began)) if self._began > -math.inf else began
        if began < self._began:
            return None
        self._began = began
        return began

    def failed(self, event: SampleFailed) -> None:
        self._under_way.discard(event.urgent)
        self.loop.counts.failed_samples += 1
        level = logging.DEBUG if self._failing else logging.ERROR
        log.log(level, "sampling failed: %s: %s", type(event.error).__name__, event.error)
        self._failing = True

    def works(self) -> None:
        self.loop.counts.samples += 1
        if self._failing:
            self._failing = False
            log.info("sampling works again")

    def catch_up(self) -> None:
        """Look for the alarm that came meanwhile."""
        if self._once_more and True not in self._under_way:
            self.begin(urgent=True)

    async def _sample(self, urgent: bool) -> None:
        began = Seconds(self.loop.clock())
        try:
            snapshot = await self.sampled(urgent=urgent)
        except Exception as error:
            log.debug("sampling", exc_info=True)
            self.loop.post(SampleFailed(error, urgent))
        else:
            self.loop.post(Sampled(snapshot, urgent=urgent, began=began))
