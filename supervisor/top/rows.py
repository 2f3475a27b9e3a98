"""The models as rows: what is said of each, in which order, and which columns there is room for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from rich.text import Text

from supervisor.printable import printable
from supervisor.units import format_bytes, format_seconds

from .look import BAD, GOOD, STRONG, WARNING, Letters, Look

Row = Mapping[str, Any]
GAP = 2
ENDED = ("in flight", "busy")  # what keeps a model, and is said in a column of its own


class Column(NamedTuple):
    """`width` in cells; 0: takes what is left, at least `least`. `rank`: the highest go first."""

    key: str
    title: str
    width: int
    rank: int = 0
    right: bool = False
    least: int = 0


COLUMNS = (
    Column("letter", "", 1),
    Column("name", "MODEL", 0, least=16),
    Column("state", "STATE", 8),
    Column("size", "SIZE", 8, right=True),
    Column("pool", "POOL", 8, rank=2),
    Column("idle", "IDLE", 6, right=True),
    Column("flight", "REQ", 3, rank=3, right=True),
    Column("kept", "KEPT BY", 8, rank=1),
)
WIDE = {"kept": 34, "pool": 14, "state": 10}  # where there is plenty
PLENTY = 130

ORDERS: Mapping[str, tuple[Callable[[Row], Any], bool]] = {
    # what is compared, and whether the largest comes first
    "size": (lambda m: m["size"], True),
    "name": (lambda m: m["name"].lower(), False),
    "idle": (lambda m: -m["busy_for"] if m["busy"] else m["idle"], True),
    "state": (lambda m: state(m)[0], False),
    "pool": (lambda m: home(m), False),
    "flight": (lambda m: m["in_flight"] or 0, True),
    "kept": (lambda m: (not m["pinned"], not kept_by(m)), False),
}


Layout = list[tuple[Column, int]]


def columns(width: int, longest: int) -> Layout:
    """Those that fit in `width` cells, and how wide they are. Names take as many as the `longest`
    of them does, if there are so many; the rest is for what keeps a model."""
    chosen = [c._replace(width=WIDE.get(c.key, c.width)) if width >= PLENTY else c for c in COLUMNS]
    while True:
        fixed = sum(c.width for c in chosen) + GAP * (len(chosen) - 1) - 1  # letter and name: 1
        rest = width - fixed
        least = next(c.least for c in chosen if not c.width)
        worst = max(chosen, key=lambda c: c.rank)
        if rest >= least or not worst.rank:
            break
        chosen.remove(worst)
    name = max(4, min(rest, max(least, longest)))
    spare = {"kept": max(0, rest - name)}
    return [(c, (c.width or name) + spare.get(c.key, 0)) for c in chosen]


def arranged(models: Iterable[Row], order: str, turned: bool, wanted: str) -> list[Row]:
    """Those whose name, engine, state or keepers hold `wanted`, in order; equals by name."""
    compared, largest_first = ORDERS[order]
    words = wanted.lower().split()
    found = [m for m in models if all(w in _said(m) for w in words)]
    found.sort(key=lambda m: m["name"])
    return sorted(found, key=compared, reverse=largest_first != turned)


def _said(model: Row) -> str:
    return " ".join((model["name"], model["state"], *kept_by(model))).lower()


def home(model: Row) -> str:
    """The pool in which it holds the most."""
    best = max(model["shares"], key=lambda s: s["size"], default=None)
    return "" if best is None else str(best["pool"])


def kept_by(model: Row) -> list[str]:
    """Who keeps it, a pin first; requests are not said here."""
    keepers = [str(k) for k in model.get("kept_by", ["pinned"] if model["pinned"] else [])]
    found = [k for k in keepers if not k.endswith(ENDED)]
    found = [k.removesuffix(" unless it is used") for k in found]
    return sorted(found, key=lambda k: not k.startswith("pinned"))


def amount(size: int) -> str:
    """Rounded, in at most eight characters."""
    text = format_bytes(size)
    number, _, unit = text.partition(" ")
    return text if len(text) <= 8 else f"{float(number):.0f} {unit}"


def activity(model: Row, later: float) -> tuple[str, str]:
    """How long it has been idle or busy, `later` seconds after that was said; and its style."""
    if model["state"] not in ("loaded", "sleeping"):
        return "", ""
    if model["busy"]:
        return format_seconds(_whole(model["busy_for"] + later)), GOOD
    return format_seconds(_whole(model["idle"] + later)), ""


def _whole(seconds: float) -> float:
    """Tenths of a second that pass every second are no news."""
    return float(int(seconds)) if seconds >= 1 else 0.0


def cells(
    model: Row, pools: Mapping[str, str], letters: Letters, later: float, look: Look
) -> dict[str, Text]:
    """What stands in each column, uncut."""
    letter = letters.of(model["name"])
    idle, style = activity(model, later)
    word, tone = state(model)
    held = [s["pool"] for s in sorted(model["shares"], key=lambda s: -s["size"])]
    flight = model["in_flight"]
    busy = model["busy"] and model["state"] == "loaded"
    return {
        "letter": Text(letter, look.chip(letter) or STRONG),
        "name": Text(printable(model["name"])),
        "state": Text(word, tone),
        "size": Text(amount(model["size"])),
        "pool": Text(",".join(pools.get(p, printable(p)) for p in held)),
        "idle": Text(idle, style),
        "flight": Text("?" if flight is None else str(flight) if flight else "",
                       GOOD if busy else ""),
        "kept": Text(", ".join(printable(k) for k in kept_by(model)), STRONG),
    }  # fmt: skip


def state(model: Row) -> tuple[str, str]:
    """Its state in a word, and the style of that."""
    if model.get("status") == "leaving" or model["state"] == "leaving":
        return "leaving", WARNING
    if model["state"] == "unknown":
        return "unknown", BAD  # its engine does not answer
    if model["state"] == "sleeping":
        return "asleep", ""
    if model["state"] != "loaded":
        return printable(model["state"]), WARNING
    if not model["busy"]:
        return "idle", ""
    return f"busy {model['in_flight'] or ''}".rstrip(), GOOD  # also where REQ has no room


def told(model: Row, pools: Mapping[str, str]) -> str:
    """All of it in one line: what the columns had to cut."""
    held = ", ".join(
        f"{format_bytes(s['size'])} of {pools.get(s['pool'], s['pool'])} {s['source']}"
        for s in model["shares"]
    )
    items = [model["name"], held or "holds nothing that can be seen", *kept_by(model)]
    if model.get("contexts"):
        items.append(f"used by {model['contexts']}")
    if model["pids"]:
        items.append("pid " + ", ".join(str(p) for p in model["pids"][:4]))
    return printable(" · ".join(items))


def heading(order: str, turned: bool, layout: Layout, look: Look) -> Text:
    """The titles; the one that orders has an arrow."""
    up, down = ("▲", "▼") if look.unicode else ("^", "v")
    text = Text(style=STRONG)
    for i, (column, cells_) in enumerate(layout):
        title = column.title
        if column.key == order:
            first = ORDERS[order][1] != turned
            title += down if first else up
        text.append(_gap(i) + (title.rjust(cells_) if column.right else title.ljust(cells_)))
    return text


def line(row: Mapping[str, Text], layout: Layout, look: Look) -> Text:
    """A row in its columns."""
    text = Text()
    for i, (column, cells_) in enumerate(layout):
        cell = row[column.key]
        cut = look.squeeze if column.key == "name" else look.cut
        plain = cut(cell.plain, cells_)
        blank = " " * (cells_ - Text(plain).cell_len)
        text.append(_gap(i))
        text.append(blank if column.right else "")
        text.append(plain, cell.style)
        text.append("" if column.right else blank)
    return text


def column_at(x: int, layout: Layout) -> str | None:
    """Which column a click hits, if one can order by it."""
    at = 0
    for i, (column, cells_) in enumerate(layout):
        at += len(_gap(i)) + cells_
        if x < at:
            return column.key if column.key in ORDERS else None
    return None


def _gap(i: int) -> str:
    return "" if i == 0 else " " if i == 1 else " " * GAP
