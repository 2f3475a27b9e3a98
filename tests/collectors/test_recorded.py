"""A driver's answers, written down on one machine and answered again on another."""

import json
from pathlib import Path
from typing import Any

import pytest

from collectors.nvidia import NvidiaCollector
from collectors.reading import Health, Sample, Tier, gib
from collectors.recorded import Pseudonyms, Recorder, Replay
from tests.collectors.conftest import Clock
from tests.nvml.fake_nvml import GIB, State

CARD = "GPU-12345678-9abc-def0-1234-56789abcdef0"
SPLIT = "GPU-0fedcba9-8765-4321-0fed-cba987654321"
PART = "MIG-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
SMALL = "MIG-bbbbbbbb-cccc-dddd-eeee-ffffffffffff"
NOT_SUPPORTED, FUNCTION_NOT_FOUND, UNKNOWN = 3, 13, 999


@pytest.fixture
def machine(driver: State) -> State:
    """A card that tells everything, and one that MIG splits, with a hole between its slots."""
    driver.gpu(0, uuid=CARD, limit_mw=450_000, clock=2520, mem_clock=10501, reasons=4)
    driver.gpu(0, ecc_corrected=2, ecc_uncorrected=0, pcie_gen=4, pcie_width=16)
    driver.gpu(1, uuid=SPLIT, mig=1)
    driver.mig(1, 0, uuid=PART, total=40 * GIB, used=3 * GIB, gi=1, ci=0, name="H100 3g.40gb")
    driver.mig(1, 4, uuid=SMALL, total=10 * GIB, used=GIB, gi=9, ci=0, name="H100 1g.10gb")
    driver.field(0, 82, 66)
    driver.proc(0, "C", 4242, GIB)
    driver.proc(0, "G", 4243, None)
    driver.proc(1, "C", 4244, 2 * GIB, 1, 0)
    return driver


def read(binding: Any, root: Path, clock: Clock) -> Sample:
    return NvidiaCollector(root, clock, lambda: 64 * GIB, binding).read(Tier.ALL)


def record(root: Path, clock: Clock) -> tuple[Sample, Path]:
    import pynvml

    recorder = Recorder(pynvml)
    sample = read(recorder, root, clock)
    recorder.save(root / "nvml.json")
    return sample, root / "nvml.json"


def without_names(sample: Sample) -> str:
    """As text, with the pseudonyms that a recording would give."""
    return Pseudonyms().of(repr(sample))


def test_a_replay_reads_as_the_driver_did(machine: State, tmp_path: Path, clock: Clock) -> None:
    live, file = record(tmp_path, clock)
    machine.fault(UNKNOWN)  # from here on the driver itself is of no use
    replayed = read(Replay(file), tmp_path, clock)
    assert without_names(replayed) == without_names(live)
    assert len(replayed.pools) == 3
    assert {h.pid: h.size for h in replayed.holders or ()} == {4242: GIB, 4243: None, 4244: 2 * GIB}
    [health] = [h for h in (replayed.health or {}).values() if h.power_limit]
    assert isinstance(health, Health)
    assert (health.memory_temperature, health.throttled) == (66.0, ("power cap",))


def test_no_uuid_of_the_machine_is_written_and_each_keeps_one_pseudonym(
    machine: State, tmp_path: Path, clock: Clock
) -> None:
    sample, file = record(tmp_path, clock)
    text = file.read_text()
    for device in sample.devices:
        assert device.uuid.partition("-")[2] not in text
    replayed = read(Replay(file), tmp_path, clock)
    whole, split, part, _ = replayed.devices
    assert whole.uuid == "GPU-00000001-0000-0000-0000-000000000000"
    assert part.uuid.startswith("MIG-0000000")
    assert (part.parent, part.pool) == (split.uuid, f"{split.uuid}/gi1")


def test_the_file_is_sorted_and_says_whom_was_asked(
    machine: State, tmp_path: Path, clock: Clock
) -> None:
    _, file = record(tmp_path, clock)
    answers = json.loads(file.read_text())
    assert list(answers) == ["gpu 0", "gpu 1", "gpu 1, slot 0", "gpu 1, slot 4", "library"]
    assert answers["library"]["nvmlDeviceGetHandleByIndex 0"] == {"handle": "gpu 0"}
    assert answers["gpu 1"]["nvmlDeviceGetMigDeviceHandleByIndex 1"] == {"error": 6}
    [memory] = [v for k, v in answers["gpu 0"].items() if k.startswith("nvmlDeviceGetMemoryInfo")]
    assert (memory["total"], memory["reserved"]) == (gib(24), gib(0.5))
    once = file.read_bytes()
    record(tmp_path, clock)
    assert file.read_bytes() == once


def test_refusals_are_recorded_too(machine: State, tmp_path: Path, clock: Clock) -> None:
    machine.fault(NOT_SUPPORTED, "nvmlDeviceGetPowerUsage")
    for kind in ("Compute", "Graphics", "MPSCompute"):  # a driver with older lists
        machine.fault(FUNCTION_NOT_FOUND, f"nvmlDeviceGet{kind}RunningProcesses_v3")
    live, file = record(tmp_path, clock)
    replayed = read(Replay(file), tmp_path, clock)
    assert [h.power for h in (replayed.health or {}).values()] == [None, None]
    assert len(replayed.holders or ()) == len(live.holders or ()) == 3


def test_a_machine_without_a_driver_is_recorded_as_that(
    driver: State, tmp_path: Path, clock: Clock
) -> None:
    driver.fault(9, "nvmlInitWithFlags")
    live, file = record(tmp_path, clock)
    assert json.loads(file.read_text()) == {"library": {"nvmlInit": {"error": 9}}}
    driver.drop("fault")
    assert read(Replay(file), tmp_path, clock) == live


def test_a_call_that_was_not_recorded_is_a_function_that_the_driver_lacks(tmp_path: Path) -> None:
    import pynvml

    (tmp_path / "nvml.json").write_text("{}")
    replay = Replay(tmp_path / "nvml.json")
    with pytest.raises(pynvml.NVMLError) as refused:
        replay.nvmlDeviceGetCount()
    assert refused.value.value == FUNCTION_NOT_FOUND
    with pytest.raises(AttributeError):
        replay.nvmlDeviceFancy()
    assert replay.nvmlMemory_v2 == pynvml.nvmlMemory_v2


def test_a_replay_has_no_events(tmp_path: Path) -> None:
    (tmp_path / "nvml.json").write_text("{}")
    assert not hasattr(Replay(tmp_path / "nvml.json"), "nvmlEventSetWait_v2")


@pytest.mark.parametrize("text", ["", "nonsense", "[]"])
def test_a_file_that_is_no_recording_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "nvml.json").write_text(text)
    with pytest.raises(ValueError):
        Replay(tmp_path / "nvml.json")


def test_a_program_is_recorded_by_its_name_not_by_where_it_lies() -> None:
    class Binding:
        NVMLError = NVMLLibraryMismatchError = RuntimeError

        @staticmethod
        def nvmlSystemGetProcessName(pid: int) -> str:
            return "/srv/somebody/bin/python3"

    recorder = Recorder(Binding)
    recorder.nvmlSystemGetProcessName(7)
    assert recorder.answers == {"library": {"nvmlSystemGetProcessName 7": "python3"}}


def test_a_serial_keeps_its_length_and_nothing_else() -> None:
    names = Pseudonyms()
    assert names.serial("deadbeef") == "00000001"
    assert names.serial("cafecafe") == "00000002"
    assert names.serial("deadbeef\n") == "00000001"
