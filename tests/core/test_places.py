"""Where a model is loaded that could be on several accelerators."""

from __future__ import annotations

from dataclasses import replace

from collectors.reading import RAM, Device, MemoryPool, PoolId, PoolKind, Seconds, gib
from supervisor.core.experience import Experience
from supervisor.core.history import History
from supervisor.core.places import places
from supervisor.core.plan import Load, Plan, plan
from supervisor.core.policy import Amount, EnginePolicy, Policy, PoolPolicy
from supervisor.core.snapshot import (
    Demand,
    Installed,
    Reservation,
    Resident,
    Share,
    Snapshot,
    Source,
    State,
)
from tests.builders import GPU, OTHER, engine, ref, resident, share

THIRD = PoolId("gpu:2")
POLICY = Policy(pools={p: PoolPolicy(Amount()) for p in (GPU, OTHER, THIRD, RAM)})
NEW = ref("new")


def card(id: PoolId, name: str = "NVIDIA RTX 4090", vendor: str = "nvidia") -> Device:
    return Device(f"uuid-{id}", id, name, 0, vendor)


def host(
    *residents: Resident,
    free: dict[PoolId, float],
    anywhere: bool = True,
    devices: tuple[Device, ...] = (card(GPU), card(OTHER), card(THIRD)),
) -> Snapshot:
    pools = tuple(
        MemoryPool(p, PoolKind.DEDICATED, gib(24), gib(n)) for p, n in sorted(free.items())
    )
    return Snapshot(
        Seconds(0), (*pools, MemoryPool(RAM, PoolKind.HOST, gib(64), gib(60))), residents,
        engines=(engine(),), devices=devices, installed=(Installed(NEW, anywhere=anywhere),),
    )  # fmt: skip


def wanted(size: float, source: Source = Source.LEARNED) -> Demand:
    return Demand((Share(GPU, gib(size), source), Share(RAM, gib(1), source)), NEW)


def place(made: Plan) -> PoolId:
    (load,) = (a for a in made.actions if isinstance(a, Load))
    return load.takes[0].pool


def gone(made: Plan) -> list[str]:
    return [e.ref.model for e in made.evictions]


def test_free_room_comes_first_and_of_that_the_tightest_fit() -> None:
    world = host(resident("a", 20, idle=99), free={GPU: 4, OTHER: 23, THIRD: 12})
    made = plan(world, POLICY, wanted(10))
    assert (place(made), gone(made)) == (THIRD, [])
    assert [s.pool for s in made.actions[-1].takes] == [THIRD, RAM]  # type: ignore[union-attr]


def test_what_nobody_knows_the_size_of_goes_where_most_is_free() -> None:
    world = host(free={GPU: 4, OTHER: 23, THIRD: 12})
    for first in (GPU, OTHER, THIRD):
        unsized = Demand((Share(first, gib(0), Source.ESTIMATED),), NEW)
        assert place(plan(world, POLICY, unsized)) == OTHER


def test_else_it_goes_where_the_best_set_of_victims_costs_least() -> None:
    history = History()
    for name, seconds in (("here", 60), ("there", 4), ("small", 9)):
        history.loaded(ref(name), Seconds(seconds), (), 0)
    world = host(
        resident("here", 20, idle=60), resident("there", 20, idle=60, pool=OTHER),
        resident("small", 20, idle=60, pool=THIRD), free={GPU: 4, OTHER: 4, THIRD: 4},
    )  # fmt: skip
    made = plan(world, POLICY, wanted(10), Experience(history=history))
    assert (place(made), gone(made)) == (OTHER, ["there"])


def test_where_nothing_works_it_says_what_is_missing_where_least_is() -> None:
    world = host(
        resident("a", 20, busy=1), resident("b", 20, busy=1, pool=OTHER), free={GPU: 1, OTHER: 3}
    )
    made = plan(world, POLICY, wanted(10))
    assert made.actions == ()
    assert [(s.pool, s.size) for s in made.unmet] == [(OTHER, gib(7))]


def test_an_engine_that_cannot_be_told_loads_where_it_always_did() -> None:
    world = host(free={GPU: 4, OTHER: 23}, anywhere=False)
    assert places(world, POLICY, wanted(10)) == [wanted(10)]
    assert not plan(world, POLICY, wanted(10)).works


def test_what_was_learned_on_one_make_is_not_true_of_another() -> None:
    others = (card(GPU), card(OTHER, "NVIDIA RTX 3060"), card(THIRD, "AMD W7900", "amd"))
    world = host(free={GPU: 4, OTHER: 23, THIRD: 23}, devices=others)
    assert [d.shares[0].pool for d in places(world, POLICY, wanted(10))] == [GPU]
    guess = wanted(10, Source.ESTIMATED)  # but a guess is as good on any that its engine can use
    assert [d.shares[0].pool for d in places(world, POLICY, guess)] == [GPU, OTHER]


def test_a_model_on_several_accelerators_stays_on_those() -> None:
    world = host(free={GPU: 4, OTHER: 4, THIRD: 20})
    spread = Demand((share(8), share(8, OTHER)), NEW)
    assert places(world, POLICY, spread) == [spread]


def test_one_that_sleeps_wakes_where_it_sleeps() -> None:
    asleep = Resident(NEW, (share(1, OTHER),), state=State.SLEEPING)
    world = host(asleep, resident("old", 20, idle=9, pool=OTHER), free={GPU: 23, OTHER: 3})
    made = plan(world, POLICY, wanted(10))
    assert (place(made), gone(made)) == (OTHER, ["old"])


def test_a_load_that_is_promised_its_place_keeps_it_when_it_is_planned_again() -> None:
    world = host(resident("old", 20, idle=9), free={GPU: 4, OTHER: 4, THIRD: 4})
    promised = replace(world, reservations=(Reservation(NEW, (share(10, THIRD), share(1, RAM))),))
    assert [d.shares[0].pool for d in places(promised, POLICY, wanted(10))] == [THIRD]
    assert not plan(promised, POLICY, wanted(10)).works


def test_a_pool_that_cannot_be_read_is_no_place() -> None:
    world = host(free={GPU: 4, OTHER: 20})
    world = replace(world, blind={THIRD: "the GPU is lost"})
    assert THIRD not in [d.shares[0].pool for d in places(world, POLICY, wanted(10))]
    assert place(plan(world, POLICY, wanted(10))) == OTHER


def test_one_that_its_engine_may_not_use_is_no_place() -> None:
    world = host(free={GPU: 4, OTHER: 20, THIRD: 22})
    tied = replace(POLICY, engines={NEW.engine: EnginePolicy(pools=frozenset({GPU, OTHER}))})
    assert [d.shares[0].pool for d in places(world, tied, wanted(10))] == [GPU, OTHER]
    assert place(plan(world, tied, wanted(10))) == OTHER
