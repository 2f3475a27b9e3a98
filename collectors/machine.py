"""Which collectors fit this machine, a thread for each, and what they say together."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass, field, replace
from pathlib import Path

from .host import HostCollector
from .nvidia import NvidiaCollector
from .reading import (
    RAM,
    Blind,
    Collector,
    Device,
    Holder,
    HostFacts,
    MemoryPool,
    PoolId,
    PoolKind,
    Reading,
    Seconds,
)


def find(root: Path = Path("/")) -> list[Collector]:
    """The collectors that may have something to say here. Asks no driver yet."""
    collectors: list[Collector] = [HostCollector(root)]
    if sys.platform != "darwin":  # the last driver for macOS was for 10.13
        collectors.append(NvidiaCollector(root))
    return collectors


class Owner:
    """Calls one collector, always from the same thread, and keeps nobody waiting for it.

    A driver can hang for ever inside a call. Then the thread is left alone, every further
    `ask` is answered at once with a fault, and what the call returns at last is thrown away.
    The thread is a daemon: the program's end does not wait for it.
    """

    def __init__(self, collector: Collector, clock: Callable[[], float] = time.monotonic) -> None:
        self.collector = collector
        self._clock = clock
        self._calls: queue.SimpleQueue[tuple[Future[Reading], bool] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._called_at: float | None = None  # None: no call is under way

    def ask(self, holders: bool) -> Future[Reading]:
        """A reading, or a fault; the future itself never fails. Cancel it to give up waiting.

        While a call is within its deadline, the next one waits behind it.
        """
        future: Future[Reading] = Future()
        now, called_at = self._clock(), self._called_at
        if called_at is not None and now - called_at > self.collector.deadline:
            future.set_result(
                self._fault(called_at, f"has not returned for {now - called_at:.0f} s")
            )
            return future
        if self._thread is None:
            name = f"collector {self.collector.name}"
            self._thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._thread.start()
        self._calls.put((future, holders))
        return future

    def close(self) -> None:
        """Let the thread end after what it was asked. Does not wait."""
        self._calls.put(None)

    def give_up(self, future: Future[Reading], started: float) -> Reading:
        """The fault to use in place of a reading that did not come in time."""
        future.cancel()
        return self._fault(started, f"no answer within {self.collector.deadline:g} s")

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            future, holders = call
            if future.set_running_or_notify_cancel():  # nobody waits for a cancelled one
                future.set_result(self._read(holders))

    def _read(self, holders: bool) -> Reading:
        self._called_at = started = self._clock()
        try:
            sample = self.collector.read(holders=holders)
        except Exception as error:
            return self._fault(started, _line(error))
        finally:
            self._called_at = None
        took = self._clock() - started
        if took > self.collector.deadline:
            # Whoever asked has given up; its numbers are of an unknown moment on the way.
            return self._fault(started, f"answered only after {took:.1f} s")
        return Reading(self.collector.name, Seconds(started), Seconds(took), sample)

    def _fault(self, started: float, why: str) -> Reading:
        took = Seconds(self._clock() - started)
        return Reading(self.collector.name, Seconds(started), took, fault=why)


def read_all(
    owners: Sequence[Owner], *, holders: bool, clock: Callable[[], float] = time.monotonic
) -> list[Reading]:
    """One reading per owner, in their order, asked at once, each waited for until its deadline."""
    started = clock()
    asked = [(owner, owner.ask(holders)) for owner in owners]
    readings = []
    for owner, future in asked:
        left = started + owner.collector.deadline - clock()
        try:
            readings.append(future.result(timeout=max(0.0, left)))
        except TooLate:
            readings.append(owner.give_up(future, started))
    return readings


@dataclass(frozen=True, slots=True)
class Machine:
    """All readings of one moment together. A pool is in `pools` or in `blind`, never in both."""

    pools: tuple[MemoryPool, ...] = ()
    devices: tuple[Device, ...] = ()
    holders: tuple[Holder, ...] | None = None  # None: not asked for, or nobody could say
    blind: tuple[Blind, ...] = ()
    host: HostFacts | None = None
    notes: tuple[str, ...] = ()
    faults: dict[str, str] = field(default_factory=dict)  # collector → why it has no data


def fold(readings: Iterable[Reading]) -> Machine:
    """The machine that these readings describe. RAM is unified where a device draws from it.

    RAM that nobody could read is blind. Of other pools, a faulted collector cannot say which
    it had: whoever read them before knows.
    """
    readings = tuple(readings)
    samples = [r.sample for r in readings if r.sample is not None]
    faults = {r.collector: r.fault for r in readings if r.fault is not None}
    devices = tuple(d for s in samples for d in s.devices)
    unified = any(d.pool == RAM for d in devices)
    pools: dict[PoolId, MemoryPool] = {}
    for pool in (p for s in samples for p in s.pools):
        kind = PoolKind.UNIFIED if unified and pool.id == RAM else pool.kind
        pools.setdefault(pool.id, replace(pool, kind=kind))
    blind = {b.pool: b for s in samples for b in s.blind}
    if RAM not in pools and RAM not in blind:
        why = faults.get(HostCollector.name, "no collector reads it")
        blind[RAM] = Blind(RAM, why)
    listed = [s.holders for s in samples if s.holders is not None]
    return Machine(
        pools=tuple(pools.values()),
        devices=devices,
        holders=tuple(h for holders in listed for h in holders) if listed else None,
        blind=tuple(b for b in blind.values() if b.pool not in pools),
        host=next((s.host for s in samples if s.host is not None), None),
        notes=tuple(s.note for s in samples if s.note is not None),
        faults=faults,
    )


def _line(error: Exception) -> str:
    """One line for people; the kind of error too, where it is not one that we wrote."""
    text = " ".join(str(error).split())
    known = type(error).__module__.startswith("collectors.")
    return text if known and text else f"{type(error).__name__}: {text}".rstrip(": ")
