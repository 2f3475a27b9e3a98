"""What the gateway's benchmark measures is there to be measured."""

from __future__ import annotations

import json

import pytest

from benchmarks import fleet_gateway, gateway


@pytest.mark.slow
def test_the_whole_gateway_is_measured_beside_a_direct_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gateway, "AT", (2,))
    monkeypatch.setattr(gateway, "MANY", 4)
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
