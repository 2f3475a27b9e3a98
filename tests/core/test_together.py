"""Who goes together is chosen, and weighed, as one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.reading import gib
from supervisor.core.groups import Group, Rule
from supervisor.core.plan import Why, plan, relieve
from supervisor.core.policy import ModelPolicy, Policy
from supervisor.core.rank import RANKINGS
from tests.builders import OTHER, demand, machine, reserve, resident

PAIR = Group(Rule.ALWAYS_TOGETHER, ("a", "b"))
POLICY = replace(reserve(0), groups={"pair": PAIR})


def gone(policy: Policy, *residents: object, free: float, needs: float) -> list[str]:
    world = machine(*residents, free=free, total=48)  # type: ignore[arg-type]
    return sorted(e.ref.model for e in plan(world, policy, demand("new", needs)).evictions)


def test_a_companion_that_would_be_missed_is_a_reason_to_take_somebody_else() -> None:
    a, b, c = (resident(name, 8, idle=60) for name in "abc")
    dear = replace(POLICY, models={"b": ModelPolicy(priority=10)})
    assert gone(dear, a, b, c, free=0, needs=8) == ["c"]
    cheap = replace(POLICY, models={"c": ModelPolicy(priority=10)})
    assert gone(cheap, a, b, c, free=0, needs=8) == ["a", "b"]


@pytest.mark.parametrize("ranking", sorted(RANKINGS))
def test_what_a_companion_brings_spares_a_third(ranking: str) -> None:
    policy = replace(POLICY, ranking=RANKINGS[ranking])
    a, b = (resident(name, 8, idle=900) for name in "ab")
    c = resident("c", 8, idle=60)
    assert gone(policy, a, b, c, free=0, needs=16) == ["a", "b"]
    assert gone(policy, a, b, c, free=0, needs=17) == ["a", "b", "c"]


def test_for_one_place_one_goes_and_no_pair() -> None:
    policy = replace(POLICY, max_active=3)
    a, b, c = (resident(name, 4, idle=60) for name in "abc")
    assert gone(policy, a, b, c, free=36, needs=1) == ["c"]
    busy = replace(policy, models={"c": ModelPolicy(pinned=True)})
    assert gone(busy, a, b, c, free=36, needs=1) == ["a", "b"]


@pytest.mark.parametrize("ranking", sorted(RANKINGS))
def test_a_pair_whose_second_is_at_work_in_another_pool_goes_last(ranking: str) -> None:
    policy = replace(POLICY, force_when_busy=True, ranking=RANKINGS[ranking])
    a, c = resident("a", 8, idle=900), resident("c", 8, idle=1)
    b = resident("b", 8, busy=5, pool=OTHER)
    assert gone(policy, a, b, c, free=0, needs=8) == ["c"]


def test_the_first_makes_room_and_the_other_goes_beside_it_with_a_loss_of_its_own() -> None:
    a, b = (resident(name, 8, idle=60) for name in "ab")
    world = machine(a, b, free=0)
    first, second = plan(world, POLICY, demand("new", 8)).evictions
    assert (first.why, second.why, second.beside) == (Why.MAKES_ROOM, Why.TOGETHER, first.ref)
    assert first.loss is not None
    assert second.loss is not None
    assert first.loss.expected == pytest.approx(second.loss.expected)
    assert [s.size for e in (first, second) for s in e.frees] == [gib(8), gib(8)]


def test_files_that_both_have_mapped_come_back_once() -> None:
    a, b = (resident(name, 0, idle=900, files=[("f", 8)]) for name in "ab")
    c = resident("c", 8, idle=60)
    assert gone(POLICY, a, b, c, free=0, needs=8) in (["a", "b"], ["c"])
    assert gone(POLICY, a, b, c, free=0, needs=16) == ["a", "b", "c"]
    assert gone(POLICY, a, b, c, free=0, needs=17) == []


def test_relief_that_cannot_do_enough_spares_the_small_ones_alone_or_in_pairs() -> None:
    a, b, c, d = (resident(n, s, idle=60) for n, s in (("a", 4), ("b", 4), ("c", 0.1), ("d", 0.1)))
    tiny = resident("tiny", 0.2, idle=60)
    groups = {"pair": PAIR, "other": Group(Rule.ALWAYS_TOGETHER, ("c", "d"))}
    policy = replace(reserve(20), groups=groups)
    made = relieve(machine(a, b, c, d, tiny, free=0), policy)
    assert sorted(e.ref.model for e in made.evictions) == ["a", "b"]
    whys = {n.ref.model: n.why for n in made.notes}
    assert whys["tiny"] is whys["c"] is whys["d"] is Why.TOO_SMALL


def test_by_a_pattern_one_may_go_alone_and_still_does() -> None:
    """`b*` means b and b2: who is taken along by one is not bound to the other."""
    policy = replace(reserve(0), groups={"g": Group(Rule.ALWAYS_TOGETHER, ("a", "b*"))})
    a, b, b2 = (resident(name, 8, idle=60) for name in ("a", "b", "b2"))
    found = gone(policy, a, b, b2, free=0, needs=8)
    assert found


def test_of_those_who_go_nobody_could_stay_with_who_goes_beside() -> None:
    """Over all sizes of three pairs and two alone."""
    groups = {n: Group(Rule.ALWAYS_TOGETHER, (f"{n}1", f"{n}2")) for n in "pqr"}
    policy = replace(reserve(0), groups=groups)
    sizes = {"p1": 3, "p2": 5, "q1": 4, "q2": 1, "r1": 6, "r2": 2, "x": 7, "y": 3}
    residents = [resident(n, s, idle=60 + i) for i, (n, s) in enumerate(sizes.items())]
    world = machine(*residents, free=0, total=sum(sizes.values()))
    units = [{"p1", "p2"}, {"q1", "q2"}, {"r1", "r2"}, {"x"}, {"y"}]
    for needs in range(1, sum(sizes.values()) + 1):
        made = plan(world, policy, demand("new", needs))
        going = {e.ref.model for e in made.evictions}
        assert made.works
        assert all(unit <= going or not unit & going for unit in units)
        freed = sum(sizes[n] for n in going)
        assert freed >= needs
        for unit in units:
            if unit <= going:
                assert freed - sum(sizes[n] for n in unit) < needs, (needs, going)
