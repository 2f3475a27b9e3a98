"""A daemon of its own before a real engine, for benchmarks that need both."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

STEP = 0.02  # seconds between two looks at another process
READY = 40.0


class Ullage:
    """`async with` starts `ullage run` before the engine at `engine`, and ends it."""

    def __init__(self, folder: Path, engine: str, more: str = "", mode: str = "enforce") -> None:
        self._folder, self.url, self.gateway = folder, "", ""
        self._text = "\n".join(
            (
                "detect = false",
                f'mode = "{mode}"',
                'sample_interval = "250ms"',
                'restore_margin = "1MiB"',
                "[listen]",
                "port = 0",
                f'socket = "{folder / "ullage.sock"}"',
                "[engines.llama]",
                'kind = "llamacpp"',
                f'url = "{engine}"',
                more,
                "",
            )
        )

    async def __aenter__(self) -> Ullage:
        file = self._folder / "ullage.toml"
        file.write_text(self._text)
        own = {k: v for k, v in os.environ.items() if not k.startswith("ULLAGE_")}
        self._log = (self._folder / "log").open("wb")
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "supervisor", "run", "--config", str(file)),
            env={**own, "STATE_DIRECTORY": str(self._folder)},
            stderr=self._log,
            stdout=asyncio.subprocess.DEVNULL,
        )
        transport = httpx.AsyncHTTPTransport(uds=str(self._folder / "ullage.sock"))
        self._http = httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=30)
        ends = time.monotonic() + READY
        while not self.gateway:
            if time.monotonic() > ends or self._process.returncode is not None:
                words = (self._folder / "log").read_text(errors="replace")
                raise RuntimeError(f"ullage did not start:\n{words[-2000:]}")
            try:
                state = await self.state()
                ready = state["ready"] and any(e["up"] for e in state["engines"])
                if ready and state["gateway"]["addresses"]:
                    self.gateway = state["gateway"]["addresses"][0]
            except (httpx.HTTPError, KeyError):
                pass
            await asyncio.sleep(STEP)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        await self._process.wait()
        self._log.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def state(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self._http.get("/api/v1/state")).json()
        return found

    async def decisions(self) -> list[dict[str, Any]]:
        """The newest first."""
        reply = await self._http.get("/api/v1/decisions", params={"limit": "1000"})
        found: list[dict[str, Any]] = reply.json()["decisions"]
        return found

    async def loads(self) -> int:
        """How many were done."""
        outcomes = (o for d in await self.decisions() for o in d["outcomes"])
        return sum(o["action"] == "load" and o["result"] == "done" for o in outcomes)


def children(router: int | None) -> dict[str, psutil.Process]:
    """The engine's processes by the model they hold, as the kernel has them."""
    found = {}
    for child in psutil.Process(router).children():
        try:
            words = child.cmdline()
        except psutil.Error:  # or a zombie: it holds nothing any more
            continue
        if "--alias" in words:
            found[words[words.index("--alias") + 1]] = child
    return found


async def status(http: httpx.AsyncClient, model: str) -> str:
    listed = (await http.get("/models")).json()["data"]
    return str(next(m["status"]["value"] for m in listed if m["id"] == model))


async def load(http: httpx.AsyncClient, model: str) -> None:
    """By the engine's own call; returns when it is there."""
    await http.post("/models/load", json={"model": model})
    while await status(http, model) != "loaded":
        await asyncio.sleep(STEP)


async def unload(http: httpx.AsyncClient, model: str) -> None:
    await http.post("/models/unload", json={"model": model})
    while await status(http, model) != "unloaded":
        await asyncio.sleep(STEP)
