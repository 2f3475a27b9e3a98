"""A simulated fleet: each request is served once, and where its model is."""

from __future__ import annotations

from itertools import pairwise

import pytest

from benchmarks import fleet as benchmark
from collectors.reading import Bytes, Seconds
from supervisor.fleet.decided import Rules
from supervisor.replay.fleet import Fleet, Shown, Way
from supervisor.replay.host import host
from supervisor.replay.many import copies, installed
from supervisor.replay.rules import RULES
from supervisor.replay.trace import Trace
from tests.replay.traces import trace

pytestmark = pytest.mark.slow

POOLS = (Bytes(8), Bytes(4))


def small(models: int = 12, keep: float = 1.0, lasts: float = 100.0) -> Trace:
    recorded = trace({"a": (4, 5.0), "b": (3, 8.0), "c": (2, 2.0)}, "abcaabbc" * 40, 3.0)
    return copies(recorded, models, keep, Seconds(lasts))


def shown(made: Trace, hosts: int, way: Way = Way.PLACED, on: int = 2, **kw: bool) -> Shown:
    has = installed(made.models, hosts, on)
    fleet = Fleet(made, has, POOLS, RULES["value"], way, Rules(), **kw)
    fleet.warm()
    return fleet.run()


@pytest.mark.parametrize("way", Way)
def test_every_request_is_served_once_however_it_is_sent(way: Way) -> None:
    made = small()
    found = shown(made, 4, way)
    assert found.figures.requests == found.sent == len(made.requests)
    assert len(found.figures.waits) == len(made.requests)
    assert min(found.figures.waits) >= 0
    assert found.figures.refused == 0


def test_requests_are_sent_to_where_their_model_is_and_naive_rules_load_more() -> None:
    made = small()
    placed, turns, least = (shown(made, 4, way) for way in Way)
    assert placed.ready / placed.sent > turns.ready / turns.sent
    assert placed.ready / placed.sent > least.ready / least.sent
    assert placed.figures.reload < min(turns.figures.reload, least.figures.reload)


def test_the_same_is_decided_with_and_without_an_index() -> None:
    made = small(6)
    one, other = shown(made, 3), shown(made, 3, indexed=False)
    assert one.figures.loads == other.figures.loads
    assert one.figures.waits == other.figures.waits


def test_a_fleet_of_one_host_with_one_pool_is_the_simulated_host() -> None:
    made, rule = small(4), RULES["value"]
    alone = host(made, Bytes(8), rule)
    for way in (Way.ROUND_ROBIN, Way.LEAST_LOADED):
        found = Fleet(made, installed(made.models, 1, 1), (Bytes(8),), rule, way).run()
        assert found.figures.loads == alone.loads
        assert found.figures.waits == alone.waits


def test_a_copy_begins_at_another_hour_and_goes_round_at_the_end() -> None:
    recorded = trace({"a": (4, 5.0)}, [(float(t), "a") for t in range(0, 100, 10)])
    made = copies(recorded, 3, 1.0, Seconds(182.0))  # the trace is 91 s long
    for ref in made.models:
        times = [r.at for r in made.requests if r.ref == ref]
        assert len(times) == 20, "twice all of it"
        gaps = {round(b - a, 6) for a, b in pairwise(times)}
        assert gaps <= {10.0, 1.0}
    assert made.requests == sorted(made.requests)
    assert len(copies(recorded, 3, 0.0, Seconds(50.0)).requests) == 0


def test_a_model_is_on_so_many_hosts_or_on_all() -> None:
    made = small(9)
    for hosts, on in ((5, 2), (2, 4)):
        found = installed(made.models, hosts, on)
        counts = dict.fromkeys(made.models, 0)
        for has in found:
            for ref in has:
                counts[ref] += 1
        assert set(counts.values()) == {min(hosts, on)}


# -- the benchmark


def test_the_benchmark_counts_what_hosts_would_say_to_one_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = small(10)
    monkeypatch.setattr(benchmark, "copies", lambda *_: made)
    monkeypatch.setattr(benchmark, "POOLS", POOLS)
    row = benchmark.measure(4, 100)
    traffic = row.traffic
    assert traffic.whole > traffic.changed > 0
    assert traffic.to_all == pytest.approx(4 * traffic.changed)
    assert 0 < row.decision[0] <= row.decision[1] <= row.decision[2]
    assert row.cold["placed"] <= row.cold["round robin"]
    assert len(benchmark.limits(row)) == 5


def test_a_number_of_hosts_that_makes_no_sense_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words in ("0", "1001", "a"):
        with pytest.raises(SystemExit):
            benchmark.main(["--hosts", words])
    assert "a number of hosts is from 1 to 1000" in capsys.readouterr().err


def test_the_benchmark_prints_a_row_for_each_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--hosts", "1,3", "--requests", "200"]) == 0
    printed = capsys.readouterr().out
    assert "what it costs" in printed
    assert "one core of the directory is full" in printed


def test_a_model_that_fits_into_one_pool_of_a_host_only_is_placed_there() -> None:
    recorded = trace({"a": (6, 5.0), "b": (6, 5.0)}, "abab" * 20, 1.0)
    made = copies(recorded, 2, 1.0, Seconds(80.0))
    found = shown(made, 1)
    assert len(found.figures.waits) == len(made.requests)
    assert found.figures.cold > 1, "both share the one pool that they fit into"
