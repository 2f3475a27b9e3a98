"""Models that are processes of the daemon's own: they are killed while they load and while they
serve, they refuse to end, and the daemon is killed over their heads."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import httpx

from tests.faults import book
from tests.faults.bench import POLL, Bench
from tests.faults.engines_fail import GIVEN_UP
from tests.faults.history import Promise
from tests.faults.registry import fault

A, B = "alpha", "beta"
OWN = "own"
PROGRAM = Path(__file__).with_name("child.py")
GRACE = 1.0  # seconds that one is asked to end before it is killed
PATIENCE = 10.0


def with_children(bench: Bench, ends: str = "stop") -> None:
    """Two models more, each a process of its own."""
    folder(bench).mkdir()
    bench.book = folder(bench) / "book"
    journal = bench.folder / "s" / "journal.db"  # there is no daemon yet
    command = [sys.executable, "-I", "-S", str(PROGRAM), "${PORT}", f"{OWN}/${{MODEL}}"]
    command += [str(folder(bench)), str(journal)]
    bench.tables += "\n".join(
        [
            f'\n[engines.{OWN}]\nkind = "process"\ncommand = {json.dumps(command)}',
            f'stop_timeout = "{GRACE:g}s"\nwhen_daemon_ends = "{ends}"',
            *(f'[engines.{OWN}.served.{m}]\nsize = "16MiB"' for m in (A, B)),
        ]
    )
    bench.others = dict.fromkeys((A, B), OWN)
    bench.ends.append(lambda: [os.kill(pid, signal.SIGKILL) for pid, _ in living(bench)])


with_kept = partial(with_children, ends="keep")


def folder(bench: Bench) -> Path:
    return bench.folder / "children"


def begun(bench: Bench) -> list[tuple[int, str]]:
    """All that ever began, in their order: pid, model."""
    return [(p.pid, p.model) for p in book.begun(folder(bench) / "book")]


def living(bench: Bench) -> list[tuple[int, str]]:
    return [(p.pid, p.model) for p in book.living(book.begun(folder(bench) / "book"))]


async def first(bench: Bench, model: str = A) -> int:
    """The process of a model, as soon as it runs."""
    async with asyncio.timeout(PATIENCE):
        while not (found := [pid for pid, m in living(bench) if m == model]):
            await asyncio.sleep(POLL)
    return found[-1]


async def served(bench: Bench, *models: str) -> None:
    for model in models:
        await bench.within(PATIENCE, partial(bench.people.probe, model), f"a request to {model}")


def once_each(bench: Bench) -> None:
    """At most one process a model, and none that the daemon does not know."""
    here = living(bench)
    if len({model for _, model in here}) != len(here):
        bench.history.say("children", f"more than one process of a model: {here}")
    known = {}
    for file in bench.daemon.folder.glob("engines/*/*.json"):
        record = json.loads(file.read_text())
        known[record["pid"]] = record["model"]
    if lost := [pid for pid, model in here if known.get(pid) != model]:
        bench.history.say("children", f"nobody knows of {lost}: {here}, {known}")


def at_once(bench: Bench, ending: str | None, took: float, words: str) -> None:
    if took > GIVEN_UP or ending == "cut":
        bench.history.say("I6", f"{ending} after {took:.1f} s: {words}")


@fault("a process of ours is killed while it loads", 20, 5.0, adapt=with_children, together=5)
async def killed_loading(bench: Bench) -> None:
    """Whoever waits is told at once, and the next one who asks has it started anew."""
    slow = folder(bench) / "slow"
    async with bench.trouble("kill", engines=(OWN,)):
        await gone(bench)
        slow.touch()
        asked = asyncio.create_task(bench.people.ask(A))
        pid = await first(bench)
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        request = await asked
        at_once(bench, request.ending, time.monotonic() - began, request.words)
        slow.unlink()
        await served(bench, A)
    once_each(bench)


@fault("a process of ours is killed while it serves", 20, 5.0, adapt=with_children, together=5)
async def killed_serving(bench: Bench) -> None:
    """Before that an operator wishes it away, in vain: while it is pinned, even by force; while it
    is leased; and while it serves. Whether it is told to go is judged by what it has written."""
    pace = folder(bench) / "pace"
    async with bench.trouble("kill", engines=(OWN,)):
        await served(bench, A)
        await stays_pinned(bench, A)
        await stays_leased(bench, A)
        pace.write_text("30")
        asked = [asyncio.create_task(bench.people.ask(A)) for _ in range(3)]
        pid = await first(bench)
        mine = [r for r in bench.people.under_way() if r.model == A]
        async with asyncio.timeout(PATIENCE):
            while not (mine and all(r.first is not None for r in mine)):
                await asyncio.sleep(POLL)
                mine = [r for r in bench.people.under_way() if r.model == A]
        await to_go(bench, A)
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        for request in await asyncio.gather(*asked):
            at_once(bench, request.ending, time.monotonic() - began, request.words)
        pace.unlink()
        await served(bench, A)
    once_each(bench)


@fault("a process of ours refuses to end", 10, 5.0, adapt=with_children, together=5)
async def refuses(bench: Bench) -> None:
    """It is killed when its time is over, and its model is told to be gone when it is."""
    deaf = folder(bench) / "deaf"
    async with bench.trouble("deaf", engines=(OWN,)):
        await gone(bench)
        deaf.touch()
        await served(bench, A)
        pid = await first(bench)
        deaf.unlink()
        began = time.monotonic()
        reply = await _unload(bench, A)
        took = time.monotonic() - began
        if pid in dict(living(bench)):
            bench.history.say("children", f"told to be gone, and runs on: {reply.text}")
        if took > GRACE + 3.0:
            bench.history.say("children", f"its end took {took:.1f} s")
        await served(bench, A)
    once_each(bench)


@asynccontextmanager
async def _killed(bench: Bench) -> AsyncIterator[set[int]]:
    """While one serves and the other loads, or not yet: who ran then. There is no daemon within,
    and the next one after."""
    async with bench.trouble("SIGKILL", daemon=True, engines=(OWN,)) as trouble:
        before = await _at_work(bench)
        await bench.kill()
        yield before
        trouble.lifted = bench.history.now()
        (folder(bench) / "slow").unlink(missing_ok=True)
        await bench.launch()
        await served(bench, A, B)


@fault("the daemon is killed, and its processes with it", 10, 8.0, adapt=with_children, together=5)
async def killed_with_them(bench: Bench) -> None:
    async with _killed(bench) as before:
        await _within(bench, lambda: not living(bench), "processes are left of a daemon")
    if before & {pid for pid, _ in living(bench)}:
        bench.history.say("children", "somebody outlived the daemon")
    once_each(bench)


@fault("the daemon is killed, and its processes live on", 10, 8.0, adapt=with_kept, together=5)
async def killed_over_them(bench: Bench) -> None:
    """The next one takes them up: who served serves on, and nobody is started twice."""
    async with _killed(bench):
        before = living(bench)
    after = living(bench)
    if lost := set(before) - set(after):
        bench.history.say("children", f"of {before} {sorted(lost)} were not taken up: {after}")
    once_each(bench)


async def _at_work(bench: Bench) -> set[int]:
    """One serves; the other may be on its way."""
    await served(bench, A)
    await _unload(bench, B)
    (folder(bench) / "slow").touch()
    bench.people.asks(B)
    await asyncio.sleep(bench.people.dice.random() / 4)
    return {pid for pid, _ in living(bench)}


async def gone(bench: Bench) -> None:
    await _unload(bench, A)
    await _within(bench, lambda: all(m != A for _, m in living(bench)), "it did not end")


async def _unload(bench: Bench, model: str) -> httpx.Response:
    """Whoever seems to be at work, or to load still, is no reason to wait."""
    async with asyncio.timeout(PATIENCE):
        with promised(bench, "forced", model):
            while not (reply := await to_go(bench, model, force=True)).json()["ok"]:
                await asyncio.sleep(POLL)
    return reply


async def to_go(bench: Bench, model: str, *, force: bool = False) -> httpx.Response:
    """An operator asks for it, once. Answered when it is gone, or where it may not go now."""
    wish = {"models": [f"{OWN}/{model}"], "wait": force, "force": force}
    return await bench.daemon.post("evict", wish)


async def stays_pinned(bench: Bench, model: str) -> None:
    ref = {"model": f"{OWN}/{model}"}
    (await bench.daemon.post("pin", ref)).raise_for_status()
    with promised(bench, "pinned", model):
        await to_go(bench, model, force=True)
    (await bench.daemon.post("unpin", ref)).raise_for_status()


async def stays_leased(bench: Bench, model: str) -> None:
    wish = {"model": f"{OWN}/{model}", "client": "bench", "ttl": "60s"}
    reply = (await bench.daemon.post("leases", wish)).raise_for_status()
    lease = reply.json()["lease"]["id"]
    with promised(bench, "leased", model):
        await to_go(bench, model)
    (await bench.daemon.client.delete(f"/api/v1/leases/{lease}")).raise_for_status()


@contextmanager
def promised(bench: Bench, what: str, model: str) -> Iterator[None]:
    promise = Promise(what, f"{OWN}/{model}", bench.history.now())
    bench.history.promises.append(promise)
    try:
        yield
    finally:
        promise.ended = bench.history.now()


async def _within(bench: Bench, true: Callable[[], bool], what: str) -> None:
    async def so() -> bool:
        return true()

    await bench.within(PATIENCE, so, what)
