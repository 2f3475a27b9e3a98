"""Where everything stands: Textual's style sheet, and the sizes at which it changes."""

from __future__ import annotations

HIGH = 40  # rows: air between the parts
WIDE = 140  # columns: models and what happened stand side by side

CSS = """
Screen { layout: vertical; overflow: hidden; }
#body { height: 1fr; }
#left { height: 12; }
#right { height: 1fr; }
#log { height: 1fr; }
.-high #pools, .-high #engines { margin-bottom: 1; }
.-wide #body { layout: horizontal; }
.-wide #left { width: 3fr; }
.-wide #right { width: 2fr; height: 1fr; padding-left: 2; }
Filter { display: none; height: 1; border: none; padding: 0; }
Filter.shown { display: block; }
Toast {
    max-width: 80%; padding: 0 1;
    background: $background; color: $foreground; border: round $foreground;
}

.panel { align: center middle; }
.frame {
    width: 90%; max-width: 120; height: auto; max-height: 90%;
    border: round $foreground; padding: 0 1; background: $background;
    border-title-style: bold; scrollbar-size-vertical: 1;
}
.frame Static { height: auto; }
.frame Input { height: 1; border: none; padding: 0; }
"""
