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


@fault("SIGKILL of the daemon", runs=200, limit=6.0, together=20)
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


def kept(bench: Bench) -> dict[str, Any]:
    """What is on disk after the kill: sound, and with all that somebody was told of."""
    history = bench.history
    try:
        (sound,) = bench.rows("PRAGMA integrity_check")
        decisions = {id for (id,) in bench.rows("SELECT id FROM decisions")}
        learned = set(bench.rows("SELECT DISTINCT engine, model, pool FROM holdings"))
    except sqlite3.Error as error:
        history.say("I9", f"the journal cannot be read after the kill: {error}")
        return {"decisions": set(), "learned": set()}
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
            left = people.leases[lease["model"]][1] + TTL - history.now()
            if abs(lease["left"] - left) > LATE + 4.0:  # a load may have come before
                history.say("I10", f"a lease has {lease['left']} s left, and not {left:.1f}")
    if "set" not in people.perhaps and people.settings.get(SETTING) not in (None, setting["value"]):
        history.say("I9", f"{SETTING} is {setting['value']}, and not {people.settings[SETTING]}")
    ids = {d["id"] for d in await bench.daemon.decisions()}
    if lost := before["decisions"] - ids:
        history.say("I9", f"the new daemon does not know {sorted(lost)}")
    learned = set(bench.rows("SELECT DISTINCT engine, model, pool FROM holdings"))
    if lost := before["learned"] - learned:
        history.say("I9", f"what was learned of these is lost: {sorted(lost)}")
    _believe(bench, state)


def _same(what: str, promised: set[str], found: set[str], bench: Bench) -> None:
    unsure = {w.split(" ", 1)[1] for w in bench.people.perhaps if w.startswith(what + " ")}
    if lost := promised - found - unsure:
        bench.history.say("I9", f"lost with the daemon: {what} of {sorted(lost)}")
    if more := found - promised - unsure:
        bench.history.say("I9", f"nobody asked for it: {what} of {sorted(more)}")


def _believe(bench: Bench, state: dict[str, Any]) -> None:
    """From now on what was not sure is as the new daemon has it."""
    people = bench.people
    people.pins = set(state["pins"])
    ttl = {e["model"]: (e["id"], bench.history.now() + e["left"] - TTL) for e in state["leases"]}
    people.leases = {m: people.leases.get(m, ttl[m]) for m in ttl}
    people.perhaps.clear()
