"""Collectors asked as often as they are worth it, and nobody kept waiting by one that is late."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from collectors.reading import (
    RAM,
    Blind,
    Bytes,
    Holder,
    Incident,
    Remedy,
    Seconds,
    Tier,
    gib,
    mib,
)
from supervisor.sources import SOON, SUSPICIOUS
from tests.source import (
    GPU,
    card,
    host,
    listings,
    nvidia,
    pools,
    ram,
    sources,
    tick,
)
from tests.stepped import now, play

# -- what is asked, and how often


def test_memory_is_read_each_time_and_the_rest_when_it_is_due() -> None:
    async def story() -> None:
        gpu = nvidia()
        of = sources(gpu, processes_interval=Seconds(10), health_interval=Seconds(5))
        for _ in range(11):
            await tick(of)
        assert all(Tier.MEMORY in tiers for tiers in gpu.asked)
        assert [i for i, due in enumerate(listings(gpu)) if due] == [0, 10]
        assert [i for i, due in enumerate(listings(gpu, Tier.HEALTH)) if due] == [0, 5, 10]

    play(story)


@pytest.mark.parametrize(
    ("moved", "listed"), [(SUSPICIOUS, False), (SUSPICIOUS + 1, True), (-SUSPICIOUS - 1, True)]
)
def test_after_a_large_change_processes_are_listed_by_everybody_once(
    moved: int, listed: bool
) -> None:
    async def story() -> None:
        gpu, other = nvidia(), host()
        of = sources(gpu, other)
        await tick(of)
        (pool,) = gpu.sample.pools
        gpu.sample = replace(gpu.sample, pools=(replace(pool, free=Bytes(pool.free + moved)),))
        for _ in range(3):
            await tick(of)
        assert listings(gpu) == [True, False, listed, False]
        assert listings(other) == [True, False, listed, False]

    play(story)


def test_a_change_that_came_with_a_list_needs_no_other() -> None:
    async def story() -> None:
        gpu = nvidia()
        of = sources(gpu)
        for free in (20, 10):
            gpu.sample = card(free)
            await of.read(thorough=True)
        await tick(of)
        assert listings(gpu) == [True, True, False]

    play(story)


def test_a_change_seen_by_one_that_then_fails_does_not_make_the_others_list_for_ever() -> None:
    async def story() -> None:
        gpu, other = nvidia(), host()
        of = sources(gpu, other)
        await tick(of)
        gpu.sample = card(10)
        await tick(of)
        gpu.fault = "GPU is lost"
        for _ in range(3):
            await tick(of)
        assert listings(other) == [True, False, True, False, False]

    play(story)


@pytest.mark.parametrize("how", ["error", "blind", "hangs"])
def test_who_holds_what_is_listed_as_soon_as_a_pool_can_be_read_again(how: str) -> None:
    mine, theirs = Holder(1, GPU, gib(4)), Holder(2, GPU, gib(3))

    async def story() -> None:
        gpu = nvidia(card(20, mine))
        of = sources(host(), gpu)
        await tick(of)
        if how == "error":
            gpu.fault = "the driver is gone"
        elif how == "blind":
            gpu.sample = replace(gpu.sample, pools=(), blind=(Blind(GPU, "GPU is lost"),))
        gpu.held = how == "hangs"
        for _ in range(3 if how == "hangs" else 2):
            await tick(of)
        gpu.sample, gpu.fault = card(17, mine, theirs), None
        gpu.held = False
        gpu.answer()
        machine = await tick(of)
        assert (pools(machine), machine.blind) == ([RAM, GPU], ())
        assert machine.holders == (mine, theirs)
        before = len(gpu.asked)
        await tick(of)
        assert listings(gpu)[before:] == [False], "once"

    play(story)


def test_an_incident_that_is_read_as_a_pool_comes_back_is_told() -> None:
    async def story() -> None:
        xid = Incident("GPU-a", "xid", 79, Remedy.RESET, "Xid 79: fell off the bus", Seconds(1))
        told: list[Incident] = []
        gpu = nvidia()
        of = sources(gpu, incident=told.append)
        await tick(of)
        gpu.fault = "GPU is lost"
        await tick(of)
        gpu.fault, gpu.sample = None, replace(card(), incidents=(xid,))
        await tick(of)
        assert told == [xid]

    play(story)


def test_a_thorough_read_lists_processes_and_leaves_health_to_its_own_time() -> None:
    async def story() -> None:
        gpu = nvidia()
        of = sources(gpu)
        await tick(of)
        await of.read(thorough=True)
        assert gpu.asked[-1] == Tier.MEMORY | Tier.PROCESSES

    play(story)


# -- who is late


def test_the_first_read_waits_for_everybody() -> None:
    async def story() -> None:
        slow = nvidia()
        slow.held = True
        of = sources(host(), slow)
        reading = asyncio.create_task(of.read(thorough=False))
        loop = asyncio.get_running_loop()
        loop.call_later(1.5, slow.answer)
        assert pools(await reading) == [RAM, GPU]

    play(story)


def test_a_first_read_ends_at_the_deadline_of_whoever_never_answers() -> None:
    async def story() -> None:
        slow = nvidia()
        slow.held = True
        started = now()
        machine = await sources(host(), slow).read(thorough=False)
        assert now() - started == pytest.approx(slow.deadline)
        assert pools(machine) == [RAM]
        assert machine.faults == {"nvidia": "no answer within 2 s"}

    play(story)


def test_a_late_source_delays_nobody_and_its_last_reading_counts_while_it_is_fresh() -> None:
    async def story() -> None:
        slow, quick = nvidia(), host()
        of = sources(quick, slow, fresh=Seconds(3))
        slow.deadline = Seconds(60)
        await tick(of)
        slow.held, slow.sample, quick.sample = True, card(5), ram(39)
        started = now() + 1
        machine = await tick(of)
        assert now() - started == pytest.approx(SOON)
        assert [p.free for p in machine.pools] == [gib(39), gib(20)]
        quick.sample = ram(38)
        started = now() + 1
        machine = await tick(of)  # nobody waits for it a second time
        assert now() == started
        assert [p.free for p in machine.pools] == [gib(38), gib(20)]
        machine = await tick(of)
        assert pools(machine) == [RAM]
        assert machine.blind == (Blind(GPU, "nvidia: has not answered for 3 s"),)
        assert len(slow.asked) == 2, "one that has not answered is not asked again"
        slow.held = False
        slow.answer()
        await asyncio.sleep(0)
        machine = await tick(of, 0)
        assert [p.free for p in machine.pools] == [gib(38), gib(5)]
        assert machine.blind == ()

    play(story)


def test_whoever_comes_while_others_wait_sees_the_same_answer_and_not_an_older_one() -> None:
    async def story() -> None:
        slow = nvidia()
        of = sources(slow)
        await tick(of)
        slow.held, slow.sample = True, card(5)
        first = asyncio.create_task(of.read(thorough=True))
        await asyncio.sleep(0)
        second = asyncio.create_task(tick(of))
        asyncio.get_running_loop().call_later(SOON / 2, slow.answer)
        assert [p.free for m in (await first, await second) for p in m.pools] == [gib(5)] * 2
        assert len(slow.asked) == 2

    play(story)


def test_two_first_reads_at_once_both_see_the_machine() -> None:
    async def story() -> None:
        of = sources(host(), nvidia())
        both = await asyncio.gather(of.read(thorough=False), of.read(thorough=False))
        assert [pools(m) for m in both] == [[RAM, GPU]] * 2

    play(story)


def test_a_thorough_read_waits_for_an_answer_of_its_own_moment() -> None:
    async def story() -> None:
        slow = nvidia()
        of = sources(slow)
        await tick(of)
        slow.held = True
        await tick(of)  # left to answer later
        slow.sample = card(5)
        reading = asyncio.create_task(of.read(thorough=True))
        loop = asyncio.get_running_loop()
        loop.call_later(1.0, slow.answer)
        loop.call_later(1.5, setattr, slow, "sample", card(6))
        loop.call_later(2.0, slow.answer)
        assert [p.free for p in (await reading).pools] == [gib(6)]
        assert listings(slow) == [True, False, True]

    play(story)


def test_a_source_that_answers_after_its_deadline_is_a_fault_until_it_is_asked_anew() -> None:
    async def story() -> None:
        slow = nvidia()
        of = sources(host(), slow)
        await tick(of)
        slow.held = True
        machine = await of.read(thorough=True)
        assert machine.blind == (Blind(GPU, "nvidia: no answer within 2 s"),)
        assert (of.state["nvidia"].failures, of.state["nvidia"].late) == (1, True)
        slow.held = False
        slow.answer()  # thrown away: nobody waits for it
        assert pools(await tick(of)) == [RAM, GPU]
        assert (of.state["nvidia"].fault, of.state["nvidia"].failures) == (None, 1)

    play(story)


def test_closing_leaves_nobody_who_waits() -> None:
    async def story() -> None:
        slow = nvidia()
        of = sources(slow)
        await tick(of)
        slow.held = True
        await tick(of)
        reading = asyncio.create_task(of.read(thorough=True))
        await asyncio.sleep(0)  # now one answer is waited for, and another one after it
        await of.close()
        await reading
        assert [t for t in asyncio.all_tasks() if t is not asyncio.current_task()] == []

    play(story)


def test_small_changes_are_not_worth_a_list() -> None:
    async def story() -> None:
        gpu = nvidia()
        of = sources(gpu)
        for step in range(5):
            gpu.sample = card(20 - step * mib(200) / gib(1))
            await tick(of)
        assert listings(gpu) == [True, False, False, False, False]

    play(story)
