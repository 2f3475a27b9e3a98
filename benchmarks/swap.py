"""What does a swap through the gateway cost beyond what the engine itself takes?

`python -m benchmarks swap [--rounds N] [--json FILE]`. A real llama-server with memory for one of
two models. In turn: the engine told directly to unload one and load the other, then asked for a
token; and one request to the gateway for the model that is not there, which does the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from supervisor.demo.real import Missing, RealRouter

from .house import STEP, Ullage, children, load, status, unload

NAMES = ("alpha", "beta")
FAST = 0.01  # seconds between two questions whether it is there, for who is told directly


async def directly(http: httpx.AsyncClient, leaves: str, comes: str) -> float:
    """Seconds from the unload to the whole answer, for somebody who knows what to do."""
    began = time.perf_counter()
    await http.post("/models/unload", json={"model": leaves})
    while await status(http, leaves) != "unloaded":
        await asyncio.sleep(FAST)
    await http.post("/models/load", json={"model": comes})
    while await status(http, comes) != "loaded":
        await asyncio.sleep(FAST)
    await ask(http, comes)
    return time.perf_counter() - began


async def ask(http: httpx.AsyncClient, model: str) -> float:
    body = {
        "model": model,
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "Hi."}],
    }
    began = time.perf_counter()
    reply = await http.post("/v1/chat/completions", json=body)
    reply.raise_for_status()
    return time.perf_counter() - began


async def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each swap, one way and the other in turn."""
    found: dict[str, list[float]] = {"engine": [], "gateway": []}
    async with (
        RealRouter(names=NAMES) as router,
        httpx.AsyncClient(base_url=router.url, timeout=120, trust_env=False) as engine,
    ):
        for name in NAMES:  # so that the file is in the page cache, and its size known
            await load(engine, name)
            size = children(router.pid)[name].memory_info().rss
            await unload(engine, name)
        with tempfile.TemporaryDirectory() as folder:
            more = f"[pools.ram]\nbudget = {int(size * 1.5)}\n[gateway]\nport = 0"
            async with (
                Ullage(Path(folder), router.url, more) as ullage,
                httpx.AsyncClient(base_url=ullage.gateway, timeout=120, trust_env=False) as front,
            ):
                for name in NAMES:
                    await ask(front, name)
                here, there = NAMES[1], NAMES[0]
                for _ in range(rounds):
                    found["engine"].append(await directly(engine, here, there))
                    here, there = there, here
                    await settled(ullage, here)
                    found["gateway"].append(await ask(front, there))
                    here, there = there, here
                    await settled(ullage, here)
    return found


async def settled(ullage: Ullage, model: str) -> None:
    """Until the daemon has seen that just this one is there, and nothing is under way."""
    while True:
        state = await ullage.state()
        there = [m["model"] for m in state["models"] if m["state"] == "loaded"]
        if there == [model] and not state["running"] and not state["models"][0]["busy"]:
            return
        await asyncio.sleep(STEP)


def summary(found: dict[str, list[float]]) -> dict[str, Any]:
    engine, gateway = median(found["engine"]), median(found["gateway"])
    return {
        "rounds": len(found["engine"]),
        "engine_s": round(engine, 3),
        "gateway_s": round(gateway, 3),
        "added_ms": round((gateway - engine) * 1000, 1),
        "all": {way: [round(t, 3) for t in times] for way, times in found.items()},
    }


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks swap", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", metavar="FILE")
    given = parser.parse_args(arguments)
    try:
        told = summary(asyncio.run(measure(given.rounds)))
    except Missing as missing:
        print(f"error: {missing}", file=sys.stderr)
        return 1
    table = Table(title=f"one model for another, {told['rounds']} times each way, medians")
    for heading in ("", "seconds"):
        table.add_column(heading)
    table.add_row("the engine told directly: unload, load, one token", f"{told['engine_s']:.3f}")
    table.add_row("one request to the gateway", f"{told['gateway_s']:.3f}")
    table.add_row("added", f"{told['added_ms']:.0f} ms")
    Console().print(table)
    if given.json:
        Path(given.json).write_text(json.dumps(told))
    return 0
