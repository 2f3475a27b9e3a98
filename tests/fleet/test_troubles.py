"""What is wrong with hosts: each is named, with what would be right."""

from __future__ import annotations

from dataclasses import replace

from collectors.reading import Seconds
from supervisor.fleet.hosts import HostId, Word
from supervisor.fleet.liveness import Delays, Roll
from supervisor.fleet.troubles import troubles
from tests.fleet.builders import NOW, WALL, directory, word


def test_a_fleet_in_order_has_no_trouble() -> None:
    fleet = directory(*(word(h, address=f"http://{h}") for h in "abc"))
    assert troubles(fleet, WALL) == []
    assert troubles(fleet, WALL + 299) == []


def test_a_clock_an_hour_apart_is_told_whichever_way() -> None:
    fleet = directory(
        *(word(h, address=h) for h in "abc"),
        word("early", wall=WALL - 3600, address="d"),
        word("late", wall=WALL + 7300, address="e"),
    )
    early, late = troubles(fleet, WALL)
    assert early.startswith("the clock of early is 60 min behind this host's: set both by NTP")
    assert late.startswith("the clock of late is 2 h 2 min ahead of this host's")


def test_a_word_that_came_a_while_ago_is_not_called_a_clock_that_is_behind() -> None:
    fleet = directory(word("a"), at=NOW)
    roll = Roll(Delays(Seconds(2000), Seconds(4000)))
    roll.hear(word("a"), Seconds(NOW))
    assert troubles(roll.directory(Seconds(NOW + 1000)), WALL + 1000) == []
    assert troubles(fleet, WALL + 1000) != []


def test_where_all_others_agree_it_is_the_own_clock_that_is_wrong() -> None:
    fleet = directory(*(word(h, address=h) for h in "abcdefg"))
    (told,) = troubles(fleet, WALL - 3600)
    assert told.startswith(
        "this host's clock is 60 min behind those of a, b, c, d, e and 2 more: set it by NTP"
    )
    (told,) = troubles(fleet, WALL + 3600)
    assert told.startswith("this host's clock is 60 min ahead of those of")


def test_a_host_without_pools_is_told_and_what_two_hosts_cannot_share() -> None:
    fleet = directory(
        word("alpha", spaces=(), address="x"),
        word("beta", epoch="one", address="y"),
        word("Beta", epoch="two", address="z"),
        word("gamma", epoch="one", address="w"),
        word("delta", address="x"),
    )
    told = troubles(fleet, WALL)
    assert [t.partition(":")[0] for t in told] == [
        "alpha has no pools",
        "Beta and beta differ by case alone",
        "beta and gamma are one daemon, told of by two agents",
        "alpha and delta have one address",
    ]


def of(host: str, version: str) -> Word:
    return replace(word(host, address=host), version=version)


def test_another_version_of_ullage_is_told_by_version_with_what_this_host_has() -> None:
    fleet = directory(of("a", "1.2.0"), of("b", "1.1.0"), of("c", "1.2.0"), of("d", "1.1.0"))
    (told,) = troubles(fleet, WALL, HostId("a"))
    assert told == (
        "b, d have Ullage 1.1.0, and this host 1.2.0: upgrade one host after the other, until all"
        " have the same"
    )
    old, new = troubles(directory(of("a", "2"), of("b", "3"), of("c", "1")), WALL, HostId("a"))
    assert (old[:22], new[:22]) == ("c has Ullage 1, and th", "b has Ullage 3, and th")


def test_another_version_of_ray_is_told_of_who_is_there() -> None:
    fleet = directory(*(of(h, "1") for h in "abc"), lost=["c"])
    engines = {HostId("a"): "2.60.0", HostId("b"): "2.54.1", HostId("c"): "2.55.0"}
    (told,) = troubles(fleet, WALL, HostId("a"), engines)
    assert told.startswith("b has Ray 2.54.1, and this host 2.60.0: Ray wants one version on all")
    assert troubles(fleet, WALL, HostId("b"), {HostId("a"): "2.60.0"}) == [], "its own is not known"


def test_a_version_is_shown_shortly_and_as_text() -> None:
    fleet = directory(of("a", "1"), of("b", "\x1b[2J" + "9" * 500))
    (told,) = troubles(fleet, WALL, HostId("a"))
    assert "\x1b" not in told
    assert len(told) < 200


def test_nothing_is_said_of_hosts_that_are_lost_nor_of_addresses_that_none_has() -> None:
    fleet = directory(word("a", spaces=(), address=None), word("b", address=None), lost=["a"])
    assert troubles(fleet, WALL) == []
