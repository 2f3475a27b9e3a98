"""What keys do: wishes about the model under the cursor, and panels that explain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.binding import Binding, BindingType

from supervisor.cli.client import ClientError
from supervisor.printable import printable
from supervisor.units import format_bytes

from . import head, rows, words
from .listing import Choice
from .live import Live
from .look import BAD, QUIET, STRONG
from .panels import Panel, Pick, Question
from .wishes import Said, trouble

Row = Mapping[str, Any]
READ = 40  # decisions of the panel
SHORT, LONG = 4.0, 20.0  # seconds that a message stays


class Top(Live):
    """The dashboard with all of its keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pin"),
        Binding("u", "unload"),
        Binding("s", "sleep"),
        Binding("w", "wake"),
        Binding("l", "load"),
        Binding("e,enter", "explain"),
        Binding("d", "decisions"),
        Binding("f", "findings"),
        Binding("g", "pools"),
        Binding("question_mark,h", "help"),
    ]

    # -- wishes

    def action_pin(self) -> None:
        if (model := self._one()) is not None:
            name, pinned = model["name"], model["pinned"]
            wish = self.wishes.unpin if pinned else self.wishes.pin

            def answered(found: Said | ClientError) -> None:
                if isinstance(found, Said):  # the same key may be pressed before the next look
                    for row in self.state["models"]:
                        row["pinned"] = not pinned if row["name"] == name else row["pinned"]
                self._told(found)

            self.ask(lambda: wish(name), answered)

    def action_unload(self) -> None:
        if (model := self._one()) is None:
            return
        name = model["name"]

        def answered(yes: bool | None) -> None:
            if yes:
                self._under_way(f"unload {name}")
                self.ask(lambda: self.wishes.unload(name), self._told)

        question = Question(f"Unload {printable(name)}?", _of_unload(model, self.pools))
        self.push_screen(question, answered)

    def action_sleep(self) -> None:
        if (model := self._one()) is not None:
            name = model["name"]
            self._under_way(f"send {name} to sleep")
            self.ask(lambda: self.wishes.sleep(name), self._told)

    def action_wake(self) -> None:
        if (model := self._one()) is not None:
            name = model["name"]
            self._under_way(f"wake {name}")
            self.ask(lambda: self.wishes.wake(name), self._told)

    def action_load(self) -> None:
        there = {m["name"] for m in self.state["models"]}
        others = [m for m in self.state["installed"] if m["name"] not in there]
        choices = [Choice(m["name"], _installed(m, self)) for m in others]
        empty = ["every model that is installed is loaded"] if there else ["none is installed"]

        def chosen(name: str | None) -> None:
            if name is not None:
                self.ask(lambda: self.wishes.plan(name), lambda plan: self._planned(name, plan))

        self.push_screen(Pick("Load which model?", choices, self.look, empty), chosen)

    def _planned(self, name: str, plan: Row | ClientError) -> None:
        """Nobody is evicted unasked: who would have to go is said first."""
        if isinstance(plan, ClientError):
            return self._told(plan)
        goes = [a["model"] for a in plan["actions"] if a["action"] == "evict"]
        if plan["works"] and not goes:
            return self._load(name)
        if not plan["works"]:
            why = list(plan["sentences"])
            return self._told(Said(False, f"{name} does not fit", why, "unload another: u"))

        def answered(yes: bool | None) -> None:
            if yes:
                self._load(name)

        say = [printable(s) for s in plan["sentences"]]
        others = "another one" if len(goes) == 1 else f"{len(goes)} others"
        question = Question(f"Load {printable(name)}, and unload {others}?", say)
        self.push_screen(question, answered)
        return None

    def _load(self, name: str) -> None:
        self._under_way(f"load {name}")
        self.ask(lambda: self.wishes.load(name), self._told)

    def _one(self) -> Row | None:
        if (model := self.chosen) is None:
            self.clear_notifications()  # however often it is pressed
            self.notify("there is no model to choose", severity="warning", timeout=SHORT)
        return model

    def _under_way(self, text: str) -> None:
        """It may take minutes: what was asked for stays in sight."""
        self.log_.say(self.now, f"asked to {text}")
        self.redraw()

    def _told(self, found: Said | ClientError) -> None:
        """What became of a wish: what, why, what to try."""
        said = trouble(found) if isinstance(found, ClientError) else found
        what, rest = printable(said.what), said.text
        title, text = (what, rest) if rest else ("", what)
        if said.well:
            self.notify(text, title=title, timeout=SHORT, markup=False)
        else:
            self.log_.say(self.now, said.what, BAD)
            self.notify(text, title=title, severity="error", timeout=LONG, markup=False)
        self.redraw()

    # -- panels

    def action_explain(self) -> None:
        if (model := self._one()) is None:
            return
        name = model["name"]
        panel = Panel(f"Why is {printable(name)} where it is?", lambda _: Text("asking ..."))
        self.push_screen(panel)
        self.ask(lambda: self.wishes.why(name), lambda found: _show(panel, found, _sentences))

    def action_decisions(self) -> None:
        panel = Panel("What was decided, newest first", lambda _: Text("asking ..."))
        self.push_screen(panel)
        self.ask(lambda: self.wishes.decisions(READ), lambda found: _show(panel, found, _decisions))

    def action_findings(self) -> None:
        def draw(_: int) -> Text:
            return Text("\n").join(head.all_findings(self.state, self.pools))

        self.push_screen(Panel("What is wrong", draw))

    def action_pools(self) -> None:
        def draw(width: int) -> RenderableType:
            from supervisor.cli import bars, show, wide

            on = bars.Screen(width, colour=self.look.colour, unicode=self.look.unicode)
            label = show.labels(p["id"] for p in self.state["pools"])
            parts: list[RenderableType] = []
            for pool in bars.pools(self.state, on):
                parts += [pool, ""]
            for tree in wide.trees(self.state["pools"], label, on):
                parts += [tree, ""]
            if devices := self.state.get("devices"):
                ids = show.labels(d["uuid"] for d in devices)
                parts += [wide.devices(devices, ids, on), ""]
            return Group(*parts[:-1])

        self.push_screen(Panel("Pools: where every byte is", draw))

    def action_help(self) -> None:
        def draw(_: int) -> RenderableType:
            table = Table.grid(padding=(0, 2))
            for title, lines in words.HELP:
                table.add_row(Text(title, STRONG))
                for keys, meaning in lines:
                    table.add_row(Text(f"  {keys}", STRONG), meaning)
            for part, meaning in words.BARS:
                table.add_row(f"  {self.look.glyph(part)}", meaning)
            return table

        self.push_screen(Panel("Keys", draw))


def _show(
    panel: Panel, found: Any | ClientError, draw: Callable[[Any], Callable[[int], Text]]
) -> None:
    """Put the answer into the panel that waited for it, if it is still open."""
    if not panel.is_mounted or not panel.is_attached:
        return
    if isinstance(found, ClientError):
        said = trouble(found)
        text = Text.assemble((printable(said.what), "bold red"), "\n", said.text)
        panel.show(lambda _: text)
    else:
        panel.show(draw(found))


def _sentences(found: Sequence[str]) -> Callable[[int], Text]:
    text = Text()
    for i, sentence in enumerate(found or ["there is nothing to say"]):
        text.append(f"{printable(sentence)}\n", STRONG if i == 0 else "")
    text.rstrip()
    return lambda _: text


def _decisions(found: Sequence[Row]) -> Callable[[int], Text]:
    from supervisor.cli import bars, show

    return lambda width: Text(show.decisions(found, bars.Screen(width)).rstrip())


def _of_unload(model: Row, pools: Mapping[str, str]) -> list[str]:
    """What has to be known before."""
    say = [rows.told(model, pools)]
    if model["in_flight"] or model["busy"]:
        count = model["in_flight"] or "some"
        say.append(f"{count} requests are in flight: it leaves when they have ended.")
    if model["pinned"]:
        say.append("It is pinned, and will be refused: n, and then p, unpins it.")
    return say


def _installed(model: Row, top: Top) -> Callable[[int], Text]:
    size = "" if model["size"] is None else format_bytes(model["size"])

    def line(width: int) -> Text:
        name = top.look.squeeze(printable(model["name"]), width - 12)
        return Text(name.ljust(width - 10)).append(f"{size:>9}", QUIET)

    return line
