"""Alerts by the thousand, half of them told again, about GPUs whose models may go for them."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any

import httpx

from supervisor.config.alerted import AlertsConfig
from tests.daemon import Daemon
from tests.faults.history import Deed, History
from tests.faults.invariants import i8

from .churn import firing
from .clients import percentile
from .found import Found, ms
from .machine import RESERVE, TOTAL, Machine
from .outside import MIB, rollup

DELIVERIES, AT_ONCE = 10_000, 4
AGAIN, GARBAGE = 0.5, 0.01  # of them
ANSWER = 50.0  # milliseconds, 99 of 100
LIMIT = AlertsConfig().limit.count  # actions, in a longer time than this takes
GROWTH = 20 * MIB
BETWEEN, FEW = 1.0, 3  # seconds; models of each engine that are loaded, more than may stay
ABOUT = re.compile(r"Full-(\d+)")


def bodies(dice: Random, gpus: int) -> list[Any]:
    told: list[dict[str, Any]] = []
    found: list[Any] = []
    for number in range(DELIVERIES):
        if dice.random() < GARBAGE:
            found.append({"alerts": "none"})
        elif told and dice.random() < AGAIN:
            found.append(dice.choice(told[-200:]))
        else:
            told.append(firing(number, f"GPU-{number % gpus:04d}"))
            found.append(told[-1])
    return found


async def _fills(daemon: Daemon, machine: Machine) -> None:
    """There is always somebody loaded who may go, until cancelled."""
    while True:
        for engine in machine.engines:
            gone = [m for m in engine.models if engine.is_doing(m) == "gone"]
            if gone and len(engine.models) - len(gone) < FEW:
                with suppress(httpx.HTTPError):
                    await daemon.post("load", {"model": gone[0], "wait": False})
        await asyncio.sleep(BETWEEN)


async def many_alerts(daemon: Daemon, machine: Machine, seed: int, found: Found) -> None:
    took: list[float] = []
    codes: Counter[int] = Counter()
    unloads: list[str] = []
    gpus = len({engine.gpu for engine in machine.engines})
    sent = bodies(Random(seed), gpus)
    garbage = sum(body["alerts"] == "none" for body in sent)
    queue = iter(sent)
    for engine in machine.engines:
        engine.told = lambda kind, model: unloads.append(model) if kind == "unload" else None

    async def one() -> None:
        for body in queue:
            began = time.perf_counter()
            reply = await daemon.client.post("/api/v1/alerts", json=body, timeout=30.0)
            took.append(time.perf_counter() - began)
            codes[reply.status_code] += 1

    filling = asyncio.create_task(_fills(daemon, machine))
    while not all(len(engine.loaded) >= FEW for engine in machine.engines):
        await asyncio.sleep(BETWEEN)
    await daemon.wait(lambda s: not s["running"])
    unloads.clear()
    before, began = rollup(daemon.pid)[1], time.monotonic()
    await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    lasted = time.monotonic() - began
    grown = rollup(daemon.pid)[1] - before
    filling.cancel()
    await daemon.wait(lambda s: not s["running"])
    found.add(f"{DELIVERIES} alerts, {AT_ONCE} at once", f"{DELIVERIES / lasted:.0f} a second")
    found.add("  their answers: ms, p50/p99/max", ms(took))
    found.add("  their answers", ", ".join(f"{k}: {n}" for k, n in sorted(codes.items())))
    found.add("  the daemon's own memory", f"{grown / MIB:+.1f} MiB")
    slowest = 1000 * percentile(took, 0.99)
    found.judge("alerts are answered at once", slowest < ANSWER, f"{slowest:.1f} of {ANSWER:g} ms")
    found.judge("what is no alert is refused", codes[422] + codes[400] == garbage, f"{garbage}")
    counts = {k: n for k, n in (await daemon.get("alerts"))["counts"].items() if n}
    found.add("  what became of them", ", ".join(f"{k} {n}" for k, n in counts.items()))
    judge(decided(daemon.folder / "journal.db"), len(unloads), found)
    found.judge("memory is bounded", grown < GROWTH, f"{grown / MIB:+.1f} MiB")


def decided(journal: Path) -> list[dict[str, Any]]:
    """Every decision that an alert has caused, as it is on disk."""
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT body FROM decisions ORDER BY rowid").fetchall()
    found = [json.loads(body) for (body,) in rows]
    return [decision for decision in found if ABOUT.search(decision["cause"])]


def judge(decisions: list[dict[str, Any]], unloads: int, found: Found) -> None:
    """Each alert has at most one decision; some act, and no more of them than may."""
    history = History(0.0, RESERVE, TOTAL)
    for decision in decisions:
        (number,) = set(ABOUT.findall(decision["cause"]))
        history.deeds.append(Deed(decision["at"], f"alert {number}", decision["id"]))
    twice = list(i8(history))
    said = f"{len(decisions)} decisions{': ' if twice else ''}{'; '.join(twice[:3])}"
    found.judge("an alert is decided once", bool(decisions) and not twice, said)
    acted = [d for d in decisions if d["actions"]]
    found.judge("some of them act", bool(acted) and unloads > 0, f"{unloads} unloads")
    found.judge("no more than is allowed", len(acted) <= LIMIT, f"{len(acted)} of {LIMIT}")
