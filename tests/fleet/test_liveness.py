"""Who is here, by the age of what was heard of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.reading import Seconds
from supervisor.fleet.hosts import DRAINED, HostId, Presence
from supervisor.fleet.liveness import Delays, Roll, presence
from tests.fleet.builders import housed, word

A = HostId("a")


def how(roll: Roll, now: float, host: str = "a") -> Presence:
    return roll.directory(Seconds(now)).hosts[HostId(host)].presence


@pytest.mark.parametrize(
    ("age", "found"),
    [(0, "here"), (2.4, "here"), (2.5, "silent"), (4.4, "silent"), (4.5, "lost"), (9, "lost")],
)
def test_a_host_is_silent_and_then_lost_by_the_age_of_its_word(age: float, found: str) -> None:
    assert presence(Seconds(100), Seconds(100 + age)).value == found
    drained = presence(Seconds(100), Seconds(100 + age), drained=True)
    assert drained.value == ("drained" if found == "here" else found)


def test_a_host_that_speaks_again_is_here_again_by_itself() -> None:
    roll = Roll()
    roll.hear(word("a", number=1), Seconds(0))
    assert how(roll, 60) is Presence.LOST
    assert roll.hear(word("a", number=2), Seconds(60))
    assert how(roll, 60) is Presence.HERE


def test_one_that_others_call_dead_is_lost_at_once_until_it_speaks() -> None:
    roll = Roll()
    roll.hear(word("a", number=1), Seconds(0))
    roll.dead(A)
    assert how(roll, 0.1) is Presence.LOST
    assert not roll.hear(word("a", number=1), Seconds(0.2)), "the same word, late on its way"
    assert how(roll, 0.2) is Presence.LOST
    roll.hear(word("a", number=2), Seconds(0.3))
    assert how(roll, 0.3) is Presence.HERE


def test_an_older_word_is_not_believed_after_a_newer_one() -> None:
    roll = Roll()
    assert roll.hear(word("a", housed("new"), number=5), Seconds(0))
    assert not roll.hear(word("a", housed("old"), number=4), Seconds(2))
    (heard,) = roll.directory(Seconds(2)).hosts.values()
    assert (heard.word.models[0].name, heard.heard) == ("new", 0)


def test_after_a_restart_words_count_from_the_start_and_the_old_daemon_s_are_not_believed() -> None:
    roll = Roll()
    roll.hear(word("a", epoch="one", number=500), Seconds(0))
    assert roll.hear(word("a", epoch="two", number=1), Seconds(1))
    assert not roll.hear(word("a", epoch="one", number=501), Seconds(1.1))
    assert roll.directory(Seconds(1)).hosts[A].word.epoch == "two"
    assert roll.trouble(Seconds(1.1)) == [], "one late word is no second daemon"


def test_a_word_of_before_a_restart_that_came_late_does_not_make_deaf_to_the_daemon() -> None:
    roll = Roll()
    roll.hear(word("a", epoch="two", number=1), Seconds(0))
    assert roll.hear(word("a", epoch="one", number=500), Seconds(0.5)), "who can tell?"
    believed = [
        second
        for second in range(1, 9)
        if roll.hear(word("a", epoch="two", number=1 + second), Seconds(second))
    ]
    assert believed == [5, 6, 7, 8]
    assert roll.trouble(Seconds(8)) == []


def test_two_daemons_of_one_name_are_told_when_both_go_on_speaking() -> None:
    roll = Roll()
    roll.hear(word("a", epoch="one", number=1), Seconds(0))
    for second in range(1, 8):
        roll.hear(word("a", epoch="two", number=second), Seconds(second))
        roll.hear(word("a", epoch="one", number=1 + second), Seconds(second))
    (told,) = roll.trouble(Seconds(8))
    assert told.startswith("two daemons call themselves a: the one that started last is believed")
    assert roll.trouble(Seconds(100)) == []


def test_a_drained_host_and_one_that_left_for_good() -> None:
    roll = Roll()
    roll.hear(word("a", number=1, rests=DRAINED), Seconds(0))
    assert how(roll, 1) is Presence.DRAINED
    roll.hear(word("a", number=2), Seconds(0))
    assert how(roll, 1) is Presence.HERE
    roll.forget(A)
    assert roll.directory(Seconds(1)).hosts == {}


@given(
    st.lists(st.tuples(st.floats(0, 3), st.integers(1, 9)), max_size=20),
    st.floats(0.5, 3),
    st.floats(0.1, 3),
)
def test_presence_only_depends_on_the_latest_word_that_was_believed(
    spoken: list[tuple[float, int]], silent: float, more: float
) -> None:
    delays = Delays(Seconds(silent), Seconds(silent + more))
    roll, now, best, heard = Roll(delays), 0.0, 0, 0.0
    for pause, number in spoken:
        now += pause
        if roll.hear(word("a", number=number), Seconds(now)):
            assert number > best
            best, heard = number, now
        assert how(roll, now) is presence(Seconds(heard), Seconds(now), delays)
