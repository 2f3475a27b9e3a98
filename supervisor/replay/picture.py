"""A comparison as a picture: what each rule pays, and when it paid it. SVG, which every browser
shows, so that a plot needs nothing installed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import accumulate
from typing import NamedTuple

from supervisor.units import format_bytes

from .compare import Comparison

WIDTH, MARGIN, LABELS = 960, 32, 190  # pixels; LABELS: what names take
BAR, PLOT = 26, 300  # the height of a bar with its gap, and of the curves
LONGEST_BAR = 4.0  # × the oracle: what is longer is cut off, and says so
MOST_POINTS = 600  # of a curve
# Told apart by people who see red and green alike.
COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),
    *("#8c6bb1", "#7f7f7f", "#8c510a", "#b2df8a", "#332288", "#ffb3c1"),
)
INK, FAINT, ORACLE = "#222", "#d8d8d8", "#000"


class Curve(NamedTuple):
    name: str
    colour: str
    loads: Sequence[tuple[float, float]]  # when, and seconds


def picture(found: Comparison) -> str:
    """The SVG document."""
    curves = [
        Curve(result.rule.name, COLOURS[i % len(COLOURS)], result.figures.loads)
        for i, result in enumerate(found.results)
    ]
    bars = MARGIN + 64 + BAR * (len(curves) + 1)
    height = bars + PLOT + 3 * MARGIN
    setting = "on a simulated host" if found.on_host else "requests one after another"
    title = f"{found.trace.name}: {len(found.trace.requests):,} requests for "
    title += f"{len(found.trace.models)} models in {format_bytes(found.capacity)}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
            f' viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif"'
            f' font-size="13" fill="{INK}">',
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            _text(MARGIN, MARGIN, title, size=17, weight="600"),
            _text(MARGIN, MARGIN + 22, f"seconds spent on loading models again, {setting}"),
            *_bars(found, curves, MARGIN + 44),
            *_curves(found, curves, bars + MARGIN),
            "</svg>",
            "",
        ]
    )


def _bars(found: Comparison, curves: Sequence[Curve], top: int) -> Iterator[str]:
    """The cheapest first; the oracle above them."""
    paid = {c.name: sum(seconds for _, seconds in c.loads) for c in curves}
    ordered = sorted(curves, key=lambda c: paid[c.name])
    oracle = Curve("the oracle", ORACLE, found.loads)
    paid[oracle.name] = found.best
    room = WIDTH - 2 * MARGIN - LABELS - 150
    scale = max(min(LONGEST_BAR * found.best, max(paid.values())), 1e-9)
    for i, curve in enumerate((oracle, *ordered)):
        y, seconds = top + i * BAR, paid[curve.name]
        cut = seconds > scale * 1.001
        width = max(1.0, room * min(1.0, seconds / scale))
        left = MARGIN + LABELS
        yield _text(left - 8, y + 15, curve.name, anchor="end")
        yield (
            f'<rect x="{left}" y="{y + 2}" width="{width:.1f}" height="{BAR - 8}"'
            f' fill="{curve.colour}"/>'
        )
        if cut:  # it goes on beyond the picture
            x = left + width - 14
            yield (
                f'<path d="M{x:.1f} {y + BAR - 4} l6 {4 - BAR} M{x + 5:.1f} {y + BAR - 4}'
                f' l6 {4 - BAR}" stroke="#fff" stroke-width="2"/>'
            )
        times = found.times(seconds)
        told = _seconds(seconds) + ("" if times is None else f"  ({_short(times)}×)")
        yield _text(left + width + 8, y + 15, told)


def _curves(found: Comparison, curves: Sequence[Curve], top: int) -> Iterator[str]:
    """What was paid so far, over time. Whoever pays far more than the rest is left out."""
    best = found.best
    shown = [Curve("the oracle", ORACLE, found.loads)]
    shown += [c for c in curves if sum(s for _, s in c.loads) <= LONGEST_BAR * best]
    requests = found.trace.requests
    if not requests or best <= 0:
        return
    start, end = requests[0].at, max(requests[-1].at, requests[0].at + 1.0)
    most = max(sum(s for _, s in c.loads) for c in shown)
    left, right, bottom = MARGIN + 70, WIDTH - MARGIN, top + PLOT
    yield _text(MARGIN, top - 10, "paid so far", weight="600")
    for value in _ticks(most):
        y = bottom - PLOT * value / most
        yield f'<path d="M{left} {y:.1f} H{right}" stroke="{FAINT}"/>'
        yield _text(left - 8, y + 4, _seconds(value), anchor="end")
    unit, seconds = _unit(end - start)
    for value in _ticks((end - start) / seconds):
        x = left + (right - left) * value * seconds / (end - start)
        yield f'<path d="M{x:.1f} {bottom} v5" stroke="{INK}"/>'
        yield _text(x, bottom + 20, f"{value:g}", anchor="middle")
    yield _text(right, bottom + 38, f"{unit} since the first request", anchor="end")
    for curve in reversed(shown):
        points = [(start, 0.0), *_paid(curve.loads)]
        points.append((end, points[-1][1]))
        step = max(1, len(points) // MOST_POINTS)
        points = [*points[:-1:step], points[-1]]
        path, before = "", 0.0
        for at, total in points:
            x = left + (right - left) * min(1.0, (at - start) / (end - start))
            if path:  # it stays until the next load
                path += f" H{x:.1f}"
            if not path or total != before:
                y = bottom - PLOT * total / most
                path += f" V{y:.1f}" if path else f"M{x:.1f} {y:.1f}"
            before = total
        dash = ' stroke-dasharray="6 4"' if curve.colour == ORACLE else ""
        yield (f'<path d="{path}" fill="none" stroke="{curve.colour}" stroke-width="1.8"{dash}/>')


def _paid(loads: Iterable[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    ordered = sorted(loads)
    totals = accumulate(seconds for _, seconds in ordered)
    return zip((at for at, _ in ordered), totals, strict=True)


def _ticks(most: float) -> list[float]:
    """Round numbers from 0 to `most`, four to ten of them."""
    step = 10.0 ** len(str(int(most)))
    for smaller in (2.0, 2.5, 2.0) * 12:
        if most / step >= 4:
            break
        step /= smaller
    return [i * step for i in range(int(most / step) + 1)]


def _unit(span: float) -> tuple[str, float]:
    for name, seconds in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if span >= 3 * seconds:
            return name, seconds
    return "seconds", 1.0


def _seconds(number: float) -> str:
    return f"{number:,.0f} s" if number >= 10 else f"{number:g} s"


def _short(number: float) -> str:
    return f"{number:.2f}" if number < 10 else f"{number:.0f}"


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 13, weight: str = "400"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
        f' font-weight="{weight}">{escape(text)}</text>'
    )
