"""What the tests of alerts happen to: two GPUs, two engines, a daemon whose own relief waits for an
hour, and Prometheus and Alertmanager beside it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.daemon import ULLAGE, Card, Daemon, State, config
from tests.e2e.stack import Delivery, Door, Program, alertmanager, prometheus, until
from tests.engines.fake import FakeLlamaRouter
from tests.nvml.fake_nvml import GIB
from tests.readers import GPU, readable, standing_for

LOW, FOREIGN, OTHER = "UllageHeadroomLow", "UllageForeignPressure", "GPU-bbbb"
PATH = "/api/v1/alerts"
MUCH = 6 * GIB + GIB // 2  # of the 7 GiB that are free: below the soft line, not the hard one
TABLES = f"""\
[pools."{GPU}"]
reserve = "2GiB"
hard = "64MiB"
restore = "4GiB"
relief_grace = "1h"
# Less is free there than relief would make free, were it needed: an alert that were taken to be
# about every pool would unload what is there, too.
[pools."{OTHER}"]
reserve = "1GiB"
restore = "20GiB"
[alerts]
limit = "100/1h"
[alerts.actions.make-room]
action = "evict"
match = {{ alertname = "{LOW}", severity = "warning" }}
[alerts.actions.no-more]
action = "pause"
match = {{ alertname = "{FOREIGN}" }}
below = "100%"
"""


class Cards:
    """Two GPUs of 24 GiB in the stand-in driver, 1 GiB of each in use. Who holds what is told of
    each process; `freed_at` is when the first GPU last got memory back, on the monotonic clock."""

    def __init__(self, folder: Path, library: Path) -> None:
        self.card = Card(folder, library)
        self.driver = self.card.driver
        self.used = {0: GIB, 1: GIB}
        self.driver.gpu(1, name="NVIDIA RTX 4090", uuid=OTHER, total=24 * GIB, used=GIB)
        self.freed_at = 0.0

    def add(self, gpu: int, size: int) -> None:
        if gpu == 0 and size < 0:
            self.freed_at = time.monotonic()
        self.used[gpu] += size
        self.driver.gpu(gpu, used=self.used[gpu])

    def takes(self, gpu: int, pid: int, size: int) -> None:
        self.driver.proc(gpu, "C", pid, size)
        self.add(gpu, size)

    def leaves(self, gpu: int, pid: int, size: int) -> None:
        self.driver.drop(f"proc {gpu} C {pid} ")
        self.add(gpu, -size)


@contextmanager
def on(cards: Cards, gpu: int, server: FakeLlamaRouter) -> Iterator[None]:
    """What `server` holds is on this GPU, in a process for each model."""
    for model in server.models:
        server.take(model)
    with standing_for(server, *server.models) as pids:
        server.on_load = lambda model: cards.takes(gpu, pids[model], server.sizes[model])
        server.on_unload = lambda model: cards.leaves(gpu, pids[model], server.sizes[model])
        for model in server.loaded:
            server.on_load(model)
        yield


@dataclass
class Stage:
    cards: Cards
    left: FakeLlamaRouter  # on the first GPU
    right: FakeLlamaRouter  # on the other
    daemon: Daemon
    door: Door
    sender: Program
    watcher: Program
    token: Path

    async def is_watched(self) -> bool:
        """Prometheus has looked at the daemon, and knows whom to send alerts to."""
        up = (await self.watcher.get("/api/v1/query", query="ullage_pressure"))["data"]["result"]
        sends = (await self.watcher.get("/api/v1/alertmanagers"))["data"]["activeAlertmanagers"]
        return bool(up) and bool(sends)

    async def alerts(self) -> list[State]:
        """As the daemon tells of them, oldest first."""
        found: list[State] = (await self.daemon.get("alerts", limit="1000"))["alerts"]
        return found[::-1]

    async def outcomes(self) -> list[tuple[str, str | None]]:
        return [(a["status"], a["outcome"]) for a in await self.alerts() if a["name"] == LOW]

    def deliveries(self, since: float = 0.0) -> list[Delivery]:
        return [d for d in self.door.passed if d.at >= since and d.of(LOW)]

    async def until(self, true: Callable[[], Awaitable[bool]]) -> None:
        def what() -> str:
            passed = [(d.status, d.body["status"], d.answer) for d in self.door.passed]
            return f"{passed}\n{self.daemon.log}\n{self.sender.output.read_text()[-2000:]}"

        await until(true, what)

    async def calm(self) -> None:
        """Nothing fires here, and the daemon has heard that of each alert that did."""

        async def is_calm() -> bool:
            state = await self.daemon.state()
            fires = (await self.watcher.get("/api/v1/alerts"))["data"]["alerts"]
            return state["alerts"]["firing"] == 0 and not [
                a for a in fires if a["labels"]["alertname"] == LOW
            ]

        await self.until(is_calm)

    # -- what happens

    @contextmanager
    def trainer(self, size: int) -> Iterator[float]:
        """A process that is no model takes so much of the first GPU; yields when."""
        process = subprocess.Popen(["sh", "-c", "read _", "trainer"], stdin=subprocess.PIPE)
        with process:
            self.cards.takes(0, process.pid, size)
            try:
                yield time.monotonic()
            finally:
                self.cards.leaves(0, process.pid, size)

    async def decided(self) -> int:
        return len(await self.daemon.decisions())

    async def counts(self) -> dict[str, int]:
        found: dict[str, int] = (await self.daemon.get("alerts"))["counts"]
        return found

    async def send(self, body: State) -> Any:
        headers = {"authorization": f"Bearer {self.token.read_text()}"}
        return await self.daemon.client.post(PATH, json=body, headers=headers)

    def is_freed_since(self, when: float) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            return self.cards.freed_at > when

        return check

    async def is_over_for(self, status: str, outcome: str) -> None:
        """Its last alert of this status has come to this outcome."""

        async def check() -> bool:
            found = [o for s, o in await self.outcomes() if s == status]
            return bool(found) and found[-1] == outcome

        await self.until(check)

    async def make(self, alerts: list[State]) -> None:
        """As anybody can who reaches Alertmanager."""
        reply = await self.sender.http.post("/api/v2/alerts", json=alerts)
        assert reply.status_code == 200, reply.text

    def the_other_gpu_is_left_alone(self) -> None:
        assert self.right.loaded == ["x"]
        assert self.right.calls("POST /models/unload") == []

    async def only_the_alert_acted(self, before: int) -> None:
        """One decision took models, by the alert, and what they gave back was measured."""
        new = (await self.daemon.decisions())[before:]
        (acted,) = [d for d in new if d["actions"]]
        assert acted["trigger"] == "alert"
        assert LOW in acted["cause"]
        assert {a["action"] for a in acted["actions"]} == {"evict"}
        assert {a["model"].partition("/")[0] for a in acted["actions"]} == {"left"}
        assert {s["pool"] for a in acted["actions"] for s in a["shares"]} <= {GPU, "ram"}
        (acted,) = [d for d in await self.daemon.decisions() if d["id"] == acted["id"]]
        assert {o["result"] for o in acted["outcomes"]} == {"done"}
        assert sum(o["judgement"]["returned"] for o in acted["outcomes"]) >= 4 * GIB
        self.the_other_gpu_is_left_alone()
        (pool,) = [p for p in (await self.daemon.state())["pools"] if p["id"] == GPU]
        assert pool["free"] >= 4 * GIB, "its restore line"
        sent = 'ullage_evictions_total{{engine="{}",result="done",trigger="alert"}}'
        assert await self.daemon.metric(sent.format("left")) >= 1
        assert await self.daemon.metric(sent.format("right")) == 0

    def reload(self) -> None:
        for model in self.left.models:
            self.left.take(model)


def a_token_for_alerts(file: Path) -> str:
    """Kept in `file`; the lines of the configuration that know it, as `ullage token` has them."""
    command = [*ULLAGE, "token", "alertmanager", "--scope", "alerts:write"]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    file.write_text(made.stderr.split()[-1])
    return "\n" + made.stdout


@asynccontextmanager
async def staged(folder: Path, library: Path) -> AsyncIterator[Stage]:
    cards, token = Cards(folder, library), folder / "token"
    sizes = {"a": 10 * GIB, "b": 6 * GIB, "x": 10 * GIB}
    table = a_token_for_alerts(token)
    async with (
        FakeLlamaRouter(["a", "b"], sizes=sizes) as left,
        FakeLlamaRouter(["x"], sizes=sizes) as right,
    ):
        with on(cards, 0, left), on(cards, 1, right):
            text = config({"left": left, "right": right}, tables=TABLES + table)
            async with (
                Daemon(folder / "s", text, cards.card.env) as daemon,
                Door(daemon.url) as door,
            ):
                await readable(daemon, GPU, OTHER)
                async with alertmanager(folder, door.url, token) as sender:
                    async with prometheus(folder, daemon.url, sender.url) as watcher:
                        stage = Stage(cards, left, right, daemon, door, sender, watcher, token)
                        await stage.until(stage.is_watched)
                        yield stage
