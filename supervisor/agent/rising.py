"""One span on its way up: its claim, its parts, and its leader at last; or all of it taken back.

The claim is one for all hosts. It is taken before anything begins, and given up when the leader has
begun or nothing by it can begin any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from collectors.reading import NONE, Bytes, Seconds
from supervisor.core.wording import duration
from supervisor.fleet import gang, ledger, spans
from supervisor.fleet.decided import Answer, Placement, Wish
from supervisor.fleet.hosts import HostId, Offer, PromiseId

from .backend import BackendError
from .means import Means
from .offering import ASK, ask_for_offer

log = logging.getLogger("ullage.fleet")

LONGEST: Final = Seconds(1800.0)  # that parts may take to load, all together
FRESH: Final = Seconds(3.0)  # what a word says may be so old when it is heard


class Failed(Exception):
    """It is not brought up: why, in words."""


@dataclass(slots=True)
class Rise:
    """`found` is what was decided by `answers`; `tell` hears what is being done, in words. `begun`
    are hosts that were told to load, and when; `seen` those of them that have said they do;
    `unsure`: until then something may begin of which nobody knows."""

    means: Means
    wish: Wish
    found: Placement
    answers: Mapping[HostId, Answer]
    tell: Callable[[str], None]
    begun: dict[HostId, Seconds] = field(default_factory=dict)
    seen: set[HostId] = field(default_factory=set)
    unsure: Seconds | None = None

    @property
    def span(self) -> str:
        return self.wish.model

    @property
    def leader(self) -> HostId:
        return self.found.host

    async def run(self) -> None:
        """Until the leader has begun to load. Raises Failed and BackendError: then nothing of it
        stays."""
        means = self.means
        id = await means.claims.keep(self.span, self._shares(), LONGEST, means.valid)
        try:
            await means.refresh()
            wish = replace(self.wish, mine=PromiseId(id))
            again = gang.settle(means.directory(), wish, self.answers, means.rules)
            if not isinstance(again, Placement) or again.members != self.found.members:
                raise Failed("the fleet has changed meanwhile")
            await self._parts(id)
            await self._lead(id)
        except BaseException:
            await asyncio.shield(self._take_back(id))
            raise
        else:
            await means.claims.give_up(id)

    def _shares(self) -> dict[str, Bytes]:
        """What the ledger is charged, host by host."""
        hosts = self.means.directory().hosts
        return {
            str(o.host): ledger.charge(o.takes, hosts[o.host].word) if o.host in hosts else NONE
            for o in self.found.offers
        }

    # -- parts first

    async def _parts(self, claim: str) -> None:
        """Have all parts begun, while their offers stand, and wait until they are there."""
        offers = (o for o in self.found.offers[:-1] if not o.ready)
        asked = (self._accept(claim, offer) for offer in offers)
        for error in await asyncio.gather(*asked, return_exceptions=True):
            if error is not None:
                raise error
        means, parts = self.means, self.found.members[:-1]
        heard = means.clock()
        ends = Seconds(heard + LONGEST)
        while True:
            means.news.clear()
            now = means.clock()
            heard = now if means.backend.connected else heard
            coming, wrong = gang.awaited(means.directory(), self.span, parts, self.leader)
            wrong += [why for host in coming if (why := self._stuck(host))]
            if wrong:
                raise Failed("; ".join(wrong))
            if not coming and not (coming := await self._not_ready(parts)):
                return
            if now - heard >= means.valid:
                raise Failed("the fleet is not connected any more")
            if now >= ends:
                raise Failed(f"{', '.join(coming)} took longer than {duration(LONGEST)}")
            self.tell(f"the part on {', '.join(coming)} is being loaded")
            await means.pause(ends)

    async def _not_ready(self, parts: tuple[HostId, ...]) -> list[HostId]:
        """By their own word of this moment: one that was heard may be of before it was begun."""
        means = self.means
        found = spans.members(means.directory(), self.span)
        answers = await asyncio.gather(
            *(ask_for_offer(means.backend, h, found[h].part.model, means.clock) for h in parts)
        )
        told = zip(parts, answers, strict=True)
        return [h for h, answer in told if answer.offer is None or not answer.offer.ready]

    def _stuck(self, host: HostId) -> str | None:
        """Why a part will not come that was begun."""
        means, since = self.means, self.begun.get(host)
        member = spans.members(means.directory(), self.span).get(host)
        if since is not None and (member is None or member.host.heard < since + FRESH):
            return None
        if member is not None and member.there:
            self.seen.add(host)
            return None
        late = since is None or means.clock() >= since + means.valid + means.lost
        if member is None or not (late or host in self.seen):
            return None
        return f"its part did not come to {host}: `ullage why` there tells the reason"

    # -- the leader at last

    async def _lead(self, claim: str) -> None:
        """The leader is asked anew, for what it offered is over by now."""
        means = self.means
        await means.refresh()
        parts = self.found.members[:-1]
        coming, wrong = gang.awaited(means.directory(), self.span, parts, self.leader)
        if coming or wrong:
            raise Failed("; ".join(wrong) or f"the part on {', '.join(coming)} has gone")
        member = spans.members(means.directory(), self.span)[self.leader]
        self.tell(f"{self.leader} loads its part, the last")
        answer = await ask_for_offer(means.backend, self.leader, member.part.model, means.clock)
        offer = answer.offer
        if offer is not None and offer.ready:
            return  # somebody has loaded it there, and all its parts are ready
        if offer is None or not offer.fits:
            why = answer.why if offer is None else offer.why
            raise Failed(f"{self.leader}, which leads it, cannot load it: {why}")
        await self._accept(claim, offer)
        # From now on its host says that it is loading, and the directory that it is coming.
        ends = Seconds(means.clock() + means.valid + means.lost)
        while means.clock() < ends:
            means.news.clear()
            now = spans.members(means.directory(), self.span).get(self.leader)
            if now is not None and now.there:
                return
            await means.pause(ends)
        raise Failed(f"{self.leader}, which leads it, has not begun to load it")

    async def _accept(self, claim: str, offer: Offer) -> None:
        """Raises BackendError. What nobody knows of may begin until the offer's time is over."""
        means = self.means
        began = self.begun[offer.host] = means.clock()
        words = {"offer": offer.id, "claim": claim, "model": self.span, "valid": offer.valid}
        try:
            await means.backend.ask(offer.host, "accept", ASK, **words, lost=means.lost, part=True)
        except BackendError as error:
            if error.unsure:  # it was made before it came here
                until = Seconds(began + offer.valid)
                self.unsure = max(until, self.unsure or until)
            else:
                del self.begun[offer.host]
            raise

    # -- or all of it back

    async def _take_back(self, claim: str) -> None:
        """What was begun goes; the claim after all by which something may begin is over. Whom we
        cannot tell lets go of its part by itself, once the claim is gone."""
        means = self.means
        if self.unsure is not None:
            self.tell("it is taken back, once nothing of it can begin any more")
            while means.clock() < self.unsure and not means.stopping:
                means.news.clear()
                await means.pause(self.unsure)
        self.tell("it is taken back")
        found = spans.members(means.directory(), self.span)
        for host in self.begun:
            if host in found:
                try:
                    model = found[host].part.model
                    await means.backend.ask(host, "unload", ASK, model=model)
                except BackendError as error:
                    log.info("%s is not told to unload its part: %s", host, error.detail)
        await means.claims.give_up(claim)
