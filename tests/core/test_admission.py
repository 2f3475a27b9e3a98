"""Which held model is loaded next, who drains for it, and what can never be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.reading import Bytes, Seconds, gib
from supervisor.core.admission import (
    AGING,
    LONG_HELD,
    Held,
    Hope,
    drain,
    draining,
    eta,
    hope,
    order,
    patient,
    taken_back,
    tight,
)
from supervisor.core.experience import NONE_YET
from supervisor.core.lease import Lease
from supervisor.core.plan import Why, plan
from supervisor.core.policy import EnginePolicy, ModelPolicy, Policy
from supervisor.core.snapshot import Demand, EngineId, Foreign, Reservation, Share, State
from tests.builders import GPU, NO_RESERVE, demand, engine, machine, ref, resident, share

NOW = 1000.0


def held(name, waited=1.0, waiters=1, load=10.0, priority=0):
    return Held(ref(name), NOW - waited, waiters, load, priority)


def names(found):
    return [one.ref.model for one in found]


# -- order


def test_most_waiters_by_the_seconds_of_the_load_go_first():
    found = order([held("a", waiters=2), held("b", waiters=3), held("c", load=2.0)], NOW)
    assert names(found) == ["c", "b", "a"]


def test_of_equals_the_older_one_goes_first():
    assert names(order([held("a", waited=1), held("b", waited=2)], NOW)) == ["b", "a"]


def test_whoever_was_held_for_long_goes_before_all_others_the_longest_first():
    waiting = [held("many", waiters=99, priority=9), held("old", LONG_HELD + 1)]
    waiting.append(held("older", LONG_HELD + 2))
    assert names(order(waiting, NOW)) == ["older", "old", "many"]


def test_a_higher_priority_goes_before_more_waiters():
    assert names(order([held("a", waiters=9), held("b", priority=1)], NOW)) == ["b", "a"]


def test_a_lower_priority_grows_with_the_time_up_to_the_highest_there_is():
    low = held("low", waited=AGING * 2 + 1, waiters=5)
    assert names(order([low, held("high", priority=3)], NOW)) == ["high", "low"]
    assert names(order([low, held("high", priority=2)], NOW)) == ["low", "high"]
    assert names(order([low, held("high", priority=1, waiters=6)], NOW)) == ["high", "low"]


def test_nobody_overtakes_the_one_that_others_drain_for():
    waiting = [held("old", LONG_HELD + 1), held("a"), held("b")]
    assert names(order(waiting, NOW, {ref("b")})) == ["b", "old", "a"]


def test_a_load_of_no_seconds_is_no_trouble():
    assert names(order([held("a", load=0.0), held("b")], NOW)) == ["a", "b"]


several = st.lists(
    st.builds(
        held,
        st.sampled_from("abcdefgh"),
        st.floats(0, 300),
        st.integers(1, 50),
        st.floats(0, 100),
        st.integers(-3, 3),
    ),
    max_size=8,
    unique_by=lambda one: one.ref,
)


@given(several)
def test_everybody_has_one_place(waiting):
    assert sorted(order(waiting, NOW)) == sorted(waiting)


@given(several)
def test_in_the_end_everybody_is_the_first(waiting):
    """However many others there are, and whatever their priority: none is ahead for ever."""
    for one in waiting:
        later = one.since + LONG_HELD + 1000
        others = [replace_since(h, later) for h in waiting if h != one]
        assert order([one, *others], later)[0] == one


def replace_since(one, since):
    return one._replace(since=since)


@pytest.mark.parametrize(
    ("parts", "total"), [([], 0), ([3.0, 4.0], 7), ([3.0, None], None), ([-2.0, 5.0], 5)]
)
def test_the_time_it_takes_is_that_of_all_before_as_far_as_it_is_known(parts, total):
    assert eta(parts) == total


# -- whoever is at work


def test_a_patient_policy_cuts_nobody_short_whatever_was_said():
    said = Policy(
        force_when_busy=True,
        engines={EngineId("ollama"): EnginePolicy(force_when_busy=True)},
        models={"a": ModelPolicy(force_when_busy=True, pinned=True)},
    )
    assert not patient(said).force_when_busy_of(ref("a"))
    assert patient(said).is_pinned(ref("a"))
    assert patient(NO_RESERVE) is NO_RESERVE


def test_any_model_at_work_may_drain_but_a_leased_one():
    said = Policy(models={"a": ModelPolicy(force_when_busy=False)})
    found = draining(said, [ref("b")])
    assert found.force_when_busy_of(ref("a"))
    assert not found.force_when_busy_of(ref("b"))


def test_those_drain_who_cost_least_and_the_idle_before_the_busy():
    snapshot = machine(
        resident("a", 8, busy=5), resident("b", 8, idle=9), resident("c", 8, busy=5), free=0
    )
    assert drain(snapshot, NO_RESERVE, demand("new", 8), NONE_YET) == (ref("b"),)
    found = drain(snapshot, NO_RESERVE, demand("new", 16), NONE_YET)
    assert found is not None
    assert ref("b") in found
    assert len(found) == 2


def test_whoever_is_leased_does_not_drain():
    lease = Lease("l-1", ref("a"), "agent", Seconds(0), Seconds(99))
    snapshot = replace(machine(resident("a", 20, busy=5), free=4), leases=(lease,))
    assert drain(snapshot, NO_RESERVE, demand("new", 8), NONE_YET) is None
    assert drain(replace(snapshot, leases=()), NO_RESERVE, demand("new", 8), NONE_YET)


# -- what can never be


def vain(snapshot, policy, wanted):
    made = plan(snapshot, policy, wanted, NONE_YET)
    return hope(snapshot, policy, wanted, made, NONE_YET) is Hope.NONE


def test_what_fits_is_not_in_vain():
    assert not vain(machine(free=24), NO_RESERVE, demand("new", 8))


def test_what_is_larger_than_its_pool_is_in_vain():
    assert vain(machine(resident("a", 8), free=16), NO_RESERVE, demand("new", 30))


@pytest.mark.parametrize(
    "there",
    [
        resident("a", 20, busy=3),
        resident("a", 20, state=State.LOADING),
        resident("a", 20, state=State.LEAVING),
        resident("a", 20, state=State.UNKNOWN),
    ],
)
def test_who_may_go_sooner_or_later_does_not_make_it_vain(there):
    assert not plan(machine(there, free=4), NO_RESERVE, demand("new", 8)).works
    assert not vain(machine(there, free=4), NO_RESERVE, demand("new", 8))


def test_the_leased_and_the_young_do_not_make_it_vain():
    lease = Lease("l-1", ref("a"), "agent", Seconds(0), Seconds(99))
    leased = replace(machine(resident("a", 20), free=4), leases=(lease,))
    assert not vain(leased, NO_RESERVE, demand("new", 8))
    young = replace(machine(resident("a", 20), free=4, at=10), since={ref("a"): Seconds(5)})
    policy = replace(NO_RESERVE, min_residency=Seconds(60))
    assert not plan(young, policy, demand("new", 8)).works
    assert not vain(young, policy, demand("new", 8))


def test_a_pinned_model_makes_it_vain_also_while_it_works():
    policy = replace(NO_RESERVE, pinned=frozenset({"a"}))
    assert vain(machine(resident("a", 20, busy=3), free=4), policy, demand("new", 8))
    assert vain(machine(resident("a", 20), free=4), policy, demand("new", 8))


def test_an_engine_that_cannot_unload_makes_it_vain():
    snapshot = machine(resident("a", 20), free=4, engines=(engine(able=False),))
    assert vain(snapshot, NO_RESERVE, demand("new", 8))


def test_where_only_a_stranger_is_in_the_way_it_is_said_so():
    there, wanted = machine(resident("a", 2), free=4), demand("new", 8)  # of 24
    made = plan(there, NO_RESERVE, wanted, NONE_YET)
    assert hope(there, NO_RESERVE, wanted, made, NONE_YET) is Hope.STRANGERS


def test_bytes_that_are_kept_for_a_job_make_it_vain_and_those_of_a_load_do_not():
    job = Reservation(None, (share(20),), "r-1")
    assert vain(replace(machine(free=24), reservations=(job,)), NO_RESERVE, demand("new", 8))
    load = Reservation(ref("b"), (share(20),))
    assert not vain(replace(machine(free=24), reservations=(load,)), NO_RESERVE, demand("new", 8))


def test_a_pool_that_cannot_be_read_makes_nothing_vain():
    snapshot = replace(machine(free=24), pools=(), blind={GPU: "the driver hangs"})
    assert not vain(snapshot, NO_RESERVE, demand("new", 8))


def test_limits_that_only_pinned_models_fill_make_it_vain():
    policy = replace(NO_RESERVE, max_active=1)
    there = machine(resident("a", 2, busy=4), free=22)
    assert not vain(there, policy, demand("new", 8))
    assert vain(there, replace(policy, pinned=frozenset({"a"})), demand("new", 8))


def test_a_brake_is_waited_for_and_a_barred_pool_is_not():
    there = machine(resident("a", 20), free=4)
    braked = replace(NONE_YET, braked={GPU: Seconds(5)})
    barred = replace(NONE_YET, barred={GPU: "a game is running"})
    for experience, answer in ((braked, Hope.SOME), (barred, Hope.NONE)):
        made = plan(there, NO_RESERVE, demand("new", 8), experience)
        assert made.barred
        assert hope(there, NO_RESERVE, demand("new", 8), made, experience) is answer


def test_it_is_told_what_is_missing_and_who_holds_it_the_most_first():
    snapshot = replace(
        machine(resident("a", 6), resident("b", 9), free=3),
        foreign=(Foreign(GPU, 7, "game", gib(6)),),
    )
    found = tight(snapshot, NO_RESERVE, demand("new", 8))
    assert found is not None
    assert (found.pool, found.needed, found.free) == (GPU, gib(8), gib(3))
    assert found.holders == (("ollama/b", gib(9)), ("game", gib(6)), ("ollama/a", gib(6)))


def test_what_nobody_is_known_to_hold_is_told_as_other_programs():
    found = tight(machine(resident("a", 6), free=3), NO_RESERVE, demand("new", 8))
    assert found is not None
    assert found.holders == (("other programs", gib(15)), ("ollama/a", gib(6)))


def test_a_wish_for_no_bytes_has_none_that_are_missing():
    assert tight(machine(free=3), NO_RESERVE, Demand((), ref("new"))) is None
    none = Demand((Share(GPU, Bytes(0)),), ref("new"))
    assert tight(machine(free=3), NO_RESERVE, none) is not None


def test_a_plan_that_is_taken_back_does_nothing_and_says_so_of_everybody():
    made = taken_back(machine(resident("a", 6), free=3), ref("new"))
    assert made.actions == ()
    assert made.works
    assert {n.ref.model: n.why for n in made.notes} == {"a": Why.NOT_NEEDED, "new": Why.NOT_NEEDED}
