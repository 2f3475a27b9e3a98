"""What hosts tell one another, as JSON: it comes back as it was, and what is wrong is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.fleet.changes import change_row, read_change
from supervisor.fleet.hosts import Directory, Offer, Word
from supervisor.fleet.words import (
    directory_row,
    offer_row,
    promise_row,
    read_directory,
    read_offer,
    read_promise,
    read_word,
    word_row,
)
from tests.fleet import strategies
from tests.fleet.builders import directory, housed, offer, promise, space, word


def through_json(row: object) -> Any:
    return json.loads(json.dumps(row, allow_nan=False))


@given(strategies.words)
def test_a_word_comes_back_as_it_was(word: Word) -> None:
    assert read_word(through_json(word_row(word))) == word


@given(strategies.offers)
def test_an_offer_comes_back_as_it_was(offer: Offer) -> None:
    assert read_offer(through_json(offer_row(offer))) == offer


@given(strategies.directories)
def test_a_directory_comes_back_as_it_was(directory: Directory) -> None:
    assert read_directory(through_json(directory_row(directory))) == directory


def test_the_hosts_of_a_directory_stand_by_name() -> None:
    rows = directory_row(directory(word("b"), word("a")))["hosts"]
    assert [row["word"]["host"] for row in rows] == ["a", "b"]


@given(strategies.words, st.data())
def test_whatever_is_put_in_its_place_a_word_is_read_or_refused_in_words(
    word: Word, data: st.DataObject
) -> None:
    """Never another error, and the key is named."""
    row = through_json(word_row(word))
    key = data.draw(st.sampled_from(sorted(row)))
    row[key] = data.draw(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
        | st.lists(st.integers() | st.dictionaries(st.text(max_size=3), st.none()), max_size=2)
    )  # fmt: skip
    told = ""
    try:
        read_word(row)
    except ValueError as error:
        told = str(error)
    assert told == "" or (told.startswith("word") and key in told)


def test_what_a_newer_host_says_besides_is_passed_over_and_what_an_older_lacks_is_usual() -> None:
    row = word_row(word("a", housed("m", work=2))) | {"mood": "good"}
    del row["number"], row["rests"], row["models"][0]["in_flight"]
    read = read_word(row)
    assert (read.number, read.rests, read.models[0].in_flight) == (0, None, 0)


def spoilt(**changes: object) -> dict[str, Any]:
    row = word_row(word("alpha", housed("m"), housed("n")))
    return row | changes


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ([], "word is a list; it has to be an object"),
        ({}, "word: host is missing"),
        (spoilt(host=""), 'word: host is ""; it has to be a text that is not empty'),
        (spoilt(host="a\x1b[2J"), 'host is "a\\x1b[2J"; it has to be a text on one line'),
        (spoilt(host="x" * 2000), "word: host has 2,000 characters; 1,024 at most"),
        (spoilt(wall=float("nan")), "wall is nan; it has to be a number"),
        (spoilt(number=True), "number is true; it has to be a whole number, 0 or more"),
        (spoilt(spaces={}), "spaces is an object; it has to be a list"),
        (
            spoilt(spaces=[{"pool": "p", "total": 1, "free": 2, "headroom": 0}]),
            "word of alpha: spaces[0]: free (2) is more than total (1)",
        ),
        (
            spoilt(spaces=[space(1)._asdict(), space(2)._asdict()]),
            "word of alpha: pool gpu:0 is there twice",
        ),
        (
            spoilt(models=[{"name": "m", "engine": "e", "status": "warm"}]),
            'word of alpha: models[0]: status is "warm"; it has to be one of absent, local,',
        ),
        (
            spoilt(models=[{"name": "m", "engine": "e", "status": "local", "size": -3}]),
            "models[0]: size is -3; it has to be a whole number, 0 or more",
        ),
        (
            spoilt(models=[{"name": "m", "engine": "e", "status": "local"}] * 2),
            "word of alpha: model e/m is there twice",
        ),
    ],
)
def test_what_is_wrong_with_a_word_is_told_with_its_place(row: object, told: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_word(row)
    assert told in str(caught.value)


def test_what_is_wrong_with_an_offer_and_a_promise_is_told_too() -> None:
    row = offer_row(offer("a"))
    for key, value, told in [
        ("valid", -1, "offer: valid is -1; it has to be a number, 0 or more"),
        ("loss", 10**400, "offer: loss is a number of too many digits"),
        ("fits", 1, "offer: fits is 1; it has to be true or false"),
        ("leaves", [3], "offer: leaves[0] is 3; it has to be a text"),
        ("takes", [{"pool": "p", "size": 1, "source": "?"}], 'takes[0]: source is "?"'),
        ("why", None, "offer: why is null; it has to be a text"),
    ]:
        with pytest.raises(ValueError) as caught:
            read_offer(row | {key: value})
        assert told in str(caught.value)
    with pytest.raises(ValueError, match="promise: size is missing"):
        read_promise({k: v for k, v in promise_row(promise("a", 1)).items() if k != "size"})


def test_a_directory_with_one_host_twice_is_refused() -> None:
    row = directory_row(directory(word("a")))
    row["hosts"] *= 2
    with pytest.raises(ValueError, match="directory: host a is there twice"):
        read_directory(row)


# -- what changed


@given(strategies.words, strategies.words)
def test_what_changed_makes_the_new_word_of_the_old_one(before: Word, other: Word) -> None:
    after = Word(
        before.host, before.epoch, before.number + 1, other.version, other.wall, other.address,
        other.spaces, other.models, other.rests,
    )  # fmt: skip
    read = read_change(through_json(change_row(before, after)), before)
    assert {*read.models} == {*after.models}
    assert word_row(read) | {"models": 0} == word_row(after) | {"models": 0}


def test_of_a_hundred_models_only_those_that_changed_are_told() -> None:
    models = [housed(f"m{i}") for i in range(100)]
    before = word("a", *models)
    after = word("a", housed("m0", "loaded"), *models[1:-1], number=2)
    row = change_row(before, after)
    assert [m["name"] for m in row["models"]] == ["m0"]
    assert row["gone"] == [["ollama", "m99"]]
    assert "spaces" not in row
    assert len(json.dumps(row)) < 400


def test_a_change_is_not_believed_without_the_word_that_it_was_made_from() -> None:
    row = change_row(word("a", number=4), word("a", number=5))
    for before in (None, word("a", number=3), word("a", number=4, epoch="e"), word("b", number=4)):
        with pytest.raises(LookupError, match="word 4 is not here"):
            read_change(row, before)
    with pytest.raises(ValueError, match="does not follow"):
        change_row(word("a", number=5), word("a", number=5))
