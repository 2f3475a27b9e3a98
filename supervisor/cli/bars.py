"""Pools as bars: who has what of each, in characters and colours that say the same."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from supervisor.printable import printable
from supervisor.units import format_bytes

Row = Mapping[str, Any]

NARROWEST = 72  # characters: what is narrower wraps by itself
WIDEST_BAR = 60
NARROWEST_BAR = 12  # below, the numbers get a line of their own

# What a part of the bar is called, how it is drawn (also where only ASCII is), its colour.
PARTS = (
    ("models", "█", "#", "green"),
    ("foreign", "▓", "x", "magenta"),
    ("promised", "▒", "+", "yellow"),
    ("free", "·", ".", "bright_black"),
    ("reserve", "░", "-", "cyan"),
)


@dataclass(frozen=True, slots=True)
class Screen:
    """What is drawn on: its width and height in characters, and what it can show."""

    width: int = 80
    height: int = 24
    colour: bool = False
    unicode: bool = True
    terminal: bool = False


def screen() -> Screen:
    """Standard output. Colours only on a terminal, and not against NO_COLOR."""
    terminal = sys.stdout.isatty()
    columns, rows = shutil.get_terminal_size((80, 24))
    columns = max(columns, NARROWEST)
    bare = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    try:
        "".join(p[1] for p in PARTS).encode(sys.stdout.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return Screen(columns, rows, terminal and not bare, False, terminal)
    return Screen(columns, rows, terminal and not bare, True, terminal)


def pools(state: Row, on: Screen) -> Iterator[RenderableType]:
    """Each pool as its name, its bar with the numbers, and what the bar is made of."""
    numbers = {p["id"]: _numbers(p) for p in state["pools"] if p["blind"] is None}
    room = on.width - 4 - max((len(t.plain) for t in numbers.values()), default=0)
    for pool in state["pools"]:
        name, id = printable(pool["name"]), printable(pool["id"])
        title = Text(name, "bold")
        if name.lower() != id.lower():
            title.append(f"  {id}", "not bold bright_black")
        if pool["blind"] is not None:
            why = Text(f"cannot be read: {printable(pool['blind'])}", "yellow")
            yield Group(title, Padding(why, (0, 0, 0, 2)))
            continue
        bar = _bar(pool, min(WIDEST_BAR, room if room >= NARROWEST_BAR else on.width - 2), on)
        gap = "  " if room >= NARROWEST_BAR else "\n"
        line = Text.assemble(bar, gap, numbers[pool["id"]])
        legend = _legend(pool, state["foreign"], on)
        yield Group(title, Padding(line, (0, 0, 0, 2)), Padding(legend, (0, 0, 0, 2)))


def _numbers(pool: Row) -> Text:
    text = Text(f"{format_bytes(pool['free'])} of {format_bytes(pool['total'])} free, ")
    if pool["headroom"] < 0:
        return text.append(f"short of {format_bytes(-pool['headroom'])}", "bold red")
    return text.append(f"headroom {format_bytes(pool['headroom'])}")


def _sizes(pool: Row) -> tuple[int, ...]:
    """The parts of the bar, in bytes. They add up to the total, whatever was measured when."""
    total, free = pool["total"], pool["free"]
    foreign = min(pool["foreign"], total - free)
    promised = min(pool["promised"], free)
    reserve = min(pool["reserve"], free - promised)
    return total - free - foreign, foreign, promised, free - promised - reserve, reserve


def _bar(pool: Row, width: int, on: Screen) -> Text:
    bar = Text()
    shares = shared_out(_sizes(pool), width)
    for (_, glyph, ascii, colour), cells in zip(PARTS, shares, strict=True):
        bar.append((glyph if on.unicode else ascii) * cells, colour)
    return bar


def shared_out(sizes: Sequence[int], width: int) -> list[int]:
    """`width` characters, shared out by size. What is there at all has one, if it can be had."""
    total = max(1, sum(sizes))
    exact = [size * width / total for size in sizes]
    cells = [int(e) or int(size > 0) for e, size in zip(exact, sizes, strict=True)]
    while sum(cells) > width:
        cells[cells.index(max(cells))] -= 1
    rest = sorted(range(len(cells)), key=lambda i: cells[i] - exact[i])
    for i in (rest * width)[: width - sum(cells)] if sum(sizes) else []:
        cells[i] += 1
    return cells


def _legend(pool: Row, foreign: Iterable[Row], on: Screen) -> Text:
    """What the parts of the bar are, in numbers, and who the largest strangers are."""
    sizes = {**pool, "models": pool["held"], "free": None}  # free is in the line above
    items = []
    for name, glyph, ascii, colour in PARTS:
        if not sizes[name]:
            continue
        text = Text((glyph if on.unicode else ascii), colour)
        text.append(f" {name} {format_bytes(sizes[name])}", "default")
        if name == "models" and pool["budget"] is not None:
            text.append(f" of a budget of {format_bytes(pool['budget'])}", "default")
        if name == "foreign":
            mine = sorted((f for f in foreign if f["pool"] == pool["id"]), key=lambda f: -f["size"])
            who = ", ".join(f"{printable(f['name'])} {format_bytes(f['size'])}" for f in mine[:2])
            text.append(f" ({who})" if who else "", "default")
        items.append(text)
    return _filled(items, on.width - 2)


def _filled(items: Iterable[Text], width: int) -> Text:
    """As many items on a line as there is room for; none is broken where it need not be."""
    lines: list[Text] = []
    for item in items:
        if lines and lines[-1].cell_len + 3 + item.cell_len <= width:
            lines[-1].append("   ").append_text(item)
        else:
            lines.append(item)
    return Text("\n").join(lines)
