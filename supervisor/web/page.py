"""One plain page for people: pools, models, findings. No script, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from supervisor import alert_words
from supervisor.units import format_bytes, format_seconds

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: 0 0 2rem; }
caption { text-align: left; font-weight: 600; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8886; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
:root { color-scheme: light dark; }
"""

_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)

Row = tuple[str, ...]


def page(state: dict[str, Any]) -> str:
    """The state, as `GET /api/v1/state` has it, as HTML."""
    ready = "" if state["ready"] else "<p>Not ready: no recent sample.</p>"
    pools = [
        (p["name"], p["id"], *(_size(p[k]) for k in ("total", "free", "held", "headroom")))
        if p["blind"] is None
        else (p["name"], p["id"], "", "", "", f"not readable: {p['blind']}")
        for p in state["pools"]
    ]
    models = [
        (
            m["name"],
            _status(m),
            ", ".join(m["kept_by"]) or "nobody",
            "busy" if m["busy"] else f"idle for {format_seconds(m['idle'])}",
            _size(m["size"]),
        )
        for m in state["models"]
    ]
    leases = [(e["model"], e["client"], format_seconds(e["left"])) for e in state["leases"]]
    jobs = [
        (r["client"], r["pool"], format_seconds(r["left"]), _size(r["size"]), _size(r["held"]))
        for r in state["reservations"]
    ]
    requests = [
        (r["model"], str(r["in_flight"]), str(r["held"]), r["longest"])
        for r in _requests(state["gateway"])
    ]
    engines = [(e["id"], e["kind"], e["url"], _standing(e)) for e in state["engines"]]
    holds = [(alert_words.hold(h, state["now"]),) for h in state["alerts"]["holds"]]
    findings = [
        (f["severity"], f["subject"], f["detail"], format_seconds(f["for"]))
        for f in state["findings"]
    ]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Ullage</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Ullage {escape(state["version"])}</h1>
<p>Mode: {escape(state["mode"])}. Up for {format_seconds(state["uptime"])}.</p>
{ready}
{_table("Pools", ("Name", "Pool", "Total", "Free", "Models hold", "Headroom"), pools, 4)}
{_table("Models", ("Model", "Status", "Kept by", "Activity", "Holds"), models, 1)}
{_gateway(state["gateway"])}
{_table("Requests", ("Model", "In flight", "Waiting", "Longest wait"), requests, 3)}
{_table("Leases", ("Model", "Client", "Left"), leases, 1)}
{_table("Reservations", ("Client", "Pool", "Left", "Size", "Kept free"), jobs, 2)}
{_table("Held by alerts", ("What",), holds, 0)}
{_fleet(state["fleet"])}
{_table("Engines", ("Engine", "Kind", "Address", "State"), engines, 0)}
{_table("Findings", ("Severity", "Where", "What", "For"), findings, 1)}
<p><a href="/metrics">Metrics</a> · <a href="/api/v1/state">State</a> ·
<a href="/api/v1/decisions">Decisions</a></p>
</body>
</html>
"""


def _status(model: Mapping[str, Any]) -> str:
    leaving = f" (contexts={model['contexts']})" if model["status"] == "leaving" else ""
    return f"{model['status']}{leaving}"


def _gateway(gateway: Mapping[str, Any] | None) -> str:
    if gateway is None:
        return "<p>Gateway: off.</p>"
    if gateway["fault"] is not None:
        return f"<p>Gateway: does not listen, {escape(gateway['fault'])}.</p>"
    return f"<p>Gateway: {escape(', '.join(gateway['addresses']))}.</p>"


def _fleet(fleet: Mapping[str, Any] | None) -> str:
    if fleet is None:
        return ""
    if fleet["fault"] is not None:
        return f"<p>Fleet: {escape(fleet['fault'])}.</p>"
    rows = [
        (h["host"], h["presence"], format_seconds(h["age"]), _size(h["headroom"]),
         _size(h["promised"]), str(h["ready"]), str(h["in_flight"]), str(h["waiting"]))
        for h in fleet["hosts"]
    ]  # fmt: skip
    wrong = "".join(f"<p>{escape(line)}.</p>" for line in fleet["trouble"])
    heads = ("Host", "State", "Heard", "Headroom", "Promised", "Ready", "In flight", "Waiting")
    return _table("Fleet", heads, rows, 6) + wrong


def _requests(gateway: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """A row for each model that is worked with, or waited for."""
    rows: dict[str, dict[str, Any]] = {}
    for row in () if gateway is None else (*gateway["in_flight"], *gateway["held"]):
        mine = rows.setdefault(row["model"], {"in_flight": 0, "held": 0, "longest": ""})
        if "longest" in row:
            mine |= {"held": row["count"], "longest": format_seconds(row["longest"])}
        else:
            mine["in_flight"] = row["count"]
    return [{"model": name, **row} for name, row in sorted(rows.items())]


def _standing(engine: Mapping[str, Any]) -> str:
    if engine["up"]:
        return "up"
    return f"{'degraded' if engine['degraded'] else 'down'}: {engine['fault']}"


def _size(size: int | None) -> str:
    return "not known" if size is None else format_bytes(size)


def _table(caption: str, head: Row, rows: Iterable[Row], numbers: int) -> str:
    """`numbers`: how many of the last columns hold numbers."""
    first = len(head) - numbers
    lines = [_row("th", head, first), *(_row("td", row, first) for row in rows)]
    if len(lines) == 1:
        return f"<p>{escape(caption)}: none.</p>"
    return f"<table>\n<caption>{escape(caption)}</caption>\n" + "\n".join(lines) + "\n</table>"


def _row(tag: str, cells: Row, first: int) -> str:
    text = "".join(
        f"<{tag}{' class=n' if i >= first else ''}>{escape(cell)}</{tag}>"
        for i, cell in enumerate(cells)
    )
    return f"<tr>{text}</tr>"
