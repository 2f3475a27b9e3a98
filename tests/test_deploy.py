"""What is deployed passes every linter, and each of them finds what it is there for."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy import check
from deploy.chart import Missing, Wrong
from deploy.check import CHECKS, Check, Line

ROOT = Path(__file__).parent.parent
ELSEWHERE = {check.rule_tests}  # it takes 5 s: the tests of the rules run it


def id_of(value: object) -> str | None:
    return value.run.__name__ if isinstance(value, Check) else None


@pytest.mark.parametrize("each", [c for c in CHECKS if c.run not in ELSEWHERE], ids=id_of)
@pytest.mark.slow
def test_all_that_is_deployed_is_as_its_reader_wants_it(each: Check) -> None:
    line = check.look(each)
    if line.status == "skipped":
        pytest.skip(line.said)
    assert line.status == "ok", line.said


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for top in ("deploy", "grafana", ".ci"):
        shutil.copytree(ROOT / top, tmp_path / top, symlinks=True)
    return tmp_path


UNIT, DOCKER, CHART = "deploy/ullage.service", "deploy/docker", "deploy/helm/ullage"
AGENT, PROMETHEUS = "deploy/launchd/local.ullage.plist", "deploy/prometheus"
DAEMONSET, SCHEMA = f"{CHART}/templates/daemonset.yaml", f"{CHART}/values.schema.json"

# By whom it is found, in which file, what was there, what is there now, and what is said of it.
BROKEN: list[tuple[Callable[[Path], str], str, str, str, str]] = [
    (check.unit, UNIT, "WatchdogSec=30", "WatchdogSecs=30", "WatchdogSecs"),
    (check.unit, UNIT, "Filter=@system-service", "Filter=@sytem", "@sytem"),
    (check.exposure, UNIT, "CapabilityBoundingSet=\n", "", "at most 2.0 is wanted"),
    (check.exposure, UNIT, "DynamicUser=yes\n", "", "at most 2.0 is wanted"),
    (check.agent, AGENT, "</dict>\n</plist>", "</plist>", "plist"),
    (check.agent, AGENT, "<string>local.", "<string>other.", "Label"),
    (check.agent, AGENT, "/bin/sh", "sh", "absolute"),
    (check.agent, AGENT, '"$HOME/.local/bin/ullage"', "$HOME/.local/bin/ullage", "SC2086"),
    (check.dockerfile, f"{DOCKER}/Dockerfile", "WORKDIR /src", "WORKDIR src", "DL3000"),
    (check.dockerfile, f"{DOCKER}/Dockerfile", 'CMD ["run"]', "CMD run", "DL3025"),
    (check.compose, f"{DOCKER}/compose.yml", "read_only:", "readonly:", "readonly"),
    (check.compose, f"{DOCKER}/compose.nvidia.yml", "count: all", "count: [all]", "nvidia"),
    (check.compose, f"{DOCKER}/compose.docker.yml", "group_add:", "group_adds:", "group_adds"),
    (check.chart, DAEMONSET, "{{- end }}", "", "parse error"),
    (check.chart, SCHEMA, '"advise",', "", "mode"),
    (check.chart, f"{CHART}/values.yaml", "hostPID: false", "hostPIDs: false", "hostPIDs"),
    (check.objects, DAEMONSET, "hostPID:", "hostPid:", "hostPid"),
    (check.objects, f"{CHART}/templates/podmonitor.yaml", "podMetrics", "podMetric", "PodMonitor"),
    (check.operator_rules, f"{CHART}/files/alerts.yml", "alert: UllageDown", "alerts: U", "rule"),
    (check.prometheus, f"{PROMETHEUS}/prometheus.yml", "rule_files", "rule_file", "rule_file"),
    (check.alertmanager, "deploy/alertmanager/alertmanager.yml", "name: ullage", "name: u", "u"),
    (check.yaml_files, f"{DOCKER}/compose.yml", "    pid:", "    pid: a\n    pid:", "duplication"),
    (check.schema, SCHEMA, '"type": "boolean"', '"type": "bool"', "bool"),
    (check.scripts, ".ci/run", '"$(dirname "$0")/.."', "$(dirname $0)/..", "SC2046"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("looks", "name", "was", "is_", "said"),
    BROKEN,
    ids=[f"{looks.__name__}-{said}" for looks, _, _, _, said in BROKEN],
)
def test_what_is_broken_is_found(
    copy: Path, looks: Callable[[Path], str], name: str, was: str, is_: str, said: str
) -> None:
    file = copy / name
    text = file.read_text()
    assert was in text, f"{name} has no {was!r} to break"
    file.write_text(text.replace(was, is_))
    try:
        with pytest.raises(Wrong, match=re.escape(said)):
            looks(copy)
    except Missing as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_a_rule_s_test_that_fails_is_found(copy: Path) -> None:
    folder = copy / "deploy/prometheus/tests"
    for file in folder.iterdir():
        file.unlink()
    (folder / "one.yml").write_text(
        "rule_files: [../alerts.yml]\ntests:\n- interval: 1m\n  alert_rule_test:\n"
        "  - {eval_time: 1m, alertname: UllageDown, exp_alerts: [{exp_labels: {a: b}}]}\n"
    )
    try:
        with pytest.raises(Wrong, match="UllageDown"):
            check.rule_tests(copy)
    except Missing as error:
        pytest.skip(str(error))


def test_every_check_is_seen_to_fail() -> None:
    broken = {looks for looks, *_ in BROKEN} | {check.rule_tests}
    assert broken == {each.run for each in CHECKS}


# -- the table


def story(said: str | Exception) -> Check:
    def run(root: Path) -> str:
        if isinstance(said, Exception):
            raise said
        return said

    return Check("a file", "a program", run)


def test_the_table_has_a_line_for_each_and_all_of_what_is_wrong(capsys, monkeypatch) -> None:
    checks = (story("12 of them"), story(Missing("no such program")), story(Wrong("one\ntwo")))
    monkeypatch.setattr(check, "CHECKS", checks)
    assert check.main([]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "a file  a program  ok       12 of them",
        "a file  a program  skipped  no such program",
        "a file  a program  wrong",
        "    one",
        "    two",
    ]


def test_what_was_not_looked_at_is_a_failure_only_where_all_is_asked_for(monkeypatch) -> None:
    monkeypatch.setattr(check, "CHECKS", (story(""), story(Missing("x"))))
    assert check.main([]) == 0
    assert check.main(["--all"]) == 1
    monkeypatch.setattr(check, "CHECKS", (story(""),))
    assert check.main(["--all"]) == 0


def test_a_program_that_is_not_there_is_said_to_be_missing() -> None:
    with pytest.raises(Missing, match="there is no ullage-linter here"):
        check.program("ullage-linter")


def test_the_exposure_is_told() -> None:
    line = check.look(Check("", "", check.exposure))
    if line.status == "skipped":
        pytest.skip(line.said)
    assert isinstance(line, Line)
    assert re.fullmatch(r"exposure 1\.\d of 10, at most 2\.0", line.said)
