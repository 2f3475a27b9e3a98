"""What judges the soak, and an hour of it on a stepped clock."""

from collections import Counter, deque

import pytest

from supervisor.core.snapshot import EngineId, ModelId, ModelRef
from supervisor.feed import Feed
from tests.load.census import census, grown
from tests.load.hours import live
from tests.load.judges import growth, returned, slope, spread
from tests.load.outside import MIB, Row


def rows(*sizes, phase="load"):
    """One each minute."""
    return [Row(60.0 * i, phase, s, s, s, 1, 1, 1, 0, 0, 0, 0, 0, 0) for i, s in enumerate(sizes)]


def test_memory_that_grows_all_the_time_is_seen():
    found = growth(rows(*(100 * MIB + i * MIB for i in range(30))))
    assert found == pytest.approx(60 * MIB)


def test_memory_that_grows_at_first_and_is_flat_then_is_flat():
    assert growth(rows(*(min(i, 9) * MIB for i in range(30)))) == 0


def test_memory_that_jumps_and_comes_back_is_flat():
    jumps = [100 * MIB + (50 * MIB if i % 10 == 3 else 0) for i in range(30)]
    assert abs(growth(rows(*jumps))) < MIB
    assert slope([(0.0, 1.0)]) == 0


def test_a_beat_that_was_late_counts_for_those_that_it_kept_from_coming():
    assert spread([1.0, 100.0], 20.0) == [1.0, 100.0, 80.0, 60.0, 40.0, 20.0]


def test_what_is_open_and_was_not_before_is_a_leak():
    assert returned(40, 41, "descriptors", 2).ok
    assert not returned(40, 43, "descriptors", 2).ok


def test_a_census_finds_what_is_kept_wherever_it_is():
    feed = Feed()
    before = census(feed).entries
    for number in range(30):
        feed.tell("model", {"ref": ModelRef(EngineId("e"), ModelId(f"m{number}"))})
    more = grown(before, census({"deep": [deque([feed])]}).entries, 20)
    assert more == {"Feed._events": (0, 30)}
    assert grown(Counter(a=5), Counter(a=9), 5) == {}


@pytest.mark.slow
def test_nothing_is_kept_for_ever_of_those_who_come_but_once():
    hours = live(40)
    assert (hours.steps, hours.kept) == (40, {})
    assert hours.names > 40
    assert hours.decisions > 20
