"""Signals reach the process that held the model, and no other of the same pid."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from collectors.process import read_times
from supervisor.core.ladder import Rung
from supervisor.core.snapshot import Ability, EngineId
from supervisor.engines.base import EngineDown, EngineRefused
from supervisor.force import Force
from tests.builders import resident

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs pidfds")


class Engine:
    id = EngineId("ollama")
    abilities = frozenset[object]()


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    yield process
    process.kill()
    process.wait()


def take(rung: Rung, pid: int, started: float | None) -> None:
    engines = {Engine.id: Engine()}
    force = Force(engines, started=lambda _: started)  # type: ignore[arg-type]
    asyncio.run(force.take(rung, replace(resident("a", 1), pids=(pid,))))


@pytest.mark.parametrize(
    ("rung", "number"), [(Rung.TERM, signal.SIGTERM), (Rung.KILL, signal.SIGKILL)]
)
def test_each_rung_has_its_signal(
    child: subprocess.Popen[bytes], rung: Rung, number: signal.Signals
) -> None:
    take(rung, child.pid, read_times({child.pid})[child.pid].started)
    assert child.wait(timeout=60) == -number


@pytest.mark.parametrize("started", [None, 1.0])
def test_a_process_that_is_not_known_to_be_the_same_is_left_alone(
    child: subprocess.Popen[bytes], started: float | None
) -> None:
    with pytest.raises(EngineRefused, match="not the process that held the model"):
        take(Rung.KILL, child.pid, started)
    assert child.poll() is None


def test_where_no_system_call_says_whose_pid_it_is_nobody_is_signalled(
    monkeypatch: pytest.MonkeyPatch, child: subprocess.Popen[bytes]
) -> None:
    """As on macOS."""
    monkeypatch.delattr(os, "pidfd_open")
    with pytest.raises(EngineRefused, match="this system has no pidfd"):
        take(Rung.TERM, child.pid, read_times({child.pid})[child.pid].started)
    assert child.poll() is None


def test_a_process_that_has_ended_needs_no_signal() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    take(Rung.KILL, gone.pid, 1.0)


def test_a_signal_that_is_not_permitted_says_what_would_be_right(
    monkeypatch: pytest.MonkeyPatch, child: subprocess.Popen[bytes]
) -> None:
    def no(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(signal, "pidfd_send_signal", no)
    open_before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(EngineRefused, match="CAP_KILL"):
        take(Rung.TERM, child.pid, read_times({child.pid})[child.pid].started)
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_an_engine_without_a_unit_cannot_be_stopped() -> None:
    with pytest.raises(EngineRefused, match="no unit"):
        take(Rung.STOP, 1, None)


def test_an_engine_is_restarted_by_itself_where_it_can_and_else_by_its_unit() -> None:
    calls: list[str] = []

    class Able(Engine):
        abilities = frozenset[object]({Ability.RESTART})

        async def restart(self) -> None:
            calls.append("restart")

    class Unit:
        async def stop(self) -> None:
            calls.append("stop")

        async def start(self) -> None:
            calls.append("start")

    units = {Engine.id: Unit()}
    asyncio.run(Force({Engine.id: Able()}, units).restart(Engine.id))  # type: ignore[dict-item]
    asyncio.run(Force({Engine.id: Engine()}, units).restart(Engine.id))  # type: ignore[dict-item]
    assert calls == ["restart", "stop", "start"]
    del calls[:]
    stopping = asyncio.Event()

    class Slow(Unit):
        async def stop(self) -> None:
            await super().stop()
            stopping.set()
            await asyncio.Event().wait()

    async def cut_short() -> None:
        force = Force({Engine.id: Engine()}, {Engine.id: Slow()})  # type: ignore[dict-item]
        task = asyncio.create_task(force.restart(Engine.id))
        await stopping.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    asyncio.run(cut_short())
    assert calls == ["stop", "start"], "the daemon ends, and the engine does not for that"
    for engines in ({Engine.id: Engine()}, {}):
        with pytest.raises(EngineRefused):
            asyncio.run(Force(engines).restart(Engine.id))  # type: ignore[arg-type]


def test_an_engine_in_whose_place_another_answers_is_told_and_not_asked() -> None:
    with pytest.raises(EngineDown, match="another engine answers at its address"):
        asyncio.run(Force({}).take(Rung.UNLOAD, resident("a", 1)))
