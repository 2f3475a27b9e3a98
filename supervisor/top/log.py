"""What happened: decisions and outcomes as the journal has them, and what changed in between."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from math import inf
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.text import Text

from supervisor import alert_words
from supervisor.cli.asking import said
from supervisor.core.became import of_outcome
from supervisor.printable import printable
from supervisor.units import format_bytes

from .look import BAD, GOOD, QUIET, STRONG, WARNING, Look

Row = Mapping[str, Any]
KEPT = 300  # of what was seen here; the journal keeps the rest
RECENT = 60.0  # seconds after which nobody would take it for what a decision did
TIME = 9  # columns of the time
WELL = ("done", "recovered")


class Entry(NamedTuple):
    """`at` in Unix time."""

    at: float
    text: str
    style: str = ""


class Log:
    """Decisions are taken from the journal anew each time: their outcomes come later."""

    def __init__(self) -> None:
        self._seen: deque[Entry] = deque(maxlen=KEPT)
        self._decided: list[Entry] = []
        # What was done by decisions, and when; of what is under way nobody knows yet.
        self._acted: dict[tuple[str, str], float] = {}

    def say(self, at: float, text: str, style: str = "") -> None:
        self._seen.append(Entry(at, printable(text), style))

    def changed(self, before: Row, after: Row, pools: Mapping[str, str]) -> None:
        """What is different between two states; what was decided is told with the decision."""
        for change in changes(before, after, pools):
            at = self._acted.get((change.action, change.model), -inf)
            if after["now"] - at > RECENT:
                self.say(after["now"], change.text, change.style)

    def decide(self, rows: Iterable[Row]) -> None:
        """The journal's newest decisions."""
        rows = list(rows)
        self._decided = [e for row in rows for e in decided(row)]
        self._acted = {}
        for row in rows:
            ends = [row["at"], *(o["at"] for o in row["outcomes"])]
            at = inf if row.get("running") else max(ends)
            for action in row["actions"]:
                key = action["action"], action["model"]
                self._acted[key] = max(at, self._acted.get(key, at))

    @property
    def entries(self) -> list[Entry]:
        """Oldest first."""
        return sorted([*self._decided, *self._seen], key=lambda e: e.at)

    def lines(self, width: int, height: int, look: Look) -> list[Text]:
        """The newest of which all fits, at the bottom the last of them."""
        lines: list[Text] = []
        for entry in reversed(self.entries):
            more = wrapped(entry, width, look)
            if lines and len(lines) + len(more) > height:
                break
            lines = more + lines
        return lines[:height]


def wrapped(entry: Entry, width: int, look: Look) -> list[Text]:
    """Its time, and its text in as many lines as that takes: all but the first are indented."""
    clock = time.strftime("%H:%M:%S ", time.localtime(entry.at))
    found: list[Text] = []
    for line in _folded(entry.text, max(12, width - TIME)):
        head = " " * TIME if found else clock
        found.append(Text().append(head, QUIET).append(line, entry.style))
    return found


def fold(text: str, width: int) -> list[Text]:
    """`text` in lines of at most `width` cells."""
    return [Text(line) for line in _folded(text, width)]


def _folded(text: str, width: int) -> Iterator[str]:
    """At spaces where there are any; what is longer than a line is broken."""
    line = ""
    for word in text.split(" "):
        while cell_len(word) > width:
            if line:
                yield line
                line = ""
            cut = next(i for i in range(len(word), 0, -1) if cell_len(word[:i]) <= width)
            yield word[:cut]
            word = word[cut:]
        grown = f"{line} {word}" if line else word
        if cell_len(grown) > width:
            yield line
            line = word
        else:
            line = grown
    yield line


def decided(row: Row) -> Iterator[Entry]:
    """A decision, and each outcome at its own time."""
    mode = "" if row["mode"] == "enforce" else f" ({row['mode']} only)"
    goes = [a["model"] for a in row["actions"] if a["action"] == "evict"]
    loads = [a["model"] for a in row["actions"] if a["action"] == "load"]
    text = f"{row['id']} {row['cause']}{mode}"
    if goes:
        text += f": unload {', '.join(goes)}"
    if loads:
        text += f"{',' if goes else ':'} load {', '.join(loads)}"
    if row["unmet"]:
        lack = ", ".join(f"{format_bytes(s['size'])} of {s['pool']}" for s in row["unmet"])
        text += f"; still missing {lack}"
    if not row["actions"] and row["notes"]:
        text += "; nobody went: " + ", ".join(
            f"{n['model']} ({n['why']})" for n in row["notes"][:3]
        )
    yield Entry(row["at"], printable(text), WARNING if row["unmet"] else STRONG)
    for outcome in row["outcomes"]:
        yield _outcome(outcome)


def _outcome(row: Row) -> Entry:
    judged = row["judgement"]
    good = row["result"] in WELL and (judged is None or judged["verdict"] in WELL)
    return Entry(row["at"], printable(of_outcome(row)), "" if good else BAD)


class Change(NamedTuple):
    """`action` is what would have done so to `model`, had it been decided."""

    text: str
    style: str = ""
    action: str = ""
    model: str = ""


def changes(before: Row, after: Row, pools: Mapping[str, str]) -> Iterator[Change]:
    """Who came, went, or is in another state; what began to be wrong, and what no longer is."""
    yield from _of_models(before, after)
    ups, now_ups = ({e["id"]: e for e in s["engines"]} for s in (before, after))
    for id, engine in sorted(now_ups.items()):
        if engine["up"] != ups.get(id, engine)["up"]:
            up = f"engine {id} answers again" if engine["up"] else f"engine {id}: {engine['fault']}"
            yield Change(up, GOOD if engine["up"] else BAD)
    wrong, now_wrong = (
        {(f["kind"], f["subject"]): f for f in s["findings"] if f["kind"] != "engine_down"}
        for s in (before, after)
    )
    for key in sorted(now_wrong.keys() - wrong.keys()):
        yield Change(f"{pools.get(key[1], key[1])}: {now_wrong[key]['detail']}", WARNING)
    for key in sorted(wrong.keys() - now_wrong.keys()):
        yield Change(f"{pools.get(key[1], key[1])}: no longer: {wrong[key]['detail']}")
    yield from _of_alerts(before.get("alerts"), after.get("alerts"), after["now"])
    if (paused := after.get("paused")) != before.get("paused"):
        words = "resumed" if paused is None else "paused: nothing is unloaded or loaded"
        yield Change(words, STRONG)
    if after["mode"] != before["mode"]:
        yield Change(f"the mode is {after['mode']} now", STRONG)


def _of_alerts(before: Row | None, after: Row | None, now: float) -> Iterator[Change]:
    """The alert that was heard of last, and what holds because of one. An older daemon has none."""
    before, after = ({"holds": [], "last": None, **(found or {})} for found in (before, after))
    last = after["last"]
    if last is not None and last != before["last"]:
        wrong = BAD if last["outcome"] == "failed" else WARNING
        style = wrong if last["outcome"] in alert_words.WRONG else ""
        yield Change(said(f"alert {alert_words.gist(last)}"), style)
    was, holds = ({(h["alert"], h["action"]): h for h in s["holds"]} for s in (before, after))
    for key in sorted(holds.keys() - was.keys()):
        yield Change(said(alert_words.hold(holds[key], now)), STRONG)
    for key in sorted(was.keys() - holds.keys()):
        yield Change(said(f"no longer: {alert_words.what_holds(was[key])}"))


def _of_models(before: Row, after: Row) -> Iterator[Change]:
    old, new = ({m["name"]: m for m in s["models"]} for s in (before, after))
    for name in sorted(old.keys() - new.keys()):
        text = f"{name} is gone, {format_bytes(old[name]['size'])} less"
        yield Change(text, "", "evict", name)
    for name, model in sorted(new.items()):
        was, state = old.get(name), model["state"]
        if was is None:
            text = f"{name} is {state}, {format_bytes(model['size'])}"
            yield Change(text, "", "load", name)
            continue
        if was["state"] != state:
            action = "load" if was["state"] == "loading" else "evict"
            yield Change(f"{name}: {was['state']}, now {state}", "", action, name)
        if was["pinned"] != model["pinned"]:
            yield Change(f"{name} is {'pinned' if model['pinned'] else 'no longer pinned'}")
