"""A simulated host: who waits for whom, by hand; and nobody is cut short or waits for ever."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.reading import Bytes
from supervisor.replay.figures import Figures, Waits
from supervisor.replay.host import DRAIN_AFTER, LONG_HELD, host
from supervisor.replay.rules import RULES, Queue
from supervisor.replay.trace import Request, Trace, capacity, read
from tests.replay.traces import SHIPPED, ref, trace

AB = {"a": (4, 10.0), "b": (4, 20.0)}


def replayed(
    models: dict[str, tuple[int, float]],
    requests: list[tuple[float, str, float]],
    size: int = 4,
    queue: Queue = Queue.WAITERS,
    rule: str = "value",
) -> Figures:
    """`requests`: when, which, and how long it is worked on."""
    bare = trace(models, [(at, name) for at, name, _ in requests])
    timed = [Request(at, ref(name), service) for at, name, service in requests]  # type: ignore[arg-type]
    return host(Trace("small", timed, bare.models), Bytes(size), RULES[rule], queue)


def test_requests_wait_for_their_model_and_for_those_who_are_at_work() -> None:
    found = replayed(AB, [(0, "a", 5), (1, "b", 2), (2, "a", 1)])
    # a is there at 10 and at rest at 15; b after 1 s to unload it and 20 to load.
    assert sorted(found.waits) == [8, 10, 35]
    assert [at for at, _ in found.loads] == [0, 15]


def test_a_request_whose_model_is_there_never_waits() -> None:
    found = replayed(AB, [(0, "a", 100), (20, "a", 100), (30, "a", 1)])
    assert found.waits == [10, 0, 0]


def test_one_model_is_loaded_at_a_time() -> None:
    found = replayed(AB, [(0, "a", 1), (0, "b", 1)], size=8)
    assert [at for at, _ in found.loads] == [0, 10]
    assert found.waits == [10, 30]


def test_next_is_the_model_for_which_most_wait_by_the_time_it_takes() -> None:
    models = {"a": (4, 10.0), "b": (4, 10.0), "c": (4, 10.0)}
    requests = [(0, "c", 1), (1, "a", 1), (2, "b", 1), (3, "b", 1), (4, "b", 1)]
    by_waiters = replayed(models, requests)
    by_arrival = replayed(models, requests, queue=Queue.ARRIVAL)
    assert sorted(by_waiters.waits)[1:4] == [18, 19, 20]  # of b; a is there ten seconds later
    assert sorted(by_arrival.waits)[1] == 21  # of a
    assert Waits.of(by_waiters.waits).mean < Waits.of(by_arrival.waits).mean


def test_whoever_has_waited_for_long_has_a_busy_model_take_no_more_requests() -> None:
    requests = [(5.0 * i, "a", 8.0) for i in range(60)] + [(20.5, "b", 1.0)]
    found = replayed(AB, sorted(requests))
    ((began, _),) = [(at, s) for at, s in found.loads if s == 20.0]
    assert DRAIN_AFTER + 20.5 <= began <= DRAIN_AFTER + 20.5 + 8
    assert found.killed == 0
    assert len(found.waits) == 61


def test_nobody_waits_on_for_ever_behind_those_whom_more_wait_for() -> None:
    """Eight models that many ask for all the time, each of them held for longer than a minute."""
    models = dict.fromkeys("abcdefgh", (4, 10.0)) | {"rare": (4, 90.0)}
    busy = [(float(i), "abcdefgh"[i % 8], 0.5) for i in range(2000)]
    found = replayed(models, sorted([*busy, (5.5, "rare", 0.5)]))
    (began,) = [at for at, s in found.loads if s == 90.0]
    assert began - 5.5 < LONG_HELD + 8 * 12 + DRAIN_AFTER


def test_where_only_so_many_may_be_loaded_one_at_rest_makes_way_at_once() -> None:
    models = {"a": (3, 1.0), "b": (3, 1.0), "c": (1, 1.0)}
    found = replayed(models, [(0, "a", 1), (5, "b", 1), (10, "c", 1)], 7, rule="count_lru_safe")
    assert found.waits == [1, 1, 1]
    of_three = [(0, "a", 1), (5, "b", 1), (10, "c", 1), (20, "a", 1)]
    models = {"a": (4, 1.0), "b": (3, 1.0), "c": (1, 1.0)}
    assert replayed(models, of_three, 7, rule="count_lru_safe").waits == [1, 1, 2, 2]


def test_in_a_line_one_blocks_all_behind_it() -> None:
    models = {"a": (4, 10.0), "b": (4, 10.0), "c": (2, 1.0)}
    requests = [(0, "a", 100), (20, "b", 1), (21, "a", 1), (22, "a", 1)]
    assert replayed(models, requests, queue=Queue.WAITERS).waits[1:3] == [0, 0]
    in_line = replayed(models, requests, rule="ollama_like")
    assert min(in_line.waits[1:]) >= 90


def test_a_model_at_work_is_not_idle_however_long_it_works() -> None:
    found = replayed({"a": (4, 10.0), "b": (4, 1.0)},
                     [(0, "a", 1000), (500, "b", 1), (1005, "a", 1)], size=8,
                     rule="ttl_5m_lru")  # fmt: skip
    assert found.cold == 2


def test_what_can_never_fit_is_refused_and_holds_nobody_up() -> None:
    found = replayed({"a": (4, 1.0), "huge": (9, 1.0)}, [(0, "huge", 1), (1, "a", 1)])
    assert (found.refused, found.requests, found.waits) == (1, 2, [1])


@st.composite
def crowds(draw: st.DrawFn) -> list[tuple[float, str, float]]:
    gaps = draw(st.lists(st.sampled_from([0.0, 0.5, 3.0, 40.0, 400.0]), max_size=40))
    at, found = 0.0, []
    for gap in gaps:
        at += gap
        name = draw(st.sampled_from("abcde"))
        found.append((at, name, draw(st.sampled_from([0.0, 1.0, 20.0, 90.0]))))
    return found


@settings(max_examples=40)
@given(crowds(), st.integers(4, 14), st.sampled_from(sorted(RULES)), st.sampled_from(list(Queue)))
def test_everybody_is_served_and_nobody_is_cut_short(
    requests: list[tuple[float, str, float]], size: int, rule: str, queue: Queue
) -> None:
    models = {"a": (1, 2.0), "b": (2, 9.0), "c": (3, 5.0), "d": (4, 30.0), "e": (4, 3.0)}
    found = replayed(models, requests, size, queue, rule)
    assert len(found.waits) == len(requests)
    assert found.killed == found.overfull == found.refused == 0
    assert min(found.waits, default=0) >= 0


@pytest.mark.slow
def test_value_waits_no_longer_than_its_prototype_did() -> None:
    with (SHIPPED / "reference_host.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["policy"] == "hazard" and r["seed"] == "1"]
    recorded = read(SHIPPED / "azfn19-32.csv.gz")
    waits, theirs = 0.0, 0.0
    for row in rows:
        if row["trace"] != recorded.name:
            continue
        found = recorded.trace(1)
        figures = host(
            found, capacity(found.models, float(row["ratio"])), RULES["value"], Queue.ARRIVAL
        )
        assert figures.killed == figures.overfull == figures.refused == 0
        waits += Waits.of(figures.waits).mean
        theirs += float(row["mean_wait_s"])
    assert waits <= theirs * 1.02


def test_percentiles_are_of_all_requests_also_those_that_did_not_wait() -> None:
    assert Waits.of([]) == Waits()
    found = Waits.of([0.0] * 97 + [10.0, 20.0, 30.0])
    assert (found.mean, found.p50, found.p95, found.p99, found.longest) == (0.6, 0, 0, 30, 30)
