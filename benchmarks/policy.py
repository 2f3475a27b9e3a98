"""Is the right model kept? `python -m benchmarks policy [--traces DIR] [--json FILE]`.

Replays every trace of a folder through the core, by the product's rankings and by others' rules,
and divides what they pay by the best schedule that knows the future. Exits with 1 where a promise
of ours is not kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from supervisor.replay.rules import Queue
from supervisor.replay.trace import TraceError

from .cells import HOST, LABELS, SEQUENCE, Row, cells, replay
from .promises import Check, average, mean, of_host, of_sequence, policies

SHIPPED = Path(__file__).parent / "traces"
USUAL = tuple(n for n in LABELS if not n.startswith("ullage_") and n != "ollama_like")
ON_A_HOST = ("value", "lru", "idle_over_load", "landlord", "gdsf", "ttl_5m_lru")


def main(arguments: Sequence[str]) -> int:
    given = _arguments(arguments)
    started = time.monotonic()
    settings = (SEQUENCE, HOST) if given.setting == "both" else (given.setting,)
    rows: list[Row] = []
    try:
        todo = cells(given.traces)
        for setting in settings:
            labels = given.policies or (USUAL if setting == SEQUENCE else ON_A_HOST)
            done = replay(given.traces, todo, labels, (setting,), Queue(given.queue), given.jobs)
            for i, found in enumerate(done, 1):
                rows += found
                if sys.stderr.isatty():
                    print(f"\r{setting}: {i} of {len(todo)} cells", end="", file=sys.stderr)
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
    except TraceError as error:
        for mistake in error.mistakes:
            print(f"error: {mistake}", file=sys.stderr)
        return 2
    checks = [*of_sequence(rows), *of_host(rows)]
    console = Console(stderr=given.json == "-", width=None if sys.stdout.isatty() else 150)
    for setting in settings:
        console.print(table(setting, [r for r in rows if r.setting == setting]))
    for check in checks:
        console.print(f"{'ok' if check.kept else 'NOT KEPT':9}{check.what}: {check.found}")
    console.print(f"took {time.monotonic() - started:.0f} s")
    if given.json:
        text = json.dumps(document(rows, checks), indent=1)
        if given.json == "-":
            print(text)
        else:
            Path(given.json).write_text(text + "\n")
    return 0 if all(check.kept for check in checks) else 1


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks policy", description=__doc__)
    parser.add_argument("--traces", type=Path, default=SHIPPED, metavar="DIR")
    parser.add_argument("--json", metavar="FILE", help="in JSON, too; -: to standard output")
    parser.add_argument("--policies", type=_labels, metavar="A,B", help=", ".join(LABELS))
    parser.add_argument("--setting", choices=(SEQUENCE, HOST, "both"), default="both")
    parser.add_argument(
        "--queue", choices=[q.value for q in Queue], default=Queue.ARRIVAL.value,
        help="which model is loaded next on a host; the stored figures are of arrival",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, metavar="N", help="cores; by default all")
    return parser.parse_args(arguments)


def _labels(text: str) -> tuple[str, ...]:
    found = tuple(text.split(","))
    for name in found:
        if name not in LABELS:
            raise argparse.ArgumentTypeError(f"no policy is called {name!r}")
    return found


# -- what is shown


def document(rows: Sequence[Row], checks: Sequence[Check]) -> dict[str, object]:
    """All of it, as JSON has it."""
    sequence = [r for r in rows if r.setting == SEQUENCE]
    host = [r for r in rows if r.setting == HOST]
    return {
        "average_ratio_to_oracle": {p: round(average(sequence, p), 4) for p in policies(sequence)},
        "average_wait_s": {
            p: round(mean(r.wait for r in host if r.policy == p), 3) for p in policies(host)
        },
        "checks": [check._asdict() for check in checks],
        "rows": [row.json() for row in rows],
    }


def table(setting: str, rows: Sequence[Row]) -> Table:
    """Policies by traces; in each cell a figure for each size of memory, the largest first."""
    ratios = sorted({r.ratio for r in rows})
    sizes = " / ".join(f"{ratio:g}" for ratio in ratios)
    if setting == SEQUENCE:
        title = "seconds of reloads, × the best schedule that knows the future"
    else:
        title = "mean wait of a request on a simulated host, in seconds"
    title += f"; by trace, the models {sizes} times as large as the memory"
    found = Table(title=title, title_justify="left")
    found.add_column("policy")
    names = list(dict.fromkeys(r.trace for r in rows))
    for name in (*names, "all", "worst", "off the stored"):
        found.add_column(name, justify="right", no_wrap=True)
    for policy in policies(rows):
        mine = [r for r in rows if r.policy == policy]
        by_trace = [
            " / ".join(
                _short(mean(_figure(r) for r in mine if r.trace == name and r.ratio == ratio))
                for ratio in ratios
            )
            for name in names
        ]
        told = mean(a / b for r in mine if (a := r.figure) and (b := r.stored))
        off = "" if told != told else f"{told - 1:+.1%}"
        average, worst = mean(map(_figure, mine)), max(map(_figure, mine))
        found.add_row(policy, *by_trace, _short(average), _short(worst), off)
    if setting == SEQUENCE:
        found.add_row("the oracle", *["1.00" for _ in names], "1.00", "1.00", "")
    return found


def _figure(row: Row) -> float:
    return row.wait if row.ratio_to_oracle is None else row.ratio_to_oracle


def _short(number: float) -> str:
    return f"{number:.2f}" if number < 10 else f"{number:.0f}"
