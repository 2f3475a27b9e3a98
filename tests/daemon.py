"""The daemon as its own process, the way a person starts it, and the CLI beside it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.nvml.fake_nvml import GIB
from tests.nvml.fake_nvml import State as Driver

POLL = 0.05  # seconds between two looks at another process; every wait is bounded
PATIENCE = 120.0
STORY = 600.0  # for all of a story: a machine may be ten times as slow as ours
ROOT = Path(__file__).parent.parent
ULLAGE = (sys.executable, "-m", "supervisor")

State = dict[str, Any]


class Daemon:
    """`ullage run` with `config` in `folder`; `async with` starts it and ends it by SIGTERM.

    `flags` are added to its command line. `token` is what the test's own requests carry.
    `program` is started in place of `ullage`.
    """

    def __init__(
        self,
        folder: Path,
        config: str,
        env: dict[str, str] | None = None,
        flags: tuple[str, ...] = (),
        token: str | None = None,
        before: Callable[[], object] | None = None,
        program: tuple[str, ...] = ULLAGE,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self.folder = folder
        self.folder.mkdir(exist_ok=True)
        self.file = folder / "ullage.toml"
        self.file.write_text(config)
        own = {k: v for k, v in os.environ.items() if not k.startswith("ULLAGE_")}
        self.env = {**own, "STATE_DIRECTORY": str(folder), **(env or {})}
        self.flags, self.token, self.before = flags, token, before
        self.program, self.trust = program, trust
        self.lines: list[str] = []
        self.url = ""

    async def __aenter__(self) -> Daemon:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            assert await self.stop() == 0, self.log

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    async def launch(self) -> None:
        """Start the process, and wait for its address or its end."""
        anywhere = ("--port", "0", "--gateway-port", "0")
        command = ["run", "--config", str(self.file), *anywhere, *self.flags]
        self.process = await asyncio.create_subprocess_exec(
            *self.program,
            *command,
            env=self.env,
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            preexec_fn=self.before,
        )
        self.url = ""
        self.reader = asyncio.create_task(self._read())
        await self.until(lambda: bool(self.url) or self.process.returncode is not None)

    async def start(self) -> None:
        """Until the first sample is in."""
        await self.launch()
        assert self.url, self.log
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        self.client = httpx.AsyncClient(
            base_url=self.url,
            timeout=30,
            trust_env=False,
            headers=headers,
            verify=self.trust or True,
        )
        deadline = time.monotonic() + PATIENCE
        while (await self.client.get("/readyz")).status_code != 200:
            assert time.monotonic() < deadline, self.log
            await asyncio.sleep(POLL)

    async def fails(self) -> tuple[int, str]:
        """Start it in the belief that it ends by itself: its exit code, and what it said."""
        await self.launch()
        if self.url:
            self.process.kill()
        code = await self.process.wait()
        await self.reader
        return code, self.log

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(line.decode().rstrip())
            if found := re.search(r"listening on (https?://[0-9.]+:\d+)", self.lines[-1]):
                self.url = found[1]

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """The exit code; negative for a signal. Bounded: the daemon promises 10 s, and a machine
        that is busy elsewhere takes longer."""
        await self.client.aclose()
        os.kill(self.pid, number)
        async with asyncio.timeout(PATIENCE):
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

    async def decisions(self) -> list[State]:
        """Oldest first."""
        found: list[State] = (await self.get("decisions", limit="1000"))["decisions"]
        return found[::-1]

    async def metric(self, name: str) -> float:
        """The value of a series, named with its labels as in the page."""
        lines = (await self.client.get("/metrics")).text.splitlines()
        return float(next(line.rpartition(" ")[2] for line in lines if line.startswith(name + " ")))

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

    async def wait_for_models(self, *names: str, state: str = "loaded") -> State:
        """Until exactly these are loaded, none of them on its way in or out."""
        return await self.wait(
            lambda s: (
                sorted((m["model"], m["state"]) for m in s["models"])
                == sorted((n, state) for n in names)
            )
        )

    async def cli(self, *words: str, **env: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of `ullage` asking this daemon."""
        process = await asyncio.create_subprocess_exec(
            *ULLAGE,
            *words,
            env={**self.env, "COLUMNS": "200", "ULLAGE_URL": self.url, **env},
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


KINDS = {"FakeLlamaRouter": "llamacpp", "FakeOllama": "ollama"}

# Quick, and nothing that depends on how much memory this machine has to spare.
QUICK = """\
detect = false
sample_interval = "100ms"
holders_interval = "100ms"
relief_grace = "0s"
restore_margin = "1MiB"
lru_eviction_retry_interval = "200ms"
"""


def config(
    engines: dict[str, Any],
    *lines: str,
    ram: str = "reserve = 0",
    settle: str = "200ms",
    tables: str = "",
) -> str:
    """A file for the fake `engines` by name; `lines` are added at its top."""
    parts = [QUICK, *lines, f'[settle]\ntimeout = "{settle}"\nstep = "50ms"', f"[pools.ram]\n{ram}"]
    for name, server in engines.items():
        kind = KINDS[type(server).__name__]
        parts.append(f'[engines.{name}]\nkind = "{kind}"\nurl = "{server.url}"')
    return "\n".join([*parts, tables])


class Card:
    """One GPU of 24 GiB in the stand-in driver, 1 GiB of it in use; models come and go on it."""

    def __init__(self, folder: Path, library: Path) -> None:
        self.driver = Driver(folder / "nvml.txt")
        self.used = GIB
        self.driver.gpu(0, name="NVIDIA RTX 4090", uuid="GPU-aaaa", total=24 * GIB, used=GIB)
        self.env = self.driver.env(library)

    def add(self, size: int) -> None:
        self.used += size
        self.driver.gpu(0, used=self.used)

    def holds(self, server: Any) -> Any:
        """What `server` loads is on this card from now on."""
        server.on_load = lambda model: self.add(server.sizes[model])
        server.on_unload = lambda model: self.add(-server.sizes[model])
        return server
