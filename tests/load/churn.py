"""What goes on besides requests: operators, alerts, scrapers, readers who do not read, engines that
go away and come back, files that are edited, and strangers on the GPUs."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import httpx

from supervisor.alerting import ledger
from tests.daemon import Daemon
from tests.nvml.fake_nvml import GIB

from .machine import Machine

POLL = 1.0
EVENTS = "text/event-stream"
STRANGE = 8.0  # seconds for which a stranger is there
AWAY = 4.0  # seconds for which an engine is gone
DARK = 9.0  # seconds for which a GPU cannot be read
TTL = 20.0  # seconds of a lease
HEARD = 1.0  # seconds after which a promise counts, for this process may be late to read an order
STALE_CODES = (200, 201, 202, 204, 404, 409, 422, 429, 503)


class Churn:
    """`away` are the moments (monotonic) at which an engine was gone, by its name; `lost` those at
    which a GPU was. All of it goes on `pace` times as fast."""

    def __init__(
        self, daemon: Daemon, machine: Machine, models: list[str], seed: int, pace: float = 1.0
    ) -> None:
        self.daemon, self.machine, self.models = daemon, machine, models
        self.pace = pace
        self.dice = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.took: dict[str, list[float]] = {"metrics": [], "state": [], "alerts": []}
        self.away: list[tuple[str, float, float]] = []
        self.lost: list[tuple[int, float, float]] = []
        self.alerts = 0
        self.deaf: list[socket.socket] = []
        self._leases: dict[str, tuple[str, float, float]] = {}  # by id: whom, since and until when
        self._pinned: str | None = None
        self._pinned_at: float | None = None
        self._renamed = 0
        self._edits = 0
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        self._tasks = [asyncio.create_task(self._every(s, job)) for s, job in self.jobs]
        self._tasks.append(asyncio.create_task(self._reads()))

    @property
    def jobs(self) -> list[tuple[float, Callable[[], Awaitable[None]]]]:
        """How often, on average, in seconds."""
        jobs: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (5, self.scrape), (2, self.look), (6, self.load), (9, self.evict), (11, self.pin),
            (4, self.lease), (17, self.setting), (29, self.edit), (47, self.engine_leaves),
            (20, self.storm), (60, self.deaf_reader), (23, self.rename), (71, self.stranger),
            (13, self.reserve), (37, self.ask_why), (53, self.gpu_is_lost),
        ]  # fmt: skip
        return [(seconds / self.pace, job) for seconds, job in jobs]

    def is_pinned(self, model: str, now: float) -> bool:
        """Somebody was told so, and has not taken it back."""
        return model == self._pinned and self._pinned_at is not None and now > self._pinned_at

    def is_leased(self, model: str, now: float) -> bool:
        return any(m == model and a < now < z for m, a, z in self._leases.values())

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for engine in self.machine.engines:
            if engine.away:
                await engine.comes_back()
        for reader in self.deaf:
            reader.close()
        for id in list(self._leases):
            del self._leases[id]
            await self._call("DELETE", f"leases/{id}")
        await self._unpin()

    async def _every(self, seconds: float, job: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(self.dice.random() * seconds)
        while True:
            try:
                await job()
                self.done[job.__name__] += 1
            except httpx.HTTPError as error:
                self.wrong.append(f"{job.__name__}: {error!r}")
            await asyncio.sleep(seconds * (0.7 + 0.6 * self.dice.random()))

    async def _call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        reply = await self.daemon.client.request(method, f"/api/v1/{path}", json=body, timeout=90.0)
        if reply.status_code not in STALE_CODES:
            self.wrong.append(f"{method} {path}: {reply.status_code} {reply.text[:200]}")
        return reply

    def _some(self) -> str:
        return self.dice.choice(self.models)

    # -- who looks

    async def scrape(self) -> None:
        began = time.perf_counter()
        reply = await self.daemon.client.get("/metrics")
        self.took["metrics"].append(time.perf_counter() - began)
        if reply.status_code != 200:
            self.wrong.append(f"/metrics: {reply.status_code}")

    async def look(self) -> None:
        began = time.perf_counter()
        await self._call("GET", "state")
        self.took["state"].append(time.perf_counter() - began)

    async def ask_why(self) -> None:
        await self._call("GET", f"why?model={quote(self._some(), safe='')}")
        await self._call("GET", "decisions?limit=200")

    async def deaf_reader(self) -> None:
        """Asks for all events, and never reads one. The oldest of them hangs up at last."""
        host, _, port = self.daemon.url.removeprefix("http://").partition(":")
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect((host, int(port)))
        accept = f"Accept: {EVENTS}"
        head = f"GET /api/v1/events HTTP/1.1\r\nHost: {host}:{port}\r\n{accept}\r\n\r\n"
        reader.sendall(head.encode())
        reader.setblocking(False)
        self.deaf.append(reader)
        if len(self.deaf) > 5:
            self.deaf.pop(0).close()

    async def _reads(self) -> None:
        """One who reads all events, and begins again where that ends."""
        while True:
            try:
                async with self.daemon.client.stream(
                    "GET", "/api/v1/events", headers={"Accept": EVENTS}, timeout=None
                ) as reply:
                    async for line in reply.aiter_lines():
                        self.done["events read"] += line.startswith("data:")
            except httpx.HTTPError as error:
                self.wrong.append(f"events: {error!r}")
            await asyncio.sleep(POLL)

    # -- who asks for something

    async def load(self) -> None:
        await self._call("POST", "load", {"model": self._some()})

    async def evict(self) -> None:
        await self._call("POST", "evict", {"models": [self._some()]})

    async def pin(self) -> None:
        await self._unpin()
        self._pinned = self._some()
        reply = await self._call("POST", "pin", {"model": self._pinned})
        if reply.status_code == 200:
            self._pinned_at = time.monotonic() + HEARD

    async def _unpin(self) -> None:
        if self._pinned:
            self._pinned_at = None
            await self._call("POST", "unpin", {"model": self._pinned})

    async def lease(self) -> None:
        """Half of them are given back, the others run out."""
        model, asked = self._some(), time.monotonic()
        client = f"job-{self.dice.randrange(10**9)}"
        body = {"model": model, "client": client, "ttl": f"{TTL:g}s", "wait": False}
        reply = await self._call("POST", "leases", body)
        now = time.monotonic()
        self._leases = {id: of for id, of in self._leases.items() if of[2] > now}
        if reply.status_code == 201:
            id = reply.json()["lease"]["id"]
            self._leases[id] = model, now + HEARD, asked + TTL - HEARD
        if self._leases and self.dice.random() < 0.5:
            id = next(iter(self._leases))
            del self._leases[id]
            await self._call("DELETE", f"leases/{id}")

    async def reserve(self) -> None:
        pool = f"GPU-{self.dice.randrange(8):04d}"
        body = {"size": "1GiB", "pool": pool, "name": "job", "ttl": "15s"}
        await self._call("POST", "reservations", body)

    async def setting(self) -> None:
        value = {"value": self.dice.randint(20, 40)}
        await self._call("PUT", "settings/lru_eviction_max_retries", value)

    async def edit(self) -> None:
        """The file is written anew; now and then with a mistake in it."""
        self._edits += 1
        text = self.machine.config() + f"\n[gateway.aliases]\nfast-{self._edits} = 'm00-0'\n"
        if self._edits % 4 == 0:
            text += "[gatway]\nport = 1\n"
        self.daemon.file.write_text(text)

    async def fill(self) -> None:
        """As many alerts as are remembered: what a daemon has that runs for long."""
        for _ in range(ledger.KEPT):
            self.alerts += 1
            await self._call("POST", "alerts", firing(self.alerts, "GPU-0000"))

    async def storm(self) -> None:
        """Alertmanager's deliveries: half of them again, and some that are none."""
        sent: list[dict[str, Any]] = []
        for _ in range(40):
            if sent and self.dice.random() < 0.5:
                body: Any = self.dice.choice(sent)
            else:
                self.alerts += 1
                body = firing(self.alerts, f"GPU-{self.dice.randrange(8):04d}")
                sent.append(body)
            if self.dice.random() < 0.01:
                body = {"alerts": "none"}
            began = time.perf_counter()
            await self._call("POST", "alerts", body)
            self.took["alerts"].append(time.perf_counter() - began)

    # -- what happens to the machine

    async def engine_leaves(self) -> None:
        engine = self.dice.choice(self.machine.engines)
        began = time.monotonic()
        try:
            await engine.goes_away()
            await asyncio.sleep(AWAY)
            await engine.comes_back()
        finally:
            self.away.append((engine.name, began, time.monotonic()))

    async def rename(self) -> None:
        """A model that nobody uses is gone, and another one is there."""
        engine = self.dice.choice(self.machine.engines)
        here = [m for m in engine.models[5:] if m not in engine.loaded and m not in engine.loading]
        if here:
            old = self.dice.choice(here)
            self._renamed += 1
            new = f"{old.partition('.')[0]}.{self._renamed}"
            self.machine.rename(engine, old, new)
            if old in self.models:  # which is the list of who is asked for, too
                self.models[self.models.index(old)] = new

    async def gpu_is_lost(self) -> None:
        """Nobody can read it for a while; who works on it does so."""
        gpu, cards = self.dice.randrange(8), self.machine.cards
        began = time.monotonic()
        cards.lose(gpu)
        try:
            await asyncio.sleep(DARK)
        finally:
            cards.find(gpu)
            self.lost.append((gpu, began, time.monotonic()))

    async def stranger(self) -> None:
        gpu, cards = self.dice.randrange(8), self.machine.cards
        size = min(3 * GIB, 24 * GIB - cards.used[gpu] - GIB // 4)
        if size > 0:
            cards.unknown(gpu)
            cards.add(gpu, size, None, "a stranger came")
            try:
                await asyncio.sleep(STRANGE)
            finally:
                cards.add(gpu, -size, None, "a stranger left")
                asyncio.get_running_loop().call_later(STRANGE, cards.known, gpu)


def firing(number: int, pool: str) -> dict[str, Any]:
    """As Alertmanager sends it; each number is another alert."""
    labels = {
        "alertname": f"Full-{number}",
        "pool": pool,
        "severity": "warning",
        "instance": f"h{number}",
    }
    alert = {
        "status": "firing",
        "labels": labels,
        "annotations": {},
        "startsAt": "2026-11-21T02:34:36Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": f"{number:016x}",
    }
    return {"version": "4", "status": "firing", "receiver": "ullage", "alerts": [alert]}
