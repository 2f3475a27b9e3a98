"""The directory: what hosts last told, what changed since; nothing that is not told again."""

from __future__ import annotations

from supervisor.agent.directory import FORGOTTEN, Directory


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def made() -> tuple[Directory, Clock]:
    clock = Clock()
    return Directory(clock), clock


def word(host: str, free: int = 1) -> dict[str, object]:
    return {"host": host, "free": free}


def test_what_has_not_changed_is_not_told_again():
    directory, clock = made()
    first = directory.tell("a", "x", word("a"))
    assert [t["word"] for t in first["told"]] == [word("a")]
    clock.now += 1
    second = directory.tell("b", "y", word("b"), since=first["version"])
    assert [t["word"]["host"] for t in second["told"]] == ["b"]
    third = directory.tell("a", "x", None, since=second["version"])
    assert third["told"] == []
    assert third["ages"] == {"a": 0.0, "b": 0.0}


def test_ages_count_from_when_a_host_told_whatever_it_told():
    directory, clock = made()
    directory.tell("a", "x", word("a"))
    clock.now += 3
    assert directory.read()["ages"] == {"a": 3.0}
    directory.tell("a", "x", None)
    assert directory.read()["ages"] == {"a": 0.0}
    assert directory.read()["up"] == 3.0


def test_a_directory_that_was_restarted_asks_for_words_again():
    before, _ = made()
    since = before.tell("a", "x", word("a"))["version"]
    after, _ = made()
    answer = after.tell("a", "x", None, since=since)
    assert answer["again"]
    assert answer["told"] == []
    assert [t["word"] for t in after.tell("a", "x", word("a"), since=since)["told"]] == [word("a")]


def test_promises_run_down_and_belong_to_who_told_them_last():
    directory, clock = made()
    promise = {"id": "1", "model": "m", "shares": {"b": 7}, "left": 5.0}
    directory.tell("a", "x", word("a"), (promise,))
    clock.now += 2
    assert directory.read()["kept"] == [{**promise, "owner": "a", "left": 3.0}]
    directory.tell("a", "x", None)
    assert directory.read()["kept"] == []


def coming(directory: Directory) -> list[tuple[str, dict[str, int], float]]:
    return [(r["id"], r["shares"], r["left"]) for r in directory.read()["kept"]]


def test_what_is_coming_bars_until_its_time_is_over_even_if_its_host_leaves():
    directory, clock = made()
    directory.tell("b", "y", word("b"))
    directory.bar("b", "1", "m", 4.0, 1.0)
    directory.leave("b", "y")
    assert coming(directory) == [("1", {"b": 0}, 4.0)]
    clock.now += 4
    assert coming(directory) == []


def test_and_then_until_its_host_has_said_what_became_of_it():
    directory, clock = made()
    before = directory.tell("b", "y", word("b"))["version"]
    directory.bar("b", "1", "m", 2.0, 4.5)
    clock.now += 3
    # A word that was on its way for long: what it tells may be from before the load.
    after = directory.tell("b", "y", word("b"), basis=before)["version"]
    assert coming(directory) == [("1", {"b": 0}, 4.5)]
    directory.tell("b", "y", word("b"), basis=after)
    assert coming(directory) == []


def test_or_until_it_is_lost():
    directory, clock = made()
    directory.tell("b", "y", word("b"))
    directory.bar("b", "1", "m", 2.0, 4.5)
    clock.now += 4.4
    assert len(coming(directory)) == 1
    clock.now += 0.2
    assert coming(directory) == []


def test_and_again_when_it_is_back_with_a_word_of_before():
    directory, clock = made()
    before = directory.tell("b", "y", word("b"))["version"]
    directory.bar("b", "1", "m", 2.0, 4.5)
    clock.now += 4.6
    directory.tell("a", "x", word("a"))  # whoever tells meanwhile does not end it for good
    assert coming(directory) == []
    after = directory.tell("b", "y", word("b"), basis=before)["version"]
    assert coming(directory) == [("1", {"b": 0}, 4.5)]
    directory.tell("b", "y", word("b"), basis=after)
    assert coming(directory) == []


def test_what_was_refused_bars_nobody():
    directory, _ = made()
    directory.bar("b", "1", "m", 4.0, 1.0)
    directory.unbar("b", "1")
    assert directory.read()["kept"] == []


def test_of_a_model_that_spans_hosts_each_of_them_bars():
    directory, _ = made()
    directory.bar("a", "1", "m", 4.0, 1.0)
    directory.bar("b", "1", "m", 4.0, 1.0)
    directory.unbar("a", "1")
    assert coming(directory) == [("1", {"b": 0}, 4.0)]


def test_only_the_agent_that_is_there_can_leave():
    directory, _ = made()
    directory.tell("a", "old", word("a"))
    directory.tell("a", "new", word("a"))
    directory.leave("a", "old")
    assert directory.read()["ages"] == {"a": 0.0}
    directory.leave("a", "new")
    assert directory.read()["ages"] == {}


def test_a_host_that_is_gone_for_long_is_forgotten():
    directory, clock = made()
    directory.tell("a", "x", word("a"))
    clock.now += FORGOTTEN + 1
    assert directory.tell("b", "y", word("b"))["ages"] == {"b": 0.0}
