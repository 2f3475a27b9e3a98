"""`python -m tests.load.storms [--out FOLDER]`: clients by the hundred that never say a whole
request, and alerts by the thousand. Prints a table, exits with 1 where anything did not hold.

Beside each storm the same good traffic as before it: what it costs them is measured in one run.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
import uvloop
from rich.console import Console
from rich.table import Table

from supervisor.app import more_files
from supervisor.config.alerted import AlertsConfig
from tests.daemon import Daemon
from tests.nvml.fake_nvml import build, compiler

from .churn import firing
from .clients import Crowd, percentile
from .judges import Verdict
from .machine import Machine
from .outside import MIB, rollup

EACH = 500  # connections of each kind
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
JSON = b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
KINDS = {  # what is said of a request, and in how many seconds its client is let go
    "nothing": (b"", 10.0),
    "half a head": (POST + b"X-Half: ", 10.0),
    "half a body": (POST + JSON, 30.0),
}
SLACK = 3.0  # seconds: who is late is looked after each second
GOOD = 20  # clients that ask as they should
BETWEEN = 0.1  # seconds from one look at the API to the next
CALM = 15.0  # seconds of good traffic alone
ADDED = 20.0  # milliseconds that a storm may add to the slowest of a hundred

DELIVERIES, AT_ONCE = 10_000, 4
AGAIN, GARBAGE = 0.5, 0.01  # of them
ANSWER = 50.0  # milliseconds, 99 of 100
LIMIT = AlertsConfig().limit.count  # actions, in a longer time than this takes
GROWTH = 20 * MIB
SHUT_OUT = 0.01  # of those who ask the API just as a thousand connections come at once


@dataclass
class Found:
    table: list[tuple[str, str]] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    def add(self, what: str, said: str) -> None:
        self.table.append((what, said))

    def judge(self, what: str, ok: bool, said: str) -> None:
        self.verdicts.append(Verdict(what, ok, said))


def ms(values: list[float]) -> str:
    return " / ".join(f"{1000 * percentile(values, q):.1f}" for q in (0.5, 0.99, 1.0))


async def _silent(at: tuple[str, int], said: bytes) -> float:
    """Seconds until it was let go."""
    reader, writer = await asyncio.open_connection(*at)
    began = time.monotonic()
    writer.write(said)
    with suppress(ConnectionError):
        await reader.read()
    writer.close()
    return time.monotonic() - began


async def _looks(daemon: Daemon, took: list[float], wrong: Counter[str]) -> None:
    """Somebody who asks the API, on a connection of its own each time, until cancelled."""
    while True:
        began = time.perf_counter()
        try:
            async with httpx.AsyncClient(timeout=20.0) as client:
                status = str((await client.get(f"{daemon.url}/api/v1/state")).status_code)
        except httpx.HTTPError as error:
            status = type(error).__name__
        took.append(time.perf_counter() - began)
        wrong[status] += status != "200"
        await asyncio.sleep(BETWEEN)


async def slow_clients(daemon: Daemon, crowd: Crowd, gateway: str, found: Found) -> None:
    host, _, port = gateway.removeprefix("http://").partition(":")
    ours, _, own = daemon.url.removeprefix("http://").partition(":")
    crowd.begin(GOOD, 1.0)
    looked: list[float] = []
    wrong: Counter[str] = Counter()
    looking = asyncio.create_task(_looks(daemon, looked, wrong))
    await asyncio.sleep(CALM)
    calm, calm_looks = list(crowd.told.firsts), list(looked)
    crowd.told.firsts.clear()
    looked.clear()
    kinds = [(name, said, limit) for name, (said, limit) in KINDS.items() for _ in range(EACH)]
    at_gateway = [_silent((host, int(port)), said) for _, said, _ in kinds]
    at_api = [_silent((ours, int(own)), said) for _, said, _ in kinds]
    lasted = await asyncio.gather(*at_gateway, *at_api)
    looking.cancel()
    await crowd.end()
    late = {
        name: max(s for (n, _, _), s in zip(kinds, lasted, strict=False) if n == name)
        for name in KINDS
    }
    for name, seconds in late.items():
        limit = KINDS[name][1] + SLACK
        found.judge(f"{EACH} say {name}: let go", seconds <= limit, f"{seconds:.1f} of {limit:g} s")
    added = 1000 * (percentile(crowd.told.firsts, 0.99) - percentile(calm, 0.99))
    found.add("first words before them: ms, p50/p99/max", f"{ms(calm)} of {len(calm)}")
    found.add("first words beside them", f"{ms(crowd.told.firsts)} of {len(crowd.told.firsts)}")
    found.add("the API's state before them: ms", f"{ms(calm_looks)} of {len(calm_looks)}")
    found.add("the API's state beside them", f"{ms(looked)} of {len(looked)}")
    found.judge("good streams are not slower", added < ADDED, f"{added:+.1f} ms of {ADDED:g}")
    found.judge("all of them were answered", not crowd.told.wrong, f"{crowd.told.wrong[:2]}")
    refused = {k: n for k, n in wrong.items() if n}
    few = sum(refused.values()) <= SHUT_OUT * (len(calm_looks) + len(looked))
    found.judge("the API answers meanwhile", few, f"all but {refused}" if refused else "all")


async def many_alerts(daemon: Daemon, seed: int, found: Found) -> None:
    dice, took, codes = Random(seed), [], Counter[int]()
    told: list[dict[str, Any]] = []
    bodies: list[Any] = []
    for number in range(DELIVERIES):
        if dice.random() < GARBAGE:
            bodies.append({"alerts": "none"})
        elif told and dice.random() < AGAIN:
            bodies.append(dice.choice(told[-200:]))
        else:
            told.append(firing(number, f"GPU-{number % 8:04d}"))
            bodies.append(told[-1])
    garbage = sum(body["alerts"] == "none" for body in bodies)
    queue = iter(bodies)

    async def one() -> None:
        for body in queue:
            began = time.perf_counter()
            reply = await daemon.client.post("/api/v1/alerts", json=body, timeout=30.0)
            took.append(time.perf_counter() - began)
            codes[reply.status_code] += 1

    before, began = rollup(daemon.pid)[1], time.monotonic()
    await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    lasted = time.monotonic() - began
    grown = rollup(daemon.pid)[1] - before
    found.add(f"{DELIVERIES} alerts, {AT_ONCE} at once", f"{DELIVERIES / lasted:.0f} a second")
    found.add("  their answers: ms, p50/p99/max", ms(took))
    found.add("  their answers", ", ".join(f"{k}: {n}" for k, n in sorted(codes.items())))
    found.add("  the daemon's own memory", f"{grown / MIB:+.1f} MiB")
    slowest = 1000 * percentile(took, 0.99)
    found.judge("alerts are answered at once", slowest < ANSWER, f"{slowest:.1f} of {ANSWER:g} ms")
    found.judge("what is no alert is refused", codes[422] + codes[400] == garbage, f"{garbage}")
    rows = (await daemon.get("alerts", limit="1000"))["alerts"]
    episodes = Counter((row["fingerprint"], row["starts_at"]) for row in rows)
    twice = [e for e, n in episodes.items() if n > 1]
    found.judge("no alert is there twice", not twice, f"{len(rows)} looked at {twice[:3] or ''}")
    counts = {k: n for k, n in (await daemon.get("alerts"))["counts"].items() if n}
    found.add("  what became of them", ", ".join(f"{k} {n}" for k, n in counts.items()))
    acted = [d for d in await daemon.decisions() if d["trigger"] == "alert" and d["actions"]]
    found.judge("no more is done than is allowed", len(acted) <= LIMIT, f"{len(acted)} of {LIMIT}")
    found.judge("memory is bounded", grown < GROWTH, f"{grown / MIB:+.1f} MiB")


async def storms(folder: Path, library: Path, seed: int) -> Found:
    found = Found()
    async with Machine(folder, engines=4, models=4) as machine:
        state = folder / "s"
        state.mkdir()
        machine.learned(state / "journal.db")
        env = machine.cards.driver.env(library)
        async with Daemon(state, machine.config(), env) as daemon:
            gateway = (await daemon.state())["gateway"]["addresses"][0]
            hot = [engine.models[0] for engine in machine.engines]
            crowd = Crowd(gateway, hot, hot, 4, seed)
            await slow_clients(daemon, crowd, gateway, found)
            await many_alerts(daemon, seed, found)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load.storms", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if sys.platform != "linux" or compiler() is None:
        print("the stand-in driver needs Linux and a C compiler", file=sys.stderr)
        return 2
    more_files()
    with tempfile.TemporaryDirectory(prefix="ullage-storms-") as own:
        folder = Path(own)
        found = uvloop.run(storms(folder, build(folder), asked.seed))
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table("measured", "", title="storms", title_justify="left")
    for what, figure in found.table:
        table.add_row(what, figure)
    console.print(table)
    judged = Table("", "holds", "said", title="what must hold", title_justify="left")
    for verdict in found.verdicts:
        judged.add_row(verdict.what, "yes" if verdict.ok else "NO", verdict.said)
    console.print(judged)
    return 0 if all(verdict.ok for verdict in found.verdicts) else 1


if __name__ == "__main__":
    raise SystemExit(main())
