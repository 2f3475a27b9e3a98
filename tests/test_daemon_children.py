"""The daemon as its own process, with small programs of which it starts one a model."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.children import kin
from supervisor.children.cgroup import Group
from supervisor.children.keep import _remove
from supervisor.daemon import CHILDREN, App
from tests.children.programs import DEAF, DOUBLE, SERVES, forks, kill
from tests.daemon import QUICK, Daemon

pytestmark = pytest.mark.slow

A, B = "alpha", "beta"
PYTHON = [sys.executable, "-I", "-S", "-c"]
# It serves its port, and what it has forked has left it and does not hear.
FAMILY = (
    forks(DOUBLE, "pass").replace("signal.pause()", "signal.sigwait([signal.SIGUSR1])") + SERVES
)


def config(code: str = SERVES, ends: str = "stop", *lines: str, name: str = "own") -> str:
    command = json.dumps([*PYTHON, code, "${PORT}", "${MODEL}"])
    tables = [f'[engines.{name}.served.{m}]\nsize = "16MiB"' for m in (A, B)]
    return "\n".join(
        [
            QUICK,
            '[settle]\ntimeout = "200ms"\nstep = "50ms"\n[pools.ram]\nreserve = 0',
            f'[engines.{name}]\nkind = "process"\ncommand = {command}\nstop_timeout = "1s"',
            f'when_daemon_ends = "{ends}"',
            *lines,
            *tables,
        ]
    )


def ours(folder: Path) -> set[int]:
    """Whoever carries a mark of an engine below `folder`."""
    found: set[int] = set()
    for file in folder.glob("state/engines/*/name"):
        for pids in kin.marked(f"{file.read_text().strip()}.", kin.table()).values():
            found |= pids.keys()
    return found


def pids(folder: Path) -> dict[str, int]:
    """What is written down: model → pid."""
    records = [json.loads(f.read_text()) for f in folder.glob("state/engines/*/*.json")]
    return {r["model"]: r["pid"] for r in records}


def groups(folder: Path) -> list[Group]:
    """The control groups that are written down."""
    files = folder.glob("state/engines/*/*.json")
    found = (json.loads(file.read_text())["group"] for file in files)
    return [Group(Path(group)) for group in found if group]


@asynccontextmanager
async def started(folder: Path, text: str) -> AsyncIterator[Daemon]:
    """A daemon that its test may kill and start again; of it and its children nothing is left."""
    daemon = Daemon(folder / "state", text)
    await daemon.start()
    try:
        yield daemon
    finally:
        if daemon.process.returncode is None:
            daemon.process.kill()
            await daemon.process.wait()
        for pid in ours(folder):
            kill(pid)
        for group in groups(folder):
            await _remove(group)


async def again(daemon: Daemon, text: str) -> None:
    daemon.file.write_text(text)
    await daemon.start()


async def load(daemon: Daemon, *models: str) -> None:
    for model in models:
        reply = await daemon.post("load", {"model": model})
        assert reply.json()["ok"], reply.text


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 120))


def test_they_are_loaded_shown_and_unloaded_like_any_model(tmp_path: Path) -> None:
    async def story() -> None:
        async with started(tmp_path, config()) as daemon:
            await load(daemon, A, B)
            state = await daemon.wait_for_models(A, B)
            assert {m["model"]: m["pids"] for m in state["models"]} == {
                model: [pid] for model, pid in pids(tmp_path).items()
            }
            code, out, err = await daemon.cli("logs", A)
            assert (code, out.splitlines()[1:]) == (0, ["serving"]), err
            reply = await daemon.post("evict", {"models": [A], "force": True})
            assert reply.json()["ok"], reply.text
            assert ours(tmp_path) == {pids(tmp_path)[B]}
            began = time.monotonic()
            assert await daemon.stop() == 0
            assert time.monotonic() - began < 20
            assert ours(tmp_path) == set()

    run(story())


def test_whoever_ended_by_itself_is_started_again_and_one_that_was_told_to_is_not(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with started(tmp_path, config()) as daemon:
            await load(daemon, A, B)
            before = pids(tmp_path)
            kill(before[A])
            await daemon.post("evict", {"models": [B], "force": True})
            state = await daemon.wait(lambda s: not s["models"])
            assert not any(m["model"] == B for m in state["models"])
            await daemon.wait_for_models(A)  # 10 s later
            assert pids(tmp_path).keys() == {A}
            assert pids(tmp_path)[A] != before[A]
            assert any("SIGKILL" in line for line in daemon.lines)

    run(story())


def test_of_a_killed_daemon_nothing_is_left_once_the_next_one_is_there(tmp_path: Path) -> None:
    async def story() -> None:
        async with started(tmp_path, config(FAMILY)) as daemon:
            await load(daemon, A)
            family = ours(tmp_path)
            assert len(family) == 2
            main = pids(tmp_path)[A]
            await daemon.stop(signal.SIGKILL)
            await daemon.until(lambda: main not in kin.table())  # at once, by the kernel
            await daemon.start()
            await daemon.until(lambda: not ours(tmp_path))
            await daemon.wait_for_models()
            assert pids(tmp_path) == {}

    run(story())


def test_what_is_kept_is_adopted_and_ends_when_nobody_wants_it_any_more(tmp_path: Path) -> None:
    async def story() -> None:
        kept = config(SERVES, "keep")
        async with started(tmp_path, kept) as daemon:
            await load(daemon, A, B)
            before = pids(tmp_path)
            for end in (signal.SIGKILL, signal.SIGTERM):
                await daemon.stop(end)
                assert ours(tmp_path) == set(before.values())
                await daemon.start()
                await daemon.wait_for_models(A, B)
                assert pids(tmp_path) == before
            await daemon.stop()
            # The engine has another name now, and the other one's are nobody's.
            await again(daemon, config(SERVES, "keep", name="new"))
            await daemon.until(lambda: not ours(tmp_path))
            assert await daemon.stop() == 0

    run(story())


def test_the_daemon_s_end_is_not_held_up_by_the_deaf(tmp_path: Path) -> None:
    async def story() -> None:
        deaf = SERVES.replace("signal.pause()", "exec(sys.argv[3])").replace(
            "import signal", "import signal, threading"
        )
        text = config(deaf).replace('"${MODEL}"]', f'"${{MODEL}}", {json.dumps(DEAF)}]')
        text = text.replace('stop_timeout = "1s"', 'stop_timeout = "1h"')
        async with started(tmp_path, text) as daemon:
            await load(daemon, A, B)
            began = time.monotonic()
            assert await daemon.stop() == 0
            assert time.monotonic() - began < 20
            assert ours(tmp_path) == set()

    run(story())


def test_what_was_started_under_a_name_that_is_of_another_kind_now_is_ended(tmp_path: Path) -> None:
    for name in ("gone", "moved", "same"):
        (tmp_path / CHILDREN / name).mkdir(parents=True)
    kinds = {"moved": "systemd", "same": "process", "new": "vllm"}
    engines = [SimpleNamespace(id=name, kind=kind) for name, kind in kinds.items()]
    config = SimpleNamespace(engines=engines, state_dir=tmp_path)
    app = SimpleNamespace(config=config, _former=[])
    asyncio.run(App._end_former(app))  # type: ignore[arg-type]
    assert sorted(keep._name for keep in app._former) == ["gone", "moved"]
