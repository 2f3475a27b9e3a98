"""How long does a plan take, over a thousand residents in eight pools?"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from collectors.reading import Bytes, MemoryPool, PoolId, PoolKind, Seconds, gib
from supervisor.core.headroom import shortfall, without
from supervisor.core.plan import plan
from supervisor.core.policy import Amount, Policy, PoolPolicy
from supervisor.core.rank import rank
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


def from_scratch(snapshot: Snapshot, policy: Policy, demand: Demand) -> list[ModelRef]:
    """The obvious way: weigh the whole snapshot again for every victim that is tried."""
    short = {s.pool for s in shortfall(snapshot, policy, demand.shares)}
    candidates = sorted((r for r in snapshot.residents if not r.busy and r.pools & short), key=rank)
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
    for count in (10, 100, 1000):
        snapshot = world(count)
        one = Demand((Share(POOLS[0], gib(20)),), ModelRef(EngineId("engine0"), ModelId("new")))
        every = replace(one, shares=tuple(Share(p, gib(20)) for p in POOLS))
        for name, demand in (("one", one), ("eight", every)):
            ours = median_ms(partial(plan, snapshot, POLICY, demand), 30)
            obvious = "not run"
            if count <= 100 or demand is one:
                obvious = f"{median_ms(partial(from_scratch, snapshot, POLICY, demand), 3):.2f} ms"
            what = f"plan, {count} residents in 8 pools, room needed in {name}"
            found.append((what, f"{ours:.2f} ms", obvious))
    return found


if __name__ == "__main__":
    for row in rows():
        print(*row, sep=" | ")
