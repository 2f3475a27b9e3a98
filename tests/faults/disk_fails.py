"""The disk below the daemon is full, fails, is slow, or may only be read."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import partial

from tests.daemon import ULLAGE
from tests.faults.below import Below
from tests.faults.bench import NORMAL, Bench
from tests.faults.children_fail import A, begun, gone, served, with_children
from tests.faults.engines_fail import past
from tests.faults.history import NEVER
from tests.faults.killed import compare, kept
from tests.faults.registry import fault

WHILE = 2.0  # seconds that something stays broken
SLOWLY = 3.5  # seconds that the disk is slow; WAITED is how long anybody waits for it
WAITED = 2.0  # seconds, as the runbook says
STALL = 0.4  # seconds that a write takes on a disk that is overwhelmed
SLOW = 0.25  # seconds that the daemon may take to say that it lives: it waits for no disk
GAP = 1.8  # seconds between two samples, of which there are ten a second; a busy machine
STALLS = (0.005, 0.02, 0.04)  # seconds that a write takes; one of a decision has some ten
SMALL = "32m"  # a file system of its own, with room for the journal


def on_such_a_disk(bench: Bench) -> None:
    bench.below = Below(bench.folder, bench.folder / "s")
    bench.env |= bench.below.env


async def written(bench: Bench) -> bool:
    return await bench.daemon.metric("ullage_journal_lag") == 0


async def all_is_written(bench: Bench) -> None:
    await bench.within(NORMAL, lambda: written(bench), "the journal is on disk again")


def no_room(bench: Bench) -> Callable[[], object]:
    assert bench.below is not None
    bench.below.full()
    return bench.below.sound


def no_growth(bench: Bench) -> Callable[[], object]:
    """No file may be larger than half of the journal."""
    limit(bench, resource.RLIMIT_FSIZE, bench.journal.stat().st_size // 2)
    return lambda: limit(bench, resource.RLIMIT_FSIZE, resource.RLIM_INFINITY)


def broken(bench: Bench) -> Callable[[], object]:
    assert bench.below is not None
    bench.below.broken()
    return bench.below.sound


def read_only(bench: Bench) -> Callable[[], object]:
    assert bench.below is not None
    bench.below.read_only()
    return bench.below.sound


def filled(bench: Bench) -> Callable[[], object]:
    """To the last byte, by a file of somebody else's."""
    file = bench.daemon.folder / "filler"
    with file.open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(bytes(4096)):
            pass
    return file.unlink


FULL = (no_room, no_growth)


def limit(bench: Bench, what: int, soft: int) -> None:
    hard = resource.prlimit(bench.daemon.pid, what)[1]
    resource.prlimit(bench.daemon.pid, what, (soft, hard))


async def _fails(bench: Bench, what: str, begin: Callable[[Bench], Callable[[], object]]) -> None:
    """Everybody is served while nothing can be written; what was decided meanwhile, and told, is
    on disk once it can be."""
    before = await failures(bench)
    async with bench.trouble(what, disk=True):
        mended = begin(bench)
        await failing(bench, before)
        await past(WHILE)
        await bench.people.look()
        mended()
        await all_is_written(bench)
    kept(bench)
    stands = {key for (key,) in bench.rows("SELECT key FROM shelves WHERE shelf = 'pins'")}
    unsure = {w.partition(" ")[2] for w in bench.people.perhaps}
    if lost := bench.people.pins - stands - unsure:
        bench.history.say("I9", f"pinned, and not on disk: {sorted(lost)}")


@fault("the disk is full", runs=6, limit=35.0, together=6, adapt=on_such_a_disk)
async def disk_full(bench: Bench) -> None:
    """By turns: there is no room, and files may not grow."""
    await _fails(bench, "full", FULL[len(bench.history.troubles) % len(FULL)])


@fault("the disk answers with errors", runs=4, limit=35.0, together=4, adapt=on_such_a_disk)
async def disk_broken(bench: Bench) -> None:
    await _fails(bench, "broken", broken)


@fault("the disk may only be read any more", runs=6, limit=35.0, together=3, adapt=on_such_a_disk)
async def becomes_read_only(bench: Bench) -> None:
    """As a file system that has found itself broken."""
    await _fails(bench, "read-only", read_only)


async def failures(bench: Bench) -> float:
    return await bench.daemon.metric("ullage_journal_write_failures_total")


async def failing(bench: Bench, before: float = 0.0) -> None:
    """Until it is seen that nothing can be written, and something waits for that."""

    async def seen() -> bool:
        await bench.people.wish()
        return await failures(bench) > before and not await written(bench)

    await bench.within(NORMAL, seen, "a write that fails, and waits")


def cannot_mount() -> str | None:
    """Why no folder can be mounted for a process alone. None: one can."""
    unshare, mount = shutil.which("unshare"), shutil.which("mount")
    if unshare is None or mount is None:
        return "needs unshare and mount"
    tried = subprocess.run([unshare, "-m", mount, "--bind", "/", "/mnt"], capture_output=True)
    return None if tried.returncode == 0 else "needs the right to mount (root)"


# Mounts the folder upon itself, so that it may only be read, and may be written to after a while.
READ_ONLY = """
mount --bind "$STATE_DIRECTORY" "$STATE_DIRECTORY"
mount -o remount,bind,ro "$STATE_DIRECTORY"
exec "$@"
"""
WRITABLE = 'mount -o remount,bind,rw "$STATE_DIRECTORY"'


@fault(
    "the disk may only be read as the daemon starts",
    runs=4,
    limit=40.0,
    together=2,
    missing=cannot_mount,
)
async def starts_read_only(bench: Bench) -> None:
    """After a kill: what is in its files is in force, and it is written once that can be."""
    daemon, history = bench.daemon, bench.history
    while not bench.people.pins:
        await bench.people.pin()
    async with bench.trouble("read-only", daemon=True, disk=True) as trouble:
        await bench.kill()
        daemon.program = ("unshare", "-m", "sh", "-ec", READ_ONLY, "sh", *ULLAGE)
        await bench.launch()
        daemon.program = ULLAGE
        if set((await daemon.state())["pins"]) != bench.people.pins:
            history.say("I9", f"pins are not those that were kept: {bench.people.pins}")
        await failing(bench)
        inside = ("nsenter", "-m", "-t", str(daemon.pid), "sh", "-ec", WRITABLE)
        done = await asyncio.create_subprocess_exec(*inside, env=daemon.env)
        assert await done.wait() == 0
        trouble.lifted = history.now()
        await all_is_written(bench)


def on_a_small_disk(bench: Bench) -> None:
    """A file system of its own, for what the daemon keeps."""
    folder = bench.folder / "s"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)
    bench.ends.append(partial(subprocess.run, ["umount", "-l", str(folder)], check=True))


@fault(
    "the file system is full to its last byte",
    runs=4,
    limit=35.0,
    together=2,
    adapt=on_a_small_disk,
    missing=cannot_mount,
)
async def disk_filled(bench: Bench) -> None:
    await _fails(bench, "filled", filled)


def with_children_on_such_a_disk(bench: Bench) -> None:
    on_such_a_disk(bench)
    with_children(bench)


@fault("the disk is slow", runs=4, limit=5.0, together=4, adapt=with_children_on_such_a_disk)
async def disk_slow(bench: Bench) -> None:
    """Whoever must have it in writing waits, but not for ever; nobody else does, and the loop does
    not. By turns: so slow that they wait in vain, and not so slow that anything is done before it
    is written. A process of our own is begun meanwhile."""
    assert bench.below is not None
    daemon, late, most = bench.daemon, 0.0, 0.0
    stall = (STALL, max(STALLS))[len(bench.history.troubles) % 2]
    waited = WAITED if stall == STALL else NEVER
    await gone(bench)
    async with bench.trouble("slow", proof=lambda: most > 0, unwritten=waited):
        bench.below.slow(stall)
        were, since = len(begun(bench)), time.monotonic()
        child = asyncio.create_task(served(bench, A))

        def is_over() -> bool:
            """A load that has some of RAM, too, may come before that of our own process."""
            lasted = time.monotonic() - since
            has_begun = waited != NEVER or len(begun(bench)) > were
            return lasted >= (SLOWLY if has_begun else 3 * SLOWLY)

        while not is_over():
            began = time.monotonic()
            assert (await daemon.client.get("/healthz")).status_code == 200
            late = max(late, time.monotonic() - began)
            most = max(most, await daemon.metric("ullage_journal_lag"))
            age = (await daemon.state())["sample_age"]
            if age > GAP:
                bench.history.say("loop", f"the last sample is {age} s old, as the disk is slow")
        if late > SLOW:
            bench.history.say("loop", f"the daemon did not answer for {late:.2f} s")
        if waited == NEVER and len(begun(bench)) == were:
            bench.history.say("bench", "no process has begun while the disk was slow")
        bench.below.sound()
        await child


@fault("SIGKILL on a slow disk", runs=20, limit=10.0, together=5, adapt=on_such_a_disk)
async def killed_on_slow_disk(bench: Bench) -> None:
    """While writes wait for it. Whoever was answered was so when it stood there; and what an engine
    was told to do stood there before."""
    assert bench.below is not None
    people, history, waits = bench.people, bench.history, False
    wishes = asyncio.create_task(_claims(bench))

    async def queued() -> bool:
        nonlocal waits
        waits = not await written(bench)
        return waits

    async with bench.trouble("SIGKILL", proof=lambda: waits, daemon=True) as trouble:
        bench.below.slow(people.dice.choice(STALLS))
        await past(people.dice.random())
        await bench.within(NORMAL, queued, "writes that wait for a slow disk")
        await bench.kill()
        wishes.cancel()
        await asyncio.gather(wishes, return_exceptions=True)
        bench.below.sound()
        mine = [c for c in history.calls if c.life == len(history.lives) - 1]
        # Those alone: what people read of others may not have been on disk yet.
        people.decisions = {d["id"] for call in mine for d in call.decisions}
        before = kept(bench)
        trouble.lifted = history.now()
        await bench.launch()
        await compare(bench, before)


async def _claims(bench: Bench) -> None:
    """One after the other."""
    while True:
        await bench.people.wish()
