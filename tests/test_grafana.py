"""The dashboards: committed as they are made, and nothing is wrong with what they ask."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana import build
from supervisor.web.names import NAMES, PREFIX
from tests.dashboards.expressions import filled, mistakes
from tests.dashboards.linter import RULES, asked, lint, panels, variables

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "grafana"
BOARDS = {b.name: json.loads((FOLDER / f"{b.name}.json").read_text()) for b in build.BOARDS}
PROMTOOL = shutil.which("promtool")
each_board = pytest.mark.parametrize("name", BOARDS)

WHOLE_TIME = "says what happened in all the time that is shown"
# What a rule finds and is meant so, and why.
EXCEPTIONS = {
    ("target-rate-interval", "overview", "Models unloaded"): WHOLE_TIME,
    ("target-rate-interval", "overview", "What alerts did"): WHOLE_TIME,
    ("target-rate-interval", "models", "What came back"): WHOLE_TIME,
    ("target-rate-interval", "models", "What was unloaded, and why"): WHOLE_TIME,
    ("target-rate-interval", "models", "Where each model was"): (
        "a model that is not there now and was at another time has a line all the same"
    ),
    ("target-rate-interval", "gateway", "Why they were refused"): WHOLE_TIME,
    ("target-rate-interval", "fleet", "Placements in all"): WHOLE_TIME,
    ("target-rate-interval", "hardware", "Energy"): WHOLE_TIME,
    ("target-rate-interval", "hardware", "Errors in all"): WHOLE_TIME,
    ("target-counter-agg", "hardware", "Errors in all"): (
        "an error's series begins with its first one, which an increase would not see"
    ),
}
# Metrics that no panel shows, and why.
UNSHOWN = {
    "memory_reserved_bytes": "it never changes; the capacity is without it",
    "memory_mapped_bytes": "the difference of the two headrooms",
    "host_memory_pressure_level": "a word of macOS for what the share of stalled time says",
    "engine_last_success_timestamp_seconds": "whether an engine is up is shown as a state",
    "collector_last_success_timestamp_seconds": "the age of the readings is shown",
    "pins": "models are shown as pinned, one by one",
    "leases": "the leases of each model are shown",
    "reservations": "models are shown as loading, and bytes as promised",
    "job_reservations": "what is kept for jobs is shown in bytes",
    "alert_last_timestamp_seconds": "for a rule; what was received is shown by outcome",
    "config_last_reload_success_timestamp_seconds": "whether it is in force is shown",
    "tls_certificate_expiry_timestamp_seconds": "for a rule, weeks before it matters",
    "event_readers": "for whoever looks for a leak",
}


# -- what is committed


@each_board
def test_a_dashboard_is_what_its_data_make(name):
    board = next(b for b in build.BOARDS if b.name == name)
    assert (FOLDER / f"{name}.json").read_text() == build.written(board), "run `make docs`"


def test_no_other_dashboard_lies_about():
    assert {f.stem for f in FOLDER.glob("*.json")} == set(BOARDS)


def test_checking_the_dashboards_writes_nothing_and_tells(tmp_path, monkeypatch, capsys):
    old = tmp_path / "host.json"
    old.write_text("{}\n")
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    assert build.main(["--check"]) == 1
    assert [f.name for f in tmp_path.iterdir()] == ["host.json"]
    assert old.read_text() == "{}\n"
    assert "make docs" in capsys.readouterr().out
    assert build.main([]) == 0
    assert build.main(["--check"]) == 0
    assert {f.stem: json.loads(f.read_text()) for f in tmp_path.iterdir()} == BOARDS


# -- what is wrong with them


@each_board
def test_a_dashboard_has_nothing_wrong_but_what_is_meant_so(name):
    found = lint(BOARDS[name])
    assert [f for f in found if (f[0], name, f[1]) not in EXCEPTIONS] == []


def test_no_exception_is_made_for_what_is_not_there():
    found = {(rule, name, where) for name, b in BOARDS.items() for rule, where, _ in lint(b)}
    assert set(EXCEPTIONS) <= found
    assert all(EXCEPTIONS.values())


def first(board: Any, type: str = "timeseries") -> Any:
    return next(p for p in panels(board) if p["type"] == type)


def changed(at: str, value: object) -> Any:
    """Spoil the first panel of lines: `at` is a path in it."""

    def spoil(board: Any) -> None:
        *way, last = at.split(".")
        place = first(board)
        for step in way:
            place = place[int(step) if step.isdigit() else step]
        place[last] = value

    return spoil


def asking(expr: str, legend: str = "") -> Any:
    def spoil(board: Any) -> None:
        first(board)["targets"][0] |= {"expr": expr, "legendFormat": legend}

    return spoil


def choosing(name: str, **values: object) -> Any:
    return lambda board: variables(board)[name].update(values)


def having(**values: object) -> Any:
    return lambda board: board.update(values)


def without_choice(name: str) -> Any:
    return lambda board: board["templating"]["list"].remove(variables(board)[name])


def tall(board: Any) -> None:
    first(board)["gridPos"]["h"] += 1


def renamed_column(board: Any) -> None:
    first(board, "table")["transformations"][-1]["options"]["renameByName"].pop("instance")


def unmerged(board: Any) -> None:
    first(board, "table")["transformations"].pop(0)


def uncounted(board: Any) -> None:
    mark = board["annotations"]["list"][0]
    mark["expr"] = 'ullage_samples_total{job=~"$job", instance=~"$instance"}'


H = 'job=~"$job", instance=~"$instance"'
SPOILT = [
    ("template-datasource", choosing("datasource", label="Source")),
    ("template-job", without_choice("job")),
    ("template-instance", choosing("instance", multi=False)),
    ("template-instance", choosing("instance", allValue=".*")),
    ("template-label-promql", choosing("job", query={"query": "label_values(job)"})),
    ("template-label-promql", choosing("job", query={"query": "label_values(ullage_pins, pool)"})),
    ("template-on-time-change-reload", choosing("job", refresh=1)),
    ("panel-datasource", changed("datasource", {"type": "prometheus", "uid": "mine"})),
    ("panel-datasource", changed("targets.0.datasource", None)),
    ("panel-title-description", changed("description", "")),
    ("panel-units", changed("fieldConfig.defaults.unit", "megabytes")),
    ("panel-no-targets", changed("targets", [])),
    ("target-promql", asking(f"sum by (pool) (ullage_pressure{{{H}}}")),
    ("target-promql", asking(f"ullage_presure{{{H}}}")),
    ("target-rate-interval", asking(f"rate(ullage_samples_total{{{H}}}[5m])")),
    ("target-job", asking('ullage_paused{instance=~"$instance"}')),
    ("target-job", asking('ullage_paused{job="$job", instance=~"$instance"}')),
    ("target-instance", asking('ullage_paused{job=~"$job"}')),
    ("target-counter-agg", asking(f"ullage_samples_total{{{H}}}")),
    ("target-counter-agg", asking(f"changes(ullage_samples_total{{{H}}}[$__rate_interval])")),
    ("target-counter-agg", uncounted),
    ("uneditable-dashboard", having(editable=True)),
    ("schema", having(schemaVersion=22)),
    ("schema", having(id=7)),
    ("schema", changed("type", "graph")),
    ("target-ids", lambda board: first(board)["targets"].append(first(board)["targets"][0])),
    ("choice-used", lambda board: board["templating"]["list"].append(
        {**variables(board)["job"], "name": "engine", "label": "Engine"})),
    ("legend", asking(f"ullage_findings{{{H}}}", "{{instance}}")),
    ("columns", renamed_column),
    ("columns", unmerged),
    ("unit-of-metric", changed("fieldConfig.defaults.unit", "s")),
    ("layout", tall),
    ("layout", changed("gridPos.x", 20)),
    ("layout", changed("id", 1)),
    ("layout", changed("title", "Hosts")),
    ("layout", changed("title", "Evictions")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "spoil"), SPOILT, ids=[f"{rule} {i}" for i, (rule, _) in enumerate(SPOILT)]
)
def test_what_is_wrong_is_found(rule, spoil):
    board = copy.deepcopy(BOARDS["overview"])
    before = set(lint(board))
    spoil(board)
    assert rule in {found[0] for found in set(lint(board)) - before}


def test_every_rule_has_been_seen_to_find_something():
    assert {rule for rule, _ in SPOILT} == set(RULES)


@pytest.mark.parametrize(
    ("expr", "legend", "said"),
    [
        ("ullage_memory_free", "", "no metric is called"),
        ('ullage_pressure{model="x"}', "", "has no model"),
        ("sum by (model) (ullage_pressure)", "", "nothing here has model"),
        ("sum by (pool) (ullage_memory_free_bytes)", "{{kind}}", "is gone"),
        ("ullage_memory_free_bytes / ullage_memory_reserve_bytes", "", "on one side of /"),
        ("ullage_memory_free_bytes * on (pool, model) ullage_pressure", "", "has model"),
        ("ullage_memory_free_bytes - ignoring (pool) ullage_pressure", "", "on one side of -"),
        ("ullage_pressure * on (pool) group_left (name) ullage_paused", "", "nothing here has"),
        ("ullage_pressure and on (pool) ullage_memory_free_bytes", "{{kind}}", "is gone"),
        ("ullage_pressure or ullage_memory_free_bytes", "{{kind}}", "is gone"),
        ("histogram_quantile(0.5, ullage_tick_delay_seconds_bucket)", "{{le}}", "is gone"),
        ("increase(ullage_eviction_duration_seconds[5m])", "", "no metric is called"),
        ("sum(ullage_pressure", "", "no PromQL"),
    ],
)
def test_an_expression_that_cannot_work_is_found(expr, legend, said):
    assert any(said in found for found in mistakes(expr, legend)), mistakes(expr, legend)


@pytest.mark.parametrize(
    ("expr", "legend"),
    [
        ("ullage_memory_free_bytes / ullage_memory_capacity_bytes", "{{pool}} {{kind}}"),
        ("1 - ullage_pressure", "{{pool}}"),
        ("time() - sum by (model) (ullage_model_last_used_timestamp_seconds)", "{{model}}"),
        ("ullage_memory_free_bytes - on (instance, pool) ullage_pressure", "{{pool}}"),
        ("ullage_device_asleep * on (uuid) group_left (name) ullage_device_info", "{{name}}"),
        ("ullage_memory_free_bytes and on (pool) ullage_pressure", "{{kind}}"),
        ("sum without (kind) (ullage_memory_free_bytes)", "{{pool}} {{instance}}"),
    ],
)
def test_an_expression_that_works_has_nothing_wrong(expr, legend):
    assert mistakes(expr, legend) == ()


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_prometheus_can_read_every_expression(tmp_path):
    exprs = [
        expr
        for board in BOARDS.values()
        for where, expr, _ in asked(board)
        if where not in variables(board)
    ]
    rules = [{"record": f"panel:{i}", "expr": filled(expr)} for i, expr in enumerate(exprs)]
    file = tmp_path / "rules.yml"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    ran = subprocess.run([PROMTOOL, "check", "rules", file], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert f"{len(rules)} rules" in ran.stdout


# -- what is shown, and how one goes from one to the other


def test_every_metric_is_shown_or_it_is_said_why_not():
    text = "".join(expr for board in BOARDS.values() for _, expr, _ in asked(board))
    shown = set(re.findall(rf"\b{PREFIX}(\w+)", text))
    ends = ("", "_bucket", "_sum", "_count")
    hidden = {row.name for row in NAMES if not any(row.name + end in shown for end in ends)}
    assert hidden == set(UNSHOWN)


def test_they_can_be_imported_side_by_side_and_lead_to_each_other():
    uids = {board["uid"] for board in BOARDS.values()}
    assert uids == {f"ullage-{name}" for name in BOARDS}
    assert len({board["title"] for board in BOARDS.values()}) == len(BOARDS)
    for board in BOARDS.values():
        (link,) = board["links"]
        assert set(link["tags"]) <= set(board["tags"])
        assert link["includeVars"]
        assert link["keepTime"]
    told = (FOLDER / "overview.json").read_text()
    led = set(re.findall(r"/d/([\w-]+)\?", told))
    assert led
    assert led <= uids


def test_evictions_restarts_and_alerts_are_marked_on_every_page():
    for board in BOARDS.values():
        marks = {m["name"]: m["expr"] for m in board["annotations"]["list"]}
        assert list(marks) == ["Evictions", "Starts of the daemon", "Alerts"]
        # Grafana marks the moments at which the value is 1, and no others.
        assert marks["Evictions"].endswith("> bool 0")
        assert marks["Starts of the daemon"].endswith("> bool 0")


def test_the_colours_of_states_stand_for_every_state_a_model_can_have():
    from grafana.panels import STATES
    from supervisor.core.snapshot import State

    assert {word for _, word, _ in STATES[1:]} == {state.value for state in State}
    (panel,) = (p for p in panels(BOARDS["models"]) if p["title"] == "Where each model was")
    for number, word, _ in STATES[1:]:
        assert f"{number} * ullage_model_resident{{" in panel["targets"][0]["expr"]
        assert re.search(rf'{number} \* \S+\{{[^}}]*state="{word}"', panel["targets"][0]["expr"])


# -- how Grafana comes to them


def provisioned(name: str) -> Any:
    return yaml.safe_load((FOLDER / "provisioning" / name / "ullage.yml").read_text())


def test_the_provisioned_data_source_scrapes_as_often_as_prometheus_does():
    (source,) = provisioned("datasources")["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == scraped["global"]["scrape_interval"]


def test_the_provisioned_dashboards_are_read_from_files_and_not_edited():
    (provider,) = provisioned("dashboards")["providers"]
    assert provider["type"] == "file"
    assert not provider["allowUiUpdates"]
    guide = (FOLDER / "README.md").read_text()
    assert provider["options"]["path"] in guide
    assert "PROMETHEUS_URL" in guide
    assert all(f"{name}.json" in guide for name in BOARDS)
