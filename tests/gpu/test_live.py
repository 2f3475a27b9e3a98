"""A real NVIDIA GPU, a program that takes memory of it, and what is read of both."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from collectors.machine import fold
from collectors.nvidia import NvidiaCollector
from collectors.nvidia_gpu import FIRST_PID_NAMESPACE
from collectors.owner import Owner, read_all
from collectors.reading import PoolId, PoolKind, Seconds, Tier, gib, mib
from supervisor.core.assemble import SeenMachine, assemble
from supervisor.core.headroom import rooms
from supervisor.core.listing import Listing
from supervisor.core.policy import Policy
from tests.gpu.hold import CANNOT

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

HOLD = Path(__file__).with_name("hold.py")
SPARE = gib(6)  # free on the GPU, or somebody else needs it
CLOSE = 0.02
STILL = mib(2)  # two readings agree; the driver hands out pieces of 2 MiB
POLL, PATIENCE = 0.05, 20.0  # seconds


@dataclass(frozen=True)
class Seen:
    """Of one GPU, in bytes. `held`: what process `pid` holds; None: nothing, or it is hidden."""

    free: int
    foreign: int
    pid: int
    held: int | None


class Card:
    """A GPU as the daemon sees it: by its collector, folded and assembled, without an engine."""

    def __init__(self, pool: PoolId, owner: Owner) -> None:
        self.pool, self._owner = pool, owner

    def look(self, pid: int = 0) -> Seen:
        machine = fold(read_all([self._owner], Tier.ALL))
        assert machine.faults == {}
        snapshot = assemble(
            Seconds(time.monotonic()),
            SeenMachine(machine.pools, machine.devices, Listing(machine.holders or ())),
            {},
            [],
            [],
        )
        (room,) = rooms(snapshot, Policy(), {self.pool})
        sizes = [f.size for f in snapshot.foreign if (f.pool, f.pid) == (self.pool, pid)]
        return Seen(room.free, room.foreign, pid, sum(sizes) if sizes else None)

    def settled(self, pid: int = 0, true: Callable[[Seen], bool] = lambda seen: True) -> Seen:
        """Once two readings agree, and `true` is."""
        until, last = time.monotonic() + PATIENCE, self.look(pid)
        while True:
            time.sleep(POLL)
            now = self.look(pid)
            if abs(now.free - last.free) < STILL and true(now):
                return now
            assert time.monotonic() < until, f"{now} after {PATIENCE:g} s"
            last = now

    @contextmanager
    def held(self, size: int) -> Iterator[Seen]:
        """What is seen while a program holds `size` bytes of it."""
        process = subprocess.Popen(
            [sys.executable, str(HOLD), str(size)],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": self.pool},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                _, why = process.communicate(timeout=PATIENCE)
                assert process.returncode == CANNOT, why
                pytest.skip(why.strip())
            yield self.settled(process.pid)
        finally:
            process.communicate(timeout=PATIENCE)  # closes its stdin


@pytest.fixture(scope="module")
def card() -> Iterator[Card]:
    """The GPU with the most to spare."""
    owner = Owner(NvidiaCollector())
    machine = fold(read_all([owner], Tier.MEMORY))
    own = [p for p in machine.pools if p.kind is PoolKind.DEDICATED and p.id.startswith("GPU-")]
    if not own:
        owner.close()
        pytest.skip("needs an NVIDIA GPU with memory of its own")
    best = max(own, key=lambda pool: pool.free)
    if best.free < SPARE:
        owner.close()
        pytest.skip(f"needs {SPARE >> 30} GiB free on a GPU")
    yield Card(best.id, owner)
    owner.close()


@pytest.fixture(scope="module")
def context(card: Card) -> Seen:
    """What a program costs that holds nothing: `free` and `foreign` are by how much they change."""
    before = card.settled()
    with card.held(0) as seen:
        cost = Seen(before.free - seen.free, seen.foreign - before.foreign, seen.pid, seen.held)
    card.settled(true=lambda seen: abs(seen.free - before.free) < STILL)
    return cost


@pytest.mark.parametrize("size", [gib(1), gib(2), gib(4)], ids=["1 GiB", "2 GiB", "4 GiB"])
def test_what_a_program_takes_is_seen_as_its_own_and_comes_back(
    card: Card, context: Seen, size: int
) -> None:
    before = card.settled()
    with card.held(size) as seen:
        fell = before.free - seen.free - context.free
        rose = seen.foreign - before.foreign - context.foreign
        held = None if seen.held is None else seen.held - (context.held or 0)
    assert abs(fell - size) <= CLOSE * size
    assert abs(rose - size) <= CLOSE * size
    if held is None:
        assert os.readlink("/proc/self/ns/pid") != FIRST_PID_NAMESPACE, "the driver hides it here"
    else:
        assert abs(held - size) <= CLOSE * size
    after = card.settled(seen.pid, lambda now: before.free - now.free <= CLOSE * size)
    assert after.foreign - before.foreign <= CLOSE * size
    assert after.held is None
