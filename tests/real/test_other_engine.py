"""Real servers of other makers, which nobody wrote an adapter for, with a real model.

They are installed in an environment of their own, since they need older libraries than we do:
`make test` puts it into .venv/other, or OTHER_ENGINE names its Python.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from collectors.reading import mib
from supervisor.core.snapshot import EngineId
from supervisor.demo.real import Missing, find_model
from supervisor.engines import detect
from supervisor.engines.wire import client as engine_client
from tests.daemon import Daemon
from tests.real.test_real_engine import run

pytestmark = [pytest.mark.real, pytest.mark.slow]

HERE = Path(__file__).parent
OTHER = os.environ.get("OTHER_ENGINE") or str(HERE.parents[1] / ".venv/other/bin/python")
PATIENCE = 60.0  # seconds; MLServer takes 10 to start on two busy cores

MODEL = "small cask 1.0"
TOP = 'detect = false\nsample_interval = "250ms"\n[settle]\ntimeout = "10s"\n'
MLSERVER = """
[engines.seldon]
kind = "http"
url = "{url}"
[engines.seldon.http]
identify_api = "/v2"
identify_pick = "$.name"
identify_value = "mlserver"
list_api = "/v2/repository/index"
list_method = "POST"
list_body = {{}}
models = "$[*]"
name = "$.name"
state = "$.state"
one_model = true
load_api = "/v2/repository/models/${{MODEL}}/load"
unload_api = "/v2/repository/models/${{MODEL}}/unload"
"""
EMBEDDED = """
[engines.mine]
kind = "http"
url = "{url}"
[engines.mine.http]
file_bytes = "$.meta.size"
one_model = true
activity_api = "/slots"
in_flight = "$[*].is_processing"
"""


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    if not Path(OTHER).exists():
        pytest.skip(f"there is no other engine: no {OTHER}")
    try:
        find_model()
    except Missing as missing:
        pytest.skip(str(missing))


class Server:
    """A program of the other environment; where it listens stands in `pattern` of its output."""

    def __init__(self, folder: Path, *command: str) -> None:
        self.folder, self.command, self.url = folder, command, ""

    async def start(self, pattern: str) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *self.command,
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(HERE), "PYTHONUNBUFFERED": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        said = b""
        async with asyncio.timeout(PATIENCE):
            while (found := re.search(pattern.encode(), said)) is None:
                line = await self.process.stdout.readline()
                assert line, said.decode(errors="replace")
                said += line
        self.url = found[1].decode()
        self.rest = asyncio.create_task(self._read_on())
        self.http = httpx.AsyncClient(base_url=self.url, timeout=60, trust_env=False)

    async def _read_on(self) -> None:
        """So that it never waits for whoever reads its log."""
        assert self.process.stdout is not None
        while await self.process.stdout.readline():
            pass

    async def stop(self) -> None:
        if self.url:
            await self.http.aclose()
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with suppress(TimeoutError):
                async with asyncio.timeout(10):
                    await self.process.wait()
                    break
        if self.url:
            await self.rest

    @property
    def resident(self) -> int:
        """What the kernel says that it holds, in bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    @property
    def anonymous(self) -> int:
        """The same, without the files that it has mapped."""
        return self.resident - int(psutil.Process(self.process.pid).memory_info().shared)


@asynccontextmanager
async def mlserver(folder: Path) -> AsyncIterator[Server]:
    """MLServer with one model on disk, which llama.cpp's library will hold in its process."""
    model = {
        "name": MODEL,
        "implementation": "gguf_runtime.Gguf",
        "parameters": {"uri": str(find_model())},
    }
    settings = {"host": "127.0.0.1", "parallel_workers": 0, "load_models_at_startup": False}
    ports = {"http_port": 0, "grpc_port": 0, "metrics_endpoint": None}
    (folder / "model-settings.json").write_text(json.dumps(model))
    (folder / "settings.json").write_text(json.dumps(settings | ports))
    server = Server(folder, str(Path(OTHER).with_name("mlserver")), "start", ".")
    try:
        await server.start(r"Uvicorn running on (http://[0-9.]+:\d+)")
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[Server]:
    """llama.cpp's library in a Python program, with its model loaded."""
    server = Server(folder, OTHER, str(HERE / "llama_alone.py"), str(find_model()))
    try:
        await server.start(r"serving at (http://[0-9.]+:\d+) now")
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def writing(server: Server) -> AsyncIterator[None]:
    """A client that is being answered, and goes away."""
    ask = {"prompt": "A cask is", "max_tokens": 1500, "ignore_eos": True, "stream": True}
    async with server.http.stream("POST", "/v1/completions", json=ask) as reply:
        assert reply.status_code == 200
        yield


async def says(server: Server) -> str:
    (model,) = (await server.http.post("/v2/repository/index", json={})).json()
    assert model["name"] == MODEL
    return str(model["state"])


def test_an_engine_that_is_only_described_loads_and_unloads_a_real_model(tmp_path: Path) -> None:
    async def story() -> None:
        (tmp_path / "served").mkdir()
        async with mlserver(tmp_path / "served") as server:
            async with Daemon(tmp_path / "state", TOP + MLSERVER.format(url=server.url)) as daemon:
                (engine,) = (await daemon.state())["engines"]
                assert (engine["kind"], engine["version"]) == ("http", "mlserver")
                assert sorted(engine["abilities"]) == ["list", "load", "unload"]
                assert [m["model"] for m in (await daemon.state())["installed"]] == [MODEL]
                before = server.anonymous
                loaded = await daemon.post("load", {"model": MODEL})  # though nobody knows its size
                assert loaded.status_code == 200, loaded.text
                await daemon.wait_for_models(MODEL)
                took = server.anonymous - before
                assert took > mib(500)

                state = await daemon.wait(lambda s: _size(s) > server.anonymous)
                (model,) = state["models"]
                assert model["pids"] == [server.process.pid]
                assert {s["source"] for s in model["shares"]} == {"measured"}
                assert abs(model["size"] - server.resident) < 0.05 * server.resident

                # It says nothing of what it works on, and each answer costs its process some time.
                evicted = await daemon.post("evict", {"models": [MODEL], "force": True})
                assert evicted.status_code == 200, evicted.text
                assert await says(server) == "UNAVAILABLE"
                (outcome,) = evicted.json()["decision"]["outcomes"]
                assert outcome["result"] == "done"
                fell = before + took - server.anonymous
                assert fell > 0.9 * took
                # The program stays, with its libraries: what it promised was all of the process.
                # Others come and go on this machine meanwhile.
                assert outcome["judgement"]["gone"]
                assert outcome["judgement"]["returned"] > 0.7 * took

                code, _, err = await daemon.cli("load", MODEL)
                assert code == 0, err
                assert await says(server) == "READY"
                await daemon.wait_for_models(MODEL)

    run(story())


def test_a_server_of_another_program_is_looked_at_by_its_own_words(tmp_path: Path) -> None:
    async def story() -> None:
        async with embedded(tmp_path) as server, engine_client() as client:
            found = await detect.identify(client, server.url, EngineId("x"))
            assert found.kind == "llamacpp"  # it is one, in another program

            text = TOP + EMBEDDED.format(url=server.url)
            async with Daemon(tmp_path / "state", text) as daemon:
                state = await daemon.wait(lambda s: _size(s) > 0)
                (model,) = state["models"]
                assert model["model"] == str(find_model())
                assert model["pids"] == [server.process.pid]
                assert abs(model["size"] - server.resident) < 0.05 * server.resident
                await daemon.wait(lambda s: s["models"][0]["in_flight"] == 0)
                async with writing(server), writing(server):
                    await daemon.wait(lambda s: s["models"][0]["in_flight"] == 2)
                # It stops when nobody listens any more.
                await daemon.wait(lambda s: s["models"][0]["in_flight"] == 0)
                refused = await daemon.post("evict", {"all": True})
                assert "done" not in refused.text

    run(story())


def _size(state: dict[str, Any]) -> int:
    return sum(m["size"] for m in state["models"])
