"""Writes overview.json, the dashboard, from the data below.

`python -m grafana.build` writes it; with `--check` it changes nothing and ends with 1 if the
file is not what this makes. The JSON is Grafana's classic model, which every version imports.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .panels import HERE, POOL, Panel, Query, increase, per_device

OVERVIEW = Path(__file__).with_name("overview.json")

Json = dict[str, Any]

SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, ROW_HEIGHT = 24, 1  # of Grafana's grid

GREEN, YELLOW, RED = "green", "yellow", "red"

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    ("Headroom", (
        Panel(
            "Headroom of $pool",
            "What may still be given to models, against what is never handed out. Headroom below 0 "
            "is a shortfall: after its grace period models are unloaded until it is made good.",
            (
                Query(f"ullage_memory_headroom_bytes{{{POOL}}}", "headroom {{instance}}"),
                Query(f"ullage_memory_free_bytes{{{POOL}}}", "free {{instance}}"),
                Query(f"ullage_memory_reserve_bytes{{{POOL}}}", "reserve {{instance}}", True),
                Query(f"ullage_memory_promised_bytes{{{POOL}}}", "promised {{instance}}"),
            ),
            "bytes", each_pool=True, steps=((0, GREEN),),
        ),
        Panel(
            "Pressure",
            "Which pools were below their reserve or beyond their budget, and when. A gap: the "
            "pool could not be read, or nobody scraped.",
            (Query(f"ullage_pressure{{{POOL}}}", "{{pool}} {{instance}}"),),
            "none", "state-timeline", WIDTH,
            words=((0, "none", GREEN), (1, "below the reserve", YELLOW), (2, "badly so", RED)),
        ),
    )),
    ("Memory by owner", (
        Panel(
            "Who has $pool",
            "Used bytes by engine; _external are processes that no engine owns, _unknown is what "
            "nobody claims. The dashed line is all that programs can be given.",
            (
                Query(f"sum by (owner) (ullage_memory_attributed_bytes{{{POOL}}})", "{{owner}}"),
                Query(f"sum by (pool) (ullage_memory_capacity_bytes{{{POOL}}})", "capacity", True),
            ),
            "bytes", stacked=True, each_pool=True, least=0,
        ),
    )),
    ("Models", (
        Panel(
            "Models resident",
            "How many models hold memory, by what they do.",
            (Query(f"sum by (state) (ullage_model_resident{{{HERE}}})", "{{state}}"),),
            "none", width=8, stacked=True, least=0,
        ),
        Panel(
            "What models hold",
            "Bytes of each model, mapped files included: one that two models have mapped counts "
            "for both.",
            (Query(f"sum by (engine, model) (ullage_model_memory_bytes{{{POOL}}})",
                   "{{engine}}/{{model}}"),),
            "bytes", width=8, stacked=True, least=0,
        ),
        Panel(
            "Resident now",
            "Every model that holds memory, pool by pool, the largest first.",
            (Query(f"sort_desc(sum by (engine, model, pool) (ullage_model_memory_bytes{{{POOL}}}))",
                   "", table=True),),
            "bytes", "table", 8,
        ),
    )),
    ("Evictions", (
        Panel(
            "Evictions by trigger",
            "Unloads that were carried out, by what made the daemon plan them.",
            (Query(increase("ullage_evictions_total", "trigger", ', result="done"'),
                   "{{trigger}}"),),
            "none", width=8, stacked=True, least=0,
        ),
        Panel(
            "Promised and returned",
            "What unloads were expected to give back, and what was measured. An engine that "
            "returns much less does not free what it says.",
            (
                Query(increase("ullage_eviction_promised_bytes_total", "engine"),
                      "promised by {{engine}}", True),
                Query(increase("ullage_eviction_reclaimed_bytes_total", "engine"),
                      "returned by {{engine}}"),
            ),
            "bytes", width=8, least=0,
        ),
        Panel(
            "Until memory is back",
            "From the call of an unload until its bytes are back: 19 of 20 took at most this long.",
            (Query("histogram_quantile(0.95, "
                   + increase("ullage_eviction_duration_seconds_bucket", "le, engine") + ")",
                   "{{engine}}"),),
            "s", width=8, least=0,
        ),
    )),
    ("Gateway", (
        Panel(
            "Requests",
            "Requests that have ended, by the status they were answered with.",
            (Query(increase("ullage_requests_total", "code"), "{{code}}"),),
            "none", width=8, stacked=True, least=0,
        ),
        Panel(
            "At work and waiting",
            "Requests that engines work on, and those that wait until their model is there.",
            (
                Query(f"sum by (engine, model) (ullage_requests_in_flight{{{HERE}}})",
                      "{{engine}}/{{model}}"),
                Query(f"sum by (engine, model) (ullage_requests_held{{{HERE}}})",
                      "{{engine}}/{{model}} waits", True),
            ),
            "none", width=8, least=0,
        ),
        Panel(
            "Refused and lost",
            "Requests that were refused, by why, and those whose client left.",
            (
                Query(increase("ullage_request_refusals_total", "why"), "{{why}}"),
                Query(increase("ullage_request_clients_gone_total", "instance"),
                      "client left {{instance}}", True),
            ),
            "none", width=8, least=0,
        ),
        Panel(
            "Until the first byte",
            "From a whole request until its answer begins, waiting included: half of them, and 19 "
            "of 20, took at most this long.",
            (
                Query("histogram_quantile(0.5, "
                      + increase("ullage_request_first_byte_seconds_bucket", "le, engine") + ")",
                      "half {{engine}}"),
                Query("histogram_quantile(0.95, "
                      + increase("ullage_request_first_byte_seconds_bucket", "le, engine") + ")",
                      "19 of 20 {{engine}}", True),
            ),
            "s", width=8, least=0,
        ),
        Panel(
            "How long they were held",
            "Requests whose model was not there: 19 of 20 waited at most this long.",
            (Query("histogram_quantile(0.95, "
                   + increase("ullage_request_hold_seconds_bucket", "le, engine") + ")",
                   "{{engine}}"),),
            "s", width=8, least=0,
        ),
        Panel(
            "Connections",
            "Of clients, to engines at work, and to engines kept open for the next request.",
            (Query(f"sum by (side) (ullage_gateway_connections{{{HERE}}})", "{{side}}"),),
            "none", width=8, least=0,
        ),
    )),
    ("Findings", (
        Panel(
            "Findings",
            "What is wrong, by kind. A finding clears itself when it is no longer true.",
            (Query(f"sum by (kind) (ullage_findings{{{HERE}}})", "{{kind}}"),),
            "none", width=8, stacked=True, least=0,
        ),
        Panel(
            "Engines",
            "Whether each engine answered when it was last asked.",
            (Query(f"ullage_engine_up{{{HERE}}}", "{{engine}} {{instance}}"),),
            "none", "state-timeline", 8, words=((0, "down", RED), (1, "up", GREEN)),
        ),
        Panel(
            "Age of the numbers",
            "How long ago the latest snapshot was taken, and each source last read. Everything "
            "else on this page is as old as that.",
            (
                Query(f"time() - ullage_sample_timestamp_seconds{{{HERE}}}",
                      "snapshot {{instance}}"),
                Query(f"time() - ullage_collector_last_success_timestamp_seconds{{{HERE}}}",
                      "{{collector}} {{instance}}"),
            ),
            "s", width=8, least=0,
        ),
    )),
    ("Devices", (
        Panel(
            "Utilisation",
            "Share of the last moments in which a kernel ran.",
            (per_device("ullage_device_utilization_ratio"),),
            "percentunit", width=8, least=0, most=1,
        ),
        Panel(
            "Temperature", "Of each accelerator, as its driver has it.",
            (per_device("ullage_device_temperature_celsius"),),
            "celsius", width=8,
        ),
        Panel(
            "Power", "What each accelerator draws.",
            (per_device("ullage_device_power_watts"),),
            "watt", width=8, least=0,
        ),
    )),
)  # fmt: skip


def dashboard() -> Json:
    """The dashboard as Grafana imports it."""
    return {
        "uid": "ullage-overview",
        "title": "Ullage",
        "description": "Headroom, who has the memory, and what was unloaded for it.",
        "tags": ["ullage", "gpu", "llm"],
        "schemaVersion": 42,
        "editable": True,
        "graphTooltip": 1,  # one crosshair through all panels
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [
            {"name": "datasource", "label": "Data source", "type": "datasource",
             "query": "prometheus"},
            _variable("instance", "Instance", "label_values(ullage_build_info, instance)"),
            _variable("pool", "Pool",
                      f"label_values(ullage_memory_capacity_bytes{{{HERE}}}, pool)"),
        ]},
        "annotations": {"list": []},
        "panels": list(_panels()),
    }  # fmt: skip


def _variable(name: str, label: str, query: str) -> Json:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,  # when the time range changes
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": "All", "value": "$__all"},
        "sort": 1,
    }


def _panels() -> Iterable[Json]:
    id, y = 0, 0
    for title, panels in ROWS:
        id += 1
        place = {"x": 0, "y": y, "w": WIDTH, "h": ROW_HEIGHT}
        yield {"id": id, "type": "row", "title": title, "collapsed": False, "gridPos": place,
               "panels": []}  # fmt: skip
        x, y, height = 0, y + ROW_HEIGHT, 8
        for panel in panels:
            id += 1
            # Repeated panels fill lines of their own.
            if x + panel.width > WIDTH or (x and panel.width == WIDTH):
                x, y = 0, y + height
            place = {"x": x, "y": y, "w": panel.width, "h": height}
            yield {"id": id, "gridPos": place, **_panel(panel)}
            x += WIDTH if panel.each_pool else panel.width
        y += height


def _panel(panel: Panel) -> Json:
    defaults: Json = {"unit": panel.unit, "custom": {}, "mappings": []}
    defaults |= {k: v for k, v in (("min", panel.least), ("max", panel.most)) if v is not None}
    lowest = RED if panel.steps else GREEN
    steps: list[tuple[float | None, str]] = [(None, lowest), *panel.steps]
    defaults["thresholds"] = {
        "mode": "absolute",
        "steps": [{"value": bound, "color": colour} for bound, colour in steps],
    }
    if panel.words:
        options = {str(n): {"text": text, "color": colour} for n, text, colour in panel.words}
        defaults["mappings"] = [{"type": "value", "options": options}]
    if panel.type == "timeseries":
        defaults["custom"] = _lines(panel)
    made: Json = {
        "type": panel.type,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "targets": [_target(i, query) for i, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": defaults, "overrides": [*_dashes(panel.queries)]},
        "options": _OPTIONS[panel.type],
    }
    if panel.type == "table":
        made["transformations"] = [
            {"id": "organize", "options": {"excludeByName": {"Time": True}, "indexByName": {
                "engine": 0, "model": 1, "pool": 2, "Value": 3}}}
        ]  # fmt: skip
    if panel.each_pool:
        made |= {"repeat": "pool", "repeatDirection": "h", "maxPerRow": 2}
    return made


def _target(i: int, query: Query) -> Json:
    made: Json = {"refId": "ABCDEF"[i], "datasource": SOURCE, "expr": query.expr}
    if query.table:
        return made | {"format": "table", "instant": True, "range": False}
    return made | {"legendFormat": query.legend, "range": True, "instant": False}


def _lines(panel: Panel) -> Json:
    """How lines are drawn. Gaps stay gaps: what was not measured is not made up."""
    made: Json = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if panel.stacked else 0,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
    }
    if panel.steps:
        made["thresholdsStyle"] = {"mode": "line"}
    return made


def _dashes(queries: Iterable[Query]) -> Iterable[Json]:
    """What limits is a dashed line, and never stacked on what it limits."""
    for i, query in enumerate(queries):
        if query.dashed:
            yield {
                "matcher": {"id": "byFrameRefID", "options": "ABCDEF"[i]},
                "properties": [
                    {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}},
                    {"id": "custom.fillOpacity", "value": 0},
                    {"id": "custom.stacking", "value": {"mode": "none"}},
                ],
            }


_LEGEND: Json = {"displayMode": "list", "placement": "bottom", "showLegend": True}
_OPTIONS: dict[str, Json] = {
    "timeseries": {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}},
    "state-timeline": {"legend": _LEGEND, "mergeValues": True, "showValue": "auto"},
    "table": {"showHeader": True, "cellHeight": "sm"},
}


def written() -> str:
    return json.dumps(dashboard(), indent=2) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m grafana.build", description=__doc__)
    parser.add_argument("--check", action="store_true", help="say whether it is up to date")
    check = parser.parse_args(arguments).check
    if OVERVIEW.exists() and OVERVIEW.read_text() == written():
        return 0
    if check:
        print(f"{OVERVIEW.name} is not what build.py makes; write it with `make docs`")
        return 1
    OVERVIEW.write_text(written())
    return 0


if __name__ == "__main__":
    sys.exit(main())
