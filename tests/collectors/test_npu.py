"""NPUs, on file trees as the two drivers lay them out."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors import npu
from collectors.npu import NO_NPU, NpuCollector, present
from collectors.reading import RAM, Bytes, Carveout, DeviceKind, Health, Holder, Sample, Tier, mib
from tests.collectors.conftest import Clock

INTEL, AMD = "pci-0000:00:0b.0", "pci-0000:c4:00.1"


def write(folder: Path, files: dict[str, object]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


def intel(root: Path, index: int = 0, **files: object) -> Path:
    folder = root / f"sys/class/accel/accel{index}/device"
    facts = {
        "uevent": "DRIVER=intel_vpu\nPCI_SLOT_NAME=0000:00:0b.0",
        "device": "0x643e",
        "power/runtime_status": "active",
        "npu_busy_time_us": 5_000_000,
        "npu_memory_utilization": mib(900),
        "npu_current_frequency_mhz": 1850,
    }
    write(folder, facts | files)
    return folder


def amd(root: Path, index: int = 0) -> Path:
    folder = root / f"sys/class/accel/accel{index}/device"
    event = "DRIVER=amdxdna\nPCI_SLOT_NAME=0000:c4:00.1"
    write(folder, {"uevent": event, "device": "0x17f0", "vbnv": "NPU Strix Halo"})
    return folder


def client(root: Path, pid: int, driver: str, pci: str, fd: int = 5, **fields: str) -> None:
    told = {"drm-driver": driver, "drm-pdev": pci, "drm-client-id": "7"}
    told |= {name.replace("_", "-"): value for name, value in fields.items()}
    text = "\n".join(f"{name}:\t{value}" for name, value in told.items())
    files = {f"fd/{fd}": "", f"fdinfo/{fd}": text, "comm": f"program-{pid}"}
    write(root / f"proc/{pid}", files)


def read(root: Path, tiers: Tier = Tier.ALL) -> Sample:
    return NpuCollector(root).read(tiers)


def health(collector: NpuCollector) -> Health:
    found = collector.read(Tier.MEMORY | Tier.HEALTH).health
    assert found is not None
    return found[INTEL]


def test_an_npu_is_a_device_that_draws_from_ram(tmp_path: Path) -> None:
    intel(tmp_path)
    sample = read(tmp_path)
    [device] = sample.devices
    assert (device.uuid, device.pool, device.kind) == (INTEL, RAM, DeviceKind.NPU)
    assert (device.name, device.vendor) == ("Intel NPU (Lunar Lake)", "intel")
    assert sample.pools == ()


def test_an_npu_of_amd_is_named_by_its_driver(tmp_path: Path) -> None:
    amd(tmp_path)
    [device] = read(tmp_path).devices
    assert (device.uuid, device.name, device.vendor) == (AMD, "NPU Strix Halo", "amd")


def test_an_unknown_npu_is_named_by_its_number(tmp_path: Path) -> None:
    folder = intel(tmp_path, device="0x1234")
    assert read(tmp_path).devices[0].name == "Intel NPU 1234"
    (folder / "device").unlink()
    assert read(tmp_path).devices[0].name == "Intel NPU"


def test_a_machine_without_an_npu_is_no_error(tmp_path: Path) -> None:
    assert not present(tmp_path)
    assert read(tmp_path, Tier.MEMORY) == Sample(notes=(NO_NPU,))


def test_accelerators_with_memory_of_their_own_are_not_npus(tmp_path: Path) -> None:
    event = "DRIVER=habanalabs\nPCI_SLOT_NAME=0000:19:00.0"
    write(tmp_path / "sys/class/accel/accel0/device", {"uevent": event})
    assert not present(tmp_path)
    intel(tmp_path, index=1)
    intel(tmp_path, index=10, uevent="DRIVER=intel_vpu\nPCI_SLOT_NAME=0000:80:0b.0")
    assert present(tmp_path)
    assert [d.index for d in read(tmp_path).devices] == [0, 1]


def test_what_intels_npu_holds_of_ram_is_told_when_processes_are_asked_for(tmp_path: Path) -> None:
    intel(tmp_path)
    nothing = Bytes(0)
    assert read(tmp_path).carveouts == (Carveout(INTEL, nothing, nothing, used=mib(900)),)
    assert read(tmp_path, Tier.MEMORY).carveouts == (Carveout(INTEL, nothing, nothing),)


def test_an_npu_of_amd_claims_no_part_of_ram_as_it_has_no_total(tmp_path: Path) -> None:
    amd(tmp_path)
    assert read(tmp_path).carveouts == ()


def test_an_old_driver_tells_less_and_that_is_none(tmp_path: Path) -> None:
    folder = intel(tmp_path)
    for name in ("npu_memory_utilization", "npu_current_frequency_mhz", "npu_busy_time_us"):
        (folder / name).unlink()
    sample = read(tmp_path)
    assert sample.carveouts[0].used is None
    assert sample.health == {INTEL: Health()}


def test_holders_are_listed_once_with_whoever_shares_their_memory(tmp_path: Path) -> None:
    intel(tmp_path)
    for pid in (41, 40):
        client(tmp_path, pid, "intel_vpu", "0000:00:0b.0", drm_total_memory="640 MiB")
    assert read(tmp_path).holders == (Holder(40, RAM, mib(640), "program-40", sharers=(41,)),)
    assert read(tmp_path, Tier.MEMORY).holders is None


def test_what_is_resident_counts_and_not_what_was_requested(tmp_path: Path) -> None:
    intel(tmp_path)
    sizes = {"drm_total_memory": "2 GiB", "drm_resident_memory": "768 MiB"}
    client(tmp_path, 40, "intel_vpu", "0000:00:0b.0", **sizes)
    client(tmp_path, 42, "xe", "0000:03:00.0", drm_resident_vram0="1 GiB")
    assert read(tmp_path).holders == (Holder(40, RAM, mib(768), "program-40"),)


def test_pages_that_a_process_has_in_its_resident_set_are_not_counted_again(tmp_path: Path) -> None:
    amd(tmp_path)
    client(tmp_path, 40, "amdxdna_accel_driver", "0000:c4:00.1", drm_total_memory="64 MiB")
    assert read(tmp_path).holders == ()


def test_utilization_is_the_share_of_time_between_two_reads(tmp_path: Path, clock: Clock) -> None:
    folder = intel(tmp_path)
    collector = NpuCollector(tmp_path, clock)
    assert health(collector) == Health(utilization=None, clock=1.85e9)
    clock.now += 5
    write(folder, {"npu_busy_time_us": 6_250_000})
    assert health(collector).utilization == 0.25
    clock.now += 1
    write(folder, {"npu_busy_time_us": 9_000_000})
    assert health(collector).utilization == 1.0


def test_a_counter_that_starts_again_gives_no_share(tmp_path: Path, clock: Clock) -> None:
    folder = intel(tmp_path)
    collector = NpuCollector(tmp_path, clock)
    health(collector)
    clock.now += 5
    write(folder, {"npu_busy_time_us": 10})
    assert health(collector).utilization is None
    clock.now += 5
    assert health(collector).utilization == 0.0


def test_an_npu_without_a_clock_tells_none(tmp_path: Path) -> None:
    intel(tmp_path, **{"npu_current_frequency_mhz": 0, "power/runtime_status": "suspended"})
    sample = read(tmp_path)
    assert sample.devices[0].asleep
    assert sample.health == {INTEL: Health()}


@given(st.text(max_size=30), st.integers(-(2**70), 2**70) | st.text(max_size=12))
def test_no_text_in_the_files_is_an_error(
    tmp_path_factory: pytest.TempPathFactory, event: str, number: object
) -> None:
    root = tmp_path_factory.mktemp("npu")
    names = ("npu_busy_time_us", "npu_memory_utilization", "npu_current_frequency_mhz")
    for told in (event, f"{event}\nDRIVER=intel_vpu\nPCI_SLOT_NAME=0000:00:0b.0"):
        files = {"uevent": told, "device": event, **dict.fromkeys(names, number)}
        write(root / "sys/class/accel/accel0/device", files)
        sample = NpuCollector(root).read(Tier.ALL)
        for part in sample.carveouts:
            assert part.used is None or part.used >= 0
        for felt in (sample.health or {}).values():
            assert felt.clock is None or felt.clock > 0


def test_the_shares_stay_within_the_whole(tmp_path: Path) -> None:
    intel(tmp_path)

    @given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10**9)), max_size=6))
    def check(steps: list[tuple[float, int]]) -> None:
        clock = Clock()
        collector = NpuCollector(tmp_path, clock)
        [node] = npu.nodes(tmp_path)
        for passed, busy in steps:
            clock.now += passed
            (node.path / "npu_busy_time_us").write_text(str(busy))
            share = health(collector).utilization
            assert share is None or 0 <= share <= 1

    check()
