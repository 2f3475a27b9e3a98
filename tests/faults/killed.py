"""The daemon is killed, at any moment of its life, and another one takes over."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import httpx

from tests.faults.bench import Bench
from tests.faults.people import SETTING, TTL
from tests.faults.registry import fault
from tests.readers import ends, readers_of

LATEST = 1.2  # seconds after its start until it is killed, at most
LATE = 1.0  # by how much a lease may seem to differ: a busy machine
YOUNG = 0.2  # of them are killed before they are ready
READY = 2.0  # seconds until a daemon has started
LEARNED = """SELECT engine, model, moment, context, slots, devices, pool, max(bytes, earlier)
FROM holdings"""


async def promise(bench: Bench) -> None:
    """Somebody is pinned, and somebody leased, and that stays so."""
    people = bench.people
    await people.stand_aside()
    while not people.pins:
        await people.pin()
    while not people.leases:
        await people.lease()


# Once in a while everybody is pinned or leased but one of an engine that does not say whom it
# serves, and that one counts as in use for five seconds after it was seen.
@fault("SIGKILL of the daemon", runs=200, limit=8.0, together=20, starts=READY)
async def killed(bench: Bench) -> None:
    dice, history = bench.people.dice, bench.history
    wishes = asyncio.create_task(_wishes(bench))
    await asyncio.sleep(dice.random() * LATEST)
    readers = readers_of(bench.daemon.pid)
    async with bench.trouble("SIGKILL", daemon=True) as trouble:
        await bench.kill()
        wishes.cancel()
        await asyncio.gather(wishes, return_exceptions=True)
        before = kept(bench)
        if not all(ends(pid) for pid in readers):
            history.say("I9", f"a reader of the driver is left: {readers}")
        if dice.random() < YOUNG:
            await _die_young(bench)
        trouble.lifted = history.now()
        since = len(history.calls)
        await bench.launch()
        await compare(bench, before)
    for call in history.calls[since:]:
        own = {d["trigger"] for d in call.decisions} & {"relief", "growth", "idle", "unused"}
        if call.kind == "unload" and own:
            history.say("I9", f"{call.model} goes by {own} right after a start")


async def _wishes(bench: Bench) -> None:
    while True:
        await bench.people.wish()
        await asyncio.sleep(bench.people.dice.random() / 10)


async def _die_young(bench: Bench) -> None:
    """Another one, that is killed on its way up."""
    started = asyncio.create_task(bench.launch())
    await asyncio.sleep(bench.people.dice.random())
    if started.done() or not hasattr(bench.daemon, "process"):
        await started
        await bench.kill()
        return
    started.cancel()
    await asyncio.gather(started, return_exceptions=True)
    process = bench.daemon.process
    if process.returncode is None:
        process.kill()
    await process.wait()
    await bench.daemon.reader
    bench.life.ended, bench.life.killed = bench.history.now(), True


def what_was_learned(bench: Bench) -> dict[tuple[Any, ...], int]:
    """The most bytes that each model held, so loaded, in each pool."""
    return {tuple(key): size for *key, size in bench.rows(LEARNED)}


def kept(bench: Bench) -> dict[str, Any]:
    """What is on disk: sound, and with all that somebody was told of."""
    history = bench.history
    try:
        (sound,) = bench.rows("PRAGMA integrity_check")
        decisions = {id for (id,) in bench.rows("SELECT id FROM decisions")}
        learned = what_was_learned(bench)
    except sqlite3.Error as error:
        history.say("I9", f"the journal cannot be read: {error}")
        return {"decisions": set(), "learned": {}}
    if sound != ("ok",):
        history.say("I9", f"the journal is not sound: {sound}")
    if lost := bench.people.decisions - decisions:
        history.say("I7", f"these were told of, and are not on disk: {sorted(lost)}")
    return {"decisions": decisions, "learned": learned}


async def compare(bench: Bench, before: dict[str, Any]) -> None:
    """What the new daemon says, beside what the old one had promised."""
    people, history = bench.people, bench.history
    try:
        state = await bench.daemon.state()
        setting = (await bench.daemon.client.get(f"/api/v1/settings/{SETTING}")).json()
    except httpx.HTTPError as error:
        history.say("I9", f"the new daemon does not say: {error!r}")
        return
    _same("pin", people.pins, set(state["pins"]), bench)
    _same("lease", set(people.leases), {lease["model"] for lease in state["leases"]}, bench)
    for lease in state["leases"]:
        if lease["model"] in people.leases:
            since, until = _granted(bench, *people.leases[lease["model"]])
            least, most = (at + TTL - history.now() for at in (since, until))
            if not least - LATE < lease["left"] < most + LATE:
                words = f"{lease['left']} s left, and not {least:.1f} to {most:.1f}"
                history.say("I10", f"a lease has {words}")
    if "set" not in people.perhaps and people.settings.get(SETTING) not in (None, setting["value"]):
        history.say("I9", f"{SETTING} is {setting['value']}, and not {people.settings[SETTING]}")
    ids = {d["id"] for d in await bench.daemon.decisions()}
    if lost := before["decisions"] - ids:
        history.say("I9", f"the new daemon does not know {sorted(lost)}")
    learned = what_was_learned(bench)
    less = {k: (n, learned.get(k)) for k, n in before["learned"].items() if learned.get(k, -1) < n}
    if less:
        history.say("I9", f"what was learned is lost, or is less: {less}")
    believe(bench, state)


def _granted(bench: Bench, id: str, asked: float) -> tuple[float, float]:
    """When it was asked for, and when it was answered: its model may have been loaded between."""
    for wish in reversed(bench.history.wishes):
        if wish.status == 201 and f'"{id}"' in wish.words and wish.answered is not None:
            return wish.at, wish.answered
    return asked, asked


def _same(what: str, promised: set[str], found: set[str], bench: Bench) -> None:
    unsure = {w.split(" ", 1)[1] for w in bench.people.perhaps if w.startswith(what + " ")}
    if lost := promised - found - unsure:
        bench.history.say("I9", f"lost with the daemon: {what} of {sorted(lost)}")
    if more := found - promised - unsure:
        bench.history.say("I9", f"nobody asked for it: {what} of {sorted(more)}")


def believe(bench: Bench, state: dict[str, Any]) -> None:
    """From now on what was not sure is as the new daemon has it."""
    people = bench.people
    people.pins = set(state["pins"])
    ttl = {e["model"]: (e["id"], bench.history.now() + e["left"] - TTL) for e in state["leases"]}
    people.leases = {m: people.leases.get(m, ttl[m]) for m in ttl}
    people.perhaps.clear()
