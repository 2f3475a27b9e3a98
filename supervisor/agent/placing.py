"""One wish for a model, carried out: who is asked, and who is told to load it.

What is decided is decided in fleet/place.py. The order of steps is that of fleet/ledger.py: offers,
the claim, another look at all, and only then the load.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from weakref import WeakValueDictionary

from collectors.reading import NONE, Bytes, Seconds
from supervisor.fleet import ledger
from supervisor.fleet.decided import Answer, Asking, Choice, Placement, Queued, Wish
from supervisor.fleet.explain import of_choice
from supervisor.fleet.hosts import HostId, Offer, PromiseId
from supervisor.fleet.place import choose_hosts, closest, place

from .backend import BackendError, Row
from .means import AGAIN, AT_MOST, Means
from .offering import ASK, ask_for_offer
from .told import Told, rows

LAG: Final = Seconds(2.0)  # after which a host's word tells of a request that was sent there
TRIES: Final = 3  # loads that are tried before it is waited for news


@dataclass(slots=True)
class Placing:
    """All placements of one agent. `told` keeps what was answered."""

    means: Means
    told: Told
    _locks: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    _sent: dict[tuple[str, HostId], deque[Seconds]] = field(default_factory=dict)

    async def place(self, model: str, dry: bool, within: Seconds, avoid: Collection[str]) -> Row:
        """Where the model is served, found in `within` seconds or not much later. Raises
        Refused."""
        end = Seconds(self.means.clock() + within)
        wish = Wish(model, self.means.own, frozenset(HostId(h) for h in avoid))
        if dry or not self.means.backend.connected or isinstance(self._choose(wish), Placement):
            return await self._until(wish, dry, end)
        lock = self._locks.setdefault(model, asyncio.Lock())
        async with lock:  # of one model one placement at a time, here as in all of the fleet
            return await self._until(wish, dry, end)

    def likeliest(self, names: Sequence[str], avoid: Collection[str]) -> str:
        """Of the names that may be meant: the first that is served without a load, else that can be
        asked for, else that is known at all."""
        if len(names) == 1:
            return names[0]
        left = frozenset(HostId(h) for h in avoid)
        found = [self._choose(Wish(name, self.means.own, left)) for name in names]
        return names[min(range(len(names)), key=lambda i: (_effort(found[i]), i))]

    async def _until(self, wish: Wish, dry: bool, end: Seconds) -> Row:
        """Again and again, until it is placed or the time is over."""
        tries, spoiled = 0, set[HostId]()
        while True:
            self.means.news.clear()
            if not self.means.backend.connected:
                return self._alone(wish, dry)
            now = replace(wish, sent=self._sent_of(wish.model), avoid=wish.avoid | spoiled)
            choice = self._choose(now)
            if isinstance(choice, Asking):
                answers = await self._offers(choice)
                decided = self._decide(now, answers)
                if dry or not isinstance(decided, Placement) or not decided.offers:
                    choice = decided
                elif tries < TRIES:
                    tries += 1
                    if begun := await self._load(now, choice, decided, answers, spoiled):
                        return self._placed(begun, dry)
                    continue  # the world was another than it looked
                else:
                    choice = Queued(wish.model, decided.notes, wait=AGAIN)
            if isinstance(choice, Placement):
                return self._placed(choice, dry)
            if dry or self.means.clock() >= end or (isinstance(choice, Queued) and choice.unknown):
                self._refuse(choice, dry)
            wait = choice.wait if isinstance(choice, Queued) else None
            await self.means.pause(end, AT_MOST if wait is None else wait)
            tries = 0

    # -- what is decided

    def _choose(self, wish: Wish) -> Choice:
        found = choose_hosts(self.means.directory(), wish, self.means.rules, self.means.view.index)
        return self._whole(found)

    def _decide(self, wish: Wish, answers: Mapping[HostId, Answer]) -> Placement | Queued:
        means = self.means
        found = place(means.directory(), wish, answers, means.rules, means.view.index)
        whole = self._whole(found)
        assert not isinstance(whole, Asking)
        return whole

    def _whole(self, found: Choice) -> Choice:
        """Nothing is begun by a directory that may not know yet who has the model, or is getting
        it."""
        young = self.means.young
        begins = isinstance(found, Asking) or (isinstance(found, Placement) and found.offers)
        if young <= 0 or not begins or len(self.means.view.others) == 0:
            return found
        model = found.claim if isinstance(found, Asking) else found.model
        return Queued(model, found.notes, wait=young)

    # -- a load, begun on another host or here

    async def _offers(self, asking: Asking) -> dict[HostId, Answer]:
        found = await asyncio.gather(*(self._offer(h, asking.claim) for h in asking.hosts))
        return dict(zip(asking.hosts, found, strict=True))

    async def _offer(self, host: HostId, model: str) -> Answer:
        means, called = self.means, self._name_at(host, model)
        return await ask_for_offer(means.backend, host, called, means.clock)

    async def _load(
        self,
        wish: Wish,
        asking: Asking,
        chosen: Placement,
        answers: Mapping[HostId, Answer],
        spoiled: set[HostId],
    ) -> Placement | None:
        """Claim, look again, begin. None: the world is another by now, and is looked at anew."""
        try:
            id = await self.means.claims.take(asking.claim, self._shares(chosen), self.means.valid)
        except BackendError as error:
            if error.code == "full":
                spoiled.update(chosen.members)
            return None
        try:
            await self.means.refresh()
            again = self._decide(replace(wish, mine=PromiseId(id)), answers)
        except BackendError:
            again = None
        if not isinstance(again, Placement) or again.members != chosen.members or not again.offers:
            await self.means.claims.give_up(id)  # it is there meanwhile, or is not to be had
            return None
        try:
            for offer in again.offers:
                await self._accept(id, asking.claim, offer)
        except BackendError as error:
            spoiled.update(chosen.members)
            if not error.unsure:  # else it may begin until its time is over
                await self.means.claims.give_up(id)
            return None
        return again

    def _shares(self, chosen: Placement) -> dict[str, Bytes]:
        """What the ledger is charged: a claim that takes nothing is one all the same."""
        hosts = self.means.directory().hosts
        words = {h: hosts[h].word for h in chosen.members if h in hosts}
        charged = {o.host: ledger.charge(o.takes, words[o.host]) for o in chosen.offers
                   if o.host in words}  # fmt: skip
        return {str(h): charged.get(h, NONE) for h in chosen.members}

    async def _accept(self, id: str, claim: str, offer: Offer) -> None:
        words = {"offer": offer.id, "claim": id, "model": claim, "valid": offer.valid}
        await self.means.backend.ask(offer.host, "accept", ASK, **words, lost=self.means.lost)

    # -- what is answered

    def _alone(self, wish: Wish, dry: bool) -> Row:
        """Without the others there is nothing to choose: what is here is served here."""
        means = self.means
        here = means.view.index.who(wish.model).get(means.own, ())
        if not here or means.own in wish.avoid:
            found = choose_hosts(means.directory(), wish, means.rules, means.view.index)
            self._refuse(found, dry)
        said = ["not connected to the fleet: this host decides alone"]
        id = self.told.note(wish.model, self.means.own, said, (), dry)
        ready = any(h.ready for h in here)
        return self._answer(wish.model, self.means.own, ready, id, said, [])

    def _placed(self, found: Placement, dry: bool) -> Row:
        said = of_choice(found)
        if not dry:
            sent = self._sent.setdefault((found.model, found.host), deque(maxlen=1000))
            sent.append(self.means.clock())
        id = self.told.note(found.model, found.host, said, found.notes, dry)
        return self._answer(found.model, found.host, found.ready, id, said, rows(found.notes))

    def _answer(
        self, model: str, host: HostId, ready: bool, id: str, said: list[str], notes: list[Row]
    ) -> Row:
        there = self.means.directory().hosts.get(host)
        return {
            "host": host,
            "address": None if there is None else there.word.address,
            "model": self._name_at(host, model),
            "ready": ready,
            "placement": id,
            "sentences": said,
            "notes": notes,
        }

    def _refuse(self, found: Choice, dry: bool) -> None:
        said = of_choice(found)
        if isinstance(found, Queued) and found.unknown:
            near = list(closest(self.means.view.index.known(), found.model))
            self.told.refuse(404, "unknown", found.model, said, found.notes, dry, closest=near)
        model = found.claim if isinstance(found, Asking) else found.model
        wait = getattr(found, "wait", None)
        more = {} if wait is None else {"wait": wait}
        self.told.refuse(409, "queued", model, said, found.notes, dry, **more)

    def _name_at(self, host: HostId, model: str) -> str:
        """As that host has it, with its engine."""
        housed = self.means.view.index.who(model).get(host)
        return f"{housed[0].engine}/{housed[0].name}" if housed else model

    def _sent_of(self, model: str) -> dict[HostId, int]:
        """Requests that no word can tell of yet."""
        since, found = self.means.clock() - LAG, dict[HostId, int]()
        for (name, host), times in list(self._sent.items()):
            while times and times[0] < since:
                times.popleft()
            if not times:
                del self._sent[name, host]
            elif name == model:
                found[host] = len(times)
        return found


def _effort(choice: Choice) -> int:
    if isinstance(choice, Queued):
        return 3 if choice.unknown else 2
    return 0 if isinstance(choice, Placement) else 1
