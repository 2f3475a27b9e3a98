"""The daemon while everything around it fails: engines, the driver, the disk, its own end."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from supervisor.daemon import END
from tests.daemon import PATIENCE, POLL, ROOT, STORY, Card, Daemon, config
from tests.engines.fake import FakeLlamaRouter, FakeOllama
from tests.nvml.fake_nvml import GIB

pytestmark = pytest.mark.slow

LOST = 15
AT_ONCE = 8.0  # seconds for an end that waits for nobody: one, where there is time
TICKS = "ullage_samples_total"


def run(story: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(STORY):
            await story

    asyncio.run(bounded())


async def goes_on(daemon: Daemon) -> None:
    """It looks ten times a second, and answers at once. A machine that is busy elsewhere may be in
    the way of that for a while, and not for ever: what waits for an engine or a driver takes two
    seconds each time."""
    deadline = time.monotonic() + PATIENCE
    look, answer = await _pace(daemon), await _slowest(daemon)
    while look > 0.5 or answer > 1:
        assert time.monotonic() < deadline, f"{look:.2f} s for a look, {answer:.2f} for an answer"
        look, answer = await _pace(daemon), await _slowest(daemon)


async def _pace(daemon: Daemon, ticks: int = 6) -> float:
    """Seconds per sample, over so many of them."""
    began, first = time.monotonic(), await daemon.metric(TICKS)
    while await daemon.metric(TICKS) < first + ticks:
        await asyncio.sleep(POLL)
    return (time.monotonic() - began) / ticks


async def _slowest(daemon: Daemon) -> float:
    """Seconds that the slowest of a few questions took."""
    took = []
    for path in ("/healthz", "/readyz", "/metrics", "/api/v1/state") * 3:
        began = time.monotonic()
        assert (await daemon.client.get(path)).status_code == 200
        took.append(time.monotonic() - began)
    return max(took)


# -- engines


@pytest.mark.parametrize("fault", ["hang", "garbage", "down"])
def test_an_engine_in_trouble_costs_nobody_anything_and_is_found_again(
    tmp_path: Path,
    nvml_library: Path,
    fault: str,
) -> None:
    async def story() -> None:
        card = Card(tmp_path, nvml_library)
        async with FakeLlamaRouter(["a"]) as well, FakeOllama(["b", "c"]) as sick:
            for server in (well, sick):
                card.holds(server)
            well.take("a")
            sick.take("b")
            text = config({"well": well, "sick": sick})
            async with Daemon(tmp_path / "s", text, card.env) as daemon:
                await daemon.wait_for_models("a", "b")
                sick.fault = fault
                if fault == "down":
                    await sick.stop()
                state = await daemon.wait(lambda s: len([e for e in s["engines"] if e["up"]]) == 1)
                assert {m["model"]: m["state"] for m in state["models"]} == {
                    "a": "loaded",
                    "b": "unknown",
                }
                await goes_on(daemon)
                code, out, _ = await daemon.cli("status")
                assert code == 0
                assert ("engine degraded" if fault == "garbage" else "engine down") in out
                code, _, err = await daemon.cli("evict", "b")
                assert code == 5
                assert "its engine did not answer" in err
                await daemon.post("pin", {"model": "a"})
                card.add(21 * GIB)  # a neighbour takes the rest, and who could go is pinned
                await daemon.wait(lambda s: any(f["kind"] == "pressure" for f in s["findings"]))
                await goes_on(daemon)
                assert (well.loaded, sick.loaded) == (["a"], ["b"])
                card.add(-21 * GIB)
                sick.fault = None
                if fault == "down":
                    await sick.start()
                await daemon.wait_for_models("a", "b")
                await daemon.until(lambda: "engine_down sick: no longer" in daemon.log)
            assert daemon.log.count("engine_down sick: no longer") == 1

    run(story())


def test_an_engine_that_lists_its_models_and_hangs_when_asked_more_slows_nobody(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"]) as mute, FakeLlamaRouter(["c"]) as well:
            mute.take("a")
            mute.take("b")
            well.take("c")
            mute.busy["a"] = mute.busy["b"] = 1
            text = config({"mute": mute, "well": well})
            async with Daemon(tmp_path / "s", text) as daemon:
                await daemon.wait(lambda s: [m["busy"] for m in s["models"]] == [True, True, False])
                mute.faults["GET /slots"] = "hang"
                await asyncio.wait_for(_late(daemon), PATIENCE)
                await goes_on(daemon)
                mute.faults.clear()
                mute.busy.clear()
                await daemon.wait(lambda s: not any(m["busy"] for m in s["models"]))

    async def _late(daemon: Daemon) -> None:
        """Until its requests in flight are not known any more."""
        while any(m["in_flight"] is not None for m in (await daemon.state())["models"][:2]):
            await asyncio.sleep(0)

    run(story())


def test_a_slow_load_keeps_nothing_waiting_and_is_shown_as_loading(tmp_path: Path) -> None:
    async def story() -> None:
        async with FakeOllama(["big"]) as server, FakeLlamaRouter(["a"]) as other:
            other.take("a")
            server.slow_loads = True
            async with Daemon(tmp_path / "s", config({"o": server, "l": other})) as daemon:
                asked = asyncio.create_task(daemon.cli("load", "big"))
                await daemon.wait(lambda s: bool(s["running"]))
                await goes_on(daemon)
                assert await daemon.metric("ullage_reservations") == 1
                code, out, _ = await daemon.cli("decisions")
                assert "load o/big: no outcome yet" in out
                server.finish("big")
                code, out, _ = await asked
                assert code == 0
                assert "load o/big: done" in out
                assert await daemon.metric("ullage_reservations") == 0

    run(story())


# -- the driver


@pytest.mark.parametrize("trouble", ["hangs", "is lost"])
def test_a_gpu_that_cannot_be_read_is_shown_as_such_and_the_end_does_not_wait_for_it(
    tmp_path: Path,
    nvml_library: Path,
    trouble: str,
) -> None:
    # Nobody else's: a process that is called as one of them would be counted for it. And two: these
    # tests' own process answers for the engine, and of one model alone its children would be.
    models = ["unread", "unread either"]

    async def story() -> None:
        card = Card(tmp_path, nvml_library)
        async with FakeLlamaRouter(models) as server:
            for model in models:
                card.holds(server).take(model)
            text = config({"llama": server}, ram='reserve = 0\nbudget = "1MiB"')
            async with Daemon(tmp_path / "s", text, card.env) as daemon:
                await daemon.wait(lambda s: len(s["pools"]) == len(s["models"]) == 2)
                if trouble == "hangs":
                    card.driver.hang()
                else:
                    card.driver.fault(LOST)
                card.add(21 * GIB)  # and meanwhile there is hardly anything left of it
                seen = await daemon.wait(lambda s: any(p["blind"] for p in s["pools"]))
                ram, gpu = sorted(seen["pools"], key=lambda p: p["id"], reverse=True)
                assert (ram["blind"], gpu["free"], gpu["headroom"]) == (None, None, None)
                await goes_on(daemon)
                _, out, _ = await daemon.cli("status")
                assert "GPU-aaaa\n  cannot be read: nvidia: " in out
                assert server.loaded == models, daemon.log
                assert daemon.log.count("blind GPU-aaaa") == 1
                began = time.monotonic()
                assert await daemon.stop() == 0
                assert time.monotonic() - began < AT_ONCE

    run(story())


# -- its end


def test_an_unload_that_is_settling_is_finished_and_written_down_before_the_end(
    tmp_path: Path,
    nvml_library: Path,
) -> None:
    async def story() -> None:
        card = Card(tmp_path, nvml_library)
        async with FakeLlamaRouter(["a", "b"]) as server:
            card.holds(server)
            server.on_unload = lambda model: None  # it is slow to give its memory back
            server.take("a")
            server.take("b")
            text = config({"llama": server}, settle="5s")
            async with Daemon(tmp_path / "s", text, card.env) as daemon:
                await daemon.wait_for_models("a", "b")
                asked = asyncio.create_task(daemon.post("evict", {"models": ["a", "b"]}))
                while not server.calls("POST /models/unload"):
                    await asyncio.sleep(POLL)
                daemon.process.send_signal(signal.SIGTERM)
                await daemon.until(lambda: "stopping: finishing what" in daemon.log)
                card.add(-GIB)  # now it comes back
                reply = (await asked).json()
                assert not reply["ok"]
                results = [(o["model"], o["result"]) for o in reply["decision"]["outcomes"]]
                assert results == [("llama/a", "done"), ("llama/b", "skipped")]
                assert server.loaded == ["b"]
                async with asyncio.timeout(PATIENCE):
                    assert await daemon.process.wait() == 0
            async with daemon:
                ((outcome, skipped),) = [d["outcomes"] for d in await daemon.decisions()]
                assert outcome["judgement"]["verdict"] == "recovered"
                assert skipped["detail"] == "the daemon is stopping"

    run(story())


def test_an_engine_that_hangs_during_an_unload_delays_the_end_by_less_than_ten_seconds(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"]) as server:
            server.take("a")
            server.take("b")
            async with Daemon(tmp_path / "s", config({"llama": server})) as daemon:
                await daemon.wait_for_models("a", "b")
                server.faults["POST /models/unload"] = "hang"
                asked = asyncio.create_task(daemon.post("evict", {"models": ["a", "b"]}))
                while not server.calls("POST /models/unload"):
                    await asyncio.sleep(POLL)
                server.fault = "hang"
                began = time.monotonic()
                assert await daemon.stop() == 0
                assert time.monotonic() - began < END + AT_ONCE, "the engine has 20 s for it"
                await asyncio.gather(asked, return_exceptions=True)
            server.fault = None
            async with daemon:
                ((outcome, skipped),) = [d["outcomes"] for d in await daemon.decisions()]
                assert outcome["result"] == "failed"
                assert outcome["detail"] == "the daemon ended; what came of it is not known"
                assert (skipped["model"], skipped["result"]) == ("llama/b", "skipped")

    run(story())


@pytest.fixture
def swift() -> Iterator[Path]:
    """A folder in memory where there is one. A disk that others keep busy takes seconds to write,
    and nobody waits for it longer than two."""
    memory = Path("/dev/shm")
    where = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where) as folder:
        yield Path(folder)


def test_a_daemon_that_is_killed_while_it_acts_has_written_down_what_it_was_doing(
    swift: Path,
) -> None:
    async def story() -> None:
        async with FakeOllama(["big"]) as server:
            server.slow_loads = True
            async with Daemon(swift / "s", config({"o": server})) as daemon:
                asked = asyncio.create_task(daemon.post("load", {"model": "big"}))
                while "big" not in server.loading:
                    await asyncio.sleep(POLL)
                assert await daemon.stop(signal.SIGKILL) == -signal.SIGKILL
                await asyncio.gather(asked, return_exceptions=True)
            async with daemon:
                (decision,) = await daemon.decisions()
                assert (decision["cause"], decision["outcomes"]) == ("asked to load o/big", [])
                assert decision["running"] is False
                _, out, _ = await daemon.cli("decisions")
                assert "its outcome is not known, for the daemon ended meanwhile" in out
                assert (await daemon.state())["running"] == []

    run(story())


def test_a_client_that_never_reads_does_not_keep_the_daemon_from_ending(tmp_path: Path) -> None:
    async def story() -> None:
        async with Daemon(tmp_path / "s", config({})) as daemon:
            host, port = daemon.url.removeprefix("http://").split(":")
            deaf = socket.create_connection((host, int(port)))
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.setblocking(False)
            ask = f"GET /metrics HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode() * 200
            with suppress(BlockingIOError):
                while deaf.send(ask):
                    pass
            half = socket.create_connection((host, int(port)))
            half.send(b"POST /api/v1/evict HTTP/1.1\r\nContent-Le")
            assert (await daemon.client.get("/healthz")).status_code == 200
            began = time.monotonic()
            assert await daemon.stop() == 0
            assert time.monotonic() - began < AT_ONCE
            deaf.close()
            half.close()

    run(story())


# -- the disk


def test_without_a_usable_state_directory_it_works_and_says_once_that_nothing_is_kept(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        blocked = tmp_path / "file"
        blocked.write_text("not a directory")
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            text = config({"llama": server}, f'state_dir = "{blocked}"')
            async with Daemon(tmp_path / "s", text) as daemon:
                await daemon.wait_for_models("a")
                assert (await daemon.cli("evict", "a"))[0] == 0
                assert daemon.log.count("kept in memory only") == 1
                assert await daemon.metric("ullage_journal_persistent") == 0
                _, out, _ = await daemon.cli("status")
                assert "the journal is kept in memory only" in out
                assert len(await daemon.decisions()) == 1
            assert blocked.read_text() == "not a directory"

    run(story())


def test_on_a_full_disk_it_works_and_says_once_that_it_cannot_write(tmp_path: Path) -> None:
    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))  # for each file

    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            text = config({"llama": server})
            async with Daemon(tmp_path / "s", text, before=full) as daemon:
                await daemon.wait_for_models("a")
                assert (await daemon.cli("evict", "a"))[0] == 0
                assert daemon.log.count("kept in memory and tried again") == 1
                assert await daemon.metric("ullage_journal_write_failures_total") >= 1
                assert await daemon.metric("ullage_journal_lag") >= 1
                _, out, _ = await daemon.cli("status")
                assert "the journal could not be written" in out
                assert len(await daemon.decisions()) == 1

    run(story())


def test_a_thread_that_hangs_for_ever_does_not_keep_the_program_from_ending() -> None:
    script = """
import asyncio, threading
from types import SimpleNamespace
from supervisor import app
from supervisor.config import config

async def serve(_):
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    return 3

trail, rereads = SimpleNamespace(audit=SimpleNamespace()), SimpleNamespace(take=[])
bounded = lambda allowance: None
app.build = lambda _: SimpleNamespace(reloading=rereads, journal=trail, bounded=bounded)
app.serve = serve
raise SystemExit(app.run(config.load(None, {}, {}, kinds=frozenset(), places=[])))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, timeout=PATIENCE, capture_output=True, check=False
    )
    assert done.returncode == 3, done.stderr
