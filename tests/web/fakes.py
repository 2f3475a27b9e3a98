"""A machine made of values behind the real loop and door, for the web to show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import httpx

from collectors.reading import (
    RAM,
    Bytes,
    Device,
    Health,
    HostFacts,
    Incident,
    Level,
    MemoryPool,
    PoolId,
    PoolKind,
    Pressure,
    Remedy,
    Seconds,
    Tier,
    gib,
)
from supervisor.alerting import Alerting
from supervisor.config.alerted import AlertsConfig
from supervisor.config.gated import GatewayConfig, TokenConfig
from supervisor.core.policy import Amount, Policy, PoolPolicy
from supervisor.core.record import Mode
from supervisor.core.snapshot import (
    EngineState,
    Foreign,
    Installed,
    Mapped,
    ModelRef,
    Resident,
    Share,
    Snapshot,
    Source,
)
from supervisor.door import Door
from supervisor.events import Tick
from supervisor.executor import Executor
from supervisor.feed import Feed
from supervisor.gateway.counts import Counts
from supervisor.gateway.fleet_counts import FleetCounts
from supervisor.gateway.shown import Shown
from supervisor.gateway.tokens import Tokens
from supervisor.journal.journal import Journal
from supervisor.loop import Loop
from supervisor.sources import SourceHealth
from supervisor.web.callers import Callers
from supervisor.web.server import Site, application
from tests.builders import engine, ref, resident

from .checked import Checked

NOW, EPOCH = 1000.0, 1_790_000_000.0
GPU = PoolId("GPU-5a1e")
URL = "http://127.0.0.1:8552"


class FakeEngine:
    """Unloads and loads at once, in a world of values."""

    lists_loads = True

    def __init__(self, world: World, id: str) -> None:
        self.world, self.id = world, id

    async def unload(self, model: str) -> None:
        if not self.world.deaf:
            self.world.leave(ref(model, self.id))

    async def logs(self, model: str, lines: int) -> tuple[str, ...]:
        return ("it was loaded",)

    async def load(self, model: str, devices: object = ()) -> None:
        self.world.residents.append(resident(model, 4, pool=GPU, engine=self.id))


class World:
    """What a sampler would read: a card of 24 GiB, 64 GiB of RAM, two engines, one of them down."""

    def __init__(self) -> None:
        small = replace(
            resident("qwen3:8b", 0, pool=GPU, idle=120),
            shares=(Share(GPU, gib(6)), Share(RAM, gib(1), Source.REPORTED)),
            mapped=(Mapped("8:1:77", RAM, gib(5)),),
            pids=(4711,),
        )
        large = resident("llama3:70b", 9, pool=GPU, busy=3)
        lost = resident("phi", 0, pool=GPU, engine="llamacpp")
        self.residents = [small, large, replace(lost, in_flight=None, idle_for=Seconds(60))]
        self.installed = [Installed(ref("gemma3:4b"), gib(3)), Installed(ref("unheard-of"))]
        self.engines: tuple[EngineState, ...] = (
            engine("ollama"),
            engine("llamacpp", fault="GET /models: refused"),
        )
        self.foreign = (Foreign(GPU, 99, "blender", gib(2)),)
        self.blind: dict[PoolId, str] = {}
        self.deaf = False  # engines answer, and do nothing
        self.sources = FakeSources()
        self.health = {
            "host": SourceHealth(Seconds(NOW), Seconds(0.002)),
            "nvidia": SourceHealth(Seconds(990), Seconds(1), "no answer within 1 s", 3, late=True),
            "engine ollama": SourceHealth(Seconds(NOW), Seconds(0.01)),
            "engine llamacpp": SourceHealth(None, Seconds(2), "no answer", 7),
        }
        self.machine = SimpleNamespace(notes=("no AMD driver on this machine",))

    def engine(self, id: str) -> FakeEngine:
        return FakeEngine(self, id)

    def leave(self, gone: ModelRef) -> None:
        self.residents = [r for r in self.residents if r.ref != gone]

    def hold(self, *residents: Resident) -> None:
        self.residents = list(residents)

    async def sample(self, **extra: Any) -> Snapshot:
        return self.snapshot(reservations=extra.get("reservations", ()))

    def snapshot(self, **extra: Any) -> Snapshot:
        taken = sum((r.holds(GPU) for r in self.residents), gib(2.5))  # half a GiB is nobody's
        vram = MemoryPool(GPU, PoolKind.DEDICATED, gib(24), Bytes(gib(24) - taken), gib(0.5))
        ram = MemoryPool(
            RAM, PoolKind.HOST, gib(64), gib(50), device_limit=gib(60), device_used=gib(10)
        )
        device = Device(GPU, GPU, "RTX 4090", 0, "nvidia", "580.95", "0000:01:00.0")
        return Snapshot(
            Seconds(NOW),
            tuple(p for p in (vram, ram) if p.id not in self.blind),
            tuple(self.residents),
            dict(self.blind),
            self.engines,
            tuple(self.installed),
            devices=(device,),
            foreign=self.foreign,
            mapped={RAM: gib(5)},
            health={GPU: HEALTH},
            host=HOST,
            **extra,
        )


HEALTH = Health(
    utilization=0.25,
    memory_utilization=0.5,
    temperature=61.0,
    memory_temperature=70.0,
    power=212.5,
    power_limit=450.0,
    energy=9000.5,
    clock=2.52e9,
    memory_clock=10.5e9,
    throttled=("power cap",),
    ecc_corrected=2,
    ecc_uncorrected=0,
    pcie_generation=4,
    pcie_width=16,
    recovery="none",
)
HOST = HostFacts(
    swap_total=gib(8),
    swap_free=gib(7),
    limit=gib(64),
    limited_by="/sys/fs/cgroup/memory.max",
    physical=gib(128),
    anonymous=gib(9),
    shared=gib(1),
    kernel=gib(2),
    huge=gib(1),
    zram=gib(0.5),
    swapped=12,
    oom_kills=1,
    refaults=34,
    pressure=Pressure(Seconds(1.5), Seconds(0.5)),
    level=Level.NORMAL,
)


class FakeSources:
    """Two collectors, of which one holds its devices open."""

    def __init__(self) -> None:
        self.owners: tuple[Any, ...] = tuple(
            SimpleNamespace(collector=SimpleNamespace(name=n, deadline=Seconds(1)))
            for n in ("host", "nvidia")
        )
        self.released: Seconds | None = None
        self.holds = ["nvidia"]
        self.open: list[str] = []
        self.woken = False

    def ages(self) -> dict[tuple[str, Tier], Seconds]:
        return {("host", Tier.MEMORY): Seconds(0.5), ("nvidia", Tier.PROCESSES): Seconds(7)}

    def wake(self) -> None:
        self.woken = True

    def still_open(self) -> list[str]:
        return self.open

    def release(self, until: Seconds) -> list[str]:
        self.released = until
        return self.holds

    def resume(self) -> list[str]:
        found, self.released = ([] if self.released is None else self.holds), None
        return found


class FakeLive:
    """A gateway that has one request at work and two that wait."""

    addresses = ("http://127.0.0.1:8553",)
    fault: str | None = None

    def in_flight(self) -> dict[ModelRef, int]:
        return {ref("llama3:70b"): 1}

    def held(self) -> list[tuple[ModelRef, int, float]]:
        return [(ref("gemma3:4b"), 2, 7.5)]

    def connections(self) -> dict[str, int]:
        return {"clients": 3, "engines": 1, "idle": 1}

    def traces(self) -> tuple[int, int]:
        return 12, 3


@dataclass
class FakeAcross:
    counts: FleetCounts = field(default_factory=FleetCounts)
    trouble: str | None = None


def gateway(live: FakeLive | None = None) -> Shown:
    """One that has answered a request, and refused one."""
    config = GatewayConfig(tokens=(TokenConfig("laptop", b"", models=("nothing",)),))
    tokens = Tokens(config.tokens, clock=lambda: NOW, wall=lambda: EPOCH)
    counts = Counts()
    counts.answered(ref("qwen3:8b"), "openai", 200, 0.2, 3.5, 4096, 0.4)
    counts.refused("full")
    counts.held(ref("qwen3:8b"), 4.0)
    across = FakeAcross()
    across.counts.placed("elsewhere")
    across.counts.took(0.004)
    live = live or FakeLive()
    return Shown(config, counts, tokens, live, lambda: NOW, lambda: EPOCH, across)


POLICY = Policy(
    pools={GPU: PoolPolicy(reserve=Amount(gib(1)), budget=Amount(gib(20)))}, restore_margin=Bytes(0)
)


async def at_once(_: float) -> None:
    await asyncio.sleep(0)


def site(world: World, mode: Mode = Mode.ENFORCE, token: str | None = None, **rest: Any) -> Site:
    """The real loop and door over `world`; nothing runs yet."""
    rest.setdefault("callers", Callers(lambda: token))
    engines: Any = {e.id: world.engine(e.id) for e in world.engines}
    sampler: Any = world
    executor = Executor(world.sample, engines, mode, sleep=at_once, clock=lambda: NOW)
    executor.settle = Seconds(-1)  # one look is enough: here memory comes back at once
    loop = Loop(
        sampler,
        executor,
        Journal(None),
        POLICY,
        mode,
        clock=lambda: NOW,
        wall=lambda: EPOCH,
    )
    xid = Incident(GPU, "xid", 31, Remedy.RESTART, "Xid 31: a page fault of the GPU", Seconds(NOW))
    loop.alarms.hear(xid)
    door = Door(loop, sleep=at_once)
    feed = rest.setdefault("feed", Feed())
    rest.setdefault("alerting", Alerting(AlertsConfig(), door, feed))
    return Site(door, "1.2.3", started_at=NOW - 77, **rest)


def client(of: Site, peer: tuple[str, int] = ("127.0.0.1", 5), url: str = URL) -> httpx.AsyncClient:
    transport = Checked(httpx.ASGITransport(application(of), client=peer), of)
    return httpx.AsyncClient(transport=transport, base_url=url)


@asynccontextmanager
async def running(of: Site) -> AsyncIterator[httpx.AsyncClient]:
    """The loop at work, after its first sample, and a client on loopback."""
    of.loop.journal.open()
    task = asyncio.create_task(of.loop.run())
    seen = asyncio.create_task(of.loop.changed())
    await asyncio.sleep(0)
    of.loop.post(Tick(NOW))
    await seen
    try:
        async with client(of) as http:
            yield http
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        of.loop.journal.close()


API = "/api/v1"
Story = Callable[[httpx.AsyncClient], Awaitable[Any]]


def play(story: Story, world: World | None = None, mode: Mode = Mode.ENFORCE) -> Any:
    """Run `story` with a client of a daemon that has seen `world`."""

    async def run() -> Any:
        async with running(site(world or World(), mode)) as http:
            return await story(http)

    return asyncio.run(run())


def get(path: str, world: World | None = None, **rest: Any) -> Any:
    return play(lambda http: http.get(path, **rest), world)


def post(path: str, body: Any, world: World | None = None, **rest: Any) -> Any:
    return play(lambda http: http.post(API + path, json=body), world, **rest)


def early(path: str) -> httpx.Response:
    """Asked before the first sample is in."""

    async def run() -> httpx.Response:
        async with client(site(World())) as http:
            return await http.get(path)

    return asyncio.run(run())
