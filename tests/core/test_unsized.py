"""Models of which nobody knows what they take: where they will be, and all that could be had."""

from __future__ import annotations

from dataclasses import replace

from collectors.reading import NONE, RAM, MemoryPool, PoolId, PoolKind, gib
from supervisor.core.emptied import emptied
from supervisor.core.experience import NONE_YET, Experience
from supervisor.core.footprint import unsized
from supervisor.core.header import UNTOLD, Setup
from supervisor.core.plan import plan
from supervisor.core.policy import Amount, ModelPolicy, Policy, PoolPolicy
from supervisor.core.snapshot import Demand, Installed, Resident, Share, Snapshot, Source
from tests.builders import GPU, NO_RESERVE, OTHER, machine, pool, ref, resident

NEW = ref("new")
HOST = MemoryPool(RAM, PoolKind.HOST, gib(64), gib(60))
KEPT = replace(NO_RESERVE, pools={GPU: PoolPolicy(Amount(gib(2))), OTHER: PoolPolicy(Amount())})


def host(
    *residents: Resident, setup: Setup = UNTOLD, free: float = 4, other: float = 9
) -> Snapshot:
    found = replace(machine(free=free), residents=residents)
    pools = (pool(free), pool(other, id=OTHER), HOST)
    return replace(found, pools=pools, installed=(Installed(NEW, setup=setup),))


def pools_of(demand: Demand) -> list[PoolId]:
    assert all((s.size, s.source) == (NONE, Source.ESTIMATED) for s in demand.shares)
    return [s.pool for s in demand.shares]


def test_it_will_be_where_most_is_free_and_on_as_many_as_its_engine_says() -> None:
    for setup, found in (
        (Setup(), [OTHER]),
        (Setup(devices=2), [OTHER, GPU]),
        (Setup(offloaded=0), [RAM]),
        (Setup(offloaded=7), [OTHER]),
    ):
        assert pools_of(unsized(host(setup=setup), NO_RESERVE, NEW)) == found
    dark = replace(host(setup=Setup(devices=2)), pools=(HOST,), blind={OTHER: "it hangs"})
    assert pools_of(unsized(dark, NO_RESERVE, NEW)) == [OTHER]


def all_of(snapshot: Snapshot, policy: Policy = KEPT, experience: Experience = NONE_YET) -> Demand:
    return emptied(snapshot, policy, Demand((Share(GPU, NONE, Source.ESTIMATED),), NEW), experience)


def size(demand: Demand) -> float:
    (share,) = demand.shares
    assert share.pool == GPU
    return share.size / gib(1)


def test_all_that_can_be_had_is_what_is_free_and_what_all_hold_who_may_go() -> None:
    """Of 24 GiB two are the reserve."""
    idle, busy = resident("idle", 9, idle=60), resident("busy", 4, busy=1)
    pinned = replace(KEPT, models={"idle": ModelPolicy(pinned=True)})
    assert size(all_of(host(free=24))) == 22
    assert size(all_of(host(idle, busy, free=11))) == 18
    assert size(all_of(host(idle, busy, free=11), pinned)) == 9
    assert size(all_of(host(busy, free=1))) == 0  # not even the reserve is there
    distrusted = Experience(distrusted=frozenset({idle.ref}))
    assert size(all_of(host(idle, busy, free=11), KEPT, distrusted)) == 9


def test_it_can_be_had() -> None:
    world = host(resident("a", 9, idle=60), resident("b", 8, idle=60), free=7)
    demand = all_of(world)
    made = plan(world, KEPT, demand)
    assert made.works
    assert {e.ref for e in made.evictions} == {ref("a"), ref("b")}


def test_on_several_it_is_what_each_can_give() -> None:
    world = host(resident("a", 9, idle=60), free=3, other=8)
    shares = tuple(Share(p, NONE, Source.ESTIMATED) for p in (GPU, OTHER))
    found = emptied(world, KEPT, Demand(shares, NEW), NONE_YET)
    assert [s.size for s in found.shares] == [gib(10), gib(8)]


def test_where_nothing_can_be_loaded_it_is_as_it_was() -> None:
    barred = Experience(barred={GPU: "swaps too often"})
    demand = Demand((Share(GPU, NONE, Source.ESTIMATED),), NEW)
    assert emptied(host(), KEPT, demand, barred) == demand
    blind = replace(host(), pools=(HOST,), blind={GPU: "it hangs"})
    assert emptied(blind, KEPT, demand, NONE_YET) == demand


def test_nobody_comes_where_nobody_can_look() -> None:
    blind = replace(host(), pools=(HOST,), blind={GPU: "it hangs"})
    made = plan(blind, KEPT, Demand((Share(GPU, NONE, Source.ESTIMATED),), NEW))
    assert (made.works, made.actions) == (False, ())
    assert [(b.pool, b.why) for b in made.blind] == [(GPU, "it hangs")]
    assert plan(blind, KEPT, Demand((Share(RAM, NONE, Source.ESTIMATED),), NEW)).works
