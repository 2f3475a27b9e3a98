"""What the benchmarks measure is there to be measured."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from benchmarks import sampling, scraping
from tests.nvml.fake_nvml import GIB, State


@pytest.fixture
def driver(nvml_library: Path, tmp_path: Path) -> State:
    state = State(tmp_path / "nvml.txt")
    state.gpu(0, name="NVIDIA H100", total=80 * GIB, used=GIB)
    return state


def test_the_calls_of_a_driver_are_timed_one_by_one(driver: State, nvml_library: Path) -> None:
    with driver.loaded(nvml_library):
        whats = [what for what, _, _ in sampling.calls()]
    assert whats == [
        "the NVIDIA driver, to initialise",
        "GPU 0 (NVIDIA H100): memory",
        "GPU 0 (NVIDIA H100): process lists",
        "GPU 0 (NVIDIA H100): health",
    ]


def test_without_a_driver_it_is_said_that_its_calls_were_not_measured(
    driver: State, nvml_library: Path
) -> None:
    with driver.loaded(nvml_library):
        driver.fault(9, "nvmlInitWithFlags")
        ((_, told, _),) = sampling.calls()
    assert told.startswith("not measured: ")


@pytest.mark.slow
def test_a_look_at_eight_gpus_is_measured_with_all_that_is_on_them(
    nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"HOLDERS": 2, "LOOKS": 3, "LAG": 0.2}.items():
        monkeypatch.setattr(sampling, name, value)
    with sampling.sleepers(16) as pids:
        driver = sampling.busy(tmp_path, pids)
        for name, text in driver.env(nvml_library).items():
            monkeypatch.setenv(name, text)
        rows = asyncio.run(sampling.looks(tmp_path, pids))
    figures = {what.partition(", ")[2]: figure for what, figure, _ in json.loads(json.dumps(rows))}
    looks = [float(figure.split()[0]) for what, figure in figures.items() if " look" in what]
    assert len(looks) == 4
    assert all(0 < milliseconds < 100 for milliseconds in looks)


def test_a_scrape_is_measured_on_the_loop_and_in_its_thread() -> None:
    found = scraping.rows(pages=2, idle=0.02)
    assert found[0][0].startswith("a scrape, 200 models on 20 engines, 6,")
    assert [figure.partition(" ")[2] for _, figure, _ in found] == ["ms of CPU", "ms", "ms"]
    assert all(float(figure.split()[0]) > 0 for _, figure, _ in found)
