"""What goes wrong with a driver, and what it may not take with it."""

import pytest

from collectors.errors import CollectorError, Outdated
from collectors.nvidia import ASK_AGAIN, NO_DRIVER, NO_GPU, NvidiaCollector
from collectors.reading import RAM, Blind, Sample, Tier, gib
from tests.collectors.conftest import Clock
from tests.nvml.fake_nvml import GIB, State
from tests.nvml.told import Told

UNINITIALIZED, DRIVER_NOT_LOADED, GPU_IS_LOST, VERSIONS_DIFFER, GPU_NOT_FOUND = 1, 9, 15, 18, 28
NO_PERMISSION, LIBRARY_NOT_FOUND, RESET_REQUIRED, UNKNOWN = 4, 12, 16, 999


@pytest.fixture
def collector(driver: State, clock: Clock) -> NvidiaCollector:
    return NvidiaCollector(clock=clock, host_total=lambda: 125 * GIB, events=Told())


def pool_ids(sample: Sample) -> list[str]:
    return [p.id for p in sample.pools]


@pytest.mark.parametrize("code", [LIBRARY_NOT_FOUND, DRIVER_NOT_LOADED])
def test_no_driver_is_a_note_and_asked_again_only_after_a_while(
    collector: NvidiaCollector, driver: State, clock: Clock, code: int
) -> None:
    driver.fault(code, "nvmlInitWithFlags")
    assert collector.read(Tier.ALL) == Sample(notes=(NO_DRIVER,))
    driver.drop("fault")
    clock.now += ASK_AGAIN - 1
    assert collector.read(Tier.ALL) == Sample(notes=(NO_DRIVER,))
    clock.now += 1
    assert pool_ids(collector.read(Tier.MEMORY)) == ["GPU-aaaa", "GPU-bbbb"]


def test_a_driver_without_a_gpu_is_a_note(collector: NvidiaCollector, driver: State) -> None:
    driver.without_gpu(1)
    driver.without_gpu(0)
    assert collector.read(Tier.MEMORY) == Sample(notes=(NO_GPU,))


def test_gpus_that_all_vanish_are_a_fault_not_an_empty_machine(
    collector: NvidiaCollector, driver: State
) -> None:
    collector.read(Tier.MEMORY)
    driver.without_gpu(1)
    driver.without_gpu(0)
    with pytest.raises(CollectorError, match="does not list any GPU now"):
        collector.read(Tier.MEMORY)


@pytest.mark.parametrize("code", [UNINITIALIZED, DRIVER_NOT_LOADED, VERSIONS_DIFFER, GPU_NOT_FOUND])
def test_a_driver_that_was_there_and_goes_is_a_fault_until_it_comes_back(
    collector: NvidiaCollector, driver: State, code: int
) -> None:
    collector.read(Tier.MEMORY)
    driver.fault(code)
    for _ in range(2):
        with pytest.raises(CollectorError):
            collector.read(Tier.MEMORY)
    driver.drop("fault")
    assert pool_ids(collector.read(Tier.MEMORY)) == ["GPU-aaaa", "GPU-bbbb"]


def test_a_library_that_was_shut_down_is_initialised_again(
    collector: NvidiaCollector, driver: State
) -> None:
    import pynvml

    collector.read(Tier.MEMORY)
    pynvml.nvmlShutdown()
    with pytest.raises(CollectorError, match="Uninitialized"):
        collector.read(Tier.MEMORY)
    assert pool_ids(collector.read(Tier.MEMORY)) == ["GPU-aaaa", "GPU-bbbb"]


def test_a_library_of_another_version_than_the_driver_says_what_to_do(
    collector: NvidiaCollector, driver: State
) -> None:
    driver.fault(VERSIONS_DIFFER, "nvmlInitWithFlags")
    with pytest.raises(Outdated, match="restart this program"):
        collector.read(Tier.MEMORY)


def test_one_lost_gpu_blinds_its_own_pool_while_the_other_answers(
    collector: NvidiaCollector, driver: State
) -> None:
    collector.read(Tier.MEMORY)
    driver.fault(GPU_IS_LOST, index=0)
    driver.gpu(1, used=2 * GIB)
    for _ in range(2):
        sample = collector.read(Tier.ALL)
        assert sample.blind == (Blind("GPU-aaaa", "GPU is lost (NVML error 15)"),)
        assert [(p.id, p.free) for p in sample.pools] == [("GPU-bbbb", gib(78))]
    lost = sample.devices[0]
    assert (lost.uuid, lost.name, lost.driver) == ("GPU-aaaa", "NVIDIA RTX 4090", None)
    assert set(sample.health or {}) == {"GPU-bbbb"}


def test_a_lost_gpu_that_comes_back_is_read_again(
    collector: NvidiaCollector, driver: State
) -> None:
    collector.read(Tier.MEMORY)
    driver.fault(GPU_IS_LOST, index=0)
    collector.read(Tier.MEMORY)
    driver.drop("fault")
    sample = collector.read(Tier.MEMORY)
    assert (pool_ids(sample), sample.blind) == (["GPU-aaaa", "GPU-bbbb"], ())


def test_the_library_is_started_again_for_one_lost_gpu_only_after_a_while(
    collector: NvidiaCollector, driver: State, clock: Clock
) -> None:
    collector.read(Tier.MEMORY)
    driver.fault(GPU_IS_LOST, index=0)
    driver.fault(UNKNOWN, "nvmlInitWithFlags")  # to see when it is called
    clock.now += ASK_AGAIN - 1
    assert pool_ids(collector.read(Tier.MEMORY)) == ["GPU-bbbb"]
    clock.now += 1
    assert pool_ids(collector.read(Tier.MEMORY)) == ["GPU-bbbb"]
    with pytest.raises(CollectorError, match="999"):
        collector.read(Tier.MEMORY)


def test_a_gpu_lost_before_it_was_ever_read_is_blind_by_its_index(
    collector: NvidiaCollector, driver: State
) -> None:
    driver.fault(GPU_IS_LOST, index=0)
    sample = collector.read(Tier.MEMORY)
    assert [b.pool for b in sample.blind] == ["nvidia:0"]
    assert pool_ids(sample) == ["GPU-bbbb"]


def test_all_gpus_lost_is_a_fault(collector: NvidiaCollector, driver: State) -> None:
    collector.read(Tier.MEMORY)
    driver.fault(GPU_IS_LOST, index=0)
    driver.fault(GPU_IS_LOST, index=1)
    with pytest.raises(CollectorError, match="GPU is lost"):
        collector.read(Tier.MEMORY)


def test_after_all_gpus_were_lost_the_library_is_started_again(
    collector: NvidiaCollector, driver: State
) -> None:
    import pynvml

    collector.read(Tier.MEMORY)
    driver.fault(GPU_IS_LOST, index=0)
    driver.fault(GPU_IS_LOST, index=1)
    with pytest.raises(CollectorError):
        collector.read(Tier.MEMORY)
    driver.drop("fault")
    driver.fault(UNKNOWN, "nvmlInitWithFlags")  # to see that it is called
    with pytest.raises(CollectorError, match="999"):
        collector.read(Tier.MEMORY)
    driver.drop("fault")
    assert pool_ids(collector.read(Tier.MEMORY)) == ["GPU-aaaa", "GPU-bbbb"]
    pynvml.nvmlShutdown()  # every start was preceded by a stop: one is enough to end it
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        pynvml.nvmlDeviceGetCount()


def test_an_error_of_one_gpu_that_is_not_fatal_blinds_only_its_pool(
    collector: NvidiaCollector, driver: State
) -> None:
    collector.read(Tier.MEMORY)
    driver.fault(UNKNOWN, "nvmlDeviceGetMemoryInfo_v2", 1)
    sample = collector.read(Tier.MEMORY)
    assert (pool_ids(sample), [b.pool for b in sample.blind]) == (["GPU-aaaa"], ["GPU-bbbb"])


def test_a_card_whose_memory_becomes_unreadable_is_blind_and_not_taken_for_ram(
    collector: NvidiaCollector, driver: State, clock: Clock
) -> None:
    collector.read(Tier.MEMORY)
    driver.gpu(0, total=0)
    assert [b.pool for b in collector.read(Tier.MEMORY).blind] == ["GPU-aaaa"]
    again = collector.read(Tier.MEMORY)
    assert [b.pool for b in again.blind] == ["GPU-aaaa"]
    assert again.devices[0].pool == "GPU-aaaa"


def test_a_gpu_pulled_out_is_blind_and_the_one_that_moves_up_keeps_its_pool(
    collector: NvidiaCollector, driver: State
) -> None:
    collector.read(Tier.MEMORY)
    driver.fault(DRIVER_NOT_LOADED)
    with pytest.raises(CollectorError):
        collector.read(Tier.MEMORY)
    driver.drop("fault")
    driver.without_gpu(0)
    sample = collector.read(Tier.MEMORY)
    assert [(p.id, p.total) for p in sample.pools] == [("GPU-bbbb", gib(80))]
    assert sample.blind == (Blind("GPU-aaaa", "the driver no longer lists it"),)


def test_a_lost_unified_gpu_does_not_blind_ram(collector: NvidiaCollector, driver: State) -> None:
    driver.gpu(0, total=0)
    collector.read(Tier.MEMORY)
    driver.fault(GPU_IS_LOST, index=0)
    sample = collector.read(Tier.MEMORY)
    assert sample.blind == ()
    assert sample.devices[0].pool == RAM
    assert sample.notes == ("GPU 0: GPU is lost (NVML error 15)",)


def test_a_gpu_that_this_user_may_not_read_is_a_note(
    collector: NvidiaCollector, driver: State
) -> None:
    driver.fault(NO_PERMISSION, index=1)
    sample = collector.read(Tier.MEMORY)
    assert (pool_ids(sample), sample.blind) == (["GPU-aaaa"], ())
    assert sample.notes == ("GPU 1 may not be read by this user",)


def test_a_gpu_that_must_be_reset_is_blind_while_it_says_so(
    collector: NvidiaCollector, driver: State
) -> None:
    collector.read(Tier.MEMORY)
    driver.fault(RESET_REQUIRED, "nvmlDeviceGetMemoryInfo_v2", 0)
    sample = collector.read(Tier.MEMORY)
    assert sample.blind == (Blind("GPU-aaaa", "the GPU must be reset (NVML error 16)"),)
    driver.drop("fault")
    assert collector.read(Tier.MEMORY).blind == ()
