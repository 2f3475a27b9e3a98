"""What the dashboard shows, and how one moves about in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

from rich.cells import cell_len
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical

from supervisor.printable import printable

from . import head, rows, stacks, words
from .lines import Lines
from .listing import Choice, Listing
from .log import Log, fold
from .look import STRONG, Letters, Look
from .panels import Filter
from .styles import CSS, HIGH, WIDE
from .watch import Lost, Seen

Row = Mapping[str, Any]

TICK = 1.0  # seconds: times are counted on
SHARE = 5  # pools take a fifth of the screen, if they can
LEAST = 6  # rows of models, heading and the line of the chosen one included
LOGGED = 4  # rows for what happened and what is wrong, at least


class Board(App[None]):
    """`first`: what the daemon said before the screen was opened. Draws `seen` and `lost`."""

    TITLE = "ullage top"
    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = None
    VERTICAL_BREAKPOINTS = [(0, "-low"), (HIGH, "-high")]  # noqa: RUF012 (as Textual has it)
    HORIZONTAL_BREAKPOINTS = [(0, "-tall"), (WIDE, "-wide")]  # noqa: RUF012 (as Textual has it)
    CSS = CSS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+c", "quit", "quit", priority=False),
        Binding("ctrl+z", "suspend_process", show=False),
        Binding("down,j", "move(1)"),
        Binding("up,k", "move(-1)"),
        Binding("pagedown", "page(1)"),
        Binding("pageup", "page(-1)"),
        Binding("home", "edge(False)"),
        Binding("end", "edge(True)"),
        Binding("slash", "filter"),
        Binding("o", "order"),
        Binding("O", "turn"),
        Binding("escape", "clear"),
    ]

    def __init__(
        self,
        first: Seen,
        address: str,
        *,
        look: Look | None = None,
        theme: str = "ansi-dark",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(ansi_color=theme.startswith("ansi") or None)
        self.theme = theme
        self.look, self.clock = look or Look(), clock
        self.seen, self.lost, self.lost_since = first, cast("Lost | None", None), 0.0
        self.listening = False
        self.letters, self.log_ = Letters(), Log()
        self._address = address
        self._order, self._turned, self._drawn_at = "size", False, 0.0

    # -- what is on the screen

    def compose(self) -> ComposeResult:
        yield Lines(self._head, id="head")
        yield Lines(self._banner, id="banner")
        yield Lines(self._pools, id="pools")
        yield Lines(self._engines, id="engines")
        with Container(id="body"):
            with Vertical(id="left"):
                yield Listing(self.look, self._heading, id="models")
                yield Lines(self._detail, id="detail")
            with Vertical(id="right"):
                yield Lines(self._rule, id="rule")
                yield Lines(self._findings, id="findings")
                yield Lines(self._events, id="log")
        yield Filter(placeholder="words of a name, engine or state", compact=True)
        yield Lines(lambda width: [head.keys(words.KEYS, width)], id="keys")

    def on_mount(self) -> None:
        self.query_one("#models", Listing).marked_from = 1  # a letter keeps its colour
        self.redraw()
        self.set_interval(TICK, self._tick)

    def on_resize(self) -> None:
        self.call_after_refresh(self.redraw)

    @property
    def state(self) -> Row:
        return self.seen.state

    @property
    def later(self) -> float:
        """Seconds since the daemon said so; none are counted while it is silent."""
        end = self.clock() if self.lost is None else self.lost_since
        return max(0.0, end - self.seen.at)

    @property
    def now(self) -> float:
        """Unix time, as the daemon has it."""
        return float(self.state["now"] + self.clock() - self.seen.at)

    @property
    def pools(self) -> Mapping[str, str]:
        return stacks.short_names(self.state)

    @property
    def chosen(self) -> Row | None:
        """The model under the cursor."""
        name = self.query_one("#models", Listing).chosen
        return next((m for m in self.state["models"] if m["name"] == name), None)

    def _head(self, width: int) -> list[Text]:
        link = "live" if self.listening else "polling"
        return [head.header(self.state, self._address, link, self.later, width, self.look)]

    def _banner(self, width: int) -> list[Text]:
        if self.lost is None:
            return []
        silent = self.clock() - self.lost_since
        return head.banner(self.lost.error, silent, width, self.look)

    def _pools(self, width: int) -> list[Text]:
        height = self.size.height
        state, more = self._worst_pools(max(2, height // 4))
        count = len(state["pools"])
        lines = max(1, min(3, height // SHARE // max(1, count)))
        drawn = stacks.pools(state, self.letters, width, self.look, lines)
        if more:
            text = Text(f"+{more} more pools with more headroom: g", STRONG)
            return [*drawn, text]
        roomy = lines < 3 and height >= 20 and any(p["blind"] is None for p in state["pools"])
        return [*drawn, stacks.legend(state, width, self.look)] if roomy else drawn

    def _worst_pools(self, most: int) -> tuple[Row, int]:
        """The state with as many pools as there is room for, those with the least headroom."""
        every = self.state["pools"]
        if len(every) <= most:
            return self.state, 0
        worst = sorted(every, key=lambda p: -1 if p["blind"] else p["headroom"] / p["total"])
        shown = {p["id"] for p in worst[: most - 1]}
        pools = [p for p in every if p["id"] in shown]
        return {**self.state, "pools": pools}, len(every) - len(pools)

    def _engines(self, width: int) -> list[Text]:
        lines = head.engines(self.state, width, self.look)
        return lines + head.queue(self.state, width, self.look)

    def _heading(self, width: int) -> Text:
        text = rows.heading(self._order, self._turned, self._columns(width), self.look)
        wanted = self.query_one(Filter).value
        if wanted:
            text.right_crop(max(0, text.cell_len + len(wanted) + 3 - width))
            text.append(f" /{printable(wanted)}", "bold reverse")
        return text

    def _columns(self, width: int) -> rows.Layout:
        longest = max((cell_len(printable(m["name"])) for m in self.state["models"]), default=0)
        return rows.columns(width, longest)

    def _detail(self, width: int) -> list[Text]:
        model = self.chosen
        text = "" if model is None else rows.told(model, self.pools)
        if self.size.height < 30:
            return [Text(self.look.cut(text, width))]
        return [*fold(text, width), Text()][:2]

    def _rule(self, width: int) -> list[Text]:
        title = f"{self.look.rule} what happened "
        return [Text(title + self.look.rule * max(0, width - len(title)), "dim")]

    def _findings(self, width: int) -> list[Text]:
        most = max(2, self.size.height // 8)
        return head.findings(self.state, self.pools, most, width, self.look)

    def _events(self, width: int) -> list[Text]:
        return self.log_.lines(width, self.query_one("#log").size.height, self.look)

    def _choices(self) -> list[Choice]:
        names, later = self.pools, self.later
        wanted = self.query_one(Filter).value
        found = rows.arranged(self.state["models"], self._order, self._turned, wanted)

        def choice(model: Row) -> Choice:
            cells = rows.cells(model, names, self.letters, later, self.look)
            return Choice(
                model["name"], lambda width: rows.line(cells, self._columns(width), self.look)
            )

        return [choice(m) for m in found]

    def _empty(self) -> list[str]:
        if self.state["models"]:
            return ["no model has these words; Esc shows all"]
        if self.state["sample_age"] is None:
            return ["the first sample is not in yet"]
        count = len(self.state["installed"])
        return [f"no model is loaded; {count} installed: l loads one"]

    # -- drawing it again

    def redraw(self) -> None:
        self._drawn_at = self.clock()
        self.query_one("#models", Listing).set(self._choices(), self._empty())
        self._arrange()
        for each in self.query(Lines):
            each.again()

    def _arrange(self) -> None:
        """As many rows for the models as there are; what is left, for what happened."""
        body, left = self.query_one("#body"), self.query_one("#left")
        detail = self.query_one("#detail").size.height
        wanted, most = max(LEAST, len(self.state["models"]) + 1 + detail), body.size.height
        if self.size.width < WIDE:
            most -= max(LOGGED, most * 2 // 5)
        height = max(3, min(wanted, most))
        if left.styles.height is None or left.styles.height.value != height:
            left.styles.height = height

    def _tick(self) -> None:
        if self.clock() - self._drawn_at > TICK * 0.9:
            self.redraw()

    # -- moving about

    def action_move(self, by: int) -> None:
        self.query_one("#models", Listing).move(by)

    def action_page(self, by: int) -> None:
        listing = self.query_one("#models", Listing)
        listing.move(by * listing.page)

    def action_edge(self, end: bool) -> None:
        listing = self.query_one("#models", Listing)
        listing.go(len(self.state["models"]) if end else 0)

    def on_listing_moved(self) -> None:
        self.query_one("#detail", Lines).again()

    def on_listing_heading_hit(self, message: Listing.HeadingHit) -> None:
        key = rows.column_at(message.x, self._columns(message.width))
        if key is not None:
            self._turned = not self._turned if key == self._order else False
            self._order = key
            self.redraw()

    def action_order(self) -> None:
        width = self.query_one("#models").size.width
        shown = [c.key for c, _ in self._columns(width) if c.key in rows.ORDERS]
        at = shown.index(self._order) + 1 if self._order in shown else 0
        self._order, self._turned = shown[at % len(shown)], False
        self.redraw()

    def action_turn(self) -> None:
        self._turned = not self._turned
        self.redraw()

    def action_filter(self) -> None:
        field = self.query_one(Filter)
        field.add_class("shown")
        field.focus()

    def on_input_changed(self) -> None:
        self.redraw()

    def on_input_submitted(self) -> None:
        field = self.query_one(Filter)
        field.remove_class("shown")
        self.screen.set_focus(None)
        self.redraw()

    def action_clear(self) -> None:
        self.clear_notifications()
        self.query_one(Filter).value = ""
