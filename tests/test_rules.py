"""The rules for Prometheus, the routes of Alertmanager, and the runbook: they agree."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from collectors.reading import Remedy
from collectors.xid import _CODES
from supervisor.alerting.alert import Outcome
from supervisor.config.alerted import AlertsConfig
from supervisor.config.config import load
from supervisor.core.verdict import Verdict
from supervisor.core.watch import Kind
from supervisor.engines import ENGINES
from supervisor.web.metrics import NAMES, PREFIX
from tests.rule_faults import FAULTS

DEPLOY = Path(__file__).parent.parent / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
ALERTMANAGER = DEPLOY / "alertmanager/alertmanager.yml"
CASES = sorted((PROMETHEUS / "tests").glob("*.yml"))
RUNBOOK = DEPLOY / "runbook.md"
PARTS = ("Means", "Why", "Look", "Do")

prometheus = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here")
alertmanager = pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool is not here")

# What Prometheus adds to every series, and what a histogram is made of.
ALWAYS = {"instance", "job"}
LABELS = {PREFIX + row.name: {*row.labels, *ALWAYS} for row in NAMES} | {"up": ALWAYS}
for row in NAMES:
    if row.type == "histogram":
        of = LABELS.pop(PREFIX + row.name)
        LABELS |= {f"{PREFIX}{row.name}_{end}": of for end in ("sum", "count")}
        LABELS[f"{PREFIX}{row.name}_bucket"] = of | {"le"}
COUNTERS = {PREFIX + row.name for row in NAMES if row.type == "counter"}
VALUES = {
    "kind": {k.value for k in Kind} | {"full", "xid"},
    "verdict": {v.name.lower() for v in Verdict},
    "outcome": {o.value for o in Outcome},
}


def rules(file: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / file).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = rules("alerts.yml")
RECORDED = {rule["record"]: rule for rule in rules("recording.yml")}
NAMED = list(dict.fromkeys(rule["alert"] for rule in ALERTS))


def said(command: list[str | Path]) -> tuple[int, str]:
    """Its exit code, and what it wrote, in order."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
    )
    return done.returncode, done.stdout


def walk(node: Any) -> Iterator[Any]:
    """A parsed expression and all that it is made of."""
    yield node
    for part in ("lhs", "rhs", "expr", "param", "vector_selector"):
        if (inner := getattr(node, part, None)) is not None:
            yield from walk(inner)
    for inner in getattr(node, "args", None) or ():
        yield from walk(inner)


def selectors(expr: str) -> list[tuple[str, list[Any]]]:
    """Every metric that is asked for, with its matchers."""
    found = [n for n in walk(promql.parse(expr)) if isinstance(n, promql.VectorSelector)]
    return [(str(s.name), list(s.matchers.matchers)) for s in found]


def mistakes(expr: str) -> list[str]:
    """What is wrong with an expression: metrics, labels and values that there are not."""
    wrong = []
    for metric, matchers in selectors(expr):
        if metric in RECORDED:
            continue
        if metric not in LABELS:
            wrong.append(f"no metric is called {metric}")
        for matcher in matchers:
            if matcher.name not in LABELS.get(metric, {matcher.name}):
                wrong.append(f"{metric} has no {matcher.name}")
            known = VALUES.get(matcher.name)
            if known and re.fullmatch(r"[\w|]+", matcher.value):
                strange = set(matcher.value.split("|")) - known
                wrong += [f"no {matcher.name} is called {value}" for value in sorted(strange)]
        if metric in COUNTERS and not re.search(rf"{metric}(\{{[^}}]*\}})?(\[| offset)", expr):
            wrong.append(f"{metric} only grows: ask for its increase")
    return wrong


def kept(expr: str) -> set[str]:
    """The labels that may be on what an expression comes to."""
    found: set[str] = set()
    for metric, _ in selectors(expr):
        found |= kept(RECORDED[metric]["expr"]) if metric in RECORDED else LABELS.get(metric, set())
    return found


# -- what Prometheus and Alertmanager say themselves


@prometheus
def test_prometheus_reads_its_configuration_and_every_rule() -> None:
    code, text = said(["promtool", "check", "config", PROMETHEUS / "prometheus.yml"])
    assert code == 0, text
    assert f"{len(ALERTS)} rules found" in text
    assert f"{len(RECORDED)} rules found" in text


@prometheus
def test_prometheus_reads_the_configuration_of_one_over_many_hosts() -> None:
    code, text = said(["promtool", "check", "config", PROMETHEUS / "federation.yml"])
    assert code == 0, text


def test_what_the_page_of_the_fleet_asks_for_is_taken_from_the_hosts() -> None:
    whole = yaml.safe_load((PROMETHEUS / "federation.yml").read_text())
    (job,) = whole["scrape_configs"]
    assert job["honor_labels"] is True  # or every series is of one instance
    taken = [selectors(match)[0] for match in job["params"]["match[]"]]

    def comes(metric: str) -> bool:
        by_name = (m.value for _, ms in taken for m in ms if m.name == "__name__")
        named = {name for name, _ in taken}
        return metric in named or any(re.fullmatch(pattern, metric) for pattern in by_name)

    board = (DEPLOY.parent / "grafana/fleet.json").read_text()
    rows = board[board.index('"panels"') :]
    asked = set(re.findall(rf"\b(?:instance\w*:)?{PREFIX}\w+(?::\w+)?", rows))
    assert len(asked) > 15
    assert [metric for metric in sorted(asked) if not comes(metric)] == []
    mine = {name for name in RECORDED if name.startswith("instance")}
    assert [name for name in mine if not comes(name)] == []
    assert not comes("ullage_model_memory_bytes")
    assert not comes("engine:ullage_request_hold_seconds:p95_rate10m")


@prometheus
@pytest.mark.slow
@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_every_case_of_the_rules_comes_out_as_it_says(file: Path) -> None:
    code, text = said(["promtool", "test", "rules", file])
    assert code == 0, text


@alertmanager
def test_alertmanager_reads_its_configuration() -> None:
    code, text = said(["amtool", "check-config", ALERTMANAGER])
    assert code == 0, text


def routed(name: str) -> str:
    options: list[str | Path] = ["--config.file", ALERTMANAGER, f"alertname={name}", "instance=h"]
    done = subprocess.run(
        ["amtool", "config", "routes", "test", *options], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@alertmanager
@pytest.mark.parametrize(
    ("name", "who"),
    [
        ("UllageHeadroomLow", "ullage,people"),
        ("UllageHeadroomGone", "ullage,people"),
        ("UllageEngineDown", "ullage,people"),
        ("UllageModelStuck", "ullage,people"),
        ("UllagePoolUnreadable", "people"),  # of what nobody can measure nothing is done
        ("UllageDown", "people"),
        ("SomebodyElse", "people"),
        ("UllageAlertNotActed", "people"),  # what it says of alerts must not become one of them
    ],
)
def test_people_are_told_of_all_and_ullage_of_what_it_can_do_something_about(
    name: str, who: str
) -> None:
    assert routed(name) == who


def test_what_ullage_is_told_of_says_where_and_is_said_again_before_a_hold_ends() -> None:
    config = yaml.safe_load(ALERTMANAGER.read_text())
    (route,) = [r for r in config["route"]["routes"] if r["receiver"] == "ullage"]
    told = re.findall(r"Ullage\w+", str(route["matchers"]))
    assert set(told) <= set(NAMED)
    for name in told:
        expr = next(r["expr"] for r in ALERTS if r["alert"] == name)
        assert kept(expr) & {"pool", "engine"}, f"{name} does not say what it is about"
    assert set(route["group_by"]) >= {"alertname", "instance", "pool", "engine"}
    minutes = int(re.fullmatch(r"(\d+)m", route["repeat_interval"])[1])  # type: ignore[index]
    assert 2 * minutes * 60 < AlertsConfig().hold_for
    (hook,) = next(r for r in config["receivers"] if r["name"] == "ullage")["webhook_configs"]
    assert hook["url"] == "http://127.0.0.1:8552/api/v1/alerts"
    assert hook["send_resolved"] is True
    assert hook["http_config"]["follow_redirects"] is False
    assert "credentials_file" in hook["http_config"]["authorization"]
    # Whatever holds one of them back keeps it from Ullage as well.
    for rule in config["inhibit_rules"]:
        assert rule["source_matchers"] == ["alertname = UllageDown"]
        assert rule["equal"] == ["instance"]


# -- the rules


@pytest.mark.parametrize("rule", [*ALERTS, *RECORDED.values()], ids=lambda r: r["expr"][:40])
def test_every_metric_label_and_value_that_a_rule_asks_for_exists(rule: dict[str, Any]) -> None:
    assert mistakes(rule["expr"]) == []


@pytest.mark.parametrize(
    ("expr", "said"),
    [
        ("ullage_memory_free > 0", "no metric is called ullage_memory_free"),
        ('ullage_pressure{model="x"}', "ullage_pressure has no model"),
        ('ullage_findings{kind="stcuk"}', "no kind is called stcuk"),
        ("ullage_samples_total > 0", "only grows"),
        ('increase(ullage_alerts_total{outcome=~"failed|lost"}[5m])', "no outcome is called lost"),
        ("sum(rate(ullage_request_hold_seconds[5m]))", "no metric is called"),
    ],
)
def test_an_expression_that_cannot_work_is_found(expr: str, said: str) -> None:
    assert said in " ".join(mistakes(expr))


@pytest.mark.parametrize("rule", ALERTS, ids=lambda r: f"{r['alert']} {r['labels']['severity']}")
def test_every_alert_says_how_bad_it_is_and_what_it_means_and_where_to_read_on(
    rule: dict[str, Any],
) -> None:
    name = rule["alert"]
    assert re.fullmatch(r"Ullage[A-Z]\w+", name)
    assert rule["labels"].keys() == {"severity"}, "actions are chosen by who runs it, not by us"
    assert rule["labels"]["severity"] in ("critical", "warning")
    notes = rule["annotations"]
    assert notes.keys() == {"summary", "description", "runbook_url"}
    assert notes["runbook_url"] == f"deploy/runbook.md#{name.lower()}"
    assert all(notes[part].endswith(".") for part in ("summary", "description"))
    used = set(re.findall(r"\$labels\.(\w+)", str(notes)))
    assert used <= kept(rule["expr"])
    assert "instance" in used or name == "UllageAbsent", "it does not say on which machine"


def test_one_name_means_one_thing_and_what_is_recorded_is_asked_for() -> None:
    assert len({(r["alert"], r["labels"]["severity"]) for r in ALERTS}) == len(ALERTS)
    asked = "".join(r["expr"] for r in ALERTS) + RUNBOOK.read_text()
    asked += "".join(f.read_text() for f in (DEPLOY.parent / "grafana").glob("*.json"))
    for name in RECORDED:
        assert re.fullmatch(rf"(pool|engine|instance(_[a-z]+)?):{PREFIX}[a-z_]+:[a-z0-9_]+", name)
        assert "_total" not in name
        assert name in asked, f"nobody asks for {name}"


def test_the_codes_of_gpu_errors_are_those_of_the_catalogue() -> None:
    grave, other = (
        re.search(r'code[!=]~"([\d|]+)"', r["expr"])[1].split("|")  # type: ignore[index]
        for r in ALERTS
        if r["alert"] == "UllageXid"
    )
    broken = {48}  # memory that failed: the catalogue wants counters to be looked at first
    reset = set(_CODES[Remedy.RESET] | _CODES[Remedy.REBOOT])
    assert {int(code) for code in grave} == reset | broken
    assert {int(code) for code in other} == reset | broken | set(_CODES[Remedy.NOTHING])
    for rule in ALERTS:
        codes = re.findall(r'code[!=]~"([\d|]+)"', rule["expr"])
        assert len(set(codes)) <= 1, "the first error and the next ones are of the same codes"


# -- the cases


@cache
def cases() -> dict[str, list[set[str]]]:
    """Of each case, by its name: which alerts fire at each of its moments."""
    found: dict[str, list[set[str]]] = {}
    for file in CASES:
        for case in yaml.safe_load(file.read_text())["tests"]:
            assert case["name"] not in found
            found[case["name"]] = [
                set(re.findall(r'alertname="(\w+)"', str(asked["exp_samples"])))
                for asked in case["promql_expr_test"]
                if asked["expr"].startswith("ALERTS")
            ]
    return found


@pytest.mark.parametrize("name", NAMED)
def test_every_alert_has_cases_in_which_it_fires_and_in_which_it_must_not(name: str) -> None:
    mine = {case: fires for case, fires in cases().items() if case.startswith(f"{name}: ")}
    fire = [case for case, fires in mine.items() if name in set().union(*fires)]
    silent = [case for case in mine if case not in fire]
    assert fire, "no case in which it fires"
    assert silent, "no case in which it must not"
    assert all(case.startswith(f"{name}: when ") for case in fire)
    assert all(case.startswith(f"{name}: not ") for case in silent)
    severities = {r["labels"]["severity"] for r in ALERTS if r["alert"] == name}
    text = "".join(p.read_text() for p in CASES)
    for severity in severities:
        assert re.search(rf'alertname="{name}", alertstate="firing", severity="{severity}"', text)


def test_every_case_belongs_to_an_alert_and_every_silent_one_has_its_fault() -> None:
    recorded = {"hosts"}  # a case of these is of no alert
    assert {case.split(": ")[0] for case in cases()} == {*NAMED, *recorded}
    silent = {case for case in cases() if ": not " in case}
    assert set(FAULTS) == silent, "each of these must be seen to fail: see rule_faults.py"


def broken(file: str, rule: str, old: str, new: str) -> tuple[str, int]:
    """A file of rules with a fault in those of one name; and in how many of them it is."""
    whole, changed = yaml.safe_load((PROMETHEUS / file).read_text()), 0
    for found in (r for group in whole["groups"] for r in group["rules"]):
        if rule != found.get("alert", found.get("record")):
            continue
        if old == "for":
            found["for"], changed = new, changed + 1
        elif old in found["expr"]:
            found["expr"], changed = found["expr"].replace(old, new), changed + 1
    return yaml.safe_dump(whole), changed


@prometheus
@pytest.mark.slow
def test_every_silent_case_fails_where_the_rule_lacks_what_keeps_it_silent(tmp_path: Path) -> None:
    files: dict[Path, str] = {}
    for file in CASES:
        whole = yaml.safe_load(file.read_text())
        for case in whole["tests"]:
            for rule, old, new in FAULTS.get(case["name"], ()):
                folder = tmp_path / str(len(files))
                (folder / "tests").mkdir(parents=True)
                changed = 0
                for name in ("alerts.yml", "recording.yml"):
                    text, count = broken(name, rule, old, new)
                    (folder / name).write_text(text)
                    changed += count
                assert changed, f"{rule} has no {old!r}"
                alone = folder / "tests/case.yml"
                alone.write_text(yaml.safe_dump(whole | {"tests": [case]}))
                files[alone] = f"{case['name']} / {rule}: {old!r} -> {new!r}"
    _, text = said(["promtool", "test", "rules", *files])
    results = re.split(r"Unit Testing:\s+(\S+)", text)[1:]
    outcome = dict(zip(results[::2], results[1::2], strict=True))
    assert len(outcome) == len(files)
    passed = [files[Path(file)] for file, found in outcome.items() if "FAILED" not in found]
    assert not passed, "these pass although their rule is broken:\n" + "\n".join(passed)
    odd = [files[Path(f)] + found for f, found in outcome.items() if "got: {" not in found]
    assert not odd, "these fail, and not by an alert that fires:\n" + "\n".join(odd)


# -- the runbook


def sections() -> dict[str, str]:
    parts = re.split(r"^### (Ullage\w+)$", RUNBOOK.read_text(), flags=re.MULTILINE)[1:]
    assert len(parts[::2]) == len(set(parts[::2]))
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_runbook_has_every_alert_in_their_order_and_no_other() -> None:
    assert list(sections()) == NAMED


@pytest.mark.parametrize("name", NAMED)
def test_every_section_says_what_why_where_to_look_and_what_to_do(name: str) -> None:
    text = sections()[name]
    places = [text.find(f"**{part}** ") for part in PARTS]
    assert -1 not in places
    assert places == sorted(places)
    assert re.search(r"`[^`]+`", text[places[2] :]), "nothing to type"
    said = set(re.findall(r"\bUllage[A-Z][A-Za-z]+", text))
    assert said <= set(NAMED)


def test_the_runbook_shows_an_action_that_a_routed_alert_leads_to(tmp_path: Path) -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", RUNBOOK.read_text(), re.DOTALL)
    file = tmp_path / "ullage.toml"
    file.write_text(shown)
    (action,) = load(file, {}, {}, kinds=frozenset(ENGINES), places=[]).alerts.actions
    for name in ("UllageHeadroomLow", "UllageHeadroomGone"):
        assert action.agrees({"alertname": name})
    assert not action.agrees({"alertname": "UllageDown"})
