"""What passes through us: counted for as long as it lasts, and seen by whoever plans."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from collectors.reading import Seconds
from supervisor.core.snapshot import EngineId, State
from supervisor.traffic import KEPT, SIGNS, Traffic
from tests.builders import machine, ref, resident


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def traffic(clock):
    return Traffic(clock)


A = ref("a")


def seen(traffic, snapshot, name="a"):
    found = traffic.mark(snapshot).resident(ref(name))
    assert found is not None
    return found


def at_rest(name="a", idle=50.0):
    return machine(resident(name, 4, idle=idle), free=20, at=100)


# -- counting


def test_a_request_counts_until_it_is_ended_and_only_once(traffic):
    first, second = traffic.begin(A), traffic.begin(A)
    assert traffic.in_flight(A) == 2
    first.end()
    first.end()
    assert traffic.in_flight(A) == 1
    second.end()
    assert traffic.in_flight(A) == 0
    assert traffic.flying == {}


def test_a_request_that_is_lost_is_ended_and_told_of_once(traffic, caplog):
    with caplog.at_level(logging.WARNING):
        traffic.begin(A)
        traffic.begin(A)
    assert traffic.in_flight(A) == 0
    assert len(caplog.records) == 1


def test_whoever_listens_hears_of_the_last_request_alone(traffic):
    heard = []

    class Listener:
        def rested(self, ref):
            heard.append(ref)

    traffic.listener = Listener()
    flights = [traffic.begin(A) for _ in range(3)]
    for flight in flights[:2]:
        flight.end()
    assert heard == []
    flights[2].end()
    assert heard == [A]


def test_what_is_wrong_with_who_listens_does_not_reach_the_loop(traffic, caplog):
    class Listener:
        def saw(self, snapshot, began):
            raise RuntimeError("broken")

    traffic.listener = Listener()
    traffic.saw(at_rest(), Seconds(100))
    assert "could not take note" in caplog.text


def test_a_model_that_rests_for_long_is_forgotten(traffic, clock):
    traffic.begin(A).end()
    clock.now += KEPT + 1
    traffic.saw(at_rest(), Seconds(clock.now))
    assert traffic._lanes == {}


# -- what is made of it


def test_without_traffic_nothing_is_changed(traffic):
    snapshot = at_rest()
    assert traffic.mark(snapshot) is snapshot


def test_a_model_with_a_request_is_at_work_since_that_began(traffic, clock):
    flight = traffic.begin(A)
    clock.now += 7
    found = seen(traffic, at_rest())
    assert (found.busy, found.in_flight, found.idle_for) == (True, 1, 0)
    assert (found.busy_for, found.stalled_for) == (7, 7)
    assert flight.ref == A


def test_others_are_as_they_were(traffic):
    flight = traffic.begin(A)
    snapshot = machine(resident("a", 4), resident("b", 4, idle=9), free=16, at=100)
    assert seen(traffic, snapshot, "b") == snapshot.residents[1]
    flight.end()


def test_a_byte_of_the_answer_is_progress(traffic, clock):
    flight = traffic.begin(A)
    clock.now += 5
    seen(traffic, at_rest())
    flight.moved()
    clock.now += 1
    assert seen(traffic, at_rest()).stalled_for == 0
    clock.now += 4
    found = seen(traffic, at_rest())
    assert (found.stalled_for, found.busy_for) == (4, 10)
    flight.end()


def test_another_request_is_no_progress(traffic, clock):
    first = traffic.begin(A)
    clock.now += 30
    second = traffic.begin(A)
    assert seen(traffic, at_rest()).stalled_for == 30
    first.end()
    second.end()


def test_where_its_engine_sees_progress_there_is_some(traffic, clock):
    flight = traffic.begin(A)
    clock.now += 30
    working = machine(resident("a", 4, busy=30, stalled=2), free=20, at=130)
    assert seen(traffic, working).stalled_for == 2
    flight.end()


def test_the_engines_count_is_not_added_to_ours(traffic):
    flights = [traffic.begin(A) for _ in range(2)]
    one = machine(resident("a", 4, busy=5), free=20, at=100)
    assert seen(traffic, one).in_flight == 2
    three = machine(replace(resident("a", 4, busy=5), in_flight=3), free=20, at=100)
    assert seen(traffic, three).in_flight == 3
    for flight in flights:
        flight.end()


def test_a_model_whose_last_request_has_ended_since_the_look_rests(traffic, clock):
    flight = traffic.begin(A)
    marked = traffic.mark(machine(resident("a", 4, busy=5), free=20, at=100))
    clock.now += 1
    flight.end()
    clock.now += 2
    found = seen(traffic, marked)
    assert (found.busy, found.in_flight, found.idle_for) == (False, 0, 2)
    assert (found.busy_for, found.stalled_for) == (0, 0)


def test_a_request_that_did_not_come_through_us_keeps_it_at_work(traffic):
    flight = traffic.begin(A)
    two = machine(replace(resident("a", 4, busy=5), in_flight=2), free=20, at=100)
    marked = traffic.mark(two)
    flight.end()
    found = seen(traffic, marked)
    assert (found.busy, found.in_flight) == (True, 1)


def test_a_request_that_began_after_the_look_counts_when_it_is_marked_again(traffic):
    marked = traffic.mark(at_rest())
    flight = traffic.begin(A)
    assert seen(traffic, marked).busy
    again = traffic.mark(traffic.mark(marked))
    assert again.resident(A).in_flight == 1
    flight.end()
    assert not seen(traffic, again).busy


def test_it_has_been_idle_since_our_last_request_at_most(traffic, clock):
    traffic.begin(A).end()
    clock.now += 3
    assert seen(traffic, at_rest(idle=50)).idle_for == 3
    assert seen(traffic, at_rest(idle=1)).idle_for == 1


# -- where nobody counts requests


def uncounted(quiet, at=100.0):
    one = resident("a", 4, busy=2)
    return machine(replace(one, in_flight=None, quiet_for=Seconds(quiet)), free=20, at=at)


def test_signs_of_our_own_request_do_not_keep_a_model_at_work(traffic, clock):
    traffic.begin(A).end()
    clock.now += 1
    assert not seen(traffic, uncounted(quiet=0.5, at=101)).busy


def test_it_has_to_be_looked_at_once_without_any_sign(traffic, clock):
    traffic.begin(A).end()
    clock.now += 1
    assert seen(traffic, uncounted(quiet=0.0, at=101)).busy


def test_signs_that_came_long_after_our_last_request_are_somebody_elses(traffic, clock):
    traffic.begin(A).end()
    clock.now += SIGNS + 2
    assert seen(traffic, uncounted(quiet=1.0, at=clock.now)).busy


# -- those who are waited for


def test_a_model_that_is_waited_for_is_at_work_but_not_stuck(traffic):
    traffic.waiting[A] = 2
    found = seen(traffic, machine(resident("a", 4, state=State.SLEEPING, idle=9), free=20))
    assert (found.busy, found.idle_for, found.busy_for, found.stalled_for) == (True, 0, 0, 0)
    del traffic.waiting[A]
    assert not seen(traffic, at_rest()).busy


def test_who_takes_no_more_requests_so_that_it_can_go_is_not_kept_by_those_who_wait(traffic):
    traffic.waiting[A] = 1
    traffic.closed = frozenset({A})
    assert not seen(traffic, at_rest()).busy
    traffic.closed = frozenset()
    assert not seen(traffic, replace(at_rest(), farewells=frozenset({A}))).busy


def test_a_request_that_names_no_model_has_all_of_its_engine_at_work(traffic):
    flight = traffic.begin_engine(EngineId("ollama"))
    snapshot = machine(resident("a", 4), resident("b", 4, engine="other"), free=16)
    marked = traffic.mark(snapshot)
    assert [r.busy for r in marked.residents] == [True, False]
    flight.end()
    assert [r.busy for r in traffic.mark(marked).residents] == [False, False]
