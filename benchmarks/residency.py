"""Who was in memory when, as a picture (SVG)."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, ROW, LEFT, TOP, PLOT = 1100, 44, 120, 64, 180  # pixels
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MIB = 2**20


class Seen(NamedTuple):
    """One look: seconds since the first, and bytes by model."""

    at: float
    held: dict[str, int]


def picture(looks: Sequence[Seen], budget: int) -> str:
    """A row for each model, and below them the bytes of all, with the budget's line."""
    names = sorted({name for look in looks for name in look.held})
    end = max(looks[-1].at, 1.0)
    scale = (WIDTH - LEFT - 30) / end
    base = TOP + ROW * len(names) + 30 + PLOT
    highest = max(budget, max(sum(look.held.values()) for look in looks)) * 1.1
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{base + 50}"'
        ' font-family="system-ui, sans-serif" font-size="13" fill="#222">',
        f'<rect width="{WIDTH}" height="{base + 50}" fill="#fff"/>',
        f'<text x="{LEFT}" y="30" font-size="17" font-weight="600">Who was in memory</text>',
    ]
    for i, name in enumerate(names):
        y, colour = TOP + ROW * i, COLOURS[i % len(COLOURS)]
        out.append(f'<text x="{LEFT - 12}" y="{y + 22}" text-anchor="end">{escape(name)}</text>')
        for begin, stop in _stays(looks, name):
            x, width = LEFT + begin * scale, max(1.0, (stop - begin) * scale)
            out.append(
                f'<rect x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="{ROW - 14}"'
                f' fill="{colour}" rx="2"/>'
            )
    points = " ".join(
        f"{LEFT + look.at * scale:.1f},{base - sum(look.held.values()) / highest * PLOT:.1f}"
        for look in looks
    )
    line = base - budget / highest * PLOT
    out += [
        f'<polyline points="{points}" fill="none" stroke="#222" stroke-width="1.2"/>',
        f'<line x1="{LEFT}" x2="{WIDTH - 30}" y1="{line:.1f}" y2="{line:.1f}" stroke="#c00"'
        ' stroke-dasharray="5 4"/>',
        f'<text x="{LEFT - 12}" y="{line + 4:.1f}" text-anchor="end">{budget / MIB:.0f} MiB</text>',
        f'<line x1="{LEFT}" x2="{WIDTH - 30}" y1="{base}" y2="{base}" stroke="#222"/>',
    ]
    for k in range(6):
        x = LEFT + end * k / 5 * scale
        out.append(
            f'<text x="{x:.0f}" y="{base + 22}" text-anchor="middle">{end * k / 5:.0f} s</text>'
        )
    return "\n".join([*out, "</svg>", ""])


def _stays(looks: Sequence[Seen], name: str) -> list[tuple[float, float]]:
    """From when to when it was there, as far as the looks tell."""
    stays: list[tuple[float, float]] = []
    begin: float | None = None
    for look in looks:
        if name in look.held and begin is None:
            begin = look.at
        elif name not in look.held and begin is not None:
            stays.append((begin, look.at))
            begin = None
    if begin is not None:
        stays.append((begin, looks[-1].at))
    return stays
