"""Machines that people have, as files: what the command says of each of them, to the letter.

What is expected lies in the capture's folder; tests.collectors.regold writes it anew.
"""

import json
import os
from pathlib import Path
from typing import Any

import psutil
import pytest

from collectors.capture import Capture
from collectors.process import list_commands, read_processes
from collectors.recorded import FILE, Pseudonyms, Recorder
from tests.collectors.regold import EXPECTED, captures, output

ASKED_FOR = {
    "rtx-4090-desktop",
    "8x-h100-mig",
    "gb10",
    "rx-7900-xtx",
    "strix-halo",
    "arc-b580",
    "m2-max-64gb",
    "container-cgroup-v2",
    "no-gpu",
}
KINDS = {"dedicated", "unified", "host"}

each = pytest.mark.parametrize("capture", captures(), ids=lambda path: path.name)


def told(capture: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(output(capture, "--json", "--top", "1000"))
    return document


def numbers(value: Any, path: str = "") -> list[tuple[str, float]]:
    """Every number in a document, and where it stands."""
    if isinstance(value, dict):
        return [n for key, item in value.items() for n in numbers(item, f"{path}.{key}")]
    if isinstance(value, list):
        return [n for i, item in enumerate(value) for n in numbers(item, f"{path}[{i}]")]
    return [(path, value)] if isinstance(value, int | float) else []


def test_the_machines_that_matter_are_there() -> None:
    assert {path.name for path in captures()} >= ASKED_FOR


@each
@pytest.mark.parametrize("name", EXPECTED)
def test_a_capture_is_told_as_it_was_when_it_was_reviewed(capture: Path, name: str) -> None:
    assert output(capture, *EXPECTED[name]) == (capture / name).read_text()


@each
def test_a_capture_says_what_it_is(capture: Path) -> None:
    assert len((capture / "ABOUT").read_text().split()) > 10


@each
def test_nothing_about_a_capture_is_a_fault(capture: Path) -> None:
    assert told(capture)["faults"] == {}


@each
def test_the_parts_of_every_pool_sum_to_what_is_used_of_it(capture: Path) -> None:
    pools = told(capture)["pools"]
    assert pools
    for pool in pools:
        assert sum(part["size"] for part in pool["parts"]) == pool["used"]
        assert pool["used"] + pool["free"] == pool["total"] > 0
        assert pool["kind"] in KINDS


@each
def test_every_byte_is_in_one_pool_and_every_device_draws_from_a_pool_there_is(
    capture: Path,
) -> None:
    machine = told(capture)
    pools = [pool["id"] for pool in machine["pools"]]
    blind = [pool["pool"] for pool in machine["blind"]]
    assert "ram" in pools
    assert len(set(pools + blind)) == len(pools) + len(blind)
    whole = {device["uuid"] for device in machine["devices"]}
    for device in machine["devices"]:
        assert device["pool"] in (None, *pools, *blind)
        assert device["parent"] in (None, *whole)
    for holder in machine["processes"]:
        assert holder["pool"] in pools + blind


@each
def test_no_number_about_a_machine_is_negative(capture: Path) -> None:
    assert [found for found in numbers(told(capture)) if found[1] < 0] == []


@each
def test_what_a_person_sees_fits_a_terminal(capture: Path) -> None:
    shown = output(capture)
    assert max(map(len, shown.splitlines())) <= 90
    assert "\x1b" not in shown


@each
def test_of_a_machine_on_record_nothing_is_asked_of_this_one(
    capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*arguments: object) -> None:
        raise AssertionError(f"this machine was asked for {arguments}")

    for name in ("process_iter", "pids", "Process", "virtual_memory", "swap_memory"):
        monkeypatch.setattr(psutil, name, asked)
    assert told(capture)["faults"] == {}
    assert list_commands(capture).keys() <= {p["pid"] for p in told(capture)["processes"]}
    assert read_processes([os.getpid()], capture) == {}


@each
def test_a_capture_of_a_capture_shows_the_same_machine(capture: Path, tmp_path: Path) -> None:
    """So what is copied is enough, and the pseudonyms fit together."""
    recorder = Recorder(None)
    if (capture / FILE).exists():
        recorder.answers = json.loads((capture / FILE).read_text())
    Capture(capture, tmp_path / "again", Pseudonyms()).take(recorder)
    assert numbers(told(tmp_path / "again")) == numbers(told(capture))
