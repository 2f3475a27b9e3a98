"""What is spoken for is kept apart from what is free."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collectors.reading import RAM, Seconds, gib
from supervisor.core.snapshot import Share
from supervisor.fleet import ledger
from tests.fleet.builders import GPU, NOW, promise, space, word


def test_accelerators_count_and_ram_only_where_there_is_nothing_else() -> None:
    both, alone = word("a"), word("b", spaces=(space(9, 64, RAM),))
    takes = (Share(GPU, gib(7)), Share(RAM, gib(2)))
    assert (ledger.capacity(both), ledger.charge(takes, both)) == (gib(24), gib(7))
    assert (ledger.capacity(alone), ledger.charge(takes, alone)) == (gib(64), gib(2))
    assert ledger.capacity(word("c", spaces=())) == 0


def test_promises_are_added_up_by_host_until_their_time_is_over() -> None:
    promises = [
        promise("a", 3, "x"),
        promise("a", 4, "y", until=NOW + 0.1),
        promise("a", 5, "z", until=NOW),
        promise("b", 1, "x"),
    ]
    assert ledger.promised(promises, NOW) == {"a": gib(7), "b": gib(1)}
    assert ledger.promised(promises, Seconds(NOW + 1)) == {"a": gib(3), "b": gib(1)}


def test_what_is_left_is_of_the_hardware_and_the_room_is_of_the_moment() -> None:
    host = word("a", free=5)
    assert ledger.left(host, gib(20)) == gib(4)
    assert ledger.left(host, gib(30)) == 0
    assert ledger.room(host, gib(20)) == gib(-15)


def test_a_directory_that_began_anew_is_complete_when_no_offer_can_stand_that_it_missed() -> None:
    settling = ledger.Settling(Seconds(10.0), Seconds(4.5))
    assert settling.wait(Seconds(0)) == 14.5
    assert settling.wait(Seconds(14)) == 0.5
    assert settling.wait(Seconds(99)) == 0


def test_a_claim_that_its_maker_does_not_know_of_is_taken_back_after_a_while() -> None:
    made = {"old": 10.0, "held": 10.0, "young": 14.0}
    assert ledger.strays(made, {"held"}, 15.0, 5.0) == ["old"]
    assert ledger.strays(made, {"held"}, 19.0, 5.0) == ["old", "young"]
    assert ledger.strays({}, {"held"}, 19.0) == []


@given(st.integers(0, 2**60))
def test_whole_mebibytes_are_never_less_than_the_bytes(size: int) -> None:
    assert 0 <= ledger.in_mib(size) * 2**20 - size < 2**20
