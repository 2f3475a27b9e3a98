"""The scorecard as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.registry import Score

LEGEND = (
    "Median and max: from the end of the cause until all was normal. Ready: the median time in"
    " which its daemons were ready after their start. A plain engine: the same done once to"
    " llama-server's own router, which loads a real model on a CPU for whoever asks; -: it has no"
    " such part, or there is no llama-server here."
)


def table(scores: Sequence[Score]) -> Table:
    found = Table(title="Faults: what broke, what held, and how long until all was normal")
    for head, side in (
        ("fault", "left"),
        ("runs", "right"),
        ("violations", "right"),
        ("median", "right"),
        ("max", "right"),
        ("ready", "right"),
        ("requests", "right"),
        ("orders", "right"),
        ("a plain engine", "left"),
    ):
        found.add_column(head, justify=side)  # type: ignore[arg-type]
    for one in scores:
        row = one.row()
        times = [row["normal_median"], row["normal_max"], row["ready_median"]]
        found.add_row(
            one.fault,
            str(one.runs),
            one.skipped or str(row["violations"]),
            *("" if t is None else f"{t:.2f} s" for t in times),
            str(one.requests),
            str(one.orders),
            one.plain or "-",
            style=None if one.passed else "red",
        )
    return found


def show(scores: Sequence[Score], console: Console) -> None:
    console.print(table(scores))
    console.print(LEGEND, style="dim")
    for one in scores:
        tell(one, console)


def tell(one: Score, console: Console) -> None:
    """What did not hold; nothing where all did."""
    for words in dict.fromkeys(one.violations):
        console.print(f"{one.fault}: {words}", markup=False, style="red")
    if late := [s for s in one.seconds if s > one.limit]:
        console.print(f"{one.fault}: {max(late):.1f} s, more than {one.limit:g} s", style="red")
    if one.starts_slowly:
        row = one.row()
        words = f"ready after {row['ready_median']} s, more than {one.start_limit:g} s"
        console.print(f"{one.fault}: {words}", style="red")


def incomplete(scores: Sequence[Score]) -> str | None:
    """What was left out, and why; None: nothing was."""
    skipped = [f"{one.fault} ({one.skipped})" for one in scores if one.skipped is not None]
    if not skipped:
        return None
    return f"incomplete: {len(skipped)} of {len(scores)} faults were left out: {'; '.join(skipped)}"


def write(scores: Sequence[Score], file: Path) -> None:
    file.write_text(json.dumps([one.row() for one in scores], indent=1) + "\n")
