"""What does a look at a large machine cost: eight GPUs, and four hundred processes on them?

The processes are real, and asleep. The driver is the stand-in of the tests, in a process of its
own as the daemon has it, so its times say what Python makes of the answers; where an NVIDIA GPU
is there, what the real driver's calls take is measured besides.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import psutil

from collectors import nvml, nvml_health
from collectors.apart import Apart
from collectors.host import HostCollector
from collectors.listener import listener
from collectors.owner import Owner
from collectors.reading import Seconds, gib
from collectors.rest import Resting
from supervisor import app, daemon
from supervisor.attribution import Attribution, Processes
from supervisor.config import config
from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines import ENGINES
from supervisor.engines.adapter import Adapter
from supervisor.engines.base import Activity, EngineModel, Identity, Process
from supervisor.events import Tick
from supervisor.process import settle_in
from tests.nvml import fake_nvml

GPUS, HOLDERS, MODELS = 8, 50, 10
LOOKS = 60  # of each kind
REST = 0.03  # seconds between two of them: nobody finds the caches as warm as they were left
LAG, TIMER = 6.0, 0.005  # seconds: how long, and how often, it is watched for
CALLS = 200  # of each kind to a real driver

# What a data-centre GPU tells of its health.
SENSORS: dict[str, object] = {"limit_mw": 700_000, "clock": 1980, "mem_clock": 2619, "reasons": 0}
SENSORS |= {"ecc_corrected": 0, "ecc_uncorrected": 0, "pcie_gen": 5, "pcie_width": 16}

Rows = list[tuple[str, str, str]]


class Clock:
    """The daemon's own, and it can be put forward: then health and process lists are due."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class Engine(Adapter):
    """Answers at once. Its first `MODELS` processes hold a model each."""

    kind: ClassVar[str] = "bench"
    title: ClassVar[str] = "bench"
    ports: ClassVar[tuple[int, ...]] = ()
    abilities: frozenset[Ability] = frozenset({Ability.LIST, Ability.UNLOAD})

    def __init__(self, pids: list[int]) -> None:
        self.id, self.url = EngineId("engine"), "http://127.0.0.1:9"  # its process: `root`
        self.root, self._models = pids[0], tuple(_model(i, p) for i, p in enumerate(pids[1:]))

    async def identify(self) -> Identity | None:
        return Identity()

    async def list(self) -> tuple[EngineModel, ...]:
        return self._models

    async def activity(self, model: EngineModel) -> Activity:
        return Activity(0)

    async def unload(self, model: ModelId) -> None: ...


def _model(number: int, pid: int) -> EngineModel:
    return EngineModel(ModelId(f"model-{number}"), State.LOADED, process=Process(pid, ours=True))


@contextmanager
def sleepers(count: int) -> Iterator[list[int]]:
    """So many processes that do nothing, by pid; they end with the block."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            started.append(subprocess.Popen(["sleep", "600"], close_fds=False))
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


@dataclass(slots=True)
class House:
    """A daemon in this process, without its web server; ticks are ours."""

    app: daemon.App
    clock: Clock
    child: psutil.Process

    async def look(self, *, every: Mapping[str, bool]) -> None:
        """One tick, until its snapshot has been seen. `every`: is a dear tier due?"""
        sources = self.app.loop.sampler.sources
        sources.processes_interval = Seconds(20.0 if every["processes"] else 1e9)
        sources.health_interval = Seconds(20.0 if every["health"] else 1e9)
        self.clock.ahead += 20.0
        self.app.loop.post(Tick(Seconds(self.clock())))
        await self.app.loop.changed()


@asynccontextmanager
async def house(folder: Path, pids: list[int]) -> AsyncIterator[House]:
    clock, apart = Clock(), Apart("nvidia", "collectors.nvidia:NvidiaCollector")
    owners = (Owner(HostCollector(), clock), Owner(Resting(apart), clock))
    flags = {"detect": False, "mode": "observe", "state_dir": str(folder)}
    settings = config.load(None, {}, flags, kinds=frozenset(ENGINES), places=())
    built = app.build(settings, owners=owners)
    engine = Engine(pids[: MODELS + 1])
    loop = built.loop
    loop.sampler.engines[engine.id] = engine
    loop.sampler.attribution = Attribution(Processes(listener=lambda port: engine.root))
    loop.sampler.sources.clock = clock
    task = asyncio.create_task(loop.run())
    try:
        loop.post(Tick(Seconds(clock())))
        await loop.changed()
        snapshot = loop.snapshot
        assert snapshot is not None
        assert len(snapshot.pools) == GPUS + 1, loop.sampler.health
        assert len(snapshot.residents) == MODELS
        assert apart.pid is not None
        settle_in()
        yield House(built, clock, psutil.Process(apart.pid))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await loop.sampler.close()
        apart.close()
        for owner in owners:
            owner.close()
        await built.client.aclose()


async def cost(there: House, every: Mapping[str, bool] | None) -> tuple[float, float]:
    """Milliseconds of CPU a look, of this process with all its threads, and of the child; without
    a look, what the rest between two of them takes."""
    before, cpu = _cpu(there.child), time.process_time()
    for _ in range(LOOKS):
        if every is not None:
            await there.look(every=every)
        await asyncio.sleep(REST)
    ours = time.process_time() - cpu
    return ours / LOOKS * 1000, (_cpu(there.child) - before) / LOOKS * 1000


def _cpu(process: psutil.Process) -> float:
    """Seconds; counted in ticks of a hundredth."""
    times = process.cpu_times()
    return times.user + times.system


def searching() -> float:
    """Milliseconds of CPU: it is done each minute for each engine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        cpu = time.process_time()
        for _ in range(CALLS // 20):
            assert listener(server.getsockname()[1]) == os.getpid()
        return (time.process_time() - cpu) / (CALLS // 20) * 1000


async def lag(there: House | None) -> str:
    """How late a timer of the loop fires, while the daemon looks at everything, again and again."""
    late: list[float] = []
    loop = asyncio.get_running_loop()
    until = loop.time() + LAG

    def fire(due: float) -> None:
        now = loop.time()
        late.append((now - due) * 1000)
        if now < until:
            loop.call_at(now + TIMER, fire, now + TIMER)

    loop.call_soon(fire, loop.time())
    while loop.time() < until:
        if there is not None:
            await there.look(every={"processes": True, "health": True})
        await asyncio.sleep(REST)
    late = sorted(late[1:])
    shown = statistics.median(late), late[int(0.99 * len(late))], late[-1]
    return "median {:.1f} ms, 99 % {:.1f} ms, longest {:.1f} ms".format(*shown)


# What is due, and how often in seconds.
KINDS = {
    "a plain look": ({"processes": False, "health": False}, 1.0),
    "a look with health": ({"processes": False, "health": True}, 5.0),
    "a look with process lists": ({"processes": True, "health": False}, 10.0),
}


async def looks(folder: Path, pids: list[int]) -> Rows:
    """For a process of its own: whoever is its child is no stranger to it."""
    head = f"{GPUS} GPUs, {GPUS * HOLDERS} processes"
    found: Rows = []
    async with house(folder, pids) as there:
        resting, _ = await cost(there, None)
        plain, average = 0.0, 0.0
        for what, (every, seconds) in KINDS.items():
            ours, child = await cost(there, every)
            ours -= resting
            plain = plain or ours
            average += ours if ours is plain else (ours - plain) / seconds
            found.append((f"{head}, {what}: CPU", f"{ours:.2f} ms", f"{child:.1f} ms in the child"))
        found.append((f"{head}, a look on average: CPU", f"{average:.2f} ms", ""))
        found.append((f"{head}, to find who listens on a port: CPU", f"{searching():.1f} ms", ""))
        bare = await lag(None)
        late = await lag(there)
        found.append((f"{head}: a timer is late by", late, f"{bare} in a bare loop"))
    return found


def busy(folder: Path, pids: list[int]) -> fake_nvml.State:
    """A driver whose GPUs these processes share."""
    driver = fake_nvml.State(folder / "nvml.txt")
    for i in range(GPUS):
        driver.gpus[i] = dict(SENSORS, name="NVIDIA H100", total=gib(80), used=gib(70))
    driver.lines = [f"proc {i % GPUS} C {pid} {gib(1)}" for i, pid in enumerate(pids)]
    driver.write()
    return driver


def stand_in() -> Rows:
    """With the driver of the tests."""
    if sys.platform != "linux" or fake_nvml.compiler() is None:
        return [("a look at eight GPUs", "not measured: needs Linux and a C compiler", "")]
    with tempfile.TemporaryDirectory() as name, sleepers(GPUS * HOLDERS) as pids:
        folder = Path(name)
        library, driver = fake_nvml.build(folder), busy(folder, pids)
        told = subprocess.run(
            [sys.executable, "-m", "benchmarks.sampling", name],
            input=json.dumps(pids),
            env=driver.env(library),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return [(what, figure, beside) for what, figure, beside in json.loads(told.stdout)]


def calls() -> Rows:
    """What the calls of a real driver take, one GPU at a time. Changes nothing."""
    library = nvml.Nvml()
    started = time.perf_counter()
    try:
        library.start()
    except nvml.NvmlError as error:
        return [("the NVIDIA driver's calls", f"not measured: {error}", "")]
    took = time.perf_counter() - started
    found = [("the NVIDIA driver, to initialise", f"{took * 1000:.0f} ms", "")]
    try:
        for index in range(library.count()):
            handle = library.handle(index)
            name = f"GPU {index} ({library.name(handle)})"
            for what, call in (
                ("memory", library.memory),
                ("process lists", library.processes),
                ("health", partial(nvml_health.read, library)),
            ):
                took = median_us(call, handle)
                found.append((f"{name}: {what}", f"{took:.0f} us", ""))
    finally:
        library.stop()
    return found


def median_us(call: Callable[[nvml.Handle], object], handle: nvml.Handle) -> float:
    times = []
    for _ in range(CALLS):
        started = time.perf_counter()
        call(handle)
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6


def rows() -> Rows:
    """Rows of (what, figure, what is beside it)."""
    return stand_in() + calls()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(asyncio.run(looks(Path(sys.argv[1]), json.load(sys.stdin)))))
    else:
        for row in rows():
            print(*row, sep=" | ")
