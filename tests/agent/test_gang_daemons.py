"""A model that spans three hosts, whose daemons are processes: the real ones, on machines made of
values. Agents as they are, on an engine made of values, by the machine's own clock."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from collectors.reading import Seconds
from supervisor.agent.agent import Agent, Terms
from supervisor.agent.bridge import Bridge
from supervisor.agent.told import Refused
from supervisor.core.status import Status
from supervisor.fleet.hosts import HostId

from .fakes import Backend, Engine

pytestmark = pytest.mark.slow

SPAN, PART = "big:400b", "cellar/part"
POLL = 0.05  # seconds between two looks at other processes; every wait is bounded
VALID = Seconds(2.0)
PATIENCE = 60.0  # seconds, on a machine that has other work


class Far(Bridge):
    """Other hosts reach a daemon by it."""

    away = False


@dataclass
class Cluster:
    folder: Path
    engine: Engine = field(default_factory=lambda: Engine(time.monotonic))  # type: ignore[arg-type]
    agents: dict[str, Agent] = field(default_factory=dict)
    bridges: dict[str, Far] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return self.folder / "loads"

    async def start(self, name: str, gib: int, models: list[Any], part: Any, **more: Any) -> None:
        at = self.folder / name
        at.mkdir()
        machine = {"gib": gib, "models": models, "parts": [part], "log": str(self.log),
                   "address": f"http://{name}:8553", "valid": VALID, **more}  # fmt: skip
        (at / "machine.json").write_text(json.dumps(machine))
        program = (sys.executable, "-m", "tests.agent.host", name, str(at))
        process = await asyncio.create_subprocess_exec(*program, stdout=PIPE, stderr=DEVNULL)
        self.processes[name] = process
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            assert await process.stdout.readline() == b"up\n"
        bridge = self.bridges[name] = Far(f"unix:{at}/ullage.sock")
        self.engine.daemons[name] = bridge  # type: ignore[assignment]
        terms = Terms(HostId(name), valid=VALID, beat=Seconds(0.2))
        agent = Agent(terms, Bridge(bridge.address), Backend(name, self.engine))
        self.agents[name] = agent
        await agent.start()

    async def stop(self) -> None:
        for agent in self.agents.values():
            await agent.stop()
        for bridge in self.bridges.values():
            await bridge.close()
        for process in self.processes.values():
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def place(self, host: str, **more: Any) -> Any:
        return await self.agents[host].place(SPAN, more.get("dry", False), more.get("within"), ())

    async def status(self, host: str, model: str) -> str:
        word = await self.bridges[host].word()
        return next(m["status"] for m in word["models"] if f"{m['engine']}/{m['name']}" == model)

    async def is_state(self, state: str) -> bool:
        (row,) = self.agents["a"].fleet()["spans"]
        return bool(row["state"] == state)

    def loads(self) -> list[tuple[str, float]]:
        """Which host began one, and when, in order."""
        rows = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [(r["host"], r["at"]) for r in rows if r["model"] in (SPAN, "part")]


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await true():
            await asyncio.sleep(POLL)


@asynccontextmanager
async def cluster(folder: Path, load: float = 0.5) -> AsyncIterator[Cluster]:
    """Host a leads; on b somebody has to leave for the part."""
    made = Cluster(folder)
    part = {"span": SPAN, "model": PART}
    model = {"name": "part", "gib": 10, "load": load}
    leads = {
        "span": SPAN,
        "model": f"cellar/{SPAN}",
        "leads": True,
        "hosts": 3,
        "others": ["b", "c"],
    }
    try:
        await made.start("a", 24, [{"name": SPAN, "gib": 10}], leads)
        await made.start("b", 16, [model, {"name": "old:8b", "gib": 8}], part, loaded=["old:8b"])
        await made.start("c", 24, [{**model, "load": 3 * load}], part)
        whole = time.monotonic() + VALID + 4.5 + 0.5

        async def settled() -> bool:
            return time.monotonic() > whole and await made.is_state("local")

        await until(settled)
        yield made
    finally:
        await made.stop()


def play(folder: Path, story: Callable[[Cluster], Awaitable[None]], load: float = 0.5) -> None:
    async def run() -> None:
        async with cluster(folder, load) as made:
            await story(made)

    asyncio.run(run())


def test_it_comes_stays_and_goes_as_one(tmp_path: Path) -> None:
    async def story(made: Cluster) -> None:
        dry = await made.place("c", dry=True)
        assert dry["host"] == "a"
        assert not made.log.exists() or made.loads() == []
        found = await made.place("b")
        assert (found["host"], found["model"]) == ("a", f"cellar/{SPAN}")
        order = made.loads()
        assert sorted(h for h, _ in order[:2]) == ["b", "c"]
        assert order[2][0] == "a"
        began = dict(order)
        assert began["a"] >= began["c"] + 1.5  # which took that long
        await until(lambda: made.is_state("ready"))
        assert await made.status("b", "cellar/old:8b") == Status.LOCAL.value

        async def ready() -> bool:
            return bool((await made.place("c", within=Seconds(0)))["ready"])

        await until(ready)  # there too
        # Nobody can take a part from under it, and each host knows why.
        leases = await made.bridges["b"].held(PART)
        assert set(leases.values()) == {f"span {SPAN}"}
        reply = await made.bridges["b"]._ask("POST", "/unload", Seconds(5),
                                             {"models": [PART], "wait": False})  # fmt: skip
        assert "leased" in json.dumps(reply)
        assert await made.status("b", PART) == Status.LOADED.value
        await made.bridges["a"].unload(f"cellar/{SPAN}")
        await until(lambda: made.is_state("local"))
        assert await made.bridges["c"].held(PART) == {}

    play(tmp_path, story)


def test_a_daemon_that_dies_while_it_loads_takes_all_of_it_back(tmp_path: Path) -> None:
    async def story(made: Cluster) -> None:
        asked = asyncio.create_task(made.place("a"))

        async def loading() -> bool:
            return made.log.exists() and len(made.loads()) == 2

        await until(loading)
        made.processes["c"].kill()
        with pytest.raises(Refused, match="c is lost"):
            await asked

        async def back() -> bool:
            states = [await made.status("a", f"cellar/{SPAN}"), await made.status("b", PART)]
            return states == [Status.LOCAL.value] * 2

        await until(back)
        assert [h for h, _ in made.loads() if h == "a"] == []
        assert made.engine.claims == {}

    play(tmp_path, story, load=5.0)
