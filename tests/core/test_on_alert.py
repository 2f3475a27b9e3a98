"""What is done because an alert asks for it, and whether what we measured says the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from collectors.reading import Seconds, gib
from supervisor.core.experience import NONE_YET, Experience
from supervisor.core.on_alert import in_trouble, let_go, make_room, short_pools
from supervisor.core.plan import Plan, Trigger, Why
from supervisor.core.policy import Amount, Policy, PoolPolicy
from supervisor.core.snapshot import Snapshot
from supervisor.core.watch import Finding, Kind, Severity
from tests.builders import GPU, OTHER, engine, pool, ref, resident
from tests.builders import machine as one_card

POLICY = Policy(
    pools={id: PoolPolicy(reserve=Amount(gib(2))) for id in (GPU, OTHER)},
    restore_margin=gib(1),
)


def machine(free: float = 2, **more: Any) -> Snapshot:
    """Three models of 6 GiB on a card, and one on another."""
    here = [resident(n, 6, idle=i) for n, i in (("a", 30), ("b", 20), ("c", 10))]
    found = one_card(*here, resident("d", 6, pool=OTHER), free=free, **more)
    return replace(found, pools=(*found.pools, pool(2, id=OTHER)))


def leaves(plan: Plan) -> list[str]:
    assert plan.trigger is Trigger.ALERT
    return [e.ref.model for e in plan.evictions]


def whys(plan: Plan) -> dict[str, Why]:
    return {n.ref.model: n.why for n in plan.notes}


def test_short_is_what_lies_below_its_restore_line_or_below_what_is_said() -> None:
    both, here = machine(2.9), machine(3)
    assert short_pools(both, POLICY, None, None) == (GPU, OTHER)
    assert short_pools(here, POLICY, None, None) == (OTHER,)
    assert short_pools(here, POLICY, (GPU,), None) == ()
    assert short_pools(here, POLICY, (GPU,), Amount(gib(4))) == (GPU,)
    assert short_pools(here, POLICY, (GPU,), Amount(fraction=0.125)) == (), "it has just that"
    assert short_pools(here, POLICY, (), Amount(gib(4))) == ()


def test_a_pool_whose_models_are_beyond_their_budget_is_short_however_free_it_is() -> None:
    budget = replace(POLICY, pools={GPU: PoolPolicy(budget=Amount(gib(10)))})
    assert GPU in short_pools(machine(6), budget, None, None)


def test_room_is_made_in_the_pools_that_are_named_up_to_the_line_and_no_further() -> None:
    made = make_room(machine(), POLICY, (GPU,), None, None, NONE_YET)
    assert leaves(made) == ["a"]
    assert whys(made)["d"] is Why.WRONG_POOL
    assert leaves(make_room(machine(3), POLICY, (GPU,), None, None, NONE_YET)) == []


def test_it_goes_as_far_as_is_said() -> None:
    for size, gone in ((8, ["a"]), (9, ["a", "b"]), (20, ["a", "b", "c"])):
        made = make_room(machine(), POLICY, (GPU,), Amount(gib(size)), None, NONE_YET)
        assert leaves(made) == gone
    half = make_room(machine(), POLICY, (GPU,), Amount(fraction=0.5), None, NONE_YET)
    assert leaves(half) == ["a", "b"]


def test_what_cannot_be_reached_is_told_and_as_much_is_done_as_helps() -> None:
    made = make_room(machine(), POLICY, (GPU,), Amount(gib(22)), None, NONE_YET)
    assert leaves(made) == ["a", "b", "c"]
    assert [(s.pool, s.size) for s in made.unmet] == [(GPU, gib(2))]


def test_nobody_leaves_who_is_not_meant_and_who_is_pinned_is_called_so() -> None:
    pinned = replace(POLICY, pinned=frozenset({"c"}))
    made = make_room(machine(), pinned, (GPU,), Amount(gib(20)), [ref("b"), ref("c")], NONE_YET)
    assert leaves(made) == ["b"]
    assert whys(made) == {
        "a": Why.NOT_MEANT,
        "b": Why.MAKES_ROOM,
        "c": Why.PINNED,
        "d": Why.NOT_MEANT,
    }
    assert make_room(machine(), POLICY, (GPU,), None, [], NONE_YET).unmet


def test_what_is_promised_to_others_makes_nobody_leave_and_neither_do_the_distrusted() -> None:
    distrusts = Experience(distrusted={ref("a")})
    assert leaves(make_room(machine(), POLICY, (GPU,), None, None, distrusts)) == ["b"]
    assert leaves(let_go(machine(), POLICY, [ref("a"), ref("b")], distrusts)) == ["b"]


def test_who_is_named_leaves_unless_it_may_not() -> None:
    here = machine()
    busy = replace(here, residents=(replace(here.residents[0], busy=True), *here.residents[1:]))
    made = let_go(busy, replace(POLICY, pinned=frozenset({"b"})), map(ref, "abc"), NONE_YET)
    assert leaves(made) == ["c"]
    assert whys(made) == {"a": Why.BUSY, "b": Why.PINNED, "c": Why.ALERTED}


def test_who_is_young_leaves_all_the_same() -> None:
    young = replace(POLICY, min_residency=Seconds(600))
    here = replace(machine(), since={ref("a"): machine().taken_at})
    assert leaves(let_go(here, young, [ref("a")], NONE_YET)) == ["a"]


def test_an_engine_is_in_trouble_when_it_is_down_or_one_of_its_models_is_stuck() -> None:
    well = machine(engines=(engine("ollama"),))
    down = machine(engines=(engine("ollama", fault="refused"),))
    stuck = Finding(Kind.STUCK, "ollama/a", Seconds(0), Severity.WARNING, "", ref=ref("a"))
    other = replace(stuck, ref=ref("a", "vllm"))
    idle = replace(stuck, kind=Kind.IDLE)
    name = engine("ollama").id
    assert in_trouble(name, well, [other, idle]) == (False, frozenset())
    assert in_trouble(name, well, [stuck]) == (False, {ref("a")})
    assert in_trouble(name, down, []) == (True, frozenset())
    assert in_trouble(engine("nobody").id, well, []) == (False, frozenset())
