"""What came of a soak: figures, and whether what must hold did."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from tests.daemon import Daemon

from .census import grown
from .churn import Churn
from .clients import Asked, Crowd, percentile
from .hours import BOUNDS
from .inside import BEAT
from .judges import GROWTH, LAG, Verdict, climb, growth, returned, spread
from .machine import Machine
from .orders import Orders
from .outside import MIB, Outside

KEPT = 300  # entries; what grows by more has a bound of its own
ALONE = 2.0 * (os.cpu_count() or 1)  # load average above which lag is not ours alone
RESIDENT = 200 * MIB  # at most, with a thousand streams
REFUSED = 0.005  # of the requests for models that are always wanted, beside those that were gone
LONG = 900.0  # seconds of load from which on it shows whether memory is flat
AFTER = 5.0  # seconds for which an engine that is back, or a GPU, may still be an excuse
RELOADED = 30.0  # and in which its models are loaded again, one after the other

ALIVE = (
    ("blocks", 1000, "objects of up to 512 bytes, thousands"),
    ("used", MIB, "larger ones, MiB"),
    ("held", MIB, "held for larger ones, MiB"),
)
KINDS = ("files", "threads", "children")
BUGS = re.compile(r"Traceback|internal error|exception was never retrieved|never awaited|CRITICAL")


@dataclass
class Figures:
    title: str
    table: list[tuple[str, str]] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        return all(verdict.ok for verdict in self.verdicts)


@dataclass
class Run:
    """All there is of one."""

    daemon: Daemon
    machine: Machine
    crowd: Crowd
    churn: Churn
    orders: Orders
    outside: Outside
    beats: list[dict[str, Any]]
    streams: int
    seconds: float
    answered_s: float
    state: dict[str, Any]
    decisions: int
    began: float


def ms(values: list[float]) -> str:
    return " / ".join(f"{percentile(values, q):.1f}" for q in (0.5, 0.99, 0.999, 1.0))


def judged(run: Run, title: str) -> Figures:
    figures = Figures(title)
    rows = run.outside.rows
    at = {p: [r for r in rows if r.phase == p] for p in ("rest", "load", "after")}
    span = {p: (r[0].at, r[-1].at) for p, r in at.items()}
    beats = {p: [b for b in run.beats if a <= b["at"] <= z] for p, (a, z) in span.items()}
    _of_requests(run, figures)
    _of_engines(run, figures)
    _of_operators(run, figures)
    _of_process(run, figures, at, beats)
    _of_containers(run, figures)
    return figures


def _of_requests(run: Run, figures: Figures) -> None:
    told, churn, add, judge = run.crowd.told, run.churn, figures.table.append, figures.verdicts
    add(("requests, by their end", ", ".join(f"{k} {n}" for k, n in told.endings.most_common())))
    add(("refused, by status", ", ".join(f"{k}: {n}" for k, n in told.statuses.most_common())))
    add(("at once, at most", str(told.most)))
    add(("answers a second under load", f"{run.answered_s:.1f}"))
    add(
        (
            "milliseconds to the first word, p50/p99/p99.9/max",
            ms([1000 * s for s in told.firsts]),
        )
    )
    for what, found in churn.took.items():
        add((f"{what}: ms, p50/p99/p99.9/max of {len(found)}", ms([1000 * s for s in found])))
    add(("decisions", str(run.decisions)))
    add(("orders to engines", str(len(run.orders))))
    add(("churn", ", ".join(f"{k} {n}" for k, n in sorted(churn.done.items()))))
    judge.append(
        Verdict("requests at once", told.most >= run.streams, f"{told.most} of {run.streams}")
    )
    judge.append(
        Verdict("each request answered once", not told.wrong, f"{len(told.wrong)} were not")
    )
    figures.wrong += [f"request: {w}" for w in told.wrong[:30]]
    broken = [a for a in told.broken if not _was_away(run, a, AFTER)]
    said = f"{len(told.broken)} did, {len(broken)} of them where no engine went away"
    judge.append(Verdict("answers break off where engines do", not broken, said))
    figures.wrong += [f"broke off: {a.model} {a.number}" for a in broken[:10]]
    refused = [a for a in told.refused if not _was_away(run, a, RELOADED) and not _was_dark(run, a)]
    most = REFUSED * told.hot
    said = f"{len(refused)} of {told.hot} refused, {most:.0f} may be; {len(told.refused)} in all"
    judge.append(Verdict("who is always wanted is served", len(refused) <= most, said, timed=True))


def _was_away(run: Run, asked: Asked, after: float) -> bool:
    """Its engine was, for a while of its time, or not long before."""
    name = f"e{asked.model[1:3]}"
    return any(
        n == name and asked.at < z + after and asked.ended >= a for n, a, z in run.churn.away
    )


def _was_dark(run: Run, asked: Asked) -> bool:
    """Its GPU could not be read."""
    gpu = run.machine.engines[int(asked.model[1:3])].gpu
    return any(
        g == gpu and asked.at < z + RELOADED and asked.ended >= a for g, a, z in run.churn.lost
    )


def _of_process(
    run: Run, figures: Figures, at: dict[str, list[Any]], beats: dict[str, list[Any]]
) -> None:
    rows, add, judge = run.outside.rows, figures.table.append, figures.verdicts
    late = {p: [x for b in found for x in b["late"]] for p, found in beats.items()}
    busy = {p: [x for b in found for x in b["busy"]] for p, found in beats.items()}
    lag = {p: spread(found, 1000 * BEAT) for p, found in late.items()}
    own = {p: spread(found, 1000 * BEAT) for p, found in busy.items()}
    cores = {p: (r[-1].cpu - r[0].cpu) / (r[-1].at - r[0].at) for p, r in at.items()}
    for p, found in at.items():
        add(
            (
                f"loop lag, {p}: ms, p50/p99/p99.9/max",
                f"{ms(lag[p])}; load average {mean(r.load for r in found):.1f}",
            )
        )
        add((f"  of it our own work, {p}", ms(own[p])))
        add((f"processor, {p}", f"{100 * cores[p]:.1f} % of a core"))
        sizes = (percentile([float(getattr(r, k)) for r in found], 0.5) for k in ("anon", "rss"))
        text = " / ".join(f"{size / MIB:.1f}" for size in sizes)
        add((f"anonymous / resident MiB, {p}", text))
    per_hour, most = growth(rows), max(r.rss for r in rows)
    add(("anonymous memory grows, MiB an hour", f"{per_hour / MIB:.1f}"))
    for what, unit, words in ALIVE:
        found = [(b["at"], b["alive"][what] / unit) for b in beats["load"] if what in b["alive"]]
        if found:
            said = f"{found[0][1]:.1f} first, {found[-1][1]:.1f} last, {climb(found):+.1f} an hour"
            add((words, said))
    add(("most resident", f"{most / MIB:.1f} MiB"))
    add(("journal", f"{rows[-1].journal / MIB:.1f} MiB"))
    add(("garbage collected, seconds in all", f"{run.beats[-1]['collected']:.2f}"))
    add(("longest pause for garbage, ms", f"{max(b['pause'] for b in beats['load']):.1f}"))
    add(("tasks under load, at most", str(max(b["tasks"] for b in beats["load"]))))

    if run.seconds >= LONG:  # in less, what has a bound only fills up
        said = f"{per_hour / MIB:.1f} of {GROWTH / MIB:.0f} MiB/h"
        judge.append(Verdict("memory flat", per_hour < GROWTH, said))
    said = f"{most / MIB:.0f} of {RESIDENT / MIB:.0f} MiB"
    judge.append(Verdict("memory small", most < RESIDENT, said))
    # Before the load what is usual, for between two looks all connections to engines may be closed;
    # after it the least of each: what is there for a moment, at a look or a request, is no leak.
    usual = {k: round(percentile([float(getattr(r, k)) for r in at["rest"]], 0.5)) for k in KINDS}
    least = {k: min(getattr(r, k) for r in at["after"]) for k in KINDS}
    tasks = {p: min(b["tasks"] for b in found) for p, found in beats.items()}
    for what, slack in (("files", 2), ("threads", 0), ("children", 0)):
        judge.append(returned(usual[what], least[what], what, slack))
    judge.append(returned(tasks["rest"], tasks["after"], "tasks"))
    alone = mean(r.load for r in at["load"]) <= ALONE
    p99 = percentile((lag if alone else own)["load"], 0.99)
    more = "" if alone else ", of our own work: others keep this machine busy"
    said = f"{p99:.1f} ms of {LAG:.0f}{more}"
    judge.append(Verdict("loop lag p99", p99 < LAG, said, timed=True))


def _of_containers(run: Run, figures: Figures) -> None:
    census = [b for b in run.beats if "census" in b]
    entries = [Counter(b["census"]["entries"]) for b in census]
    objects = [Counter(b["census"]["objects"]) for b in census]
    for b, name in zip(census, ("before", "under load", "after"), strict=True):
        tasks = ", ".join(f"{k} {n}" for k, n in sorted(b["named"].items()))
        figures.table.append((f"tasks {name}", tasks))
    for name, seen in (("entries", entries), ("objects", objects)):
        more = grown(seen[0], seen[-1], 20).items()
        figures.wrong += [f"more {name}: {k}: {a} -> {b}" for k, (a, b) in sorted(more)]
    figures.wrong += [f"stack: {n} x {s}" for s, n in census[-1]["stacks"][:25]]
    left = grown(entries[0], entries[-1], KEPT)
    left = {k: v for k, v in left.items() if v[1] > BOUNDS.get(k, 0)}
    figures.verdicts.append(Verdict("containers bounded", not left, ", ".join(sorted(left)[:6])))


def _of_engines(run: Run, figures: Figures) -> None:
    judge, machine, orders = figures.verdicts.append, run.machine, run.orders
    broken = orders.broken()
    said = f"{len(orders)} orders, {len(broken)} breaches"
    judge(Verdict("engines are told nothing wrong", bool(orders) and not broken, said))
    figures.wrong += [f"order: {words}" for words in broken[:30]]
    twice = [
        f"{e.name}: {n} {c} times" for e in machine.engines for n, c in e.served.items() if c > 1
    ]
    judge(Verdict("none reached an engine twice", not twice, ", ".join(twice[:3])))
    behind = [(e.name, at) for e in machine.engines for at in e.behind_us]
    astray = [b for b in behind if not _excused(run.churn.away, *b)]
    said = f"{len(behind)} found no model, {len(astray)} where no engine went away"
    judge(Verdict("sent only to who is loaded", not astray, said))
    over = machine.cards.over
    judge(Verdict("no GPU overbooked", not over, "; ".join(over[:3])))
    figures.wrong += [f"overbooked: {w}" for w in over[:100]]


def _excused(away: Iterable[tuple[str, float, float]], engine: str, at: float) -> bool:
    return any(n == engine and a <= at < z + AFTER for n, a, z in away)


def _of_operators(run: Run, figures: Figures) -> None:
    judge, churn = figures.verdicts.append, run.churn
    read = churn.done["events read"]
    judge(Verdict("events were read", read > 0, f"{read}"))
    judge(Verdict("operators were answered", not churn.wrong, "; ".join(churn.wrong[:3])))
    figures.wrong += [f"churn: {w}" for w in churn.wrong[:10]]
    due = [job.__name__ for seconds, job in churn.jobs if 3 * seconds < run.seconds]
    missing = [name for name in due if not churn.done[name]]
    judge(Verdict("all of the churn came", not missing, ", ".join(missing)))
    gateway = run.state["gateway"]
    busy = gateway["in_flight"] or gateway["held"] or run.state["running"]
    judge(Verdict("nobody left", not busy, ""))
    bugs = [line for line in run.daemon.lines if BUGS.search(line)]
    judge(Verdict("nothing unexpected in the log", not bugs, "; ".join(bugs[:3])))
