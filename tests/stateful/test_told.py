"""Stories that once broke something, as they were printed, and less what they did not need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from collectors.reading import RAM, Seconds, gib
from supervisor.core.policy import Amount, Policy, PoolPolicy, Retention, Watchdog
from supervisor.core.record import Mode
from supervisor.core.steps import Step
from supervisor.demo.engines import Fault, Unload
from supervisor.demo.machine import GPU0, GPU1
from tests.stateful.machine import Steps

pytestmark = pytest.mark.slow

PLAIN = Policy(
    pools={pool: PoolPolicy(reserve=Amount(size=gib(1))) for pool in (GPU0, GPU1, RAM)},
    busy_while_fresh=Seconds(2),
)


@pytest.fixture
def story() -> Iterator[Steps]:
    """Ends with everybody at home."""
    told = Steps(PLAIN)
    try:
        yield told
        told.check()
        told.everybody_goes_home()
    finally:
        told.close()


def test_a_quiet_day(story: Steps) -> None:
    story.asks(("one/a",), service=3.0)
    story.passes(10.0)
    story.asks(("one/c", "two/e"), service=3.0)
    story.restarts(Mode.ENFORCE, killed=True)
    story.asks(("one/c",), service=3.0)
    story.passes(10.0)
    assert [g.gone for g in story.book.guests] == [False] * 3
    assert story.town.engines["one"].there("c")  # type: ignore[index]


def test_an_engine_that_crashes_before_its_load_was_ever_seen_blocks_nobody(story: Steps) -> None:
    story.loads("two/h")
    story.passes(0.045)  # its engine has answered, and nobody has looked since
    assert story.town.engines["two"].calls[-1].worked  # type: ignore[index]
    story.engine_crashes("two")  # type: ignore[arg-type]
    story.passes(15.0)
    story.fails("two", None)  # type: ignore[arg-type]
    story.passes(20.0)
    assert story.town.world.loop.runs == []


def test_two_who_ask_for_a_model_at_once_have_it_loaded_once(story: Steps) -> None:
    story.asks(("one/d",), service=0.0)  # another load is under way
    story.passes(0.03)
    story.asks(("two/e",), service=3.0)
    story.leases("two/e", 30.0, wait=False)
    for _ in range(20):
        story.passes(0.25)
        story.check()
    assert len(story.town.engines["two"].calls) == 1  # type: ignore[index]


def test_the_same_steps_lead_to_the_same_decisions() -> None:
    def told() -> list[object]:
        steps = Steps(PLAIN)
        try:
            steps.asks(("one/a",), service=3.0)
            steps.passes(5.0)
            steps.behind_our_back("one/b", service=9.0)
            steps.fails("two", Fault.HANGS)  # type: ignore[arg-type]
            steps.asks(("one/c", "two/f"), service=3.0)
            steps.passes(20.0)
            steps.everybody_goes_home()
            rows = steps.town.disk.decisions.values()
            return [(d["at"], d["cause"], d["actions"]) for d in rows]
        finally:
            steps.close()

    first = told()
    assert first
    assert first == told()


def test_a_place_is_made_for_another_although_nobody_can_read_the_pool(story: Steps) -> None:
    story.settings(replace(PLAIN, single=True), False)
    story.loads("one/c")
    story.passes(20.0)
    story.blinds(GPU0, "lost")
    story.passes(20.0)
    story.leases("three/i", ttl=200.0, wait=False)  # on another card, where there is room
    story.passes(10.0)
    story.check()
    assert not story.town.engines["one"].there("c")  # type: ignore[index]


def test_why_one_at_work_goes_is_known_although_the_disk_is_too_slow_to_tell(story: Steps) -> None:
    stuck = Watchdog(busy=True, busy_timeout=Seconds(6), busy_steps=(Step.UNLOAD,))
    story.settings(replace(PLAIN, watchdog=stuck), False)
    story.disk_slows(60.0)
    story.behind_our_back("three/i", service=25.0)
    story.passes(20.0)
    story.check()
    assert not story.town.engines["three"].there("i")  # type: ignore[index]


def test_bytes_that_come_back_late_are_in_no_budget_of_models(story: Steps) -> None:
    story.unloads_slowly("two", answer=0.0, memory=15.0)  # type: ignore[arg-type]
    story.loads("two/h")
    story.passes(30.0)
    story.evicts("two/h", force=False, wait=False)
    story.passes(5.0)
    few = PoolPolicy(reserve=Amount(size=gib(1)), budget=Amount(size=gib(14)))
    story.settings(replace(PLAIN, pools={**PLAIN.pools, RAM: few}), False)
    story.loads("three/i")  # 2 GiB of RAM, where two/h held 20
    story.passes(8.0)
    story.check()
    calls = story.town.engines["three"].calls  # type: ignore[index]
    assert [call.kind for call in calls] == ["load"]


def test_of_a_pool_that_nobody_can_read_one_goes_after_the_other(story: Steps) -> None:
    stuck = Watchdog(busy=True, busy_timeout=Seconds(6), busy_steps=(Step.UNLOAD,))
    story.settings(replace(PLAIN, retention=Retention.ON_DEMAND, watchdog=stuck), False)
    story.blinds(GPU0, "hangs")
    story.behind_our_back("one/c", service=9.0)
    story.passes(7.0)
    story.lies("one/c", Unload.STUCK)
    story.passes(2.5)
    story.behind_our_back("two/e", service=9.0)
    story.passes(10.0)
    story.check()


def test_of_a_pool_that_comes_back_one_goes_after_the_other(story: Steps) -> None:
    stuck = Watchdog(busy=True, busy_timeout=Seconds(6), busy_steps=(Step.UNLOAD,))
    story.settings(replace(PLAIN, watchdog=stuck), False)
    story.loads("one/a")
    story.passes(7.0)
    story.blinds(GPU0, "lost")
    story.unloads_slowly("one", answer=25.0, memory=0.0)  # type: ignore[arg-type]
    story.behind_our_back("one/c", service=25.0)  # too, and what it has of RAM is all that is seen
    story.passes(1.0)
    story.evicts("one/a", force=False, wait=False)
    story.passes(7.0)
    story.blinds(GPU1, "lost")
    story.passes(10.0)
    story.check()


@pytest.mark.parametrize("told", [True, False], ids=["told to", "not yet told to"])
def test_of_a_pool_that_is_short_when_it_comes_back_nobody_goes_beside_who_goes(
    story: Steps, told: bool
) -> None:
    stuck = Watchdog(busy=True, busy_timeout=Seconds(6), busy_steps=(Step.UNLOAD,))
    large = PoolPolicy(reserve=Amount(size=gib(4)))
    story.settings(replace(PLAIN, watchdog=stuck, pools={**PLAIN.pools, GPU0: large}), False)
    story.loads("one/a")
    story.passes(7.0)
    story.blinds(GPU0, "lost")
    story.behind_our_back("one/c", service=25.0)
    story.unloads_slowly("one", answer=25.0, memory=0.0)  # type: ignore[arg-type]
    story.stranger_comes(GPU0, size=4)
    story.disk_slows(0.0 if told else 1.9)
    calls, runs = story.town.engines["one"].calls, story.town.world.loop.runs  # type: ignore[index]
    while not runs:
        story.passes(0.1)
    story.passes(0.1)  # "c" is to go: from RAM, as far as anybody can see
    assert [c.ref.model for c in calls[1:]] == ["c"] * told
    story.blinds(GPU1, "lost")
    story.passes(4.0)
    assert [c.ref.model for c in calls[1:]] == ["c"]
    story.check()


def test_of_a_pool_that_was_not_there_at_the_start_nobody_goes_beside_who_goes(
    story: Steps,
) -> None:
    stuck = Watchdog(busy=True, busy_timeout=Seconds(6), busy_steps=(Step.UNLOAD,))
    large = PoolPolicy(reserve=Amount(size=gib(4)))
    story.settings(replace(PLAIN, watchdog=stuck, pools={**PLAIN.pools, GPU0: large}), False)
    story.loads("one/a")
    story.passes(7.0)
    story.behind_our_back("one/c", service=25.0)
    story.blinds(None, "error")
    story.stranger_comes(GPU0, size=4)
    story.restarts(Mode.ENFORCE, killed=False)
    story.unloads_slowly("one", answer=25.0, memory=0.0)  # type: ignore[arg-type]
    calls, runs = story.town.engines["one"].calls, story.town.world.loop.runs  # type: ignore[index]
    while not runs:
        story.passes(0.1)
    story.blinds(None, "")
    story.passes(4.0)
    assert [c.ref.model for c in calls[1:]] == ["c"]
    story.check()


def test_for_ram_that_is_short_one_goes_whose_gpu_nobody_can_read(story: Steps) -> None:
    """What it holds of RAM is read."""
    budget = PoolPolicy(reserve=Amount(size=gib(1)), budget=Amount(size=gib(14)))
    story.settings(replace(PLAIN, pools={**PLAIN.pools, RAM: budget}), False)
    story.behind_our_back("two/h", service=0.0)  # 20 GiB
    story.passes(2.5)
    story.fails("two", Fault.DOWN)  # type: ignore[arg-type]
    story.blinds(GPU1, "lost")
    story.passes(7.0)
    story.behind_our_back("three/i", service=0.0)
    story.passes(10.0)
    story.check()
    assert not story.town.engines["three"].there("i")  # type: ignore[index]


def test_one_that_is_in_ram_alone_goes_after_a_load_that_takes_some_of_it(story: Steps) -> None:
    story.settings(replace(PLAIN, max_active=3), False)
    for name in ("one/a", "one/d", "two/h"):
        story.leases(name, ttl=2.0, wait=False)
    story.passes(7.0)
    story.pins("one/d", period=None)
    story.leases("one/c", ttl=2.0, wait=False)  # in the place of "a", with a GiB of RAM
    story.passes(0.7)
    story.leases("three/i", ttl=2.0, wait=False)  # in the place of "h"
    story.passes(8.0)
    story.check()
    assert not story.town.engines["two"].there("h")  # type: ignore[index]


def test_a_model_that_is_loaded_again_is_promised_its_memory_once(story: Steps) -> None:
    for name in ("two/g", "one/d", "two/f"):  # 9, 6 and 7 of 24 GiB, each learned
        story.loads(name)
        story.passes(7.0)
    for name in ("one/d", "two/f"):
        story.evicts(name, force=False, wait=False)
        story.passes(4.0)
    story.loads("one/d")
    story.passes(0.1)
    story.loads("two/f")  # beside it
    story.passes(1.0)
    calls = story.town.engines["two"].calls  # type: ignore[index]
    assert [(c.kind, c.ref.model) for c in calls][-1] == ("load", "f")
    assert story.town.world.loop.runs[0].loads[0].ref.model == "d"
    story.passes(7.0)
    story.check()
