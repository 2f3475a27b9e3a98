"""`ullage status --wide`: where every byte is, as a tree, and how the devices feel.

Values in, text out. The parts of a pool add up to what is used of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text

from .bars import Screen
from .client import printable
from .units import format_bytes, format_seconds

Row = Mapping[str, Any]

INDENT = 3


class Line(NamedTuple):
    depth: int
    last: bool  # of its brothers
    name: str
    size: int | None
    note: str = ""


def trees(state: Row, on: Screen) -> Iterator[Text]:
    """One tree a pool that could be read."""
    for pool in state["pools"]:
        if pool["blind"] is None:
            yield _drawn(pool["name"], pool["total"], list(_lines(pool)), on)


def _lines(pool: Row) -> Iterator[Line]:
    used = pool["total"] - pool["free"]
    yield Line(1, False, "used", used)
    groups = list(_groups(pool["parts"]))
    for i, (name, parts) in enumerate(groups):
        last = i == len(groups) - 1
        if len(parts) == 1 and parts[0]["owner"] not in ("model", "engine", "foreign"):
            yield Line(2, last, name, parts[0]["size"])
            continue
        yield Line(2, last, name, sum(p["size"] for p in parts))
        for j, part in enumerate(parts):
            pid = "" if part["pid"] is None else f"pid {part['pid']}"
            yield Line(3, j == len(parts) - 1, part["name"], part["size"], pid)
    mapped = ""
    if pool["mapped"]:
        mapped = f"and {format_bytes(pool['mapped'])} of mapped weights that could be dropped"
    yield Line(1, True, "free", pool["free"], mapped)


def _groups(parts: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """The parts by whose they are: each engine, the strangers, and what the kernel names."""
    engines: dict[str, list[Row]] = {}
    for part in parts:
        if part["engine"] is not None:
            engines.setdefault(part["engine"], []).append(part)
    yield from sorted(engines.items())
    strangers = [p for p in parts if p["owner"] == "foreign"]
    if strangers:
        yield "other programs", strangers
    for part in parts:
        if part["engine"] is None and part["owner"] != "foreign":
            yield part["name"], [part]


def _drawn(name: str, total: int, lines: Sequence[Line], on: Screen) -> Text:
    bar, tee, corner = ("│", "├─", "└─") if on.unicode else ("|", "|-", "`-")
    longest = max([cells(line) for line in lines] + [len(name)])
    width = min(longest, max(24, on.width - 14)) + 2
    text = Text()
    text.append(printable(name).ljust(width), "bold")
    text.append(f"{format_bytes(total):>10}\n")
    open_at: dict[int, bool] = {}
    for line in lines:
        open_at[line.depth] = not line.last
        lead = "".join((bar if open_at.get(d) else "").ljust(INDENT) for d in range(1, line.depth))
        head = lead + (corner if line.last else tee) + " "
        label = printable(line.name)
        room = width - len(head) - 1
        if len(label) > room:
            label = label[: max(1, room - 1)] + ("…" if on.unicode else "~")
        text.append(head, "bright_black")
        text.append(label.ljust(width - len(head)))
        text.append(f"{'' if line.size is None else format_bytes(line.size):>10}")
        text.append(f"  {line.note}" if line.note else "", "bright_black")
        text.append("\n")
    text.rstrip()
    return text


def cells(line: Line) -> int:
    return line.depth * INDENT + len(line.name)


def devices(rows: Iterable[Row]) -> Table:
    """How each accelerator feels."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for column in ("DEVICE", ">BUSY", ">TEMP", ">POWER", ">CLOCK", "LINK", "STATE"):
        table.add_column(
            column.removeprefix(">"), justify="right" if column[0] == ">" else "left", no_wrap=True
        )
    for row in rows:
        health: Row = row["health"] or {}
        power, limit = health.get("power"), health.get("power_limit")
        watts = "-" if power is None else f"{power:.0f} W"
        if power is not None and limit is not None:
            watts = f"{power:.0f}/{limit:.0f} W"
        table.add_row(
            Text(("  " if row["parent"] else "") + printable(row["name"])),
            _as(health.get("utilization"), "{:.0%}"),
            _as(health.get("temperature"), "{:.0f} °C"),
            watts,
            "-" if health.get("clock") is None else f"{health['clock'] / 1e6:.0f} MHz",
            _link(health),
            _state(row, health),
        )
    return table


def _as(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _link(health: Row) -> str:
    generation, width = health.get("pcie_generation"), health.get("pcie_width")
    return "-" if generation is None or width is None else f"PCIe {generation} x{width}"


def _state(row: Row, health: Row) -> Text:
    if row["asleep"]:
        return Text("asleep")
    if health.get("recovery") not in (None, "none"):
        return Text(f"needs: {printable(health['recovery'])}", "bold red")
    if health.get("throttled"):
        return Text(f"slowed: {printable(', '.join(health['throttled']))}", "yellow")
    return Text("ok" if health else "-")


def host(facts: Row) -> Text:
    """Swap, stalls and limits of RAM, in a line."""
    items = []
    if facts["limit"] is not None:
        items.append(f"limited to {format_bytes(facts['limit'])} by {facts['limited_by']}")
    if facts["swap_total"]:
        used = facts["swap_total"] - facts["swap_free"]
        items.append(f"swap {format_bytes(used)} of {format_bytes(facts['swap_total'])}")
    if facts["pressure"] is not None:
        items.append(f"stalled for {format_seconds(facts['pressure']['some'])} since boot")
    if facts["level"] is not None:
        items.append(f"memory pressure {facts['level']}")
    return Text(printable(", ".join(items)))
