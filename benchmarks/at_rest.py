"""What does the daemon cost while nothing happens? One engine, ten models, all loaded.

With the real llama-server where the extra `demo` is installed. Beside it, in the same run: the
smallest Python program that asks the same engine for its list each second with the same client.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil

from supervisor.demo.real import Missing, RealRouter

MODELS = [f"model-{i}" for i in range(10)]
WARM_UP, MEASURED = 12.0, 40.0  # seconds

BARE = """
import asyncio, sys, httpx
async def main():
    async with httpx.AsyncClient(trust_env=False) as client:
        while True:
            (await client.get(sys.argv[1] + "/models")).json()
            await asyncio.sleep(1.0)
asyncio.run(main())
"""


@asynccontextmanager
async def loaded() -> AsyncIterator[str]:
    """The URL of an engine that has loaded all of MODELS."""
    options = ("--models-max", "0", "--ctx-size", "256", "--threads", "1")
    async with RealRouter(names=MODELS, options=options) as router:
        async with httpx.AsyncClient(base_url=router.url, timeout=60, trust_env=False) as client:
            for model in MODELS:
                await client.post("/models/load", json={"model": model})
                while True:
                    entries = (await client.get("/models")).json()["data"]
                    states = {e["id"]: e["status"]["value"] for e in entries}
                    if states[model] == "loaded":
                        break
                    await asyncio.sleep(0.1)
        yield router.url


async def cost(command: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Percent of a core, and MiB of resident memory, of a program that runs on its own."""
    process = await asyncio.create_subprocess_exec(
        *command, env=env, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await asyncio.sleep(WARM_UP)
        seen = psutil.Process(process.pid)
        before = seen.cpu_times()
        await asyncio.sleep(MEASURED)
        after = seen.cpu_times()
        used = after.user + after.system - before.user - before.system
        return 100 * used / MEASURED, seen.memory_info().rss / 2**20
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def measure() -> list[tuple[str, str, str]]:
    async with loaded() as url:
        with tempfile.TemporaryDirectory() as folder:
            env = {**os.environ, "XDG_STATE_HOME": folder, "STATE_DIRECTORY": folder}
            daemon = ["-m", "supervisor", "run", "--port", "0", "--engine", f"llama={url}"]
            script = Path(folder) / "bare.py"
            script.write_text(BARE)
            ours = await cost([sys.executable, *daemon], env)
            bare = await cost([sys.executable, str(script), url], env)
    what = "daemon at rest, one engine, ten models"
    return [
        (f"{what}: share of one core", f"{ours[0]:.2f} %", f"{bare[0]:.2f} %"),
        (f"{what}: resident memory", f"{ours[1]:.0f} MiB", f"{bare[1]:.0f} MiB"),
    ]


def rows() -> list[tuple[str, str, str]]:
    """Rows of (what, figure, a bare poller in the same run)."""
    try:
        return asyncio.run(measure())
    except Missing as missing:
        return [("daemon at rest", f"not measured: {missing}", "")]


if __name__ == "__main__":
    for row in rows():
        print(*row, sep=" | ")
