"""`ullage status --wide`: where every byte is, as a tree, and how the devices feel.

Values in, text out. The parts of a pool add up to what is used of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.table import Table
from rich.text import Text

from supervisor.printable import printable
from supervisor.units import format_bytes, format_seconds

from .bars import Screen

Row = Mapping[str, Any]

INDENT = 3
SIZE = 10  # characters: "1023.9 GiB"
NARROWEST = 24  # of a name, or of its place in the tree
NARROWEST_DEVICE = 12


class Line(NamedTuple):
    depth: int
    last: bool  # of its brothers
    name: str
    size: int
    note: str = ""

    @property
    def cells(self) -> int:
        return self.depth * INDENT + cell_len(printable(self.name))


def trees(pools: Iterable[Row], label: Mapping[str, str], on: Screen) -> Iterator[Text]:
    """One tree a pool that could be read."""
    for pool in pools:
        if pool["blind"] is None:
            name, id = printable(pool["name"]), label[pool["id"]]
            head = name if name.lower() == id.lower() else f"{name}  {id}"
            yield _drawn(head, pool["total"], list(_lines(pool)), on)


def _lines(pool: Row) -> Iterator[Line]:
    yield Line(1, False, "used", pool["total"] - pool["free"])
    groups = list(_groups(pool["parts"]))
    for i, (name, parts) in enumerate(groups):
        last = i == len(groups) - 1
        yield Line(2, last, name, sum(p["size"] for p in parts))
        if parts[0]["owner"] not in ("model", "engine", "foreign"):
            continue
        for j, part in enumerate(parts):
            pid = "" if part["pid"] is None else f"pid {part['pid']}"
            yield Line(3, j == len(parts) - 1, part["name"], part["size"], pid)
    yield Line(1, True, "free", pool["free"])
    if pool["mapped"]:  # no part of the sum
        yield Line(0, True, "of the used, mapped weights", pool["mapped"])


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
    notes = max((2 + len(line.note) for line in lines if line.note), default=0)
    longest = max([line.cells for line in lines] + [cell_len(name)])
    width = min(longest + 2, max(NARROWEST, on.width - SIZE - notes))
    text = Text()
    text.append(_cut(name, width, on), "bold")
    text.append(f"{format_bytes(total):>{SIZE}}\n")
    open_at: dict[int, bool] = {}
    for line in lines:
        open_at[line.depth] = not line.last
        lead = "".join((bar if open_at.get(d) else "").ljust(INDENT) for d in range(1, line.depth))
        head = f"{lead}{corner if line.last else tee} " if line.depth else ""
        text.append(head, "bright_black")
        text.append(_cut(printable(line.name), width - len(head), on))
        text.append(f"{format_bytes(line.size):>{SIZE}}")
        text.append(f"  {line.note}" if line.note else "", "bright_black")
        text.append("\n")
    text.rstrip()
    return text


def _cut(name: str, width: int, on: Screen) -> str:
    """`name` in exactly so many cells, the last one of them blank."""
    if cell_len(name) >= width:
        name = set_cell_size(name, max(1, width - 2)).rstrip() + ("…" if on.unicode else "~")
    return set_cell_size(name, width)


def devices(rows: Sequence[Row], label: Mapping[str, str], on: Screen) -> Table:
    """How each accelerator feels. Names are cut, and numbers are not."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    same = Counter(row["name"] for row in rows)
    names = [
        printable(row["name"]) + (f"  {label[row['uuid']]}" if same[row["name"]] > 1 else "")
        for row in rows
    ]
    indents = ["  " if row["parent"] else "" for row in rows]
    told = [_told(row["health"] or {}, on) for row in rows]
    columns = ("BUSY", "TEMP", "POWER", "CLOCK", "LINK")
    taken = sum(
        2 + max(len(head), *(len(row[i]) for row in told)) for i, head in enumerate(columns)
    )
    states = [_state(row, row["health"] or {}) for row in rows]
    taken += min(max(s.cell_len for s in states), NARROWEST)
    longest = max(
        len("DEVICE"), *(len(i) + cell_len(n) for i, n in zip(indents, names, strict=True))
    )
    width = min(longest, max(NARROWEST_DEVICE, on.width - taken - 2))
    table.add_column("DEVICE", no_wrap=True, width=width)
    for head in columns:
        right = "left" if head == "LINK" else "right"
        table.add_column(head, justify=right, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("STATE")
    for indent, name, numbers, state in zip(indents, names, told, states, strict=True):
        shown = Text(indent + _end_of(name, width - len(indent), on))
        table.add_row(shown, *numbers, state)
    return table


def _end_of(name: str, width: int, on: Screen) -> str:
    """As much of it as there is room for. What tells one card from another stands at the end."""
    if cell_len(name) <= width:
        return name
    while cell_len(name) > width - 1:
        name = name[1:]
    return ("…" if on.unicode else "~") + name


def _told(health: Row, on: Screen) -> tuple[str, ...]:
    power, limit = health.get("power"), health.get("power_limit")
    watts = "-" if power is None else f"{power:.0f} W"
    if power is not None and limit is not None:
        watts = f"{power:.0f}/{limit:.0f} W"
    generation, lanes = health.get("pcie_generation"), health.get("pcie_width")
    return (
        _as(health.get("utilization"), "{:.0%}"),
        _as(health.get("temperature"), "{:.0f} °C" if on.unicode else "{:.0f} C"),
        watts,
        "-" if health.get("clock") is None else f"{health['clock'] / 1e6:.0f} MHz",
        "-" if generation is None or lanes is None else f"PCIe {generation} x{lanes}",
    )


def _as(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _state(row: Row, health: Row) -> Text:
    if row["asleep"]:
        return Text("asleep")
    if health.get("recovery") not in (None, "none"):
        return Text(f"needs: {printable(health['recovery'])}", "bold red")
    if health.get("throttled"):
        return Text(f"slowed: {printable(', '.join(health['throttled']))}", "yellow")
    return Text("ok" if any(v is not None for v in health.values()) else "-")


def host(facts: Row) -> Text:
    """Swap, stalls and limits of RAM, in a line."""
    items = []
    limit, physical = facts["limit"], facts["physical"]
    if limit is not None and (physical is None or limit < physical):
        items.append(f"limited to {format_bytes(limit)} by {facts['limited_by']}")
    if facts["swap_total"]:
        used = facts["swap_total"] - facts["swap_free"]
        items.append(f"swap {format_bytes(used)} of {format_bytes(facts['swap_total'])}")
    if facts["pressure"] is not None:
        items.append(f"stalled for {format_seconds(facts['pressure']['some'])} since boot")
    if facts["level"] is not None:
        items.append(f"memory pressure {facts['level']}")
    return Text(printable(", ".join(items)))
