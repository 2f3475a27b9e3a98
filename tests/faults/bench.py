"""A daemon between its clients, its engines and a GPU, and whoever looks on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.daemon import QUICK, Card, Daemon
from tests.faults import book, written
from tests.faults.below import Below
from tests.faults.engines import Engine, Router, Shop
from tests.faults.group import Group
from tests.faults.history import Call, History, Life, Memory, Trouble
from tests.faults.people import People
from tests.faults.watcher import watched
from tests.nvml.fake_nvml import GIB
from tests.readers import GPU, readers_of, standing_for

POLL = 0.02
NORMAL = 30.0  # seconds after which it is never normal again
SIZE, RESERVE, TOTAL = 7 * GIB, GIB, 24 * GIB  # room for three of five
SETTLE = 0.4
Json = dict[str, Any]


class Bench:
    """`engines` by name. `book` is what the people were promised: see `people`."""

    def __init__(self, folder: Path, library: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.card = Card(folder, library)
        self.engines: dict[str, Engine] = {
            "o": Shop("o", ["a", "b"], SIZE),
            "l": Router("l", ["c", "d"], SIZE),
        }
        self.history = History(SETTLE, RESERVE, TOTAL)
        self._holds(0, "at the start")
        self.people = People(self)
        self.lines, self.tables = "", ""
        self.others: dict[str, str] = {}  # models of engines that `tables` name: their engines
        self.book: Path | None = None  # in which processes of the daemon's own write
        self.ends: list[Callable[[], object]] = []  # when all is over
        self.program: tuple[str, ...] | None = None
        self.env: dict[str, str] = {}
        self.below: Below | None = None
        self.group: Group | None = None
        self.before: Callable[[], object] | None = None  # in its process, before it begins
        self.token: str | None = None  # that the daemon asks for
        self._pids: dict[str, int] = {}

    @property
    def journal(self) -> Path:
        return self.daemon.folder / "journal.db"

    @property
    def life(self) -> Life:
        return self.history.lives[-1]

    def engine_of(self, model: str) -> Engine:
        return next(e for e in self.engines.values() if model in e.models)

    def name_of(self, model: str) -> str:
        """Its engine's."""
        return self.others.get(model) or self.engine_of(model).name

    def is_doing(self, model: str) -> str:
        """Loaded, loading or gone; "" for what is no engine's of ours."""
        return "" if model in self.others else self.engine_of(model).is_doing(model)

    def config(self) -> str:
        parts = [QUICK, self.lines, f'[settle]\ntimeout = "{SETTLE}s"\nstep = "50ms"']
        parts.append(f'[pools.ram]\nreserve = 0\n[pools."{GPU}"]\nreserve = "1GiB"')
        parts.append('[gateway]\nmax_wait = "20s"\ndrain_after = "2s"')
        for name, engine in self.engines.items():
            parts.append(f'[engines.{name}]\nkind = "{engine.kind}"\nurl = "{engine.url}"')
            parts += [f'[models."{name}/{m}"]\nmemory = "7GiB"' for m in engine.models]
        return "\n".join([*parts, self.tables])

    # -- what is put down

    def take(self, model: str) -> None:
        size = self.engine_of(model).sizes[model]
        self.card.driver.proc(0, "C", self._pids[model], size)
        self._holds(size, f"+{model}")

    def leave(self, model: str) -> None:
        size = self.engine_of(model).sizes[model]
        # One of them: it may be there again before what it had is back.
        self.card.driver.lines.remove(f"proc 0 C {self._pids[model]} {size}")
        self._holds(-size, f"-{model}")

    def _holds(self, size: int, why: str) -> None:
        self.card.add(size)
        self.history.memory.append(Memory(self.history.now(), self.card.used, why))

    def free(self) -> int:
        """Bytes of the GPU, less what loads under way will take."""
        coming = sum(len(e.loading) for e in self.engines.values())
        return TOTAL - self.card.used - coming * SIZE

    def held(self, since: float, sick: Collection[str]) -> dict[str, int]:
        """What each model has of the GPU that has not moved since, and does not now. Nobody knows
        it of the engines that are sick."""
        moved = {m.why[1:] for m in self.history.memory if m.at > since}
        return {
            f"{e.name}/{m}": e.sizes[m] if m in e.loaded else 0
            for e in self.engines.values()
            for m in e.models
            if e.name not in sick and m not in moved and m not in e.loading
        }

    def strange(self, size: int) -> None:
        """Somebody who is on no list takes so many bytes of the GPU, or gives them back."""
        self._holds(size, "a stranger")

    def told(self, engine: Engine, kind: str, model: str) -> None:
        """An order has just reached an engine."""
        ref, life = f"{engine.name}/{model}", len(self.history.lives) - 1
        self.history.calls.append(
            Call(
                engine.name,
                kind,
                model,
                self.history.now(),
                life,
                engine.busy[model],
                engine.is_doing(model),
                engine.sizes[model],
                TOTAL - self.card.used,
                ref in self.people.pins,
                ref in self.people.leases,
                [] if life < 0 else list(self.decided("evict" if kind == "unload" else kind, ref)),
            )
        )

    def done(self, engine: Engine, kind: str, model: str) -> None:
        for call in reversed(self.history.calls):
            if (call.engine, call.kind, call.model, call.ended) == (engine.name, kind, model, None):
                call.ended = self.history.now()
                return

    def rows(self, sql: str) -> list[Any]:
        return written.rows(self.journal, sql)

    def decided(self, action: str, ref: str) -> list[Json]:
        """Whether there is a decision on disk for this, whose outcome is not there yet."""
        try:
            found = written.unfinished(self.rows, action, ref)
        except sqlite3.Error:
            return []
        return [body for body in found if body["at"] >= self.life.wall]

    def makes_room(self, decisions: Collection[str]) -> bool:
        """Does anybody go by one of them, whose bytes are promised already? Also where they cannot
        be read."""
        try:
            bodies = dict(self.rows("SELECT id, body FROM decisions ORDER BY rowid DESC LIMIT 30"))
        except sqlite3.Error:
            return True
        actions = (json.loads(bodies[id])["actions"] for id in decisions if id in bodies)
        return not bodies.keys() >= {*decisions} or any(
            a["action"] == "evict" for found in actions for a in found
        )

    # -- the daemon

    async def launch(self) -> None:
        """Its process, without waiting for more than its start."""
        self.daemon.url = ""
        self._told = len(self.daemon.lines)
        wall = time.time() + min(0.0, self.below.ahead if self.below else 0.0)
        self.history.lives.append(Life(0, self.history.now(), wall=wall))
        await self.daemon.start()
        self.life.pid, self.life.ready = self.daemon.pid, self.history.now()
        self.life.queued = queued(self.daemon.pid)
        self.people.gateway = await self._gateway()

    async def _gateway(self) -> str:
        while True:
            said = "\n".join(self.daemon.lines[self._told :])
            if found := re.search(r"gateway listens on (http://[0-9.:]+)", said):
                return found[1]
            await asyncio.sleep(POLL)

    async def kill(self) -> None:
        """SIGKILL; it is reaped, and so gone."""
        self.people.gateway = ""
        assert await self.daemon.stop(signal.SIGKILL) == -signal.SIGKILL
        self.life.ended, self.life.killed = self.history.now(), True

    async def was_killed(self, within: float) -> bool:
        """Somebody else does it: the same, once it is so. False: not in so many seconds."""
        try:
            async with asyncio.timeout(within):
                code = await self.daemon.process.wait()
        except TimeoutError:
            return False
        self.people.gateway = ""
        self.life.ended, self.life.killed = self.history.now(), code == -signal.SIGKILL
        await self.daemon.client.aclose()
        await self.daemon.reader
        return self.life.killed

    def read_book(self) -> None:
        """What its own processes have written, for who judges them."""
        if self.book is not None:
            self.history.processes = book.begun(self.book)
            if not self.history.processes:
                self.history.say("bench", "no process of the daemon's own has begun")

    async def leave_nothing(self) -> None:
        """Of a daemon, and of what it has started, whatever has gone wrong."""
        process = getattr(self.daemon, "process", None)
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()
        for end in self.ends:
            end()

    # -- trouble

    @asynccontextmanager
    async def trouble(
        self, what: str, proof: Callable[[], bool] | None = None, **reach: Any
    ) -> AsyncIterator[Trouble]:
        """Inside, it is broken; after that it is waited for until all is well. `proof` has become
        true by then: else nobody has met what was broken, and nothing was tried."""
        found = Trouble(what, self.history.now(), **reach)
        self.history.troubles.append(found)
        yield found
        if proof is not None and not proof():
            self.history.say("bench", f"{what}: nothing broke")
        if found.lifted is None:
            found.lifted = self.history.now()
        await self.normal(found)

    async def normal(self, trouble: Trouble) -> None:
        """All engines are up, all pools are read, and a request to each engine is served."""
        await self.within(NORMAL, self.is_well, f"after {trouble.what}")
        for engine in self.engines.values():
            await self.within(NORMAL, lambda e=engine: self.people.probe(e.models[0]), "a request")
        trouble.normal = self.history.now()

    async def within(self, limit: float, true: Callable[[], Awaitable[bool]], what: str) -> None:
        deadline = time.monotonic() + limit
        while not await true():
            if time.monotonic() > deadline:
                self.history.say("normal", f"{what}: not within {limit:g} s")
                return
            await asyncio.sleep(POLL)

    async def is_well(self) -> bool:
        try:
            if (await self.daemon.client.get("/readyz")).status_code != 200:
                return False
            state = await self.daemon.state()
        except (httpx.HTTPError, AssertionError):
            return False
        count = len(self.engines) + len(set(self.others.values()))
        up = all(e["up"] for e in state["engines"]) and len(state["engines"]) == count
        pools = {p["id"] for p in state["pools"] if p["blind"] is None}
        return up and GPU in pools and state["ready"]

    async def at_rest(self) -> None:
        """Everybody has gone home: nothing is under way, nothing is promised, nobody waits."""

        async def empty() -> bool:
            state = await self.daemon.state()
            gateway = state["gateway"]
            promised = [p["promised"] for p in state["pools"] if p["id"] == GPU]
            left = (gateway["in_flight"], gateway["held"], state["running"], promised)
            return left == ([], [], [], [0])

        await self.within(NORMAL, empty, "at rest")


def queued(pid: int) -> float:
    """Seconds for which it, or the reader that it waits for, was kept from a CPU by others; 0: the
    kernel does not tell."""
    total = 0.0
    for one in (pid, *readers_of(pid)):
        with contextlib.suppress(OSError, IndexError):
            total += int(Path(f"/proc/{one}/schedstat").read_text().split()[1]) / 1e9
    return total


@asynccontextmanager
async def a_bench(
    folder: Path, library: Path, adapt: Callable[[Bench], object] = lambda bench: None
) -> AsyncIterator[Bench]:
    """With its daemon running and its people at work; both have ended after."""
    bench = Bench(folder, library)
    async with AsyncExitStack() as stack:
        processes = stack.enter_context(ExitStack())
        for engine in bench.engines.values():
            await stack.enter_async_context(engine)
            pids = processes.enter_context(standing_for(engine, *engine.models))
            bench._pids.update(pids)
            engine.on_load, engine.on_unload = bench.take, bench.leave
            engine.told = lambda kind, model, e=engine: bench.told(e, kind, model)
            engine.done = lambda kind, model, e=engine: bench.done(e, kind, model)
        adapt(bench)
        env = bench.card.env | bench.env
        bench.daemon = Daemon(
            folder / "s", bench.config(), env, token=bench.token, before=bench.before
        )
        if bench.program is not None:
            bench.daemon.program = bench.program
        try:
            await bench.launch()
            await bench.within(NORMAL, bench.is_well, "all is well at the start")
            try:
                async with watched(bench):
                    async with bench.people:
                        yield bench
                    await bench.at_rest()
            finally:
                bench.read_book()  # before they end with the daemon
            there = bench.daemon.process.returncode is None and bench.daemon.url
            if there and (code := await bench.daemon.stop()):
                bench.history.say("end", f"the daemon ended with {code}")
        finally:
            await bench.leave_nothing()
