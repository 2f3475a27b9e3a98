"""Process lists that a driver does not give: unknown is not the same as nobody."""

from pathlib import Path

import pytest

from collectors.nvidia import NvidiaCollector
from collectors.nvml import Handle, Nvml
from collectors.reading import RAM, Sample, Tier
from collectors.rest import REST_AFTER, Resting
from tests.collectors.conftest import Clock
from tests.collectors.resting import Sysfs, idle
from tests.nvml.fake_nvml import GIB, State
from tests.nvml.told import Told

NOT_SUPPORTED, NO_PERMISSION, UNKNOWN = 3, 4, 999
COMPUTE = "nvmlDeviceGetComputeRunningProcesses_v3"
FIRST, SECOND = 2, 3  # the driver's instances have the indices after the GPUs


@pytest.fixture
def collector(driver: State, clock: Clock, tmp_path: Path) -> NvidiaCollector:
    return NvidiaCollector(tmp_path, clock, lambda: 125 * GIB, events=Told())


def holders(sample: Sample) -> list[tuple[int, str, int | None]]:
    return [(h.pid, h.pool, h.size) for h in sample.holders or ()]


def test_a_gpu_whose_list_fails_is_named_beside_the_one_whose_list_is_empty(
    collector: NvidiaCollector, driver: State
) -> None:
    driver.proc(0, "C", 4242, GIB)
    driver.fault(UNKNOWN, COMPUTE, 0)
    sample = collector.read(Tier.ALL)
    assert (sample.holders, sample.unlisted) == ((), ("GPU-aaaa",))
    assert collector.read(Tier.MEMORY).unlisted == ()  # nobody asked
    driver.drop("fault")
    sample = collector.read(Tier.ALL)
    assert (holders(sample), sample.unlisted) == ([(4242, "GPU-aaaa", GIB)], ())


def test_a_driver_that_garbles_its_lists_leaves_every_pool_unlisted(
    collector: NvidiaCollector, driver: State
) -> None:
    driver.driver("535.54.03")
    driver.gpu(1, total=0)
    driver.proc(0, "C", 4242, GIB)
    sample = collector.read(Tier.ALL)
    assert (sample.holders, sample.unlisted) == (None, ("GPU-aaaa", RAM))


def test_an_instance_that_may_not_be_listed_is_named_and_the_other_is_listed(
    collector: NvidiaCollector, driver: State
) -> None:
    driver.gpu(1, mig=1)
    driver.mig(1, 0, uuid="MIG-1", gi=1, ci=0, total=40 * GIB)
    driver.mig(1, 3, uuid="MIG-2", gi=2, ci=0, total=20 * GIB)
    driver.proc(1, "C", 71, GIB, gi=1)
    driver.proc(1, "C", 72, GIB, gi=2)
    driver.fault(NO_PERMISSION, COMPUTE, FIRST)
    sample = collector.read(Tier.ALL)
    assert holders(sample) == [(72, "GPU-bbbb/gi2", GIB)]
    assert sample.unlisted == ("GPU-bbbb/gi1",)


def test_a_part_of_an_instances_list_does_not_pass_for_all(
    collector: NvidiaCollector, driver: State
) -> None:
    driver.gpu(1, mig=1)
    for ci in (0, 1):  # two compute instances of one memory
        driver.mig(1, ci, uuid=f"MIG-{ci}", gi=1, ci=ci, total=40 * GIB)
        driver.proc(1, "C", 70 + ci, GIB, gi=1, ci=ci)
    driver.fault(NO_PERMISSION, COMPUTE, SECOND)
    sample = collector.read(Tier.ALL)
    assert (holders(sample), sample.unlisted) == ([], ("GPU-bbbb/gi1",))


def test_below_wsl_an_empty_list_tells_nothing(
    collector: NvidiaCollector, driver: State, tmp_path: Path
) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/dxg").touch()
    driver.proc(1, "C", 4242, None)
    sample = collector.read(Tier.ALL)
    assert (holders(sample), sample.unlisted) == ([(4242, "GPU-bbbb", None)], ("GPU-aaaa",))


def test_gpus_do_not_rest_while_nobody_can_say_who_holds_one(
    collector: NvidiaCollector, driver: State, clock: Clock, tmp_path: Path
) -> None:
    sysfs = Sysfs(tmp_path)
    for index in (0, 1):
        driver.gpu(index, bus=f"00000000:0{index + 1}:00.0", used=0)
        sysfs.power(index)
    resting = Resting(collector, tmp_path, clock)
    driver.fault(UNKNOWN, COMPUTE, 0)
    for _ in range(12):
        idle(resting, clock, REST_AFTER / 6)
        assert not resting.closed
    driver.drop("fault")
    idle(resting, clock)
    assert resting.closed


def test_what_is_listed_is_in_the_memory_that_is_told_beside_it(
    collector: NvidiaCollector, driver: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load goes on while we read: bytes that somebody is said to hold are not free as well."""
    driver.gpu(0, used=GIB)
    driver.proc(0, "C", 4242, GIB)
    lists = Nvml.processes

    def slow(library: Nvml, handle: Handle) -> object:
        found = lists(library, handle)
        driver.gpu(0, used=9 * GIB)
        return found

    monkeypatch.setattr(Nvml, "processes", slow)
    pool = next(p for p in collector.read(Tier.ALL).pools if p.id == "GPU-aaaa")
    assert pool.used == 9 * GIB
