"""What the machine says by itself, for how long it counts, and how often it was said."""

from __future__ import annotations

import logging

import pytest

from collectors.reading import RAM, Incident, Remedy, Seconds
from supervisor.alarms import ALARMED, MOST, RECENT, Alarms


def xid(
    code: int | None, at: float, remedy: Remedy = Remedy.RESTART, device: str = "a"
) -> Incident:
    return Incident(device, "xid", code, remedy, f"Xid {code}", Seconds(at))


def test_an_alarm_holds_for_two_seconds_from_the_last_one() -> None:
    alarms = Alarms()
    assert alarms.pools(Seconds(0)) == ()
    alarms.ring(Seconds(100))
    assert alarms.pools(Seconds(100 + ALARMED)) == (RAM,)
    assert alarms.pools(Seconds(100.1 + ALARMED)) == ()
    alarms.ring(Seconds(110))
    alarms.ring(Seconds(111))
    assert alarms.pools(Seconds(111 + ALARMED)) == (RAM,)
    assert alarms.rung == 3


def test_incidents_are_recent_for_ten_minutes_the_oldest_first() -> None:
    alarms = Alarms()
    alarms.hear(xid(13, 100))
    alarms.hear(xid(79, 200))
    assert [i.code for i in alarms.recent(Seconds(100 + RECENT))] == [13, 79]
    assert [i.code for i in alarms.recent(Seconds(100.1 + RECENT))] == [79]
    assert alarms.recent(Seconds(200.1 + RECENT)) == ()


def test_each_incident_is_counted_once_and_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    alarms = Alarms()
    with caplog.at_level(logging.WARNING, "ullage.alarms"):
        for at in (1, 2):
            alarms.hear(xid(31, at))
        alarms.hear(xid(31, 3, device="b"))
        alarms.hear(xid(None, 4))
    alarms.recent(Seconds(9999))
    assert alarms.counts == {("a", "xid", "31"): 2, ("b", "xid", "31"): 1, ("a", "xid", ""): 1}
    assert caplog.messages[0] == "a: Xid 31"
    assert len(caplog.messages) == 4


def test_a_storm_does_not_push_a_graver_incident_out() -> None:
    alarms = Alarms()
    alarms.hear(xid(79, 1, Remedy.REBOOT))
    for i in range(3 * MOST):
        alarms.hear(xid(13, 2 + i / 1000))
    found = alarms.recent(Seconds(10))
    assert [(i.code, i.at) for i in found] == [(79, 1), (13, 2 + (3 * MOST - 1) / 1000)]


def test_of_a_great_many_kinds_the_latest_are_kept() -> None:
    alarms = Alarms()
    for code in range(MOST + 5):
        alarms.hear(xid(code, 1))
    assert [i.code for i in alarms.recent(Seconds(1))] == list(range(5, MOST + 5))
