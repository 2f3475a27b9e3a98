"""The daemon's control group has a limit on its memory, as MemoryMax= or a container sets one:
it is full of cached files, a model takes more than there is, the daemon itself is killed for it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.faults.bench import POLL, Bench
from tests.faults.children_fail import A, begun, folder, gone, once_each, with_children
from tests.faults.group import Group, make, missing
from tests.faults.killed import compare, kept
from tests.faults.registry import fault

MIB = 1 << 20
SPARE = 32 * MIB  # bytes that are left to it
CACHED, ROUNDS = 256 * MIB, 3  # of a file that is written again and again
MORE = 96 * MIB  # that somebody else takes
PATIENCE = 20.0

# Writes a file, all of which the kernel keeps as long as it can.
FILLS = f"""
import os, sys
for _ in range({ROUNDS}):
    with open(sys.argv[1], "wb") as file:
        for _ in range({CACHED // MIB}):
            file.write(os.urandom(1024) * 1024)
        file.flush()
        os.fsync(file.fileno())
"""
# Takes memory, and goes when its input ends.
TAKES = f"""
import sys
taken = b"x" * {MORE}
sys.stdin.read()
"""


def in_a_group(bench: Bench) -> None:
    group = make()
    bench.group, bench.before = group, group.enter
    bench.ends.append(partial(_left, group))


def first_to_go(bench: Bench) -> None:
    """Anybody may say so of himself; that another goes first takes rights that root may lack."""
    in_a_group(bench)
    assert bench.group is not None
    enter = bench.group.enter

    def before() -> None:
        enter()
        Path("/proc/self/oom_score_adj").write_text("1000")

    bench.before = before


def with_children_in_a_group(bench: Bench) -> None:
    with_children(bench)
    in_a_group(bench)


def _left(group: Group) -> None:
    """Who was in it may take a moment to be gone."""
    deadline = time.monotonic() + PATIENCE
    while group.folder.is_dir() and time.monotonic() < deadline:
        group.remove()
        time.sleep(POLL)


@contextmanager
def _tight(bench: Bench) -> Iterator[tuple[Group, int]]:
    """While it lasts there is little more to be had than is taken: the group, and its limit."""
    group = bench.group
    assert group is not None
    most = group.used + SPARE
    group.limit(most)
    try:
        yield group, most
    finally:
        group.limit()


def _stayed(bench: Bench, pid: int) -> bool:
    if bench.daemon.process.returncode is None and bench.daemon.pid == pid:
        return True
    bench.history.say("end", f"the daemon has ended: {bench.daemon.log[-500:]}")
    return False


@fault("its control group is full of cached files", 3, 10.0, adapt=in_a_group, missing=missing)
async def full_of_files(bench: Bench) -> None:
    """What the kernel can have back kills nobody, and everybody is served meanwhile."""
    pid, file = bench.daemon.pid, bench.folder / "cached"
    async with bench.trouble("cached"):
        with _tight(bench) as (group, limit):
            before = group.kills
            writer = await asyncio.create_subprocess_exec(
                sys.executable, "-c", FILLS, str(file), preexec_fn=group.enter
            )
            most = 0
            while writer.returncode is None:
                most = max(most, group.used)
                await asyncio.sleep(POLL)
            file.unlink()
            if writer.returncode or group.kills > before:
                bench.history.say("bench", f"{group.kills - before} killed for cached files")
            if most < limit - SPARE // 2:
                bench.history.say("bench", f"{most >> 20} of {limit >> 20} MiB: it was not full")
        _stayed(bench, pid)


@fault(
    "a model of ours takes more than its control group has",
    6,
    12.0,
    adapt=with_children_in_a_group,
    together=3,
    missing=missing,
)
async def a_model_takes_all(bench: Bench) -> None:
    """The kernel kills the model, not the daemon: whoever asked is told, and it is started anew."""
    pid, greedy = bench.daemon.pid, folder(bench) / "greedy"
    async with bench.trouble("greedy", engines=("own",)):
        await gone(bench)
        with _tight(bench) as (group, _):
            killed, were = group.kills, len(begun(bench))
            greedy.write_text(str(2 * SPARE))
            request = await bench.people.ask(A)
            killed, were = group.kills - killed, len(begun(bench)) - were
            if request.ending in ("whole", "cut") or not killed or not were:
                words = f"{request.ending}, {were} begun, {killed} killed: {request.words}"
                bench.history.say("children", f"a model took more than there is: {words}")
            greedy.unlink()
        if _stayed(bench, pid):
            # What did not fit is refused for ten seconds.
            await bench.within(PATIENCE, partial(bench.people.probe, A), f"a request to {A}")
    once_each(bench)


@fault(
    "the daemon is killed for want of memory",
    4,
    10.0,
    adapt=first_to_go,
    together=2,
    missing=missing,
)
async def killed_for_memory(bench: Bench) -> None:
    """By the kernel, for somebody else in its group. The next one has everything."""
    history = bench.history
    for _ in range(8):
        await bench.people.wish()
    async with bench.trouble("killed", daemon=True) as trouble:
        with _tight(bench) as (group, _):
            other = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", TAKES),
                stdin=asyncio.subprocess.PIPE,
                preexec_fn=group.enter,
            )
            try:
                if not await bench.was_killed(PATIENCE):
                    used = f"{group.used >> 20} MiB used, {group.kills} killed"
                    history.say("bench", f"the kernel has not killed the daemon: {used}")
                    return
            finally:
                await other.communicate(b"")
        before = kept(bench)
        trouble.lifted = history.now()
        await bench.launch()
        await compare(bench, before)
