"""Draws a fleet, as the agent of this host knows it. Values in, text out.

What is promised is the ledger's word, headroom each host's own: the two stand side by side, and
neither is taken off the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from textwrap import wrap
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from supervisor.printable import printable
from supervisor.units import format_bytes, format_seconds

from .asking import said
from .bars import Row, Screen
from .show import COLOURS, drawn, labels, table_of

JOIN = "this host alone: no agent of a fleet answers here; `ullage fleet join` joins one"
ALONE = "this host alone: its agent was started without a fleet"
SOME = 4  # promises, and hosts of a model, that are named
HOST, MODEL = 63, 120  # characters of a name that are shown
LONG = 100.0  # seconds: what is older is told in minutes
_SPANS = {"ready": "green", "loading": "yellow", "broken": "bold red", "in part": "yellow"}
_WORDS = {"here": "green", "silent": "yellow", "lost": "bold red", "drained": "yellow"}


def status(answer: Row, on: Screen) -> str:
    """The fleet in short: who is there, what each has, what is promised, what is wrong."""
    directory = answer["directory"]
    parts: list[RenderableType] = [_header(answer), ""]
    parts += [_hosts(answer), ""]
    parts += [_sentence(line, on) for line in _promises(directory)]
    parts += [_sentence(line, on, COLOURS["warning"]) for line in _resting(directory)]
    parts += [_sentence(line, on, COLOURS["warning"]) for line in answer["trouble"]]
    if answer["backend"] == "single":
        parts.append(Text(ALONE if answer["connected"] else JOIN))
    return drawn(parts, on)


def hosts(answer: Row, on: Screen) -> str:
    """Each pool of each host: what it is, what is free, its headroom; what is promised there."""
    directory = answer["directory"]
    label = labels(s["pool"] for h in directory["hosts"] for s in h["word"]["spaces"])
    promised = promised_of(directory)
    table = table_of("HOST", "STATE", "POOL", ">TOTAL", ">FREE", ">HEADROOM", ">PROMISED")
    for host in directory["hosts"]:
        word = host["word"]
        lead = (_named(host, answer), _presence(host))
        mine = format_bytes(promised.get(word["host"], 0))
        if not word["spaces"]:
            table.add_row(*lead, "-", "-", "-", "-", mine)
        for i, space in enumerate(word["spaces"]):
            cells = (label[space["pool"]], *map(format_bytes, _sizes(space)))
            first = i == 0
            table.add_row(*(lead if first else ("", "")), *cells, mine if first else "")
    parts: list[RenderableType] = [table, ""]
    for host in directory["hosts"]:
        word = host["word"]
        where = word["address"] or "no address: other hosts send it no requests"
        name, where = _short(word["host"]), _short(where, MODEL)
        parts.append(_sentence(f"{name}  {where}  Ullage {_short(word['version'])}", on))
        if word["rests"]:
            text = f"  nothing is placed there: {word['rests']}"
            parts.append(_sentence(text, on, COLOURS["warning"]))
    return drawn(parts, on)


def models(answer: Row, on: Screen) -> str:
    """Each model, and where in the fleet it is ready, on its way, or could be."""
    found = models_of(answer["directory"])
    if not found:
        return "No host of the fleet has a model.\n"
    spans = answer.get("spans", ())
    table = table_of("MODEL", ">SIZE", "READY", "COULD BE", ">IN FLIGHT", ">WAITING")
    for lists in table.columns[2:4]:
        lists.no_wrap = False
    for row in found:
        ready = Text(_list(row["ready"]) or "-", "green" if row["ready"] else "")
        coming = [f"{h} ({status})" for h, status in row["others"] if status != "local"]
        local = [h for h, status in row["others"] if status == "local"]
        size = "not known" if row["size"] is None else format_bytes(row["size"])
        name, others = Text(_short(row["name"], MODEL)), _list([*coming, *local])
        table.add_row(name, size, ready, others or "-",
                      str(row["in_flight"]), str(row["waiting"]))  # fmt: skip
    return drawn([table, "", _spans(spans)] if spans else [table], on)


def placed(answer: Row) -> list[str]:
    """What came of asking for a place: where it is, and why it is not elsewhere."""
    lines = [said(s) for s in answer["sentences"]]
    if not lines:
        state = "is ready there" if answer["ready"] else "is loaded there"
        lines = [said(f"{answer['model']} on {answer['host']}: it {state}")]
        lines += notes(answer["notes"])
    if answer.get("address"):
        lines.append(said(f"its gateway: {answer['address']}"))
    return lines


def notes(rows: Iterable[Row]) -> list[str]:
    """A line for each host that was considered."""
    return [said(f"  {row['sentence'] if 'sentence' in row else _plain(row)}") for row in rows]


def why(answer: Row, zone: tzinfo | None = None) -> str:
    """What was placed lately, where, and why not elsewhere. `zone` None: local."""
    rows: Sequence[Row] = answer["placements"]
    if not rows:
        return "Nothing has been placed by the agent of this host yet.\n"
    lines = []
    for row in rows:
        at = datetime.fromtimestamp(row["at"], UTC).astimezone(zone)
        where = row["host"] or "nowhere"
        dry = "  (asked only: --dry-run)" if row.get("dry") else ""
        lines.append(said(f"{row['id']}  {at:%Y-%m-%d %H:%M:%S}  {row['model']} → {where}{dry}"))
        lines += [said(f"  {line}") for line in row["sentences"]] or notes(row["notes"])
    return "\n".join(lines) + "\n"


# -- what is in it


def promised_of(directory: Row) -> dict[str, int]:
    """Bytes that the ledger has, by host."""
    found: dict[str, int] = {}
    for promise in directory["promises"]:
        found[promise["host"]] = found.get(promise["host"], 0) + promise["size"]
    return found


def models_of(directory: Row) -> list[dict[str, Any]]:
    """Every model by name, over all hosts; of the lost nothing is told. `others` are the hosts
    where it is not ready, each with its status there."""
    found: dict[str, dict[str, Any]] = {}
    for host in directory["hosts"]:
        if host["presence"] == "lost":
            continue
        for model in host["word"]["models"]:
            new = {"name": model["name"], "size": None, "ready": [], "others": [],
                   "in_flight": 0, "waiting": 0}  # fmt: skip
            row = found.setdefault(model["name"], new)
            row["size"] = max((s for s in (row["size"], model["size"]) if s), default=None)
            row["in_flight"] += model["in_flight"]
            row["waiting"] += model["waiting"]
            name = host["word"]["host"]
            if model["ready"]:
                row["ready"].append(name)
            else:
                row["others"].append((name, model["status"]))
    for row in found.values():  # two engines of a host may have it
        row["ready"] = list(dict.fromkeys(row["ready"]))
        row["others"] = [o for o in dict.fromkeys(row["others"]) if o[0] not in row["ready"]]
    return [found[name] for name in sorted(found)]


# -- its parts


def _spans(rows: Sequence[Row]) -> RenderableType:
    """Models that span hosts: how each is, and every host's part."""
    table = table_of("SPANS HOSTS", "STATE", "HOST", "LEADS", "PART", "THERE")
    for row in rows:
        state = Text(printable(row["doing"] or row["state"]), _SPANS.get(row["state"], ""))
        lead: tuple[Text | str, ...] = (Text(printable(row["name"])), state)
        for part in row["parts"]:
            there = part["status"] if part["presence"] == "here" else part["presence"]
            leads = "yes" if part["leads"] else ""
            cells = (part["host"], leads, part["model"], there)
            table.add_row(*lead, *(Text(said(cell)) for cell in cells))
            lead = ("", "")
    return table


def _header(answer: Row) -> Text:
    rows = answer["directory"]["hosts"]
    if answer["backend"] == "single":
        return Text(f"This host alone: {said(answer['self'])}", "bold")
    count = "1 host" if len(rows) == 1 else f"{len(rows)} hosts"
    text = Text.assemble((f"Fleet by {printable(answer['backend'])}", "bold"), f"  {count}")
    text.append(f"  this is {said(answer['self'])}")
    if not answer["connected"]:
        text.append("  not connected: as it was last heard", "bold yellow")
    return text


def _hosts(answer: Row) -> RenderableType:
    directory = answer["directory"]
    promised = promised_of(directory)
    table = table_of("HOST", "STATE", ">HEARD", ">HEADROOM", ">PROMISED", ">READY", ">IN FLIGHT",
                     ">WAITING")  # fmt: skip
    for host in directory["hosts"]:
        word = host["word"]
        table.add_row(
            _named(host, answer),
            _presence(host),
            _heard(host, directory),
            _headroom(word["spaces"]),
            format_bytes(promised.get(word["host"], 0)),
            str(sum(m["ready"] for m in word["models"])),
            str(sum(m["in_flight"] for m in word["models"])),
            str(sum(m["waiting"] for m in word["models"])),
        )
    return table


def _resting(directory: Row) -> Iterator[str]:
    """Who takes no part, and why; of a host that is drained that says its state."""
    for host in directory["hosts"]:
        word = host["word"]
        if word["rests"] and host["presence"] != "drained":
            yield f"nothing is placed on {_short(word['host'])}: {word['rests']}"


def _headroom(spaces: Sequence[Row]) -> str:
    """Of the accelerators; of RAM where there are none."""
    mine = [s for s in spaces if s["pool"] != "ram"] or list(spaces)
    return format_bytes(sum(s["headroom"] for s in mine)) if mine else "-"


def _promises(directory: Row) -> Iterator[str]:
    known = {
        (p["id"], p["host"]): p for p in sorted(directory["promises"], key=lambda p: p["size"])
    }
    rows = list(known.values())
    for row in rows[:SOME]:
        left = format_seconds(max(0.0, row["until"] - directory["at"]))
        others = [h for h in row["members"] if h != row["host"]]
        beside = f", with {', '.join(map(_short, others))}" if others else ""
        host, model = _short(row["host"]), _short(row["model"], MODEL)
        if row["size"]:
            size = format_bytes(row["size"])
            yield f"promised: {size} of {host} for {model}{beside}, {left} left"
        else:  # its bytes are not told any more: it has been begun
            yield f"on its way: {model} to {host}{beside}, for {left} at most"
    if len(rows) > SOME:
        yield f"promised: {len(rows) - SOME} more"


def _named(host: Row, answer: Row) -> Text:
    name = host["word"]["host"]
    return Text(_short(name), "bold" if name == answer["self"] else "")


def _presence(host: Row) -> Text:
    word = host["presence"]
    return Text(printable(word), _WORDS.get(word, ""))


def _heard(host: Row, directory: Row) -> str:
    age: float = max(0.0, directory["at"] - host["heard"])
    return f"{age:.1f} s" if age < LONG else format_seconds(age)


def _short(name: str, most: int = HOST) -> str:
    """Safe to show, and of a bearable length: a host may call itself anything."""
    text = said(name)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _sentence(line: str, on: Screen, style: str = "") -> Text:
    """What does not fit on a line goes on further in: so it is seen where each begins."""
    lines = wrap(said(line), on.width, subsequent_indent="    ", break_on_hyphens=False)
    return Text("\n".join(lines), style)


def _sizes(space: Mapping[str, int]) -> tuple[int, int, int]:
    return space["total"], space["free"], space["headroom"]


def _list(names: Sequence[str]) -> str:
    more = [f"{len(names) - SOME} more"] if len(names) > SOME else []
    return ", ".join([*map(_short, names[:SOME]), *more])


def _plain(row: Row) -> str:
    loss = row.get("loss")
    more = "" if loss is None else f" ({format_seconds(loss)} expected loss)"
    return f"{row['host']}: {row['why']}{more}"
