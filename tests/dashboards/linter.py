"""What is wrong with a dashboard, by rule. The rules up to `uneditable-dashboard` are those of
Grafana's own dashboard linter, by its names; the others are ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

from .expressions import (
    EVENTS,
    RATES,
    STEP,
    counters,
    fixed,
    labels,
    mistakes,
    narrowed,
    parsed,
    ranges,
    selectors,
)

Json = dict[str, Any]
Found = tuple[str, str]  # where, what
Rule = Callable[[Json], Iterator[Found]]

RULES: dict[str, Rule] = {}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
TYPES = {"timeseries", "stat", "gauge", "table", "state-timeline", "bargauge"}
# Of Grafana's units, those that are used here: a wrong one is shown as text behind the number.
UNITS = {"none", "bytes", "Bps", "s", "percentunit", "celsius", "watt", "joule", "hertz", "ops",
         "reqps"}  # fmt: skip
# By the end of a metric's name, whatever it is divided by or multiplied with.
OF = {"_bytes": "bytes", "_bytes_total": "bytes", "_ratio": "percentunit", "_watts": "watt",
      "_ratio_bucket": "percentunit", "_celsius": "celsius", "_hertz": "hertz", "_seconds": "s",
      "_seconds_bucket": "s", "_joules_total": "joule"}  # fmt: skip
WIDTH = 24


def rule(name: str) -> Callable[[Rule], Rule]:
    def keep(check: Rule) -> Rule:
        RULES[name] = check
        return check

    return keep


def lint(board: Json) -> list[tuple[str, str, str]]:
    """Rule, where and what, of all that is wrong."""
    return [(name, where, what) for name, check in RULES.items() for where, what in check(board)]


def panels(board: Json) -> list[Json]:
    return [p for p in board["panels"] if p["type"] != "row"]


def targets(board: Json) -> Iterator[tuple[str, Json]]:
    for panel in panels(board):
        for target in panel.get("targets", ()):
            yield panel["title"], target


def asked(board: Json) -> Iterator[tuple[str, str, str]]:
    """Where, expression and legend: of panels, marks and variables."""
    for title, target in targets(board):
        yield title, target["expr"], target.get("legendFormat", "")
    for mark in board["annotations"]["list"]:
        yield mark["name"], mark["expr"], mark["titleFormat"] + mark["textFormat"]
    for variable in variables(board).values():
        if "datasource" in variable and (values := _values(variable)) is not None:
            yield variable["name"], *values


def _values(variable: Json) -> tuple[str, str] | None:
    """The metric of which a variable takes the values of a label, and that label as a legend."""
    query = variable["query"]["query"]
    found = re.fullmatch(r"label_values\((\w+(?:\{.*\})?), (\w+)\)", query)
    return None if found is None else (found[1], f"{{{{{found[2]}}}}}")


def readable(board: Json) -> Iterator[tuple[str, str, Any]]:
    """Of panels and marks: where, expression, and what it parses to."""
    for where, expr, _ in asked(board):
        if where not in variables(board):
            try:
                yield where, expr, parsed(expr)
            except ValueError:
                continue  # which target-promql tells


def variables(board: Json) -> dict[str, Json]:
    return {v["name"]: v for v in board["templating"]["list"]}


@rule("template-datasource")
def _(board: Json) -> Iterator[Found]:
    sources = [v for v in variables(board).values() if v["type"] == "datasource"]
    right = ("datasource", "Data source", "prometheus")
    if [(s["name"], s["label"], s["query"]) for s in sources] != [right]:
        yield "datasource", "there is not one data source to choose, called as it should be"


def _template(board: Json, name: str) -> Iterator[Found]:
    variable = variables(board).get(name)
    if variable is None:
        yield name, "cannot be chosen"
        return
    wanted = {"type": "query", "label": name.title(), "multi": True, "allValue": ".+",
              "datasource": SOURCE}  # fmt: skip
    for key, value in wanted.items():
        if variable.get(key) != value:
            yield name, f"{key} is not {value!r}"


@rule("template-job")
def _(board: Json) -> Iterator[Found]:
    yield from _template(board, "job")


@rule("template-instance")
def _(board: Json) -> Iterator[Found]:
    yield from _template(board, "instance")


@rule("template-label-promql")
def _(board: Json) -> Iterator[Found]:
    for variable in variables(board).values():
        if variable["type"] == "query":
            if (values := _values(variable)) is None:
                yield variable["name"], "does not ask for the values of a label"
            elif wrong := mistakes(*values):
                yield variable["name"], "; ".join(wrong)


@rule("template-on-time-change-reload")
def _(board: Json) -> Iterator[Found]:
    for variable in variables(board).values():
        if variable["type"] == "query" and variable.get("refresh") != 2:
            yield variable["name"], "is not asked for anew when the time range changes"


@rule("panel-datasource")
def _(board: Json) -> Iterator[Found]:
    for panel in panels(board):
        if any(p.get("datasource") != SOURCE for p in (panel, *panel.get("targets", ()))):
            yield panel["title"], "does not ask the data source that was chosen"


@rule("panel-title-description")
def _(board: Json) -> Iterator[Found]:
    for panel in panels(board):
        if not panel["title"] or not panel.get("description", "").endswith("."):
            yield panel["title"], "has no title, or does not say in sentences what it shows"


@rule("panel-units")
def _(board: Json) -> Iterator[Found]:
    for panel in panels(board):
        for defaults in _drawn(panel):
            if not defaults.get("mappings") and defaults.get("unit") not in UNITS:
                yield panel["title"], f"{defaults.get('unit')!r} is no unit"


def _drawn(panel: Json) -> Iterator[Json]:
    """How values are written: in general, and those of columns."""
    yield panel["fieldConfig"]["defaults"]
    for override in panel["fieldConfig"]["overrides"]:
        found = {p["id"]: p["value"] for p in override["properties"]}
        if "unit" in found:
            yield found


@rule("panel-no-targets")
def _(board: Json) -> Iterator[Found]:
    for panel in panels(board):
        if not panel.get("targets"):
            yield panel["title"], "asks nothing"


@rule("target-promql")
def _(board: Json) -> Iterator[Found]:
    for where, expr, legend in asked(board):
        for wrong in mistakes(expr, legend):
            yield where, wrong


@rule("target-rate-interval")
def _(board: Json) -> Iterator[Found]:
    for where, _, node in readable(board):
        if any(found != STEP for found in ranges(node)):
            yield where, "looks back for another time than $__rate_interval"


@rule("target-job")
def _(board: Json) -> Iterator[Found]:
    yield from _narrowed(board, "job")


@rule("target-instance")
def _(board: Json) -> Iterator[Found]:
    yield from _narrowed(board, "instance")


def _narrowed(board: Json, name: str) -> Iterator[Found]:
    for where, _, node in readable(board):
        for selector in selectors(node):
            if not narrowed(selector, name):
                yield where, f"{selector.name} is not narrowed to each {name} that was chosen"


@rule("target-counter-agg")
def _(board: Json) -> Iterator[Found]:
    marks = {mark["name"] for mark in board["annotations"]["list"]}
    for where, _, node in readable(board):
        allowed = RATES | EVENTS if where in marks else RATES
        for name, inside in counters(node):
            if not inside & allowed:
                yield where, f"{name} only grows: show its increase"


@rule("uneditable-dashboard")
def _(board: Json) -> Iterator[Found]:
    if board.get("editable") is not False:
        yield board["title"], "may be edited, though what is edited is lost"


# -- ours


@rule("schema")
def _(board: Json) -> Iterator[Found]:
    if not 39 <= board["schemaVersion"] <= 42:
        yield board["title"], "is of a model that is too old or too new"
    if "id" in board:
        yield board["title"], "has a number, and Grafana gives those"
    for panel in panels(board):
        if panel["type"] not in TYPES:
            yield panel["title"], f"{panel['type']} is no panel that every Grafana has"


@rule("target-ids")
def _(board: Json) -> Iterator[Found]:
    for panel in panels(board):
        ids = [t.get("refId") for t in panel.get("targets", ())]
        if len(set(ids)) != len(ids) or not all(ids):
            yield panel["title"], "has queries that cannot be told apart"


@rule("choice-used")
def _(board: Json) -> Iterator[Found]:
    for name, variable in variables(board).items():
        others = [e for where, e, _ in asked(board) if where != name]
        if variable["type"] == "query" and not any(f"${name}" in e for e in others):
            yield name, "can be chosen, and nothing follows"


@rule("legend")
def _(board: Json) -> Iterator[Found]:
    """Lines that cannot be told apart: their labels are neither in a legend nor summed up."""
    for where, target in targets(board):
        panel = next(p for p in panels(board) if p["title"] == where)
        if panel["type"] in ("timeseries", "state-timeline", "bargauge") and not mistakes(
            target["expr"]
        ):
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            left = labels(target["expr"]) - shown - _implied(board, panel)
            left -= fixed(parsed(target["expr"]))
            if left:
                yield where, f"{sorted(left)} are not in the legend {target['legendFormat']!r}"


# One of the others says which.
KNOWN_BY = {"kind": "pool", "pool": "uuid", "driver": "uuid", "vendor": "uuid"}


def _implied(board: Json, panel: Json) -> set[str]:
    """Labels that need not be in a legend: what is chosen singly, and what follows of others."""
    single = {n for n, v in variables(board).items() if v.get("includeAll") is False}
    once = {panel["repeat"]} if "repeat" in panel else set()
    named = set(re.findall(r"\{\{(\w+)\}\}", str(panel["targets"])))
    implied = {label for label, by in KNOWN_BY.items() if by in named | once}
    # A uuid is one device's in the whole world, and so is a pool that is called by it.
    return {"job"} | single | once | implied | ({"instance"} if "uuid" in named else set())


@rule("columns")
def _(board: Json) -> Iterator[Found]:
    """Of tables: every label has a column with a title, and every value that is not hidden."""
    for panel in panels(board):
        if panel["type"] != "table":
            continue
        organized = panel["transformations"][-1]["options"]
        several = len(panel["targets"]) > 1
        if [t["id"] for t in panel["transformations"]] != ["merge"] * several + ["organize"]:
            yield panel["title"], "does not make one table of its queries"
        there = {"Time"}
        for target in panel["targets"]:
            there |= {f"Value #{target['refId']}" if several else "Value"}
            if not mistakes(target["expr"]):
                there |= labels(target["expr"])
        known = {*organized["excludeByName"], *organized["renameByName"]}
        for name in sorted(there ^ known):
            yield panel["title"], f"{name} is in the answer or in the table, and not in both"
        columns = set(organized["renameByName"].values())
        for override in panel["fieldConfig"]["overrides"]:
            if override["matcher"]["options"] not in columns:
                yield panel["title"], f"there is no column {override['matcher']['options']}"


@rule("unit-of-metric")
def _(board: Json) -> Iterator[Found]:
    """Bytes are written as bytes and seconds as seconds. A share has no unit but its own."""
    for panel in panels(board):
        unit = panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            if panel["type"] == "table" or mistakes(target["expr"]):
                continue
            found = selectors(parsed(target["expr"]))
            wanted = _unit(target["expr"], found[0].name if found else "")
            if wanted != unit:
                yield panel["title"], f"is in {unit}, not in {wanted}"


def _unit(expr: str, metric: str) -> str:
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]", "", expr)
    if re.search(r"\) / |\w / \w", bare):
        return "percentunit"
    if re.search(r"> bool|== bool|^(sum\()?count", bare):
        return "none"
    if metric.count(":") == 2:  # recorded: level:metric:operation
        _, metric, operation = metric.split(":")
        if operation.startswith("rate"):
            return "reqps" if metric.endswith("requests") else "ops"
    rated = re.search(r"(?<!histogram_quantile)\brate\(", bare) and "quantile" not in bare
    if rated:
        ends = {"_bytes_total": "Bps", "requests_total": "reqps", "_seconds_total": "percentunit"}
        return next((u for end, u in ends.items() if metric.endswith(end)), "ops")
    return next((u for end, u in OF.items() if metric.endswith(end)), "none")


@rule("layout")
def _(board: Json) -> Iterator[Found]:
    ids = [p["id"] for p in board["panels"]]
    if len(set(ids)) != len(ids):
        yield board["title"], "has two panels of one number"
    titles = [p["title"] for p in panels(board)]
    titles += [mark["name"] for mark in board["annotations"]["list"]]
    for title in sorted({t for t in titles if titles.count(t) > 1}):
        yield title, "is the title of two panels, or of one and a mark"
    for panel in board["panels"]:
        place = panel["gridPos"]
        if place["x"] + place["w"] > WIDTH:
            yield panel["title"], "sticks out of the page"
    for one, other in combinations(board["panels"], 2):
        a, b = one["gridPos"], other["gridPos"]
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        if not beside and a["y"] + a["h"] > b["y"]:
            yield other["title"], f"covers {one['title']}"
