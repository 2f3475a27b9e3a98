"""How likely is a model asked for again, and how soon? Learned as requests come.

Two views of each model, each with its own clock, both a rate of requests λ(t):

* by its gap, in seconds: of the gaps that lasted as long as it is idle now, how many ended then
  (a hazard by age, in octaves):  λ = (ended + ½) / (spent + ½ ÷ that of all models);
* by its popularity, in time that passes only when somebody is asked for: each visit raises λ by
  Σ wₖ/τₖ, which fades with τₖ of a minute to two weeks. How much each wₖ is, is learned by
  expectation maximisation, per model, from half an event of what all models show.

What is idle for longer than ever is unlikely by the first however popular it was; what came once
by the second, however short its gap: each is wrong alone where the other knows. The requests
expected within a time are the geometric mean of ∫λ of both, and a chance is 1 - exp(-that). Time
without a request counts as it passes, so that who has stopped coming loses its chance, and its
share in what is usual. Last, company raises the chance of whoever follows (company.py).
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from .company import Company, Sign
from .habit import BINS, EDGES, HIGHS, KINDS, SPANS, Habit, counts, short, zeros
from .past import finite
from .snapshot import ModelRef

Json = Any

# What is usual counts as much as half an event of one's own: from 0.2 to 2 it is little worse.
PRIOR = 0.5
FADE = 30 * 86400.0  # seconds after which what one model did counts a third
# Before anything was seen: of gaps between requests half are below 71 s and nine tenths below
# 22 minutes, as of the models of an image service over 23 days.
SHAPE, SCALE = 0.68, 40.0

# Before any visit: each kind brings so many more for each, and that is believed like so many.
FIRST_WEIGHT, FIRST_EVENTS = 0.12, 2.0
# One who comes again and again meanwhile, and nobody else, is on one visit.
APART = 300.0
# How fast the clock of the visits goes is judged by those of the last days.
PACE = 3 * 86400.0
DAY = 86400.0
AWAY = DAY  # a gap is not counted for longer: nobody was there to ask
# What all models did is halved when it comes to so many events: it changes, too.
MANY = 20_000.0
SELDOM = 16  # requests after which what is usual is looked at again: it hardly moves

# A stay pays the more the sooner it ends in a request: it is looked at over so many times the
# horizon, and the best one counts.
FAR = 1e9  # seconds, and no further
STAYS = (1.0, 6.0)


def _usual() -> tuple[array[float], array[float]]:
    """One event of each age, and the seconds that it takes for one to happen."""
    lows = (0.0, *EDGES)
    highs = (*EDGES, EDGES[-1] * 2)
    middles = [(low + high) / 2 for low, high in zip(lows, highs, strict=True)]
    return array("d", [1.0] * BINS), array("d", [(SCALE + m) / SHAPE for m in middles])


# How much of a horizon each kind of popularity covers, for each stay.
_Marks = tuple[tuple[float, ...], ...]
_RATES = tuple(1.0 / span for span in SPANS)
_A, _B, _C, _D = (-rate for rate in _RATES)


class Odds:
    """Changed by `arrived`, in some microseconds; asking changes nothing. Times are in seconds; one
    before the latest is taken for that."""

    def __init__(self) -> None:
        self._habits: dict[ModelRef, Habit] = {}
        self._events, self._exposure = _usual()  # of all models
        self._prior = zeros(BINS)
        self._brought = array("d", [FIRST_WEIGHT * FIRST_EVENTS] * KINDS)
        self._due = array("d", [FIRST_EVENTS] * KINDS)
        self._company = Company()
        self._turns: deque[ModelRef] = deque()
        self._turn = False  # with every other visit
        self._arrivals = 0
        self._latest: float | None = None
        self._current: ModelRef | None = None
        self._clock = 0.0  # goes on by the mean time between visits, with each of them
        self._seconds = self._visits = 0.0
        self._marks: dict[float, _Marks] = {}
        self._weights = zeros(KINDS)
        self._unseen = Habit(0.0, 0.0, 0.0, 0.0, heat=array("d", _RATES))
        self._weigh()

    def _weigh(self) -> None:
        """What is usual, as so much of one's own."""
        for bin, (events, exposure) in enumerate(zip(self._events, self._exposure, strict=True)):
            if events > MANY:
                self._events[bin], self._exposure[bin] = events / 2.0, exposure / 2.0
            self._prior[bin] = PRIOR * exposure / events
        for k, (brought, due) in enumerate(zip(self._brought, self._due, strict=True)):
            if due > MANY:
                self._brought[k], self._due[k] = brought / 2.0, due / 2.0
            self._weights[k] = PRIOR * brought / due
        self._stock(self._unseen)

    # -- learning

    def arrived(self, ref: ModelRef, now: float) -> None:
        """A request for `ref` came."""
        now = now if self._latest is None else max(now, self._latest)
        visit = self._tick(ref, now)
        self._company.arrived(ref, now)
        if visit:
            self._turn = not self._turn
            if self._turn:
                self._settle_next(now)
        self._arrivals += 1
        if self._arrivals % SELDOM == 0:
            self._weigh()
        habit = self._habits.get(ref)
        if habit is None:
            habit = self._habits[ref] = Habit(now, now, now, self._clock)
            self._turns.append(ref)
        else:
            self._settle(habit, now)
            self._ended(habit, now)
        if visit:
            self._visit(habit)

    def _tick(self, ref: ModelRef, now: float) -> bool:
        """Is this a visit: was another model asked for before, or nobody for a while?"""
        gap = 0.0 if self._latest is None else min(now - self._latest, AWAY)
        kept = math.exp(-gap / PACE)
        self._seconds = self._seconds * kept + gap
        self._visits *= kept
        self._latest = now
        if ref == self._current and gap <= APART:
            return False
        self._current = ref
        self._visits += 1.0
        self._clock += self._seconds / self._visits
        return True

    def _settle_next(self, now: float) -> None:
        """Each in its turn, so that the silence of who has stopped coming is heard."""
        turns = self._turns
        if turns:
            self._settle(self._habits[turns[0]], now)
            turns.rotate(-1)

    def _settle(self, habit: Habit, now: float, shared: bool = True) -> None:
        """Time has passed, and nobody has asked for it. Not `shared`: all models know already."""
        low, age = habit.settled - habit.last, now - habit.last
        if age > low:
            mine, usual = habit.exposure, self._exposure if shared else zeros(BINS)
            first, last = bisect_right(EDGES, low), bisect_right(EDGES, age)
            for bin in range(first, last):
                spent = EDGES[bin] - low
                mine[bin] += spent
                usual[bin] += spent
                low = EDGES[bin]
            mine[last] += age - low
            usual[last] += age - low
            habit.settled = now
        gap = self._clock - habit.counted
        if gap > 0.0:
            heat, due, all_due = habit.heat, habit.due, self._due if shared else zeros(KINDS)
            brought, weights, store = habit.brought, self._weights, habit.store
            for k, span in enumerate(SPANS):
                before = heat[k]
                after = heat[k] = before * math.exp(-gap / span)
                spent = (before - after) * span
                all_due[k] += spent
                spent = due[k] = due[k] + spent
                store[k] = after * span * (brought[k] + weights[k]) / (spent + PRIOR)
            habit.counted = self._clock

    def _stock(self, habit: Habit) -> None:
        heat, brought, due, store = habit.heat, habit.brought, habit.due, habit.store
        weights = self._weights
        for k, span in enumerate(SPANS):
            store[k] = heat[k] * span * (brought[k] + weights[k]) / (due[k] + PRIOR)

    def _ended(self, habit: Habit, now: float) -> None:
        """A gap ended."""
        if now - habit.faded > DAY:
            kept = math.exp((habit.faded - now) / FADE)
            habit.faded = now
            for counted in (habit.events, habit.exposure, habit.brought, habit.due):
                for i, number in enumerate(counted):
                    counted[i] = number * kept
        bin = bisect_right(EDGES, now - habit.last)
        habit.events[bin] += 1.0
        self._events[bin] += 1.0
        habit.last = habit.settled = now

    def _visit(self, habit: Habit) -> None:
        """Each kind has brought it in proportion to what it said, and there is more of each."""
        heat, brought, store = habit.heat, habit.brought, habit.store
        a, b, c, d = store
        said = (a * _RATES[0], b * _RATES[1], c * _RATES[2], d * _RATES[3])
        total = sum(said)
        if total > 0.0:
            all_brought = self._brought
            for k, part in enumerate(said):
                share = part / total
                brought[k] += share
                all_brought[k] += share
        for k, rate in enumerate(_RATES):
            heat[k] += rate
        self._stock(habit)

    # -- asking

    def chance(self, ref: ModelRef, now: float, horizon: float, idle: float = 0.0) -> float:
        """How likely is it that `ref` is asked for within `horizon` seconds from `now`: 0 to 1.

        `idle`, in seconds, stands in for the time since it was last asked for, where no request
        for it was ever seen.
        """
        return self._worth(ref, now, idle, _marks(horizon, (1.0,)))

    def keeping(self, ref: ModelRef, now: float, horizon: float, idle: float = 0.0) -> float:
        """What `horizon` seconds of its stay are worth, as the chance of a request: 0 to 1.

        That is the chance within the horizon, or more for one that is due later on: of all stays
        the one counts that brings most requests a second (the index of Gittins, at a constant
        price of memory), and is told as the chance that such a rate would give.
        """
        marks = self._marks.get(horizon)
        if marks is None:
            if len(self._marks) > 32:
                self._marks.clear()
            marks = self._marks[horizon] = _marks(horizon, STAYS)
        return self._worth(ref, now, idle, marks)

    def _worth(self, ref: ModelRef, now: float, idle: float, marks: _Marks) -> float:
        exp, prior = math.exp, self._prior
        habit = self._habits.get(ref) or self._once(now - max(0.0, idle))
        last, events, exposure = habit.last, habit.events, habit.exposure
        age = now - last if now > last else 0.0
        bin = bisect_right(EDGES, age)
        spent = exposure[bin] + prior[bin]
        # And its silence since it was last settled, as far as it is of this age.
        known = habit.settled - last
        if bin and known < EDGES[bin - 1]:
            known = EDGES[bin - 1]
        if age > known:
            spent += age - known
        hazard = (events[bin] + PRIOR) / spent
        a, b, c, d = habit.store
        since = self._clock - habit.counted
        if since > 0.0:
            a *= exp(since * _A)
            b *= exp(since * _B)
            c *= exp(since * _C)
            d *= exp(since * _D)
        low, high, gaps = age, HIGHS[bin], 0.0
        alive, before, until, stay, best = 1.0, 0.0, 0.0, 0.0, 0.0
        for mark, e, f, g, h in marks:
            end = age + mark
            while high < end:
                gaps += (high - low) * hazard
                bin += 1
                low, high = high, HIGHS[bin]
                hazard = (events[bin] + PRIOR) / (exposure[bin] + prior[bin])
            gaps += (end - low) * hazard
            low = end
            requests = math.sqrt(gaps * (a * e + b * f + c * g + d * h))
            left, more = exp(-requests), requests - before
            # The time until it is asked for, at a constant rate between two marks.
            stay += (mark - until) * ((alive - left) / more if more > 1e-9 else alive)
            rate = (1.0 - left) / stay
            if rate > best:
                best = rate
            if left < 1e-4:
                break
            alive, before, until = left, requests, mark
        chance = 1.0 - exp(-best * marks[0][0]) if marks else 0.0
        company = self._company
        signs = company.signs if company.at == now else company.look(now)
        return _announced(chance, signs[ref]) if ref in signs else chance

    def _once(self, last: float) -> Habit:
        """Nobody was seen to ask for it: it is taken for one that was asked for once, then."""
        one = self._unseen  # all of them are alike but for that
        past = one.events, one.exposure, one.heat, one.brought, one.due, one.store
        return Habit(last, last, last, self._clock, *past)

    # -- keeping

    def forget(self, ref: ModelRef) -> None:
        if self._habits.pop(ref, None) is not None:
            self._turns.remove(ref)
            self._current = None if ref == self._current else self._current
        self._company.forget(ref)

    def row(self, ref: ModelRef) -> Json:
        """What is known of one model, as JSON. None: nothing."""
        habit = self._habits.get(ref)
        if habit is None:
            return None
        return {**habit.row(), "company": self._company.row(ref)}

    def take(self, ref: ModelRef, row: Json) -> None:
        """The same, read back after `restore`. Raises ValueError, TypeError or KeyError for what is
        no such row."""
        habit = Habit.of(row, self._clock)
        self._company.take(ref, row["company"])
        if self._latest is not None:
            self._settle(habit, self._latest, shared=False)
        self._stock(habit)
        if ref not in self._habits:
            self._turns.append(ref)
        self._habits[ref] = habit

    def save(self) -> Mapping[str, Json]:
        """What is known of all of them together, as JSON."""
        return {
            "latest": self._latest,
            "clock": [round(self._clock, 1), self._seconds, self._visits],
            "events": short(self._events),
            "exposure": short(self._exposure),
            "brought": short(self._brought),
            "due": short(self._due),
            "company": self._company.save(),
        }

    def restore(self, row: Mapping[str, Json]) -> None:
        """The same, read back. Raises as `take` does, and then nothing is changed."""
        events, exposure = counts(row["events"], BINS), counts(row["exposure"], BINS)
        brought, due = counts(row["brought"], KINDS), counts(row["due"], KINDS)
        if min(*events, *exposure, *due) <= 0.0:
            raise ValueError("of each age something was seen")
        latest = None if row["latest"] is None else finite(row["latest"])
        clock, seconds, visits = counts(row["clock"], 3)
        self._company.restore(row["company"])
        self._events, self._exposure, self._brought, self._due = events, exposure, brought, due
        self._latest, self._clock, self._seconds, self._visits = latest, clock, seconds, visits
        self._weigh()


def _marks(horizon: float, stays: Sequence[float]) -> _Marks:
    """None for no time at all: nothing happens in it."""
    times = [min(horizon * stay, FAR) for stay in stays] if horizon > 0.0 else []
    return tuple((t, *(-math.expm1(-t / span) for span in SPANS)) for t in times)


def _announced(chance: float, signs: Sequence[Sign]) -> float:
    """Raised by those who were asked for just now, and whom it used to follow."""
    for lift, left in signs:
        chance = 1.0 - (1.0 - chance) * (1.0 - lift * left)
    return chance
