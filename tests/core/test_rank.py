"""Who goes first, by each rule there is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.reading import RAM, Bytes, MemoryPool, PoolKind, Seconds, gib
from supervisor.core.choose import in_order
from supervisor.core.experience import NONE_YET, Experience
from supervisor.core.explain import of_plan
from supervisor.core.history import History, Tier
from supervisor.core.ladder import Rung
from supervisor.core.plan import plan
from supervisor.core.policy import ModelPolicy, Policy
from supervisor.core.rank import RANKINGS, Ranking, Weighing
from supervisor.core.snapshot import Ability, Demand, Resident, Share, Snapshot, State
from tests.builders import GPU, NO_RESERVE, demand, engine, machine, ref, resident, share

NOW = 10_000.0


def seen(*arrivals: tuple[str, float], loads: dict[str, float] | None = None) -> Experience:
    """Who was asked for so many seconds ago, and what loading each took."""
    history = History()
    for name, seconds in (loads or {}).items():
        history.loaded(ref(name), Seconds(seconds), (share(4),), 0)
    for name, ago in sorted(arrivals, key=lambda a: -a[1]):
        history.arrived(ref(name), NOW - ago)
    return Experience(history=history)


def order(name: str, experience: Experience, *residents: Resident) -> list[str]:
    world = machine(*residents, free=0, at=NOW)
    weighing = Weighing(world, Policy(), experience)
    return [r.model for r in RANKINGS[name].order(weighing, residents)]


A, B, C = resident("a", 4, idle=10), resident("b", 4, idle=300), resident("c", 8, idle=60)
LOADS = {"a": 20.0, "b": 60.0, "c": 20.0}
USED = seen(("a", 500), ("a", 10), ("b", 300), ("c", 60), ("c", 90), ("c", 95), loads=LOADS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lru", ["b", "c", "a"]),  # the longest idle
        ("lfu", ["b", "a", "c"]),  # asked for once, twice, three times
        ("landlord", ["c", "a", "b"]),  # seconds to load by the byte: 2.5, 5 and 15 a GiB
        ("gdsf", ["c", "a", "b"]),  # the same, times 3, 2 and 1: 7.5, 10, 15
        ("idle_over_load", ["b", "c", "a"]),  # idle 5, 3 and 0.5 times as long as a load takes
        ("shortest_keep_alive", ["a", "b", "c"]),  # no engine says: by name
    ],
)
def test_each_rule_has_its_order(name: str, expected: list[str]) -> None:
    assert order(name, USED, C, A, B) == expected


@pytest.mark.parametrize("name", RANKINGS)
def test_by_every_rule_the_idle_go_before_the_busy_and_ties_end_in_a_name(name: str) -> None:
    busy, z, y = resident("a", 4, busy=3), resident("z", 4, idle=9), resident("y", 4, idle=9)
    assert order(name, NONE_YET, busy, z, y) == ["y", "z", "a"]
    assert order(name, NONE_YET, y, busy, z) == ["y", "z", "a"]


@pytest.mark.parametrize("name", RANKINGS)
def test_by_every_rule_a_plan_makes_room_and_says_by_which(name: str) -> None:
    policy = replace(NO_RESERVE, ranking=RANKINGS[name])
    made = plan(machine(A, B, C, free=1, at=NOW), policy, demand("new", 4), USED)
    assert made.works
    assert len(made.evictions) == 1
    (told, *_) = [line for line in of_plan(made) if "was chosen" in line]
    assert f"by {name}:" in told or (name == "value" and "expected loss" in told)


@pytest.mark.parametrize("name", RANKINGS)
def test_by_every_rule_whoever_is_not_needed_is_given_back(name: str) -> None:
    policy = replace(NO_RESERVE, ranking=RANKINGS[name])
    few, many = resident("a-small", 1, idle=900), resident("big", 8, idle=1)
    made = plan(machine(few, many, free=4), policy, demand("new", 10))
    assert [e.ref.model for e in made.evictions] == ["big"]
    made = plan(machine(few, many, free=4), policy, demand("new", 13))
    assert sorted(e.ref.model for e in made.evictions) == ["a-small", "big"]


def test_the_shortest_keep_alive_goes_first_and_one_that_never_ends_last() -> None:
    brief = replace(resident("z", 4), keep_alive=Seconds(60))
    long = replace(resident("b", 4), keep_alive=Seconds(300))
    assert order("shortest_keep_alive", NONE_YET, resident("a", 4), long, brief) == ["z", "b", "a"]


def test_what_greedy_dual_rules_forget_is_forgotten_by_inflation() -> None:
    """A model that was loved long ago goes, once dearer ones have gone before it."""
    history = History()
    for name, seconds in (("old", 50.0), ("dear", 90.0), ("new", 30.0)):
        history.loaded(ref(name), Seconds(seconds), (share(4),), 0)
        history.arrived(ref(name), 1)
    assert history.credit(ref("new")) < history.credit(ref("old"))
    history.left(ref("dear"), 2)
    history.arrived(ref("new"), 3)
    assert history.credit(ref("new")) > history.credit(ref("old"))


def test_what_was_asked_for_before_it_left_does_not_count_for_gdsf() -> None:
    history = History()
    for name in ("a", "b"):
        history.loaded(ref(name), Seconds(10), (share(4),), 0)
    for at in range(5):
        history.arrived(ref("a"), at)
    history.left(ref("a"), 9)
    for name in ("a", "b"):
        history.loaded(ref(name), Seconds(10), (share(4),), 10)
        history.arrived(ref(name), 10)
    assert history.worth(ref("a")) == pytest.approx(history.worth(ref("b")))


# -- adding one


def largest(weighing: Weighing, resident: Resident) -> tuple[float, ...]:
    return (-resident.size,)


def test_a_rule_is_one_function_and_one_row() -> None:
    row = Ranking("largest", largest, in_order, "the largest")
    made = plan(machine(A, B, C, free=1), replace(NO_RESERVE, ranking=row), demand("new", 4))
    assert [e.ref.model for e in made.evictions] == ["c"]


# -- value


def test_without_any_history_the_long_idle_and_the_cheap_to_load_go_first() -> None:
    assert order("value", NONE_YET, A, B) == ["b", "a"]
    # By the byte a large model is read as quickly as a small one, but starts only once.
    assert order("value", NONE_YET, resident("small", 1, idle=60), C)[0] == "c"


def test_who_takes_longer_to_load_stays() -> None:
    experience = seen(loads={"slow": 90.0, "quick": 3.0})
    slow, quick = resident("slow", 4, idle=300), resident("quick", 4, idle=60)
    assert order("value", experience, slow, quick) == ["quick", "slow"]


def test_who_is_asked_for_each_ten_minutes_stays_although_it_was_idle_for_longer() -> None:
    often = [("often", 500 + 600.0 * n) for n in range(15)]
    rarely = [("rarely", 300.0), ("rarely", 4300.0), ("rarely", 8300.0)]
    experience = seen(*often, *rarely, loads={"often": 20.0, "rarely": 20.0})
    residents = resident("often", 4, idle=500), resident("rarely", 4, idle=300)
    assert order("value", experience, *residents) == ["rarely", "often"]
    assert order("lru", experience, *residents) == ["often", "rarely"]


def test_a_priority_doubles_what_its_leaving_costs() -> None:
    world = machine(resident("a", 4, idle=60), resident("b", 4, idle=60), free=0)
    policy = Policy(models={"a": ModelPolicy(priority=2), "b": ModelPolicy(priority=-1)})
    plain, weighed = (Weighing(world, p, NONE_YET) for p in (Policy(), policy))
    a, b = world.residents
    assert weighed.expected(a) == pytest.approx(4 * plain.expected(a))
    assert weighed.expected(b) == pytest.approx(plain.expected(b) / 2)
    assert [r.model for r in policy.ranking.order(weighed, [a, b])] == ["b", "a"]


def test_a_plan_tells_what_each_who_could_have_gone_would_have_cost() -> None:
    world = machine(resident("old", 8, idle=600), resident("fresh", 8, idle=1), free=4, at=NOW)
    made = plan(world, NO_RESERVE, demand("new", 10), seen(loads={"old": 41.0}))
    (victim,) = made.evictions
    assert victim.loss is not None
    assert victim.loss.back == 41.0
    assert victim.loss.expected == pytest.approx(victim.loss.chance * 41.0)
    lines = "\n".join(of_plan(made))
    assert "ollama/old was chosen to go: it makes room (frees 8.0 GiB of gpu:0): asked for" in lines
    assert "41 s to have it back" in lines
    assert "expected loss, the least of those that free enough" in lines
    assert "ollama/fresh stayed: there was room enough without it: asked for again within" in lines


# -- sleep

SLEEPY = replace(
    engine(), abilities=frozenset({Ability.UNLOAD, Ability.SLEEP, Ability.LOAD, Ability.WAKE})
)
ENDS = engine("llama")


def bed(*residents: Resident, free: float, ram: float) -> Snapshot:
    world = machine(*residents, free=free, at=NOW, engines=(ENDS, SLEEPY))
    return replace(world, pools=(*world.pools, MemoryPool(RAM, PoolKind.HOST, gib(64), gib(ram))))


def test_one_that_can_sleep_goes_before_one_that_would_have_to_be_read_again() -> None:
    sleeps, ends = resident("a", 8, idle=60), resident("b", 8, idle=60, engine="llama")
    world = bed(sleeps, ends, free=1, ram=60)
    made = plan(world, NO_RESERVE, demand("new", 7))
    assert [(e.ref.model, e.ladder[0]) for e in made.evictions] == [("a", Rung.SLEEP)]
    assert made.evictions[0].loss is not None
    assert made.evictions[0].loss.back < 2  # it wakes over the bus
    packed = bed(sleeps, replace(ends, idle_for=Seconds(600)), free=1, ram=9)
    made = plan(packed, NO_RESERVE, demand("new", 7))  # no bed: whoever costs less to read
    assert [(e.ref.model, e.ladder[0]) for e in made.evictions] == [("b", Rung.UNLOAD)]


def test_a_wake_that_was_timed_is_what_a_sleep_costs() -> None:
    history = History()
    history.loaded(ref("a"), Seconds(40), (share(8),), 0)
    history.loaded(ref("a"), Seconds(3), (share(8),), 1, Tier.ASLEEP)
    weighing = Weighing(bed(A, free=1, ram=60), Policy(), Experience(history=history))
    assert weighing.loss(A, sleeps=True).back == 3
    assert weighing.loss(A).back == 40


def test_ram_that_has_its_price_makes_sleep_dearer() -> None:
    world = bed(A, free=1, ram=60)
    free = Weighing(world, Policy(), NONE_YET).expected(A, sleeps=True)
    history = History()
    dozing = Resident(ref("x"), (Share(RAM, gib(8)),), state=State.SLEEPING)
    policy = replace(NO_RESERVE, models={"x": ModelPolicy(priority=5)})
    short = replace(bed(dozing, free=1, ram=8), taken_at=Seconds(0))
    made = plan(short, policy, Demand((Share(RAM, gib(1)),)), Experience(history=history))
    assert [e.ref.model for e in made.evictions] == ["x"]  # a sleeper goes for want of RAM
    history.gave_way(made.evictions, 0)
    assert history.price(RAM) > 0
    priced = Weighing(world, Policy(), Experience(history=history)).expected(A, sleeps=True)
    assert priced == pytest.approx(free + history.price(RAM) * gib(4))


def test_a_sleeper_that_leaves_ram_costs_a_whole_load() -> None:
    experience = seen(loads={"deep": 50.0, "light": 4.0})
    deep, light = (
        Resident(ref(n), (Share(RAM, gib(8)),), state=State.SLEEPING, idle_for=Seconds(i))
        for n, i in (("deep", 900), ("light", 90))
    )
    made = plan(
        bed(deep, light, free=9, ram=1), Policy(), Demand((Share(RAM, gib(1)),)), experience
    )
    assert [e.ref.model for e in made.evictions] == ["light"]


def test_a_model_that_holds_nothing_that_is_known_is_weighed_all_the_same() -> None:
    nothing = Resident(ref("ghost"), ())
    assert order("value", NONE_YET, nothing, A)
    weighing = Weighing(machine(nothing, free=1), Policy(), NONE_YET)
    assert weighing.size(nothing) == 1
    assert weighing.loss(nothing).within == 120


def test_bytes_are_bytes() -> None:
    weighing = Weighing(machine(A, free=1), Policy(), NONE_YET)
    assert weighing.size(A) == Bytes(gib(4))
    assert A.holds(GPU) == gib(4)
