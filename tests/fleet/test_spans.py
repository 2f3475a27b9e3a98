"""Who has what part of a model, whether all of it is there, and when a part is let go of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from supervisor.fleet.hosts import Directory, HostId, Part, Word
from supervisor.fleet.spans import called, grounds, names, span_rows, span_troubles
from supervisor.fleet.words import read_word, word_row

from .builders import promise, word
from .gangs import SPAN, directory, holds, leads


def let_go(fleet: Directory, host: str) -> bool | None:
    """None: it is kept; else whether somebody's word says that it is to go."""
    (part,) = fleet.hosts[HostId(host)].word.parts
    found = grounds(fleet, HostId(host), part)
    return None if found is None else found.said


def test_it_is_meant_by_its_name_or_by_its_leaders():
    fleet = directory(leads("a", ["b"]), holds("b"))
    assert called(fleet, SPAN) == SPAN
    assert called(fleet, f"llama/{SPAN}") == SPAN
    assert called(fleet, "rpc/part") is None  # which is an engine's model as any other
    assert called(fleet, "part") is None
    assert names(fleet) == (SPAN,)
    latest = Word(HostId("a"), "e", 1, "1", 0.0, parts=(Part("x:latest", "rpc/y"),))
    assert called(directory(latest), "x") == "x:latest"


@pytest.mark.parametrize("leader", ["loaded", "loading", "leaving", "unknown"])
def test_a_part_is_kept_while_its_leader_is_there(leader):
    assert let_go(directory(leads("a", ["b"], leader), holds("b", "loaded")), "b") is None


@pytest.mark.parametrize("leader", ["local", "absent", "sleeping"])
def test_and_let_go_when_the_leader_says_that_it_is_not(leader):
    assert let_go(directory(leads("a", ["b"], leader), holds("b", "loaded")), "b") is True


def test_a_leader_that_is_not_heard_of_for_a_moment_has_it_still():
    for status in ("loaded", "local"):
        fleet = directory(leads("a", ["b"], status), holds("b", "loaded"), silent=["a"])
        assert let_go(fleet, "b") is None
    lost = directory(leads("a", ["b"], "loaded"), holds("b", "loaded"), lost=["a"])
    assert let_go(lost, "b") is False
    assert let_go(directory(holds("b", "loaded")), "b") is False


def test_any_leader_that_has_it_keeps_the_part():
    two = leads("a", ["b"]), leads("c", ["b"], "loaded"), holds("b", "loaded")
    assert let_go(directory(*two), "b") is None
    other = leads("a", ["b"]), leads("c", ["d"], "loaded"), holds("b", "loaded")
    assert let_go(directory(*other), "b") is True  # that one is not of its set


def test_while_it_is_claimed_every_part_is_kept():
    fleet = directory(leads("a", ["b"]), holds("b", "loaded"), promises=[promise("b", 1, SPAN)])
    assert let_go(fleet, "b") is None
    over = Directory(fleet.promises[0].until, fleet.hosts, fleet.promises)
    assert let_go(over, "b") is True


@pytest.mark.parametrize("status", ["local", "absent", "leaving"])
def test_a_leader_goes_when_a_host_says_that_its_part_has_gone(status):
    fleet = directory(leads("a", ["b", "c"], "loaded"), holds("b", "loaded"), holds("c", status))
    assert let_go(fleet, "a") is True
    lost = directory(leads("a", ["b"], "loaded"), holds("b", "loaded"), lost=["b"])
    assert let_go(lost, "a") is False
    silent = directory(leads("a", ["b"], "loaded"), holds("b", status), silent=["b"])
    assert let_go(silent, "a") is None


def test_a_leader_goes_when_a_host_of_its_is_drained_before_its_part_does():
    fleet = directory(leads("a", ["b"], "loaded"), holds("b", "loaded"), drained=["b"])
    assert let_go(fleet, "a") is True
    assert let_go(fleet, "b") is None


def test_of_more_hosts_than_it_takes_one_may_go():
    words = leads("a", ["b", "c"], "loaded", hosts=2), holds("b", "loaded"), holds("c")
    assert let_go(directory(*words), "a") is None
    assert let_go(directory(*words, lost=["b"]), "a") is not None


def test_what_is_shown_says_how_it_is_and_who_has_what():
    def state(*words: Word, **how: object) -> tuple[str, str | None]:
        (row,) = span_rows(directory(*words, **how))  # type: ignore[arg-type]
        return row["state"], row["leader"]

    leader, part = leads("a", ["b"], "loaded"), holds("b", "loaded")
    assert state(leader, part) == ("ready", "a")
    assert state(leads("a", ["b"], "loading"), part) == ("loading", "a")
    assert state(leader, part, lost=["b"]) == ("broken", "a")
    assert state(leads("a", ["b"]), part) == ("in part", None)
    assert state(leads("a", ["b"]), holds("b")) == ("local", None)
    (row,) = span_rows(directory(leader, part))
    assert row["parts"][1] == {
        "host": "b", "model": "rpc/part", "leads": False, "status": "loaded", "presence": "here",
    }  # fmt: skip


def test_what_does_not_go_together_is_told():
    assert span_troubles(directory(leads("a", ["b"]), holds("b"))) == []
    (told,) = span_troubles(directory(leads("a", ["b"]), word("b")))
    assert told == (
        f"{SPAN}: a, which leads it, takes b for a part, and that host has no table for it under"
        " [fleet.spans], or leads it too"
    )
    both = span_troubles(directory(leads("a", ["b"]), leads("b", ["a"])))
    assert len(both) == 2
    assert span_troubles(directory(leads("a", ["b"]), word("b"), lost=["b"])) == []
    without = replace(holds("b"), models=())
    (told,) = span_troubles(directory(leads("a", ["b"]), without))
    assert told == f"{SPAN}: b is to hold rpc/part of it, and no engine there has that"


def test_a_words_parts_are_read_strictly():
    row = word_row(leads("a", ["b", "c"]))
    assert read_word(row) == leads("a", ["b", "c"])
    assert read_word({k: v for k, v in row.items() if k != "parts"}).parts == ()
    (part,) = row["parts"]
    for wrong, why in (
        ({"hosts": 4}, "hosts is 4; it has to be from 2 to 3"),
        ({"hosts": 1}, "hosts is 1; it has to be from 2 to 3"),
        ({"others": ["b", "b"], "hosts": 2}, "host b is there twice"),
        ({"span": ""}, "span is"),
    ):
        with pytest.raises(ValueError, match=why):
            read_word({**row, "parts": [{**part, **wrong}]})
    with pytest.raises(ValueError, match="span big:400b is there twice"):
        read_word({**row, "parts": [part, part]})
