"""Who goes first. A ranking is one function and one row of RANKINGS."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from collectors.reading import RAM, PoolId, Seconds

from .actions import Loss
from .choose import Chosen, in_order, least_loss
from .experience import Experience
from .history import SHORTEST, Tier
from .snapshot import Mapped, ModelRef, Resident, Share, Snapshot

if TYPE_CHECKING:
    from .headroom import Tally
    from .limits import Slots
    from .policy import Policy

Score = tuple[float, ...]
# A Loss, of which there may be many, and what of it falls on each byte.
_Weighed = tuple[float, Seconds, Seconds, float, float]

FOR_EVER = float("inf")


class Weighing:
    """What a ranking may look at; each number is worked out once. `now` is in History's time."""

    def __init__(self, snapshot: Snapshot, policy: Policy, experience: Experience) -> None:
        self.snapshot, self.policy = snapshot, policy
        self.history = experience.history
        self.now = self.history.time(snapshot.taken_at)
        self._odds = self.history.odds
        self._capacity = {p.id: p.total for p in snapshot.pools}
        self._horizons: dict[PoolId | None, Seconds] = {}
        self._ram_price = self.history.price(RAM)
        self._priorities = policy.says("priority")
        self._leased = frozenset(lease.ref for lease in snapshot.leases)
        # Who goes with whom, and whether to sleep: then it is what all of them would cost.
        self.units: Mapping[ModelRef, Sequence[tuple[Resident, bool]]] = {}
        self._gone: dict[ModelRef, _Weighed] = {}
        self._asleep: dict[ModelRef, _Weighed] = {}

    def in_use(self, resident: Resident) -> bool:
        """Would somebody's work end with it?"""
        if (unit := self.units.get(resident.ref)) is not None:
            return any(r.busy or r.ref in self._leased for r, _ in unit)
        return resident.busy or resident.ref in self._leased

    def idle(self, resident: Resident) -> Seconds:
        """Since it was last asked for, or last seen at work."""
        last = self.history.last(resident.ref)
        return resident.idle_for if last is None else Seconds(max(0.0, self.now - last))

    def reload(self, resident: Resident) -> Seconds:
        """What it would take to have it back once it is gone for good."""
        return self.history.reload(resident.ref, resident.size)

    def loss(self, resident: Resident, sleeps: bool = False) -> Loss:
        """What it is expected to cost that it goes; or that it `sleeps`, which fills RAM."""
        return Loss._make(self._weighed(resident, sleeps)[:4])

    def expected(self, resident: Resident, sleeps: bool = False) -> float:
        """The same, in seconds, with whoever goes with it."""
        if (unit := self.units.get(resident.ref)) is not None:
            return sum(self._weighed(r, is_asleep)[3] for r, is_asleep in unit)
        return self._weighed(resident, sleeps)[3]

    def cost(self, going: Iterable[Resident], asleep: Collection[ModelRef]) -> tuple[int, float]:
        """How many of them are in use, and what all of it is expected to cost, in seconds."""
        going = tuple(going)
        loss = sum(self.expected(r, r.ref in asleep) for r in going)
        return sum(map(self.in_use, going)), loss

    def density(self, resident: Resident) -> float:
        """What is expected to be lost by each byte of it."""
        return self._weighed(resident, False)[4]

    def known(self, resident: Resident, sleeps: bool = False) -> Loss | None:
        """Its loss, where somebody has asked for it."""
        known = (self._asleep if sleeps else self._gone).get(resident.ref)
        return None if known is None else Loss._make(known[:4])

    def _weighed(self, resident: Resident, sleeps: bool) -> _Weighed:
        weighed = self._asleep if sleeps else self._gone
        ref = resident.ref
        known = weighed.get(ref)
        if known is not None:
            return known
        pool: PoolId | None
        size: int
        shares = resident.shares
        if len(shares) == 1 and not resident.mapped:  # as most are, and there may be many
            pool, size = shares[0].pool, shares[0].size
        else:
            pool, size = _mostly(resident)
        within = self._horizons.get(pool) or self._horizon(pool)
        chance = self._odds.keeping(ref, self.now, within, resident.idle_for)
        history = self.history
        back = history.reload(ref, size, Tier.ASLEEP) if sleeps else history.reload(ref, size)
        expected = chance * back
        if self._priorities and (priority := self.policy.priority_of(ref)):
            expected *= 2.0**priority
        if sleeps and self._ram_price:
            expected += self._ram_price * sum(s.size for s in shares if s.pool != RAM)
        known = weighed[ref] = (chance, within, back, expected, expected / (size or 1))
        return known

    def size(self, resident: Resident) -> int:
        """All that it holds, in bytes; 1 where that is nothing, for it is divided by."""
        return resident.size or 1

    def _horizon(self, pool: PoolId | None) -> Seconds:
        if pool is None:
            return Seconds(SHORTEST)
        known = self.history.horizon(pool, self._capacity.get(pool, 0), self.now)
        self._horizons[pool] = known
        return known


Choose = Callable[
    [Weighing, Sequence[Resident], Mapping[ModelRef, Resident], "Tally", "Slots"], Chosen
]


@dataclass(frozen=True, slots=True)
class Ranking:
    """`score`: the smallest goes first; ties end in a name. `choose` picks the victims from those
    in that order. `meaning` is half a sentence for the operator."""

    name: str
    score: Callable[[Weighing, Resident], Score]
    choose: Choose
    meaning: str

    def order(self, weighing: Weighing, residents: Sequence[Resident]) -> list[Resident]:
        """Who is in use comes last; then by score, then by name: total, and the same each time."""
        score, used = self.score, weighing.in_use
        return sorted(residents, key=lambda r: (used(r), *score(weighing, r), r.ref[1], r.ref[0]))


def _mostly(resident: Resident) -> tuple[PoolId | None, int]:
    """The pool where most of it is, and all that it holds, in bytes."""
    parts: Sequence[Share | Mapped] = (*resident.shares, *resident.mapped)
    largest = max(parts, key=lambda part: part.size, default=None)
    return None if largest is None else largest.pool, sum(part.size for part in parts)


def value(weighing: Weighing, resident: Resident) -> Score:
    return (weighing.density(resident), -resident.idle_for)


def lru(weighing: Weighing, resident: Resident) -> Score:
    return (-resident.idle_for,)


def lfu(weighing: Weighing, resident: Resident) -> Score:
    often = weighing.history.popularity(resident.ref, weighing.now)
    return (often, -resident.idle_for)


def gdsf(weighing: Weighing, resident: Resident) -> Score:
    return (weighing.history.worth(resident.ref, weighing.size(resident)),)


def landlord(weighing: Weighing, resident: Resident) -> Score:
    return (weighing.history.credit(resident.ref, weighing.size(resident)),)


def idle_over_load(weighing: Weighing, resident: Resident) -> Score:
    return (-weighing.idle(resident) / max(weighing.reload(resident), 1e-3),)


def shortest_keep_alive(weighing: Weighing, resident: Resident) -> Score:
    return (FOR_EVER if resident.keep_alive is None else resident.keep_alive,)


VALUE = Ranking(
    "value",
    value,
    least_loss,
    "the set of models that costs least: how likely each is asked for again soon, times what it"
    " takes to load it",
)

RANKINGS: Mapping[str, Ranking] = {
    r.name: r
    for r in (
        VALUE,
        Ranking("lru", lru, in_order, "who was idle for longest"),
        Ranking("lfu", lfu, in_order, "who was asked for least often lately"),
        Ranking(
            "gdsf", gdsf, in_order, "GreedyDual-Size-Frequency: requests × seconds to load ÷ size"
        ),
        Ranking(
            "landlord",
            landlord,
            in_order,
            "whose last request has paid its rent up first: seconds to load ÷ size, no count",
        ),
        Ranking("idle_over_load", idle_over_load, in_order, "the longest idle ÷ seconds to load"),
        Ranking(
            "shortest_keep_alive",
            shortest_keep_alive,
            in_order,
            "whose engine would let it go soonest, then by name",
        ),
    )
}
