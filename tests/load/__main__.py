"""`python -m tests.load [--minutes N] [--streams N] [--out FOLDER] [--stacks]`.

Runs the soak, prints a table, writes plots and raw figures to the folder, and exits with 1 where
anything did not hold.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from supervisor.app import more_files
from tests.nvml.fake_nvml import build, compiler

from .judged import Figures
from .soak import Plan, soak


def show(figures: Figures, console: Console) -> None:
    table = Table(title=figures.title, title_justify="left")
    for heading in ("measured", ""):
        table.add_column(heading)
    for what, figure in figures.table:
        table.add_row(what, figure)
    console.print(table)
    judged = Table(title="what must hold", title_justify="left")
    for heading in ("", "holds", "said"):
        judged.add_column(heading)
    for verdict in figures.verdicts:
        judged.add_row(verdict.what, "yes" if verdict.ok else "NO", verdict.said)
    console.print(judged)
    for line in figures.wrong[:40]:
        console.print(line, markup=False)


SHORTEST = 10.0  # seconds of rest: one look every three
# Of load. What is kept up to a number is full after forty of them, which is the third of them that
# says nothing of whether memory is flat.
MINUTES = 120.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="under load")
    parser.add_argument("--rest", type=float, default=60.0, help="seconds of rest before and after")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("load"), help="a folder for the plots")
    parser.add_argument("--stacks", action="store_true", help="what held the loop, too")
    parser.add_argument("--nice", type=int, default=0, help="of the daemon, where others work here")
    asked = parser.parse_args()
    if asked.rest < SHORTEST:
        parser.error(f"--rest {asked.rest:g}: two looks at it take {SHORTEST:g} seconds or more")
    if sys.platform != "linux" or compiler() is None:
        print("the stand-in driver needs Linux and a C compiler", file=sys.stderr)
        return 2
    asked.out.mkdir(parents=True, exist_ok=True)
    more_files()
    with tempfile.TemporaryDirectory(prefix="ullage-load-") as own:
        folder = Path(own)
        plan = Plan(
            seconds=asked.minutes * 60,
            rest=asked.rest,
            streams=asked.streams,
            seed=asked.seed,
            stacks=asked.stacks,
            nice=asked.nice,
        )
        figures = uvloop.run(soak(folder, build(folder), asked.out.absolute(), plan))
    show(figures, Console(width=None if sys.stdout.isatty() else 160))
    return 0 if figures.held else 1


if __name__ == "__main__":
    raise SystemExit(main())
