"""Every trace of a folder, at every size of memory, by every rule: replayed, beside the figures
that are stored in the folder."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from supervisor.replay.figures import Figures, Waits
from supervisor.replay.host import host
from supervisor.replay.oracle import optimum
from supervisor.replay.rules import RULES, Queue
from supervisor.replay.sequence import sequence
from supervisor.replay.trace import Recorded, TraceError, capacity, read

RATIOS = (1.5, 2.0, 4.0)
SEQUENCE, HOST = "sequence", "host"
NO_WAIT = 0.01  # seconds
PROTOTYPE = "hazard"  # figures of an early form of `value` are stored under this name
STORED = {SEQUENCE: "reference_sequence.csv", HOST: "reference_host.csv"}
# By the names under which figures are stored. Those of a few words are others' rules, as theirs
# do: the product's own rankings give back who turns out not to be needed.
LABELS = {
    "value": "value",
    "lru": "lru_plain",
    "idle_over_load": "idle_over_load_plain",
    "landlord": "landlord_plain",
    "gdsf": "gdsf_plain",
    "single_model": "single_model",
    "count_lru_safe": "count_lru_safe",
    "ttl_5m_lru": "ttl_5m_lru",
    "ollama_like": "ollama_like",
    "ullage_lru": "lru",
    "ullage_lfu": "lfu",
    "ullage_gdsf": "gdsf",
    "ullage_landlord": "landlord",
    "ullage_idle_over_load": "idle_over_load",
}


class Cell(NamedTuple):
    trace: str
    ratio: float  # of what all models hold to the memory
    seed: int


@dataclass(frozen=True, slots=True)
class Row:
    """What one rule came to in one cell. `offline_s` is the oracle's; None in the host setting.
    `stored_s` is the figure to agree with, and `stored_wait_s` what was stored of the waits."""

    setting: str
    trace: str
    ratio: float
    seed: int
    policy: str
    requests: int
    cold: int
    reload_s: float
    refused: int
    killed: int
    overfull: int
    mean_wait_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    offline_s: float | None
    ratio_to_oracle: float | None
    stored_s: float | None
    stored_wait_s: float | None

    @property
    def cell(self) -> Cell:
        return Cell(self.trace, self.ratio, self.seed)

    @property
    def wait(self) -> float:
        """Mean, in seconds; cells that hardly wait are alike."""
        return max(self.mean_wait_s, NO_WAIT)

    @property
    def figure(self) -> float:
        """What is compared with what is stored: seconds of reloads, on a host of waits."""
        return self.reload_s if self.setting == SEQUENCE else self.wait

    @property
    def stored(self) -> float | None:
        if self.setting == SEQUENCE or self.stored_wait_s is None:
            return self.stored_s
        return max(self.stored_wait_s, NO_WAIT)

    def json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Stored:
    """Figures by cell and name; of a folder that has none, nothing."""

    sequence: Mapping[Cell, Mapping[str, float]]
    host: Mapping[tuple[Cell, str], Mapping[str, float]]

    @classmethod
    def of(cls, folder: Path) -> Stored:
        sequence = {}
        for row in _rows(folder / STORED[SEQUENCE]):
            figures = {k: float(v) for k, v in row.items() if k.endswith("_s")}
            sequence[_cell(row)] = {k.removesuffix("_s"): v for k, v in figures.items()}
        hosts = {}
        for row in _rows(folder / STORED[HOST]):
            figures = {k: float(row[k]) for k in ("reload_s", "mean_wait_s")}
            hosts[_cell(row), row["policy"]] = figures
        return cls(sequence, hosts)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if path.exists():
        with path.open(newline="") as file:
            yield from csv.DictReader(file)


def _cell(row: Mapping[str, str]) -> Cell:
    return Cell(row["trace"], float(row["ratio"]), int(row["seed"]))


def traces(folder: Path) -> dict[str, Path]:
    """The traces of a folder, by name. Raises TraceError where there are none."""
    found = {}
    for path in sorted(folder.glob("*.csv*")):
        name = path.name.removesuffix(".gz").removesuffix(".csv")
        if not name.endswith(".models") and path.name not in STORED.values():
            found[name] = path
    if not found:
        raise TraceError([f"{folder}: there is no trace in it"])
    return found


def cells(folder: Path) -> list[Cell]:
    """As they are stored; else every ratio and seed."""
    stored = Stored.of(folder).sequence
    found = []
    for name, path in traces(folder).items():
        mine = [c for c in stored if c.trace == name]
        seeds = sorted(_read(path).assignments)
        found += mine or [Cell(name, ratio, seed) for seed in seeds for ratio in RATIOS]
    return found


@cache
def _read(path: Path) -> Recorded:
    return read(path)


def replay(
    folder: Path,
    todo: Sequence[Cell],
    labels: Sequence[str],
    settings: Sequence[str],
    queue: Queue = Queue.ARRIVAL,
    jobs: int | None = None,
) -> Iterator[list[Row]]:
    """The rows of each cell and setting, as they come. On `jobs` cores, by default all."""
    work = [(folder, cell, tuple(labels), setting, queue) for cell in todo for setting in settings]
    jobs = jobs or os.cpu_count() or 1
    if jobs == 1:
        yield from map(_replay, work)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(_replay, work)


def _replay(work: tuple[Path, Cell, tuple[str, ...], str, Queue]) -> list[Row]:
    folder, cell, labels, setting, queue = work
    stored = Stored.of(folder)
    trace = _read(traces(folder)[cell.trace]).trace(cell.seed)
    size = capacity(trace.models, cell.ratio)
    known = stored.sequence.get(cell, {})
    best = known.get("offline_best")
    if best is None and setting == SEQUENCE:
        best = optimum(trace, size).reload
    rows = []
    for label in labels:
        rule = RULES[LABELS[label]]
        if setting == SEQUENCE:
            found, waited = sequence(trace, size, rule), None
            told = known.get(PROTOTYPE if label == "value" else label)
        else:
            found = host(trace, size, rule, queue)
            theirs = stored.host.get((cell, PROTOTYPE if label == "value" else label), {})
            told, waited = theirs.get("reload_s"), theirs.get("mean_wait_s")
        rows.append(_row(setting, cell, label, found, best, told, waited))
    return rows


def _row(
    setting: str,
    cell: Cell,
    label: str,
    found: Figures,
    best: float | None,
    stored: float | None,
    stored_wait: float | None,
) -> Row:
    waits, reload = Waits.of(found.waits), found.reload
    best = best if setting == SEQUENCE else None
    return Row(
        setting,
        *cell,
        policy=label,
        requests=found.requests,
        cold=found.cold,
        reload_s=round(reload, 1),
        refused=found.refused,
        killed=found.killed,
        overfull=found.overfull,
        mean_wait_s=round(waits.mean, 3),
        p50_s=round(waits.p50, 2),
        p95_s=round(waits.p95, 2),
        p99_s=round(waits.p99, 2),
        offline_s=None if best is None else round(best, 1),
        ratio_to_oracle=reload / best if best else None,
        stored_s=stored,
        stored_wait_s=stored_wait,
    )
