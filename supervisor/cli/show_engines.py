"""`ullage engines`: where each is, whether it answers, what it can and what it holds."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from supervisor.printable import printable
from supervisor.units import format_bytes

from .bars import Row, Screen
from .show import COLOURS, drawn, table_of

NONE = "No engine is known: start one, or name it: `ullage run --engine NAME=URL`, `ullage init`.\n"


def rows(state: Row) -> list[dict[str, Any]]:
    """The engines of the state, each with its models that are loaded, and their bytes by pool."""
    found = []
    for engine in state["engines"]:
        mine = [m for m in state["models"] if m["engine"] == engine["id"]]
        held: dict[str, int] = {}
        for share in (s for m in mine for s in m["shares"]):
            held[share["pool"]] = held.get(share["pool"], 0) + share["size"]
        installed = sum(i["engine"] == engine["id"] for i in state["installed"])
        loaded = sorted(m["model"] for m in mine)
        found.append({**engine, "loaded": loaded, "installed": installed, "held": held})
    return found


def table(found: list[dict[str, Any]], on: Screen) -> str:
    if not found:
        return NONE
    table: Table = table_of("ENGINE", "KIND", "VERSION", "STATE", ">LOADED", ">HOLDS")
    for row in found:
        count = str(len(row["loaded"]))
        if row["installed"]:
            count += f" of {max(row['installed'], len(row['loaded']))}"
        cells = (printable(row["id"]), printable(row["kind"] or "-"),
                 printable(row["version"] or "-"))  # fmt: skip
        table.add_row(*cells, _state(row), count, format_bytes(sum(row["held"].values())))
    parts: list[Table | Text | str] = [table, ""]
    width = max(len(printable(row["id"])) for row in found)
    for row in found:
        text = f"{printable(row['id']):<{width}}  {printable(row['url'])}"
        can = ", ".join(row["abilities"])
        parts.append(Text(f"{text}  can {can}" if can else text))
        if row["fault"]:
            parts.append(Text(f"{'':<{width}}  {printable(row['fault'])}", COLOURS["warning"]))
    return drawn(parts, on)


def _state(row: Row) -> Text:
    if row["up"]:
        return Text("up", "green")
    return Text("degraded" if row.get("degraded") else "down", COLOURS["warning"])
