"""What a query asks for: which labels its answer has, and what is wrong with it.

Labels are followed through the whole expression, so that a legend that stays empty, and two
sides that never meet, are found without a Prometheus.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser as promql
import yaml

from supervisor.web.names import NAMES, PREFIX

# What Prometheus adds to every series, and has by itself.
ALWAYS = {"instance", "job"}
LABELS = {PREFIX + row.name: {*row.labels, *ALWAYS} for row in NAMES}
for row in NAMES:
    if row.type == "histogram":
        of = LABELS.pop(PREFIX + row.name)
        LABELS[f"{PREFIX}{row.name}_bucket"] = of | {"le"}
        LABELS |= {f"{PREFIX}{row.name}_{end}": of for end in ("sum", "count")}
LABELS["up"] = set(ALWAYS)
# What is recorded by host, and says by its name what it is by.
_RULES = Path(__file__).parents[2] / "deploy/prometheus/recording.yml"
for group in yaml.safe_load(_RULES.read_text())["groups"]:
    for recorded in group["rules"]:
        level, _, _ = recorded["record"].partition(":")
        if level.startswith("instance"):
            LABELS[recorded["record"]] = {*ALWAYS, *level.split("_")[1:]}
LABELS["ALERTS"] = {*ALWAYS, "alertname", "alertstate", "severity", "pool", "engine", "model"}
HISTOGRAMS = {m for m in LABELS if m.endswith("_bucket")}
COUNTERS = {PREFIX + row.name for row in NAMES if row.type == "counter"} | HISTOGRAMS

RATES = {"rate", "increase"}
EVENTS = {"changes", "resets"}  # of marks: that something happened, not how much
SETS = {"and", "or", "unless"}
COMPARED = {"==", "!=", "<", ">", "<=", ">="}

# What is chosen at the top of a page, so that it is seen again in what was parsed.
CHOICES = ("job", "instance", "pool", "engine", "model")
CHOSEN = {name: f"the {name} that was chosen" for name in CHOICES}
STEP, SHOWN = timedelta(minutes=7), timedelta(hours=6)


def filled(
    expr: str, chosen: dict[str, str] | None = None, step: str = "7m", shown: str = "6h"
) -> str:
    """`expr` as Grafana sends it. `chosen` values of variables; all others are any."""
    expr = expr.replace("$__rate_interval", step).replace("$__range", shown)
    for name in CHOICES:
        expr = expr.replace(f"${name}", (chosen or {}).get(name, ".+"))
    return expr


@cache
def parsed(expr: str) -> Any:
    """Raises ValueError where this is no PromQL."""
    return promql.parse(filled(expr, CHOSEN))


def parts(node: Any) -> Iterator[Any]:
    """`node` and all below it."""
    yield node
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        inner = getattr(node, name, None)
        if isinstance(inner, promql.Expr):
            yield from parts(inner)
    for inner in getattr(node, "args", ()):
        yield from parts(inner)


def selectors(node: Any) -> list[Any]:
    return [p for p in parts(node) if isinstance(p, promql.VectorSelector)]


def narrowed(selector: Any, name: str) -> bool:
    """Is it asked of what was chosen as `name`, by a regular expression?"""
    return any(
        (m.name, str(m.op), m.value) == (name, "MatchOp.Re", CHOSEN[name])
        for m in selector.matchers.matchers
    )


def fixed(node: Any) -> set[str]:
    """Labels that have one value, because only that is asked for."""
    return set.intersection(
        *({m.name for m in s.matchers.matchers if str(m.op) == "MatchOp.Equal"}
          for s in selectors(node))
    )  # fmt: skip


def ranges(node: Any) -> list[timedelta]:
    return [p.range for p in parts(node) if isinstance(p, promql.MatrixSelector)]


def counters(
    node: Any, inside: frozenset[str] = frozenset()
) -> Iterator[tuple[str, frozenset[str]]]:
    """Counters, each with the functions that it is an argument of."""
    if isinstance(node, promql.VectorSelector):
        if node.name in COUNTERS:
            yield node.name, inside
    elif isinstance(node, promql.Call):
        for inner in node.args:
            yield from counters(inner, inside | {node.func.name})
    else:
        for name in ("expr", "lhs", "rhs", "vector_selector"):
            inner = getattr(node, name, None)
            if isinstance(inner, promql.Expr):
                yield from counters(inner, inside)


@cache
def mistakes(expr: str, legend: str = "") -> tuple[str, ...]:
    """What is wrong with metrics and labels, and with what a legend takes from them."""
    try:
        node = parsed(expr)
    except ValueError as error:
        return (f"no PromQL: {error}",)
    wrong: list[str] = []
    left = _labels(node, wrong)
    gone = set(re.findall(r"\{\{(\w+)\}\}", legend)) - left
    return (*wrong, *(f"{{{{{label}}}}} is gone" for label in sorted(gone)))


@cache
def labels(expr: str) -> frozenset[str]:
    """Those that the answer has."""
    return frozenset(_labels(parsed(expr), []))


def _labels(node: Any, wrong: list[str]) -> set[str]:
    if isinstance(node, promql.VectorSelector):
        return _selected(node, wrong)
    if isinstance(node, promql.MatrixSelector):
        return _selected(node.vector_selector, wrong)
    if isinstance(node, promql.AggregateExpr):
        return _aggregated(node, wrong)
    if isinstance(node, promql.BinaryExpr):
        return _met(node, wrong)
    if isinstance(node, promql.Call):
        found = [_labels(a, wrong) for a in node.args if not isinstance(a, promql.NumberLiteral)]
        left = found[0] if found else set()
        return left - {"le"} if node.func.name == "histogram_quantile" else left
    return _labels(node.expr, wrong) if hasattr(node, "expr") else set()


def _selected(node: Any, wrong: list[str]) -> set[str]:
    there = LABELS.get(node.name)
    if there is None:
        wrong.append(f"no metric is called {node.name}")
        return set(ALWAYS)
    asked = {m.name for m in node.matchers.matchers}
    wrong += [f"{node.name} has no {label}" for label in sorted(asked - there)]
    return there


def _aggregated(node: Any, wrong: list[str]) -> set[str]:
    there = _labels(node.expr, wrong)
    if node.modifier is None:
        return set()
    named = set(node.modifier.labels)
    wrong += [f"nothing here has {label}" for label in sorted(named - there)]
    return named if node.modifier.type == promql.AggModifierType.By else there - named


def _met(node: Any, wrong: list[str]) -> set[str]:
    """Both sides, which have to have the labels by which they meet."""
    one, other, op = _labels(node.lhs, wrong), _labels(node.rhs, wrong), str(node.op)
    if _is_number(node.lhs) or _is_number(node.rhs):
        return other if _is_number(node.lhs) else one
    how = node.modifier
    if how is None or how.matching is None:
        if op == "or":
            return one & other
        if one != other:
            wrong.append(f"{sorted(one ^ other)} are on one side of {op} only")
        return one
    on = set(how.matching.labels)
    if how.matching.type == promql.LabelModifierType.Include:
        wrong += [f"nothing here has {label}" for label in sorted(on - (one & other))]
    elif one - on != other - on:
        wrong.append(f"{sorted((one ^ other) - on)} are on one side of {op} only")
    if op in SETS:
        return one
    if how.card == promql.VectorMatchCardinality.ManyToOne:
        more = set(how.group_labels or ())
        wrong += [f"nothing here has {label}" for label in sorted(more - other)]
        return one | more
    return on if how.matching.type == promql.LabelModifierType.Include else one - on


def _is_number(node: Any) -> bool:
    if isinstance(node, promql.Call) and node.func.name in ("time", "scalar"):
        return True
    return isinstance(getattr(node, "expr", node), promql.NumberLiteral)
