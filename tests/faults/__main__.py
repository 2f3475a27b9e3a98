"""`python -m tests.faults [--only WORD] [--runs N] [--seed N] [--alone] [--json FILE]
[--publish FILE] [--keep FOLDER]`.

Breaks one thing after the other, and prints the scorecard. Exits with 1 if anything did not hold,
and with 3 if a fault was left out where all must be tried: with $CI set.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tests.faults import plain, scorecard
from tests.faults.all import FAULTS
from tests.faults.registry import Score, score
from tests.nvml.fake_nvml import build, compiler


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", help="those with this in their name")
    parser.add_argument("--runs", type=int, help="of each fault, in place of its own number")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--publish", type=Path, help="a document that has a place for the table")
    parser.add_argument("--alone", action="store_true", help="leave out the plain engine beside")
    parser.add_argument("--keep", type=Path, help="a folder for what the daemons leave")
    asked = parser.parse_args()
    if sys.platform != "linux" or compiler() is None:
        print("the stand-in driver needs Linux and a C compiler", file=sys.stderr)
        return 2
    console = Console(width=None if sys.stdout.isatty() else 160)
    with tempfile.TemporaryDirectory(prefix="ullage-faults-") as own:
        folder = asked.keep or Path(own)
        folder.mkdir(parents=True, exist_ok=True)
        library = build(folder)
        scores = []
        for i, fault in enumerate(FAULTS):
            if asked.only and asked.only not in fault.name:
                continue
            runs = asked.runs or fault.runs
            scores.append(asyncio.run(score(fault, runs, folder / f"f{i}", library, asked.seed)))
            if not asked.alone and plain.missing() is None:
                scores[-1].plain = beside(fault.name, console)
            row = scores[-1].row()
            console.print(f"{fault.name}: {row['runs']} runs, {row['violations']} violations")
            scorecard.tell(scores[-1], console)  # who ends the bench half-way has seen it
            if asked.json:
                scorecard.write(scores, asked.json)
    scorecard.show(scores, console)
    if asked.publish:
        scorecard.publish(scores, asked.publish)
    return verdict(scores, console, strict=bool(os.environ.get("CI")))


def beside(fault: str, console: Console) -> str | None:
    """What a plain engine does. Where that cannot be seen, the runs of ours are not lost for it."""
    try:
        return asyncio.run(plain.of(fault))
    except Exception as error:
        console.print(f"a plain engine: {error!r}", markup=False, style="red")
        return f"could not be seen: {type(error).__name__}"


def verdict(scores: Sequence[Score], console: Console, strict: bool) -> int:
    """The exit code. `strict`: what was left out has not passed."""
    words = scorecard.incomplete(scores)
    if words is not None:
        console.print(words, markup=False, style="red" if strict else "yellow")
    if not all(one.passed for one in scores):
        return 1
    return 3 if strict and words is not None else 0


if __name__ == "__main__":
    raise SystemExit(main())
