"""Engines that crash, hang, lie, leak, are slow, or change behind our back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from tests.faults.bench import NORMAL, POLL, SIZE, Bench
from tests.faults.engines import WORD_TIME, Engine
from tests.faults.history import Call, Request
from tests.faults.measures import count, fault_of, no_slower, no_tail, steady
from tests.faults.registry import fault
from tests.nvml.fake_nvml import GIB

WAITED = 10.0  # seconds for which an engine that is down is waited for
GIVEN_UP = 1.0  # seconds until whoever waits for a model of an engine that is gone is told so
TRIES = 3  # requests for what does not fit; other clients ask for it as well
MANY_TRIES = 6.0  # seconds for one of them: others' loads come before its own
WHILE = 1.5  # seconds that something stays broken
SLOW_WORD = 0.5  # seconds for each of three
LEAK = GIB // 8
MODEL = "c"  # of the router, which is what breaks
OTHER = "a"  # of the other engine, which is well
LOAD, UNLOAD = "POST /models/load", "POST /models/unload"
FAILED = 'ullage_model_loads_total{engine="l",result="failed"}'
SEEN = 6.0  # seconds until an engine that does not answer is seen to: three looks
LEAVING, LEFT = 10, 1.0  # clients; seconds until nobody works for one that has left
LONG_WORD = 3.0  # seconds: longer than that
NOTHING = "nothing came back"  # the verdict


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


async def told_to_go(bench: Bench) -> asyncio.Task[object]:
    """Until the engine has been told to unload its model, which was loaded before. Who asked for
    that is answered when it is done."""
    engine = sick(bench)
    before = len(engine.calls(UNLOAD))
    wish = {"models": [f"l/{MODEL}"], "wait": False}
    asked: asyncio.Task[object] = asyncio.create_task(asyncio.sleep(0))

    async def told() -> bool:
        nonlocal asked
        if len(engine.calls(UNLOAD)) > before:
            return True
        if asked.done() and engine.is_doing(MODEL) != "loaded":
            await bench.people.probe(MODEL)
        elif asked.done() and not engine.busy[MODEL]:
            asked = asyncio.create_task(bench.daemon.post("evict", wish))
        return False

    await bench.within(NORMAL, told, "an unload")
    return asked


def has_told(bench: Bench) -> Callable[[], bool]:
    """Whether the engine has been told to unload anything since."""
    engine = sick(bench)
    before = len(engine.calls(UNLOAD))
    return lambda: len(engine.calls(UNLOAD)) > before


def is_told_why(request: Request) -> bool:
    """By its status, or within a stream that had begun; and whose fault it is."""
    refused = request.ending == "refused" and request.status in (502, 503)
    within = request.ending == "told" and "error" in request.words
    return (refused or within) and f"{request.engine}/" in request.words


@fault("an engine crashes while it loads", runs=10, limit=15.0, together=2)
async def crashes_loading(bench: Bench) -> None:
    """And stays away: whoever waits for its model is told, and others get theirs meanwhile. The
    load counts as failed, and who comes next waits for its engine for a while alone."""
    engine, failed = sick(bench), await count(bench, FAILED)
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
        if took > GIVEN_UP or not is_told_why(request):
            told = f"{request.ending} ({request.status}) after {took:.1f} s: {request.words}"
            bench.history.say("I6", told)

        async def noted() -> bool:
            return await count(bench, FAILED) > failed and bool(await fault_of(bench, "l"))

        await bench.within(GIVEN_UP, noted, "a load that failed, and an engine that is down")
        began = time.monotonic()
        request = await bench.people.ask(MODEL)
        took = time.monotonic() - began
        if took > WAITED + GIVEN_UP or not is_told_why(request):
            told = f"{request.ending} after {took:.1f} s: {request.words}"
            bench.history.say("crash", f"the next one is {told}")
        await engine.start()


@fault("a model needs more than there is", runs=20, limit=15.0, together=10)
async def too_big(bench: Bench) -> None:
    """Whoever asks for it is told when its engine has given up, and nobody goes on trying; once it
    fits it is loaded again."""
    engine = sick(bench)
    tries: list[Call] = []
    async with bench.trouble("too big", proof=lambda: bool(tries), engines=("l",)):
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
    engine, died = sick(bench), False
    async with bench.trouble("death", proof=lambda: died, engines=("l",)):
        await bench.within(NORMAL, lambda: bench.people.probe(MODEL), "a first request")
        engine.breaks_after = "first"
        request = await bench.people.ask(MODEL)
        if request.ending == "cut" or (request.ending != "whole" and not request.words):
            bench.history.say("I6", f"{request.ending} without a word")
        died = engine.breaks_after is None
        engine.breaks_after = None
        if not engine._server.is_serving():
            await engine.start()


@fault("an engine hangs: it accepts, and never answers", runs=6, limit=10.0, together=3)
async def hangs(bench: Bench) -> None:
    """That is seen within three looks. There is no breaker that would open beside that: an engine
    that is not up is told nothing, and others are as quick as before."""
    engine, since = sick(bench), bench.history.now()
    await bench.within(NORMAL, lambda: bench.people.probe(OTHER), "a first request")
    before = await steady(bench, OTHER, WHILE)
    async with bench.trouble("hang", engines=("l",)) as trouble:
        engine.fault = "hang"
        others = asyncio.create_task(steady(bench, OTHER, 2 * WHILE))
        await is_down(bench, "no answer within")
        orders = len(engine.calls(LOAD)), len(engine.calls(UNLOAD))
        await past(WHILE)
        if orders != (now := (len(engine.calls(LOAD)), len(engine.calls(UNLOAD)))):
            bench.history.say("hang", f"it is down, and is told things: {orders}, then {now}")
        no_slower(bench, before, await others, "an engine hangs")
        no_tail(bench, trouble, since)
        engine.fault = None
        for task in list(engine._open):  # as a process that is stopped and started again
            task.cancel()


async def is_down(bench: Bench, *whys: str) -> None:
    """Until the daemon has seen it, and says why; within three looks."""

    async def seen() -> bool:
        fault = await fault_of(bench, "l")
        return any(why in fault for why in whys)

    await bench.within(SEEN, seen, f"an engine is seen to be down: {whys}")


@fault("an engine answers with garbage", runs=6, limit=10.0, together=3)
async def garbage(bench: Bench) -> None:
    async with bench.trouble("garbage", engines=("l",)):
        sick(bench).fault = "garbage"
        await is_down(bench, "not JSON", "is no llamacpp server")  # whatever it was asked last
        await past(WHILE)
        sick(bench).fault = None


@fault("an engine hangs while it unloads", runs=6, limit=15.0, together=1)
async def hangs_unloading(bench: Bench) -> None:
    engine = sick(bench)
    async with bench.trouble("hang", proof=has_told(bench), engines=("l",)):
        engine.faults[UNLOAD] = "hang"
        asked = await told_to_go(bench)
        await past(WHILE)
        engine.faults.clear()
        for task in list(engine._open):
            task.cancel()
        await asked


@fault("an engine says that it has unloaded, and has not", runs=6, limit=10.0, together=1)
async def lies(bench: Bench) -> None:
    """What came back is measured, and written down; once that is known others go in its place, and
    who asks for theirs gets them."""
    engine, since = sick(bench), time.time()
    async with bench.trouble("lie", proof=has_told(bench), engines=("l",)):
        engine.lies = True
        asked = await told_to_go(bench)
        await bench.within(NORMAL, lambda: judged(bench, since, NOTHING), "a verdict on a lie")
        for model in bench.engines["o"].models:
            await bench.within(NORMAL, lambda m=model: bench.people.probe(m), f"{model} meanwhile")
        engine.lies = False
        await asked


@fault("an engine's memory comes back late", runs=6, limit=10.0, together=1)
async def late(bench: Bench) -> None:
    """Long after all waiting for it has ended; which is how long, is written down."""
    engine, since = sick(bench), time.time()
    leave, loop = engine.on_unload, asyncio.get_running_loop()
    async with bench.trouble("late", proof=has_told(bench), engines=("l",)):
        engine.on_unload = lambda model: loop.call_later(WHILE, leave, model)
        await (await told_to_go(bench))
        await bench.within(NORMAL, lambda: judged(bench, since, NOTHING), "a verdict on the late")
        await past(WHILE)
        engine.on_unload = leave
        await past(WHILE)


async def judged(bench: Bench, since: float, verdict: str) -> bool:
    """Whether an unload at the engine that is sick has come to this, since this Unix time; and
    for so long it was waited for."""
    rows = (await bench.daemon.get("decisions", limit="50"))["decisions"]
    for one in (o for d in rows for o in d["outcomes"]):
        mine = one["at"] >= since and one["action"] == "evict" and one["model"].startswith("l/")
        if mine and (one["judgement"] or {}).get("verdict") == verdict:
            if one["took"] < bench.history.settle:
                bench.history.say("late", f"it was waited for for {one['took']} s alone")
            return True
    return False


@fault("an engine answers slowly", runs=6, limit=10.0, together=3)
async def slow(bench: Bench) -> None:
    """And others no slower for it."""
    engine, since = sick(bench), bench.history.now()
    await bench.within(NORMAL, lambda: bench.people.probe(OTHER), "a first request")
    before = await steady(bench, OTHER, WHILE)

    def was_slow() -> bool:
        mine = [r for r in bench.history.requests if r.began >= since and r.engine == engine.name]
        return any(r.ending == "whole" and (r.ended or 0.0) - r.began > SLOW_WORD for r in mine)

    async with bench.trouble("slow", proof=was_slow, engines=("l",)) as trouble:
        engine.gate.seconds = SLOW_WORD
        asked = asyncio.create_task(bench.people.ask(MODEL))
        no_slower(bench, before, await steady(bench, OTHER, 2 * WHILE), "an engine is slow")
        no_tail(bench, trouble, since)
        await asked
        engine.gate.seconds = WORD_TIME


@fault("an engine changes its models behind our back", runs=6, limit=10.0, together=2)
async def changes(bench: Bench) -> None:
    engine, dice, done = sick(bench), bench.people.dice, 0
    async with bench.trouble("change", proof=lambda: done > 0, engines=("l",), meddles=True):
        ends = bench.history.now() + WHILE
        while bench.history.now() < ends:
            model = dice.choice(engine.models)
            if engine.is_doing(model) == "loaded" and not engine.busy[model]:
                engine.drop(model)
                done += 1
            elif engine.is_doing(model) == "gone" and bench.free() > 2 * SIZE + 2 * GIB:
                engine.take(model)
                done += 1
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

    async with bench.trouble("leak", proof=lambda: lost > 0, engines=("l",)):
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
    """Within a second their requests have ended at the engine, and nobody is in flight for them."""
    engine, left = sick(bench), 0
    async with bench.trouble("leave", proof=lambda: left > 0, engines=("l",)):
        await bench.within(NORMAL, lambda: bench.people.probe(MODEL), "a first request")
        engine.gate.seconds = LONG_WORD
        leaving = [asyncio.create_task(bench.people.leave(MODEL)) for _ in range(LEAVING)]
        engine.hung_up = 0  # from now on they are counted
        left = sum(await asyncio.gather(*leaving))

        async def nobody() -> bool:
            flying = (await bench.daemon.state())["gateway"]["in_flight"]
            busy = sum(r.ending is None for r in bench.history.requests if r.engine == "l")
            return sum(f["count"] for f in flying if f["model"].startswith("l/")) <= busy

        began = time.monotonic()
        await bench.within(LEFT, nobody, "requests of clients that have left")

        async def stopped() -> bool:
            return (engine.hung_up or 0) >= left

        rest = max(POLL, began + LEFT - time.monotonic())
        await bench.within(rest, stopped, f"{left} requests that end at the engine")
        engine.gate.seconds, engine.hung_up = WORD_TIME, None
        for task in list(engine._open):  # whoever has not left waits for so long a word
            task.cancel()
