"""What the NVIDIA driver tells of its own accord, and whom that makes blind."""

import time

import pytest

from collectors.errors import CollectorError
from collectors.nvidia import NvidiaCollector
from collectors.reading import Blind, Remedy, Sample, Tier
from tests.collectors.conftest import Clock
from tests.nvml.fake_nvml import GIB, State
from tests.nvml.told import Told

NO_PERMISSION, GPU_IS_LOST, UNKNOWN = 4, 15, 999
RECOVERY_ACTION = 230  # a field value


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def collector(driver: State, clock: Clock, told: Told) -> NvidiaCollector:
    return NvidiaCollector(clock=clock, host_total=lambda: 125 * GIB, events=told)


def pool_ids(sample: Sample) -> list[str]:
    return [p.id for p in sample.pools]


def test_events_are_watched_from_the_first_read_until_the_driver_is_let_go(
    collector: NvidiaCollector, told: Told
) -> None:
    import pynvml

    collector.read(Tier.MEMORY)
    collector.read(Tier.MEMORY)
    assert told.watched == {"GPU-aaaa", "GPU-bbbb"}
    assert told.calls.count("start") == 1
    collector.close()
    assert told.watched == set()
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        pynvml.nvmlDeviceGetCount()
    assert pool_ids(collector.read(Tier.MEMORY)) == ["GPU-aaaa", "GPU-bbbb"]
    assert told.watched == {"GPU-aaaa", "GPU-bbbb"}


def test_closing_what_was_never_read_asks_nothing_of_the_driver(
    collector: NvidiaCollector, driver: State
) -> None:
    driver.fault(UNKNOWN)
    collector.close()
    collector.close()


def test_the_library_is_not_shut_down_under_a_call_that_waits_in_it(
    collector: NvidiaCollector, told: Told
) -> None:
    import pynvml

    collector.read(Tier.MEMORY)
    told.busy = True
    collector.close()
    assert pynvml.nvmlDeviceGetCount() == 2
    collector.read(Tier.MEMORY)  # it is held twice now
    told.busy = False
    collector.close()
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        pynvml.nvmlDeviceGetCount()


def test_a_gpu_that_appears_is_watched_too(
    collector: NvidiaCollector, driver: State, told: Told
) -> None:
    driver.fault(NO_PERMISSION, index=1)
    collector.read(Tier.MEMORY)
    assert told.watched == {"GPU-aaaa"}
    driver.drop("fault")
    collector.read(Tier.MEMORY)
    assert told.watched == {"GPU-aaaa", "GPU-bbbb"}


def test_a_gpu_that_is_lost_may_still_tell_why(
    collector: NvidiaCollector, driver: State, told: Told
) -> None:
    collector.read(Tier.MEMORY)
    driver.fault(GPU_IS_LOST, index=0)
    collector.read(Tier.MEMORY)
    assert told.watched == {"GPU-aaaa", "GPU-bbbb"}


@pytest.mark.parametrize("remedy", list(Remedy))
def test_an_incident_is_told_once_and_blinds_what_must_be_reset(
    collector: NvidiaCollector, told: Told, remedy: Remedy
) -> None:
    collector.read(Tier.MEMORY)
    incident = told.xid("GPU-aaaa", 95, remedy)
    sample = collector.read(Tier.MEMORY)
    assert sample.incidents == (incident,)
    later = collector.read(Tier.ALL)
    assert later.incidents == ()
    for seen in (sample, later):
        if remedy in (Remedy.RESET, Remedy.REBOOT):
            assert seen.blind == (Blind("GPU-aaaa", f"Xid 95: {remedy.value}"),)
            assert pool_ids(seen) == ["GPU-bbbb"]
        else:
            assert (seen.blind, pool_ids(seen)) == ((), ["GPU-aaaa", "GPU-bbbb"])
    assert set(later.health or {}) == {"GPU-aaaa", "GPU-bbbb"}


def test_a_gpu_that_was_reset_is_read_again_after_the_driver_was_let_go(
    collector: NvidiaCollector, told: Told
) -> None:
    collector.read(Tier.MEMORY)
    told.xid("GPU-aaaa", 95, Remedy.RESET)
    assert pool_ids(collector.read(Tier.MEMORY)) == ["GPU-bbbb"]
    collector.close()
    sample = collector.read(Tier.MEMORY)
    assert (pool_ids(sample), sample.blind) == (["GPU-aaaa", "GPU-bbbb"], ())


def test_a_gpu_that_must_be_reset_is_not_trusted_because_it_failed_once_more(
    collector: NvidiaCollector, driver: State, told: Told
) -> None:
    collector.read(Tier.MEMORY)
    told.xid("GPU-aaaa", 95, Remedy.RESET)
    driver.fault(UNKNOWN, "nvmlDeviceGetMemoryInfo_v2", 0)
    collector.read(Tier.MEMORY)
    driver.drop("fault")
    assert pool_ids(collector.read(Tier.MEMORY)) == ["GPU-bbbb"]


def test_a_gpu_that_still_wants_its_reset_stays_blind(
    collector: NvidiaCollector, driver: State, told: Told
) -> None:
    driver.field(0, RECOVERY_ACTION, 1)
    collector.read(Tier.MEMORY)
    told.xid("GPU-aaaa", 95, Remedy.RESET)
    for _ in range(2):
        assert pool_ids(collector.read(Tier.MEMORY)) == ["GPU-bbbb"]
        collector.close()
    driver.field(0, RECOVERY_ACTION, 0)
    assert pool_ids(collector.read(Tier.MEMORY)) == ["GPU-aaaa", "GPU-bbbb"]


def test_all_instances_of_a_gpu_that_must_be_reset_are_blind(
    collector: NvidiaCollector, driver: State, told: Told
) -> None:
    driver.gpu(1, mig=1)
    driver.mig(1, 0, gi=1, ci=0, total=GIB)
    driver.mig(1, 1, gi=2, ci=0, total=0)
    collector.read(Tier.MEMORY)
    told.xid("GPU-bbbb", 95, Remedy.RESET)
    why = "Xid 95: reset the device"
    assert collector.read(Tier.MEMORY).blind == (
        Blind("GPU-bbbb/gi1", why),
        Blind("GPU-bbbb/gi2", why),
    )


def test_a_unified_gpu_that_must_be_reset_does_not_blind_ram(
    collector: NvidiaCollector, driver: State, told: Told
) -> None:
    driver.gpu(0, total=0)
    collector.read(Tier.MEMORY)
    told.xid("GPU-aaaa", 95, Remedy.RESET)
    sample = collector.read(Tier.MEMORY)
    assert (sample.blind, sample.notes) == ((), ("GPU 0: Xid 95: reset the device",))


def test_the_last_word_of_the_only_gpu_is_heard(
    collector: NvidiaCollector, driver: State, told: Told
) -> None:
    driver.without_gpu(1)
    collector.read(Tier.MEMORY)
    incident = told.xid("GPU-aaaa", 79, Remedy.REBOOT)
    driver.fault(GPU_IS_LOST)
    sample = collector.read(Tier.MEMORY)
    assert sample.incidents == (incident,)
    assert sample.blind == (Blind("GPU-aaaa", "Xid 79: reboot the machine"),)
    with pytest.raises(CollectorError):
        collector.read(Tier.MEMORY)
    driver.drop("fault")
    assert pool_ids(collector.read(Tier.MEMORY)) == ["GPU-aaaa"]


def test_an_xid_of_the_real_watch_reaches_the_sample(driver: State, clock: Clock) -> None:
    collector = NvidiaCollector(clock=clock, host_total=lambda: 125 * GIB)
    collector.read(Tier.MEMORY)
    until = time.monotonic() + 20
    driver.xid(1, 0, 95)
    while not (sample := collector.read(Tier.MEMORY)).incidents:
        assert time.monotonic() < until
    assert [(i.device, i.code, i.remedy) for i in sample.incidents] == [
        ("GPU-aaaa", 95, Remedy.RESET)
    ]
    assert [b.pool for b in sample.blind] == ["GPU-aaaa"]
    collector.events.close()


@pytest.mark.parametrize(("action", "unusable"), [(0, False), (1, True), (2, True), (3, False)])
def test_a_gpu_that_asks_for_its_reset_before_anybody_saw_it_fail_is_blind(
    collector: NvidiaCollector, driver: State, action: int, unusable: bool
) -> None:
    """As it is for a reader that takes the place of one which has ended."""
    driver.field(0, RECOVERY_ACTION, action)
    sample = collector.read(Tier.MEMORY)
    assert pool_ids(sample) == (["GPU-bbbb"] if unusable else ["GPU-aaaa", "GPU-bbbb"])
    assert ["asks for this: re" in b.why for b in sample.blind] == [True] * unusable
    driver.field(0, RECOVERY_ACTION, 0)
    collector.close()
    assert pool_ids(collector.read(Tier.MEMORY)) == ["GPU-aaaa", "GPU-bbbb"]
