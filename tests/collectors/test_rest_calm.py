"""GPUs that rest while a display has them open, and what is known of them before they sleep."""

from dataclasses import replace
from pathlib import Path

import pytest

from collectors.reading import Blind, Holder, MemoryPool, PoolId, PoolKind, Sample, Tier, gib, mib
from collectors.rest import FAINT, REST_AFTER, SETTLE, USERS, Resting
from tests.collectors.conftest import Clock
from tests.collectors.resting import STEP, Driver, Sysfs, device, idle

GPU = PoolId("GPU-0")
XORG = Holder(1488, GPU, mib(4), "Xorg")
USED = MemoryPool(GPU, PoolKind.DEDICATED, gib(24), gib(23.9), mib(400))


class Machine(Sysfs):
    def users(self, count: object) -> None:
        """How often the driver is open."""
        file = self.root / USERS
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{count}\n")


class Opened(Driver):
    """A driver that counts as a user of itself while it is open, beside `others`."""

    def __init__(self, machine: Machine, others: int = 3) -> None:
        super().__init__()
        self.machine, self.others, self.open = machine, others, False
        self.count()

    def count(self) -> None:
        self.machine.users(self.others + 5 * self.open)

    def read(self, tiers: Tier) -> Sample:
        self.open = True
        self.count()
        return super().read(tiers)

    def close(self) -> None:
        super().close()
        self.open = False
        self.count()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.power()
    return machine


@pytest.fixture
def inner(machine: Machine) -> Opened:
    inner = Opened(machine)
    inner.sample = replace(inner.sample, pools=(USED,), holders=(XORG,))
    return inner


@pytest.fixture
def resting(inner: Opened, machine: Machine, clock: Clock) -> Resting:
    return Resting(inner, machine.root, clock)


# -- a display server has every GPU open


def test_a_gpu_that_only_a_display_server_has_open_rests(
    resting: Resting, inner: Opened, clock: Clock
) -> None:
    idle(resting, clock)
    assert resting.closed


@pytest.mark.parametrize(
    ("size", "closed"), [(FAINT - 1, True), (FAINT, False), (mib(200), False), (None, False)]
)
def test_whoever_may_be_computing_keeps_it_open(
    resting: Resting, inner: Opened, clock: Clock, size: int | None, closed: bool
) -> None:
    inner.sample = replace(inner.sample, holders=(replace(XORG, size=size),))  # type: ignore[arg-type]
    idle(resting, clock)
    assert resting.closed is closed


def test_many_little_ones_are_not_little_together(
    resting: Resting, inner: Opened, clock: Clock
) -> None:
    some = tuple(replace(XORG, pid=pid, size=mib(20)) for pid in range(4))
    inner.sample = replace(inner.sample, holders=some)
    idle(resting, clock)
    assert not resting.closed


# -- before they sleep


def test_until_it_sleeps_a_gpu_that_nobody_opened_is_as_it_was_last_read(
    resting: Resting, inner: Opened, machine: Machine, clock: Clock
) -> None:
    idle(resting, clock)
    asked = inner.asked
    for _ in range(int(SETTLE)):
        clock.now += 1
        sample = resting.read(Tier.ALL)
        assert (sample.pools, sample.blind) == ((USED,), ())
        assert sample.holders == (XORG,)
        assert not sample.devices[0].asleep
    assert resting.read(Tier.MEMORY).holders is None
    machine.power(status="suspended")
    sample = resting.read(Tier.ALL)
    assert sample.pools == (replace(USED, free=gib(24)),)
    assert (sample.holders, sample.devices[0].asleep) == ((), True)
    assert inner.asked == asked


def test_whoever_opens_the_driver_has_it_asked_at_once(
    resting: Resting, inner: Opened, clock: Clock
) -> None:
    idle(resting, clock)
    taken = replace(USED, free=gib(4))
    inner.sample = replace(inner.sample, pools=(taken,), holders=None)
    clock.now += 1
    inner.others += 1
    inner.count()
    assert resting.read(Tier.MEMORY).pools == (taken,)
    assert not resting.closed


def test_whoever_opens_the_driver_when_another_has_left_is_seen_too(
    resting: Resting, inner: Opened, clock: Clock
) -> None:
    idle(resting, clock)
    asked = inner.asked
    for others, told in ((2, asked), (3, asked + 1)):
        inner.others = others
        inner.count()
        clock.now += 1
        resting.read(Tier.MEMORY)
        assert inner.asked == told


def test_a_gpu_that_sleeps_is_not_woken_by_somebody_who_only_opens_the_driver(
    resting: Resting, inner: Opened, machine: Machine, clock: Clock
) -> None:
    idle(resting, clock)
    machine.power(status="suspended")
    resting.read(Tier.MEMORY)
    asked = inner.asked
    inner.others += 5
    inner.count()
    clock.now += STEP
    assert resting.read(Tier.MEMORY).devices[0].asleep
    assert inner.asked == asked


@pytest.mark.parametrize("count", ["", "many"])
def test_where_the_kernel_does_not_tell_who_came_the_gpu_is_blind_until_it_sleeps(
    resting: Resting, inner: Opened, machine: Machine, clock: Clock, count: str
) -> None:
    idle(resting, clock, REST_AFTER - STEP)
    inner.count = lambda: machine.users(count)  # type: ignore[method-assign]
    idle(resting, clock, STEP)
    clock.now += 1
    sample = resting.read(Tier.ALL)
    assert (sample.pools, sample.holders) == ((), None)
    assert [b.pool for b in sample.blind] == [GPU]


def test_somebody_who_comes_while_it_is_read_keeps_it_open(
    resting: Resting, inner: Opened, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle(resting, clock, REST_AFTER - STEP)
    read = inner.read

    def meanwhile(tiers: Tier) -> Sample:
        inner.others += 1
        return read(tiers)

    monkeypatch.setattr(inner, "read", meanwhile)
    idle(resting, clock, STEP)
    assert not resting.closed
    monkeypatch.setattr(inner, "read", read)
    idle(resting, clock, STEP)
    assert resting.closed


def test_a_driver_that_could_not_be_let_go_of_leaves_its_gpu_blind(
    resting: Resting, inner: Opened, clock: Clock
) -> None:
    inner.pid = 4242  # type: ignore[attr-defined]  # the process that hangs in it
    idle(resting, clock)
    assert inner.closed == 1
    assert not resting.closed
    clock.now += 1
    assert resting.read(Tier.MEMORY).blind == (
        Blind(GPU, f"not asked for up to {SETTLE:g} s, so that its GPU can fall asleep"),
    )


def test_a_gpu_beside_one_that_sleeps_is_as_it_was_last_read(
    machine: Machine, clock: Clock
) -> None:
    machine.power(1)
    inner = Opened(machine)
    two = Driver(gpus=2).sample
    inner.sample = replace(two, devices=(device(0), device(1)))
    resting = Resting(inner, machine.root, clock)
    idle(resting, clock)
    machine.power(1, status="suspended")
    sample = resting.read(Tier.ALL)
    assert [(p.id, p.free) for p in sample.pools] == [("GPU-0", gib(24)), ("GPU-1", gib(24))]
    assert ([d.asleep for d in sample.devices], sample.holders) == ([False, True], ())
