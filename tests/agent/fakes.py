"""A fleet in one process: agents as they are, on an engine and daemons made of values."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from collectors.reading import Bytes, PoolId, Seconds, gib
from supervisor.agent.agent import Agent, Terms
from supervisor.agent.backend import BackendError, Heard, Row
from supervisor.agent.directory import Directory
from supervisor.core.snapshot import Share, Source
from supervisor.fleet.hosts import HostId, Housed, Offer, OfferId, Space, Word
from supervisor.fleet.words import offer_row, word_row

T = TypeVar("T")

VALID = Seconds(10.0)
MODEL = "qwen3:8b"
SIZE = gib(8)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1.8e9 + self.now


class Daemon:
    """Stands for the daemon of a host, and for the bridge to it."""

    def __init__(self, host: str, room: Bytes, loss: float = 0.0) -> None:
        self.host, self.room, self.loss = host, room, loss
        self.status, self.ready = "local", False
        self.loads: list[str] = []
        self.drained: float | bool = False
        self.away = False
        self.accepts: BackendError | None = None
        self.epoch, self.offers = f"{host}1", 0
        self.clock = Clock()

    async def word(self, within: float = 1.0) -> Row:
        if self.away:
            raise BackendError("away", f"no daemon of {self.host}")
        model = Housed(MODEL, "ollama", self.status, self.ready, SIZE, slots=4)
        space = Space(PoolId("gpu0"), gib(24), self.room, self.room)
        rests = "it is drained" if self.drained else None
        return word_row(Word(HostId(self.host), self.epoch, 0, "1", self.clock.wall(), f"http://{self.host}",
                             (space,), (model,), rests))  # fmt: skip

    async def offer(self, model: str, within: float = 1.0) -> Row:
        self.offers += 1
        fits = self.room >= SIZE
        share = Share(PoolId("gpu0"), SIZE, Source.LEARNED)
        return offer_row(Offer(OfferId(f"{self.host}-{self.offers}"), HostId(self.host), model,
                               VALID, self.ready, fits, self.loss, takes=(share,)))  # fmt: skip

    async def accept(self, offer: str, within: float = 1.0) -> Row:
        if self.accepts is not None:
            raise self.accepts
        self.loads.append(offer)
        self.status = "loading"
        return {}

    async def drain(self, seconds: float | None = None, within: float = 1.0) -> Row:
        self.drained = seconds or True
        return {"sentences": [f"{self.host} is drained"]}

    async def undrain(self, within: float = 1.0) -> Row:
        self.drained = False
        return {"sentences": []}

    async def close(self) -> None:
        return


class Engine:
    """What all agents share: the directory and the ledger."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.directory = Directory(clock)
        self.claims: dict[str, tuple[str, Mapping[str, Bytes]]] = {}
        self.daemons: dict[str, Daemon] = {}
        self.made = 0


class Backend:
    """One agent's way to it. `cut`: it has none."""

    name = "ray"

    def __init__(self, host: str, engine: Engine) -> None:
        self.host, self.engine, self.cut = host, engine, False
        self.trouble: tuple[str, ...] = ()
        self.between: list[Any] = []  # called between a claim and what comes after it

    @property
    def connected(self) -> bool:
        return not self.cut

    async def start(self) -> None:
        return

    async def stop(self) -> None:
        self.engine.directory.leave(self.host, self.host)

    async def _there(self) -> None:
        await asyncio.sleep(0)
        if self.cut:
            raise BackendError("away", "not connected", unsure=True)

    async def tell(self, word: Row | None, kept: tuple[Row, ...], since: str, basis: str) -> Heard:
        await self._there()
        found = self.engine.directory.tell(self.host, self.host, word, kept, None, since, basis)
        if found["again"] and word is None:
            raise BackendError("again", "")
        ages = {h: Seconds(a) for h, a in found["ages"].items()}
        return Heard(found["version"], Seconds(found["up"]), ages,
                     tuple(t["word"] for t in found["told"]), tuple(found["kept"]))  # fmt: skip

    async def claim(self, model: str, shares: Mapping[str, Bytes]) -> str:
        await self._there()
        if any(m == model for m, _ in self.engine.claims.values()):
            raise BackendError("taken", "", 409)
        self.engine.made += 1
        id = f"claim{self.engine.made}"
        self.engine.claims[id] = (model, shares)
        for each in self.between:
            each()
        return id

    async def release(self, claim: str) -> None:
        await self._there()
        self.engine.claims.pop(claim, None)

    async def ask(self, host: str, what: str, within: Seconds, **words: Any) -> Row:
        await self._there()
        there = self.engine.daemons[host]
        if there.away:
            raise BackendError("away", f"{host} does not answer", unsure=True)
        if what == "accept":  # in the order of the actor's
            bar = f"{words['claim']}/{host}" if words.get("part") else words["claim"]
            self.engine.directory.bar(host, bar, words["model"], words["valid"], words["lost"])
            if words["claim"] not in self.engine.claims:
                self.engine.directory.unbar(host, bar)
                raise BackendError("unclaimed", "", 409)
            try:
                return await there.accept(words["offer"])
            except BackendError as error:
                if not error.unsure:
                    self.engine.directory.unbar(host, bar)
                raise
        found: Row = await getattr(there, what)(**words)
        return found


class Fleet:
    """Agents by host; time passes by `beat` alone."""

    def __init__(self, **daemons: Daemon) -> None:
        self.clock = Clock()
        self.engine = Engine(self.clock)
        self.engine.daemons = daemons
        for daemon in daemons.values():
            daemon.clock = self.clock
        self.backends = {h: Backend(h, self.engine) for h in daemons}
        self.agents = {
            h: Agent(Terms(HostId(h), valid=VALID), daemon, self.backends[h],  # type: ignore[arg-type]
                     self.clock, self.clock.wall)
            for h, daemon in daemons.items()
        }  # fmt: skip

    async def beat(self, seconds: float = 1.0, count: int = 1) -> None:
        """All tell, and then hear what the others told."""
        for _ in range(count):
            self.clock.now += seconds
            for _ in range(2):
                for agent in self.agents.values():
                    await agent.beat()

    async def during(self, asked: Awaitable[T]) -> T:
        """Its answer, while time passes."""
        task = asyncio.ensure_future(asked)
        for _ in range(1000):
            if task.done():
                break
            await self.beat(0.1)
            await asyncio.sleep(0)
        return await task

    async def place(self, host: str, within: float = 0.0, dry: bool = False, **more: Any) -> Row:
        return await self.agents[host].place(MODEL, dry, Seconds(within), more.get("avoid", ()))
