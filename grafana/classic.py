"""Boards as Grafana's classic JSON model, which every version imports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .panels import GREEN, WIDTH, Board, Mark, Panel, Query, Steps, Variable, Words

Json = dict[str, Any]

SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
TAG = "ullage"
ROW_HEIGHT = 1
LETTERS = "ABCDEFGHIJ"
# Of panels with bars: each stands for about a minute, and not for whatever a pixel is worth.
MINUTE = "1m"


def dashboard(board: Board) -> Json:
    """A board as Grafana imports it."""
    return {
        "uid": uid(board.name),
        "title": board.title,
        "description": board.description,
        "tags": [TAG, "gpu", "llm"],
        "schemaVersion": 42,
        "editable": False,
        "graphTooltip": 1,  # one crosshair through all panels
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "links": [_LINKS],
        "templating": {"list": [_SOURCES, *map(_variable, board.variables)]},
        "annotations": {"list": [*map(_mark, board.marks)]},
        "panels": list(_panels(board)),
    }


def uid(name: str) -> str:
    return f"{TAG}-{name}"


_LINKS: Json = {
    "type": "dashboards", "title": "Ullage", "tags": [TAG], "asDropdown": True,
    "includeVars": True, "keepTime": True, "targetBlank": False,
}  # fmt: skip
_SOURCES: Json = {
    "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
}  # fmt: skip


def _variable(variable: Variable) -> Json:
    made: Json = {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "refresh": 2,  # when the time range changes
        "multi": True,
        "includeAll": variable.all,
        "allValue": ".+",
        "sort": 1,
    }
    return made | {"current": {"text": "All", "value": "$__all"}} if variable.all else made


def _mark(mark: Mark) -> Json:
    return {
        "name": mark.name,
        "datasource": SOURCE,
        "enable": True,
        "iconColor": mark.colour,
        "expr": mark.expr,
        "step": MINUTE,
        "titleFormat": mark.title,
        "textFormat": "{{instance}}",
        "useValueForTime": False,
    }


def _panels(board: Board) -> Iterator[Json]:
    id, y = 0, 0
    for row in board.rows:
        id += 1
        place = {"x": 0, "y": y, "w": WIDTH, "h": ROW_HEIGHT}
        yield {"id": id, "type": "row", "title": row.title, "collapsed": False, "gridPos": place,
               "panels": []}  # fmt: skip
        x, y, height = 0, y + ROW_HEIGHT, 0
        for panel in row.panels:
            id += 1
            if x + panel.width > WIDTH or (x and panel.each_pool):
                x, y, height = 0, y + height, 0
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            yield {"id": id, "gridPos": place, **_panel(panel)}
            # Repeated panels fill lines of their own.
            x += WIDTH if panel.each_pool else panel.width
            height = max(height, panel.height)
        y += height


def _panel(panel: Panel) -> Json:
    defaults = _drawn(panel.unit, panel.lowest, panel.steps, panel.words)
    defaults |= {k: v for k, v in (("min", panel.least), ("max", panel.most)) if v is not None}
    if panel.type == "timeseries":
        defaults["custom"] = _lines(panel)
    made: Json = {
        "type": panel.type,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "targets": [_target(panel, i, query) for i, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": defaults, "overrides": [*_overrides(panel)]},
        "options": _OPTIONS[panel.type],
    }
    if panel.stacked and panel.type == "timeseries":
        made["options"] = made["options"] | {"legend": _ranked(panel)}
    if panel.bars:
        made["interval"] = MINUTE
    if panel.type == "table":
        made["transformations"] = [*_transformed(panel)]
    if panel.each_pool:
        made |= {"repeat": "pool", "repeatDirection": "h", "maxPerRow": 2}
    return made


def _drawn(unit: str, lowest: str, steps: Steps, words: Words) -> Json:
    made: Json = {"unit": unit, "custom": {}, "mappings": []}
    bounds: list[tuple[float | None, str]] = [(None, lowest), *steps]
    made["thresholds"] = {
        "mode": "absolute",
        "steps": [{"value": bound, "color": colour} for bound, colour in bounds],
    }
    if words:
        options = {str(n): {"text": text, "color": colour} for n, text, colour in words}
        made["mappings"] = [{"type": "value", "options": options}]
    return made


def _target(panel: Panel, i: int, query: Query) -> Json:
    made: Json = {"refId": LETTERS[i], "datasource": SOURCE, "expr": query.expr}
    if panel.type == "table":
        return made | {"format": "table", "instant": True, "range": False}
    over_time = panel.type in ("timeseries", "state-timeline")
    return made | {"legendFormat": query.legend, "range": over_time, "instant": not over_time}


def _lines(panel: Panel) -> Json:
    """How lines are drawn. Gaps stay gaps: what was not measured is not made up."""
    made: Json = {
        "drawStyle": "bars" if panel.bars else "line",
        "lineWidth": 0 if panel.bars else 1,
        "fillOpacity": 80 if panel.bars else 30 if panel.stacked else 0,
        "showPoints": "auto",  # what was there for a moment has no line
        "spanNulls": False,
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
    }
    if panel.steps:
        made["thresholdsStyle"] = {"mode": "line"}
    return made


def _ranked(panel: Panel) -> Json:
    """Events add up, amounts do not."""
    calc, title = ("sum", "Total") if panel.bars else ("max", "Max")
    return _RANKED | {"calcs": [calc], "sortBy": title}


def _overrides(panel: Panel) -> Iterator[Json]:
    """What limits is a dashed line, and never stacked on what it limits. Columns have units."""
    for i, query in enumerate(panel.queries):
        properties = []
        if query.dashed:
            properties += [
                {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}},
                {"id": "custom.fillOpacity", "value": 0},
                {"id": "custom.stacking", "value": {"mode": "none"}},
            ]
        if query.colour:
            fixed = {"mode": "fixed", "fixedColor": query.colour}
            properties.append({"id": "color", "value": fixed})
        if properties:
            matcher = {"id": "byFrameRefID", "options": LETTERS[i]}
            yield {"matcher": matcher, "properties": properties}
        if query.column:
            yield _column(query)
    if panel.link:
        to = f"/d/{uid(panel.link)}?var-instance=${{__value.raw}}&${{__url_time_range}}"
        link = {"title": f"To {panel.link}", "url": f"{to}&${{datasource:queryparam}}"}
        yield {
            "matcher": {"id": "byName", "options": panel.labels[0][1]},
            "properties": [{"id": "links", "value": [link]}],
        }


def _column(query: Query) -> Json:
    drawn = _drawn(query.unit, GREEN, query.steps, query.words)
    properties = [{"id": k, "value": drawn[k]} for k in ("unit", "mappings", "thresholds")]
    if query.steps or query.words:
        cell = {"type": "color-text"}
        properties.append({"id": "custom.cellOptions", "value": cell})
    return {"matcher": {"id": "byName", "options": query.column}, "properties": properties}


def _transformed(panel: Panel) -> Iterable[Json]:
    """The answers of all queries as one table: a line for each set of labels."""
    several = len(panel.queries) > 1
    values = [f"Value #{LETTERS[i]}" if several else "Value" for i in range(len(panel.queries))]
    named = [(v, q.column) for v, q in zip(values, panel.queries, strict=True) if q.column]
    hidden = [v for v, q in zip(values, panel.queries, strict=True) if not q.column]
    if several:
        yield {"id": "merge", "options": {}}
    columns = [*panel.labels, *named]
    yield {
        "id": "organize",
        "options": {
            "excludeByName": dict.fromkeys(["Time", *hidden], True),
            "indexByName": {name: i for i, (name, _) in enumerate(columns)},
            "renameByName": dict(columns),
        },
    }


_LEGEND: Json = {"displayMode": "list", "placement": "bottom", "showLegend": True}
# What is stacked may be of many kinds, most of which are 0: the most stand first.
_RANKED: Json = {"displayMode": "table", "placement": "right", "showLegend": True,
                 "sortDesc": True, "width": 160}  # fmt: skip
_NOW: Json = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OPTIONS: dict[str, Json] = {
    "timeseries": {"legend": _LEGEND,
                   "tooltip": {"mode": "multi", "sort": "desc", "hideZeros": True}},
    "state-timeline": {"legend": _LEGEND, "mergeValues": True, "showValue": "auto"},
    "stat": {"reduceOptions": _NOW, "colorMode": "value", "graphMode": "none",
             "textMode": "auto"},
    "bargauge": {"reduceOptions": _NOW, "displayMode": "basic", "orientation": "horizontal"},
    "table": {"showHeader": True, "cellHeight": "sm"},
}  # fmt: skip
