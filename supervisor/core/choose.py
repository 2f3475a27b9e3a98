"""Which of those who may go have to: enough, and nobody in vain."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING

from collectors.reading import PoolId

from .snapshot import ModelRef, Resident

if TYPE_CHECKING:
    from .headroom import Tally
    from .limits import Slots
    from .rank import Weighing

Lacks = tuple[Mapping[PoolId, int], tuple[str, ...]]
Chosen = tuple[list[Resident], Lacks]
Gives = Mapping[ModelRef, Resident]

# Seconds of loading that no wait is worth: whoever is at work goes last.
AT_WORK = 1e9
# The victims are looked for among so many of the cheapest by the byte, and some more than those
# that would be enough.
WIDTH, MORE = 14, 4
# Steps of a search, before the best that was found has to do.
STEPS, COSTLY_STEPS = 3000, 250
# What is freed beyond the need is worth half of what a byte has cost lately: of 0 to 1 the best
# over five traces.
TOO_MUCH = 0.5

_DENSITY = itemgetter(0)


def in_order(
    weighing: Weighing,
    candidates: Sequence[Resident],
    asleep: Gives,
    tally: Tally,
    slots: Slots,
) -> Chosen:
    """The first of `candidates` that are enough, less those who turn out not to be needed, and
    what is still missing then. The tally and the slots are left as if they were gone."""
    return _in_order(candidates, candidates, asleep, tally, slots)


def least_loss(
    weighing: Weighing,
    candidates: Sequence[Resident],
    asleep: Gives,
    tally: Tally,
    slots: Slots,
) -> Chosen:
    """Those who together are expected to cost least; otherwise as `in_order`.

    Exact among the cheapest where each of them gives to one pool that lacks bytes, whatever
    the others do; else the best of a bounded search.
    """
    expected, used = weighing.expected, weighing.in_use
    losses = {
        r.ref: expected(r, r.ref in asleep) + (AT_WORK if used(r) else 0.0) for r in candidates
    }
    over = slots.full()
    if not over and not tally.lacking:
        return [], ({}, ())
    if not over:
        found = _pool_by_pool(weighing, candidates, asleep, tally, losses)
        if found is not None:
            dearest_last = sorted(found, key=lambda r: losses[r.ref])
            # Files that several have mapped come back, too: then somebody may stay after all.
            trim = any(asleep.get(r.ref, r).mapped for r in found)
            chosen, lacks = _in_order(found, dearest_last if trim else (), asleep, tally, slots)
            if not lacks[0]:
                return chosen, lacks
            for resident in chosen:  # more came back than a pool has: its numbers contradict
                tally.stay(asleep.get(resident.ref, resident))
                slots.stay(resident)
    return _search(candidates, asleep, tally, slots, losses)


def _in_order(
    candidates: Sequence[Resident],
    dearest_last: Sequence[Resident],
    asleep: Gives,
    tally: Tally,
    slots: Slots,
) -> Chosen:
    """As `in_order`; whoever is not needed is given back from the end of `dearest_last`."""
    chosen: set[ModelRef] = set()
    for resident in candidates:
        if tally.fits and not slots.full():
            break
        chosen.add(resident.ref)
        tally.leave(asleep.get(resident.ref, resident))
        slots.leave(resident)
    best = tally.lacking, slots.full()
    for resident in reversed(dearest_last):
        if resident.ref in chosen and not tally.needs(asleep.get(resident.ref, resident)):
            tally.stay(asleep.get(resident.ref, resident))
            slots.stay(resident)
            if (tally.lacking, slots.full()) == best:
                chosen.discard(resident.ref)
            else:
                tally.leave(asleep.get(resident.ref, resident))
                slots.leave(resident)
    return [r for r in candidates if r.ref in chosen], best


# -- bytes alone, and each gives to one pool


def _pool_by_pool(
    weighing: Weighing,
    candidates: Sequence[Resident],
    asleep: Gives,
    tally: Tally,
    losses: Mapping[ModelRef, float],
) -> list[Resident] | None:
    """Pool by pool the best set. None: somebody gives to several pools that lack bytes, or what
    each gives by itself is not enough: files that several have mapped come back with the last."""
    lacking = tally.lacking
    members: dict[PoolId, list[tuple[float, int, float, Resident]]] = {p: [] for p in lacking}
    gives_of = tally.gives
    for resident in candidates:
        gives = gives_of(asleep.get(resident.ref, resident) if asleep else resident)
        if len(gives) > 1:
            return None
        for pool, size in gives:
            loss = losses[resident.ref]
            members[pool].append((loss / size, size, loss, resident))
    found: list[Resident] = []
    for pool, need in lacking.items():
        # Stable: those who cost alike by the byte stay in the order in which they came.
        theirs = sorted(members[pool], key=_DENSITY)
        price = TOO_MUCH * weighing.history.price(pool)
        best = cheapest([m[1] for m in theirs], [m[2] for m in theirs], need, price)
        if best is None:
            return None
        found += [theirs[i][3] for i in best]
    return found


def cheapest(
    sizes: Sequence[int], losses: Sequence[float], need: int, price: float = 0.0
) -> list[int] | None:
    """Which of several, cheapest by the byte first, free `need` bytes at the least loss, in
    seconds, less `price` for each byte that is freed beyond. None: all together do not.

    Of no set that is found could anybody stay. It is the best there is of the first
    max(WIDTH, n + MORE), where n is how many of them it takes in order; after STEPS steps the
    best so far.
    """
    total = enough = 0
    for size in sizes:
        if total >= need:
            break
        total += size
        enough += 1
    if total < need:
        return None
    few = max(WIDTH, enough + MORE)
    return _Knapsack(sizes[:few], losses[:few], need, price).solve(enough)


class _Knapsack:
    """Depth first: who is next to go? Cut off where not even parts of the cheapest that are left
    would beat the best that was found.

    Losses are counted less the price of all bytes that are freed: what is freed beyond the need
    is then paid for, and the rest is the same for every set.
    """

    def __init__(
        self, sizes: Sequence[int], losses: Sequence[float], need: int, price: float
    ) -> None:
        self._sizes = sizes
        self._losses = [loss - price * size for loss, size in zip(losses, sizes, strict=True)]
        self._size_before = [0, *accumulate(self._sizes)]
        self._loss_before = [0.0, *accumulate(self._losses)]
        # The first that is worth more than its bytes: whoever is before it may well go, too.
        self._dear = next((i for i, loss in enumerate(self._losses) if loss >= 0.0), len(sizes))
        self._need = need
        self._steps = 0
        self._chosen: list[int] = []
        self.best: list[int] = []
        self.best_loss = float("inf")

    def solve(self, enough: int) -> list[int]:
        self._greedy(enough)
        self._go(0, self._need, 0.0, self._size_before[-1])
        return self.best

    def _greedy(self, enough: int) -> None:
        """In order, less whoever is not needed, the dearest first: something to beat."""
        chosen = list(range(enough))
        spare = self._size_before[enough] - self._need
        for i in sorted(chosen, key=lambda i: (-self._losses[i], -i)):
            if self._sizes[i] <= spare:
                chosen.remove(i)
                spare -= self._sizes[i]
        self.best, self.best_loss = chosen, sum(self._losses[i] for i in chosen)

    def _go(self, first: int, need: int, loss: float, smallest: int) -> None:
        """`need` is still missing, `loss` spent; the next to go is `first` or one after it."""
        sizes, losses, dear = self._sizes, self._losses, self._dear
        size_before, loss_before = self._size_before, self._loss_before
        for i in range(first, len(sizes)):
            # What `need` bytes from `i` on would cost, if parts of a model could go.
            worth = max(i, dear)
            least, end = loss_before[worth] - loss_before[i], size_before[i] + need
            if end > size_before[worth]:
                if end > size_before[-1]:
                    return  # there are not so many
                last = bisect_left(size_before, end, worth) - 1
                part = (end - size_before[last]) / sizes[last]
                least = least + loss_before[last] - loss_before[worth] + part * losses[last]
            if self._steps >= STEPS or loss + least >= self.best_loss:
                return
            self._steps += 1
            size, cost = sizes[i], loss + losses[i]
            if size < need:
                self._chosen.append(i)
                self._go(i + 1, need - size, cost, min(smallest, size))
                self._chosen.pop()
            elif size - need < smallest and cost < self.best_loss:  # nobody in it could stay
                self.best, self.best_loss = [*self._chosen, i], cost


# -- several pools at once, files that several have mapped, and limits


def _search(
    candidates: Sequence[Resident],
    asleep: Gives,
    tally: Tally,
    slots: Slots,
    losses: Mapping[ModelRef, float],
) -> Chosen:
    """In the order of loss for what each gives of all that is missing; and from there the best
    of so many steps."""
    lacking = tally.lacking

    def dear(resident: Resident) -> float:
        gives = tally.gives(asleep.get(resident.ref, resident))
        part = sum(min(1.0, size / lacking[pool]) for pool, size in gives)
        if slots.helps(resident):
            part += 1.0
        return losses[resident.ref] / part if part else float("inf")

    ordered = sorted(candidates, key=dear)
    dearest_last = sorted(ordered, key=lambda r: losses[r.ref])
    chosen, lacks = _in_order(ordered, dearest_last, asleep, tally, slots)
    going = {r.ref for r in chosen}
    last = max((i for i, r in enumerate(ordered) if r.ref in going), default=0)
    few = ordered[: max(WIDTH, last + 1 + MORE)]
    if lacks[0] or lacks[1] or len(few) > WIDTH:  # so many sets that none better would be found
        return chosen, lacks
    for resident in chosen:
        tally.stay(asleep.get(resident.ref, resident))
        slots.stay(resident)
    better = _Trial(few, asleep, tally, slots, losses).solve(sum(losses[r.ref] for r in chosen))
    best = chosen if better is None else better
    return _in_order(best, sorted(best, key=lambda r: losses[r.ref]), asleep, tally, slots)


class _Trial:
    """Depth first over who goes, by trying it. The tally and the slots are left as they were."""

    def __init__(
        self,
        residents: Sequence[Resident],
        asleep: Gives,
        tally: Tally,
        slots: Slots,
        losses: Mapping[ModelRef, float],
    ) -> None:
        self._residents, self._asleep, self._tally, self._slots = residents, asleep, tally, slots
        self._losses = losses
        self._steps = 0
        self._chosen: list[Resident] = []
        self._best: list[Resident] | None = None
        self._best_loss = float("inf")

    def solve(self, to_beat: float) -> list[Resident] | None:
        """None: nothing is better than what costs `to_beat`."""
        self._best_loss = to_beat
        self._go(0, 0.0)
        return self._best

    def _go(self, first: int, loss: float) -> None:
        for i in range(first, len(self._residents)):
            resident = self._residents[i]
            cost = loss + self._losses[resident.ref]
            if cost >= self._best_loss:
                continue
            if self._steps >= COSTLY_STEPS:
                return
            self._steps += 1
            gives = self._asleep.get(resident.ref, resident)
            self._chosen.append(resident)
            self._tally.leave(gives)
            self._slots.leave(resident)
            if self._tally.fits and not self._slots.full():
                self._best, self._best_loss = list(self._chosen), cost
            else:
                self._go(i + 1, cost)
            self._tally.stay(gives)
            self._slots.stay(resident)
            self._chosen.pop()
