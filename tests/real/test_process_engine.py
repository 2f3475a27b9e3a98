"""The daemon as it starts the real llama-server itself, one process for each of three models.

Each maps a copy of the model of its own, or reads it: either way its bytes are its own. What
ends, and what stays, is looked up among the machine's processes.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from supervisor.demo.real import find_model, find_server
from tests.daemon import POLL, Daemon, State

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.usefixtures("installed")]

A, B, C = "alpha", "beta", "gamma"
LISTENS = "listening on http://127.0.0.1:"
SOON = 10.0  # seconds, for what the kernel does by itself


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """With a model for each name; whatever a failed test leaves running in it is ended."""
    for name in (A, B, C):
        shutil.copyfile(find_model(), tmp_path / f"{name}.gguf")
    yield tmp_path
    for process in servers(tmp_path).values():
        process.kill()


def config(folder: Path, *lines: str, ends: str = "stop", budget: int | None = None) -> str:
    server = find_server()
    command = [
        str(server.path),
        *("--host", "127.0.0.1", "--port", "${PORT}", "--alias", "${MODEL}"),
        *("--model", "${FILE}", "--device", "none", "--no-mmap"),
        *("--ctx-size", "512", "--parallel", "1", "--offline", "--no-webui", "--slots"),
    ]
    room = "reserve = 0" if budget is None else f"reserve = 0\nbudget = {budget}"
    return "\n".join(
        [
            "detect = false",
            'sample_interval = "250ms"',
            'relief_grace = "1s"',
            'restore_margin = "1MiB"',
            *lines,
            f"[pools.ram]\n{room}",
            "[engines.own]",
            'kind = "process"',
            'serves = "llamacpp"',
            f'when_daemon_ends = "{ends}"',
            f"command = {json.dumps(command)}",
            f'variables = {{ FILE = "{folder}/${{MODEL}}.gguf" }}',
            *(
                [f'environment = {{ LD_LIBRARY_PATH = "{server.libraries}" }}']
                if server.libraries
                else []
            ),
            *(f'[engines.own.served.{name}]\nsize = "150MiB"' for name in (A, B, C)),
        ]
    )


@asynccontextmanager
async def started(folder: Path, text: str) -> AsyncIterator[Daemon]:
    """A daemon that a test may kill and start again. It is killed if the test leaves it running."""
    daemon = Daemon(folder / "state", text)
    await daemon.start()
    try:
        yield daemon
    finally:
        if daemon.process.returncode is None:
            daemon.process.kill()
            await daemon.process.wait()


def servers(folder: Path) -> dict[str, psutil.Process]:
    """The machine's llama-servers of this test, by the model they were started with."""
    found = {}
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        for name in (A, B, C):
            if f"{folder}/{name}.gguf" in words:
                found[name] = process
    return found


def run(story: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(240):
            await story

    asyncio.run(bounded())


async def gone(folder: Path) -> float:
    """Seconds until none of them runs."""
    started = time.monotonic()
    async with asyncio.timeout(SOON):
        while servers(folder):
            await asyncio.sleep(POLL)
    return time.monotonic() - started


def told(text: str) -> None:
    """Measured, for whoever runs this with -s."""
    print(f"  {text}", file=sys.stderr)


async def load(daemon: Daemon, model: str) -> State:
    started = time.monotonic()
    reply = await daemon.post("load", {"model": model})
    assert reply.status_code == 200, reply.text
    answer: State = reply.json()
    told(f"load {model}: {time.monotonic() - started:.2f} s")
    return answer


async def chat(pid: int) -> None:
    words = psutil.Process(pid).cmdline()
    url = f"http://127.0.0.1:{words[words.index('--port') + 1]}"
    body = {"messages": [{"role": "user", "content": "Say something."}], "max_tokens": 4}
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        reply = await client.post(f"{url}/v1/chat/completions", json=body)
        assert reply.status_code == 200, reply.text


def test_three_models_take_turns_where_there_is_room_for_two(folder: Path) -> None:
    async def story() -> None:
        async with Daemon(folder / "state", config(folder)) as daemon:
            answer = await load(daemon, A)
            assert answer["ok"], answer
            state = await daemon.wait_for_models(A)
            size = state["models"][0]["size"]
            assert size > find_model().stat().st_size
            await daemon.post("evict", {"models": [A]})
            await daemon.wait_for_models()
            assert not servers(folder)

        budget = int(size * 2.5)
        async with Daemon(folder / "state", config(folder, budget=budget)) as daemon:
            assert (await load(daemon, A))["ok"]
            assert (await load(daemon, B))["ok"]
            state = await daemon.wait_for_models(A, B)
            running = servers(folder)
            for model in state["models"]:
                process = running[model["model"]]
                assert model["pids"] == [process.pid]
                held = process.memory_info().rss
                assert abs(model["size"] - held) < 0.05 * held
                assert {s["source"] for s in model["shares"]} == {"measured"}
                assert model["in_flight"] == 0  # the engine inside says so
            assert process.environ()["LD_LIBRARY_PATH"]
            assert os.getsid(process.pid) == process.pid

            answer = await load(daemon, C)
            assert answer["ok"], answer
            assert [a["action"] for a in answer["decision"]["actions"]] == ["evict", "load"]
            (evicted, loaded) = answer["decision"]["outcomes"]
            told(f"evict {evicted['model']}: {evicted['took']:.2f} s")
            assert evicted["judgement"]["verdict"] == "recovered"
            assert loaded["result"] == "done"
            state = await daemon.wait_for_models(*{A, B, C} - {evicted["model"].split("/")[1]})
            assert set(servers(folder)) == {m["model"] for m in state["models"]}
            (ram,) = state["pools"]
            assert ram["held"] <= ram["budget"] == budget

            code, out, err = await daemon.cli("logs", C, "-n", "200")
            assert code == 0, err
            assert LISTENS in out
            assert "loading model" in out
            started = time.monotonic()
        told(f"the daemon's end with two models: {time.monotonic() - started:.2f} s")
        assert not servers(folder)
        assert not list((folder / "state/engines/own").glob("*.json"))

    run(story())


def test_a_daemon_that_is_killed_takes_its_models_with_it(folder: Path) -> None:
    async def story() -> None:
        async with started(folder, config(folder)) as daemon:
            await load(daemon, A)
            await load(daemon, B)
            assert set(servers(folder)) == {A, B}
            await daemon.stop(signal.SIGKILL)
            told(f"gone after kill -9 of the daemon: {await gone(folder):.3f} s")
            await daemon.start()
            await daemon.wait_for_models()
            assert not list((folder / "state/engines/own").glob("*.json"))

    run(story())


def test_kept_models_outlive_a_killed_daemon_and_are_adopted_by_the_next(folder: Path) -> None:
    async def story() -> None:
        async with started(folder, config(folder, ends="keep")) as daemon:
            await load(daemon, A)
            await load(daemon, B)
            before = {name: process.pid for name, process in servers(folder).items()}
            assert set(before) == {A, B}
            await daemon.stop(signal.SIGKILL)

            began = time.monotonic()
            await daemon.start()
            state = await daemon.wait_for_models(A, B)
            told(f"adopted and ready {time.monotonic() - began:.2f} s after the next start")
            assert {m["model"]: m["pids"] for m in state["models"]} == {
                name: [pid] for name, pid in before.items()
            }
            assert {n: p.pid for n, p in servers(folder).items()} == before
            assert [d["cause"] for d in await daemon.decisions()] == [
                f"asked to load own/{name}" for name in (A, B)
            ]

            _, out, _ = await daemon.cli("logs", B, "-n", "500")
            lines = out.splitlines()
            assert LISTENS in out
            # Whatever it does now is written to the same log.
            await chat(before[B])
            (log,) = (folder / "state/engines/own").glob("beta-*.log")
            await daemon.until(lambda: len(lines) < log.read_bytes().count(b"\n"))
            _, out, _ = await daemon.cli("logs", B, "-n", "500")
            assert out.splitlines()[: len(lines)] == lines
            assert len(out.splitlines()) > len(lines)

            # A clean end leaves those that are to be kept; the daemon after it has them too.
            assert await daemon.stop() == 0
            assert {n: p.pid for n, p in servers(folder).items()} == before
            await daemon.start()
            await daemon.wait_for_models(A, B)
            reply = await daemon.post("evict", {"all": True})
            assert reply.json()["ok"], reply.text
            assert not servers(folder)
            assert await daemon.stop() == 0
            assert not servers(folder)
            assert not list((folder / "state/engines/own").glob("*.json"))

    run(story())


def test_what_was_kept_ends_when_the_configuration_no_longer_wants_it(folder: Path) -> None:
    async def story() -> None:
        async with started(folder, config(folder, ends="keep")) as daemon:
            await load(daemon, A)
            assert await daemon.stop() == 0
        assert set(servers(folder)) == {A}
        async with Daemon(folder / "state", "detect = false"):
            told(f"ended as its engine has left the configuration: {await gone(folder):.2f} s")

    run(story())
