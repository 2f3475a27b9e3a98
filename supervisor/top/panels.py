"""What is opened over the dashboard: a text, a question, a list. Esc closes each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from rich.console import RenderableType
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from .listing import Choice, Listing
from .look import BAD, QUIET, Look

MARGIN = 6  # columns around a panel's text
WIDEST = 120  # columns


class Frame(VerticalScroll):
    """What all of them stand in: a title above, keys below."""

    can_focus = False

    def __init__(self, title: str, keys: str) -> None:
        super().__init__(classes="frame")
        self.border_title, self.border_subtitle = Text(f" {title} "), Text(f" {keys} ")


class Panel(ModalScreen[None]):
    """A text that can be scrolled. `draw` makes it for a width, and again when that changes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,space", "close", "close"),
        Binding("j,down", "line(1)"),
        Binding("k,up", "line(-1)"),
        Binding("pagedown,ctrl+f", "page(1)"),
        Binding("pageup,ctrl+b", "page(-1)"),
        Binding("home,g", "edge(False)"),
        Binding("end,G", "edge(True)"),
    ]

    def __init__(self, title: str, draw: Callable[[int], RenderableType]) -> None:
        super().__init__(classes="panel")
        self._title, self._draw = title, draw

    def compose(self) -> ComposeResult:
        with Frame(self._title, "Esc closes, ↑↓ scroll"):
            yield Static(markup=False)

    def on_mount(self) -> None:
        self.show(self._draw)

    def on_resize(self) -> None:
        self.show(self._draw)

    def show(self, draw: Callable[[int], RenderableType]) -> None:
        """Another text in its place: the answer that was waited for."""
        self._draw = draw
        width = max(20, min(WIDEST, self.app.size.width * 9 // 10) - MARGIN)
        try:
            drawn = draw(width)
        except (KeyError, TypeError, ValueError) as error:
            drawn = Text(f"the daemon is of another version: its answer has no {error}", BAD)
        self.query_one(Static).update(drawn)

    def action_close(self) -> None:
        self.dismiss()

    def action_line(self, by: int) -> None:
        self.query_one(Frame).scroll_relative(y=by, animate=False)

    def action_page(self, by: int) -> None:
        frame = self.query_one(Frame)
        frame.scroll_relative(y=by * max(1, frame.size.height - 1), animate=False)

    def action_edge(self, end: bool) -> None:
        frame = self.query_one(Frame)
        if end:
            frame.scroll_end(animate=False)
        else:
            frame.scroll_home(animate=False)


class Question(ModalScreen[bool]):
    """Yes or no. Nothing but `y` is a yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,q", "answer(False)", "no"),
        Binding("j,down", "line(1)"),
        Binding("k,up", "line(-1)"),
    ]

    def __init__(self, question: str, about: Iterable[str] = ()) -> None:
        super().__init__(classes="panel")
        self._question, self._about = question, "\n".join(about)

    def compose(self) -> ComposeResult:
        with Frame(self._question, "y: yes, n: no"):
            yield Static(Text(self._about), markup=False)

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)

    def action_line(self, by: int) -> None:
        self.query_one(Frame).scroll_relative(y=by, animate=False)


class Pick(ModalScreen[str | None]):
    """A list, and a line to type into: what is typed is looked for in the names."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "close"),
        Binding("down,ctrl+n", "move(1)", priority=True),
        Binding("up,ctrl+p", "move(-1)", priority=True),
        Binding("pagedown", "move(10)", priority=True),
        Binding("pageup", "move(-10)", priority=True),
    ]

    def __init__(
        self, title: str, choices: Sequence[Choice], look: Look, empty: Sequence[str]
    ) -> None:
        super().__init__(classes="panel")
        self._title, self._choices, self._look, self._empty = title, choices, look, empty

    def compose(self) -> ComposeResult:
        with Frame(self._title, "Enter takes it, Esc closes"):
            yield Input(placeholder="type a part of its name", compact=True)
            yield Listing(self._look, self._line)

    def on_mount(self) -> None:
        self._fit()
        self._narrow("")
        self.query_one(Input).focus()

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        """All of the list, or as much as there is room for beside the frame and the line."""
        room = self.app.size.height * 9 // 10 - 3
        self.query_one(Listing).styles.height = max(2, min(len(self._choices) + 1, room))

    def _line(self, width: int) -> Text:
        return Text(self._look.rule * width, QUIET)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._narrow(event.value)

    def _narrow(self, wanted: str) -> None:
        words = wanted.lower().split()
        found = [c for c in self._choices if all(w in c.key.lower() for w in words)]
        empty = ["no name has that in it"] if words else self._empty
        self.query_one(Listing).set(found, empty)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        chosen = self.query_one(Listing).chosen
        if chosen is not None:
            self.dismiss(chosen)

    def action_move(self, by: int) -> None:
        self.query_one(Listing).move(by)

    def action_close(self) -> None:
        self.dismiss(None)

    def on_click(self, event: events.Click) -> None:
        if event.chain == 2 and (chosen := self.query_one(Listing).chosen) is not None:
            self.dismiss(chosen)


class Filter(Input):
    """The line in which the models' filter is typed: Enter keeps it, Esc takes it back."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "drop", "all models")]

    def action_drop(self) -> None:
        self.value = ""
        self.post_message(self.Submitted(self, ""))
