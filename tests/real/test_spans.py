"""One model over two hosts, for real: llama.cpp's own server for parts, and a llama-server that
leads. Two daemons of one machine; agents as they are, on an engine made of values."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from collectors.reading import Seconds
from supervisor.agent.agent import Agent, Terms
from supervisor.agent.bridge import Bridge
from supervisor.demo.real import find_model, find_server
from supervisor.fleet.hosts import HostId
from tests.agent.fakes import Backend, Engine
from tests.daemon import Daemon

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.usefixtures("installed")]

SPAN, VALID, PATIENCE = "smollm2", Seconds(2.0), 90.0
POLL = 0.1  # seconds between two looks at other processes; every wait is bounded
RPC = "ggml-rpc-server"
BASE = """
detect = false
sample_interval = "250ms"
[gateway]
enabled = true
[pools.ram]
reserve = 0
"""


class Far(Bridge):
    """Other hosts reach a daemon by it."""

    away = False


@dataclass
class Town:
    daemons: dict[str, Daemon]
    engine: Engine = field(default_factory=lambda: Engine(time.monotonic))  # type: ignore[arg-type]
    agents: dict[str, Agent] = field(default_factory=dict)

    async def join(self) -> None:
        for name, daemon in self.daemons.items():
            self.engine.daemons[name] = Far(daemon.url)  # type: ignore[assignment]
            terms = Terms(HostId(name), valid=VALID, beat=Seconds(0.25))
            agent = self.agents[name] = Agent(terms, Bridge(daemon.url), Backend(name, self.engine))
            await agent.start()

    async def leave(self) -> None:
        for agent in self.agents.values():
            await agent.stop()
        for bridge in self.engine.daemons.values():
            await bridge.close()

    def state(self) -> str:
        rows = self.agents["a"].fleet()["spans"]
        return str(rows[0]["state"]) if rows else ""


async def until(true: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            found = true()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(POLL)


def free_port() -> int:
    """One that nobody has now: the part's has to stand in the leader's command."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def configs() -> dict[str, str]:
    server = find_server()
    rpc = server.path.with_name(RPC)
    if not rpc.is_file():
        pytest.skip(f"there is no {RPC} beside llama-server")
    port = free_port()
    libraries = f'environment = {{ LD_LIBRARY_PATH = "{server.libraries}" }}\n'
    leader = [
        str(server.path),
        *("--host", "127.0.0.1", "--port", "${PORT}", "--alias", "${MODEL}"),
        *("--model", str(find_model()), "--rpc", f"127.0.0.1:{port}", "-ngl", "99", "--no-mmap"),
        *("--ctx-size", "512", "--parallel", "1", "--offline", "--no-webui", "--slots"),
    ]
    part = [str(rpc), "-H", "127.0.0.1", "-p", "${PORT}"]
    return {
        "a": f"""{BASE}
[engines.llama]
kind = "process"
serves = "llamacpp"
command = {json.dumps(leader)}
{libraries}
[engines.llama.served.{SPAN}]
size = "150MiB"
[fleet]
name = "a"
address = "http://127.0.0.1:8553"
valid = "2s"
[fleet.spans.{SPAN}]
model = "llama/{SPAN}"
leads = true
others = ["b"]
""",
        "b": f"""{BASE}
[engines.rpc]
kind = "process"
command = {json.dumps(part)}
{libraries}
[engines.rpc.served.part]
url = "http://127.0.0.1:{port}"
[fleet]
name = "b"
valid = "2s"
[fleet.spans.{SPAN}]
model = "rpc/part"
memory = "300MiB"
""",
    }


@asynccontextmanager
async def town(folder: Path) -> AsyncIterator[Town]:
    daemons = {h: Daemon(folder / h, text) for h, text in configs().items()}
    made = Town(daemons)
    try:
        for daemon in daemons.values():
            await daemon.start()
        await made.join()
        whole = time.monotonic() + VALID + 5.0
        await until(lambda: time.monotonic() > whole and made.state() == "local")
        yield made
    finally:
        await made.leave()
        for daemon in daemons.values():
            if daemon.process.returncode is None:
                await daemon.stop()


def children(daemon: Daemon, name: str) -> list[psutil.Process]:
    found = psutil.Process(daemon.pid).children(recursive=True)
    return [p for p in found if p.name().startswith(name[:15])]


async def says(daemon: Daemon) -> str:
    """What the model answers, through its host's gateway."""
    (address,) = (await daemon.state())["gateway"]["addresses"]
    body = {"model": SPAN, "messages": [{"role": "user", "content": "Hi."}], "max_tokens": 4}
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        reply = await client.post(f"{address}/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["choices"][0]["message"]["content"])


def test_a_model_over_two_hosts_is_brought_up_answers_and_goes_as_one(tmp_path: Path) -> None:
    async def story(made: Town) -> None:
        a, b = made.daemons["a"], made.daemons["b"]
        began = time.monotonic()
        found: Any = await made.agents["b"].place(SPAN, False, None, ())
        assert found["host"] == "a"
        await until(lambda: made.state() == "ready")
        print(f"\n  brought up in {time.monotonic() - began:.1f} s")
        assert await says(a)
        (part,) = children(b, RPC)
        assert part.memory_info().rss > 80 * 2**20  # its layers are there
        part.kill()
        await until(lambda: not children(a, "llama-server"))
        assert await b.get("leases") == {"leases": []}

    async def run() -> None:
        async with asyncio.timeout(240), town(tmp_path) as made:
            await story(made)

    asyncio.run(run())
