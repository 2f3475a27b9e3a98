"""Pools as stacked bars: each model with its letter, its name where there is room, its colour.

The last part of a bar is the reserve, and a line stands where it begins: what is left of the
line may be used, and what is used right of it is what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.text import Text

from supervisor.cli.bars import shared_out
from supervisor.cli.show import labels
from supervisor.printable import printable
from supervisor.units import format_bytes

from .look import BAD, QUIET, STRONG, WARNING, Letters, Look

Row = Mapping[str, Any]

NARROW = 76  # columns: below, the numbers are shortened
NAMED = 4  # characters of a model's name that are worth showing
GIB, MIB = 1024**3, 1024**2


class Part(NamedTuple):
    letter: str
    name: str
    size: int


def short_names(state: Row) -> dict[str, str]:
    """What pools are called: as `--pool` takes it where that is one pool, else their ids' heads."""
    ids = [p["id"] for p in state["pools"]]
    short = labels(ids)
    devices = [d for d in state.get("devices", ()) if d["kind"] == "gpu" and d["pool"] in short]
    for pool in ids:
        mine = {f"gpu{d['index']}" for d in devices if d["pool"] == pool}
        others = {f"gpu{d['index']}" for d in devices if d["pool"] != pool}
        if len(mine) == 1 and not mine & others:
            short[pool] = mine.pop()
    return short


def _column(state: Row, names: Mapping[str, str]) -> int:
    """How wide the names of those pools are that have a bar."""
    return max((len(names[p["id"]]) for p in state["pools"] if p["blind"] is None), default=0)


def short(name: str) -> str:
    """The end of a model's name, by which people know it."""
    return printable(name.rpartition("/")[2] or name)


def parts(pool: Row, models: Iterable[Row], letters: Letters) -> list[Part]:
    """What the models hold of `pool`."""
    return [
        Part(letters.of(m["name"]), m["name"], s["size"])
        for m in models
        for s in m["shares"]
        if s["pool"] == pool["id"] and s["size"] > 0
    ]


def pools(state: Row, letters: Letters, width: int, look: Look, lines: int = 1) -> list[Text]:
    """Every pool. `lines` 1: bar and numbers; 2: above them what it is; 3: below them who."""
    names = short_names(state)
    column = _column(state, names)
    drawn: list[Text] = []
    numbers = {p["id"]: _numbers(p, width, lines) for p in state["pools"] if p["blind"] is None}
    room = max((t.cell_len for t in numbers.values()), default=0)
    for pool in state["pools"]:
        label, indent = names[pool["id"]].ljust(column), " " * (column + 1)
        if lines > 1:
            head = Text.assemble((f"{label} ", STRONG))
            if (name := printable(pool["name"])).lower() != label.strip().lower():
                head.append(f"{name}  ")
            if pool["blind"] is None:
                head.append_text(numbers[pool["id"]])
            drawn.append(head)
        if pool["blind"] is not None:
            lead = indent if lines > 1 else f"{label} "
            drawn.append(Text(f"{lead}cannot be read: {printable(pool['blind'])}", WARNING))
            continue
        mine = parts(pool, state["models"], letters)
        if lines > 1:
            drawn.append(Text(indent).append_text(bar(pool, mine, width - column - 1, look)))
        else:
            cells = max(10, width - column - 3 - room)
            line = Text.assemble((f"{label} ", STRONG), bar(pool, mine, cells, look), "  ")
            drawn.append(line.append_text(numbers[pool["id"]]))
        if lines > 2:
            drawn.append(Text(indent).append_text(_who(pool, mine, state, look)))
    return [_one_line(t, width, look) for t in drawn]


def legend(state: Row, width: int, look: Look) -> Text:
    """What the characters of the bars mean."""
    items = [("foreign", "others"), ("promised", "promised"), ("free", "free")]
    text = "a-z models  " + "  ".join(f"{look.glyph(part)} {word}" for part, word in items)
    text += f"  {look.line}{look.glyph('reserve')} reserve"
    column = _column(state, short_names(state))
    return Text(" " * min(column + 1, max(0, width - len(text))) + text, QUIET)


def bar(pool: Row, mine: Sequence[Part], width: int, look: Look) -> Text:
    """`pool` in exactly `width` cells. Only where cells are fewer than parts, parts are missing."""
    used = pool["total"] - pool["free"]
    sizes, left = [], used
    for part in mine:  # whatever was measured when, nobody holds more than is used
        sizes.append(min(part.size, left))
        left -= sizes[-1]
    promised = min(pool["promised"], pool["free"])
    reserve = min(pool["reserve"], pool["free"] - promised)
    rest = (left, promised, pool["free"] - promised - reserve, reserve)
    cells = shared_out([*sizes, *rest], width)
    text = Text(no_wrap=True)
    for part, n in zip(mine, cells, strict=False):
        text.append(_filled(part, n, look), look.chip(part.letter))
    for name, n in zip(("foreign", "promised", "free", "reserve"), cells[-4:], strict=True):
        text.append(look.glyph(name) * n, QUIET if name == "free" else "")
    return _with_line(text, pool, cells, width, look)


def _filled(part: Part, cells: int, look: Look) -> str:
    """`a qwen3:8b `, and letters to the end where no colour tells how far it goes."""
    fill = " " if look.colour else part.letter
    name = look.cut(short(part.name), cells - 3)
    if cells < NAMED + 3 or cell_len(name) != len(name):  # wide characters may not end half-way
        return part.letter + fill * (cells - 1) if cells else ""
    return f"{part.letter} {name} ".ljust(cells, fill)


def _with_line(text: Text, pool: Row, cells: Sequence[int], width: int, look: Look) -> Text:
    """The line before the reserve, over what is in the way."""
    if not pool["reserve"] or not pool["total"] or width < 2:
        return text
    meets = pool["headroom"] < 0
    at = width - cells[-1]
    if meets:
        at = width - max(cells[-1], round(pool["reserve"] / pool["total"] * width))
    at = min(max(at, 0), width - 1)
    mark = Text(look.line, BAD if meets else STRONG)
    return text[:at].append_text(mark).append_text(text[at + 1 :])


def _numbers(pool: Row, width: int, lines: int) -> Text:
    unit, word = (GIB, "GiB") if pool["total"] >= GIB else (MIB, "MiB")
    free, total = f"{pool['free'] / unit:.1f}", f"{pool['total'] / unit:.1f}"
    room = abs(pool["headroom"]) / unit
    lack = pool["headroom"] < 0
    if width < NARROW and lines == 1:
        text = Text(f"{free:>4}/{total} {word} ")
        return text.append(f"{'LACK' if lack else 'room'} {room:.1f}", BAD if lack else "")
    text = Text(f"{free:>4} of {total:>4} {word} free, ")
    return text.append(f"{'SHORT OF' if lack else 'headroom'} {room:.1f}", BAD if lack else "")


def _who(pool: Row, mine: Sequence[Part], state: Row, look: Look) -> Text:
    """The parts with their sizes, models first."""
    text = Text()
    for part in sorted(mine, key=lambda p: -p.size):
        text.append(part.letter, look.chip(part.letter) or STRONG)
        text.append(f" {short(part.name)} {format_bytes(part.size)}  ")
    if pool["foreign"]:
        text.append(f"{look.glyph('foreign')} others {format_bytes(pool['foreign'])}")
        strangers = [f for f in state.get("foreign", ()) if f["pool"] == pool["id"]]
        biggest = sorted(strangers, key=lambda f: -f["size"])[:2]
        who = ", ".join(f"{printable(f['name'])} {format_bytes(f['size'])}" for f in biggest)
        text.append(f" ({who})  " if who else "  ")
    if pool["promised"]:
        text.append(f"{look.glyph('promised')} promised {format_bytes(pool['promised'])}  ")
    if pool["reserve"]:
        text.append(f"{look.glyph('reserve')} reserve {format_bytes(pool['reserve'])}  ")
    if pool["budget"] is not None:
        text.append(f"budget of models {format_bytes(pool['budget'])}")
    text.rstrip()
    return text


def _one_line(text: Text, width: int, look: Look) -> Text:
    if text.cell_len > width:
        text.truncate(width - 1)
        text.append(look.more)
    return text
