"""Every panel's query, asked of a real Prometheus that scrapes daemons that really run."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from tests.dashboards.expressions import filled
from tests.dashboards.linter import asked, panels, variables
from tests.dashboards.prometheus import PROGRAM, Prometheus, Series
from tests.dashboards.stage import RULES, demo, machine
from tests.readers import GPU

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="prometheus is not installed"),
]

FOLDER = Path(__file__).parents[2] / "grafana"
BOARDS = {f.stem: json.loads(f.read_text()) for f in sorted(FOLDER.glob("*.json"))}
LEAST = 15  # seconds of the past that are shown
OVER_TIME = {"timeseries", "state-timeline"}

ALL = "*"
# What the demo cannot show, and the other daemon does: a board, and a panel or all of them.
NOT_IN_THE_DEMO = {
    ("host", "RAM besides its pool"): "its RAM is a number, and no kernel's",
    ("host", "Standing still for memory"): "its RAM is a number, and no kernel's",
    ("host", "Pages that come back"): "its RAM is a number, and no kernel's",
    ("host", "Killed, and close to it"): "its RAM is a number, and no kernel's",
    ("host", "Who has $pool"): "none of its pools has a budget",
    ("host", "Configuration and journal"): "it has no file that could be read again",
    ("gateway", ALL): "it has no gateway",
    ("fleet", ALL): "it is in no fleet",
    ("hardware", ALL): "no driver tells of its GPUs",
}
# What the demo shows or does not, as it comes.
SOMETIMES = {("models", "Wanted and there"): "who is wanted is soon there"}
# What neither shows, and why: a metric of a query.
EMPTY = {
    "ullage_traces_sent_total": "no collector of traces is configured",
    "ullage_traces_lost_total": "no collector of traces is configured",
    **dict.fromkeys(
        (
            "ullage_gateway_placements_total",
            "ullage_gateway_placement_seconds",
            "ullage_gateway_elsewhere_in_flight",
            "ullage_gateway_elsewhere_failures_total",
        ),
        "neither is in a fleet",
    ),
    "ullage_memory_device_limit_bytes": "a GPU that shares the RAM has it, and neither has one",
    "ullage_memory_device_used_bytes": "a GPU that shares the RAM has it, and neither has one",
}
# What depends on the machine that the tests run on.
PERHAPS = {
    "ullage_host_memory_limit_bytes": "whether a control group limits us",
    "ullage_host_compressed_memory_bytes": "whether it has zram",
    "ullage_host_memory_stalled_seconds_total": "whether its kernel counts stalls",
    "ullage_host_swap_bytes": "whether it tells of swap",
    "ullage_host_oom_kills_total": "whether it counts them for us",
}


@dataclass
class Answers:
    """By board, panel's or mark's title, and expression: what was answered."""

    start: float
    end: float
    found: dict[tuple[str, str, str], list[Series]] = field(default_factory=dict)

    def empty(self) -> set[tuple[str, str, str]]:
        return {key for key, series in self.found.items() if not any(map(_told, series))}

    def of(self, board: str, title: str) -> list[list[Series]]:
        return [s for (b, t, _), s in self.found.items() if (b, t) == (board, title)]


def _told(series: Series) -> bool:
    return any(not math.isnan(value) for _, value in series[1])


async def ask(
    prometheus: Prometheus,
    instance: str,
    start: float,
    end: float,
    pool: str = ".+",
    boards: Collection[str] = BOARDS,
) -> Answers:
    """All that Grafana would ask while `boards` show `instance`, and of it `pool`."""
    answers = Answers(start, end)
    for name in boards:
        board = BOARDS[name]
        types = {p["title"]: p["type"] for p in panels(board)}
        bars = {p["title"] for p in panels(board) if "interval" in p}
        for title, expr, _ in asked(board):
            if title in variables(board):
                continue
            over_time = types.get(title, "timeseries") in OVER_TIME
            # Bars stand side by side, up to the end; each looks back to the scrape before it.
            step = 5.0 if title in bars else 1.0
            back = "6s" if title in bars else "5s"
            first = end - step * math.ceil((end - start) / step) if title in bars else start
            shown = f"{max(math.ceil(end - start), LEAST)}s"
            chosen = {"instance": instance, "job": "ullage", "pool": pool}
            query = filled(expr, chosen, back if over_time else shown, shown)
            found = (
                await prometheus.over(query, first, end, step)
                if over_time
                else await prometheus.now(query, end)
            )
            answers.found[name, title, expr] = found
    return answers


@dataclass
class Seen:
    """`demo` and `card` while both ran, each by itself; `fleet`, both at once; `pool`, one of the
    card's; `after`, what the fleet is when the demo has ended."""

    demo: Answers
    card: Answers
    fleet: Answers
    pool: Answers
    after: Answers
    sums: list[Series]
    answered: int  # seconds in which the card's daemon could be scraped


async def watched(folder: Path, library: Path) -> Seen:
    async with machine(folder, library) as card, AsyncExitStack() as stack:
        url = await stack.enter_async_context(demo())
        targets = {"demo": url, "card": card.daemon.url}
        async with Prometheus(folder / "prometheus", targets, RULES) as prometheus:
            await prometheus.until("count(up == 1) == 2")
            start = time.time()
            await card.lives(prometheus)
            await prometheus.until('sum(ullage_evictions_total{instance="demo"}) > 2')
            await prometheus.until("count(up == 1) == 2")
            end = time.time()
            each = [await ask(prometheus, one, start, end) for one in ("demo", "card")]
            each.append(await ask(prometheus, ".+", start, end, boards=["overview"]))
            each.append(await ask(prometheus, "card", start, end, GPU, ["host"]))
            sums = await prometheus.over(OWNED, start, end)
            ((_, answered),) = await prometheus.over('up{instance="card"} == 1', start, end)
            await stack.aclose()
            await prometheus.until('up{instance="demo"} == 0')
            now = time.time()
            after = await ask(prometheus, ".+", now, now, boards=["overview", "models"])
            return Seen(*each, after, sums, len(answered))


# What all owners have and what is free, less all there is: 0, or the stack lies.
OWNED = (
    "sum by (instance, pool) (ullage_memory_attributed_bytes)"
    " + sum by (instance, pool) (ullage_memory_free_bytes)"
    " - sum by (instance, pool) (ullage_memory_capacity_bytes)"
)


def test_every_panel_is_answered_by_daemons_that_run(tmp_path: Path, nvml_library: Path) -> None:
    seen = asyncio.run(watched(tmp_path, nvml_library))
    everything_is_answered(seen)
    states_are_those_of_models(seen.card, seen.answered)
    the_fleet_is_told_apart(seen)
    assert {value for _, points in seen.sums for _, value in points} == {0.0}
    assert len(seen.sums) >= 6  # pools
    for name in BOARDS:
        drawn_as_grafana_would(name, seen, tmp_path)


def everything_is_answered(seen: Seen) -> None:
    def meant(key: tuple[str, str, str], metrics: dict[str, str]) -> bool:
        return any(metric in key[2] for metric in metrics)

    lacks = {k for k in seen.demo.empty() if not meant(k, EMPTY)}
    places = {(board, title) for board, title, _ in lacks}
    known = {(b, ALL) if (b, ALL) in NOT_IN_THE_DEMO else (b, t) for b, t in places}
    assert known - set(SOMETIMES) == set(NOT_IN_THE_DEMO)
    empty = seen.card.empty()
    assert {k for k in empty if not meant(k, EMPTY | PERHAPS)} == set()
    assert all(any(metric in k[2] for k in empty) for metric in EMPTY)


def states_are_those_of_models(card: Answers, answered: int) -> None:
    """A model that was there and is not any more has gone from the one to the other, no gap."""
    (series,) = card.of("models", "Where each model was")
    named = {labels["model"]: [value for _, value in points] for labels, points in series}
    assert set(named) == {"a", "b", "x"}
    (panel,) = (p for p in panels(BOARDS["models"]) if p["title"] == "Where each model was")
    words = {float(n) for n in panel["fieldConfig"]["defaults"]["mappings"][0]["options"]}
    assert set().union(*named.values()) <= words
    assert all({0.0, 2.0} <= set(values) for values in named.values()), named
    assert {len(values) for values in named.values()} == {answered}
    ((marked,),) = ([s] for s in card.of("models", "Evictions"))
    assert any(value == 1 for _, points in marked for _, value in points)


def the_fleet_is_told_apart(seen: Seen) -> None:
    """A host whose daemon has ended is in the table, is counted, and shows nothing else."""
    whole, lines, *_ = seen.fleet.of("overview", "Hosts"), seen.after.of("overview", "Hosts")
    assert [_instances(answer) for answer in whole] == [{"demo", "card"}] * len(whole)
    assert _instances(lines[0]) == {"demo", "card"}
    assert {i for answer in lines[1:] for i in _instances(answer)} == {"card"}
    (((_, [(_, gone)]),),) = seen.after.of("overview", "Hosts that do not answer")
    assert gone == 1
    (((_, [(_, before)]),),) = seen.fleet.of("overview", "Hosts that do not answer")
    assert before == 0
    # It has no model that "is not there": nobody knows.
    (after,) = seen.after.of("models", "Where each model was")
    assert _instances(after) == {"card"}


def _instances(answer: list[Series]) -> set[str]:
    return {labels["instance"] for labels, _ in answer}


def drawn_as_grafana_would(name: str, seen: Seen, folder: Path) -> None:
    pytest.importorskip("matplotlib")
    from tests.dashboards import drawn

    found = {"overview": seen.fleet, "models": seen.demo, "host": seen.pool}.get(name, seen.card)
    answers = {p["title"]: found.of(name, p["title"]) for p in panels(BOARDS[name])}
    (marked,) = found.of(name, "Evictions")
    marks = [b[0] for _, ps in marked for a, b in pairwise(ps) if a[1] < b[1]]
    file = folder / f"{name}.png"
    drawn.picture(BOARDS[name], answers, drawn.Shown(found.start, found.end, marks), file)
    assert file.stat().st_size > 20_000
