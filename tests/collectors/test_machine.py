"""Which collectors there are, here and for a capture of another machine."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from collectors.apart import Apart
from collectors.apple import AppleCollector
from collectors.host import HostCollector
from collectors.machine import find, fold
from collectors.owner import Owner, read_all
from collectors.perhaps import Perhaps
from collectors.reading import RAM, Collector, Reading, Seconds, Tier, mib
from collectors.rest import Resting
from collectors.windows import WindowsCollector
from tests.collectors.regold import CAPTURES, captures

DRIVERS = ["nvidia", "amd", "intel", "npu"]


def made(collectors: list[Collector]) -> dict[str, Collector]:
    """What stands behind those that may not be there, were they there."""
    return {c.name: c._make() for c in collectors if isinstance(c, Perhaps)}


def test_this_machine_has_collectors_and_ram() -> None:
    collectors = find()
    assert isinstance(collectors[0], HostCollector)
    owners = [Owner(collectors[0])]
    machine = fold(read_all(owners, Tier.MEMORY))
    owners[0].close()
    assert machine.pools[0].total > mib(1)


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
def test_on_linux_every_driver_may_be_there_and_is_made_only_once_it_is() -> None:
    collectors = find()
    assert [c.name for c in collectors] == ["host", *DRIVERS]
    assert all(isinstance(c, Perhaps) and not c.holds for c in collectors[1:])


def test_apart_gives_each_driver_a_process_and_nvidia_leave_to_sleep() -> None:
    found = made(find(apart=True))
    assert list(found) == DRIVERS
    assert isinstance(found["nvidia"], Resting)
    assert all(isinstance(found[name], Apart) for name in DRIVERS[1:])
    assert not any(isinstance(c, Apart | Resting) for c in made(find()).values())


def test_whoever_reads_a_driver_from_a_process_is_made_there_as_it_is_here() -> None:
    """The words that the process is told name the very class that is made without one."""
    for collector in find(apart=True):
        if isinstance(collector, Perhaps):
            made = collector._make()
            apart: Any = made._inner if isinstance(made, Resting) else made
            module, _, name = apart._target.partition(":")
            assert getattr(sys.modules[module], name).name == collector.name


def test_on_a_mac_one_collector_says_all(monkeypatch: pytest.MonkeyPatch) -> None:
    [only] = find(CAPTURES / "m2-max-64gb", apart=True)
    assert isinstance(only, AppleCollector)
    monkeypatch.setattr(sys, "platform", "darwin")
    [only] = find()
    assert isinstance(only, AppleCollector)


def test_on_windows_counters_tell_what_the_driver_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    found = find()
    assert [c.name for c in found] == ["host", "nvidia", "windows"]
    assert isinstance(found[2], WindowsCollector)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("capture", captures(), ids=lambda path: path.name)
def test_a_capture_is_never_answered_by_this_machines_drivers(
    capture: Path, apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("this machine was asked")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    monkeypatch.setattr("subprocess.Popen", refuse)
    readings = []
    for collector in find(capture, apart=apart):
        sample = collector.read(Tier.ALL)
        readings.append(Reading(collector.name, Seconds(0), Seconds(0), sample))
    machine = fold(readings)
    assert [p.id for p in machine.pools].count(RAM) == 1
    assert machine.blind == ()


def test_a_capture_without_the_drivers_answers_says_so(tmp_path: Path) -> None:
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").write_text("580.95")
    [nvidia] = [c for c in find(tmp_path) if c.name == "nvidia"]
    assert nvidia.read(Tier.ALL).notes == ("this capture has no answers of the nvidia driver",)


def test_what_a_capture_lacks_is_no_fact_about_this_machine(tmp_path: Path) -> None:
    absent = [c.read(Tier.ALL).notes for c in find(tmp_path) if c.name != "host"]
    assert absent == [()] * 4
