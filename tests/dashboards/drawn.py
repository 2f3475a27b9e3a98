"""Draws what the panels of a dashboard were answered, laid out as Grafana lays them out, so that a
person can look at it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from .prometheus import Series

Json = dict[str, Any]
UNIT = 0.42  # inches of a row of Grafana's grid
WIDE = 20.0  # inches
SMALL = 7
BAR = -5  # seconds, back from its moment
MOST = 9  # lines of a table, and of a legend
SCALES = {
    "bytes": (1024, ("B", "KiB", "MiB", "GiB", "TiB")),
    "Bps": (1024, ("B/s", "KiB/s", "MiB/s", "GiB/s")),
    "hertz": (1000, ("Hz", "kHz", "MHz", "GHz")),
    "joule": (1000, ("J", "kJ", "MJ", "GJ")),
}
ENDS = {"percentunit": " %", "s": " s", "celsius": " °C", "watt": " W", "reqps": "/s", "ops": "/s"}


@dataclass(frozen=True)
class Shown:
    """From when to when, in Unix time, and what is marked."""

    start: float
    end: float
    marks: Sequence[float]


def picture(board: Json, answers: dict[str, list[list[Series]]], shown: Shown, file: Path) -> None:
    """`answers` by a panel's title: what each of its queries was answered."""
    rows = board["panels"]
    deep = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in rows)
    figure = Figure(figsize=(WIDE, deep * UNIT), dpi=60, facecolor="white")
    for panel in rows:
        place = panel["gridPos"]
        x, w = place["x"] / 24, place["w"] / 24
        y, h = 1 - (place["y"] + place["h"]) / deep, place["h"] / deep
        if panel["type"] == "row":
            figure.text(0.005, y + h / 3, panel["title"], weight="bold", fontsize=9)
            continue
        # Room for the title, and for the numbers at the axes.
        axes = figure.add_axes((x + 0.028, y + 0.9 / deep, w - 0.034, h - 2.2 / deep))
        axes.set_title(panel["title"], fontsize=8, loc="left", pad=2)
        axes.tick_params(labelsize=SMALL)
        found = answers.get(panel["title"], [])
        if any(found):
            DRAW[panel["type"]](axes, panel, found, shown)
        else:
            axes.text(0.5, 0.5, "No data", ha="center", va="center", color="red")
    figure.savefig(file)


def written(value: float, unit: str) -> str:
    if math.isnan(value):
        return ""
    if unit in SCALES:
        base, words = SCALES[unit]
        for word in words:
            if abs(value) < base or word == words[-1]:
                return f"{value:.3g} {word}"
            value /= base
    return f"{value * 100 if unit == 'percentunit' else value:.3g}{ENDS.get(unit, '')}"


def _name(legend: str, labels: dict[str, str]) -> str:
    for label, value in labels.items():
        legend = legend.replace(f"{{{{{label}}}}}", value)
    return legend


def _queries(panel: Json, found: list[list[Series]]) -> list[tuple[Json, bool, list[Series]]]:
    """Each target, whether it is dashed, and its answer."""
    dashed = {
        o["matcher"]["options"]
        for o in panel["fieldConfig"]["overrides"]
        if any(p["id"] == "custom.lineStyle" for p in o["properties"])
    }
    return [(t, t["refId"] in dashed, s) for t, s in zip(panel["targets"], found, strict=True)]


def _lines(axes: Axes, panel: Json, found: list[list[Series]], shown: Shown) -> None:
    custom, unit = panel["fieldConfig"]["defaults"]["custom"], _unit(panel)
    stacked, bars = custom["stacking"]["mode"] == "normal", custom["drawStyle"] == "bars"
    below: dict[float, float] = {}
    for target, dashed, series in _queries(panel, found):
        for labels, points in series:
            name = _name(target["legendFormat"], labels)
            at, values = zip(*points, strict=True)
            if stacked and not dashed:
                base = [below.get(t, 0.0) for t in at]
                top = [b + v for b, v in zip(base, values, strict=True)]
                below |= dict(zip(at, top, strict=True))
                if bars:
                    axes.bar(at, values, BAR, base, align="edge", label=name)
                else:
                    axes.fill_between(at, base, top, label=name, alpha=0.6, linewidth=0.5)
            elif bars:
                axes.bar(at, values, BAR, align="edge", label=name)
            else:
                style = ".--" if dashed else ".-"
                axes.plot(at, values, style, label=name, linewidth=1.2, markersize=3)
    _frame(axes, shown)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, unit)))
    if (least := panel["fieldConfig"]["defaults"].get("min")) is not None:
        axes.set_ylim(bottom=least)
    tops = {
        _name(t["legendFormat"], ls): max(v for _, v in ps)
        for t, _, series in _queries(panel, found)
        for ls, ps in series
    }
    lines = sorted(zip(*axes.get_legend_handles_labels(), strict=True), key=lambda x: -tops[x[1]])
    handles, names = [handle for handle, _ in lines], [name for _, name in lines]
    axes.legend(handles[:MOST], names[:MOST], fontsize=SMALL, loc="upper right", framealpha=0.5)


def _states(axes: Axes, panel: Json, found: list[list[Series]], shown: Shown) -> None:
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    names = []
    for target, _, series in _queries(panel, found):
        for labels, points in series:
            colours = [
                mapping["options"].get(f"{value:g}", {"color": "black"})["color"]
                for _, value in points
            ]
            spans = [(at, 1.05) for at, _ in points]
            axes.broken_barh(spans, (len(names), 0.8), color=colours)
            names.append(_name(target["legendFormat"], labels))
    axes.set_yticks([])
    for i, name in enumerate(names):
        axes.text(shown.start, i + 0.4, f" {name}", fontsize=SMALL, va="center")
    _frame(axes, shown)


def _frame(axes: Axes, shown: Shown) -> None:
    for at in shown.marks:
        axes.axvline(at, color="orange", linewidth=0.8)
    axes.set_xlim(shown.start, shown.end)
    axes.set_xticks([shown.start, shown.end], ["", f"{shown.end - shown.start:.0f} s"])
    axes.grid(alpha=0.3)


def _number(axes: Axes, panel: Json, found: list[list[Series]], shown: Shown) -> None:
    axes.set_axis_off()
    mappings = panel["fieldConfig"]["defaults"]["mappings"]
    words = {k: v["text"] for m in mappings for k, v in m["options"].items()}
    values = [points[-1][1] for series in found for _, points in series]
    told = [words.get(f"{v:g}") or written(v, _unit(panel)) for v in values]
    axes.text(0.5, 0.4, "  ".join(told), ha="center", fontsize=14)


def _bars(axes: Axes, panel: Json, found: list[list[Series]], shown: Shown) -> None:
    rows = [
        (_name(target["legendFormat"], labels), points[-1][1])
        for target, _, series in _queries(panel, found)
        for labels, points in series
    ]
    axes.barh([name for name, _ in rows], [value for _, value in rows])
    unit = _unit(panel)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, unit)))


def _table(axes: Axes, panel: Json, found: list[list[Series]], shown: Shown) -> None:
    """As the transformations make it: a line for each set of labels that all queries share."""
    axes.set_axis_off()
    titles = panel["transformations"][-1]["options"]["renameByName"]
    units = {o["matcher"]["options"]: o["properties"] for o in panel["fieldConfig"]["overrides"]}
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    keys = set.intersection(*(set(labels) for series in found for labels, _ in series))
    for target, _, series in _queries(panel, found):
        title = titles.get(f"Value #{target['refId']}" if len(found) > 1 else "Value")
        for labels, points in series:
            line = lines.setdefault(tuple(labels[k] for k in sorted(keys)), {})
            line |= {titles[k]: v for k, v in labels.items() if k in titles}
            if title is not None:
                drawn = {p["id"]: p["value"] for p in units.get(title, ())}
                words = {k: v["text"] for m in drawn["mappings"] for k, v in m["options"].items()}
                value = points[-1][1]
                line[title] = words.get(f"{value:g}") or written(value, drawn["unit"])
    columns = list(titles.values())
    cells = [[line.get(c, "") for c in columns] for line in list(lines.values())[:MOST]]
    table = axes.table(cells, colLabels=columns, loc="upper center", cellLoc="left")
    table.auto_set_font_size(False)
    table.set_fontsize(SMALL)


def _unit(panel: Json) -> str:
    unit: str = panel["fieldConfig"]["defaults"]["unit"]
    return unit


DRAW: dict[str, Callable[[Axes, Json, list[list[Series]], Shown], None]] = {
    "timeseries": _lines,
    "state-timeline": _states,
    "stat": _number,
    "bargauge": _bars,
    "table": _table,
}
