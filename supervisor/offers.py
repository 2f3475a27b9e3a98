"""What a fleet may ask of this host: what would it cost to serve a model, and then to do it.

An offer is a dry run. It changes nothing, stands for a time of our own monotonic clock, and is
accepted at most once; then all is planned anew. What is accepted too late does not begin at all:
not later either, for the loop looks at the same clock when it decides.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from collectors.reading import Seconds

from .core.actions import Evict, Load, Plan
from .core.experience import Experience
from .core.footprint import at_least
from .core.history import Tier
from .core.plan import plan
from .core.policy import Policy
from .core.record import Mode
from .core.refusal import of_limit, of_short
from .core.rows import plan_row
from .core.snapshot import Ability, Demand, ModelRef, Snapshot, State
from .core.status import Standings
from .door import Carried, Door, DoorError, NotReady
from .events import About, Arrived, Replan
from .fleet.hosts import HostId, Offer, OfferId
from .fleet.speak import housed
from .printable import printable

MOST = 256  # that are remembered; a fleet has some at a time
LONGEST = 900  # characters of what is in the way


class OfferOver(DoorError):
    """Its time is over, or it was never made by this daemon."""


class OfferTaken(DoorError):
    """It was accepted before."""


class NoLonger(DoorError):
    """It could have been, and cannot be now."""


@dataclass(slots=True)
class _Standing:
    """`ends` is on the loop's monotonic clock."""

    offer: Offer
    ends: Seconds
    taken: bool = False


@dataclass(slots=True)
class Offers:
    """`valid`: seconds that an offer stands. `epoch` is another at each start: what an earlier
    daemon offered, this one does not owe. `aliases` stand for names of models, the likeliest
    first, as in the gateway."""

    door: Door
    host: HostId
    valid: Seconds = Seconds(10.0)
    most: int = MOST
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    epoch: str = field(default_factory=lambda: secrets.token_hex(8))
    _standing: OrderedDict[str, _Standing] = field(default_factory=OrderedDict)
    _count: int = 0

    def __len__(self) -> int:
        return len(self._standing)

    def offer(self, name: str) -> Offer:
        """What serving `name` would cost now; of several that it means, the best. An alias means
        the first that is ready, else the first that fits. Raises Unknown, NotReady."""
        names = self.aliases.get(name, (name,))
        known = [each for each in names if self._known(each)] or list(names[:1])
        offers = [
            (place, self._offer(ref))
            for place, each in enumerate(known)
            for ref in self._meant(each)
        ]
        _, best = min(offers, key=_order)
        if best.fits:
            self._keep(best)
        return best

    def take(self, id: str) -> Offer:
        """An offer that is accepted, from now on. Raises OfferOver, OfferTaken, and NoLonger where
        it does not fit any more: then it is over."""
        standing = self._standing.get(id)
        if standing is None or self._now >= standing.ends:
            raise OfferOver(
                f"the offer {printable(id)[:80]} is over: it stood for {self.valid:g} s, and"
                " nothing was begun; ask for another"
            )
        if standing.taken:
            raise OfferTaken(f"the offer {id} was accepted already; ask for another")
        now = self._offer(self.door.resolve(standing.offer.model))
        if not now.fits:
            del self._standing[id]
            raise NoLonger(f"{now.model} does not fit here any more: {now.why}")
        standing.taken = True
        return standing.offer

    async def carry_out(self, door: Door, offer: Offer) -> Carried:
        """Load what was offered, unless the time of that is over by when it is decided. Raises
        DoorError."""
        ends = self._standing[offer.id].ends
        demand = self._demand(door.resolve(offer.model), door.snapshot())
        refs = frozenset(d.ref for d in (demand, *demand.beside) if d.ref is not None)
        about = About(refs, "the fleet wants it here", until=ends)
        door.stay(about)
        if demand.ref is not None:
            door.loop.post(Arrived(demand.ref))
        cause = f"the fleet asked to load {offer.model} here, by the offer {offer.id}"
        try:
            return await door.ask(cause, _replan(demand), False, about)
        except NotReady:
            if self._now >= ends:
                raise OfferOver(f"the offer {offer.id} was over before it could begin") from None
            raise

    # -- how it is made

    @property
    def _now(self) -> float:
        return self.door.loop.clock()

    def _meant(self, name: str) -> list[ModelRef]:
        """Whom `name` means: where several engines have it, any of them will do."""
        return self._known(name) or [self.door.resolve(name)]  # which says who is called alike

    def _known(self, name: str) -> list[ModelRef]:
        known = self.door.snapshot().known
        for one in (name, f"{name}:latest"):
            if found := sorted(ref for ref in known if one in (str(ref), ref.model)):
                return found
        return []

    def _offer(self, ref: ModelRef) -> Offer:
        door = self.door
        snapshot, policy = door.loop.keeping.as_claimed(door.snapshot(), door.loop.policy)
        waiting = door.loop.traffic.waiting.get(ref, 0)
        known = housed(snapshot, policy, Standings(snapshot, policy), ref, waiting)
        self._count += 1
        offer = Offer(
            OfferId(f"f-{self.epoch[:8]}-{self._count:06}"),
            self.host,
            str(ref),
            self.valid,
            ready=known.ready,
            fits=known.ready,
            in_flight=known.in_flight,
            waiting=waiting,
            slots=known.slots,
        )
        return offer if known.ready else self._planned(offer, ref, snapshot)

    def _planned(self, offer: Offer, ref: ModelRef, snapshot: Snapshot) -> Offer:
        """With what its load would cost, or what is in its way."""
        door, mode = self.door, self.door.loop.mode
        if mode is not Mode.ENFORCE:
            why = f"{ref} is not there, and the mode is {mode.value}: nothing is loaded"
            return replace(offer, why=why)
        engine = snapshot.engine(ref.engine)
        if engine is None or engine.fault is not None:
            fault = "it is not there any more" if engine is None else engine.fault
            return replace(offer, why=_short(f"{ref.engine} does not answer: {fault}"))
        if Ability.LOAD not in engine.abilities:
            return replace(offer, why=_short(f"{ref.engine} cannot be told to load a model"))
        try:
            demand = self._demand(ref, snapshot)
            found = door.dry(_replan(demand))
        except NotReady:
            raise
        except DoorError as error:
            return replace(offer, why=_short(str(error)))
        if not found.works:
            return replace(offer, why=_short(in_the_way(found)))
        loads = [a for a in found.actions if isinstance(a, Load)]
        return replace(
            offer,
            fits=True,
            loss=sum(self._loss(e, snapshot) for e in found.evictions),
            wait=self._wait(demand, snapshot),
            takes=tuple(share for load in loads for share in load.takes),
            leaves=tuple(str(e.ref) for e in found.evictions),
        )

    def _demand(self, ref: ModelRef, snapshot: Snapshot) -> Demand:
        """What it takes. Of a model that spans hosts it is what the operator says at least: an
        engine may fill its part only when the leader's is loaded. Raises DoorError."""
        demand = self.door.demand(str(ref), spanned=True)
        said = self.door.loop.policy.models.get(str(ref))
        if said is None or not said.part or said.memory is None:
            return demand
        return at_least(demand, said.memory, snapshot)

    def _loss(self, evict: Evict, snapshot: Snapshot) -> float:
        """In seconds: what it is expected to cost that this one goes. Where the ranking in force
        does not say, what it takes to have it back."""
        if evict.loss is not None:
            return evict.loss.expected
        return self._reload(evict.ref, snapshot)

    def _wait(self, demand: Demand, snapshot: Snapshot) -> Seconds:
        """Until it answers: one load after the other."""
        wanted = (d.ref for d in (demand, *demand.beside) if d.ref is not None)
        return Seconds(sum(self._reload(ref, snapshot) for ref in wanted))

    def _reload(self, ref: ModelRef, snapshot: Snapshot) -> Seconds:
        history, resident = self.door.loop.experience.history, snapshot.resident(ref)
        installed = snapshot.entry(ref)
        size = 0 if resident is None else resident.size
        size = size or (0 if installed is None or installed.size is None else installed.size)
        asleep = resident is not None and resident.state is State.SLEEPING
        return history.reload(ref, size, Tier.ASLEEP if asleep else Tier.DISK)

    def _keep(self, offer: Offer) -> None:
        now = self._now
        while self._standing and next(iter(self._standing.values())).ends <= now:
            self._standing.popitem(last=False)  # in the order in which they end
        while len(self._standing) >= self.most:
            self._standing.popitem(last=False)
        self._standing[offer.id] = _Standing(offer, Seconds(now + self.valid))


def _order(offered: tuple[int, Offer]) -> tuple[bool, bool, int, float, float, str]:
    place, offer = offered
    return not offer.ready, not offer.fits, place, offer.loss, offer.wait, offer.model


def _replan(demand: Demand) -> Replan:
    def replan(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
        return plan(snapshot, policy, demand, experience)

    return replan


def in_the_way(found: Plan) -> str:
    """Why a demand does not fit, in a line."""
    row = plan_row(found)
    said = [f"{b.pool}: {b.why}" for b in found.barred]
    said += [f"{blind.pool} cannot be read: {blind.why}" for blind in found.blind]
    said += [of_short(short)[0] for short in row["short"]]
    if found.full:
        limits = ", ".join(of_limit(key) for key in dict.fromkeys(found.full))
        said.append(f"no more may be active at once: {limits}")
    return "; ".join(said) or "it does not fit"


def _short(text: str) -> str:
    """As other hosts take it."""
    return printable(text)[:LONGEST]
