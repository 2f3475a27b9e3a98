"""How long does a plan take, over a thousand residents in eight pools? What does learning cost?"""

from __future__ import annotations

import random
import statistics
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from collectors.reading import Bytes, MemoryPool, PoolId, PoolKind, Seconds, gib
from supervisor.core.experience import Experience
from supervisor.core.headroom import shortfall, without
from supervisor.core.history import History
from supervisor.core.plan import plan
from supervisor.core.policy import Amount, Policy, PoolPolicy
from supervisor.core.rank import RANKINGS
from supervisor.core.snapshot import (
    Ability,
    Demand,
    EngineId,
    EngineState,
    Mapped,
    ModelId,
    ModelRef,
    Resident,
    Share,
    Snapshot,
    State,
)

DAY = 86_400.0
REQUESTS = 20_000  # learned from before a plan is made

POOLS = [PoolId(f"gpu:{i}") for i in range(8)]


def world(residents: int) -> Snapshot:
    """Eight pools of 80 GiB, filled by models of which some map the same weights."""
    dice = random.Random(1)
    models = []
    for i in range(residents):
        pool = dice.choice(POOLS)
        size = Bytes(int(gib(70) * 8 / residents * dice.uniform(0.2, 1.2)))
        models.append(
            Resident(
                ModelRef(EngineId(f"engine{i % 3}"), ModelId(f"model-{i}")),
                (Share(pool, size),),
                (Mapped(f"weights-{i % 40}", pool, Bytes(size // 4)),) if i % 5 == 0 else (),
                State.LOADED,
                busy=dice.random() < 0.05,
                idle_for=Seconds(dice.uniform(0, 10_000)),
            )
        )
    able = frozenset({Ability.UNLOAD})
    engines = tuple(EngineState(EngineId(f"engine{i}"), "any", "", able) for i in range(3))
    pools = tuple(MemoryPool(p, PoolKind.DEDICATED, gib(80), gib(4)) for p in POOLS)
    return Snapshot(Seconds(0), pools, tuple(models), engines=engines)


POLICY = Policy(pools={p: PoolPolicy(Amount(size=gib(2))) for p in POOLS}, max_active=2000)


def experience_of(snapshot: Snapshot) -> Experience:
    """A day of requests for each resident, some often and some rarely, with their loads timed."""
    dice, history = random.Random(2), History()
    requests: list[tuple[float, ModelRef]] = []
    for resident in snapshot.residents:
        history.loaded(resident.ref, Seconds(dice.uniform(2, 60)), resident.shares, 0.0)
        at, every = 0.0, dice.uniform(600, 40_000)
        while (at := at + dice.expovariate(1 / every)) < DAY and len(requests) < REQUESTS:
            requests.append((at, resident.ref))
    for at, ref in sorted(requests):
        history.arrived(ref, at)
    history.begin(taken_at=0.0, wall=DAY)
    return Experience(history=history)


def from_scratch(snapshot: Snapshot, policy: Policy, demand: Demand) -> list[ModelRef]:
    """The obvious way: weigh the whole snapshot again for every victim that is tried."""
    short = {s.pool for s in shortfall(snapshot, policy, demand.shares)}
    idle = (r for r in snapshot.residents if not r.busy and r.pools & short)
    candidates = sorted(idle, key=lambda r: (-r.idle_for, r.model, r.engine))
    chosen: list[ModelRef] = []
    for resident in candidates:
        if not shortfall(without(snapshot, chosen), policy, demand.shares):
            break
        chosen.append(resident.ref)
    return chosen


def median_ms(work: Callable[[], object], runs: int) -> float:
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def rows() -> list[tuple[str, str, str]]:
    """Rows of (what, figure, the obvious way in the same run)."""
    found = []
    for count in (10, 87, 1000):
        snapshot = world(count)
        known = experience_of(snapshot)
        one = Demand((Share(POOLS[0], gib(20)),), ModelRef(EngineId("engine0"), ModelId("new")))
        every = replace(one, shares=tuple(Share(p, gib(20)) for p in POOLS))
        for name, demand in (("one", one), ("eight", every)):
            obvious = "not run"
            if count <= 100 or demand is one:
                obvious = f"{median_ms(partial(from_scratch, snapshot, POLICY, demand), 3):.2f} ms"
            for ranking in ("value", "lru"):
                policy = replace(POLICY, ranking=RANKINGS[ranking])
                ours = median_ms(partial(plan, snapshot, policy, demand, known), 30)
                what = f"plan by {ranking}, {count} residents in 8 pools, room needed in {name}"
                found.append((what, f"{ours:.2f} ms", obvious if ranking == "lru" else ""))
    return found + learning()


def learning() -> list[tuple[str, str, str]]:
    """What a request costs to learn from, and a model to remember."""
    snapshot = world(300)
    known = experience_of(snapshot)
    dice = random.Random(3)
    refs = [dice.choice(snapshot.residents).ref for _ in range(5000)]
    at = DAY
    times = []
    for ref in refs:
        at += dice.expovariate(1 / 20)
        started = time.perf_counter()
        known.history.arrived(ref, at)
        times.append((time.perf_counter() - started) * 1e6)
    tracemalloc.start()
    kept = experience_of(snapshot)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    count = sum(1 for _ in kept.history.known())
    return [
        ("learning from a request, of 300 models", f"{statistics.median(times):.1f} µs", ""),
        ("remembering a model", f"{size / count / 1024:.2f} KiB", ""),
    ]


if __name__ == "__main__":
    for row in rows():
        print(*row, sep=" | ")
