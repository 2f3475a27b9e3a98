"""A machine made of values: pools, the processes that fill them, and faults to inject.

Nothing runs here. What a process holds is worked out from the clock whenever somebody
looks, so that a minute may pass in no time, and from another thread.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

from collectors.owner import Owner
from collectors.reading import (
    NONE,
    RAM,
    Blind,
    Bytes,
    Device,
    Holder,
    MemoryPool,
    PoolId,
    PoolKind,
    ProcessMemory,
    Reading,
    Sample,
    Seconds,
    Tier,
    gib,
)
from supervisor.aside import Aside
from supervisor.attribution import Processes

T = TypeVar("T")

STEPS = 8  # memory of a starting process rises in this many steps
FOREVER = math.inf

GPU0, GPU1 = PoolId("gpu0"), PoolId("gpu1")
TOTALS: Mapping[PoolId, Bytes] = {RAM: gib(64), GPU0: gib(24), GPU1: gib(16)}


class OutOfMemory(Exception):
    """A pool has no room for what a process is going to take."""


@dataclass(slots=True)
class Tenant:
    """A process of the machine. `takes`: its bytes once it has grown, which takes `ramp`
    seconds; all of them are back at `gone_at`. Times are on the machine's clock."""

    pid: int
    name: str
    argv: tuple[str, ...]
    takes: Mapping[PoolId, Bytes]
    started: float
    ramp: float = 0.0
    gone_at: float = FOREVER
    work: list[tuple[float, float]] = field(default_factory=list)  # from, until

    def holds(self, pool: PoolId, now: float) -> Bytes:
        if not self.started <= now < self.gone_at:
            return NONE
        done = STEPS
        if now < self.started + self.ramp:
            done = int((now - self.started) / self.ramp * STEPS)
        return Bytes(self.takes.get(pool, NONE) * done // STEPS)

    def cpu(self, now: float) -> Seconds:
        """Seconds of CPU time: nothing at rest, most of a core for each request at work."""
        return Seconds(sum(0.9 * max(0.0, min(now, e) - s) for s, e in self.work))


@dataclass(slots=True)
class DemoMachine:
    """`fault`: reading fails with it. `lost`: pools that cannot be read, and why."""

    clock: Callable[[], float]
    totals: Mapping[PoolId, Bytes] = field(default_factory=lambda: TOTALS)
    tenants: dict[int, Tenant] = field(default_factory=dict)
    fault: str | None = None
    lost: dict[PoolId, str] = field(default_factory=dict)
    answers: threading.Event = field(default_factory=threading.Event)  # clear: reading hangs
    _pid: int = 4000

    def __post_init__(self) -> None:
        self.answers.set()

    # -- changes

    def start(
        self,
        name: str,
        takes: Mapping[PoolId, Bytes],
        *,
        ramp: float = 0.0,
        argv: tuple[str, ...] = (),
    ) -> Tenant:
        """Start a process that will hold `takes`. Raises OutOfMemory where they cannot fit."""
        self._bury()
        for pool, size in takes.items():
            if size > self.unclaimed(pool):
                raise OutOfMemory(f"{pool}: {size} bytes wanted, {self.unclaimed(pool)} left")
        self._pid += 1
        tenant = Tenant(self._pid, name, argv or (name,), dict(takes), self.clock(), ramp)
        self.tenants[tenant.pid] = tenant
        return tenant

    def end(self, tenant: Tenant, after: float = 0.0) -> None:
        """The process ends, and its memory is back, `after` seconds from now."""
        tenant.gone_at = min(tenant.gone_at, self.clock() + after)

    def _bury(self) -> None:
        now = self.clock()
        self.tenants = {p: t for p, t in self.tenants.items() if t.gone_at > now}

    # -- how it is

    def held(self, pool: PoolId) -> Bytes:
        now = self.clock()
        return Bytes(sum(t.holds(pool, now) for t in tuple(self.tenants.values())))

    def free(self, pool: PoolId) -> Bytes:
        return Bytes(self.totals[pool] - self.held(pool))

    def unclaimed(self, pool: PoolId) -> Bytes:
        """What would be left of `pool` once every process has grown."""
        now = self.clock()
        alive = [t for t in tuple(self.tenants.values()) if t.gone_at > now]
        return Bytes(self.totals[pool] - sum(t.takes.get(pool, NONE) for t in alive))

    def processes(self) -> Processes:
        """The machine's processes, as the sampler reads them."""
        return Processes(
            self._memory,
            self._commands,
            self._memory,
            listener=lambda port: None,
            group=lambda pid: None,
            tells=False,
        )

    def _memory(self, pids: Iterable[int]) -> dict[int, ProcessMemory]:
        now, tenants = self.clock(), self.tenants
        return {
            pid: ProcessMemory(
                pid=pid,
                started=tenant.started,
                anonymous=tenant.holds(RAM, now),
                mapped=(),
                cpu=tenant.cpu(now),
                name=tenant.name,
            )
            for pid in set(pids)
            if (tenant := tenants.get(pid)) is not None and tenant.gone_at > now
        }

    def _commands(self) -> dict[int, tuple[str, ...]]:
        now = self.clock()
        return {p: t.argv for p, t in tuple(self.tenants.items()) if t.gone_at > now}


@dataclass(slots=True)
class DemoCollector:
    """Reads a DemoMachine, as a driver's collector reads a real one."""

    machine: DemoMachine
    name: str = "demo"
    deadline: Seconds = Seconds(2.0)

    def read(self, tiers: Tier) -> Sample:
        self.machine.answers.wait()
        if self.machine.fault is not None:
            raise RuntimeError(self.machine.fault)
        lost = dict(self.machine.lost)
        pools = [p for p in self.machine.totals if p not in lost]
        return Sample(
            pools=tuple(self._pool(p) for p in pools),
            devices=tuple(
                Device(f"GPU-{p}", p, f"Demo GPU {i}", i, "demo")
                for i, p in enumerate(p for p in self.machine.totals if p != RAM)
                if p in pools
            ),
            holders=self._holders(pools) if Tier.PROCESSES in tiers else None,
            blind=tuple(Blind(p, why) for p, why in lost.items()),
        )

    def _pool(self, pool: PoolId) -> MemoryPool:
        kind = PoolKind.HOST if pool == RAM else PoolKind.DEDICATED
        return MemoryPool(pool, kind, self.machine.totals[pool], self.machine.free(pool))

    def _holders(self, pools: Iterable[PoolId]) -> tuple[Holder, ...]:
        """Of accelerators only, as drivers do."""
        now = self.machine.clock()
        tenants = tuple(self.machine.tenants.values())
        return tuple(
            Holder(t.pid, p, size, t.name)
            for p in pools
            if p != RAM
            for t in tenants
            if (size := t.holds(p, now)) > NONE
        )


class InlineOwner(Owner):
    """Reads on the spot: stepped time leaves none in which another thread could."""

    def ask(self, tiers: Tier) -> Future[Reading]:
        future: Future[Reading] = Future()
        collector = self.collector
        if not isinstance(collector, DemoCollector) or collector.machine.answers.is_set():
            future.set_result(self._read(tiers))
        return future  # of a driver that hangs nothing is heard


class InlineAside(Aside):
    """Works on the spot, for the same reason. Nothing made of values can hang."""

    async def call(self, work: Callable[[], T], deadline: Seconds) -> T:
        return work()
