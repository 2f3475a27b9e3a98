"""What the dashboard is drawn with: colours and characters that say the same.

Colours are the sixteen that every terminal has in its own palette. A model's colour comes with
the background that it is readable on, so that a light terminal and a dark one show it alike.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from supervisor.cli.bars import PARTS

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
CHIPS = (
    "bright_white on blue",
    "black on green",
    "black on cyan",
    "bright_white on magenta",
    "black on yellow",
    "black on bright_blue",
    "black on bright_green",
    "black on bright_magenta",
)

BAD, WARNING, GOOD, QUIET, STRONG = "bold red", "bold magenta", "green", "dim", "bold"
CURSOR = "reverse"


@dataclass(frozen=True, slots=True)
class Look:
    """`colour` False: letters fill the bars. `unicode` False: nothing but ASCII is drawn."""

    colour: bool = True
    unicode: bool = True

    def glyph(self, part: str) -> str:
        """How a part of a bar is drawn: foreign, promised, free or reserve."""
        return next(g if self.unicode else a for name, g, a, _ in PARTS if name == part)

    @property
    def line(self) -> str:
        """Where the reserve begins."""
        return "┃" if self.unicode else "|"

    @property
    def rule(self) -> str:
        return "─" if self.unicode else "-"

    @property
    def more(self) -> str:
        return "…" if self.unicode else "~"

    def chip(self, letter: str) -> str:
        """The style of a model's letter and of its part of a bar."""
        return CHIPS[LETTERS.index(letter) % len(CHIPS)] if self.colour else ""

    def cut(self, text: str, width: int) -> str:
        """`text` in at most so many cells."""
        if cell_len(text) <= width:
            return text
        return set_cell_size(text, max(0, width - 1)).rstrip() + self.more if width > 0 else ""

    def squeeze(self, text: str, width: int) -> str:
        """The same, without its middle: names differ at both of their ends."""
        if cell_len(text) <= width or width < 8:
            return self.cut(text, width)
        head = (width - 1) * 3 // 5
        tail = text
        while cell_len(tail) > width - 1 - head:
            tail = tail[1:]
        return set_cell_size(text, head).rstrip() + self.more + tail


class Letters:
    """A letter a model, for as long as the dashboard runs. After 52 they come again."""

    def __init__(self) -> None:
        self._of: dict[str, str] = {}

    def of(self, name: str) -> str:
        return self._of.setdefault(name, LETTERS[len(self._of) % len(LETTERS)])
