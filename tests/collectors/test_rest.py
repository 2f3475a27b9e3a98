"""GPUs that are left alone while they are idle, so that they can sleep."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collectors.errors import CollectorError
from collectors.nvidia import NvidiaCollector
from collectors.reading import (
    Blind,
    Bytes,
    Carveout,
    Device,
    Holder,
    Incident,
    PoolId,
    Sample,
    Tier,
    gib,
)
from collectors.rest import FIRST_PAUSE, LONGEST_PAUSE, REST_AFTER, SETTLE, UNSEEN, Resting
from tests.collectors.conftest import Clock
from tests.collectors.resting import STEP, Driver, Sysfs, device, idle, pool, put_to_sleep
from tests.nvml.fake_nvml import GIB, State

# -- when they rest


def test_it_has_the_name_and_the_deadline_of_what_it_wraps(resting: Resting) -> None:
    assert (resting.name, resting.deadline) == ("gpus", 2.0)


def test_gpus_without_a_holder_are_closed_after_a_minute(
    resting: Resting, inner: Driver, clock: Clock
) -> None:
    idle(resting, clock, REST_AFTER - STEP)
    assert inner.closed == 0
    clock.now += STEP
    assert resting.read(Tier.ALL) == inner.sample  # it was read once more, and only then closed
    assert (inner.closed, resting.closed) == (1, True)


def test_one_look_at_the_holders_is_not_enough(
    resting: Resting, inner: Driver, clock: Clock
) -> None:
    resting.read(Tier.MEMORY)
    clock.now += REST_AFTER
    resting.read(Tier.ALL)
    for _ in range(10):  # nobody looks at the holders here
        clock.now += REST_AFTER
        resting.read(Tier.MEMORY)
    assert inner.closed == 0
    resting.read(Tier.PROCESSES)
    assert inner.closed == 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"holders": (Holder(7, PoolId("GPU-0"), None),)}, id="a-holder"),
        pytest.param({"holders": None}, id="holders-that-nobody-can-list"),
        pytest.param({"blind": (Blind(PoolId("GPU-1"), "lost"),)}, id="a-gpu-that-is-lost"),
        pytest.param({"pools": (pool(0, free=23),)}, id="memory-in-use-by-nobody-we-see"),
        pytest.param({"carveouts": (Carveout("GPU-0", gib(1), gib(1)),)}, id="a-part-of-ram"),
        pytest.param({"devices": (replace(device(0), pci=None),)}, id="a-gpu-at-no-address"),
        pytest.param({"devices": (), "pools": ()}, id="no-gpu"),
    ],
)
def test_gpus_in_use_or_of_unknown_use_are_asked_plainly(
    resting: Resting, inner: Driver, clock: Clock, change: dict[str, object]
) -> None:
    inner.sample = replace(inner.sample, **change)  # type: ignore[arg-type]
    assert idle(resting, clock, 2 * REST_AFTER) == inner.sample
    assert inner.closed == 0


def test_a_little_memory_in_use_is_the_drivers_own(
    resting: Resting, inner: Driver, clock: Clock
) -> None:
    own = replace(pool(0), free=Bytes(gib(24) - UNSEEN + 1))
    inner.sample = replace(inner.sample, pools=(own,))
    idle(resting, clock)
    assert inner.closed == 1


def test_the_minute_begins_when_the_last_holder_is_gone(
    resting: Resting, inner: Driver, clock: Clock
) -> None:
    idle(resting, clock, REST_AFTER - STEP)
    inner.sample = replace(inner.sample, holders=(Holder(7, PoolId("GPU-0"), gib(1)),))
    idle(resting, clock, STEP)
    inner.sample = replace(inner.sample, holders=())
    clock.now += STEP
    idle(resting, clock, REST_AFTER - STEP)
    assert inner.closed == 0
    idle(resting, clock, STEP)
    assert inner.closed == 1


def test_a_read_that_fails_proves_no_idleness(
    resting: Resting, inner: Driver, clock: Clock
) -> None:
    idle(resting, clock, REST_AFTER - STEP)
    inner.fault = CollectorError("gone")
    with pytest.raises(CollectorError, match="gone"):
        resting.read(Tier.ALL)
    inner.fault = None
    clock.now += STEP
    resting.read(Tier.ALL)
    assert inner.closed == 0


@pytest.mark.parametrize("control", ["on", ""])
def test_a_gpu_that_the_kernel_must_not_power_down_never_rests(
    resting: Resting, inner: Driver, sysfs: Sysfs, clock: Clock, control: str
) -> None:
    sysfs.power(control=control)
    idle(resting, clock, 3 * REST_AFTER)
    assert inner.closed == 0


def test_gpus_without_power_files_never_rest(inner: Driver, tmp_path: Path, clock: Clock) -> None:
    idle(Resting(inner, tmp_path / "elsewhere", clock), clock, 3 * REST_AFTER)
    assert inner.closed == 0


@pytest.mark.parametrize(
    ("status", "closed"),
    [("Enabled (fine-grained)", 1), ("Disabled by default", 0), ("Not supported", 0), ("?", 0)],
)
def test_a_driver_that_never_lets_its_gpu_sleep_is_not_closed(
    resting: Resting, inner: Driver, sysfs: Sysfs, clock: Clock, status: str, closed: int
) -> None:
    sysfs.driver_says(status)
    idle(resting, clock)
    assert inner.closed == closed


@pytest.mark.parametrize(("control", "closed"), [("auto", 1), ("on", 0)])
def test_one_gpu_that_stays_on_keeps_the_driver_open_for_all(
    sysfs: Sysfs, clock: Clock, control: str, closed: int
) -> None:
    inner = Driver(gpus=2)
    sysfs.power(1, control=control)
    idle(Resting(inner, sysfs.root, clock), clock)
    assert inner.closed == closed


# -- what is told of them meanwhile


@pytest.mark.parametrize("status", ["suspended", "suspending"])
def test_a_sleeping_gpu_is_all_free_and_is_not_asked(
    resting: Resting, inner: Driver, sysfs: Sysfs, clock: Clock, status: str
) -> None:
    inner.sample = replace(inner.sample, pools=(replace(pool(0), free=gib(23.9)),))
    idle(resting, clock)
    asked = inner.asked
    sysfs.power(status=status)
    for _ in range(100):
        clock.now += STEP
        sample = resting.read(Tier.ALL)
    assert sample == Sample(
        pools=(pool(0),),
        devices=(replace(device(0), asleep=True),),
        holders=(),
        health={},
    )
    assert (inner.asked, inner.closed) == (asked, 1)


def test_what_nobody_asked_for_is_not_told_of_a_sleeping_gpu(
    resting: Resting, sysfs: Sysfs, clock: Clock
) -> None:
    put_to_sleep(resting, sysfs, clock)
    sample = resting.read(Tier.MEMORY)
    assert (sample.holders, sample.health) == (None, None)


def test_the_instances_of_a_split_gpu_sleep_with_it(
    resting: Resting, inner: Driver, sysfs: Sysfs, clock: Clock
) -> None:
    part = Device("MIG-1", PoolId("GPU-0:gi3"), "1g", 0, "nvidia", parent="GPU-0")
    whole = replace(device(0), pool=None)
    inner.sample = replace(
        inner.sample, devices=(whole, part), pools=(replace(pool(0), id=PoolId("GPU-0:gi3")),)
    )
    put_to_sleep(resting, sysfs, clock)
    sample = resting.read(Tier.ALL)
    assert [d.asleep for d in sample.devices] == [True, True]
    assert [p.id for p in sample.pools] == ["GPU-0:gi3"]
    assert sample.holders == ()


def test_a_gpu_that_has_not_fallen_asleep_yet_is_blind(
    resting: Resting, inner: Driver, clock: Clock
) -> None:
    idle(resting, clock)
    asked = inner.asked
    clock.now += SETTLE
    sample = resting.read(Tier.ALL)
    assert (sample.pools, [b.pool for b in sample.blind]) == ((), ["GPU-0"])
    assert (sample.holders, sample.devices[0].asleep) == (None, False)
    assert inner.asked == asked


def test_each_gpu_is_told_of_by_itself(sysfs: Sysfs, clock: Clock) -> None:
    sysfs.power(1)
    resting = Resting(Driver(gpus=2), sysfs.root, clock)
    idle(resting, clock)
    sysfs.power(1, status="suspended")
    sample = resting.read(Tier.ALL)
    assert [p.id for p in sample.pools] == ["GPU-1"]
    assert [b.pool for b in sample.blind] == ["GPU-0"]
    assert [d.asleep for d in sample.devices] == [False, True]
    assert sample.holders is None


# -- what wakes them


@pytest.mark.parametrize("status", ["active", "resuming"])
def test_a_gpu_that_somebody_opens_is_asked_at_once(
    resting: Resting, inner: Driver, sysfs: Sysfs, clock: Clock, status: str
) -> None:
    put_to_sleep(resting, sysfs, clock)
    sysfs.power(status=status)
    clock.now += 1
    assert resting.read(Tier.ALL) == inner.sample
    assert not resting.closed


def test_after_somebody_used_it_a_gpu_rests_again_without_a_pause(
    resting: Resting, inner: Driver, sysfs: Sysfs, clock: Clock
) -> None:
    put_to_sleep(resting, sysfs, clock)
    sysfs.power(status="active")
    idle(resting, clock)
    assert inner.closed == 2


def test_a_load_that_the_caller_knows_of_wakes_the_driver_for_a_minute(
    resting: Resting, inner: Driver, sysfs: Sysfs, clock: Clock
) -> None:
    put_to_sleep(resting, sysfs, clock)
    thread = threading.Thread(target=resting.wake)
    thread.start()
    thread.join()
    assert resting.read(Tier.ALL) == inner.sample
    sysfs.power(status="active")
    idle(resting, clock, REST_AFTER - STEP)
    assert inner.closed == 1
    idle(resting, clock, STEP)
    assert inner.closed == 2


def test_a_load_that_the_caller_knows_of_keeps_the_driver_open(
    resting: Resting, inner: Driver, clock: Clock
) -> None:
    idle(resting, clock, REST_AFTER - STEP)
    resting.wake()
    idle(resting, clock, REST_AFTER - STEP)
    assert inner.closed == 0


@pytest.mark.parametrize("status", ["unsupported", "error", ""])
def test_a_gpu_of_which_the_kernel_tells_nothing_is_asked(
    resting: Resting, inner: Driver, sysfs: Sysfs, clock: Clock, status: str
) -> None:
    put_to_sleep(resting, sysfs, clock)
    sysfs.power(status=status)
    assert resting.read(Tier.ALL) == inner.sample


def test_a_gpu_that_is_asleep_at_the_start_is_read_once(
    resting: Resting, inner: Driver, sysfs: Sysfs
) -> None:
    sysfs.power(status="suspended")
    assert resting.read(Tier.ALL) == inner.sample


def in_vain(resting: Resting, inner: Driver, clock: Clock) -> float:
    """The seconds from a waking, as nothing fell asleep after closing, to the next closing."""
    while not resting.closed:
        idle(resting, clock, STEP)
    closed = inner.closed
    clock.now += SETTLE + 1
    assert resting.read(Tier.ALL) == inner.sample
    woken = clock.now
    while inner.closed == closed:
        clock.now += STEP
        resting.read(Tier.ALL)
    return clock.now - woken


def test_closing_in_vain_is_tried_again_ever_more_rarely(
    resting: Resting, inner: Driver, clock: Clock
) -> None:
    pauses = [in_vain(resting, inner, clock) for _ in range(7)]
    expected = [min(LONGEST_PAUSE, FIRST_PAUSE * 2**i) for i in range(7)]
    assert expected[-1] == LONGEST_PAUSE
    assert [p - p % 60 for p in pauses] == expected


def test_a_gpu_that_did_fall_asleep_is_trusted_again(
    resting: Resting, inner: Driver, sysfs: Sysfs, clock: Clock
) -> None:
    for _ in range(3):
        in_vain(resting, inner, clock)
    sysfs.power(status="suspended")
    resting.read(Tier.MEMORY)
    sysfs.power(status="active")
    resting.read(Tier.MEMORY)
    assert FIRST_PAUSE <= in_vain(resting, inner, clock) < 2 * FIRST_PAUSE


# -- with the real collector, on a scripted driver


class Opened:
    """The binding, and how often it was opened through here: threads of other tests, whose driver
    hung, may open it too."""

    def __init__(self) -> None:
        import pynvml

        self._binding, self.count = pynvml, 0

    def nvmlInit(self) -> None:
        self._binding.nvmlInit()
        self.count += 1

    def nvmlShutdown(self) -> None:
        try:
            self._binding.nvmlShutdown()
        finally:  # one of those threads may have closed it already
            self.count -= 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._binding, name)


class Deaf:
    """Waits for no reports: who does is in the driver for a second yet when it is to be closed."""

    def start(self, binding: Any, handles: Mapping[str, Any]) -> None:
        pass

    def drain(self) -> list[Incident]:
        return []

    def close(self) -> None:
        pass

    def left(self, timeout: float) -> bool:
        return True


def test_nvidia_gpus_sleep_and_wake(driver: State, sysfs: Sysfs, clock: Clock) -> None:
    opened = Opened()
    driver.gpu(1, bus="00000000:02:00.0")
    sysfs.power(1)
    inner = NvidiaCollector(sysfs.root, clock, lambda: 125 * GIB, opened, Deaf())
    resting = Resting(inner, sysfs.root, clock)
    driver.gpu(0, used=0)
    driver.gpu(1, used=0)
    resting.read(Tier.ALL)
    assert opened.count == 1
    idle(resting, clock)
    assert opened.count == 0  # nobody has the driver open
    for index in (0, 1):
        sysfs.power(index, status="suspended")
    sample = resting.read(Tier.ALL)
    assert [(p.total, p.free) for p in sample.pools] == [(gib(23.5), gib(23.5)), (gib(80), gib(80))]
    assert [d.asleep for d in sample.devices] == [True, True]
    sysfs.power(1)
    driver.proc(1, "C", 4242, GIB)
    driver.gpu(1, used=GIB)
    sample = resting.read(Tier.ALL)
    assert [(h.pid, h.size) for h in sample.holders or ()] == [(4242, GIB)]
    assert sample.pools[1].free == gib(79)
