"""The machine made of values keeps its books, and its faults are those of real ones."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.owner import Owner
from collectors.reading import RAM, Blind, Bytes, Tier, gib
from supervisor.demo.clock import Clock, run
from supervisor.demo.machine import (
    GPU0,
    GPU1,
    TOTALS,
    DemoCollector,
    DemoMachine,
    InlineOwner,
    OutOfMemory,
)

GIB = 1024**3
pools = st.sampled_from((GPU0, GPU1, RAM))
steps = st.one_of(
    st.tuples(st.just("start"), pools, st.floats(0.1, 20), st.floats(0, 5)),
    st.tuples(st.just("end"), st.integers(0, 9), st.floats(0, 2)),
    st.tuples(st.just("wait"), st.floats(0, 10)),
)


class Hand:
    """A clock that is turned by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@given(st.lists(steps, max_size=30))
def test_no_byte_is_lost_or_held_twice_whatever_comes_and_goes(script):
    hand = Hand()
    machine, collector = DemoMachine(hand), None
    collector = DemoCollector(machine)
    started = []
    for step in script:
        match step:
            case "start", pool, size, ramp:
                try:
                    started.append(machine.start("job", {pool: gib(size)}, ramp=ramp))
                except OutOfMemory:
                    assert gib(size) > machine.unclaimed(pool)
            case "end", which, after if started:
                machine.end(started[which % len(started)], after)
            case "wait", seconds:
                hand.now += seconds
        sample = collector.read(Tier.ALL)
        for pool in sample.pools:
            holders = sum(h.size for h in sample.holders if h.pool == pool.id)
            held = holders if pool.id != RAM else machine.held(RAM)
            assert pool.free + held == pool.total == TOTALS[pool.id]
            assert 0 <= machine.unclaimed(pool.id) <= pool.free
    hand.now += 100
    for tenant in started:
        machine.end(tenant)
    assert all(machine.free(p) == total for p, total in TOTALS.items())


def test_memory_of_a_starting_process_rises_in_steps_to_all_of_it():
    hand = Hand()
    machine = DemoMachine(hand)
    machine.start("job", {GPU0: gib(8)}, ramp=4.0)
    seen = []
    for _ in range(6):
        seen.append(machine.held(GPU0) / GIB)
        hand.now += 1.0
    assert seen == [0, 2, 4, 6, 8, 8]


def test_a_process_that_does_not_fit_takes_nothing():
    machine = DemoMachine(Hand())
    with pytest.raises(OutOfMemory):
        machine.start("job", {RAM: gib(1), GPU1: gib(17)})
    assert machine.free(RAM) == TOTALS[RAM]


def test_process_lists_are_read_only_when_they_are_asked_for():
    collector = DemoCollector(DemoMachine(Hand()))
    assert collector.read(Tier.MEMORY).holders is None
    assert collector.read(Tier.ALL).holders == ()


def test_a_lost_gpu_is_blind_and_the_other_one_is_not():
    machine = DemoMachine(Hand())
    machine.lost[GPU1] = "fell off the bus"
    sample = DemoCollector(machine).read(Tier.ALL)
    assert sample.blind == (Blind(GPU1, "fell off the bus"),)
    assert [p.id for p in sample.pools] == [RAM, GPU0]
    assert [(d.pool, d.index) for d in sample.devices] == [(GPU0, 0)]


def test_cpu_time_stands_still_while_nothing_is_served():
    hand = Hand()
    machine = DemoMachine(hand)
    tenant = machine.start("job", {RAM: Bytes(1)})
    tenant.work = [(hand.now, hand.now + 10)]
    read = lambda: machine.processes().read([tenant.pid])[tenant.pid].cpu  # noqa: E731
    assert read() == 0
    hand.now += 10
    worked = read()
    assert worked > 5
    hand.now += 10
    assert read() == worked


def test_a_process_that_has_ended_cannot_be_read():
    hand = Hand()
    machine = DemoMachine(hand)
    tenant = machine.start("job", {RAM: Bytes(1)})
    machine.end(tenant, after=1)
    assert tenant.pid in machine.processes().commands()
    hand.now += 1
    assert machine.processes().read([tenant.pid]) == {}
    assert tenant.pid not in machine.processes().commands()


@pytest.mark.parametrize("owner", [InlineOwner, Owner])
def test_a_fault_of_the_driver_becomes_a_reading_without_data(owner):
    machine = DemoMachine(Hand())
    machine.fault = "driver is gone"
    made = owner(DemoCollector(machine), Hand())
    reading = made.ask(False).result(timeout=60)
    assert reading.sample is None
    assert "driver is gone" in reading.fault
    made.close()


def test_of_a_driver_that_hangs_nothing_is_heard_until_the_deadline():
    async def main():
        machine = DemoMachine(Clock())
        machine.answers.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.wrap_future(InlineOwner(DemoCollector(machine)).ask(False))

    run(main())


def test_a_real_owner_gives_up_on_a_driver_that_hangs():
    machine, hand = DemoMachine(Hand()), Hand()
    machine.answers.clear()
    owner = Owner(DemoCollector(machine), hand)
    first = owner.ask(Tier.MEMORY)
    give_up = time.monotonic() + 60
    while owner._called_at is None:  # until its thread is inside the call
        assert time.monotonic() < give_up, "the driver did not hang"
    hand.now += 10
    assert "has not returned" in owner.ask(Tier.MEMORY).result(timeout=60).fault
    machine.answers.set()
    assert "answered only after" in first.result(timeout=60).fault
    owner.close()
