"""A client's library in a process of its own, in an environment of its own.

The libraries stand in `.venv/clients`, where `make test` puts them, or where CLIENTS says. Each has
a script in `scripts/`, which does one thing for each line that it is sent, and answers in a line.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CLIENTS = Path(os.environ.get("CLIENTS") or HERE.parents[1] / ".venv/clients")
PYTHON = CLIENTS / "bin/python"
NODE = CLIENTS / "node/node_modules"
PATIENCE = 60.0  # seconds for one answer; a library takes up to 10 to be imported on a busy machine

Seen = dict[str, Any]


def needs(package: str, language: str = "python") -> None:
    """Skips the test where `package` is not installed."""
    if language == "node":
        if shutil.which("node") is None:
            pytest.skip("there is no node")
        there = (NODE / package).is_dir()
    else:
        there = any(CLIENTS.glob(f"lib/python*/site-packages/{package}/__init__.py"))
    if not there:
        pytest.skip(f"{package} of {language} is not in {CLIENTS}; `make test` puts it there")


def environment(home: Path, **more: str) -> dict[str, str]:
    """What a client's process sees: nothing of ours, no proxy, and a home that is empty."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(home), "NODE_PATH": str(NODE), **more}


class Program:
    """`async with Program(script, home, OPENAI_BASE_URL=…) as client: await client.ask("chat", …)`.

    Several may be asked at once. What went wrong comes as `{"error": its class, "status": …}`.
    """

    def __init__(self, script: str, home: Path, **env: str) -> None:
        path = HERE / "scripts" / script
        self._command = [str(PYTHON) if path.suffix == ".py" else "node", str(path)]
        self._env = environment(home, **env)
        self._waiting: dict[int, asyncio.Future[Seen]] = {}
        self._asked = 0

    async def __aenter__(self) -> Program:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command, env=self._env, stdin=pipe, stdout=pipe
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reader

    async def ask(self, what: str, **how: Any) -> Seen:
        """What it saw."""
        self._asked += 1
        answer = self._waiting[self._asked] = asyncio.get_running_loop().create_future()
        line = json.dumps({"id": self._asked, "do": what, "how": how})
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            return await answer

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told = json.loads(line)
            self._waiting.pop(told["id"]).set_result(told["seen"])
        for answer in self._waiting.values():
            answer.set_exception(EOFError("the client's process has ended; see its stderr"))


async def command(words: Sequence[str | Path], env: dict[str, str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command line of the clients'."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *words, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
