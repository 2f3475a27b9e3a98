"""The schedule that knows the future is never worse than any that does not."""

from __future__ import annotations

import csv
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.reading import Bytes
from supervisor.replay import oracle
from supervisor.replay.compare import compare
from supervisor.replay.host import host
from supervisor.replay.oracle import foresight, next_uses, optimum
from supervisor.replay.rules import RULES, Queue
from supervisor.replay.sequence import sequence
from supervisor.replay.trace import Trace, capacity, read
from tests.replay.traces import SHIPPED, trace

NAMES = "abcdef"


@st.composite
def traces(draw: st.DrawFn) -> tuple[Trace, Bytes]:
    models = {n: (draw(st.integers(1, 9)), float(draw(st.integers(1, 20)))) for n in NAMES}
    asked = draw(st.lists(st.sampled_from(NAMES), max_size=40))
    gaps = draw(st.lists(st.sampled_from([0.0, 1.0, 30.0, 900.0]), min_size=40, max_size=40))
    at, requests = 0.0, []
    for name, gap in zip(asked, gaps, strict=False):
        at += gap
        requests.append((at, name))
    total = sum(size for size, _ in models.values())
    return trace(models, requests), Bytes(draw(st.integers(1, total)))


def brute(found: Trace, size: int) -> float:
    """All ways to evict, also more than is needed."""
    states = {frozenset[object](): 0.0}
    for _, ref, _ in found.requests:
        own = found.models[ref]
        if own.size > size:
            continue
        following: dict[frozenset[object], float] = {}
        for state, cost in states.items():
            left = [(state, cost)]
            if ref not in state:
                some = [frozenset(c) for n in range(len(state) + 1) for c in combinations(state, n)]
                left = [(s | {ref}, cost + own.load) for s in some]
            for new, spent in left:
                held = sum(found.models[r].size for r in new)  # type: ignore[index]
                if held <= size and spent < following.get(new, float("inf")):
                    following[new] = spent
        states = following
    return min(states.values())


@given(traces())
def test_few_models_are_solved_and_nothing_is_better(given: tuple[Trace, Bytes]) -> None:
    found = optimum(*given)
    assert found.exact
    assert found.reload == pytest.approx(brute(*given))
    assert found.reload == pytest.approx(sum(seconds for _, seconds in found.loads))


@settings(max_examples=30)
@given(traces())
def test_no_rule_does_better_than_the_oracle(given: tuple[Trace, Bytes]) -> None:
    best = optimum(*given).reload
    for rule in RULES.values():
        assert sequence(*given, rule).reload >= best - 1e-9, rule.name


@given(traces())
def test_where_it_is_not_solved_it_is_a_schedule_that_can_be_kept(
    given: tuple[Trace, Bytes],
) -> None:
    best = optimum(*given).reload
    for power in oracle.POWERS:
        found = oracle._ahead(*given, power)
        assert found.reload >= best - 1e-9
        assert found.cold == len(found.loads)


def test_it_lets_the_one_go_that_is_asked_for_last() -> None:
    found = optimum(trace({"a": (4, 1.0), "b": (4, 2.0), "c": (4, 5.0)}, "abcab"), Bytes(8))
    assert found == (9.0, 4, True, ((0, 1.0), (1, 2.0), (2, 5.0), (3, 1.0)))


def test_the_next_use_of_the_last_request_is_never() -> None:
    found = next_uses(trace({"a": (1, 1), "b": (1, 1)}, "aba").requests)
    assert found == [2, oracle.NEVER, oracle.NEVER]


@pytest.mark.slow
def test_of_many_models_it_is_at_least_as_good_as_what_was_stored() -> None:
    recorded = read(SHIPPED / "azfn19-32.csv.gz")
    with (SHIPPED / "reference_sequence.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["trace"] == recorded.name]
    for row in rows[:5]:
        found = recorded.trace(int(row["seed"]))
        best = optimum(found, capacity(found.models, float(row["ratio"])))
        assert not best.exact
        assert best.reload <= float(row["offline_best_s"]) * 1.001
        assert best.reload >= float(row["offline_best_s"]) * 0.9


def test_on_a_host_knowing_the_future_helps_too() -> None:
    found = read(SHIPPED / "azfn19-32.csv.gz").trace(1)
    size = capacity(found.models, 1.5)
    ahead = host(found, size, foresight(found), Queue.ARRIVAL)
    assert ahead.reload < 0.75 * host(found, size, RULES["lru"], Queue.ARRIVAL).reload
    assert ahead.killed == ahead.overfull == ahead.refused == 0


@pytest.mark.slow
def test_a_comparison_is_never_better_than_its_oracle() -> None:
    whole = read(SHIPPED / "azfn19-32.csv.gz").trace(1)
    found = Trace("a part", whole.requests[:500], whole.models)
    for on_host in (False, True):
        compared = compare(
            found, capacity(found.models, 4.0), [RULES["value"], RULES["lru"]], on_host=on_host
        )
        assert all(r.figures.reload >= compared.best for r in compared.results)
