"""The dashboard: committed as it is made, of metrics and labels that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from grafana import build
from supervisor.web.metrics import NAMES, PREFIX

ROOT = Path(__file__).parent.parent
BOARD = json.loads((ROOT / "grafana/overview.json").read_text())
PANELS = [p for p in BOARD["panels"] if p["type"] != "row"]
PROMTOOL = shutil.which("promtool")

# What Prometheus adds to every series.
ALWAYS = {"instance", "job"}
LABELS = {PREFIX + row.name: {*row.labels, *ALWAYS} for row in NAMES}
for row in NAMES:
    if row.type == "histogram":
        of = LABELS.pop(PREFIX + row.name)
        LABELS[f"{PREFIX}{row.name}_bucket"] = of | {"le"}
        LABELS |= {f"{PREFIX}{row.name}_{end}": of for end in ("sum", "count")}
COUNTERS = {PREFIX + row.name for row in NAMES if row.type == "counter"}
UNITS = {"bytes", "none", "s", "percentunit", "celsius", "watt"}


def title(panel: Any) -> str:
    return panel["title"]


def queries(panel: Any) -> list[tuple[str, str]]:
    """Expressions and legends of a panel."""
    return [(t["expr"], t.get("legendFormat", "")) for t in panel["targets"]]


def mistakes(expr: str, legend: str = "") -> list[str]:
    """What is wrong with an expression: unknown metrics, labels that are not on them."""
    used = re.findall(rf"\b({PREFIX}\w+)(?:\{{([^}}]*)\}})?", expr)
    wrong = [f"no metric is called {metric}" for metric, _ in used if metric not in LABELS]
    for metric, selector in used:
        labels = set(re.findall(r"(\w+)\s*[=!]~?", selector))
        wrong += [f"{metric} has no {x}" for x in labels - LABELS.get(metric, labels)]
        if "$instance" not in selector:
            wrong.append(f"{metric} is not narrowed to the instances that were chosen")
    there = set().union(*(LABELS.get(metric, set()) for metric, _ in used))
    grouped = re.findall(r"\b(?:by|on|group_left)\s*\(([^)]*)\)", expr)
    named = {label.strip() for group in grouped for label in group.split(",")}
    wrong += [f"nothing here has {label}" for label in named - there]
    kept = re.match(r"(?:\w+\()*sum by \(([^)]*)\)|histogram_quantile\(.*?sum by \(([^)]*)\)", expr)
    left = {w.strip() for w in (kept[1] or kept[2]).split(",")} if kept else there
    wrong += [f"{{{{{x}}}}} is gone" for x in set(re.findall(r"\{\{(\w+)\}\}", legend)) - left]
    for metric in {m for m, _ in used} & (COUNTERS | {m for m in LABELS if m.endswith("_bucket")}):
        if not re.search(rf"(increase|rate)\({metric}\{{[^}}]*\}}\[\$__rate_interval\]", expr):
            wrong.append(f"{metric} only grows: show its increase")
    return wrong


def test_the_dashboard_is_what_its_data_make():
    assert (ROOT / "grafana/overview.json").read_text() == build.written(), "run `make docs`"


def test_checking_the_dashboard_writes_nothing_and_tells(tmp_path, monkeypatch, capsys):
    old = tmp_path / "overview.json"
    old.write_text("{}\n")
    monkeypatch.setattr(build, "OVERVIEW", old)
    assert build.main(["--check"]) == 1
    assert old.read_text() == "{}\n"
    assert "make docs" in capsys.readouterr().out
    assert build.main([]) == 0
    assert build.main(["--check"]) == 0
    assert json.loads(old.read_text()) == BOARD


@pytest.mark.parametrize("panel", PANELS, ids=title)
def test_every_metric_and_label_exists(panel):
    assert {e: found for e, legend in queries(panel) if (found := mistakes(e, legend))} == {}


@pytest.mark.parametrize(
    ("expr", "legend", "said"),
    [
        ('ullage_memory_free{instance=~"$instance"}', "", "no metric is called"),
        ('ullage_pressure{instance=~"$instance", model="x"}', "", "has no model"),
        ('sum by (model) (ullage_pressure{instance=~"$instance"})', "", "nothing here has model"),
        ('sum by (pool) (ullage_memory_free_bytes{instance=~"$instance"})', "{{kind}}", "is gone"),
        ('ullage_evictions_total{instance=~"$instance"}', "", "only grows"),
        ("ullage_pressure", "", "not narrowed"),
        ('increase(ullage_eviction_duration_seconds{instance=~"$instance"}[5m])', "", "no metric"),
    ],
)
def test_an_expression_that_cannot_work_is_found(expr, legend, said):
    assert any(said in found for found in mistakes(expr, legend))


@pytest.mark.parametrize("panel", PANELS, ids=title)
def test_every_panel_says_what_it_is_and_in_which_unit(panel):
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"] == build.SOURCE
    assert panel["targets"]
    assert all(t["datasource"] == build.SOURCE and t["refId"] for t in panel["targets"])
    assert len({t["refId"] for t in panel["targets"]}) == len(panel["targets"])


def test_bytes_are_drawn_as_bytes_and_seconds_as_seconds():
    ends = {"_bytes": "bytes", "_bytes_total": "bytes", "_ratio": "percentunit", "_watts": "watt",
            "_celsius": "celsius", "_seconds": "s", "_seconds_bucket": "s"}  # fmt: skip
    for panel in PANELS:
        for expr, _ in queries(panel):
            metric = re.search(rf"{PREFIX}\w+", expr)
            assert metric is not None
            unit = next((u for end, u in ends.items() if metric[0].endswith(end)), "none")
            assert panel["fieldConfig"]["defaults"]["unit"] == unit


def test_it_can_be_imported_beside_others_and_for_any_data_source():
    assert BOARD["uid"] == "ullage-overview"
    assert "id" not in BOARD  # Grafana gives one
    source, *variables = BOARD["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == (
        "datasource", "datasource", "prometheus"
    )  # fmt: skip
    assert [v["name"] for v in variables] == ["instance", "pool"]
    for variable in variables:
        asked = re.fullmatch(r"label_values\((\w+)(\{.*\})?, (\w+)\)", variable["query"]["query"])
        assert asked is not None
        assert asked[3] in LABELS[asked[1]]


def test_rows_are_there_in_order_and_nothing_overlaps():
    assert [p["title"] for p in BOARD["panels"] if p["type"] == "row"] == [
        "Headroom", "Memory by owner", "Models", "Evictions", "Gateway", "Findings", "Devices"
    ]  # fmt: skip
    ids = [p["id"] for p in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    places = [p["gridPos"] for p in BOARD["panels"]]
    assert all(p["x"] + p["w"] <= build.WIDTH for p in places)
    for one, other in pairwise(places):
        beside = one["y"] == other["y"] and one["x"] + one["w"] <= other["x"]
        assert beside or one["y"] + one["h"] <= other["y"]


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_prometheus_can_read_every_expression(tmp_path):
    rules = []
    for i, (expr, _) in enumerate(q for panel in PANELS for q in queries(panel)):
        for variable in ("instance", "pool"):
            expr = expr.replace(f"${variable}", ".+")
        rules.append({"record": f"panel:{i}", "expr": expr.replace("$__rate_interval", "1m")})
    file = tmp_path / "rules.yml"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    ran = subprocess.run([PROMTOOL, "check", "rules", file], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert f"{len(rules)} rules" in ran.stdout
