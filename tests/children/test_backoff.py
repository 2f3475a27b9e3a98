"""What fails is started again, later each time, until it has served for a while."""

from supervisor.children.backoff import STEADY, Failures
from supervisor.core.retry import LONGEST


def pauses(failures, count, now=0.0):
    found = []
    for n in range(count):
        failures.fail(f"run {now} {n}", "ended", now)
        found.append(failures.again_at - now)
        now = failures.again_at
        failures.start()
    return found, now


def test_the_pause_doubles_up_to_five_minutes():
    assert pauses(Failures(), 7)[0] == [10, 20, 40, 80, 160, 300, 300]
    assert pauses(Failures(), 100)[0][-1] == LONGEST


def test_it_is_due_when_the_time_has_come_and_not_before():
    failures = Failures()
    assert not failures.is_due(1e9)
    assert failures.told(0) is None
    failures.fail("a", "ended with exit code 1", 100.0)
    assert not failures.is_due(109.9)
    assert failures.told(103.0) == "ended with exit code 1; started again in 7s"
    assert failures.is_due(110.0)
    assert failures.told(110.0) == "ended with exit code 1; it is to be started again now"


def test_one_run_fails_once_however_often_it_is_told():
    failures = Failures()
    failures.fail("a", "ended", 0.0)
    failures.fail("a", "ended", 5.0)
    assert failures.again_at == 10.0


def test_who_has_served_for_a_while_begins_anew_and_who_has_not_does_not():
    failures = Failures()
    _, now = pauses(failures, 4)
    failures.serve(now)
    failures.serve(now + STEADY / 2)
    failures.fail("b", "ended", now + STEADY - 1)
    assert failures.again_at == now + STEADY - 1 + 160
    failures.start()
    failures.serve(now := failures._ready_at or now + 200)
    failures.serve(now + STEADY)
    failures.fail("c", "ended", now + STEADY)
    assert failures.again_at == now + STEADY + 10


def test_being_asked_for_ends_the_wait_and_forgets_nothing():
    failures = Failures()
    failures.fail("a", "ended", 0.0)
    failures.start()
    assert not failures.is_due(1e9)
    assert failures.told(1.0) is None
    failures.fail("b", "ended", 2.0)
    assert failures.again_at == 22.0


def test_being_told_to_end_ends_it_all():
    failures = Failures()
    pauses(failures, 3)
    failures.fail("x", "ended", 1000.0)
    failures.dismiss()
    assert not failures.is_due(1e9)
    assert failures.told(1000.0) is None
    failures.fail("y", "ended", 2000.0)
    assert failures.again_at == 2010.0


def test_what_could_not_be_started_is_tried_again_only_if_it_was_due():
    failures = Failures()
    failures.refuse("no such program", 0.0)
    assert failures.told(0.0) == "no such program"
    assert not failures.is_due(1e9)
    failures = Failures()
    failures.fail("a", "ended", 0.0)
    failures.refuse("no such program", 10.0)
    assert failures.told(10.0) == "no such program; started again in 20s"
