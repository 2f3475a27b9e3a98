"""How far does a fleet go? `python -m benchmarks fleet [--hosts 1,3,10] [--json FILE]`.

Simulated hosts of two pools, ten models to a host, requests thinned from a shipped trace: what a
placement takes to decide, what hosts tell one another, and what requests wait, beside two naive
rules in the same run. Times are CPU time of this computer, one process.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from collectors.reading import Seconds, gib
from supervisor.fleet.changes import change_row, read_change
from supervisor.fleet.hosts import Word
from supervisor.fleet.words import read_word, word_row
from supervisor.replay.figures import Waits
from supervisor.replay.fleet import PERIOD, Fleet, Way
from supervisor.replay.many import copies, installed
from supervisor.replay.rules import RULES
from supervisor.replay.trace import read

TRACE = Path(__file__).parent / "traces" / "azfn19-32.csv.gz"
HOSTS = (1, 3, 10, 30, 100, 300, 1000)
A_HOST = 10  # models
ON = 4  # hosts that have a model on disk
POOLS = (gib(80), gib(24))  # of a host; its ten models take 236 GiB on average
SEED = 2  # of the trace's sizes: the largest
KEEP = 0.5  # of the trace's requests
MOST = 20_000  # requests of a run
DAY = 86_400.0
GIGABIT = 125e6  # bytes a second


class Traffic(NamedTuple):
    """Bytes a second: of all hosts to the directory, whole words and what changed; and of the
    directory to all agents, each of whom hears of all. Seconds: to read one of each."""

    whole: float
    changed: float
    to_all: float
    read_word: float
    read_change: float


class Measured(Fleet):
    """Counts what would be sent."""

    bytes_changed, looks, changes = 0, 0, 0

    def looked(self, at: float) -> None:
        self.looks += 1
        for before, after in self.told:
            self.changes += 1
            self.bytes_changed += _size(change_row(before, after))

    def traffic(self) -> Traffic:
        hosts = len(self.sites)
        words = [h.word for h in self.hosts.values()]
        still = [_still(w) for w in words]
        changes = self.changes / max(1, self.looks)
        silent = sum(map(_size, still)) / hosts * (hosts - changes)
        changed = self.bytes_changed / max(1, self.looks) + silent
        one, word, row = words[0], json.dumps(word_row(words[0])), json.dumps(still[0])
        return Traffic(
            whole=sum(_size(word_row(w)) for w in words) / PERIOD,
            changed=changed / PERIOD,
            to_all=changed * hosts / PERIOD,
            read_word=_timed(lambda: read_word(json.loads(word))),
            read_change=_timed(lambda: read_change(json.loads(row), one)),
        )


class Row(NamedTuple):
    hosts: int
    models: int
    requests: int
    seconds: float
    decision: tuple[float, float, float]  # median, p99, max; seconds
    dry_run: float  # p99
    offers: int
    queued: int
    traffic: Traffic
    ready: dict[str, float]
    cold: dict[str, int]
    reload: dict[str, float]
    wait: dict[str, float]


def measure(hosts: int, most: int, keep: float = KEEP) -> Row:
    recorded = read(TRACE).trace(SEED)
    models = A_HOST * hosts
    rate = keep * len(recorded.requests) / len(recorded.models) * models / DAY
    lasts = Seconds(min(DAY, most / rate))
    trace = copies(recorded, models, keep, lasts)
    has = installed(trace.models, hosts, ON)
    ready, cold, reload, wait = {}, {}, {}, {}
    placed: Measured | None = None
    for way in Way:
        fleet = Measured(trace, has, POOLS, RULES["value"], way)
        fleet.warm()
        gc.collect()
        gc.freeze()  # what is simulated is not looked through, as no agent would have it
        shown = fleet.run()
        served = len(shown.figures.waits)
        if served != len(trace.requests):
            raise AssertionError(f"{served} of {len(trace.requests)} requests were served")
        ready[way.value] = shown.ready / max(1, shown.sent)
        cold[way.value], reload[way.value] = shown.figures.cold, shown.figures.reload
        wait[way.value] = Waits.of(shown.figures.waits).mean
        if way is Way.PLACED:
            placed = fleet
    assert placed is not None
    took, dry = sorted(placed.shown.decisions), sorted(placed.shown.dry_runs) or [0.0]
    decision = (took[len(took) // 2], _high(took), took[-1])
    return Row(
        hosts, models, len(trace.requests), lasts, decision, _high(dry), placed.shown.offers,
        placed.shown.queued, placed.traffic(), ready, cold, reload, wait,
    )  # fmt: skip


def costs(rows: Sequence[Row]) -> Table:
    table = Table(title="what it costs", title_justify="left")
    for name in (
        "hosts", "models", "requests", "in", "decision, ms: median / p99 / max",
        "dry run, p99", "words whole", "what changed", "to all agents", "messages/s",
        "directory reads whole / changed",
    ):  # fmt: skip
        table.add_column(name, justify="right")
    for r in rows:
        t = r.traffic
        ms = " / ".join(f"{1000 * d:.2f}" for d in r.decision)
        reads = f"{t.read_word * r.hosts:.1%} / {t.read_change * r.hosts:.1%}"
        table.add_row(
            f"{r.hosts:,}", f"{r.models:,}", f"{r.requests:,}", f"{r.seconds / 60:.0f} min", ms,
            f"{1000 * r.dry_run:.2f} ms", _bytes(t.whole), _bytes(t.changed), _bytes(t.to_all),
            f"{2 * r.hosts / PERIOD:,.0f}", reads,
        )  # fmt: skip
    return table


def gains(rows: Sequence[Row]) -> Table:
    table = Table(title="what comes of it", title_justify="left")
    names = " / ".join(w.value for w in Way)
    for name in ("hosts", "ready where sent", "cold starts", "seconds of reloads", "mean wait, s"):
        table.add_column(name, justify="right")
    table.caption = f"each: {names}"
    for r in rows:
        table.add_row(
            f"{r.hosts:,}",
            " / ".join(f"{v:.1%}" for v in r.ready.values()),
            " / ".join(f"{v:,}" for v in r.cold.values()),
            " / ".join(f"{v:,.0f}" for v in r.reload.values()),
            " / ".join(f"{v:.2f}" for v in r.wait.values()),
        )
    return table


def limits(row: Row) -> list[str]:
    """What breaks first, from what one host costs at this size, by the laws that it grows by."""
    t, hosts = row.traffic, row.hosts
    whole, changed = t.whole / hosts, t.to_all / hosts**2  # what one host costs one that hears it
    return [
        f"whole words, to all agents: 1 Gbit/s is full at {(GIGABIT / whole) ** 0.5:,.0f} hosts",
        f"what changed, to all agents: 1 Gbit/s is full at {(GIGABIT / changed) ** 0.5:,.0f} hosts",
        f"whole words: one core of the directory is full at {1 / t.read_word:,.0f} hosts",
        f"what changed: one core of the directory is full at {1 / t.read_change:,.0f} hosts,"
        " and one of every agent that reads all of it",
        f"deciding: one core decides {1 / row.decision[0]:,.0f} times a second at {hosts:,} hosts",
    ]


def _still(word: Word) -> dict[str, Any]:
    """One that has nothing new says its name, its number and its clock."""
    return change_row(word, replace(word, number=word.number + 1))


def _size(row: dict[str, Any]) -> int:
    return len(json.dumps(row, separators=(",", ":")))


def _timed(work: Callable[[], object], runs: int = 50) -> float:
    """The median of some runs, in seconds."""
    found = []
    for _ in range(runs):
        begun = time.thread_time()
        work()
        found.append(time.thread_time() - begun)
    return statistics.median(found)


def _high(ordered: Sequence[float]) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def _bytes(rate: float) -> str:
    for unit in ("B", "kB", "MB"):
        if rate < 1000:
            return f"{rate:.3g} {unit}/s"
        rate /= 1000
    return f"{rate:,.3g} GB/s"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks fleet", description=__doc__)
    parser.add_argument("--hosts", type=_counts, default=HOSTS, metavar="N,N")
    parser.add_argument("--requests", type=int, default=MOST, metavar="N", help="at most, of a run")
    parser.add_argument("--json", metavar="FILE", help="in JSON, too")
    given = parser.parse_args(arguments)
    begun, rows = time.monotonic(), []
    for hosts in given.hosts:
        rows.append(measure(hosts, given.requests))
        print(f"{hosts} hosts: {time.monotonic() - begun:.0f} s", file=sys.stderr)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(costs(rows))
    console.print(gains(rows))
    for line in limits(rows[-1]):
        console.print(line)
    if given.json:
        Path(given.json).write_text(json.dumps([r._asdict() for r in rows], indent=1) + "\n")
    return 0


def _counts(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers, as 1,10,100") from None
    if not all(1 <= n <= 1000 for n in found):
        raise argparse.ArgumentTypeError("a number of hosts is from 1 to 1000")
    return found
