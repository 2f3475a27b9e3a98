from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.reading import Blind, Seconds, gib
from supervisor.core.experience import Experience
from supervisor.core.plan import Load, Plan, Trigger, Why, dismiss, limit, plan, relieve
from supervisor.core.policy import Amount, EnginePolicy, ModelPolicy, Policy, PoolPolicy
from supervisor.core.snapshot import (
    Demand,
    EngineId,
    Reservation,
    Resident,
    Snapshot,
    State,
)
from tests.builders import (
    GPU,
    NO_RESERVE,
    OTHER,
    demand,
    engine,
    machine,
    pool,
    ref,
    reserve,
    resident,
    share,
)


def evicted(plan: Plan) -> list[str]:
    return [e.ref.model for e in plan.evictions]


def reasons(plan: Plan) -> dict[str, Why]:
    return {n.ref.model: n.why for n in plan.notes}


PINNED_OLD = replace(NO_RESERVE, models={"old": ModelPolicy(pinned=True)})


@pytest.mark.parametrize(
    ("residents", "free", "policy", "gone", "notes"),
    [
        pytest.param((), 10, NO_RESERVE, [], {"new": Why.WANTED}, id="it-fits"),
        pytest.param(
            (resident("fresh", 8, idle=1), resident("old", 8, idle=600)),
            4,
            NO_RESERVE,
            ["old"],
            {"old": Why.MAKES_ROOM, "fresh": Why.NOT_NEEDED, "new": Why.WANTED},
            id="longest-idle-goes-first",
        ),
        pytest.param(
            (resident("old", 8, idle=600), resident("fresh", 8, idle=1)),
            4,
            PINNED_OLD,
            ["fresh"],
            {"old": Why.PINNED, "fresh": Why.MAKES_ROOM, "new": Why.WANTED},
            id="a-pinned-model-stays",
        ),
        pytest.param(
            (resident("old", 8, idle=600), resident("fresh", 8, idle=1)),
            4,
            replace(NO_RESERVE, pinned=frozenset({"ollama/old"})),
            ["fresh"],
            {"old": Why.PINNED, "fresh": Why.MAKES_ROOM, "new": Why.WANTED},
            id="a-model-pinned-while-running-stays",
        ),
        pytest.param(
            (resident("old", 8, busy=600), resident("fresh", 8, idle=1)),
            4,
            NO_RESERVE,
            ["fresh"],
            {"old": Why.BUSY, "fresh": Why.MAKES_ROOM, "new": Why.WANTED},
            id="a-busy-model-stays",
        ),
        pytest.param(
            (resident("working", 8, busy=600), resident("loading", 8, state=State.LOADING)),
            4,
            replace(NO_RESERVE, force_when_busy=True),
            ["working"],
            {"working": Why.MAKES_ROOM, "loading": Why.LOADING, "new": Why.WANTED},
            id="a-busy-model-goes-where-the-operator-forces-it",
        ),
        pytest.param(
            (resident("a-working", 8, busy=600), resident("idle", 8, idle=0)),
            4,
            replace(NO_RESERVE, force_when_busy=True),
            ["idle"],
            {"a-working": Why.NOT_NEEDED, "idle": Why.MAKES_ROOM, "new": Why.WANTED},
            id="even-then-the-idle-go-before-the-busy",
        ),
        pytest.param(
            (resident("small", 1, idle=900), resident("big", 8, idle=1)),
            4,
            NO_RESERVE,
            ["big"],
            {"small": Why.NOT_NEEDED, "big": Why.MAKES_ROOM, "new": Why.WANTED},
            id="whoever-is-not-needed-is-given-back",
        ),
        pytest.param(
            (resident("old", 1, idle=9),),
            10,
            reserve(1),
            ["old"],
            {"old": Why.MAKES_ROOM, "new": Why.WANTED},
            id="the-reserve-is-not-spent",
        ),
        pytest.param(
            (resident("elsewhere", 8, idle=900, pool=OTHER), resident("here", 8, idle=1)),
            4,
            NO_RESERVE,
            ["here"],
            {"elsewhere": Why.WRONG_POOL, "here": Why.MAKES_ROOM, "new": Why.WANTED},
            id="who-holds-nothing-here-stays",
        ),
        pytest.param(
            (resident("mute", 8, idle=900, state=State.UNKNOWN), resident("here", 8, idle=1)),
            4,
            NO_RESERVE,
            ["here"],
            {"mute": Why.UNKNOWN, "here": Why.MAKES_ROOM, "new": Why.WANTED},
            id="a-model-of-a-silent-engine-stays",
        ),
    ],
)
def test_plan(
    residents: tuple[Resident, ...],
    free: float,
    policy: Policy,
    gone: list[str],
    notes: dict[str, Why],
) -> None:
    got = plan(machine(*residents, free=free), policy, demand("new", 10))
    assert evicted(got) == gone
    assert reasons(got) == notes
    assert isinstance(got.actions[-1], Load)


def test_a_plan_that_cannot_succeed_evicts_nobody_and_says_what_is_missing() -> None:
    got = plan(machine(resident("a", 4), free=1, total=8), NO_RESERVE, demand("huge", 40))
    assert got.actions == ()
    assert got.unmet == (share(35),)
    assert reasons(got)["a"] is Why.NOT_ENOUGH


def test_a_plan_that_busy_models_prevent_says_whom_it_waits_for() -> None:
    got = plan(machine(resident("a", 20, busy=1), free=1), NO_RESERVE, demand("new", 10))
    assert got.waits_for == (ref("a"),)


def test_nobody_is_evicted_on_the_strength_of_a_reading_we_do_not_have() -> None:
    blind = Snapshot(
        Seconds(0), (), (resident("a", 8, idle=99),), blind={GPU: "lost"}, engines=(engine(),)
    )
    got = plan(blind, NO_RESERVE, demand("new", 1))
    assert got.actions == ()
    assert got.unmet == (share(1),)
    assert relieve(blind, NO_RESERVE).actions == ()


def test_a_model_that_is_there_needs_no_plan() -> None:
    got = plan(machine(resident("new", 10), free=1), NO_RESERVE, demand("new", 10))
    assert got.actions == ()
    assert got.works
    assert reasons(got) == {"new": Why.THERE}


def test_an_engine_that_cannot_unload_is_not_asked_to() -> None:
    deaf = machine(resident("a", 8, idle=9), free=1, engines=(engine(able=False),))
    assert reasons(plan(deaf, NO_RESERVE, demand("new", 4)))["a"] is Why.UNABLE


def test_an_engine_that_is_down_is_not_asked_either() -> None:
    engines = (engine("other", "no answer"), engine())
    down = machine(resident("a", 8, idle=9, engine="other"), free=1, engines=engines)
    assert reasons(plan(down, NO_RESERVE, demand("new", 4)))["a"] is Why.UNKNOWN


def test_a_model_whose_last_unload_gave_too_little_is_not_counted_on() -> None:
    world = machine(resident("liar", 8, idle=99), resident("honest", 8, idle=1), free=1)
    got = plan(world, NO_RESERVE, demand("new", 4), Experience(frozenset({ref("liar")})))
    assert evicted(got) == ["honest"]
    assert reasons(got)["liar"] is Why.DISTRUSTED


def doubting(*models: str, beside: tuple[str, ...] = ()) -> Experience:
    refs = frozenset(map(ref, models))
    return Experience(refs | frozenset(map(ref, beside)), doubted=refs)


def test_who_gave_some_of_it_back_goes_where_the_others_are_not_enough() -> None:
    world = machine(resident("some", 8, idle=99), resident("honest", 8, idle=1), free=1)
    spared = plan(world, NO_RESERVE, demand("new", 4), doubting("some"))
    assert evicted(spared) == ["honest"]
    assert reasons(spared)["some"] is Why.DISTRUSTED
    needed = plan(world, NO_RESERVE, demand("new", 12), doubting("some"))
    assert evicted(needed) == ["some", "honest"]
    nothing = plan(world, NO_RESERVE, demand("new", 4), doubting("honest", beside=("some",)))
    assert evicted(nothing) == ["honest"]
    assert reasons(nothing)["some"] is Why.DISTRUSTED, "it gave nothing at all"


def test_relief_and_the_limits_count_on_them_last_too() -> None:
    world = machine(resident("some", 8, idle=99), resident("honest", 4, idle=1), free=1)
    assert evicted(relieve(world, reserve(4), experience=doubting("some"))) == ["honest"]
    assert evicted(relieve(world, reserve(8), experience=doubting("some"))) == ["some"]
    one = replace(NO_RESERVE, max_active=1)
    assert evicted(limit(world, one, doubting("some"))) == ["honest"]
    assert len(evicted(limit(world, one, doubting("some", "honest")))) == 1


def test_weights_that_a_survivor_has_mapped_too_do_not_come_back() -> None:
    one = resident("one", 0.5, idle=99, files=[("weights", 8)])
    two = resident("two", 0.5, idle=9, files=[("weights", 8)])
    other = resident("other", 4, idle=1)
    pinned = replace(NO_RESERVE, pinned=frozenset({"two"}))
    got = plan(machine(one, two, other, free=1), pinned, demand("new", 4))
    assert evicted(got) == ["other"]  # "one" alone would free half a GiB
    both = plan(machine(one, two, other, free=1), NO_RESERVE, demand("new", 9))
    assert evicted(both) == ["one", "two"]
    assert [e.frees for e in both.evictions] == [(share(0.5),), (share(8.5),)]


def test_a_budget_is_kept_although_there_is_free_memory() -> None:
    policy = replace(NO_RESERVE, pools={GPU: PoolPolicy(Amount(), Amount(size=gib(10)))})
    world = machine(resident("old", 4, idle=9), resident("fresh", 4, idle=1), free=16)
    assert evicted(plan(world, policy, demand("new", 2))) == []
    assert evicted(plan(world, policy, demand("new", 4))) == ["old"]


def test_bytes_that_were_promised_to_another_are_not_given_out_twice() -> None:
    world = machine(resident("old", 8, idle=9), free=10)
    promised = replace(world, reservations=(Reservation(ref("first"), (share(6),)),))
    assert evicted(plan(promised, NO_RESERVE, demand("second", 8))) == ["old"]
    assert evicted(plan(promised, NO_RESERVE, demand("first", 6))) == []


def test_a_promise_shrinks_as_the_loading_model_fills_its_bytes() -> None:
    half = resident("first", 3, state=State.LOADING)
    world = replace(machine(half, free=7), reservations=(Reservation(ref("first"), (share(6),)),))
    assert plan(world, NO_RESERVE, demand("second", 4)).works
    assert not plan(world, NO_RESERVE, demand("second", 4.1)).works


def test_a_foreign_job_gets_room_and_loads_nothing() -> None:
    world = machine(resident("old", 8, idle=9), free=1)
    got = plan(world, NO_RESERVE, Demand((share(6),)))
    assert evicted(got) == ["old"]
    assert len(got.actions) == 1


def test_relief_gives_the_reserve_back_and_no_more() -> None:
    eaten = machine(resident("old", 2, idle=9), resident("older", 2, idle=99), free=0.5)
    assert evicted(relieve(eaten, reserve(1))) == ["older"]
    assert relieve(machine(resident("old", 2), free=1), reserve(1)).actions == ()


def test_relief_goes_the_margin_further_so_that_it_does_not_flap() -> None:
    eaten = machine(resident("small", 0.5, idle=99), resident("big", 2, idle=9), free=0.6)
    assert evicted(relieve(eaten, reserve(1))) == ["small"]
    margin = replace(reserve(1), restore_margin=gib(0.25))
    assert evicted(relieve(eaten, margin)) == ["big"]


def test_relief_gives_what_it_can_when_it_cannot_give_all() -> None:
    eaten = machine(resident("old", 2, idle=9), resident("used", 2, busy=1), free=0.5)
    got = relieve(eaten, reserve(6))
    assert evicted(got) == ["old"]
    assert got.unmet == (share(3.5),)


def test_relief_touches_only_the_pool_in_need() -> None:
    world = replace(
        machine(resident("here", 2, idle=1), resident("there", 2, idle=900, pool=OTHER), free=0.5),
        pools=(pool(0.5), pool(20, id=OTHER)),
    )
    assert evicted(relieve(world, reserve(1))) == ["here"]
    assert relieve(world, reserve(1), pools={OTHER}).actions == ()


def test_the_host_limit_evicts_the_least_recently_used() -> None:
    world = machine(
        resident("a", 1, idle=5), resident("b", 1, idle=50), resident("c", 1, idle=1), free=20
    )
    two = replace(NO_RESERVE, max_active=2)
    assert evicted(limit(world, two)) == ["b"]
    assert evicted(plan(world, two, demand("new", 1))) == ["b", "a"]


def test_the_limit_of_an_engine_counts_only_its_own() -> None:
    world = machine(
        resident("a", 1, idle=5, engine="vllm"),
        resident("b", 1, idle=50),
        resident("c", 1, idle=1),
        free=20,
    )
    one = replace(NO_RESERVE, engines={EngineId("ollama"): EnginePolicy(max_active=1)})
    assert evicted(limit(world, one)) == ["b"]


def test_a_load_under_way_counts_against_the_limit() -> None:
    world = replace(
        machine(resident("a", 1, idle=5), free=20),
        reservations=(Reservation(ref("b"), (share(1),)),),
    )
    assert evicted(plan(world, replace(NO_RESERVE, max_active=2), demand("c", 1))) == ["a"]


def test_a_limit_that_cannot_be_kept_refuses_the_load_and_evicts_nobody() -> None:
    world = machine(resident("a", 1, busy=5), resident("b", 1, idle=5), free=20)
    got = plan(world, replace(NO_RESERVE, max_active=1), demand("c", 1))
    assert got.actions == ()
    assert got.full == ("host",)
    assert got.waits_for == (ref("a"),)


def test_single_model_mode_lets_pinned_models_stay_beside_the_one() -> None:
    world = machine(resident("a", 1, idle=5), resident("keep", 1, idle=50), free=20)
    single = replace(NO_RESERVE, single=True, pinned=frozenset({"keep"}))
    got = plan(world, single, demand("new", 1))
    assert evicted(got) == ["a"]
    assert got.works


def test_a_watchdog_may_end_what_is_stuck_but_not_what_is_pinned() -> None:
    world = machine(resident("stuck", 1, busy=999), resident("kept", 1, busy=999), free=20)
    policy = replace(NO_RESERVE, pinned=frozenset({"kept"}))
    refs = [ref("stuck"), ref("kept")]
    got = dismiss(world, policy, refs, Trigger.BUSY, even_busy=True)
    assert evicted(got) == ["stuck"]
    assert reasons(got) == {"stuck": Why.STUCK, "kept": Why.PINNED}
    assert evicted(dismiss(world, policy, refs, Trigger.OPERATOR)) == []


def test_nobody_leaves_for_bytes_that_are_only_promised() -> None:
    world = replace(
        machine(resident("old", 8, idle=9), free=2),
        reservations=(Reservation(ref("first"), (share(6),)),),
    )
    assert relieve(world, reserve(1)).actions == ()
    assert not plan(world, reserve(1), demand("second", 1)).unmet  # but no one else gets them
    assert evicted(plan(world, reserve(1), demand("second", 1))) == ["old"]


def test_for_a_pool_that_cannot_be_read_nobody_goes_and_nobody_is_waited_for() -> None:
    world = replace(
        machine(
            resident("old", 8, pool=OTHER, idle=600),
            resident("busy", 8, pool=OTHER, busy=3),
            resident("away", 8, idle=600),
            free=16,
        ),
        blind={OTHER: "the GPU is lost"},
    )
    made = plan(world, NO_RESERVE, demand("new", 4, OTHER))
    assert (made.works, made.actions, made.waits_for) == (False, (), ())
    assert made.blind == (Blind(OTHER, "the GPU is lost"),)
    assert reasons(made) == {
        "old": Why.NOT_ENOUGH,
        "busy": Why.BUSY,
        "away": Why.WRONG_POOL,
        "new": Why.WANTED,
    }
    assert plan(world, NO_RESERVE, demand("new", 4)).works


@pytest.mark.parametrize("service", [None, "ollama.service"])
def test_nobody_goes_for_a_model_whose_engine_does_not_answer_unless_it_can_be_started(
    service: str | None,
) -> None:
    silent = replace(engine("ollama", "connection refused"), service=service)
    there = resident("old", 8, engine="other")
    snapshot = machine(there, free=4, engines=(engine("other"), silent))
    found = plan(snapshot, NO_RESERVE, demand("new", 8))
    assert evicted(found) == ([] if service is None else ["old"])
    if service is None:
        assert reasons(found) == {"new": Why.SILENT}
        assert [b.why for b in found.barred] == ["nothing can be loaded: ollama does not answer"]
        assert not found.works
