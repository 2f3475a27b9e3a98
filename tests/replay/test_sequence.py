"""Requests one after another, each miss a load: small traces by hand, and shipped ones as they
were measured by another simulator."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import Any

import pytest

from collectors.reading import Bytes, Seconds
from supervisor.core.choose import Chosen, least_loss
from supervisor.core.policy import Policy, Watchdog
from supervisor.core.rank import RANKINGS, Weighing
from supervisor.replay.machine import POOL
from supervisor.replay.rules import PEERS, RULES, Rule, ranked, safe_count
from supervisor.replay.sequence import sequence
from supervisor.replay.trace import Trace, capacity, read
from tests.replay.traces import SHIPPED, trace

ABC = {"a": (4, 1.0), "b": (4, 2.0), "c": (4, 5.0)}


def paid(rule: str, requests: str, size: int = 8) -> list[tuple[float, float]]:
    return [tuple(x) for x in sequence(trace(ABC, requests), Bytes(size), RULES[rule]).loads]


def test_each_miss_is_a_load_and_costs_what_loading_takes() -> None:
    figures = sequence(trace(ABC, "abaabb"), Bytes(8), RULES["lru"])
    assert (figures.requests, figures.cold, figures.reload) == (6, 2, 3.0)
    assert figures.waits == [1.0, 2.0, 0, 0, 0, 0]


def test_lru_loses_who_is_next_and_knows_no_better() -> None:
    assert paid("lru", "abcab") == [(0, 1), (1, 2), (2, 5), (3, 1), (4, 2)]


def test_the_cheap_one_goes_where_cost_counts() -> None:
    # b is in its place for c, which would cost 5 s again; LRU pays those.
    assert paid("landlord", "cbcabc")[-1] == (4, 2)
    assert sum(s for _, s in paid("idle_over_load", "cbacbc")) < sum(
        s for _, s in paid("lru", "cbacbc")
    )


def test_in_single_model_mode_every_change_is_a_load() -> None:
    assert len(paid("single_model", "aabbaacc", 12)) == 4


def test_a_safe_count_is_one_that_the_largest_models_keep() -> None:
    models = trace({"a": (6, 1), "b": (5, 1), "c": (1, 1), "d": (1, 1)}, "").models
    assert safe_count(models, Bytes(11)) == 2
    assert safe_count(models, Bytes(13)) == 4
    assert safe_count(models, Bytes(5)) == 1
    found = sequence(trace({"a": (6, 1), "b": (5, 1), "c": (1, 1)}, "acbcacb"), Bytes(11),
                     RULES["count_lru_safe"])  # fmt: skip
    assert found.cold == 5  # with three there would have been room for c beside each


def test_who_was_idle_for_too_long_is_loaded_again_although_there_is_room() -> None:
    asked = [(0, "a"), (299, "a"), (600, "b"), (700, "a"), (701, "b")]
    found = sequence(trace(ABC, asked), Bytes(12), RULES["ttl_5m_lru"])
    assert [at for at, _ in found.loads] == [0, 600, 700]


def test_any_watchdog_of_the_policy_is_kept() -> None:
    policy = Policy(watchdog=Watchdog(True, Seconds(10.0), False, Seconds(1.0)))
    rule = Rule("short", "", lambda models, capacity: policy)
    found = sequence(trace(ABC, [(0, "a"), (9, "a"), (19.5, "a")]), Bytes(12), rule)
    assert found.cold == 2


def test_others_let_the_unneeded_go_and_the_product_gives_them_back() -> None:
    models = {"small": (1, 1.0), "large": (9, 9.0), "new": (9, 1.0)}
    asked = [(0, "small"), (1, "large"), (2, "new"), (3, "small")]
    assert sequence(trace(models, asked), Bytes(10), RULES["lru"]).cold == 3
    assert sequence(trace(models, asked), Bytes(10), RULES["lru_plain"]).cold == 4


def test_what_can_never_fit_is_refused_and_nobody_goes_for_it() -> None:
    models = {"a": (4, 1.0), "huge": (9, 1.0)}
    requests = [(0, "a"), (1, "huge"), (2, "a")]
    found = sequence(trace(models, requests), Bytes(8), RULES["value"])
    assert (found.refused, found.cold, len(found.waits)) == (1, 1, 2)


def test_every_ranking_and_every_rule_can_be_replayed() -> None:
    assert set(RANKINGS) | set(PEERS) == set(RULES)
    for rule in RULES.values():
        found = sequence(trace(ABC, "abcabcabacbc" * 3), Bytes(8), rule)
        assert 3 <= found.cold <= 36
        assert found.overfull == 0


def test_the_same_trace_comes_to_the_same_twice() -> None:
    whole = read(SHIPPED / "azfn19-32.csv.gz").trace(1)
    found = Trace("a part", whole.requests[:500], whole.models)
    size = capacity(found.models, 4.0)
    once, again = (sequence(found, size, RULES["value"]) for _ in range(2))
    assert once.cold > len(found.models)  # some were let go and came back
    assert once.loads == again.loads


def test_what_victims_were_worth_is_told_to_the_history() -> None:
    """As the daemon does after a plan: it is what a byte costs by then."""
    prices = []

    def choose(weighing: Weighing, *others: Any) -> Chosen:
        prices.append(weighing.history.price(POOL))
        return least_loss(weighing, *others)

    rule = replace(ranked(replace(RANKINGS["value"], choose=choose)), learns=True)
    sequence(trace(ABC, "abcabc"), Bytes(8), rule)
    assert prices[0] == 0
    assert prices[-1] > 0


def stored(name: str) -> dict[tuple[float, int], dict[str, str]]:
    with (SHIPPED / "reference_sequence.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["trace"] == name]
    return {(float(r["ratio"]), int(r["seed"])): r for r in rows}


COLUMNS = {"lru_plain": "lru_s", "idle_over_load_plain": "idle_over_load_s",
           "landlord_plain": "landlord_s", "gdsf_plain": "gdsf_s", "ttl_5m_lru": "ttl_5m_lru_s",
           "count_lru_safe": "count_lru_safe_s", "single_model": "single_model_s"}  # fmt: skip


@pytest.mark.parametrize(
    "rule", [r for r in COLUMNS if r not in ("single_model", "count_lru_safe")]
)
@pytest.mark.slow
def test_others_rules_come_to_what_another_simulator_measured(rule: str) -> None:
    """To the half percent in each cell: what is shown is the replay, not luck."""
    known = stored("azfn19-32")[1.5, 1]
    found = read(SHIPPED / "azfn19-32.csv.gz").trace(1)
    size = capacity(found.models, 1.5)
    assert size == int(known["capacity_bytes"])
    assert sequence(found, size, RULES[rule]).reload == pytest.approx(
        float(known[COLUMNS[rule]]), rel=0.005
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["azfn19-32", "servegen-32"])
def test_so_they_do_in_cells_of_every_size(name: str) -> None:
    recorded = read(SHIPPED / f"{name}.csv.gz")
    for (ratio, seed), known in stored(name).items():
        if seed != 2:
            continue
        found = recorded.trace(seed)
        size = capacity(found.models, ratio)
        for rule, column in COLUMNS.items():
            loads_all_the_time = rule in ("single_model", "count_lru_safe")
            if loads_all_the_time and (name, ratio) != ("azfn19-32", 2.0):
                continue  # half a minute
            paid = sequence(found, size, RULES[rule]).reload
            assert paid == pytest.approx(float(known[column]), rel=0.02), (ratio, rule)
