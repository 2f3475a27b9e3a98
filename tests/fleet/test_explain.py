"""Every decision can be read."""

from __future__ import annotations

import pytest

from supervisor.fleet.decided import Note, Why, Wish
from supervisor.fleet.explain import of_choice, of_note, of_offer, of_promise
from supervisor.fleet.hosts import HostId
from supervisor.fleet.place import choose_hosts, place
from tests.fleet.builders import answers, directory, housed, offer, promise, word


@pytest.mark.parametrize("why", Why)
def test_every_reason_has_its_sentence(why: Why) -> None:
    text = of_note(Note(HostId("alpha"), why))
    assert text.startswith("alpha ")
    assert "{" not in text


def test_a_placement_is_told_with_the_chosen_first_and_what_each_would_lose() -> None:
    fleet = directory(word("a", housed("m")), word("b", housed("m")), word("c"), lost=["c"])
    found = place(fleet, Wish("m"), answers(offer("a", loss=41.2), offer("b", loss=1.25)))
    assert of_choice(found) == [
        "m is to be loaded on b",
        "b was chosen: of those that offered it loses least (it would lose 1.2 s)",
        "a was not taken: another loses less, is ready sooner, or has more room"
        " (it would lose 41 s)",
        "c is lost",
    ]


def test_what_waits_is_told_with_for_how_long_and_the_host_s_own_words() -> None:
    fleet = directory(
        word("a", housed("m"), rests="it is a pause"),
        word("b", housed("m")),
        promises=[promise("b", 8, "m", until=1007)],
    )
    assert of_choice(choose_hosts(fleet, Wish("m"))) == [
        "m waits, for 7.0 s at most: no host can serve it now",
        "a takes no part: it is a pause",
        "b has been told to load it, and has not begun yet",
    ]


def test_a_number_of_bytes_is_told_with_what_it_is_of() -> None:
    fleet = directory(word("a", housed("m")), promises=[promise("a", 20)])
    told = of_choice(choose_hosts(fleet, Wish("m")))
    assert told[1] == "a has promised too much of its memory already: 20.0 GiB of it"


def test_a_hundred_hosts_without_the_model_are_one_sentence() -> None:
    fleet = directory(word("h", housed("m")), *(word(f"n{i:03}") for i in range(100)))
    told = of_choice(choose_hosts(fleet, Wish("m")))
    assert told == [
        "m: h is asked for offers",
        "h is asked for an offer",
        "n000, n001, n002, n003, n004 and 95 more have no such model",
    ]
    unknown = of_choice(choose_hosts(fleet, Wish("x")))
    assert unknown[0] == "x: no host that is heard of has such a model"


def test_names_that_would_clear_a_terminal_are_shown_as_escapes() -> None:
    fleet = directory(word("a\x1b[2J", housed("m", "loaded")))
    assert "\x1b" not in "".join(of_choice(choose_hosts(fleet, Wish("m"))))


def test_offers_and_promises_are_told() -> None:
    assert of_offer(offer("a", ready=True)) == "ollama/m is ready on a"
    assert of_offer(offer("a", fits=False, why="all are pinned")) == (
        "a has no room for ollama/m: all are pinned"
    )
    assert of_offer(offer("a", size=8)) == "a would load ollama/m (9.0 GiB, 5.0 s)"
    told = of_promise(promise("a", 8, "m", until=1030), directory())
    assert told == "8.0 GiB of a are promised to m for 30 s more"


def test_who_makes_nobody_leave_loses_nothing() -> None:
    found = Note(HostId("a"), Why.LEAST_LOSS, 0.0)
    assert of_note(found).endswith("it loses least (it would lose nothing)")
    assert of_note(found._replace(loss=0.06)).endswith("(it would lose 0.1 s)")
