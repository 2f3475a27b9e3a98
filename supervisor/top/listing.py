"""A list to choose from: a heading, a cursor that stays with its row, as many rows as fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.message import Message

from .lines import Lines
from .look import CURSOR, Look


class Choice(NamedTuple):
    """A row: what it stands for, and its line for a width in cells."""

    key: str
    line: Callable[[int], Text]


class Listing(Lines):
    """`heading` for a width, or None. `empty` is said where there is nothing to choose from."""

    DEFAULT_CSS = "Listing { height: 1fr; width: 1fr; }"

    class Moved(Message):
        """The cursor is on another row."""

    class HeadingHit(Message):
        """Somebody clicked the heading."""

        def __init__(self, x: int, width: int) -> None:
            super().__init__()
            self.x, self.width = x, width

    def __init__(
        self,
        look: Look,
        heading: Callable[[int], Text] | None = None,
        *,
        id: str | None = None,
    ) -> None:
        super().__init__(self._drawn, id=id)
        self._look, self._heading = look, heading
        self._choices: Sequence[Choice] = ()
        self._at = self._top = 0
        self.empty: Sequence[str] = ()
        self.marked_from = 0  # the cursor leaves what is before this column as it is

    @property
    def chosen(self) -> str | None:
        """The key of the row under the cursor."""
        return self._choices[self._at].key if self._choices else None

    def set(self, choices: Sequence[Choice], empty: Sequence[str] = ()) -> None:
        """The rows as they are now. The cursor stays with its row, wherever that is."""
        chosen = self.chosen
        keys = [c.key for c in choices]
        if chosen in keys:
            self._at = keys.index(chosen)
        else:
            self._at = max(0, min(self._at, len(keys) - 1))
        self._choices, self.empty = choices, empty
        self.again()
        if self.chosen != chosen:
            self.post_message(self.Moved())

    def move(self, by: int) -> None:
        self.go(self._at + by)

    def go(self, to: int) -> None:
        at = max(0, min(to, len(self._choices) - 1))
        if at != self._at:
            self._at = at
            self.again()
            self.post_message(self.Moved())

    @property
    def page(self) -> int:
        """How many rows are to be seen."""
        return max(1, self.size.height - (self._heading is not None))

    def _drawn(self, width: int) -> list[Text]:
        lines = [] if self._heading is None else [self._heading(width)]
        if not self._choices:
            return lines + [Text(f"  {self._look.cut(t, width - 2)}") for t in self.empty]
        count, page = len(self._choices), self.page
        self._top = max(min(self._top, self._at, count - page), self._at - page + 1, 0)
        shown = self._choices[self._top : self._top + page]
        for i, choice in enumerate(shown, self._top):
            line = choice.line(width)
            if i == self._at:
                rest = line[self.marked_from :].plain
                line = line[: self.marked_from]
                line.append(rest + " " * (width - line.cell_len - cell_len(rest)), CURSOR)
            lines.append(line)
        if lines and count > page:
            self._tell_where(lines, count, width)
        return lines

    def _tell_where(self, lines: list[Text], count: int, width: int) -> None:
        """`3-9 of 41` at the right of the heading: there is more than is seen."""
        if self._heading is None:
            return
        where = f" {self._top + 1}-{min(count, self._top + self.page)} of {count}"
        head = lines[0].copy()
        head.truncate(max(0, width - len(where)), pad=True)
        lines[0] = head.append(where)

    # -- the mouse

    def on_click(self, event: events.Click) -> None:
        row = event.y - (self._heading is not None)
        if row < 0:
            self.post_message(self.HeadingHit(event.x, self.size.width))
        elif self._choices:
            self.go(self._top + row)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.move(1)
        event.stop()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.move(-1)
        event.stop()
