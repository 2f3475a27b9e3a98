"""A fake driver for the real binding, and a clock that moves only when told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.rest import Resting
from tests.collectors.resting import Driver, Sysfs
from tests.nvml.fake_nvml import GIB, State


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def driver(nvml_library: Path, tmp_path: Path) -> Iterator[State]:
    """This process sees a driver with two GPUs: 24 GiB (2 used, half reserved) and 80 GiB."""
    state = State(tmp_path / "nvml.txt")
    state.gpu(
        0,
        name="NVIDIA RTX 4090",
        uuid="GPU-aaaa",
        total=24 * GIB,
        used=2 * GIB,
        reserved=GIB // 2,
        temp=41,
        power_mw=65_000,
        util=12,
        energy_mj=7_000_500,
    )
    state.gpu(1, name="NVIDIA H100", uuid="GPU-bbbb", total=80 * GIB, used=GIB)
    with state.loaded(nvml_library):
        yield state


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    sysfs = Sysfs(tmp_path)
    sysfs.power()
    return sysfs


@pytest.fixture
def inner() -> Driver:
    return Driver()


@pytest.fixture
def resting(inner: Driver, sysfs: Sysfs, clock: Clock) -> Resting:
    return Resting(inner, sysfs.root, clock)
