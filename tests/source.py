"""A collector and its owner in one, made of values. It answers when a test tells it to."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from collectors.machine import Machine
from collectors.reading import (
    RAM,
    Bytes,
    Device,
    Health,
    Holder,
    HostFacts,
    MemoryPool,
    PoolId,
    PoolKind,
    Process,
    Reading,
    Sample,
    Seconds,
    Tier,
    gib,
)
from supervisor.sources import Sources
from tests.stepped import now, pass_time

GPU, OTHER = PoolId("GPU-a"), PoolId("GPU-b")
CARD = Device("GPU-a", GPU, "RTX 4090", 0, "nvidia")
LIST = (Tier.PROCESSES, Tier.HEALTH)


class Source:
    """A collector and its owner in one. `held`: it answers when `answer` is called."""

    def __init__(self, name: str, sample: Sample | None = None, deadline: float = 2.0) -> None:
        self.collector = self
        self.name, self.deadline = name, Seconds(deadline)
        self.sample = sample if sample is not None else Sample()
        self.fault: str | None = None
        self.held = False
        self.asked: list[Tier] = []
        self._waiting: list[tuple[Future[Reading], Tier]] = []

    def ask(self, tiers: Tier) -> Future[Reading]:
        future: Future[Reading] = Future()
        self.asked.append(tiers)
        self._waiting.append((future, tiers))
        if not self.held:
            self.answer()
        return future

    def answer(self) -> None:
        for future, tiers in self._waiting:
            if future.set_running_or_notify_cancel():
                future.set_result(self._reading(tiers))
        self._waiting.clear()

    def _reading(self, tiers: Tier) -> Reading:
        at = Seconds(now())
        if self.fault is not None:
            return Reading(self.name, at, Seconds(0), fault=self.fault)
        sample = self.sample
        if Tier.PROCESSES not in tiers:
            sample = replace(sample, holders=None, processes=None, unlisted=())
        if Tier.HEALTH not in tiers:
            sample = replace(sample, health=None)
        incidents, self.sample = sample.incidents, replace(self.sample, incidents=())
        return Reading(self.name, at, Seconds(0), replace(sample, incidents=incidents))


def ram(free: float = 40) -> Sample:
    pool = MemoryPool(RAM, PoolKind.HOST, gib(64), gib(free))
    table = (Process(7, 1, "x", gib(1), Bytes(0)),)
    return Sample((pool,), processes=table, host=HostFacts(Bytes(0), Bytes(0)))


def card(free: float = 20, *holders: Holder, pool: PoolId = GPU) -> Sample:
    found = MemoryPool(pool, PoolKind.DEDICATED, gib(24), gib(free))
    return Sample((found,), (CARD,), holders=holders, health={"GPU-a": Health(temperature=50.0)})


def host(free: float = 40) -> Source:
    return Source("host", ram(free))


def nvidia(sample: Sample | None = None) -> Source:
    return Source("nvidia", sample if sample is not None else card())


def sources(*found: Source, **given: Any) -> Sources:
    owners: Any = found
    return Sources(owners, clock=now, **given)


async def tick(of: Sources, seconds: float = 1.0) -> Machine:
    pass_time(seconds)
    return await of.read(thorough=False)


def pools(machine: Machine) -> list[str]:
    return [p.id for p in machine.pools]


def listings(source: Source, tier: Tier = Tier.PROCESSES) -> list[bool]:
    return [tier in tiers for tiers in source.asked]
