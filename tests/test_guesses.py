"""Wrong tokens are counted by where they come from, for both doors alike."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from supervisor.guesses import FAMILIAR, PLACES, WRONG_AT_ONCE, WRONG_EACH, Guesses, place_of

AWAY, NEAR = "192.0.2.7", "127.0.0.1"
ONE, TWO = b"1" * 32, b"2" * 32


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def guesses(clock: Clock | None = None) -> Guesses:
    return Guesses(clock or Clock(), logging.getLogger("ullage.test"))


def test_twenty_at_once_and_then_one_in_three_seconds() -> None:
    clock = Clock()
    known = guesses(clock)
    assert not known
    assert [known.wrong(AWAY) for _ in range(WRONG_AT_ONCE)] == [0.0] * WRONG_AT_ONCE
    assert known
    assert known.wrong(AWAY) == known.shut_out(AWAY) == WRONG_EACH
    clock.now += WRONG_EACH - 1
    assert known.shut_out(AWAY) == 1.0
    clock.now += 1
    assert known.shut_out(AWAY) == 0.0
    assert known.wrong(AWAY) == 0.0
    assert known.wrong(AWAY) > 0.0
    assert known.shut_out("192.0.2.8") == 0.0


def test_a_token_that_was_good_there_before_is_let_through_and_no_other() -> None:
    """Else whoever guesses next to somebody would shut out both; and a guess that happens to be
    right is told nothing."""
    known = guesses()
    known.right(AWAY, ONE)
    for _ in range(WRONG_AT_ONCE + 1):
        known.wrong(AWAY)
    assert known.shut_out(AWAY, ONE) == 0.0
    assert known.shut_out(AWAY, TWO) > 0.0
    assert known.shut_out(AWAY) > 0.0
    for _ in range(WRONG_AT_ONCE + 1):
        known.wrong("192.0.2.8")
    assert known.shut_out("192.0.2.8", ONE) > 0.0  # it was good elsewhere


def test_this_machine_is_never_shut_out_and_its_wrong_ones_are_counted() -> None:
    known = guesses()
    found = [known.wrong(NEAR) > 0 for _ in range(WRONG_AT_ONCE + 5)]
    assert found == [False] * WRONG_AT_ONCE + [True] * 5
    assert known.shut_out(NEAR) == known.shut_out("::1") == 0.0


def test_both_memories_are_bounded_and_the_quietest_is_forgotten() -> None:
    known = guesses()
    for i in range(PLACES + 10):
        known.wrong(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}")
    for i in range(FAMILIAR + 10):
        known.right("10.9.9.9", i.to_bytes(32, "big"))
    known.right("10.9.9.9", (10).to_bytes(32, "big"))
    known.right("10.9.9.9", TWO)
    assert (len(known._wrong), len(known._familiar)) == (PLACES, FAMILIAR)
    assert ("10.9.9.9", (10).to_bytes(32, "big")) in known._familiar
    assert ("10.9.9.9", (11).to_bytes(32, "big")) not in known._familiar


def test_that_somebody_guesses_is_said_once_and_without_the_token(caplog: Any) -> None:
    known = guesses()
    for _ in range(WRONG_AT_ONCE * 3):
        known.wrong(AWAY)
    assert [r.getMessage() for r in caplog.records] == [
        f"{AWAY} sends one wrong token after the other; it is slowed down"
    ]


@pytest.mark.parametrize(
    ("peer", "place"),
    [
        (AWAY, AWAY),
        ("::ffff:192.0.2.7", AWAY),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (NEAR, None),
        ("127.8.8.8", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("gone", "gone"),
        ("", ""),
    ],
)
def test_a_place_is_an_address_or_a_network_of_one(peer: str, place: str | None) -> None:
    assert place_of(peer) == place
