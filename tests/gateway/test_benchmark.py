"""What the gateway's benchmark measures is there to be measured."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from benchmarks import fleet_gateway, gateway


@pytest.mark.slow
def test_the_whole_gateway_is_measured_beside_a_direct_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gateway, "AT", (2,))
    monkeypatch.setattr(gateway, "MANY", 4)
    monkeypatch.setattr(gateway, "ASKED_AT", 3)
    options = ["--json", "--seconds", "0.3", "--rounds", "1", "--peers", "direct,ullage,relay"]
    assert gateway.main(options) == 0
    found = json.loads(capsys.readouterr().out)
    few, many = found["concurrency"]["2"], found["concurrency"]["4"]
    assert few["requests_per_s"] > 0
    assert {"added_p50_ms", "added_p99_ms"} <= few.keys()
    assert (many["completed"], many["cut"]) == (8, 0)
    assert many["peak_rss_mib"] > 10
    assert "loop_lag_p99_ms" in many
    assert found["peers"]["relay"]["burst 2"]["cut"] == 0
    assert {"added_p50_ms", "added_p99_ms"} <= found["concurrency"]["3"].keys()


def test_what_is_asked_of_the_gateway_stands_beside_what_it_does() -> None:
    few, many = str(gateway.ASKED_AT), str(gateway.MANY)
    found = {"concurrency": {few: {"added_p50_ms": 0.41}, many: {"cut": 0.0}}}
    console = Console(width=100)
    with console.capture() as caught:
        console.print(gateway.asked(found))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in caught.get().splitlines()]
    assert ["first byte of 50 streams, added, p50", "0.4", "< 5 ms"] in rows
    assert ["first byte of 50 streams, added, p99", "not measured", "< 25 ms"] in rows
    assert ["of 1000 streams at once, cut", "0.0", "0"] in rows


@pytest.mark.slow
def test_a_request_for_another_host_is_measured_beside_one_that_stays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fleet_gateway, "AT", (2,))
    assert fleet_gateway.main(["--json", "--seconds", "0.3", "--rounds", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"engine", "alone", "b", "a"}
    assert all(row["2"]["cut"] == 0 for row in found.values())
    assert all(row["2"]["requests_per_s"] > 0 for row in found.values())
    assert found["a"]["2"]["added_p50_ms"] is not None
    assert found["engine"]["2"]["added_p50_ms"] is None
