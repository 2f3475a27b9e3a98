"""The driver, the configuration and its files fail under the daemon, and it is ended at work."""

from __future__ import annotations

import asyncio
import signal
import sys
from functools import partial
from pathlib import Path

from tests.faults.bench import NORMAL, POLL, RESERVE, Bench
from tests.faults.engines import WORD_TIME
from tests.faults.engines_fail import past
from tests.faults.history import NEVER, Request, Trouble
from tests.faults.registry import fault
from tests.readers import GPU, readers_of

UNKNOWN = 3.0  # seconds after which nobody believes what was read before: see I2
DARK, SHORT = 5.0, 1.0  # seconds that it stays so, and that there is too little after
AT_ONCE = 2.0  # seconds for the three words of whoever is loaded, on a busy machine
LOST = 15  # of NVML
REWRITES, STREAMS = 500, 200
MOST, MISTAKE = "max_active_backends", "prefetsh = 1\n"
SOON = 3.0  # seconds until the log has been read
TOKEN = "a-token-of-the-bench-alone"
LONG_WORD = 5.0  # seconds for each of three: longer than streams at work are waited for
GRACE = 10.0  # within which the daemon ends, whatever streams there are


def impatient(bench: Bench) -> None:
    bench.program = (sys.executable, "-m", "tests.brisk")


@fault("the driver hangs", runs=5, limit=15.0, together=1, adapt=impatient)
async def driver_hangs(bench: Bench) -> None:
    await _some_loaded(bench)
    async with bench.trouble("hang", dark=True) as trouble:
        bench.card.driver.hang()
        taken = await _in_the_dark(bench)
        bench.card.driver.drop("hang")
        await _lit(bench, trouble, taken)


@fault("the GPU is lost, and comes back", runs=10, limit=10.0, together=5)
async def gpu_lost(bench: Bench) -> None:
    await _some_loaded(bench)
    async with bench.trouble("lost", dark=True) as trouble:
        bench.card.driver.fault(LOST)
        taken = await _in_the_dark(bench)
        bench.card.driver.drop("fault")
        await _lit(bench, trouble, taken)


async def _some_loaded(bench: Bench) -> None:
    for engine in bench.engines.values():
        await bench.within(NORMAL, partial(bench.people.probe, engine.models[0]), "a request")


async def _in_the_dark(bench: Bench) -> int:
    """Whoever is loaded is served as ever; somebody is asked for who is not, and a stranger leaves
    less than the reserve: all the same nobody comes, and nobody goes (I2). The stranger's bytes."""
    people, history = bench.people, bench.history
    await past(UNKNOWN)
    if not any(p["id"] == GPU and p["blind"] for p in (await bench.daemon.state())["pools"]):
        history.say("bench", f"the GPU can be read {UNKNOWN:g} s after its driver has failed")
    here = [m for e in bench.engines.values() for m in e.loaded]
    for model in (m for e in bench.engines.values() for m in e.models if m not in here):
        people.asks(model)
    taken = bench.free() - RESERVE // 2
    bench.strange(taken)
    until = history.now() + DARK
    while history.now() < until:
        for model in here:
            request = await people.ask(model)
            took = (request.ended or NEVER) - request.began
            if request.ending != "whole" or took > AT_ONCE:
                history.say("I6", f"{request.ending} after {took:.1f} s, and {model} is loaded")
        await past(POLL)
    if not here:
        history.say("bench", "nobody was loaded")
    return taken


async def _lit(bench: Bench, trouble: Trouble, taken: int) -> None:
    """It can be read again, and is short for a moment yet."""
    trouble.lifted = bench.history.now()
    await past(SHORT)
    bench.strange(-taken)


@fault("the driver is reloaded", runs=5, limit=15.0, together=1, adapt=impatient)
async def driver_reloaded(bench: Bench) -> None:
    """Whoever has it open reads nothing any more. Another reader takes over, and nobody notices."""
    before = readers_of(bench.daemon.pid)
    async with bench.trouble("reload"):
        bench.card.driver.driver("590.48.01", strict=True)

        async def other() -> bool:
            return bool(now := readers_of(bench.daemon.pid)) and not {*now} & {*before}

        await bench.within(NORMAL, other, "another reader")


@fault("the configuration is rewritten 500 times", runs=1, limit=5.0)
async def rewritten(bench: Bench) -> None:
    """Every fifth time with a mistake, which is refused: what was in force before stays. Each time
    is noted; clients do not notice. Then by a signal, and by nobody's word."""
    daemon, history = bench.daemon, bench.history
    good, since = daemon.file.read_text(), len(daemon.lines)
    async with bench.trouble("rewritten"):
        known, in_force = await _reads(bench), None
        for i in range(REWRITES):
            bad, value = i % 5 == 4, 4 + i % 2
            put_whole(daemon.file, (MISTAKE if bad else f"{MOST} = {value}\n") + good)
            reply = await daemon.post("config/reload", {})
            in_force = in_force if bad else value
            if reply.status_code != (422 if bad else 200):
                history.say("reload", f"{i}: {reply.status_code} {reply.text[:200]}")
            await _in_force(bench, in_force, well=not bad)
        noted = await _reads(bench) - known
        if noted != REWRITES:
            history.say("reload", f"{noted} of {REWRITES} are in the audit trail")

        async def logged() -> bool:
            told = [line for line in daemon.lines[since:] if "read, as it was asked for" in line]
            refused = sum("is refused for" in line for line in told)
            return (len(told), refused) == (REWRITES, REWRITES // 5)

        await bench.within(SOON, logged, f"{REWRITES} lines of the log, each fifth of a mistake")
        put_whole(daemon.file, f"{MOST} = 6\n{good}")
        daemon.process.send_signal(signal.SIGHUP)
        await bench.within(NORMAL, partial(_is_well, bench, True), "a file read by SIGHUP")
        await _in_force(bench, 6, well=True)
        put_whole(daemon.file, MISTAKE + good)
        await bench.within(NORMAL, partial(_is_well, bench, False), "a mistake that is found")
        await _in_force(bench, 6, well=False)
        put_whole(daemon.file, good)
        await bench.within(NORMAL, partial(_is_well, bench, True), "a file that was mended")
        await _in_force(bench, None, well=True)


def put_whole(file: Path, text: str) -> None:
    """As an editor does: nobody reads half of it."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


async def _reads(bench: Bench) -> int:
    """How often the configuration was read, by the audit trail."""
    found, before = 0, None
    while True:
        query = {"limit": "1000"} | ({} if before is None else {"before": str(before)})
        page = await bench.daemon.get("audit", **query)
        found += sum(entry["what"] == "configuration" for entry in page["entries"])
        if (before := page["next"]) is None:
            return found


async def _is_well(bench: Bench, well: bool) -> bool:
    return await bench.daemon.metric("ullage_config_last_reload_successful") == well


async def _in_force(bench: Bench, most: int | None, well: bool) -> None:
    found = (await bench.daemon.get(f"settings/{MOST}"))["value"]
    if most is not None and str(found) != str(most):
        bench.history.say("reload", f"{MOST} is {found}, and {most} was read last")
    if not await _is_well(bench, well):
        bench.history.say(
            "reload", f"it is not told that the latest is {'good' if well else 'bad'}"
        )


def with_a_token(bench: Bench) -> None:
    bench.token = TOKEN
    file = bench.folder / "token"
    put(file)
    bench.tables += f'[listen]\ntoken_file = "{file}"'


def put(file: Path) -> None:
    file.write_text(TOKEN)
    file.chmod(0o600)


@fault("the file of the token is removed", runs=2, limit=12.0, together=1, adapt=with_a_token)
async def token_removed(bench: Bench) -> None:
    """Nobody gets in without it: not now, not after a reload, and not after the next start."""
    daemon, file = bench.daemon, bench.folder / "token"
    await _only_with(bench)
    async with bench.trouble("token", daemon=True) as trouble:
        file.unlink()
        await _only_with(bench)
        reply = await daemon.post("config/reload", {})
        if reply.status_code == 200:
            bench.history.say("token", f"the configuration is read without it: {reply.text[:200]}")
        if await daemon.metric("ullage_config_last_reload_successful") != 0:
            bench.history.say("token", "nobody is told that the configuration is refused")
        await _only_with(bench)
        await bench.kill()
        code, said = await daemon.fails()
        if code != 3 or "token_file" not in said.rpartition("Traceback")[2]:
            bench.history.say("token", f"a start without it ended with {code}: {said[-300:]}")
        put(file)
        trouble.lifted = bench.history.now()
        await bench.launch()
    await _only_with(bench)


async def _only_with(bench: Bench) -> None:
    daemon = bench.daemon
    for token, status in ((TOKEN, 200), (TOKEN + "x", 401), ("", 401)):
        headers = {"Authorization": f"Bearer {token}" if token else ""}
        found = await daemon.client.get("/api/v1/state", headers=headers)
        if found.status_code != status:
            bench.history.say("token", f"{found.status_code} with {token or 'none'}")


@fault("SIGTERM under 200 streams", runs=3, limit=8.0, together=1)
async def ended(bench: Bench) -> None:
    """Those that can come to their end do; the others are told, and none is cut without a word. The
    daemon ends with 0, in time."""
    people, history = bench.people, bench.history
    async with bench.trouble("SIGTERM", daemon=True) as trouble:
        await people.ask("c")
        await people.ask("a")
        bench.engines["l"].gate.seconds, bench.engines["o"].gate.seconds = 1.0, LONG_WORD
        since, half = len(history.requests), STREAMS // 2
        long = [asyncio.create_task(people.ask("a")) for _ in range(half)]
        short = [asyncio.create_task(people.ask("c")) for _ in range(half)]

        def begun() -> list[Request]:
            return [r for r in history.requests[since:] if r.first is not None]

        await bench.daemon.until(lambda: len(begun()) >= STREAMS)
        people.gateway, under_way = "", [r for r in begun() if r.ending is None]
        began = history.now()
        code = await bench.daemon.stop()
        bench.life.ended = history.now()
        if code or bench.life.ended - began > GRACE:
            history.say("end", f"{code} after {bench.life.ended - began:.1f} s")
        await asyncio.gather(*long, *short)
        # A real engine hears at once that nobody reads any more, and works for nobody then. This
        # one sees it at its next word.
        for engine in bench.engines.values():
            engine.gate.seconds = WORD_TIME
            engine.gate.hurry()
        async with asyncio.timeout(AT_ONCE):
            while any(any(engine.busy.values()) for engine in bench.engines.values()):
                await asyncio.sleep(WORD_TIME)
        for model, right in (("a", "told"), ("c", "whole")):
            mine = [r for r in under_way if r.model == model]
            other = {r.ending: r.words for r in mine if r.ending != right}
            if not mine or other:
                history.say("I6", f"of {len(mine)} for {model} not all were {right}: {other}")
        if mute := [r for r in under_way if r.ending == "told" and "error" not in r.words]:
            history.say("I6", f"{len(mute)} of {STREAMS} ended without an error: {mute[0].words}")
        trouble.lifted = history.now()
        await bench.launch()
