"""Events in words, one line each. Values in, text out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

from supervisor import alert_words
from supervisor.core.became import of_outcome, verb
from supervisor.units import format_bytes

from .asking import said

Row = Mapping[str, Any]

KINDS = ("model", "engine", "decision", "outcome", "finding", "claim", "alert", "settings",
         "config", "daemon", "reset")  # fmt: skip
_NAMED = 3  # of those who stayed
SILENT = ("hello", "sample")  # said each second, or to programs: only where they are asked for


def line(event: Row, zone: tzinfo | None = None) -> str:
    """`event` as it is sent, with its "kind" and "at" (Unix time). `zone` None: local."""
    at = event.get("at")
    clock = " " * 8
    if isinstance(at, int | float):
        clock = f"{datetime.fromtimestamp(at, UTC).astimezone(zone):%H:%M:%S}"
    kind = str(event["kind"])
    try:
        text = _WORDS[kind](event)
    except (KeyError, TypeError, ValueError):  # of another version: all there is
        text = ", ".join(f"{k} {v}" for k, v in event.items() if k not in ("kind", "at", "id"))
    return said(f"{clock}  {kind:<8}  {text}")


def _model(row: Row) -> str:
    was = "" if row["before"] is None else f"{row['before']}, now "
    size = f", {format_bytes(row['size'])}" if row["size"] else ""
    size += f" of {row['pool']}" if size and row["pool"] is not None else ""
    return f"{row['model']}: {was}{row['state']}{size}"


def _engine(row: Row) -> str:
    if row["up"]:
        return f"{row['engine']} answers" + (f", but {row['fault']}" if row["fault"] else "")
    return f"{row['engine']} is down: {row['fault']}"


def _decision(row: Row) -> str:
    if row["actions"]:
        todo = (f"{verb(a)} {a['model']}" for a in row["actions"])
        what = ", ".join(todo)
    elif row["unmet"] or row["full"] or row.get("barred"):
        what = "refused, nobody went"
    else:
        stayed = ", ".join(f"{n['model']} ({n['why']})" for n in row["notes"][:_NAMED])
        what = f"nobody went: {stayed}" if stayed else "nothing to do"
    mode = "" if row["mode"] == "enforce" else f" ({row['mode']} only)"
    return f"{row['decision']} {row['cause']}: {what}{mode}"


def _outcome(row: Row) -> str:
    return f"{row['decision']} {of_outcome(row)}"


def _finding(row: Row) -> str:
    if not row["open"]:
        return f"over: {row['subject']}: {row['finding']}"
    return f"{row['severity']}: {row['subject']}: {row['detail']}"


def _claim(row: Row) -> str:
    return f"{row['what']} changed"


def _settings(row: Row) -> str:
    if row["value"] is None:
        return f"{row['key']} is again as it is configured"
    return f"{row['key']} = {row['value']}"


def _config(row: Row) -> str:
    if not row["ok"]:
        count = len(row["mistakes"])
        return f"refused, the old one stays in force: {count} mistake{'s' * (count != 1)}: " + (
            "; ".join(map(str, row["mistakes"]))
        )
    changed = ", ".join(row["changed"]) or "nothing"
    text = f"read anew: {changed} changed"
    return f"{text}; {', '.join(row['restart'])} at the next start" if row["restart"] else text


def _daemon(row: Row) -> str:
    return str(row["text"])


def _reset(row: Row) -> str:
    return f"what happened meanwhile is not known: {row['why']}"


def _sample(row: Row) -> str:
    pools = [f"{p['id']} {format_bytes(p['headroom'])} of headroom" for p in row["pools"]]
    return f"{', '.join(pools)}; {row['busy']} busy, {row['waiting']} waiting"


_WORDS: dict[str, Callable[[Row], str]] = {
    "model": _model,
    "engine": _engine,
    "decision": _decision,
    "outcome": _outcome,
    "finding": _finding,
    "claim": _claim,
    "alert": alert_words.line,
    "settings": _settings,
    "config": _config,
    "daemon": _daemon,
    "reset": _reset,
    "sample": _sample,
}
