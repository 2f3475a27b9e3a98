"""A disk that is slow or hangs, below the logs and the records, holds up nobody else."""

import asyncio
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from supervisor.children.keep import STOPPING
from supervisor.children.logs import Log
from supervisor.children.records import Records
from supervisor.children.spawn import CannotStart
from tests.children.programs import WAITS, keeping, kill, pid_of, run, runs, start, until

pytestmark = pytest.mark.slow  # real processes, each an interpreter of its own

WRITES = ((Log, ("open", "say", "trim")), (Records, ("write", "remove")))


@pytest.fixture
def hung(monkeypatch):
    """No log can be opened until this is set."""
    goes_on, real = threading.Event(), Log.open

    def hangs(log):
        assert goes_on.wait(20)
        return real(log)

    monkeypatch.setattr(Log, "open", hangs)
    yield goes_on
    goes_on.set()


def open_logs(folder):
    """What this process has open of them."""
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # of another thread, and closed since
            found.append(os.readlink(fd))
    return [f for f in found if f.startswith(str(folder)) and f.endswith(".log")]


def test_nothing_is_written_on_the_loop(tmp_path, monkeypatch):
    done = set()

    def noted(name, real):
        def call(self, *words):
            done.add((name, threading.current_thread() is threading.main_thread()))
            return real(self, *words)

        return call

    for kind, names in WRITES:
        for name in names:
            monkeypatch.setattr(kind, name, noted(name, getattr(kind, name)))

    async def story():
        async with keeping(tmp_path, m=start(WAITS)) as keep:
            await keep.start("m")
            await keep.look()
            kill(pid_of(keep, "m"))
            await until(lambda: "m" in keep.ended)
            await keep.start("m")
            await keep.stop("m")

    run(story())
    assert done == {(name, False) for _, names in WRITES for name in names}


def test_a_start_that_was_given_up_leaves_no_descriptor(tmp_path, hung):
    async def story():
        async with keeping(tmp_path, m=start(WAITS)) as keep:
            starts = asyncio.create_task(keep.start("m"))
            await until(lambda: (tmp_path / "name").exists())
            await asyncio.sleep(0)
            starts.cancel()
            hung.set()
            await asyncio.wait([starts])
            assert starts.cancelled()
            assert (open_logs(tmp_path), keep.children) == ([], {})
            await keep.start("m")
            assert runs(pid_of(keep, "m"))

    run(story())


def test_nothing_begins_once_the_daemon_ends(tmp_path, hung):
    async def story():
        async with keeping(tmp_path, m=start(WAITS)) as keep:
            starts = asyncio.create_task(keep.start("m"))
            await asyncio.sleep(0)
            await keep.close()
            hung.set()
            with pytest.raises(CannotStart, match=STOPPING):
                await starts
            assert (keep.children, list(tmp_path.glob("*.json"))) == ({}, [])

    run(story())
