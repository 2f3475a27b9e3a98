"""What is remembered of each model, and that it survives."""

from __future__ import annotations

import json
import tracemalloc
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.reading import Bytes, PoolId, Seconds, gib
from supervisor.core.actions import Evict, Loss, Why
from supervisor.core.history import LONGEST, SHORTEST, History, Tier, usual_reload
from supervisor.core.snapshot import Share
from tests.builders import GPU, OTHER, ref, share

HOUR = 3600.0


def victim(name: str, size: float, expected: float | None) -> Evict:
    loss = None if expected is None else Loss(0.5, Seconds(120), Seconds(9), expected)
    return Evict(ref(name), (share(size),), Why.MAKES_ROOM, loss=loss)


def busy_day() -> History:
    history = History()
    for i in range(600):
        one = ref(f"m{i * 7 % 13}", "ollama" if i % 2 else "vllm")
        if i % 5 == 0:
            tier = Tier.ASLEEP if i % 3 == 0 else Tier.DISK
            history.loaded(one, Seconds(2.0 + i % 40), (share(1 + i % 9),), i * 60.0, tier)
        history.arrived(one, i * 60.0 + i % 31)
        if i % 11 == 0:
            history.left(one, i * 60.0 + 40)
            history.gave_way([victim("m1", 4, 3.0)], i * 60.0 + 40)
    return history


def saved(history: History) -> dict[str, object]:
    rows, _ = history.save()
    found: dict[str, object] = json.loads(json.dumps(rows))
    return found


@cache
def busy_day_saved() -> str:
    return json.dumps(busy_day().save()[0])


def restored(rows: dict[str, object]) -> tuple[History, int]:
    history = History()
    return history, history.restore(rows)  # type: ignore[arg-type]


def test_the_latest_loads_count_most_and_sleep_is_a_tier_of_its_own() -> None:
    history = History()
    assert history.reload_of(ref("a")) is None
    for took in (40, 10):
        history.loaded(ref("a"), Seconds(took), (share(8),), 0)
    history.loaded(ref("a"), Seconds(2), (share(8),), 1, Tier.ASLEEP)
    assert history.reload_of(ref("a")) == pytest.approx(31)
    assert history.reload_of(ref("a"), Tier.ASLEEP) == 2


def test_a_load_that_nobody_timed_is_guessed_from_its_size_and_the_pace_of_its_engine() -> None:
    history, size = History(), gib(5)
    assert history.reload(ref("a"), size) == pytest.approx(1.5 + size / 2.5e9)
    assert history.reload(ref("a"), size, Tier.ASLEEP) == pytest.approx(0.5 + size / 10e9)
    history.loaded(ref("b"), Seconds(10 * usual_reload(size)), (share(5),), 0)
    assert history.reload(ref("a"), size) == pytest.approx(10 * usual_reload(size))
    assert history.reload(ref("a", "other"), size) == pytest.approx(usual_reload(size))


def test_a_wake_is_never_thought_to_take_longer_than_a_load_did() -> None:
    history = History()
    history.loaded(ref("a"), Seconds(0.3), (share(8),), 0)
    assert history.reload(ref("a"), gib(8), Tier.ASLEEP) == 0.3


def test_how_far_ahead_it_matters_follows_the_turnover_of_the_memory() -> None:
    history, room = History(), gib(80)
    assert history.horizon(GPU, room, 0) == SHORTEST  # nothing is known: a busy machine
    for hour in range(48):
        history.loaded(ref("a"), None, (share(8),), hour * HOUR)
    # 8 GiB an hour of 80: ten hours for a turn, of which a tenth.
    assert history.horizon(GPU, room, 48 * HOUR) == pytest.approx(HOUR, rel=0.1)
    assert history.horizon(GPU, room, 30 * 24 * HOUR) == LONGEST
    assert history.horizon(OTHER, room, 48 * HOUR) == SHORTEST
    assert history.horizon(PoolId("none"), 0, 0) == LONGEST


def test_what_a_byte_costs_is_learned_from_whole_sets_of_victims() -> None:
    history = History()
    history.gave_way([victim("a", 4, 8.0)], 0)
    assert history.price(GPU) == pytest.approx(0.2 / gib(1))  # one alone says little
    for _ in range(200):
        history.gave_way([victim("a", 4, 8.0), victim("b", 4, 0.0)], 0)
    assert history.price(GPU) == pytest.approx(1.0 / gib(1))
    history.gave_way([victim("c", 4, None)], 0)  # told to go by somebody: no price
    assert history.price(GPU) == pytest.approx(1.0 / gib(1))
    assert history.price(OTHER) == 0


def test_a_request_that_was_told_of_is_not_counted_again_by_its_traces() -> None:
    history = History()
    assert history.arrived(ref("a"), 100)
    assert not history.arrived(ref("a"), 103, seen=True)
    assert history.arrived(ref("a"), 104)  # told again: another one
    assert history.arrived(ref("a"), 120, seen=True)
    assert history.arrived(ref("b"), 120, seen=True)
    assert history.last(ref("a")) == 120


def test_old_requests_fade_from_popularity() -> None:
    history = History()
    for _ in range(10):
        history.arrived(ref("a"), 0)
    history.arrived(ref("b"), 20 * 86400)
    assert history.popularity(ref("a"), 20 * 86400) < history.popularity(ref("b"), 20 * 86400)
    assert history.popularity(ref("unseen"), 0) == 0


def test_its_clock_never_goes_back_and_goes_on_over_restarts() -> None:
    history = History()
    history.arrived(ref("a"), 1000)
    history.arrived(ref("a"), 900)
    assert history.last(ref("a")) == 1000
    again, bad = restored(saved(history))
    assert bad == 0
    again.begin(taken_at=5, wall=400)  # the wall clock was set back meanwhile
    assert again.time(5) == 1000
    again.begin(taken_at=5, wall=2000)
    assert again.time(7) == 2002


def test_everything_survives_a_restart() -> None:
    before = busy_day()
    after, bad = restored(saved(before))
    now = 601 * 60.0
    assert bad == 0
    assert sorted(after.known()) == sorted(before.known())
    for one in before.known():
        assert after.reload_of(one) == before.reload_of(one)
        assert after.reload_of(one, Tier.ASLEEP) == before.reload_of(one, Tier.ASLEEP)
        assert after.held(one) == before.held(one)
        assert after.credit(one) == pytest.approx(before.credit(one))
        assert after.worth(one) == pytest.approx(before.worth(one))
        assert after.popularity(one, now) == pytest.approx(before.popularity(one, now), rel=1e-3)
        later = now + 600  # who was asked for just now, and announces others, is not kept
        was, now_is = (h.chance(one, later, 900) for h in (before, after))
        assert now_is == pytest.approx(was, rel=0.05)
    assert after.horizon(GPU, gib(24), now) == before.horizon(GPU, gib(24), now)
    assert after.price(GPU) == before.price(GPU)


def test_only_what_has_changed_is_written() -> None:
    history = busy_day()
    saved(history)
    assert history.save() == ({}, [])
    history.arrived(ref("m1"), 1e6)
    rows, gone = history.save()
    assert (set(rows), gone) == ({"", str(ref("m1"))}, [])


def test_who_was_not_seen_for_longest_is_forgotten_and_its_row_dropped() -> None:
    history = History(most=3)
    for i, name in enumerate("abcad"):
        history.arrived(ref(name), i)
    assert [r.model for r in history.known()] == ["c", "a", "d"]
    rows, gone = history.save()
    assert gone == [str(ref("b"))]
    assert str(ref("b")) not in rows
    again = History(most=2)
    again.restore(rows)
    assert [r.model for r in again.known()] == ["a", "d"]


@given(
    st.dictionaries(
        st.sampled_from(["", "ollama/m1", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=4) | st.integers(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
            max_leaves=8,
        ),
    )
)
def test_rows_that_are_no_such_thing_are_passed_over(rows: dict[str, object]) -> None:
    history, bad = restored(rows)
    assert bad == len(rows)
    assert list(history.known()) == []


@given(st.data())
def test_a_row_with_one_thing_wrong_spoils_no_other(data: st.DataObject) -> None:
    rows = json.loads(busy_day_saved())
    key = data.draw(st.sampled_from(sorted(rows)))
    row = dict(rows[key])
    field = data.draw(st.sampled_from(sorted(row)))
    row[field] = data.draw(st.sampled_from([None, "x", [], {}, float("nan"), {"a": 1}]))
    history, bad = restored({**rows, key: row})
    assert bad <= 1
    assert len(list(history.known())) >= len(rows) - 2
    now = 601 * 60.0
    for one in history.known():
        assert 0 <= history.chance(one, now, 900) <= 1
        assert history.reload(one, 10) > 0


@pytest.mark.slow
def test_a_model_takes_less_than_two_kib() -> None:
    count = 100
    names = [ref(f"model-{i}") for i in range(count)]
    shares = [(Share(GPU, Bytes(i * 1000)),) for i in range(count)]
    tracemalloc.start()
    history = History()
    before, _ = tracemalloc.get_traced_memory()
    for round in range(12):
        for i, one in enumerate(names):
            now = round * 5000.0 + i * 9.7
            history.loaded(one, Seconds(20 + i / 7), shares[i], now)
            history.arrived(one, now)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (after - before) / count < 2048
