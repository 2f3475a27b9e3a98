"""Hardware that may not be there yet, and what is asked of it once it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.errors import CollectorError
from collectors.perhaps import FIRST, LOOK_AGAIN, Perhaps
from collectors.reading import RAM, MemoryPool, PoolKind, Releasable, Sample, Seconds, Tier, gib
from collectors.rest import Resting
from tests.collectors.conftest import Clock

FOUND = Sample((MemoryPool(RAM, PoolKind.HOST, gib(1), gib(1)),))


class Hardware:
    """A card that is plugged in when a test says so, and the collector that reads it."""

    name, deadline = "card", Seconds(2.25)

    def __init__(self) -> None:
        self.there = False
        self.looked = self.made = self.closed = 0
        self.fault: str | None = None
        self.asked: list[Tier] = []

    def present(self) -> bool:
        self.looked += 1
        return self.there

    def make(self) -> Hardware:
        self.made += 1
        return self

    def read(self, tiers: Tier) -> Sample:
        self.asked.append(tiers)
        if self.fault:
            raise CollectorError(self.fault)
        return FOUND

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def hardware() -> Hardware:
    return Hardware()


@pytest.fixture
def card(hardware: Hardware, clock: Clock) -> Perhaps:
    return Perhaps("card", hardware.present, hardware.make, "no card here", clock)


def test_where_there_is_nothing_it_says_so_and_looks_again_each_minute(
    card: Perhaps, hardware: Hardware, clock: Clock
) -> None:
    for _ in range(3):
        assert card.read(Tier.ALL) == Sample(notes=("no card here",))
    assert hardware.looked == 1
    hardware.there = True
    clock.now += LOOK_AGAIN - 1
    assert card.read(Tier.ALL).pools == ()
    clock.now += 1
    assert card.read(Tier.ALL) == FOUND
    assert hardware.looked == 2


def test_without_a_note_it_says_nothing(hardware: Hardware, clock: Clock) -> None:
    assert Perhaps("card", hardware.present, hardware.make, None, clock).read(Tier.ALL) == Sample()


def test_once_made_it_stays_and_what_is_gone_then_is_a_fault(
    card: Perhaps, hardware: Hardware, clock: Clock
) -> None:
    hardware.there = True
    card.read(Tier.MEMORY)
    hardware.there, hardware.fault = False, "gone"
    clock.now += LOOK_AGAIN
    with pytest.raises(CollectorError, match="gone"):
        card.read(Tier.ALL)
    assert (hardware.made, hardware.looked, hardware.asked) == (1, 1, [Tier.MEMORY, Tier.ALL])


def test_the_first_read_has_as_long_as_the_slowest_and_later_ones_what_was_made_says(
    card: Perhaps, hardware: Hardware
) -> None:
    assert card.deadline == FIRST >= hardware.deadline
    hardware.there = True
    card.read(Tier.ALL)
    assert card.deadline == hardware.deadline


def test_what_is_there_is_unheard_until_it_has_told_what_it_has(
    card: Perhaps, hardware: Hardware
) -> None:
    card.read(Tier.ALL)
    assert not card.unheard, "nothing is there"
    other = Perhaps("card", hardware.present, hardware.make)
    hardware.there, hardware.fault = True, "is starting"
    for _ in range(2):
        with pytest.raises(CollectorError):
            other.read(Tier.ALL)
        assert other.unheard
    hardware.fault = None
    other.read(Tier.ALL)
    hardware.fault = "gone"
    with pytest.raises(CollectorError):
        other.read(Tier.ALL)
    assert not other.unheard, "what it has is known"


def test_what_has_no_memory_of_its_own_is_never_unheard(hardware: Hardware) -> None:
    npu = Perhaps("npu", hardware.present, hardware.make, pools=False)
    hardware.there, hardware.fault = True, "is starting"
    with pytest.raises(CollectorError):
        npu.read(Tier.ALL)
    assert not npu.unheard


def test_closing_ends_what_was_made_where_it_has_an_end(card: Perhaps, hardware: Hardware) -> None:
    card.close()
    assert hardware.closed == 0
    hardware.there = True
    card.read(Tier.ALL)
    card.close()
    assert hardware.closed == 1
    endless = Perhaps("x", lambda: True, lambda: Endless())
    endless.read(Tier.ALL)
    endless.close()


class Endless:
    name, deadline = "x", Seconds(1)

    def read(self, tiers: Tier) -> Sample:
        return FOUND


# -- letting go


def test_there_is_nothing_to_let_go_of_where_nothing_is_held_open(
    card: Perhaps, hardware: Hardware
) -> None:
    for _ in range(2):  # before there is a card, and with one that nobody holds open
        assert not card.holds
        card.release(Seconds(9e9))
        card.resume()
        card.wake()
        assert (card.released_until, card.closed) == (None, True)
        hardware.there = True
        card = Perhaps("card", hardware.present, hardware.make)
        card.read(Tier.ALL)


def test_what_is_held_open_is_let_go_of_taken_back_and_woken(
    hardware: Hardware, clock: Clock, tmp_path: Path
) -> None:
    card = Perhaps("card", lambda: True, lambda: Resting(hardware, tmp_path, clock), None, clock)
    assert isinstance(card, Releasable)
    card.read(Tier.ALL)
    assert card.holds
    assert not card.closed
    card.release(Seconds(clock.now + 60))
    assert card.released_until == clock.now + 60
    with pytest.raises(CollectorError, match="released for an administrator"):
        card.read(Tier.ALL)
    assert (card.closed, hardware.closed) == (True, 1)
    card.resume()
    assert card.released_until is None
    card.wake()
    assert card.read(Tier.ALL) == FOUND
    assert not card.closed
