"""Hosts of a fleet on one machine, for benchmarks and tests: of each a daemon with its gateway and
an agent, as processes. What holds the agents together is not Ray, but this: each reads the other
daemons' words over their Unix sockets.

`python -m benchmarks.fleet_hosts daemon FOLDER`, or `agent FOLDER NAME=FOLDER …`. Both print a line
when they are ready, and end with their standard input.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import uvloop

from collectors.reading import Bytes, Seconds
from supervisor.agent.agent import Agent
from supervisor.agent.backend import Backend, BackendError, Heard, Row
from supervisor.agent.bridge import Bridge
from supervisor.agent.running import terms_of
from supervisor.agent.serving import Server
from supervisor.agent.single import Single
from supervisor.app import build
from supervisor.config.config import Config, load
from supervisor.engines import ENGINES
from supervisor.process import settle_in

TOKEN = "token-of-the-fleet"
CONFIG = """
mode = "enforce"
detect = false
state_dir = "{folder}"
log_level = "error"
[listen]
port = 0
socket = "{folder}/ullage.sock"
[gateway]
port = {port}
"""
FLEET = """
[fleet]
name = "{name}"
address = "http://127.0.0.1:{port}"
gateway = true
token_file = "{folder}/fleet.token"
ray = "{ray}"
"""
ENGINE = """
[engines.{engine}]
kind = "http"
url = "http://127.0.0.1:{at}"
[engines.{engine}.http]
list_api = "/models"
models = "$[*]"
name = "$.name"
state = "$.state"
"""


class Beside:
    """All hosts of one machine. The ledger is this agent's own."""

    name = "beside"
    connected = True
    trouble: tuple[str, ...] = ()

    def __init__(self, bridges: Mapping[str, Bridge], began: float) -> None:
        self._bridges, self._began = bridges, began
        self._heard: dict[str, float] = {}
        self._claims: dict[str, str] = {}
        self._turn = 0

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def tell(self, word: Row | None, kept: tuple[Row, ...], since: str, basis: str) -> Heard:
        found = []
        for host, bridge in self._bridges.items():
            try:
                row = await bridge.word(Seconds(0.5))
            except BackendError:
                continue
            self._turn += 1
            found.append({**row, "host": host, "number": self._turn})
            self._heard[host] = time.monotonic()
        now = time.monotonic()
        ages = {host: Seconds(now - at) for host, at in self._heard.items()}
        return Heard(f"beside:{self._turn}", Seconds(now - self._began), ages, tuple(found))

    async def claim(self, model: str, shares: Mapping[str, Bytes]) -> str:
        if model in self._claims.values():
            raise BackendError("taken", f"{model} is being placed already", 409)
        id = uuid4().hex
        self._claims[id] = model
        return id

    async def release(self, claim: str) -> None:
        self._claims.pop(claim, None)

    async def ask(self, host: str, what: str, within: Seconds, **words: Any) -> Row:
        bridge = self._bridges[host]
        if what == "accept":
            return await bridge.accept(words["offer"], within)
        found: Row = await getattr(bridge, what)(within=within, **words)
        return found


def configured(folder: Path) -> Config:
    return load(folder / "ullage.toml", {}, {}, kinds=frozenset(ENGINES))


async def daemon(folder: Path) -> None:
    config = configured(folder)
    app = build(config)
    await app.start()
    while app.loop.snapshot is None or (config.engines and not app.loop.snapshot.residents):
        await app.loop.changed()
    settle_in()
    print("ready", flush=True)
    await _ended()


async def agent(folder: Path, peers: Mapping[str, Path]) -> None:
    config = configured(folder)
    bridges = {name: Bridge(f"unix:{there}/ullage.sock") for name, there in peers.items()}
    own = Bridge(f"unix:{folder}/ullage.sock")
    # As if it had been there for long: a young directory places nothing.
    beside = Beside(bridges, time.monotonic() - 3600.0)
    backend: Backend = beside if bridges else Single(config.fleet.name, own)
    made = Agent(terms_of(config), own, backend)
    server = Server(made, config.fleet.socket, config.socket_mode, None)
    await server.start()
    await made.start()
    while len(made.fleet()["directory"]["hosts"]) <= len(peers):
        await asyncio.sleep(0.05)
    print("ready", flush=True)
    await _ended()


async def _ended() -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, over.set)
    await over.wait()


# -- from outside


def written(
    folder: Path, name: str, port: int, engine: int | None, *, fleet: bool = True, ray: str = "auto"
) -> Path:
    """A host's folder, with its configuration. `engine` is the port of its one engine, if any;
    `ray` where its agent finds Ray, if that is to join it."""
    folder.mkdir()
    (folder / "fleet.token").write_text(TOKEN)
    (folder / "fleet.token").chmod(0o600)
    told = CONFIG.format(folder=folder, port=port)
    if fleet:
        told += FLEET.format(folder=folder, name=name, port=port, ray=ray)
    if engine is not None:
        told += ENGINE.format(engine=f"engine-{name}", at=engine)
    (folder / "ullage.toml").write_text(told)
    return folder


def started(*words: str) -> subprocess.Popen[str]:
    """Returns when it is ready. Raises RuntimeError."""
    command = [sys.executable, "-m", "benchmarks.fleet_hosts", *words]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        process.kill()
        raise RuntimeError(f"{' '.join(words)} did not start")
    return process


if __name__ == "__main__":
    what, at, *others = sys.argv[1:]
    if what == "daemon":
        uvloop.run(daemon(Path(at)))
    else:
        pairs = (other.partition("=") for other in others)
        uvloop.run(agent(Path(at), {name: Path(there) for name, _, there in pairs}))
