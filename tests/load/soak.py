"""One run: at rest, under load, at rest again; and what came of it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from psutil import Process

from tests.daemon import Daemon

from .census import grown
from .churn import Churn
from .clients import Crowd, percentile
from .hours import BOUNDS
from .inside import BEAT
from .judges import GROWTH, LAG, Verdict, growth, returned, spread
from .machine import Machine
from .outside import MIB, Outside, write
from .picture import draw

LOOK_EVERY = 3.0
POLL = 0.5
RAMP = 25.0  # seconds in which the clients come
WORDS = 12  # of an answer, on average, one each second
SETTLED = 30.0  # seconds after the load: pooled connections are let go of by then
KEPT = 300  # entries; what grows by more has a bound of its own
ALONE = 2.0 * (os.cpu_count() or 1)  # load average above which lag is not ours alone

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
    outside: Outside
    beats: list[dict[str, Any]]
    seconds: float
    answered_s: float
    state: dict[str, Any]
    decisions: int
    began: float


async def soak(
    folder: Path,
    library: Path,
    out: Path,
    *,
    seconds: float,
    rest: float,
    streams: int,
    seed: int = 1,
    stacks: bool = False,
    nice: int = 0,
) -> Figures:
    machine = Machine(folder)
    async with machine:
        state = folder / "s"
        state.mkdir()
        machine.learned(state / "journal.db")
        probe = out / "probe.jsonl"
        probe.unlink(missing_ok=True)
        env = machine.cards.driver.env(library) | {"PROBE": str(probe)}
        env |= {"PROBE_STACKS": "1"} if stacks else {}
        inside = (sys.executable, "-m", "tests.load.inside")
        async with Daemon(state, machine.config(), env, program=inside) as daemon:
            if nice:
                for process in (daemon.pid, *(c.pid for c in Process(daemon.pid).children())):
                    os.setpriority(os.PRIO_PROCESS, process, nice)
                    for thread in os.listdir(f"/proc/{process}/task"):
                        os.setpriority(os.PRIO_PROCESS, int(thread), nice)
            run = await _loaded(daemon, machine, probe, seconds, rest, streams, seed)
    (out / "log").write_text(daemon.log)
    write(run.outside.rows, out / "rows.jsonl")
    title = f"{streams} streams at once, 20 engines, 200 models, 8 GPUs, {seconds / 60:g} min"
    draw(run.outside.rows, run.beats, out, title)
    figures = judged(run, title)
    (out / "figures.json").write_text(
        json.dumps({"title": title, "table": figures.table, "wrong": figures.wrong}, indent=1)
    )
    return figures


async def _loaded(
    daemon: Daemon,
    machine: Machine,
    probe: Path,
    seconds: float,
    rest: float,
    streams: int,
    seed: int,
) -> Run:
    outside = Outside(daemon.pid, daemon.folder / "journal.db")
    wall = time.time()
    gateway = (await daemon.state())["gateway"]["addresses"][0]
    hot = [e.models[i] for e in machine.engines for i in range(1)]
    tail = [m for e in machine.engines for m in e.models[1:]]
    crowd = Crowd(gateway, hot, tail, WORDS, seed)
    churn = Churn(daemon, machine, tail, seed)

    def told() -> tuple[int, int, int]:
        loaded = sum(len(e.loaded) for e in machine.engines)
        return crowd.told.open, loaded, sum(crowd.told.endings.values())

    watching = asyncio.create_task(outside.watch(LOOK_EVERY, told))
    # What every daemon has after its first requests, it has before they count.
    crowd.begin(20, 2.0)
    churn.begin()
    await churn.fill()
    await asyncio.sleep(min(25.0, rest))
    await churn.end()
    await crowd.end()
    await _quiet(daemon, machine)
    await asyncio.sleep(min(SETTLED, rest))
    await _counted(daemon, probe)
    outside.phase = "rest"
    await asyncio.sleep(rest)

    outside.phase = "ramp"
    crowd.begin(streams, RAMP)
    churn.begin()
    await asyncio.sleep(RAMP + POLL)
    outside.phase = "load"
    before, began = sum(crowd.told.endings.values()), time.monotonic()
    await asyncio.sleep(seconds)
    answered_s = (sum(crowd.told.endings.values()) - before) / (time.monotonic() - began)
    await _counted(daemon, probe)
    outside.phase = "end"
    await churn.end()
    await crowd.end()
    await _quiet(daemon, machine)
    await asyncio.sleep(min(SETTLED, rest))
    outside.phase = "after"
    await asyncio.sleep(rest)
    await _counted(daemon, probe)
    watching.cancel()
    state = await daemon.state()
    text = (await daemon.client.get("/metrics")).text
    found = re.findall(r"^ullage_decisions_total\{[^}]*\} ([0-9.e+]+)", text, re.MULTILINE)
    beats = _beats(probe, wall)
    return Run(
        daemon, machine, crowd, churn, outside, beats, seconds, answered_s, state,
        round(sum(float(n) for n in found)), outside.began,
    )  # fmt: skip


async def _quiet(daemon: Daemon, machine: Machine) -> None:
    """Nobody is loaded, and nothing is under way."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for engine in machine.engines:
            for model in list(engine.loaded):
                engine.drop(model)
        state = await daemon.state()
        if not state["running"] and not state["models"]:
            return
        await asyncio.sleep(POLL)


def _censuses(probe: Path) -> int:
    return probe.read_text().count('"census"')


def _beats(probe: Path, wall: float) -> list[dict[str, Any]]:
    """What the probe said, its times in seconds since `wall`."""
    beats: list[dict[str, Any]] = [json.loads(line) for line in probe.read_text().splitlines()]
    return [beat | {"at": beat["at"] - wall} for beat in beats]


async def _counted(daemon: Daemon, probe: Path) -> None:
    """Until the probe has told the census."""
    seen = _censuses(probe)
    probe.with_suffix(".wish").touch()
    deadline = time.monotonic() + 60
    while _censuses(probe) == seen:
        assert time.monotonic() < deadline, daemon.log[-5000:]
        await asyncio.sleep(POLL)


def judged(run: Run, title: str) -> Figures:
    figures = Figures(title)
    rows, told, churn = run.outside.rows, run.crowd.told, run.churn
    at = {p: [r for r in rows if r.phase == p] for p in ("rest", "load", "after")}
    span = {p: (r[0].at, r[-1].at) for p, r in at.items()}
    beats = {p: [b for b in run.beats if a <= b["at"] <= z] for p, (a, z) in span.items()}
    late = {p: [x for b in found for x in b["late"]] for p, found in beats.items()}
    busy = {p: [x for b in found for x in b["busy"]] for p, found in beats.items()}
    lag = {p: spread(found, 1000 * BEAT) for p, found in late.items()}
    own = {p: spread(found, 1000 * BEAT) for p, found in busy.items()}
    median = {
        what: {
            p: percentile([float(getattr(r, what)) for r in found], 0.5) for p, found in at.items()
        }
        for what in ("rss", "anon")
    }
    # Before the load what is usual, for between two looks all connections to engines may be closed;
    # after it the least of each: what is there for a moment, at a look or a request, is no leak.
    usual = {k: round(percentile([float(getattr(r, k)) for r in at["rest"]], 0.5)) for k in KINDS}
    least = {k: min(getattr(r, k) for r in at["after"]) for k in KINDS}
    tasks = {p: min(b["tasks"] for b in found) for p, found in beats.items()}
    per_hour = growth(rows)
    cores = {p: (r[-1].cpu - r[0].cpu) / (r[-1].at - r[0].at) for p, r in at.items()}

    def ms(values: list[float]) -> str:
        return " / ".join(f"{percentile(values, q):.1f}" for q in (0.5, 0.99, 0.999, 1.0))

    add = figures.table.append
    add(("requests, by their end", ", ".join(f"{k} {n}" for k, n in told.endings.most_common())))
    add(("refused, by status", ", ".join(f"{k}: {n}" for k, n in told.statuses.most_common())))
    add(("at once, at most", str(told.most)))
    add(("answers a second under load", f"{run.answered_s:.1f}"))
    firsts = [1000 * s for s in told.firsts]
    add(("milliseconds to the first word, p50/p99/p99.9/max", ms(firsts)))
    for what, found in churn.took.items():
        add((f"{what}: ms, p50/p99/p99.9/max of {len(found)}", ms([1000 * s for s in found])))
    add(("decisions", str(run.decisions)))
    add(("churn", ", ".join(f"{k} {n}" for k, n in sorted(churn.done.items()))))
    for p in ("rest", "load", "after"):
        load = mean(r.load for r in at[p])
        add((f"loop lag, {p}: ms, p50/p99/p99.9/max", f"{ms(lag[p])}; load average {load:.1f}"))
        add((f"  of it our own work, {p}", ms(own[p])))
        add((f"processor, {p}", f"{100 * cores[p]:.1f} % of a core"))
        add(
            (
                f"anonymous / resident MiB, {p}",
                f"{median['anon'][p] / MIB:.1f} / {median['rss'][p] / MIB:.1f}",
            )
        )
    add(("anonymous memory grows, MiB an hour", f"{per_hour / MIB:.1f}"))
    add(("most resident", f"{max(r.rss for r in rows) / MIB:.1f} MiB"))
    add(("journal", f"{rows[-1].journal / MIB:.1f} MiB"))
    add(("garbage collected, seconds in all", f"{run.beats[-1]['collected']:.2f}"))

    add(("longest pause for garbage, ms", f"{max(b['pause'] for b in beats['load']):.1f}"))
    census = [b for b in run.beats if "census" in b]
    entries = [Counter(b["census"]["entries"]) for b in census]
    objects = [Counter(b["census"]["objects"]) for b in census]
    left = grown(entries[0], entries[-1], KEPT)
    left = {k: v for k, v in left.items() if v[1] > BOUNDS.get(k, 0)}
    add(("tasks under load, at most", str(max(b["tasks"] for b in beats["load"]))))
    for b, name in zip(census, ("before", "under load", "after"), strict=True):
        add((f"tasks {name}", ", ".join(f"{k} {n}" for k, n in sorted(b["named"].items()))))
    for name, seen in (("entries", entries), ("objects", objects)):
        more = grown(seen[0], seen[-1], 20).items()
        figures.wrong += [f"more {name}: {k}: {a} -> {b}" for k, (a, b) in sorted(more)]
    figures.wrong += [f"stack: {n} x {s}" for s, n in census[-1]["stacks"][:25]]

    judge = figures.verdicts.append
    judge(
        Verdict(
            "memory flat", per_hour < GROWTH, f"{per_hour / MIB:.1f} of {GROWTH / MIB:.0f} MiB/h"
        )
    )
    for what, slack in (("files", 2), ("threads", 0), ("children", 0)):
        judge(returned(usual[what], least[what], what, slack))
    judge(returned(tasks["rest"], tasks["after"], "tasks"))
    alone = mean(r.load for r in at["load"]) <= ALONE
    p99 = percentile((lag if alone else own)["load"], 0.99)
    more = "" if alone else ", of our own work: others keep this machine busy"
    judge(Verdict("loop lag p99", p99 < LAG, f"{p99:.1f} ms of {LAG:.0f}{more}"))
    judge(Verdict("containers bounded", not left, ", ".join(sorted(left)[:6])))
    wrong = [*told.wrong, *_unexplained(run)]
    judge(Verdict("each request answered once", not wrong, f"{len(wrong)} were not"))
    twice = [
        f"{e.name}: {n} {c} times"
        for e in run.machine.engines
        for n, c in e.served.items()
        if c > 1
    ]
    judge(Verdict("none reached an engine twice", not twice, ", ".join(twice[:3])))
    behind = sum(e.behind_us for e in run.machine.engines)
    judge(Verdict("sent only to who is loaded", True, f"{behind} were late"))
    judge(
        Verdict(
            "no GPU overbooked", not run.machine.cards.over, "; ".join(run.machine.cards.over[:3])
        )
    )
    read = churn.done["events read"]
    judge(Verdict("events were read", read > 0, f"{read}"))
    judge(Verdict("operators were answered", not churn.wrong, "; ".join(churn.wrong[:3])))
    gateway = run.state["gateway"]
    judge(
        Verdict(
            "nobody left", not (gateway["in_flight"] or gateway["held"] or run.state["running"]), ""
        )
    )
    bugs = [line for line in run.daemon.lines if BUGS.search(line)]
    judge(Verdict("nothing unexpected in the log", not bugs, "; ".join(bugs[:3])))
    figures.wrong += [f"request: {w}" for w in wrong[:30]]
    figures.wrong += [f"churn: {w}" for w in churn.wrong[:10]]
    figures.wrong += [f"overbooked: {w}" for w in run.machine.cards.over[:100]]
    return figures


def _unexplained(run: Run) -> list[str]:
    """Answers that broke off with words, more of them than engines that went away can explain."""
    told, away = run.crowd.told, len(run.churn.away)
    broken = told.endings["told"]
    return [f"{broken} broke off, and no engine went away"] if broken and not away else []
