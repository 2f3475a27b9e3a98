"""The scorecard as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.registry import Score

BEGIN, END = (f"<!-- scorecard: {edge} -->" for edge in ("begin", "end"))
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


def publish(scores: Sequence[Score], document: Path) -> None:
    """Into the document, where the table of another time stands."""
    text = document.read_text()
    head, begun, rest = text.partition(BEGIN)
    _, ended, tail = rest.partition(END)
    if not (begun and ended):
        raise ValueError(f"{document} has no place for the scorecard: {BEGIN}, {END}")
    document.write_text(f"{head}{BEGIN}\n\n{markdown(scores)}\n{END}{tail}")


def markdown(scores: Sequence[Score]) -> str:
    lines = ["| fault | runs | violations | to normal, median | max | a plain engine |"]
    lines += ["|---|--:|--:|--:|--:|---|"]
    for one in scores:
        row = one.row()
        times = [f"{t:.2f} s" if t else "" for t in (row["normal_median"], row["normal_max"])]
        held = one.skipped or row["violations"]
        cells = (one.fault, one.runs, held, *times, one.plain or "")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    runs, requests, orders = (
        sum(getattr(one, what) for one in scores) for what in ("runs", "requests", "orders")
    )
    told = f"Faults: {len(scores)}, runs: {runs}, requests: {requests:,}, orders: {orders:,}."
    return "\n".join([*lines, "", told]) + "\n"
