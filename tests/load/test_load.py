"""What judges the soak, a minute of it, and an hour of it on a stepped clock."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from supervisor.core.snapshot import EngineId, ModelId, ModelRef
from supervisor.feed import Feed
from tests.load.census import census, grown
from tests.load.hours import FILLED, TRACED, Hours, live
from tests.load.judges import growth, returned, slope, spread
from tests.load.outside import MIB, Row
from tests.load.soak import Plan, soak


def rows(*sizes: int, phase: str = "load") -> list[Row]:
    """One each minute."""
    return [Row(60.0 * i, phase, s, s, s, 1, 1, 1, 0, 0, 0, 0, 0, 0) for i, s in enumerate(sizes)]


def test_memory_that_grows_all_the_time_is_seen() -> None:
    found = growth(rows(*(100 * MIB + i * MIB for i in range(30))))
    assert found == pytest.approx(60 * MIB)


def test_memory_that_grows_at_first_and_is_flat_then_is_flat() -> None:
    assert growth(rows(*(min(i, 9) * MIB for i in range(30)))) == 0


def test_memory_that_jumps_and_comes_back_is_flat() -> None:
    jumps = [100 * MIB + (50 * MIB if i % 10 == 3 else 0) for i in range(30)]
    assert abs(growth(rows(*jumps))) < MIB
    assert slope([(0.0, 1.0)]) == 0


def test_a_beat_that_was_late_counts_for_those_that_it_kept_from_coming() -> None:
    assert spread([1.0, 100.0], 20.0) == [1.0, 100.0, 80.0, 60.0, 40.0, 20.0]


def test_what_is_open_and_was_not_before_is_a_leak() -> None:
    assert returned(40, 41, "descriptors", 2).ok
    assert not returned(40, 43, "descriptors", 2).ok


def test_a_census_finds_what_is_kept_wherever_it_is() -> None:
    feed = Feed()
    before = census(feed).entries
    for number in range(30):
        feed.tell("model", {"ref": ModelRef(EngineId("e"), ModelId(f"m{number}"))})
    more = grown(before, census({"deep": [deque([feed])]}).entries, 20)
    assert more == {"Feed._events": (0, 30)}
    assert grown(Counter(a=5), Counter(a=9), 5) == {}


def test_of_caches_those_are_counted_that_have_no_bound() -> None:
    bounded, endless = lru_cache(maxsize=3)(str), lru_cache(maxsize=None)(str)
    for number in range(30):
        bounded(number)
        endless(number)
    assert census(bounded, endless).entries["root"] == 30
    assert census(bounded).entries["root"] == 0


@pytest.mark.slow
def test_nothing_is_kept_for_ever_of_those_who_come_but_once() -> None:
    hours = live(40)
    assert (hours.steps, hours.kept, hours.wrong) == (40, {}, [])
    assert hours.names > 40
    assert hours.decisions > 20


def test_bytes_that_no_container_explains_are_seen() -> None:
    half = FILLED * TRACED
    assert not Hours(steps=2 * FILLED, traced=(MIB, MIB + half)).grows
    assert Hours(steps=2 * FILLED, traced=(MIB, MIB + half + 1)).grows
    assert not Hours(steps=2 * FILLED - 1, traced=(MIB, MIB + half * 2)).grows


@pytest.mark.slow
def test_a_minute_under_load_breaks_no_rule_and_leaves_nothing_behind(
    tmp_path: Path, nvml_library: Path
) -> None:
    """A busy machine is slower: what takes time is not judged here, but what is counted."""
    plan = Plan(
        seconds=30.0, rest=10.0, streams=100, engines=6, models=5, ramp=4.0, settled=0.0,
        pace=6.0, fills=False, draws=False,
    )  # fmt: skip
    out = tmp_path / "out"
    out.mkdir()
    found = asyncio.run(soak(tmp_path, nvml_library, out, plan))
    broken = {v.what: v.said for v in found.verdicts if not v.ok and not v.timed}
    assert broken == {}, json.dumps(found.wrong[:40], indent=1)
    told: dict[str, Any] = dict(found.table)
    assert int(told["orders to engines"]) > 5
    assert "gpu_is_lost" in told["churn"]
    assert "engine_leaves" in told["churn"]
