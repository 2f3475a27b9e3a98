"""A daemon, its agent in a fleet of one, and the commands: processes, as a person starts them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import PATIENCE, POLL, ROOT, ULLAGE, Daemon, config
from tests.engines.fake import FakeOllama
from tests.nvml.fake_nvml import GIB

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="as a Linux service, over Unix sockets"),
]
TABLES = """\
[fleet]
name = "gpu1"
address = "http://127.0.0.1:8553"
"""


class Host:
    def __init__(self, daemon: Daemon, socket: Path) -> None:
        self.daemon, self.socket = daemon, socket

    async def ask(self, *words: str) -> tuple[int, str, str]:
        """Of one command: its exit code, what it wrote, what it complained of."""
        env = {**self.daemon.env, "ULLAGE_FLEET_SOCKET": str(self.socket)}
        process = await asyncio.create_subprocess_exec(
            *(*ULLAGE, "--url", self.daemon.url, "fleet", *words),
            cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def fleet(self, until: Any) -> Any:
        """The daemon's own view, once it is so."""
        deadline = time.monotonic() + PATIENCE
        while not until(found := (await self.daemon.get("state"))["fleet"]):
            assert time.monotonic() < deadline, found
            await asyncio.sleep(POLL)
        return found


@asynccontextmanager
async def agent(host: Host) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *ULLAGE, "fleet", "join", "--alone", "--config", str(host.daemon.file),
        cwd=ROOT, env=host.daemon.env, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while not host.socket.exists():
            assert process.returncode is None
            assert time.monotonic() < deadline
            await asyncio.sleep(POLL)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def story(folder: Path) -> None:
    sizes = {"x": 1 * GIB // 1024}
    async with FakeOllama(["x"], sizes=sizes) as ollama:
        os.chmod(folder, 0o700)
        text = config({"ollama": ollama}, tables=TABLES)
        socket = folder / "ullage.sock"
        flags = ("--socket", str(socket))
        async with Daemon(folder / "state", text, flags=flags) as daemon:
            env = {"ULLAGE_LISTEN_SOCKET": str(socket)}
            daemon.env |= env
            host = Host(daemon, folder / "fleet.sock")
            before = await host.fleet(lambda f: f is not None and f["fault"] is not None)
            assert before["hosts"] == []
            code, out, _ = await host.ask("status")
            assert code == 0, out
            assert "`ullage fleet join` joins one" in out
            async with agent(host):
                await told(host, ollama)
            code, _, err = await host.ask("place", "x")
            assert (code, "no agent of a fleet answers" in err) == (4, True)
            await host.fleet(lambda f: f["fault"] is not None)


async def told(host: Host, ollama: FakeOllama) -> None:
    found = await host.fleet(lambda f: f["fault"] is None and f["hosts"])
    assert (found["backend"], found["connected"]) == ("single", True)
    assert [h["host"] for h in found["hosts"]] == ["gpu1"]
    code, out, err = await host.ask("status")
    assert code == 0, err
    assert "its agent was started without a fleet" in out
    code, out, err = await host.ask("models", "--json")
    models = json.loads(out)["directory"]["hosts"][0]["word"]["models"]
    assert [(m["name"], m["ready"]) for m in models] == [("x", False)]
    code, out, err = await host.ask("place", "y")
    assert code == 6, (out, err)
    code, out, err = await host.ask("place", "x", "--dry-run", "--within", "10s", "--json")
    assert code == 0, err
    assert (json.loads(out)["host"], json.loads(out)["ready"]) == ("gpu1", False)
    assert ollama.loaded == []
    code, out, err = await host.ask("place", "x", "--within", "10s")
    assert code == 0, err
    assert "gpu1" in out
    deadline = time.monotonic() + PATIENCE
    while not ollama.loaded:
        assert time.monotonic() < deadline, host.daemon.log
        await asyncio.sleep(POLL)
    code, out, err = await host.ask("why", "x")
    assert "x → gpu1" in out
    code, out, err = await host.ask("drain", "gpu1", "--for", "5m")
    assert code == 0, err
    await host.fleet(lambda f: f["hosts"] and f["hosts"][0]["presence"] == "drained")
    code, out, err = await host.ask("undrain", "gpu1")
    assert code == 0, err
    await host.fleet(lambda f: f["hosts"] and f["hosts"][0]["presence"] == "here")
    metrics = (await host.daemon.client.get("/metrics")).text
    assert "ullage_fleet_agent_up 1.0" in metrics
    assert 'ullage_fleet_hosts{presence="here"} 1.0' in metrics


def test_a_host_by_itself_answers_all_that_a_fleet_does(tmp_path: Path) -> None:
    asyncio.run(story(tmp_path))
