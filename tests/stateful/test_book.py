"""Of each thing that must hold, the short story in which it is broken most easily: whoever breaks
the code finds out here first, and in any order of other things in test_stories.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from collectors.reading import RAM, Seconds, gib
from supervisor.core.policy import Amount, Policy, PoolPolicy
from supervisor.core.record import Mode
from supervisor.demo.engines import Fault
from supervisor.demo.machine import GPU0, GPU1
from supervisor.gateway.admission import RefusalKind
from tests.stateful.ledger import FOREVER
from tests.stateful.machine import Steps
from tests.stateful.test_told import PLAIN
from tests.stateful.town import ONE, THREE, TWO

pytestmark = pytest.mark.slow


def with_pools(reserve: float = 1, budget: float | None = None, **others: Any) -> Policy:
    most = None if budget is None else Amount(size=gib(budget))
    pool = PoolPolicy(reserve=Amount(size=gib(reserve)), budget=most)
    return replace(PLAIN, pools=dict.fromkeys((GPU0, GPU1, RAM), pool), **others)


@pytest.fixture
def story() -> Iterator[Steps]:
    """ "a" and "b" fill most of a card, and are at rest. Ends with everybody at home."""
    told = Steps(PLAIN)
    try:
        for name in ("one/a", "one/b"):
            told.asks((name,), service=0.0)
            told.passes(4.0)
        yield told
        told.check()
        told.everybody_goes_home()
    finally:
        told.close()


def passes(story: Steps, seconds: float) -> None:
    """Looked at all the while."""
    for _ in range(int(seconds * 4)):
        story.passes(0.25)
        story.check()


def there(story: Steps) -> set[str]:
    return {str(m) for e in story.town.engines.values() for m in e.models if e.there(m)}


def test_pins_hold(story: Steps) -> None:
    story.pins("one/a", None)
    story.pins("one/b", 60.0)
    story.asks(("one/c",), service=1.0)
    passes(story, 22)
    assert {"a", "b"} <= there(story)


def test_leases_hold(story: Steps) -> None:
    story.leases("one/a", 100.0, wait=False)
    story.leases("one/b", 100.0, wait=True)
    story.asks(("one/c",), service=1.0)
    passes(story, 22)
    assert {"a", "b"} <= there(story)


def test_who_works_stays_and_who_waits_in_vain_is_told_so_in_time(story: Steps) -> None:
    story.asks(("one/a",), service=25.0)
    story.behind_our_back("one/b", service=45.0)
    passes(story, 13)
    story.asks(("one/a",), service=25.0)
    story.asks(("one/c",), service=1.0)
    passes(story, 25)
    assert story.book.guests[-1].over is not None


def test_nobody_is_let_through_to_one_that_is_told_to_go(story: Steps) -> None:
    story.unloads_slowly(ONE, answer=1.5, memory=0.5)
    story.evicts("one/a", force=False, wait=True)
    for _ in range(8):
        story.passes(0.25)
        story.asks(("one/a",), service=1.0)
        story.check()
    passes(story, 8)


@pytest.mark.parametrize("how", ["lost", "error", "hangs"])
def test_nothing_is_done_about_a_pool_that_nobody_can_read(story: Steps, how: str) -> None:
    story.blinds(GPU0, how)
    passes(story, 15)
    story.asks(("two/e",), service=1.0)
    story.asks(("one/c",), service=1.0)
    story.loads("two/e")
    passes(story, 22)
    assert {"a", "b"} <= there(story)


def test_plans_of_one_pool_come_one_after_the_other(story: Steps) -> None:
    story.unloads_slowly(ONE, answer=1.5, memory=2.0)
    story.loads("one/c")
    story.passes(None)
    story.loads("two/e")
    story.evicts("one/b", force=False, wait=False)
    story.evicts("one/a", force=False, wait=False)
    passes(story, 15)


def test_the_next_goes_when_the_memory_of_the_last_is_back(story: Steps) -> None:
    story.unloads_slowly(ONE, answer=0.0, memory=2.0)
    story.frees(GPU0, 21)
    passes(story, 10)
    assert not {"a", "b"} & there(story)


def test_what_is_promised_is_not_given_twice(story: Steps) -> None:
    story.evicts("one/a", force=False, wait=False)
    passes(story, 5)
    story.loads("two/e")  # beside "b", and then 10 GiB are left
    story.passes(0.1)
    story.loads("one/c")
    story.loads("one/a")
    passes(story, 15)


def test_bytes_of_a_job_are_kept(story: Steps) -> None:
    story.reserves(GPU0, 6, 100.0)
    passes(story, 2)
    assert next(iter(story.book.jobs.values()))[0] == GPU0
    story.loads("two/e")
    passes(story, 10)


def test_the_reserve_is_nobodys(story: Steps) -> None:
    story.settings(with_pools(reserve=4), False)
    story.loads("two/e")
    passes(story, 10)
    assert "e" in there(story)


def test_models_stay_within_their_budget(story: Steps) -> None:
    passes(story, 13)
    story.settings(with_pools(budget=20), False)
    story.loads("two/e")
    passes(story, 10)
    assert "e" in there(story)


def test_a_request_that_is_sent_once_more_is_counted_once(story: Steps) -> None:
    story.fails(ONE, Fault.DOWN)
    story.asks(("one/a",), service=1.0)
    story.check()
    passes(story, 2)
    story.fails(ONE, None)
    passes(story, 6)
    assert story.book.guests[-1].over is not None


def test_a_decision_is_on_disk_before_it_is_carried_out(story: Steps) -> None:
    story.disk_slows(0.2)
    story.asks(("one/c",), service=1.0)
    passes(story, 10)
    assert "c" in there(story)


def test_who_was_to_go_and_works_by_then_has_an_outcome_too(story: Steps) -> None:
    story.unloads_slowly(ONE, answer=1.5, memory=0.5)
    story.evicts_all()
    story.passes(0.3)
    story.asks(("one/b",), service=10.0)
    passes(story, 6)


def test_claims_outlive_the_daemon_and_no_clock_moves_them(story: Steps) -> None:
    story.leases("one/a", 100.0, wait=False)
    story.pins("one/b", 50.0)
    story.reserves(GPU1, 6, 100.0)
    story.drains(TWO, 60.0, unload=False)
    story.pauses(40.0)
    passes(story, 1)
    for ahead in (3600.0, -3e8):
        story.wall_steps(ahead)
        story.check()
        story.restarts(Mode.ENFORCE, killed=True)
        story.check()
        passes(story, 3)
    story.wall_steps(7200.0)
    passes(story, 70)
    story.restarts(Mode.ENFORCE, killed=False)
    passes(story, 40)
    assert all(ends < FOREVER for _, ends in story.book.leases.values())


def test_in_a_pause_nobody_goes_of_our_own_accord(story: Steps) -> None:
    story.pauses(None)
    story.settings(with_pools(reserve=9, grace=Seconds(1)), False)
    passes(story, 10)
    assert {"a", "b"} <= there(story)


def test_a_drained_engine_is_not_told_to_load(story: Steps) -> None:
    story.drains(ONE, None, unload=False)
    story.asks(("one/c",), service=1.0)
    story.loads("one/d")
    passes(story, 5)
    assert story.book.guests[-1].refused is RefusalKind.DRAINED


@pytest.mark.parametrize("mode", [Mode.ADVISE, Mode.OBSERVE])
def test_who_only_advises_tells_no_engine_anything(story: Steps, mode: Mode) -> None:
    story.restarts(mode, killed=False)
    story.settings(with_pools(reserve=9, grace=Seconds(1)), False)
    story.loads("one/c")
    story.evicts("one/a", force=True, wait=False)
    passes(story, 15)
    assert {"a", "b"} <= there(story)


def test_a_wish_that_cannot_be_is_answered(story: Steps) -> None:
    story.frees(GPU0, 40)
    story.loads("three/i")  # which only its first job loads
    story.fails(THREE, Fault.HANGS)
    passes(story, 40)
