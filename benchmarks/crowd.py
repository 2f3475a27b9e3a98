"""Many clients and a real engine behind the gateway. `python -m benchmarks crowd [--seconds N]
[--clients N] [--picture FILE] [--json FILE]`.

Three models of a real llama-server, memory for two; every client asks for one after the other and
reads its stream to the end. Exits with 1 unless every request was answered whole, nobody is left in
flight, and the memory stayed within its budget all the time. The picture shows who was there when.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from supervisor.demo.real import Missing, RealRouter

from .house import Ullage, children, load, unload
from .residency import Seen, picture

NAMES = ("alpha", "beta", "gamma")
ROOM_FOR = 2.5  # of them; so two fit, and three do not
LOOK_EVERY = 0.2  # seconds
SLACK = 0.05  # of the budget: what a process may grow between two looks
PATIENCE = 180.0  # seconds for one request, with its wait


@dataclass
class Told:
    """What the clients saw. Times in seconds; `waits` until the first byte of the answer."""

    answered: int = 0
    waits: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    of_model: Counter[str] = field(default_factory=Counter)


@dataclass
class Result:
    seconds: float
    clients: int
    answered: int
    wrong: list[str]
    of_model: dict[str, int]
    wait_p50: float
    wait_p95: float
    wait_max: float
    loads: int
    budget: int
    most_held: int
    in_flight_after: int
    held_after: int
    looks: list[Seen] = field(repr=False, default_factory=list)

    @property
    def kept(self) -> bool:
        whole = not self.wrong and self.answered > 0 and not self.in_flight_after
        return whole and not self.held_after and self.most_held <= self.budget * (1 + SLACK)


async def client(url: str, ends: float, dice: random.Random, told: Told) -> None:
    """Asks again and again; now and then it turns to another model, or thinks."""
    model = dice.choice(NAMES)
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False) as http:
        while time.monotonic() < ends:
            if dice.random() < 0.15:
                model = dice.choice(NAMES)
            await ask(http, model, dice.randint(4, 24), told)
            await asyncio.sleep(dice.random() * 0.5)


async def ask(http: httpx.AsyncClient, model: str, tokens: int, told: Told) -> None:
    body = {
        "model": model,
        "stream": True,
        "max_tokens": tokens,
        "messages": [{"role": "user", "content": "Say something."}],
    }
    began = time.monotonic()
    events: list[str] = []
    try:
        async with http.stream("POST", "/v1/chat/completions", json=body) as reply:
            if reply.status_code != 200:
                words = (await reply.aread()).decode(errors="replace")
                told.wrong.append(f"{model}: {reply.status_code} {words[:200]}")
                return
            async for line in reply.aiter_lines():
                if line.startswith("data: "):
                    if not events:
                        told.waits.append(time.monotonic() - began)
                    events.append(line[6:])
    except httpx.HTTPError as error:
        told.wrong.append(f"{model}: {type(error).__name__}: {error}")
        return
    if not events or events[-1] != "[DONE]" or any('"error"' in e for e in events):
        told.wrong.append(f"{model}: ended with {events[-1:]}")
        return
    told.answered += 1
    told.of_model[model] += 1


async def watch(router: RealRouter, ends: asyncio.Event, looks: list[Seen]) -> None:
    """What each model's process holds, by the kernel's word."""
    began = time.monotonic()
    while not ends.is_set():
        held = {name: p.memory_info().rss for name, p in children(router.pid).items()}
        looks.append(Seen(round(time.monotonic() - began, 2), held))
        await asyncio.sleep(LOOK_EVERY)


async def run(seconds: float, clients: int, seed: int = 1) -> Result:
    told, looks = Told(), list[Seen]()
    async with RealRouter(names=NAMES) as router:
        async with httpx.AsyncClient(base_url=router.url, timeout=60, trust_env=False) as http:
            await load(http, NAMES[0])
            size = children(router.pid)[NAMES[0]].memory_info().rss
            await unload(http, NAMES[0])
        budget = int(size * ROOM_FOR)
        with tempfile.TemporaryDirectory() as folder:
            more = (
                f"[pools.ram]\nbudget = {budget}\n[gateway]\nport = 0\nmax_wait = '{PATIENCE:g}s'"
            )
            async with Ullage(Path(folder), router.url, more) as ullage:
                over = asyncio.Event()
                watching = asyncio.create_task(watch(router, over, looks))
                began = time.monotonic()
                crowd = (
                    client(ullage.gateway, began + seconds, random.Random(f"{seed} {i}"), told)
                    for i in range(clients)
                )
                await asyncio.gather(*crowd)
                took = time.monotonic() - began
                over.set()
                await watching
                state = (await ullage.state())["gateway"]
                loads = await ullage.loads()
    waits = sorted(told.waits) or [0.0]
    return Result(
        seconds=round(took, 1),
        clients=clients,
        answered=told.answered,
        wrong=told.wrong,
        of_model=dict(sorted(told.of_model.items())),
        wait_p50=round(median(waits), 3),
        wait_p95=round(waits[int(len(waits) * 0.95)], 3),
        wait_max=round(waits[-1], 3),
        loads=loads,
        budget=budget,
        most_held=max(sum(_of_models(look.held)) for look in looks),
        in_flight_after=sum(m["count"] for m in state["in_flight"]),
        held_after=sum(m["count"] for m in state["held"]),
        looks=looks,
    )


def _of_models(held: dict[str, int]) -> Sequence[int]:
    return list(held.values())


def table(result: Result) -> Table:
    shown = Table(title=f"{result.clients} clients, {result.seconds:g} s, room for two of three")
    shown.add_column("measured")
    shown.add_column("")
    mib = 2**20
    rows: list[tuple[str, str]] = [
        ("requests answered whole", f"{result.answered} ({_by(result.of_model)})"),
        ("not answered, or cut", str(len(result.wrong))),
        ("loads", str(result.loads)),
        (
            "seconds until the first byte, p50 / p95 / longest",
            f"{result.wait_p50:.2f} / {result.wait_p95:.2f} / {result.wait_max:.1f}",
        ),
        (
            "memory of the models, at most",
            f"{result.most_held / mib:.0f} MiB of {result.budget / mib:.0f} MiB",
        ),
        ("left in flight, and held", f"{result.in_flight_after}, {result.held_after}"),
    ]
    for row in rows:
        shown.add_row(*row)
    return shown


def _by(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items())


def document(result: Result) -> dict[str, Any]:
    return asdict(result)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks crowd", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--clients", type=int, default=30)
    parser.add_argument("--picture", metavar="FILE", help="an SVG of who was there when")
    parser.add_argument("--json", metavar="FILE")
    given = parser.parse_args(arguments)
    try:
        result = asyncio.run(run(given.seconds, given.clients))
    except Missing as missing:
        print(f"error: {missing}", file=sys.stderr)
        return 1
    Console().print(table(result))
    for wrong in result.wrong[:10]:
        print(wrong)
    if given.picture:
        Path(given.picture).write_text(picture(result.looks, result.budget))
    if given.json:
        Path(given.json).write_text(json.dumps(document(result)))
    return 0 if result.kept else 1
