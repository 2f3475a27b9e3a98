"""What stands above and below the models: the daemon, its engines, its queue, what is wrong."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.text import Text

from supervisor import alert_words
from supervisor.cli.asking import said
from supervisor.cli.client import ClientError
from supervisor.cli.show import FRESH, journal_lost
from supervisor.printable import printable
from supervisor.units import format_seconds

from .look import BAD, GOOD, QUIET, STRONG, WARNING, Look

Row = Mapping[str, Any]
MODES = {"advise": "ADVISES ONLY", "observe": "OBSERVES ONLY"}
SEVERITIES = ("critical", "warning", "info")
TONES = {"critical": BAD, "warning": WARNING}


def header(state: Row, address: str, link: str, later: float, width: int, look: Look) -> Text:
    """Who and where, and how old this is; what is said of the daemon last is cut first."""
    mode = MODES.get(state["mode"], printable(state["mode"]))
    left = Text().append(f"Ullage {printable(state['version'])}", STRONG)
    left.append(f"  {mode}", STRONG if state["mode"] in MODES else "")
    if (paused := state.get("paused")) is not None:
        left.append("  ").append(f" {_paused(paused)} ", "bold reverse")
    if state.get("config") and not state["config"].get("ok", True):
        left.append("  config not taken", WARNING)
    age, right = state["sample_age"], Text().append(link, GOOD)
    if age is None:
        right.append("  no sample yet", BAD)
    else:
        old = age + later > FRESH or not state["ready"]
        right.append(f"  measured {format_seconds(int(age + later))} ago", BAD if old else "")
    for part in (f"  {printable(address)}", f"  up {format_seconds(state['uptime'] + later)}"):
        if left.cell_len + len(part) + 2 + right.cell_len <= width:
            left.append(part, QUIET)
    return _spread(left, right, width, look)


def _paused(paused: Row) -> str:
    until = paused.get("until")
    return "PAUSED" if until is None else f"PAUSED until {_clock(until)}"


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def banner(error: ClientError, silent: float, width: int, look: Look) -> list[Text]:
    """There is no answer: what, why, what to try, and that it is asked on."""
    what = printable(f"{error.what}, for {format_seconds(int(silent))}; what is below is old")
    rest = " · ".join(printable(t) for t in (error.why, error.try_) if t)
    lines = [f" ! {what}", f"   asking again{' · ' + rest if rest else ''}"]
    style = "bold white on red" if look.colour else "reverse bold"
    return [Text(look.cut(t, width).ljust(width), style) for t in lines]


def engines(state: Row, width: int, look: Look) -> list[Text]:
    """Those that are down first, each with its fault; then who is up."""
    if not state["engines"]:
        return [Text("engines   none found: `ullage doctor` says what to do", WARNING)]
    drained = {d["engine"] for d in state.get("drained", ())}
    since = {f["subject"]: f["for"] for f in state["findings"] if f["kind"] == "engine_down"}
    items = []
    for engine in sorted(state["engines"], key=lambda e: (bool(e["up"]), e["id"])):
        name = printable(engine["id"])
        if not engine["up"]:
            how = "degraded" if engine.get("degraded") else "DOWN"
            item = Text().append(f"{name} {how}", BAD)
            item.append(f" {printable(engine['fault'] or '')}")
            if engine["id"] in since:
                item.append(f" for {format_seconds(int(since[engine['id']]))}")
        else:
            item = Text(f"{name} {printable(engine['version'] or '')}".rstrip())
            item.append(" up", GOOD)
        if engine["id"] in drained or None in drained:
            item.append(" drained", WARNING)
        items.append(item)
    return [_listed("engines   ", items, width, look)]


def queue(state: Row, width: int, look: Look) -> list[Text]:
    """What the gateway has at work, and who waits for what."""
    row = state.get("gateway")
    if row is None:
        return []
    if row["fault"] is not None:
        text = f"gateway   does not listen: {row['fault']} (`ullage doctor`)"
        return [Text(look.cut(printable(text), width), BAD)]
    passing = sum(r["count"] for r in row["in_flight"])
    waiting = sum(r["count"] for r in row["held"])
    items = [Text(f"{passing} in flight", GOOD if passing else "")]
    items.append(Text(f"{waiting} waiting", STRONG if waiting else ""))
    for held in sorted(row["held"], key=lambda h: -h["longest"]):
        longest = format_seconds(int(held["longest"]))
        text = f"{held['model']}: {held['count']}, the first for {longest}"
        items.append(Text(printable(text), WARNING))
    if refused := sum(row["refused"].values()):
        items.append(Text(f"{refused} refused"))
    return [_listed("gateway   ", items, width, look)]


def findings(state: Row, pools: Mapping[str, str], most: int, width: int, look: Look) -> list[Text]:
    """The gravest first, `most` lines of them; engines that are down are said already."""
    found = worth(state)
    lines = []
    for row in found[:most]:
        text = Text().append("! ", TONES.get(row["severity"], ""))
        text.append(look.cut(_finding(row, pools), width - 2))
        lines.append(text)
    more = len(found) - most
    if more > 0 and lines:
        note = f"  +{more}: f"
        lines[-1].truncate(width - len(note))
        lines[-1].append(note, STRONG)
    return lines


def worth(state: Row) -> list[Row]:
    """The findings that are not shown where they are, the gravest first."""
    rows = [f for f in state["findings"] if f["kind"] not in ("engine_down", "blind")]
    return sorted(rows, key=lambda f: (_grave(f), f["kind"], f["subject"]))


def _grave(row: Row) -> int:
    known = row["severity"] in SEVERITIES
    return SEVERITIES.index(row["severity"]) if known else len(SEVERITIES)


def _finding(row: Row, pools: Mapping[str, str]) -> str:
    subject = pools.get(row["subject"], row["subject"])
    return printable(f"{subject}: {row['detail']}, for {format_seconds(int(row['for']))}")


def all_findings(state: Row, pools: Mapping[str, str]) -> list[Text]:
    """Every one in full, engines, the journal and notes besides: for a panel."""
    lines = []
    for row in sorted(state["findings"], key=_grave):
        text = Text().append(f"{printable(row['severity'])}  ", TONES.get(row["severity"], STRONG))
        lines.append(text.append(_finding(row, pools)))
    for mistake in (state.get("config") or {}).get("mistakes", ()):
        text = Text().append("the configuration is not taken  ", WARNING)
        lines.append(text.append(printable(mistake)))
    if not lines:
        lines.append(Text("Nothing is wrong."))
    for hold in (state.get("alerts") or {}).get("holds", ()):
        lines.append(Text(said(alert_words.hold(hold, state["now"])), STRONG))
    journal = state["journal"]
    if journal_lost(journal):
        lines.append(Text("the journal is kept in memory only; the log says why", WARNING))
    if journal["failures"]:
        often = f"the journal could not be written {journal['failures']} times"
        lines.append(Text(often, WARNING))
    if state["notes"]:
        lines += [Text(), *(Text(printable(n)) for n in state["notes"])]
    return [*lines, Text(), Text("`ullage doctor` says what to do about habits of engines.", QUIET)]


def keys(pairs: Sequence[tuple[str, str]], width: int) -> Text:
    """The keys, as many as there is room for; the first and the last ones stay."""
    chosen = list(pairs)
    while len(chosen) > 2 and sum(len(k) + len(w) + 3 for k, w in chosen) - 2 > width:
        chosen.pop(-3)
    text = Text(no_wrap=True)
    for i, (key, word) in enumerate(chosen):
        text.append("  " if i else "").append(key, STRONG).append(f" {word}")
    return text


def _listed(lead: str, items: Iterable[Text], width: int, look: Look) -> Text:
    """Items in a line; what there is no room for is counted."""
    text, left = Text().append(lead, QUIET), list(items)
    while left:
        item, gap = left[0], "  " if text.plain != lead else ""
        note = f"  +{len(left)} more"
        room = width - text.cell_len - len(gap) - (len(note) if len(left) > 1 else 0)
        if item.cell_len > room:
            if gap:
                return text.append(note, STRONG)
            item.truncate(max(0, room - 1))
            item.append(look.more)
        text.append(gap).append_text(item)
        left.pop(0)
    return text


def _spread(left: Text, right: Text, width: int, look: Look) -> Text:
    gap = width - left.cell_len - right.cell_len
    if gap < 2:
        left.truncate(max(0, width - right.cell_len - 3))
        left.append(look.more)
        gap = width - left.cell_len - right.cell_len
    return left.append(" " * gap).append_text(right)
