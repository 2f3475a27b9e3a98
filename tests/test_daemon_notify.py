"""A real daemon below a service manager: what that is told, and when it is told nothing."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.daemon import Card, Daemon, config
from tests.managed import Manager
from tests.readers import GPU, blind, reader_of, run

pytestmark = pytest.mark.slow

IMPATIENT = (sys.executable, "-m", "tests.brisk")
# `ullage run` whose loop ends, as nothing should, once the file is there that STUCK names.
STUCK = """
import asyncio, os, sys
from supervisor import loop, notify
from supervisor.cli.main import main

def handle(self, event, old=loop.Loop._handle):
    if os.path.exists(os.environ["STUCK"]):
        print("so the loop ends", file=sys.stderr, flush=True)
        raise asyncio.CancelledError
    old(self, event)

loop.Loop._handle = handle
notify.SLACK = 0.5
main()
"""


def under(manager: Manager, watchdog: float, **more: str) -> dict[str, str]:
    micro = str(int(watchdog * 1e6))
    return {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": micro, **more}


def test_a_daemon_tells_its_manager_all_that_it_waits_for(
    tmp_path: Path, nvml_library: Path
) -> None:
    async def story() -> None:
        card = Card(tmp_path, nvml_library)
        with Manager(tmp_path / "m") as manager:
            env = card.env | under(manager, 0.6)
            async with Daemon(tmp_path / "s", config({}), env, program=IMPATIENT) as daemon:
                assert manager.said("READY") == ["1"]
                await manager.until(lambda word: "WATCHDOG" in word, times=3)
                await another_cannot_start(tmp_path, daemon.url)
                for pid in (daemon.pid, reader_of(daemon.pid)):
                    given = "NOTIFY_SOCKET" in psutil.Process(pid).environ()
                    assert given == (pid == daemon.pid)
                # The driver hangs: that is told, and nobody is to be started anew for it.
                card.driver.hang()
                await daemon.wait(lambda state: GPU in blind(state))
                word = await manager.until(lambda word: "cannot be read" in word.get("STATUS", ""))
                assert f"cannot be read: {GPU}" in word["STATUS"]
                manager.forget()
                await manager.until(lambda word: "WATCHDOG" in word, times=6)
                card.driver.drop("hang")
                os.kill(daemon.pid, signal.SIGHUP)
                word = await manager.until(lambda word: "RELOADING" in word)
                assert int(word["MONOTONIC_USEC"]) > 0
                await manager.until(lambda word: "READY" in word)
            phases = [w for w in manager.listen() if {"READY", "RELOADING", "STOPPING"} & w.keys()]
            told = [
                key for word in phases for key in word if key not in ("STATUS", "MONOTONIC_USEC")
            ]
            assert told == ["READY", "RELOADING", "READY", "STOPPING"]

    run(story())


def test_a_daemon_whose_loop_is_stuck_gives_no_sign_of_life_and_ends_with_where_it_stood(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        stuck = tmp_path / "stuck"
        with Manager(tmp_path / "m") as manager:
            env = under(manager, 0.3, STUCK=str(stuck))
            program = (sys.executable, "-c", STUCK)
            async with Daemon(tmp_path / "s", config({}), env, program=program) as daemon:
                await manager.until(lambda word: "WATCHDOG" in word, times=2)
                stuck.touch()
                await daemon.until(
                    lambda: (
                        "the loop has served nothing for"
                        in daemon.log.partition("so the loop ends")[2]
                    )
                )
                told = len(manager.said("WATCHDOG"))
                # It answers still, so no look from outside would have found it.
                for _ in range(20):
                    assert (await daemon.client.get("/healthz")).status_code == 200
                assert len(manager.said("WATCHDOG")) == told
                assert await daemon.stop(signal.SIGABRT) == -signal.SIGABRT
                assert "Fatal Python error: Aborted" in daemon.log
                assert ", line " in daemon.log

    run(story())


async def another_cannot_start(folder: Path, url: str) -> None:
    """Why is told, and that it is ready is not."""
    with Manager(folder / "n") as manager:
        flags = ("--port", url.rpartition(":")[2])
        code, said = await Daemon(folder / "t", config({}), under(manager, 1), flags).fails()
        assert code == 1
        (word,) = manager.listen()
        assert set(word) == {"STATUS"}
        assert f"error: {word['STATUS']}"[:100] in said
