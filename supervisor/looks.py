"""The samples that are under way: of each scope at most one, and of those for runs one more, which
all share who ask for it before it begins."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from collectors.reading import Seconds

from .core.snapshot import EngineId, Snapshot
from .events import Sampled, SampleFailed, Scope, Tick

if TYPE_CHECKING:
    from .loop import Loop

log = logging.getLogger("ullage.loop")

RESTS = 0.9  # of a base period: so long no engine is asked again for a paced tick
# Before one that was asked for while another was under way: requests that break off, as fast as
# they come, would have all engines asked all the time.
BREATH = Seconds(0.05)


@dataclass(slots=True)
class Looks:
    """What comes of them is posted. Times are on the loop's clock."""

    loop: Loop = field(repr=False)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _under_way: set[Scope] = field(default_factory=set)
    _once_more: set[Scope] = field(default_factory=set)  # asked for while such a one was under way
    _failing: bool = False
    _thorough: asyncio.Task[Snapshot] | None = None
    _next: asyncio.Task[Snapshot] | None = None
    # When the newest was begun that has asked all engines: of all that have ended, and of those
    # that were seen. One may be held up by a slow source, and end after others begun later.
    _asked: float = -math.inf
    _seen: float = -math.inf

    async def look(self) -> Snapshot:
        """A thorough sample that is begun from now on. Eight runs at once share most of them."""
        if self._next is None or self._next.done():
            self._next = self.loop.start("look", self._after(self._thorough))
            self._next.add_done_callback(_heard)
        return await asyncio.shield(self._next)

    async def _after(self, before: asyncio.Task[Snapshot] | None) -> Snapshot:
        if before is not None and not before.done():
            await asyncio.wait([before])
        self._thorough, self._next = self._next, None
        return await self.sampled(thorough=True)

    async def sampled(
        self,
        *,
        thorough: bool = False,
        urgent: bool = False,
        only: Collection[EngineId] | None = None,
    ) -> Snapshot:
        """A sample, with what is promised and who is leaving; see Sampler.sample."""
        loop, began = self.loop, self.loop.clock()
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
        if only is None and not urgent:
            self._asked = max(self._asked, began)
        dressed = loop.keeping.dress(loop.witnesses.footprints.fill(snapshot, loop.policy))
        return loop.traffic.mark(loop.witnesses.rules.mark(dressed))

    def tick(self, tick: Tick) -> None:
        rests = self.loop.clock() - self._asked < RESTS * self.loop.pace.base
        if not tick.paced:
            self.begin()
        elif Scope.ALL not in self._under_way:
            self._begin(Scope.MEMORY if rests else Scope.ALL)

    def begin(self) -> None:
        """Ask every source, from now on."""
        self._begin(Scope.ALL, again=True)

    def pressed(self) -> None:
        """An alarm: beside what a slow engine may hold up."""
        self._begin(Scope.URGENT, again=True)

    def newest(self, event: Sampled) -> Seconds | None:
        """When the engines were asked of which a sample tells. None: a newer one is in already."""
        if event.ticked:
            self._under_way.discard(event.scope)
        before, snapshot = self.loop.snapshot, event.snapshot
        began = snapshot.taken_at if event.began is None else event.began
        if before is not None and snapshot.as_of < before.as_of:
            return None
        if event.scope is not Scope.URGENT:  # which is there for what no other may have read
            if began < self._seen:
                return None
            self._seen = began
        return began

    def failed(self, event: SampleFailed) -> None:
        self._under_way.discard(event.scope)
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
        """Look for what happened meanwhile."""
        for scope in self._once_more - self._under_way:
            self._begin(scope, after=BREATH)

    def _begin(self, scope: Scope, *, again: bool = False, after: Seconds | None = None) -> None:
        if scope not in self._under_way:
            self._under_way.add(scope)
            self._once_more.discard(scope)
            name = "urgent sample" if scope is Scope.URGENT else "sample"
            self.loop.start(name, self._sample(scope, after))
        elif again:
            self._once_more.add(scope)

    async def _sample(self, scope: Scope, after: Seconds | None) -> None:
        if after is not None:
            await self.sleep(after)
        began = self.loop.clock() if scope is Scope.ALL else self._asked
        try:
            if scope is Scope.MEMORY:
                snapshot = await self.sampled(only=())
            else:
                snapshot = await self.sampled(urgent=scope is Scope.URGENT)
        except Exception as error:
            log.debug("sampling", exc_info=True)
            self.loop.post(SampleFailed(error, scope))
        else:
            self.loop.post(Sampled(snapshot, scope=scope, began=Seconds(began)))


def _heard(task: asyncio.Task[Snapshot]) -> None:
    """Whoever asked for it may be gone by the time that it fails."""
    if not task.cancelled():
        task.exception()
