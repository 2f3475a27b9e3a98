"""GPUs that MIG splits, through the real nvidia-ml-py, on a scripted driver."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from collectors.nvidia import NvidiaCollector
from collectors.reading import RAM, Blind, Device, MemoryPool, PoolId, PoolKind, Sample, Tier, gib
from tests.collectors.conftest import Clock
from tests.nvml.fake_nvml import GIB, State
from tests.nvml.told import Told

INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, UNKNOWN, GPU_IS_LOST = 2, 3, 4, 999, 15
# With two GPUs, the driver's instances have the indices from 2 on.
FIRST, SECOND = 2, 3
GI1, GI2 = PoolId("GPU-bbbb/gi1"), PoolId("GPU-bbbb/gi2")


class Wrapped:
    """The real binding, but for what a subclass answers."""

    def __getattr__(self, name: str) -> object:
        import pynvml

        return getattr(pynvml, name)


@pytest.fixture
def split(driver: State) -> State:
    """The second GPU has an instance of 40 GiB (10 used) and one of 20 GiB, in slots 0 and 3."""
    driver.gpu(1, mig=1)
    driver.mig(1, 0, uuid="MIG-1111", name="H100 MIG 3g.40gb", gi=1, ci=0, total=40 * GIB)
    driver.mig(1, 0, used=10 * GIB, reserved=GIB // 4)
    driver.mig(1, 3, uuid="MIG-2222", name="H100 MIG 1g.20gb", gi=2, ci=0, total=20 * GIB)
    return driver


@pytest.fixture
def collector(driver: State, clock: Clock, tmp_path: Path) -> NvidiaCollector:
    return NvidiaCollector(tmp_path, clock, lambda: 125 * GIB, events=Told())


def free(sample: Sample) -> dict[str, int]:
    return {p.id: p.free for p in sample.pools}


def holders(sample: Sample) -> list[tuple[int, str, int | None]]:
    return [(h.pid, h.pool, h.size) for h in sample.holders or ()]


def test_each_instance_is_a_pool_and_the_gpu_is_none(
    collector: NvidiaCollector, split: State
) -> None:
    sample = collector.read(Tier.MEMORY)
    assert sample.pools[1:] == (
        MemoryPool(GI1, PoolKind.DEDICATED, gib(39.75), gib(29.75), gib(0.25)),
        MemoryPool(GI2, PoolKind.DEDICATED, gib(20), gib(20)),
    )
    assert [(d.uuid, d.pool, d.parent) for d in sample.devices] == [
        ("GPU-aaaa", "GPU-aaaa", None),
        ("GPU-bbbb", None, None),
        ("MIG-1111", GI1, "GPU-bbbb"),
        ("MIG-2222", GI2, "GPU-bbbb"),
    ]
    assert sample.devices[3] == Device(
        uuid="MIG-2222",
        pool=GI2,
        name="H100 MIG 1g.20gb",
        index=3,
        vendor="nvidia",
        driver="580.82.07",
        pci="0000:02:00.0",
        parent="GPU-bbbb",
    )
    assert (sample.blind, sample.notes) == ((), ())


def test_compute_instances_share_the_memory_of_their_gpu_instance(
    collector: NvidiaCollector, split: State
) -> None:
    split.mig(1, 1, uuid="MIG-1112", gi=1, ci=1, total=40 * GIB, used=10 * GIB, reserved=GIB // 4)
    sample = collector.read(Tier.MEMORY)
    assert free(sample) == {"GPU-aaaa": gib(21.5), GI1: gib(29.75), GI2: gib(20)}
    assert [d.uuid for d in sample.devices if d.pool == GI1] == ["MIG-1111", "MIG-1112"]


def test_a_slot_that_the_driver_calls_an_invalid_argument_is_empty(split: State) -> None:
    class EmptyIsInvalid(Wrapped):
        """What some drivers say of an empty slot."""

        def nvmlDeviceGetMigDeviceHandleByIndex(self, gpu: object, slot: int) -> object:
            import pynvml

            try:
                return pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, slot)
            except pynvml.NVMLError_NotFound:
                raise pynvml.NVMLError(INVALID_ARGUMENT) from None

    collector = NvidiaCollector(host_total=lambda: GIB, binding=EmptyIsInvalid(), events=Told())
    sample = collector.read(Tier.MEMORY)
    assert (len(sample.pools), sample.notes) == (3, ())


def test_a_split_gpu_without_an_instance_is_a_note_and_no_pool(
    collector: NvidiaCollector, driver: State
) -> None:
    driver.gpu(1, mig=1)
    sample = collector.read(Tier.ALL)
    assert list(free(sample)) == ["GPU-aaaa"]
    assert sample.devices[1].pool is None
    assert sample.notes == ("GPU 1 is split by MIG and has no instance: it is of no use",)


def test_a_split_gpu_has_its_health_as_a_whole(collector: NvidiaCollector, split: State) -> None:
    split.gpu(1, temp=55)
    health = collector.read(Tier.ALL).health or {}
    assert set(health) == {"GPU-aaaa", "GPU-bbbb"}
    assert (health["GPU-bbbb"].temperature, health["GPU-bbbb"].utilization) == (55.0, None)


def test_the_memory_of_the_whole_is_not_asked_for_as_that_needs_a_permission(
    collector: NvidiaCollector, split: State
) -> None:
    for version in ("", "_v2"):
        split.fault(NO_PERMISSION, f"nvmlDeviceGetMemoryInfo{version}", 1)
    sample = collector.read(Tier.MEMORY)
    assert list(free(sample)) == ["GPU-aaaa", GI1, GI2]
    assert RAM not in {d.pool for d in sample.devices}


# -- a layout that changes


def test_an_instance_that_is_removed_is_gone_with_one_note(
    collector: NvidiaCollector, split: State
) -> None:
    collector.read(Tier.MEMORY)
    split.without_mig(1, 0)
    sample = collector.read(Tier.MEMORY)
    assert free(sample) == {"GPU-aaaa": gib(21.5), GI2: gib(20)}
    assert sample.blind == ()
    assert sample.notes == (f"GPU 1: MIG's layout changed: {GI1} is gone",)
    assert collector.read(Tier.MEMORY).notes == ()


def test_a_number_used_again_is_the_instance_that_has_it_now(
    collector: NvidiaCollector, split: State
) -> None:
    collector.read(Tier.MEMORY)
    split.without_mig(1, 0)
    split.mig(1, 5, uuid="MIG-3333", gi=1, ci=0, total=10 * GIB)
    sample = collector.read(Tier.MEMORY)
    assert free(sample)[GI1] == gib(10)
    assert [d.uuid for d in sample.devices if d.parent] == ["MIG-2222", "MIG-3333"]


def test_mig_can_be_switched_on_and_off_while_the_library_is_in_use(
    collector: NvidiaCollector, split: State
) -> None:
    split.gpu(1, mig=0, util=30)
    assert list(free(collector.read(Tier.ALL))) == ["GPU-aaaa", "GPU-bbbb"]
    split.gpu(1, mig=1)
    sample = collector.read(Tier.ALL)
    assert list(free(sample)) == ["GPU-aaaa", GI1, GI2]
    assert (sample.health or {})["GPU-bbbb"].utilization is None
    assert sample.notes == ("GPU 1: MIG's layout changed: GPU-bbbb is gone",)
    split.gpu(1, mig=0)
    sample = collector.read(Tier.ALL)
    assert list(free(sample)) == ["GPU-aaaa", "GPU-bbbb"]
    assert (sample.health or {})["GPU-bbbb"].utilization == 0.3


# -- trouble


def test_a_lost_gpu_blinds_all_its_instances(collector: NvidiaCollector, split: State) -> None:
    collector.read(Tier.MEMORY)
    split.fault(GPU_IS_LOST, index=1)
    sample = collector.read(Tier.ALL)
    why = "GPU is lost (NVML error 15)"
    assert sample.blind == (Blind(GI1, why), Blind(GI2, why))
    assert [d.uuid for d in sample.devices] == ["GPU-aaaa", "GPU-bbbb", "MIG-1111", "MIG-2222"]
    assert (list(free(sample)), sample.notes) == (["GPU-aaaa"], ())


def test_an_instance_whose_memory_fails_is_blind_alone(
    collector: NvidiaCollector, split: State
) -> None:
    split.fault(UNKNOWN, "nvmlDeviceGetMemoryInfo_v2", FIRST)
    sample = collector.read(Tier.ALL)
    assert sample.blind == (Blind(GI1, "Unknown Error (NVML error 999)"),)
    assert list(free(sample)) == ["GPU-aaaa", GI2]


def test_an_instance_without_memory_is_blind_and_not_taken_for_ram(
    collector: NvidiaCollector, split: State
) -> None:
    split.mig(1, 0, total=0)
    sample = collector.read(Tier.ALL)
    assert [b.pool for b in sample.blind] == [GI1]
    assert sample.devices[2].pool == GI1


def test_the_other_compute_instance_can_tell_of_the_memory_they_share(
    collector: NvidiaCollector, split: State
) -> None:
    split.mig(1, 1, uuid="MIG-1112", gi=1, ci=1, total=40 * GIB)
    split.fault(UNKNOWN, "nvmlDeviceGetMemoryInfo_v2", FIRST)
    sample = collector.read(Tier.ALL)
    assert (free(sample)[GI1], sample.blind) == (gib(40), ())


@pytest.mark.parametrize("code", [UNKNOWN, NO_PERMISSION])
def test_a_slot_that_stops_answering_is_blind_and_not_gone(
    collector: NvidiaCollector, split: State, code: int
) -> None:
    collector.read(Tier.MEMORY)
    split.fault(code, "nvmlDeviceGetUUID", FIRST)
    for _ in range(2):
        sample = collector.read(Tier.MEMORY)
        assert [b.pool for b in sample.blind] == [GI1]
        assert list(free(sample)) == ["GPU-aaaa", GI2]
        assert [d.uuid for d in sample.devices if d.parent] == ["MIG-2222", "MIG-1111"]
        assert sample.notes[0].startswith("GPU 1: 1 MIG slots unread: ")


def test_slots_that_this_user_may_not_see_are_a_note(
    collector: NvidiaCollector, split: State
) -> None:
    split.fault(NO_PERMISSION, "nvmlDeviceGetMigDeviceHandleByIndex", 1)
    sample = collector.read(Tier.MEMORY)
    assert (list(free(sample)), sample.blind) == (["GPU-aaaa"], ())
    assert sample.notes == ("GPU 1: 7 MIG slots unread: Insufficient Permissions (NVML error 4)",)


def test_a_driver_that_cannot_tell_the_layout_leaves_the_gpu_blind(
    collector: NvidiaCollector, split: State
) -> None:
    split.fault(NOT_SUPPORTED, "nvmlDeviceGetMaxMigDeviceCount")
    sample = collector.read(Tier.MEMORY)
    assert (list(free(sample)), len(sample.blind)) == (["GPU-aaaa"], 1)


# -- who holds it


def test_processes_hold_the_memory_of_their_instance(
    collector: NvidiaCollector, split: State
) -> None:
    split.proc(1, "C", 70, 3 * GIB, gi=2)
    split.proc(1, "C", 71, 5 * GIB, gi=1)
    split.proc(0, "C", 72, GIB)
    assert holders(collector.read(Tier.ALL)) == [
        (72, "GPU-aaaa", GIB),
        (71, GI1, 5 * GIB),
        (70, GI2, 3 * GIB),
    ]


def test_a_process_in_two_compute_instances_holds_the_larger_size_once(
    collector: NvidiaCollector, split: State
) -> None:
    split.mig(1, 1, uuid="MIG-1112", gi=1, ci=1, total=40 * GIB)
    split.proc(1, "C", 71, 5 * GIB, gi=1, ci=0)
    split.proc(1, "C", 71, 6 * GIB, gi=1, ci=1)
    split.proc(1, "C", 71, 2 * GIB, gi=2, ci=0)
    assert holders(collector.read(Tier.ALL)) == [(71, GI1, 6 * GIB), (71, GI2, 2 * GIB)]


@pytest.mark.parametrize(
    ("number", "pools"),
    [
        pytest.param(1, [GI1], id="an-instance"),
        pytest.param(9, [], id="one-that-is-not-shown"),
        pytest.param(0xFFFFFFFF, [GI1, GI2], id="no-number"),
    ],
)
def test_a_list_of_the_whole_gpu_tells_the_instance_by_its_number(
    split: State, number: int, pools: list[PoolId]
) -> None:
    class ListsAll(Wrapped):
        """Asked of one instance, it lists every process of the GPU."""

        def nvmlDeviceGetComputeRunningProcesses(self, handle: object) -> list[object]:
            return [SimpleNamespace(pid=71, usedGpuMemory=GIB, gpuInstanceId=number)]

    split.without_gpu(0)
    collector = NvidiaCollector(host_total=lambda: GIB, binding=ListsAll(), events=Told())
    assert [h.pool for h in collector.read(Tier.ALL).holders or ()] == pools


def test_lists_refused_for_want_of_a_permission_leave_the_holders_unknown(
    collector: NvidiaCollector, split: State
) -> None:
    split.proc(0, "C", 72, GIB)
    split.proc(1, "C", 70, GIB, gi=2)
    for index in (FIRST, SECOND):
        split.fault(NO_PERMISSION, "nvmlDeviceGetComputeRunningProcesses_v3", index)
    sample = collector.read(Tier.ALL)
    assert holders(sample) == [(72, "GPU-aaaa", GIB)]
    assert list(free(sample)) == ["GPU-aaaa", GI1, GI2]
    assert sample.notes == (
        "GPU 1: processes of MIG instances are unknown: this user may not list them",
    )


def test_nobody_tells_of_the_only_gpu_and_the_holders_are_none(
    collector: NvidiaCollector, split: State
) -> None:
    split.fault(NO_PERMISSION, "nvmlDeviceGetComputeRunningProcesses_v3")
    assert collector.read(Tier.ALL).holders is None
