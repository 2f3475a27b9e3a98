"""Ends of all that an engine keeps: with the daemon, in time, and of those that will not."""

import asyncio
import os
import signal

import pytest

from supervisor.children import keep as module
from supervisor.children.child import StillThere
from supervisor.children.spawn import CannotStart
from tests.children.programs import DEAF, WAITS, keeping, pid_of, run, runs, said, start, until

pytestmark = pytest.mark.slow  # real processes, each an interpreter of its own


def records(folder):
    return list(folder.glob("*.json"))


def test_all_end_with_the_daemon_at_once_also_the_deaf(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FAREWELL", 0.2)

    async def story():
        starts = {f"m{n}": start(DEAF, grace=300.0) for n in range(3)} | {"n": start(WAITS)}
        async with keeping(tmp_path, **starts) as keep:
            for model in starts:
                await keep.start(model)
                await said(keep, model, "here")
            pids = [pid_of(keep, m) for m in starts]
            await keep.close()
            assert not any(map(runs, pids))
            assert records(tmp_path) == []
            with pytest.raises(CannotStart, match="the daemon is stopping"):
                await keep.start("n")

    run(story())


def test_one_that_takes_its_time_is_not_given_more_of_it_than_the_daemon_has(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FAREWELL", 0.1)

    async def story():
        async with keeping(tmp_path, m=start(DEAF, grace=300.0)) as keep:
            await keep.start("m")
            await said(keep, "m", "here")
            pid = pid_of(keep, "m")
            stopping = asyncio.create_task(keep.stop("m"))
            await until(lambda: keep.children["m"].leaving)
            await keep.close()
            assert not runs(pid)
            await stopping
            assert records(tmp_path) == []

    run(story())


class Impatient(asyncio.Event):
    """Who asks on and on without waiting would keep the loop for himself."""

    def __init__(self, other):
        super().__init__()
        self.asked = 0
        if other.is_set():
            self.set()

    async def wait(self):
        self.asked += 1
        assert self.asked < 100
        return await super().wait()


def test_what_not_even_a_kill_ends_is_said_and_seen_to_later(tmp_path, monkeypatch):
    alive, slow = {4_194_303}, []

    async def slowly(group):
        slow.append(asyncio.Event())
        await slow[-1].wait()

    async def stuck(kindred, number, grace):
        return frozenset(alive)

    async def find(kindred):
        return dict.fromkeys(alive, 1)

    monkeypatch.setattr(module, "LINGER", 0.0)

    async def story():
        async with keeping(tmp_path, m=start(WAITS)) as keep:
            await keep.start("m")
            await said(keep, "m", "here")
            pid = pid_of(keep, "m")
            with monkeypatch.context() as patched:
                patched.setattr(module, "end", stuck)
                patched.setattr(module.Kindred, "find", find)
                with pytest.raises(StillThere, match="4194303 does not end, though it was killed"):
                    await keep.stop("m")
                with pytest.raises(StillThere):
                    await keep.start("m")
                assert keep.children["m"].leaving
                assert records(tmp_path) != []
                keep.children["m"].over = Impatient(keep.children["m"].over)
                patched.setattr(module, "_remove", slowly)
                os.kill(pid, signal.SIGKILL)
                alive.clear()
                await until(lambda: slow)
                stopping = asyncio.create_task(keep.stop("m"))  # while its group is removed
                await asyncio.sleep(0)
                slow[0].set()
                await stopping
                assert keep.children == {}
            assert records(tmp_path) == []
            await keep.start("m")

    run(story())
