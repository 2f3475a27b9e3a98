"""What is kept of what happens, and who has read how far."""

from __future__ import annotations

import json

import pytest

from supervisor.feed import KEPT, Feed, NoSuchPlace, Reader

NOW = 1_790_000_000.0


def feed(count: int = 0) -> Feed:
    made = Feed(lambda: NOW, "ab12")
    for n in range(count):
        made.tell("claim", what=f"{n + 1}")
    return made


def told(reader: Reader) -> list[str]:
    """Everything that it reads, in batches as they come."""
    found = []
    while batch := reader.take(3):
        found += [e.data.get("what", e.kind) for e in batch]
    return found


def test_ids_name_this_daemon_and_grow_by_one() -> None:
    one, other = Feed(), Feed()
    assert one.epoch != other.epoch
    made = feed(3)
    assert made.last == "ab12-3"
    assert [e.number for e in made.after(0)] == [1, 2, 3]
    assert [e.data for e in made.after(2)] == [{"at": NOW, "what": "3"}]


def test_what_says_itself_when_it_was_is_not_dated_anew() -> None:
    made = feed()
    made.tell("outcome", {"at": 7.0, "result": "done"}, model="a")
    (event,) = made.after(0)
    assert json.loads(event.text) == {"at": 7.0, "result": "done", "model": "a"}


def test_a_reader_hears_what_comes_from_now_on_and_in_order() -> None:
    made = feed(2)
    reader = made.read()
    assert told(reader) == []
    assert not reader.wake.is_set()
    for word in "abcd":
        made.tell("claim", what=word)
    assert reader.wake.is_set()
    assert told(reader) == ["a", "b", "c", "d"]
    assert told(reader) == []


def test_a_batch_has_no_more_than_was_asked_for_and_the_rest_still_waits() -> None:
    made = feed()
    reader = made.read()
    for word in "abcd":
        made.tell("claim", what=word)
    assert len(reader.take(3)) == 3
    assert reader.wake.is_set()
    assert len(reader.take(3)) == 1
    assert not reader.wake.is_set()


def test_a_reader_that_comes_back_is_told_what_it_has_missed() -> None:
    made = feed(5)
    assert told(made.read(after="ab12-3")) == ["4", "5"]
    assert told(made.read(after="ab12-0")) == ["1", "2", "3", "4", "5"]
    assert told(made.read(after="ab12-5")) == []


@pytest.mark.parametrize(
    ("id", "why"),
    [
        ("cd34-3", "the daemon was started anew"),
        ("ab12-6", "has not happened yet"),
        ("ab12-x", "is not the id of an event"),
        ("ab12-²", "is not the id of an event"),
        ("nonsense", "started anew"),
    ],
)
def test_what_cannot_be_told_again_is_a_reset_and_goes_on_from_now(id: str, why: str) -> None:
    made = feed(5)
    with pytest.raises(NoSuchPlace, match=why):
        made.place(id)
    reader = made.read(after=id)
    (reset,) = reader.take()
    assert (reset.kind, reset.number) == ("reset", 5)
    assert why in reset.data["why"]
    assert "read the state anew" in reset.data["why"]
    made.tell("claim", what="new")
    assert told(reader) == ["new"]


def test_only_the_latest_events_are_kept_and_the_oldest_of_them_can_be_told_again() -> None:
    made = feed(KEPT + 10)
    assert len(list(made.after(0))) == KEPT
    assert told(made.read(after="ab12-10"))[0] == "11"
    with pytest.raises(NoSuchPlace, match=f"more than {KEPT} events"):
        made.place("ab12-9")


def test_a_reader_that_is_too_slow_is_told_so_and_holds_nothing() -> None:
    made = feed()
    reader = made.read()
    made.tell("claim", what="first")
    for n in range(KEPT):
        made.tell("claim", what=str(n))
    (reset,) = reader.take()
    assert reset.kind == "reset"
    assert "too slowly" in reset.data["why"]
    made.tell("claim", what="new")
    assert told(reader) == ["new"]


def test_one_that_has_read_all_but_the_oldest_is_not_too_slow() -> None:
    made = feed()
    reader = made.read()
    for n in range(KEPT):
        made.tell("claim", what=str(n))
    assert len(told(reader)) == KEPT


def test_a_reader_of_some_kinds_is_told_of_those_alone_and_never_falls_behind_by_others() -> None:
    made = feed()
    reader = made.read(["settings"])
    for n in range(KEPT + 5):
        made.tell("claim", what=str(n))
    assert not reader.wake.is_set()
    made.tell("settings", key="single_model_mode", value="true")
    assert [e.kind for e in reader.take()] == ["settings"]
    assert [made.is_read(kind) for kind in ("settings", "claim", "sample")] == [True, False, False]


def test_others_between_are_passed_over_in_a_batch() -> None:
    made = feed()
    reader = made.read(["settings"])
    for n in range(4):
        made.tell("settings", key=str(n))
        made.tell("claim", what=str(n))
    assert [e.data["key"] for e in reader.take()] == ["0", "1", "2", "3"]


def test_of_samples_only_the_latest_waits_and_none_is_kept() -> None:
    made = feed()
    reader = made.read()
    for n in range(3):
        made.tell("sample", busy=n)
    made.tell("claim", what="a")
    found = reader.take()
    assert [(e.kind, e.number) for e in found] == [("claim", 1), ("sample", None)]
    assert found[1].data["busy"] == 2
    assert reader.take() == []
    assert [e.kind for e in made.after(0)] == ["claim"]


def test_at_the_end_everybody_reads_what_there_is_and_is_over() -> None:
    made = feed()
    reader = made.read()
    made.close()
    assert reader.wake.is_set()  # also of one that has read all that there was
    made.tell("daemon", text="stopping")
    assert not reader.over
    assert [e.kind for e in reader.take()] == ["daemon"]
    assert reader.over
    assert reader.wake.is_set()


def test_the_last_word_is_that_the_daemon_ends_and_not_a_sample_of_before() -> None:
    feed = Feed(lambda: 5.0)
    reader = feed.read()
    feed.tell("sample", busy=1)
    feed.tell("daemon", text="stopping")
    feed.close()
    assert [e.kind for e in reader.take()] == ["daemon"]
    feed.tell("sample", busy=2)
    assert (reader.take(), reader.over) == ([], True)


def test_whoever_is_closed_is_not_told_of_anything() -> None:
    made = feed()
    reader = made.read()
    reader.close()
    reader.close()
    made.tell("claim", what="a")
    assert made.readers == set()
    assert not reader.wake.is_set()


def test_what_is_kept_is_as_it_was_told_whatever_becomes_of_what_told_it() -> None:
    row = {"at": NOW, "what": ["a"]}
    made = feed()
    made.tell("claim", row)
    row["what"] = "b"
    next(made.after(0)).data["what"].append("c")
    assert next(made.after(0)).data == {"at": NOW, "what": ["a"]}


def test_a_number_that_json_does_not_know_is_told_as_nothing() -> None:
    made = feed()
    made.tell("claim", what=[float("nan"), 1.5], until=float("inf"))
    assert next(made.after(0)).data == {"at": NOW, "what": [None, 1.5], "until": None}
