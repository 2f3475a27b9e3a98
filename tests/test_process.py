"""The daemon's own process."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys

import pytest

from supervisor.allowance import Allowance
from supervisor.process import (
    FILES,
    GARBAGE,
    SWITCH,
    Enduring,
    event_loop,
    more_files,
    settle_in,
)


def test_as_many_files_may_be_open_as_the_system_allows():
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    hard = before[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (600, hard))
        more_files()
        most = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_once_a_daemon_runs_garbage_is_looked_for_more_seldom():
    before, turn = gc.get_threshold(), sys.getswitchinterval()
    try:
        gc.set_threshold(700, 10, 10)
        settle_in()
        assert gc.get_threshold() == GARBAGE
        assert gc.get_freeze_count() > 0
        assert sys.getswitchinterval() == pytest.approx(SWITCH)
    finally:
        gc.set_threshold(*before)
        sys.setswitchinterval(turn)


LIMITS = [("RLIMIT_AS", "LimitAS, ulimit -v"), ("RLIMIT_DATA", "LimitDATA, ulimit -d")]


@pytest.mark.parametrize(("what", "words"), LIMITS)
def test_a_limit_of_memory_is_a_reason_for_the_loop_that_outlives_it(what, words):
    """In a process of its own: it is for good."""
    pytest.importorskip("resource")
    code = (
        "import resource, logging; logging.basicConfig(level=logging.INFO)\n"
        f"resource.setrlimit(resource.{what}, (64 << 30, 64 << 30))\n"
        "from supervisor.allowance import Allowance\n"
        "from supervisor.process import event_loop; print(type(event_loop(Allowance())).__name__)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout == "Enduring\n", found.stderr
    assert f"this process may have 65536 MiB and no more ({words})" in found.stderr


@pytest.mark.parametrize("stops", [False, True])
def test_a_loop_that_memory_is_refused_to_goes_on_and_ends_when_it_is_to(stops):
    """Between two callbacks, as where the list of what is ready cannot be made any longer."""
    (allowance := Allowance()).spend = lambda: spent.append(True)
    spent: list[bool] = []
    loop, refused = Enduring(allowance), []
    select = loop._selector.select

    def poor(timeout=None):
        if len(refused) < 3:
            refused.append(timeout)
            if stops:
                loop.stop()
            raise MemoryError
        return select(timeout)

    async def work():
        for _ in range(5):
            await asyncio.sleep(0)
        return "done"

    loop._selector.select = poor
    try:
        if stops:
            loop.run_forever()
            assert len(refused) == 1
        else:
            assert loop.run_until_complete(work()) == "done"
            assert len(refused) == 3
        assert len(spent) == len(refused)
    finally:
        loop._selector.select = select
        loop.close()


def test_else_the_fast_one_runs():
    uvloop = pytest.importorskip("uvloop")
    (allowance := Allowance()).why = lambda: None
    loop = event_loop(allowance)
    assert isinstance(loop, uvloop.Loop)
    loop.close()
