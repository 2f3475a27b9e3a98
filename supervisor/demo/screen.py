"""The live view of a world: pools as bars of letters, models, what happened last."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from supervisor.core import explain
from supervisor.core.headroom import Room, rooms
from supervisor.core.snapshot import ModelRef, Resident, Snapshot, State
from supervisor.core.watch import Kind

from .feed import Feed, Line, Tone

OTHERS, PROMISED, FREE, RESERVE = "#", "+", ".", "!"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
COLOURS = ("cyan", "green", "yellow", "blue", "magenta", "bright_cyan", "bright_green")
STYLES = {OTHERS: "red", PROMISED: "bright_white", FREE: "bright_black", RESERVE: "bright_black"}
TONES = {
    Tone.STORY: "bright_black",
    Tone.FINDING: "yellow",
    Tone.DECISION: "bold",
    Tone.GOOD: "green",
    Tone.BAD: "red",
    Tone.ANSWER: "cyan",
}
REFRESH = 0.25  # seconds of real time
MARGIN = 10  # columns before an event's text


@dataclass(slots=True)
class Screen:
    """Draws `feed`'s world. A model keeps its letter for as long as it is known."""

    title: str
    feed: Feed
    _letters: dict[ModelRef, str] = field(default_factory=dict)

    async def show(self, live: Live) -> None:
        """Draw until cancelled."""
        while True:
            live.update(self.draw(live.console), refresh=True)
            await asyncio.sleep(REFRESH)

    def draw(self, console: Console) -> Group:
        width, height = console.width, console.height
        snapshot = self.feed.world.loop.snapshot
        top: list[Text | Table] = [self._head(width)]
        used = 1
        if snapshot is not None:
            for resident in sorted(snapshot.residents, key=lambda r: r.ref):
                self._letters.setdefault(resident.ref, LETTERS[len(self._letters) % len(LETTERS)])
            found = rooms(snapshot, self.feed.world.loop.policy)
            top += [self._bar(r, snapshot, width) for r in found]
            top += [
                Text(f"{pool:<5} cannot be read: {why}", "red", no_wrap=True)
                for pool, why in snapshot.blind.items()
            ]
            top += [_legend(), self._models(snapshot)]
            used += len(found) + len(snapshot.blind) + 2 + max(6, len(snapshot.residents))
            top += [Text()] * max(0, 6 - len(snapshot.residents))
        top.append(Text("─" * width, "bright_black"))
        return Group(*top, *self._events(width, max(3, height - used - 1)))

    def _head(self, width: int) -> Text:
        at = self.feed.world.clock() - self.feed.started
        title = self.title[: width - 8].ljust(width - 8)
        return Text.assemble((title, "bold"), (f"{at:6.0f} s", "bright_black"), no_wrap=True)

    def _bar(self, room: Room, snapshot: Snapshot, width: int) -> Text:
        """`gpu0   24.0 GiB aaaaabbb###......!! 5.7 GiB free`"""
        label, end = (
            f"{room.pool:<5}{_number(room.total):>6} ",
            f" {_number(room.free):>5} GiB free",
        )
        cells = max(10, width - len(label) - len(end))
        parts = [
            (self._letters[r.ref], r.holds(room.pool))
            for r in sorted(snapshot.residents, key=lambda r: r.ref)
        ]
        text = Text(label, no_wrap=True)
        for char in layout(room, parts, cells):
            text.append(char, STYLES.get(char) or self._colour(char))
        lack = room.headroom < 0
        return text.append(end, "bold red" if lack else "")

    def _colour(self, letter: str) -> str:
        return COLOURS[LETTERS.index(letter) % len(COLOURS)]

    def _models(self, snapshot: Snapshot) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bright_black")
        for name in ("", "model", "state", "size", "", "activity", "note"):
            # On a narrow screen names are cut first; a row keeps its letter and its numbers.
            table.add_column(
                name,
                no_wrap=True,
                justify="right" if name == "size" else "left",
                min_width={"model": 12, "note": 6, "": 1}.get(name, 8),
            )
        order = sorted(snapshot.residents, key=lambda r: (_home(r), r.ref))
        for resident in order:
            letter, home = self._letters[resident.ref], _home(resident)
            table.add_row(
                Text(letter, self._colour(letter)),
                str(resident.ref),
                _state(resident),
                explain.size(resident.holds(home)) if home else "?",  # type: ignore[arg-type]
                home,
                _activity(resident),
                self._note(resident),
            )
        return table

    def _note(self, resident: Resident) -> Text:
        loop = self.feed.world.loop
        if loop.policy.is_pinned(resident.ref):
            return Text("pinned", "cyan")
        if any(f.kind is Kind.INEFFECTIVE and f.ref == resident.ref for f in loop.findings):
            return Text("stuck", "red")
        timeout = loop.policy.idle_timeout_of(resident.ref)
        return Text("" if timeout is None else f"leaves at {explain.duration(timeout)}")

    def _events(self, width: int, height: int) -> list[Text]:
        """The last events that fit, the newest at the bottom, none cut in two but the oldest."""
        drawn: list[Text] = []
        for line in reversed(self.feed.lines):
            drawn = _wrapped(line, width) + drawn
            if len(drawn) >= height:
                break
        return drawn[-height:]


def layout(room: Room, held: Sequence[tuple[str, int]], cells: int) -> str:
    """The pool in `cells` characters: models, others, promises, what is free, the reserve."""
    others = room.total - room.free - sum(size for _, size in held)
    parts = [*held, (OTHERS, max(0, others)), (PROMISED, min(room.promised, room.free))]
    bar, sofar = "", 0
    for char, size in parts:
        sofar += size
        edge = min(cells, round(sofar / room.total * cells))
        bar += char * (edge - len(bar))
    start = cells - round(room.reserve / room.total * cells)
    bar += FREE * (start - len(bar))
    return bar + RESERVE * (cells - len(bar))


def _wrapped(line: Line, width: int) -> list[Text]:
    style = TONES[line.tone]
    texts = [line.text, *line.more]
    rows = []
    for i, text in enumerate(texts):
        head = f"{line.at:6.1f} {line.tone.value} " if i == 0 else " " * (MARGIN - 1)
        wrapped = textwrap.wrap(text, max(20, width - MARGIN)) or [""]
        rows.append(Text(head + wrapped[0], style, no_wrap=True))
        rows += [Text(" " * (MARGIN + 1) + more, style, no_wrap=True) for more in wrapped[1:]]
    return rows


def _legend() -> Text:
    return Text(
        f"      a-z models  {OTHERS} others  {PROMISED} promised  {FREE} free  {RESERVE} reserve",
        "bright_black",
        no_wrap=True,
    )


def _number(size: int) -> str:
    """In GiB."""
    return f"{size / 1024**3:.1f}"


def _home(resident: Resident) -> str:
    """The pool in which it holds the most."""
    return max(resident.pools, key=lambda p: (resident.holds(p), p), default="")


def _state(resident: Resident) -> Text:
    style = {State.LOADED: "", State.LEAVING: "red", State.UNKNOWN: "red"}
    return Text(resident.state.value, style.get(resident.state, "yellow"))


def _activity(resident: Resident) -> str:
    if resident.state is not State.LOADED:
        return ""
    if resident.busy:
        return f"busy {explain.duration(resident.busy_for)}"
    return f"idle {explain.duration(resident.idle_for)}"
