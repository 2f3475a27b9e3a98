"""Engines that crash, hang, lie, leak, are slow, or change behind our back."""

from __future__ import annotations

import asyncio
import contextlib
import time

from tests.faults.bench import NORMAL, POLL, SIZE, Bench
from tests.faults.engines import WORD_TIME, Engine
from tests.faults.registry import fault
from tests.nvml.fake_nvml import GIB

GIVEN_UP = 1.5  # seconds until whoever waits for a model of an engine that is gone is told so
TRIES = 3  # requests for what does not fit; other clients ask for it as well
MANY_TRIES = 6.0  # seconds for one of them: others' loads come before its own
WHILE = 1.5  # seconds that something stays broken
LEAK = GIB // 8
MODEL = "c"  # of the router, which is what breaks


def sick(bench: Bench) -> Engine:
    return bench.engines["l"]


async def past(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def crash(engine: Engine) -> None:
    with contextlib.suppress(ConnectionResetError):
        await engine.crash()


async def is_gone(bench: Bench) -> None:
    """Until the model is not there, and nobody asks for it."""
    engine = sick(bench)

    async def gone() -> bool:
        if engine.is_doing(MODEL) == "loaded" and not engine.busy[MODEL]:
            await bench.daemon.post("evict", {"models": [f"l/{MODEL}"]})
        state = (await bench.daemon.models()).get(MODEL)
        return engine.is_doing(MODEL) == "gone" and state is None

    await bench.within(NORMAL, gone, "an unload")


@fault("an engine crashes while it loads", runs=10, limit=15.0, together=2)
async def crashes_loading(bench: Bench) -> None:
    """And stays away: whoever waits for its model is told, and others get theirs meanwhile."""
    engine = sick(bench)
    async with bench.trouble("crash", engines=("l",)):
        await is_gone(bench)
        engine.load_times[MODEL] = NORMAL
        asked = asyncio.create_task(bench.people.ask(MODEL))
        await bench.daemon.until(lambda: MODEL in engine.loading)
        await crash(engine)
        engine.load_times.clear()
        began = time.monotonic()
        request = await asked
        took = time.monotonic() - began
        if took > GIVEN_UP or request.ending == "cut":
            bench.history.say("I6", f"{request.ending} after {took:.1f} s: {request.words}")
        await engine.start()


@fault("a model needs more than there is", runs=20, limit=15.0, together=10)
async def too_big(bench: Bench) -> None:
    """Whoever asks for it is told when its engine has given up, and nobody goes on trying; once it
    fits it is loaded again."""
    engine = sick(bench)
    async with bench.trouble("too big", engines=("l",)):
        await is_gone(bench)
        engine.too_big = {MODEL}
        since = len(bench.history.calls)
        for _ in range(TRIES):
            began = time.monotonic()
            request = await bench.people.ask(MODEL)
            took = time.monotonic() - began
            if request.ending in ("cut", "whole") or took > MANY_TRIES:
                bench.history.say("I6", f"{request.ending} after {took:.1f} s: {request.words}")
        tries = [c for c in bench.history.calls[since:] if (c.kind, c.model) == ("load", MODEL)]
        if len(tries) > 2 * TRIES:
            bench.history.say("too big", f"tried {len(tries)} times for {TRIES} requests")
        engine.too_big = set()


@fault("an engine dies between ready and the first byte", runs=10, limit=15.0, together=2)
async def dies_first(bench: Bench) -> None:
    engine = sick(bench)
    async with bench.trouble("death", engines=("l",)):
        await bench.within(NORMAL, lambda: bench.people.probe(MODEL), "a first request")
        engine.breaks_after = "first"
        request = await bench.people.ask(MODEL)
        if request.ending == "cut" or (request.ending != "whole" and not request.words):
            bench.history.say("I6", f"{request.ending} without a word")
        engine.breaks_after = None
        if not engine._server.is_serving():
            await engine.start()


@fault("an engine hangs: it accepts, and never answers", runs=6, limit=10.0, together=3)
async def hangs(bench: Bench) -> None:
    engine = sick(bench)
    async with bench.trouble("hang", engines=("l",)):
        engine.fault = "hang"

        async def seen() -> bool:
            state = await bench.daemon.state()
            return any(not e["up"] for e in state["engines"])

        began = time.monotonic()
        await bench.within(7.0, seen, "an engine that hangs is seen to")
        if time.monotonic() - began > 6.0:
            bench.history.say("hang", "it took longer than three looks")
        await past(WHILE)
        engine.fault = None
        for task in list(engine._open):  # as a process that is stopped and started again
            task.cancel()


@fault("an engine answers with garbage", runs=6, limit=10.0, together=3)
async def garbage(bench: Bench) -> None:
    async with bench.trouble("garbage", engines=("l",)):
        sick(bench).fault = "garbage"
        await past(WHILE)
        sick(bench).fault = None


@fault("an engine hangs while it unloads", runs=6, limit=15.0, together=1)
async def hangs_unloading(bench: Bench) -> None:
    engine = sick(bench)
    async with bench.trouble("hang", engines=("l",)):
        engine.faults["POST /models/unload"] = "hang"
        asked = asyncio.create_task(bench.daemon.post("evict", {"all": True, "wait": False}))
        await past(WHILE)
        engine.faults.clear()
        for task in list(engine._open):
            task.cancel()
        await asyncio.gather(asked, return_exceptions=True)


@fault("an engine says that it has unloaded, and has not", runs=6, limit=10.0, together=1)
async def lies(bench: Bench) -> None:
    engine = sick(bench)
    async with bench.trouble("lie", engines=("l",)):
        engine.lies = True
        await bench.daemon.post("evict", {"all": True, "wait": False})
        await past(WHILE)
        engine.lies = False


@fault("an engine's memory comes back late", runs=6, limit=10.0, together=1)
async def late(bench: Bench) -> None:
    """Long after all waiting for it has ended."""
    engine = sick(bench)
    leave, loop = engine.on_unload, asyncio.get_running_loop()
    async with bench.trouble("late", engines=("l",)):
        engine.on_unload = lambda model: loop.call_later(WHILE, leave, model)
        await bench.daemon.post("evict", {"all": True, "wait": False})
        await past(WHILE)
        engine.on_unload = leave
        await past(WHILE)


@fault("an engine answers slowly", runs=6, limit=10.0, together=3)
async def slow(bench: Bench) -> None:
    """And others no slower for it."""
    engine, well = sick(bench), bench.engines["o"]
    since = bench.history.now()
    async with bench.trouble("slow", engines=("l",)):
        engine.gate.seconds = 0.5
        await past(2 * WHILE)
        engine.gate.seconds = WORD_TIME
    mine = [r for r in bench.history.requests if r.began >= since and r.engine == well.name]
    if any(r.ending is not None and (r.ended or 0) - r.began > NORMAL / 3 for r in mine):
        bench.history.say("slow", "requests to another engine are slow, too")


@fault("an engine changes its models behind our back", runs=6, limit=10.0, together=2)
async def changes(bench: Bench) -> None:
    engine, dice = sick(bench), bench.people.dice
    async with bench.trouble("change", engines=("l",), meddles=True):
        ends = bench.history.now() + WHILE
        while bench.history.now() < ends:
            model = dice.choice(engine.models)
            if engine.is_doing(model) == "loaded" and not engine.busy[model]:
                engine.drop(model)
            elif engine.is_doing(model) == "gone" and bench.free() > 2 * SIZE + 2 * GIB:
                engine.take(model)
            await past(POLL * dice.random() * 4)


@fault("an engine leaks on each load", runs=6, limit=10.0, together=1)
async def leaks(bench: Bench) -> None:
    """Until somebody starts it anew."""
    engine, lost = sick(bench), 0
    take = engine.on_load

    def leak(model: str) -> None:
        nonlocal lost
        take(model)
        lost += LEAK
        bench.strange(LEAK)

    async with bench.trouble("leak", engines=("l",)):
        engine.on_load = leak
        for _ in range(3):
            for model in engine.models:
                await bench.people.ask(model)
                await bench.daemon.post("evict", {"models": [f"l/{model}"], "wait": True})
        engine.on_load = take
        await crash(engine)
        bench.strange(-lost)
        await engine.start()


@fault("clients leave in the middle of an answer", runs=6, limit=3.0, together=3)
async def clients_leave(bench: Bench) -> None:
    """Within a second nobody is in flight for them."""
    engine = sick(bench)
    async with bench.trouble("leave", engines=("l",)):
        await bench.people.ask(MODEL)
        engine.gate.seconds = 0.4
        leaving = [asyncio.create_task(bench.people.leave(MODEL)) for _ in range(10)]
        left = sum(await asyncio.gather(*leaving))
        engine.gate.seconds = WORD_TIME

        async def nobody() -> bool:
            flying = (await bench.daemon.state())["gateway"]["in_flight"]
            busy = sum(r.ending is None for r in bench.history.requests if r.engine == "l")
            return sum(f["count"] for f in flying if f["model"].startswith("l/")) <= busy

        if left:
            await bench.within(1.0, nobody, "requests of clients that have left")
