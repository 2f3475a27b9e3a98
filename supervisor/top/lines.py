"""A widget that is a list of lines. What did not change is not drawn again."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

Draw = Callable[[int], list[Text]]


class Lines(Widget):
    """`draw` says the lines for a width in cells; as many rows are taken, unless styled otherwise.

    `again` asks it anew.
    """

    DEFAULT_CSS = "Lines { height: auto; width: 1fr; }"

    def __init__(self, draw: Draw, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._ask = draw
        self._lines: list[Text] = []

    def draw(self, width: int) -> list[Text]:
        return self._ask(width)

    def again(self) -> None:
        width = self.size.width
        if not width:  # not laid out yet; it will be asked then
            self.refresh(layout=True)
            return
        before, self._lines = self._lines, self.draw(width)
        if len(before) != len(self._lines) and self.styles.is_auto_height:
            self.refresh(layout=True)
            return
        for y in range(max(len(before), len(self._lines))):
            if before[y : y + 1] != self._lines[y : y + 1]:
                self.refresh(Region(0, y, width, 1))

    def on_resize(self) -> None:
        self._lines = self.draw(self.size.width)
        self.refresh()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self.draw(width))

    def render_line(self, y: int) -> Strip:
        width, base = self.size.width, self.rich_style
        if y >= len(self._lines):
            return Strip.blank(width, base)
        text = self._lines[y]
        console = self.app.console
        style = base + console.get_style(text.style)  # of a text without parts rich leaves it out
        return Strip(text.render(console)).adjust_cell_length(width, style).apply_style(style)
