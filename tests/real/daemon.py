"""The daemon as its own process, the way a person starts it, and the CLI beside it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

POLL = 0.05  # seconds between two looks at another process; every wait is bounded
PATIENCE = 40.0

State = dict[str, Any]


class Daemon:
    """`ullage run` with `config` in `folder`; `async with` starts it and ends it by SIGTERM."""

    def __init__(self, folder: Path, config: str, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.folder.mkdir(exist_ok=True)
        self.file = folder / "ullage.toml"
        self.file.write_text(config)
        self.env = {**os.environ, **(env or {}), "STATE_DIRECTORY": str(folder)}
        self.lines: list[str] = []
        self.url = ""

    async def __aenter__(self) -> Daemon:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            assert await self.stop() == 0, self.log

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    async def start(self) -> None:
        command = ["run", "--config", str(self.file), "--port", "0"]
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "supervisor",
            *command,
            env=self.env,
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
        )
        self.reader = asyncio.create_task(self._read())
        self.url = ""
        await self.until(lambda: bool(self.url) or self.process.returncode is not None)
        assert self.url, self.log
        self.client = httpx.AsyncClient(base_url=self.url, timeout=30, trust_env=False)
        while (await self.client.get("/readyz")).status_code != 200:
            await asyncio.sleep(POLL)

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(line.decode().rstrip())
            if found := re.search(r"listening on (http://[0-9.]+:\d+)", self.lines[-1]):
                self.url = found[1]

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """The exit code; negative for a signal. Bounded at 10 s, as the daemon promises."""
        await self.client.aclose()
        self.process.send_signal(number)
        async with asyncio.timeout(10):
            code = await self.process.wait()
        await self.reader
        return code

    async def get(self, path: str, **query: str) -> Any:
        reply = await self.client.get(f"/api/v1/{path}", params=query)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def post(self, path: str, body: State) -> httpx.Response:
        return await self.client.post(f"/api/v1/{path}", json=body)

    async def state(self) -> State:
        found: State = await self.get("state")
        return found

    async def models(self) -> dict[str, State]:
        return {m["model"]: m for m in (await self.state())["models"]}

    async def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline, self.log
            await asyncio.sleep(POLL)

    async def wait(self, true: Callable[[State], bool]) -> State:
        """The first state of which `true` holds."""
        deadline = time.monotonic() + PATIENCE
        while True:
            state = await self.state()
            if true(state):
                return state
            assert time.monotonic() < deadline, json.dumps(state, indent=1) + self.log
            await asyncio.sleep(POLL)

    async def wait_for_models(self, *names: str) -> State:
        """Until exactly these are loaded, none of them on its way in or out."""
        return await self.wait(
            lambda s: (
                sorted((m["model"], m["state"]) for m in s["models"])
                == sorted((n, "loaded") for n in names)
            )
        )

    async def cli(self, *words: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of `ullage` asking this daemon."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "supervisor",
            *words,
            env={**self.env, "ULLAGE_URL": self.url},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()
