"""Jetson boards, by their files and with a driver that knows more or less of them."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors import machine, tegra
from collectors.errors import CollectorError
from collectors.nvidia import NO_DRIVER, NvidiaCollector
from collectors.owner import Owner, read_all
from collectors.reading import (
    RAM,
    Carveout,
    Device,
    Health,
    Holder,
    PoolId,
    PoolKind,
    Sample,
    Seconds,
    Tier,
    gib,
    mib,
)
from collectors.rest import Resting
from collectors.tegra import TegraCollector, parse_clients
from tests.nvml.fake_nvml import State

ORIN = Path(__file__).parent.parent / "captures/jetson-orin"
GPU = "tegra-17000000.gpu"
THOR = Device("GPU-thor", RAM, "NVIDIA Thor", 0, "nvidia", "580.00", "0000:01:00.0")
KIB = 1024
HELD = (
    Holder(1820, RAM, 94208 * KIB, "Xorg"),
    Holder(2110, RAM, 68412 * KIB, "gnome-shell"),
    Holder(4127, RAM, 14680064 * KIB, "llama-server"),
)


class Driver:
    """NVML as a test has it answer."""

    deadline = Seconds(2.0)

    def __init__(self, sample: Sample | Exception) -> None:
        self.sample, self.closed = sample, 0
        self.pid: int | None = None

    def read(self, tiers: Tier) -> Sample:
        if isinstance(self.sample, Exception):
            raise self.sample
        return self.sample

    def close(self) -> None:
        self.closed += 1


def board(root: Path, **files: str) -> Path:
    """The least that makes a Jetson. `files` replace or add others, by place."""
    told = {
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
        "sys/class/devfreq/17000000.gpu/device/of_node/name": "ga10b\0",
        **files,
    }
    for place, text in told.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text)
    return root


def test_without_a_driver_to_ask_the_files_tell_of_the_gpu_and_who_holds_ram_by_it() -> None:
    assert TegraCollector(ORIN).read(Tier.ALL) == Sample(
        devices=(
            Device(
                GPU, RAM, "NVIDIA Jetson AGX Orin Developer Kit", 0, "nvidia", driver="L4T 36.4.3"
            ),
        ),
        carveouts=(Carveout(GPU, mib(0), mib(0), used=14809916 * KIB),),  # less what two share
        holders=HELD,
        health={GPU: Health(utilization=0.873, temperature=51.812, clock=1300.5e6)},
    )


def test_what_nobody_asked_for_is_not_told() -> None:
    sample = TegraCollector(ORIN).read(Tier.MEMORY)
    assert (sample.holders, sample.health) == (None, None)
    assert sample.carveouts == (Carveout(GPU, mib(0), mib(0)),)  # its limit and use are unknown


def test_the_machine_finds_it_and_its_ram_is_unified() -> None:
    found = machine.find(ORIN)
    told = machine.fold(read_all([Owner(c) for c in found], Tier.ALL))
    (ram,) = told.pools
    assert (ram.kind, ram.total, ram.free) == (PoolKind.UNIFIED, 64349184 * KIB, 46335396 * KIB)
    assert [d.uuid for d in told.devices] == [GPU]
    assert (told.notes, told.faults, told.blind) == ((), {}, ())


def test_a_daemon_asks_the_driver_in_a_process_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "HERE", ORIN)
    monkeypatch.setattr(machine, "Apart", lambda *_: Driver(Sample(devices=(THOR,))))
    found = next(c for c in machine.find(ORIN, apart=True) if c.name == "nvidia")
    assert found.read(Tier.MEMORY).devices == (THOR,)
    assert found.read(Tier.HEALTH).health == {
        THOR.uuid: Health(utilization=0.873, temperature=51.812, clock=1300.5e6)
    }
    assert found.deadline == Driver.deadline
    assert found.holds  # type: ignore[attr-defined]  # so it can be told to let go


@pytest.mark.parametrize(
    ("place", "text", "there"),
    [
        ("etc/nv_tegra_release", "# R35\n", True),
        ("proc/device-tree/model", "NVIDIA Jetson Orin Nano\0", True),
        ("proc/device-tree/model", "Raspberry Pi 5 Model B\0", False),
        ("proc/driver/nvidia/version", "NVRM version: 580\n", False),
    ],
)
def test_a_jetson_is_known_by_its_release_or_its_name(
    tmp_path: Path, place: str, text: str, there: bool
) -> None:
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text(text)
    assert tegra.present(tmp_path) is there


@pytest.mark.parametrize("name", ["vic\0", "nvdla0\0", ""])
def test_a_board_that_shows_no_gpu_is_as_its_driver_says(tmp_path: Path, name: str) -> None:
    board(tmp_path, **{"sys/class/devfreq/17000000.gpu/device/of_node/name": name})
    assert TegraCollector(tmp_path).read(Tier.ALL) == Sample()
    told = Sample(notes=(NO_DRIVER,))
    assert TegraCollector(tmp_path, inner=Driver(told)).read(Tier.ALL) == told


def test_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    board(tmp_path, **{"sys/class/devfreq/17000000.gpu/device/load": "1001\n"})
    sample = TegraCollector(tmp_path).read(Tier.ALL)
    assert sample.health == {GPU: Health()}
    assert (sample.holders, sample.devices[0].driver) == (None, None)
    assert sample.carveouts[0].used is None


# -- beside a driver


def test_a_driver_that_is_not_there_is_no_news(driver: State, tmp_path: Path) -> None:
    driver.fault(12, "nvmlInitWithFlags")
    inner = NvidiaCollector(tmp_path)
    sample = TegraCollector(board(tmp_path), inner).read(Tier.ALL)
    assert ([d.uuid for d in sample.devices], sample.notes) == ([GPU], ())


def test_a_process_that_could_not_be_ended_still_has_the_driver_open() -> None:
    inner = Driver(Sample())
    resting = Resting(TegraCollector(ORIN, inner), ORIN)
    resting.release(Seconds(time.monotonic() + 300))
    for pid, closed in ((4242, False), (None, True)):
        inner.pid = pid
        with pytest.raises(CollectorError):
            resting.read(Tier.MEMORY)
        assert resting.closed is closed


def test_what_nvml_knows_of_the_gpu_goes_first_and_files_fill_in_the_rest() -> None:
    health = {THOR.uuid: Health(utilization=0.5, power=30.0)}
    inner = Driver(Sample(devices=(THOR,), health=health, unlisted=(RAM,)))
    sample = TegraCollector(ORIN, inner=inner).read(Tier.ALL)
    assert sample.devices == (THOR,)
    assert sample.health == {
        THOR.uuid: Health(utilization=0.5, power=30.0, temperature=51.812, clock=1300.5e6)
    }
    assert [c.device for c in sample.carveouts] == [THOR.uuid]
    assert (sample.holders, sample.unlisted) == (HELD, ())  # files list what NVML does not


def test_processes_that_nvml_lists_are_not_listed_twice() -> None:
    listed = (Holder(4127, RAM, gib(14), "llama-server"),)
    inner = Driver(Sample(devices=(THOR,), holders=listed))
    assert TegraCollector(ORIN, inner=inner).read(Tier.ALL).holders == listed


def test_a_card_in_a_slot_is_another_gpu() -> None:
    card = replace(THOR, uuid="GPU-card", pool=PoolId("GPU-card"), name="NVIDIA RTX A2000")
    own = Holder(7, PoolId("GPU-card"), gib(1))
    inner = Driver(Sample(devices=(card,), holders=(own,)))
    sample = TegraCollector(ORIN, inner=inner).read(Tier.ALL)
    assert [(d.uuid, d.index) for d in sample.devices] == [("GPU-card", 0), (GPU, 1)]
    assert sample.holders == (own, *HELD)


def test_a_driver_that_fails_is_a_fault_and_is_closed_when_told() -> None:
    inner = Driver(CollectorError("gone"))
    collector = TegraCollector(ORIN, inner=inner)
    with pytest.raises(CollectorError, match="gone"):
        collector.read(Tier.MEMORY)
    collector.close()
    TegraCollector(ORIN).close()  # nothing to close
    assert inner.closed == 1


# -- nvmap's list


def test_a_process_with_two_clients_holds_both_and_its_name_may_have_blanks() -> None:
    text = (
        "CLIENT                        PROCESS      PID        SIZE\n"
        "user                   Web Content 2      812       1024K\n"
        "user                   Web Content 2      812       2048K\n"
        "kernel                        nvgpu        0       4096K\n"
        "user                         argusd        9          0K\n"
        "total                                              7168K\n"
    )
    assert parse_clients(text) == ((Holder(812, RAM, mib(3), "Web Content 2"),), mib(7))


def test_no_list_is_not_an_empty_one() -> None:
    assert parse_clients("") == ((), None)
    assert parse_clients("total                 0K\n") == ((), mib(0))


@given(st.text(alphabet="user total0123456789K\n\t -", max_size=200) | st.text(max_size=50))
def test_any_text_gives_positive_sizes_or_nothing(text: str) -> None:
    holders, total = parse_clients(text)
    assert all(h.size is not None and h.size > 0 and h.pid >= 0 for h in holders)
    assert total is None or total >= 0
