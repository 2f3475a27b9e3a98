"""What was received, and how often anything may be done."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from collectors.reading import Seconds
from supervisor.alerting import ledger as ledgers
from supervisor.alerting.alert import Alert, Ended, Outcome, Row, Status, made, read_row
from supervisor.alerting.ledger import Ledger
from supervisor.alerting.limit import Limit
from supervisor.core.policy import Brake
from supervisor.journal.journal import Journal
from supervisor.keeping.deadlines import Deadlines

from .post import BEGAN, alert


@dataclass
class Time:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        return BEGAN + self.now


def ledger(time: Time, journal: Journal | None = None) -> Ledger:
    shelf = (journal or Journal(None)).shelves["alerts"]
    return Ledger(shelf, Deadlines(time, time.wall, lambda: None), Seconds(60))


def row(one: Alert, time: Time, outcome: Outcome | None = Outcome.DONE) -> Row:
    return Row(one, time.wall(), "tests", outcome)


def test_an_alert_is_known_by_its_name_when_it_began_and_what_it_says() -> None:
    same = made("f", 1.0004, Status.FIRING, {"alertname": "x"})
    assert same.key == made("f", 1.0001, Status.FIRING, {"other": "labels"}).key
    others = [
        made("g", 1, Status.FIRING, {}),
        made("f", 2, Status.FIRING, {}),
        made("f", 1, Status.RESOLVED, {}),
    ]
    assert len({same.key, *(o.key for o in others)}) == 4
    assert len({same.id, *(o.id for o in others)}) == 4
    assert same.episode == others[2].episode


def test_a_row_is_read_as_it_was_written() -> None:
    one = Row(alert(), 5.0, "tests", None, force=True)
    assert read_row(one.written) == one
    ended = replace(one, action="a", target="t").ended(Ended(Outcome.HELD, "so", "d-000001"))
    assert read_row(ended.written) == ended
    assert "force" not in ended.json
    with pytest.raises((KeyError, TypeError, ValueError)):
        read_row({**ended.written, "outcome": "maybe"})


def test_the_oldest_are_forgotten_and_who_is_acted_on_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledgers, "KEPT", 3)
    time = Time()
    book = ledger(time)
    for i in range(5):
        book.keep(row(alert(id=str(i)), time))
    assert [r.alert.fingerprint for r in book] == ["4", "3", "2"]
    assert len(book.shelf.all()) == 3
    assert book.firing == 3
    assert book.get(alert(id="0")) is None
    book.keep(row(alert(id="2"), time, None))
    for i in range(5, 8):
        book.keep(row(alert(id=str(i)), time))
    assert "2" in [r.alert.fingerprint for r in book], "nobody knows yet what became of it"


def test_it_fires_until_it_resolves_or_is_not_heard_of() -> None:
    time = Time()
    book = ledger(time)
    book.keep(row(alert(), time, None))
    book.keep(row(alert(), time))
    time.now += 50
    book.heard(alert())
    time.now += 50
    assert book.firing == 1
    book.keep(row(alert("resolved"), time))
    assert book.firing == 0
    book.heard(alert())
    assert book.firing == 0, "one that resolved is not heard of"
    book.keep(row(alert(id="late"), time))
    time.now += 61
    assert book.firing == 0


def test_one_of_which_nobody_says_when_it_began_began_when_it_was_first_heard_of() -> None:
    time = Time()
    book = ledger(time)
    began = book.since("f1", Status.FIRING)
    assert began == time.wall()
    book.keep(row(made("f1", began, Status.FIRING, {}), time))
    time.now += 30
    assert book.since("f1", Status.FIRING) == book.since("f1", Status.RESOLVED) == began
    book.keep(row(made("f1", began, Status.RESOLVED, {}), time))
    time.now += 1
    assert book.since("f1", Status.RESOLVED) == began, "it is told once more"
    assert book.since("f1", Status.FIRING) == time.wall(), "it fires anew"
    assert book.since("f2", Status.RESOLVED) == time.wall()
    again = book.since("f1", Status.FIRING)
    book.keep(row(made("f1", again, Status.FIRING, {}), time))
    time.now += 61
    assert book.since("f1", Status.FIRING) == time.wall(), "it was not heard of for long"


def test_the_next_daemon_knows_all_of_it() -> None:
    time, journal = Time(), Journal(None)
    book = ledger(time, journal)
    book.keep(row(alert(), time))
    time.now += 1
    book.keep(row(alert(id="f2"), time, None))
    book.keep(row(alert(id="f3"), time))
    book.keep(row(alert("resolved", "f3"), time))
    time.now = 30  # another run of the machine: its clock begins anew
    next_one = ledger(replace(time), journal)
    next_one.deadlines = Deadlines(lambda: 7.0, lambda: BEGAN + 140.0, lambda: None)
    assert [r.alert.fingerprint for r in next_one.recall()] == ["f2"]
    assert [r.alert.key for r in next_one] == [r.alert.key for r in book]
    assert next_one.firing == 2
    next_one.deadlines = Deadlines(lambda: 30.0, lambda: BEGAN + 163.0, lambda: None)
    assert next_one.firing == 0


# -- the limit


def test_at_most_so_many_in_a_time() -> None:
    time = Time()
    limit = Limit(Brake(2, Seconds(60)), time)
    assert limit.wait() is None
    limit.take()
    time.now += 20
    limit.take()
    assert limit.wait() == 40
    time.now += 39
    assert limit.wait() == 1
    time.now += 1
    assert limit.wait() is None
    limit.take()
    assert limit.wait() == 20


def test_what_came_to_nothing_does_not_count_and_what_was_before_does() -> None:
    time = Time()
    limit = Limit(Brake(1, Seconds(60)), time)
    limit.give_back(limit.take())
    assert limit.wait() is None
    limit.take(ago=50)
    limit.take(ago=70)  # as they are remembered, the newest first
    assert limit.wait() == 10
    time.now += 10
    assert limit.wait() is None
