"""Whose are the bytes that went? With the real llama-server, which maps a file for each model.

What the machine's memory *fell by*, when two models came, is measured here from the kernel's own
files and by none of the code that is under test:

    what is no longer available            /proc/meminfo: MemAvailable. Pages in the lists of free
                                           pages that each CPU keeps (/proc/zoneinfo) are added: up
                                           to 100 MiB move in and out of them, and they are free.
  + the weights mapped and resident        /proc/PID/smaps, file by file: the kernel calls these
                                           pages available, and they are not to be had.
  - what everybody else took meanwhile     AnonPages and Shmem of the same reading of meminfo, less
                                           what the engine's processes have of them by their own
                                           smaps_rollup. Other programs run on this machine.

Libraries and the program itself were in memory before, so they are no part of it.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from collectors.host import HostCollector
from collectors.owner import Owner
from collectors.reading import RAM
from supervisor.core.headroom import held
from supervisor.core.snapshot import EngineId, ModelId, ModelRef, Resident, Snapshot
from supervisor.demo.real import RealRouter
from supervisor.engines.llamacpp import LlamaCpp
from supervisor.engines.wire import client as engine_client
from supervisor.sampler import Sampler
from supervisor.sources import Sources
from tests.real.test_real_engine import Clients, run

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.usefixtures("installed")]

A, B = "alpha", "beta"
ENGINE = EngineId("llama")
CLOSE = 0.02  # of what was measured
POLL = 0.1  # seconds
PATIENCE = 10.0
STILL = 1 << 20  # bytes: two readings agree

# Alike in their weights, unlike in their context: else nobody would see them mistaken.
PRESET = f"version = 1\n[{A}]\ncache-type-k = f32\ncache-type-v = f32\n"
OPTIONS = ("--ctx-size", "4096")


@dataclass(frozen=True)
class Kernel:
    """What the kernel says at one moment, in bytes."""

    available: int
    others: int  # what processes have that are not the engine's
    weights: int
    rolled: Mapping[str, Mapping[str, int]]  # model → its process's smaps_rollup

    def fell_by(self, before: Kernel) -> int:
        others = self.others - before.others
        return before.available - self.available - others + self.weights - before.weights


def look(clients: Clients) -> Kernel:
    models = {name: process.pid for name, process in clients.children().items()}
    rolled = {name: rollup(pid) for name, pid in models.items()}
    assert clients.router.pid is not None
    engine = [rollup(clients.router.pid), *rolled.values()]
    info = sizes(Path("/proc/meminfo").read_text())
    spare = re.findall(r"^\s+count:\s+(\d+)$", Path("/proc/zoneinfo").read_text(), re.MULTILINE)
    return Kernel(
        available=info["MemAvailable"] + sum(map(int, spare)) * os.sysconf("SC_PAGE_SIZE"),
        others=info["AnonPages"]
        + info["Shmem"]
        - sum(r["Pss_Anon"] + r["Pss_Shmem"] for r in engine),
        weights=sum(resident(pid, f"/{name}.gguf") for name, pid in models.items()),
        rolled=rolled,
    )


def sizes(text: str) -> dict[str, int]:
    found = re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)
    return {name: int(size) * 1024 for name, size in found}


def rollup(pid: int) -> dict[str, int]:
    return sizes(Path(f"/proc/{pid}/smaps_rollup").read_text())


def resident(pid: int, file: str) -> int:
    """Bytes of a file that a process has mapped, and that are in memory."""
    found, inside = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(file)
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found


async def settled(clients: Clients, before: Kernel | None = None) -> Kernel:
    """Freed and taken pages are counted late: until two readings agree."""
    reference = before or look(clients)
    last = look(clients)
    async with asyncio.timeout(PATIENCE):
        while True:
            await asyncio.sleep(POLL)
            now = look(clients)
            if abs(now.fell_by(reference) - last.fell_by(reference)) < STILL:
                return now
            last = now


@asynccontextmanager
async def engine(folder: Path) -> AsyncIterator[tuple[Clients, Sampler]]:
    """A router with both models on disk, and whoever reads it as the daemon does."""
    preset = folder / "models.ini"
    preset.write_text(PRESET)
    options = (*OPTIONS, "--models-preset", str(preset))
    async with RealRouter(names=[A, B], mapped=True, options=options) as router:
        clients, owner = Clients(router), Owner(HostCollector())
        async with engine_client() as client:
            sampler = Sampler(
                Sources((owner,)), {ENGINE: LlamaCpp(ENGINE, router.url, client, None)}
            )
            try:
                yield clients, sampler
            finally:
                await sampler.close()
                owner.close()
                await clients.http.aclose()


def of(snapshot: Snapshot, name: str) -> Resident:
    found = snapshot.resident(ModelRef(ENGINE, ModelId(name)))
    assert found is not None, f"{name} is not resident"
    return found


def own(model: Resident, weights: str) -> int:
    """What was attributed to a model and to nobody else: its own, and the file of its weights."""
    return sum(s.size for s in model.shares) + sum(
        m.size for m in model.mapped if m.file == weights
    )


def matches(model: Resident, rolled: Mapping[str, int]) -> bool:
    """Is what it is said to hold what its process has in memory, by the kernel's word?"""
    return abs(model.holds(RAM) - rolled["Rss"]) <= CLOSE * rolled["Rss"]


def file_of(pid: int, name: str) -> str:
    """Device and inode of the file of that name among the mappings of a process."""
    text = Path(f"/proc/{pid}/maps").read_text()
    found = re.search(rf" ([0-9a-f]+:[0-9a-f]+) (\d+) +/.*/{name}\.gguf$", text, re.MULTILINE)
    assert found is not None, text
    return f"{found[1]}:{found[2]}"


def test_the_bytes_that_memory_fell_by_are_attributed_each_to_its_own_model(tmp_path: Path) -> None:
    async def story() -> None:
        async with engine(tmp_path) as (clients, sampler):
            await clients.load(A, B)  # once, so that the files are in memory as they will be
            await unload(clients)
            before = await settled(clients)
            assert (await sampler.sample(thorough=True)).residents == ()

            await clients.load(A, B)
            await clients.chat(A)
            await clients.chat(B)
            after = await settled(clients, before)
            snapshot = await sampler.sample(thorough=True)

            fell = after.fell_by(before)
            pids = {name: process.pid for name, process in clients.children().items()}
            files = {name: file_of(pid, name) for name, pid in pids.items()}
            attributed = sum(own(of(snapshot, name), files[name]) for name in (A, B))
            assert 0.98 * fell <= attributed <= 1.02 * fell

            for name, other in ((A, B), (B, A)):
                model = of(snapshot, name)
                assert model.pids == (pids[name],)
                assert matches(model, after.rolled[name])
                assert not matches(model, after.rolled[other]), "the two cannot be told apart"
                assert files[name] in {m.file for m in model.mapped}
                assert files[other] not in {m.file for m in model.mapped}

            # What both have mapped is there once: the libraries.
            once = sum(
                after.rolled[name]["Pss_Anon"] + after.rolled[name]["Pss_Shmem"] for name in (A, B)
            )
            once += after.weights + _shared(after)
            assert abs(held(snapshot)[RAM] - once) <= CLOSE * once
            assert {f.engine for f in snapshot.foreign if f.pid == clients.router.pid} == {ENGINE}

            await unload(clients)
            gone = await settled(clients, before)
            assert (await sampler.sample(thorough=True)).residents == ()
            assert abs(gone.fell_by(before)) <= CLOSE * fell

    run(story())


def _shared(kernel: Kernel) -> int:
    """Of what a model's process has mapped from files, what is not its weights."""
    rest = [r["Rss"] - r["Pss_Anon"] - r["Pss_Shmem"] for r in kernel.rolled.values()]
    return (sum(rest) - kernel.weights) // len(rest)


async def unload(clients: Clients) -> None:
    for name in clients.children():
        reply = await clients.http.post("/models/unload", json={"model": name})
        assert reply.status_code == 200, reply.text
    async with asyncio.timeout(20):
        while clients.children():
            await asyncio.sleep(POLL)
