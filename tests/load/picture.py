"""Memory, descriptors and lag over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .clients import percentile
from .outside import MIB, Row

BLUE, RED, GREY, GREEN = "#2563eb", "#dc2626", "#6b7280", "#059669"


def draw(rows: list[Row], beats: list[dict[str, Any]], folder: Path, title: str) -> None:
    """`memory.png`, `descriptors.png` and `lag.png`. `beats` are the probe's lines; their times are
    in seconds since the run began."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    at = [r.at / 60 for r in rows]
    under = [r.at / 60 for r in rows if r.phase == "load"] or [0, 0]

    def page(
        name: str, heading: str, panels: list[tuple[str, list[tuple[Any, Any, str, str]]]]
    ) -> None:
        figure, axes = pyplot.subplots(
            len(panels), 1, sharex=True, figsize=(10, 2.6 * len(panels)), squeeze=False
        )
        figure.suptitle(f"{heading}: {title}", fontsize=11)
        for axis, (label, lines) in zip(axes[:, 0], panels, strict=True):
            axis.axvspan(under[0], under[-1], color="#f3f4f6", lw=0)
            for x, y, color, what in lines:
                axis.plot(x, y, color=color, lw=1.2, label=what)
            axis.set_ylabel(label)
            axis.set_ylim(bottom=0)
            axis.grid(alpha=0.25)
            axis.legend(loc="upper left", fontsize=8, ncols=3)
        axes[-1, 0].set_xlabel("minutes (shaded: under load)")
        figure.tight_layout()
        figure.savefig(folder / name, dpi=110)
        pyplot.close(figure)

    page(
        "memory.png",
        "Memory of the daemon",
        [
            (
                "MiB",
                [
                    (at, [r.rss / MIB for r in rows], GREY, "resident"),
                    (at, [r.anon / MIB for r in rows], BLUE, "anonymous"),
                ],
            ),
            ("journal, MiB", [(at, [r.journal / MIB for r in rows], GREEN, "on disk")]),
            (
                "at once",
                [
                    (at, [r.streams for r in rows], BLUE, "requests under way"),
                    (at, [r.loaded for r in rows], RED, "models loaded"),
                ],
            ),
        ],
    )
    seen = [b["at"] / 60 for b in beats]
    page(
        "descriptors.png",
        "What it has open",
        [
            ("descriptors", [(at, [r.files for r in rows], BLUE, "files, sockets, pipes")]),
            (
                "count",
                [
                    (at, [r.threads for r in rows], GREY, "threads"),
                    (seen, [b["tasks"] for b in beats], RED, "tasks"),
                    (at, [r.children for r in rows], GREEN, "children"),
                ],
            ),
        ],
    )
    page(
        "lag.png",
        "How late the loop is",
        [
            (
                "milliseconds",
                [
                    (seen, [max(b["late"], default=0) for b in beats], GREY, "longest of 5 s"),
                    (seen, [percentile(b["late"], 0.99) for b in beats], RED, "p99"),
                    (seen, [percentile(b["late"], 0.5) for b in beats], BLUE, "p50"),
                ],
            ),
            (
                "of it, our own work, ms",
                [
                    (seen, [max(b["busy"], default=0) for b in beats], GREY, "longest of 5 s"),
                    (seen, [percentile(b["busy"], 0.99) for b in beats], RED, "p99"),
                ],
            ),
            ("machine", [(at, [r.load for r in rows], GREEN, "load average of a minute")]),
        ],
    )
