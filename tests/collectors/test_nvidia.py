"""The NVIDIA collector through the real nvidia-ml-py, on a scripted driver."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from collectors.nvidia import TRACES, NvidiaCollector, present
from collectors.nvidia_gpu import FIRST_PID_NAMESPACE
from collectors.nvml import garbles_lists
from collectors.reading import RAM, Device, MemoryPool, PoolId, PoolKind, Sample, Tier, gib
from tests.collectors.conftest import Clock
from tests.nvml.fake_nvml import GIB, State
from tests.nvml.told import Told

HOST_TOTAL = 125 * GIB + 12_345_344
NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND, ARGUMENT_VERSION, UNKNOWN = 3, 4, 13, 25, 999


def processes_below(root: Path, *, first: bool = True) -> Path:
    """A /proc below `root`, seen from the first pid namespace or from another."""
    namespaces = root / "proc/self/ns"
    namespaces.mkdir(parents=True)
    (namespaces / "pid").symlink_to(FIRST_PID_NAMESPACE if first else "pid:[4026532999]")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return processes_below(tmp_path / "root")


@pytest.fixture
def collector(driver: State, clock: Clock, root: Path) -> NvidiaCollector:
    return NvidiaCollector(root, clock, lambda: HOST_TOTAL, events=Told())


def pool_ids(sample: Sample) -> list[str]:
    return [p.id for p in sample.pools]


def holders(collector: NvidiaCollector) -> list[tuple[int, str, int | None]]:
    return [(h.pid, h.pool, h.size) for h in collector.read(Tier.ALL).holders or ()]


# -- memory


def test_each_gpu_is_a_pool_without_the_bytes_the_driver_keeps(collector: NvidiaCollector) -> None:
    assert collector.read(Tier.MEMORY).pools == (
        MemoryPool("GPU-aaaa", PoolKind.DEDICATED, gib(23.5), gib(21.5), gib(0.5)),
        MemoryPool("GPU-bbbb", PoolKind.DEDICATED, gib(80), gib(79)),
    )


def test_memory_that_changes_is_seen_at_the_next_read(
    collector: NvidiaCollector, driver: State
) -> None:
    collector.read(Tier.MEMORY)
    driver.gpu(0, used=9 * GIB)
    assert collector.read(Tier.MEMORY).pools[0].free == gib(14.5)


@pytest.mark.parametrize("code", [FUNCTION_NOT_FOUND, ARGUMENT_VERSION, NOT_SUPPORTED])
def test_an_old_driver_answers_the_first_version_with_the_same_free_bytes(
    collector: NvidiaCollector, driver: State, code: int
) -> None:
    driver.fault(code, "nvmlDeviceGetMemoryInfo_v2")
    pool = collector.read(Tier.MEMORY).pools[0]
    assert (pool.total, pool.free, pool.reserved) == (gib(24), gib(21.5), 0)


def test_a_gpu_that_uses_the_machines_ram_has_no_pool_of_its_own(
    collector: NvidiaCollector, driver: State
) -> None:
    driver.gpu(0, name="NVIDIA GB10", total=0)
    sample = collector.read(Tier.MEMORY)
    assert pool_ids(sample) == ["GPU-bbbb"]
    assert [(d.uuid, d.pool) for d in sample.devices] == [
        ("GPU-aaaa", RAM),
        ("GPU-bbbb", "GPU-bbbb"),
    ]


@pytest.mark.parametrize(
    ("name", "total", "unified"),
    [
        pytest.param("NVIDIA GB10", HOST_TOTAL, True, id="all-of-ram"),
        pytest.param("NVIDIA Thor", int(HOST_TOTAL * 0.95), True, id="most-of-ram"),
        pytest.param("NVIDIA Thor", int(HOST_TOTAL * 0.5), False, id="a-part-of-its-own"),
        pytest.param("Some new part", HOST_TOTAL + 4096, True, id="ram-to-the-mib"),
        pytest.param("NVIDIA H200", 141 * GIB, False, id="a-card-larger-than-ram"),
        pytest.param("NVIDIA H200", 125 * GIB, False, id="a-card-about-as-large-as-ram"),
    ],
)
def test_reported_memory_that_is_really_ram_makes_no_pool(
    collector: NvidiaCollector, driver: State, name: str, total: int, unified: bool
) -> None:
    driver.gpu(0, name=name, total=total, used=0, reserved=0)
    sample = collector.read(Tier.MEMORY)
    assert ("GPU-aaaa" not in pool_ids(sample)) == unified
    assert (sample.devices[0].pool == RAM) == unified


def test_the_size_of_ram_is_read_below_the_root(driver: State, clock: Clock, root: Path) -> None:
    driver.gpu(0, name="NVIDIA GB10", total=120 * GIB, used=0, reserved=0)
    (root / "proc/meminfo").write_text(f"MemTotal: {122 * 1024**2} kB\nMemFree: 1 kB\n")
    assert NvidiaCollector(root, clock, events=Told()).read(Tier.MEMORY).devices[0].pool == RAM


@pytest.mark.parametrize(("name", "unified"), [("NVIDIA GB10", True), ("NVIDIA RTX 4090", False)])
def test_where_the_size_of_ram_is_unknown_the_name_decides(
    driver: State, clock: Clock, root: Path, name: str, unified: bool
) -> None:
    driver.gpu(0, name=name)
    sample = NvidiaCollector(root, clock, events=Told()).read(Tier.MEMORY)
    assert (sample.devices[0].pool == RAM) == unified


def test_this_machines_own_ram_is_known_without_being_told(driver: State, clock: Clock) -> None:
    driver.gpu(0, total=psutil.virtual_memory().total, used=0, reserved=0)
    assert NvidiaCollector(clock=clock, events=Told()).read(Tier.MEMORY).devices[0].pool == RAM


def test_a_gpu_once_known_to_use_ram_stays_so(collector: NvidiaCollector, driver: State) -> None:
    driver.gpu(0, name="NVIDIA GB10", total=0)
    collector.read(Tier.MEMORY)
    collector.close()
    driver.gpu(0, total=24 * GIB)
    sample = collector.read(Tier.MEMORY)
    assert (pool_ids(sample), sample.devices[0].pool) == (["GPU-bbbb"], RAM)
    assert sample.carveouts == ()


def test_free_bytes_that_the_driver_rounded_up_stay_within_the_total(
    collector: NvidiaCollector, driver: State
) -> None:
    driver.gpu(0, used=0, free=24 * GIB - 1)
    pool = collector.read(Tier.MEMORY).pools[0]
    assert (pool.free, pool.total) == (gib(23.5), gib(23.5))


# -- who it is


def test_a_device_is_named_by_its_uuid_and_by_its_place_on_the_bus(
    collector: NvidiaCollector,
) -> None:
    assert collector.read(Tier.MEMORY).devices[0] == Device(
        uuid="GPU-aaaa",
        pool=PoolId("GPU-aaaa"),
        name="NVIDIA RTX 4090",
        index=0,
        vendor="nvidia",
        driver="580.82.07",
        pci="0000:01:00.0",
    )


@pytest.mark.parametrize(
    ("function", "field"),
    [("nvmlDeviceGetPciInfo_v3", "pci"), ("nvmlSystemGetDriverVersion", "driver")],
)
@pytest.mark.parametrize("code", [NOT_SUPPORTED, FUNCTION_NOT_FOUND, NO_PERMISSION, UNKNOWN])
def test_an_optional_part_of_the_name_is_missed_alone(
    collector: NvidiaCollector, driver: State, function: str, field: str, code: int
) -> None:
    driver.fault(code, function)
    sample = collector.read(Tier.MEMORY)
    assert pool_ids(sample) == ["GPU-aaaa", "GPU-bbbb"]
    assert {f for f in ("pci", "driver") if getattr(sample.devices[0], f) is None} == {field}


def test_a_gpu_whose_memory_the_kernel_lists_too_names_the_node(
    collector: NvidiaCollector, driver: State
) -> None:
    driver.gpu(1, name="NVIDIA GH200", numa=4)
    assert [d.numa_node for d in collector.read(Tier.MEMORY).devices] == [None, 4]


# -- who holds it


def test_holders_are_none_when_nobody_asked(collector: NvidiaCollector) -> None:
    assert collector.read(Tier.MEMORY).holders is None


def test_nobody_holding_anything_is_not_the_same_as_not_asked(collector: NvidiaCollector) -> None:
    assert collector.read(Tier.ALL).holders == ()


def test_a_process_in_several_lists_counts_once_with_its_largest_size(
    collector: NvidiaCollector, driver: State
) -> None:
    driver.proc(0, "C", 4242, GIB)
    driver.proc(0, "G", 4242, 2 * GIB)
    driver.proc(0, "M", 4242, GIB)
    driver.proc(1, "C", 4242, 3 * GIB)
    assert holders(collector) == [(4242, "GPU-aaaa", 2 * GIB), (4242, "GPU-bbbb", 3 * GIB)]


def test_a_size_that_the_driver_hides_is_none(collector: NvidiaCollector, driver: State) -> None:
    driver.proc(0, "C", 77, None)
    assert holders(collector) == [(77, "GPU-aaaa", None)]


def test_a_size_known_to_one_list_survives_a_list_that_hides_it(
    collector: NvidiaCollector, driver: State
) -> None:
    driver.proc(0, "C", 77, None)
    driver.proc(0, "G", 77, GIB)
    driver.proc(0, "C", 78, GIB)
    driver.proc(0, "G", 78, None)
    assert holders(collector) == [(77, "GPU-aaaa", GIB), (78, "GPU-aaaa", GIB)]


@pytest.mark.parametrize(("first", "size"), [(True, 0), (False, None)])
def test_zero_bytes_seen_from_a_container_are_unknown(
    driver: State, clock: Clock, tmp_path: Path, first: bool, size: int | None
) -> None:
    driver.proc(0, "C", 77, 0)
    root = processes_below(tmp_path / "c", first=first)
    collector = NvidiaCollector(root, clock, events=Told())
    assert holders(collector) == [(77, "GPU-aaaa", size)]


def test_processes_of_a_unified_gpu_hold_ram(collector: NvidiaCollector, driver: State) -> None:
    driver.gpu(0, total=0)
    driver.proc(0, "C", 99, 5 * GIB)
    assert holders(collector) == [(99, RAM, 5 * GIB)]


def test_a_holder_has_the_name_of_its_program(
    collector: NvidiaCollector, driver: State, root: Path
) -> None:
    (root / "proc/4242").mkdir()
    (root / "proc/4242/comm").write_text("llama-server\n")
    driver.proc(0, "C", 4242, GIB)
    driver.proc(0, "C", 4243, GIB)
    named = {h.pid: h.name for h in collector.read(Tier.ALL).holders or ()}
    assert named == {4242: "llama-server", 4243: None}


def test_a_driver_with_older_process_lists_is_asked_by_the_older_name(
    collector: NvidiaCollector, driver: State
) -> None:
    for kind in ("Compute", "Graphics", "MPSCompute"):
        driver.fault(FUNCTION_NOT_FOUND, f"nvmlDeviceGet{kind}RunningProcesses_v3")
    driver.proc(0, "C", 4242, GIB)
    assert holders(collector) == [(4242, "GPU-aaaa", GIB)]


def test_a_driver_without_any_process_list_leaves_the_holders_unknown(
    collector: NvidiaCollector, driver: State
) -> None:
    for kind in ("Compute", "Graphics", "MPSCompute"):
        for version in ("v2", "v3"):
            driver.fault(FUNCTION_NOT_FOUND, f"nvmlDeviceGet{kind}RunningProcesses_{version}")
    sample = collector.read(Tier.ALL)
    assert sample.holders is None
    assert "the driver does not list the processes of GPU 0" in sample.notes
    assert pool_ids(sample) == ["GPU-aaaa", "GPU-bbbb"]


def test_a_list_that_fails_now_and_then_does_not_look_empty(
    collector: NvidiaCollector, driver: State
) -> None:
    driver.proc(0, "C", 4242, GIB)
    driver.proc(1, "C", 4243, GIB)
    driver.fault(UNKNOWN, "nvmlDeviceGetComputeRunningProcesses_v3", 0)
    sample = collector.read(Tier.ALL)
    assert [h.pid for h in sample.holders or ()] == [4243]
    assert sample.notes == ("GPU 0: its processes are unknown: Unknown Error (NVML error 999)",)
    driver.drop("fault")
    assert holders(collector)[0] == (4242, "GPU-aaaa", GIB)


def test_a_driver_known_to_garble_its_lists_is_not_believed(
    collector: NvidiaCollector, driver: State
) -> None:
    driver.driver("535.54.03")
    driver.proc(0, "C", 4242, GIB)
    assert collector.read(Tier.ALL).holders is None


@pytest.mark.parametrize(
    ("version", "garbled"),
    [
        ("535.43.02", True),
        ("535.86.10", True),
        ("535.98", False),
        ("525.60.13", False),
        ("580.82.07", False),
        ("535.beta", False),
        (None, False),
    ],
)
def test_only_the_first_535_drivers_garble(version: str | None, garbled: bool) -> None:
    assert garbles_lists(version) == garbled


# -- is there anything to ask?


@pytest.mark.parametrize("trace", TRACES)
def test_each_trace_of_a_driver_is_enough(tmp_path: Path, trace: str) -> None:
    assert not present(tmp_path)
    (tmp_path / trace).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / trace).touch()
    assert present(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="the fake driver is for Linux")
def test_a_library_that_loads_is_enough_on_this_machine(nvml_library: Path, tmp_path: Path) -> None:
    code = "from pathlib import Path; from collectors.nvidia import present; "
    code += "print(present(Path('/')))"
    state = State(tmp_path / "nvml.txt")
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, env=state.env(nvml_library), capture_output=True, text=True)
    assert found.stdout == "True\n", found.stderr
