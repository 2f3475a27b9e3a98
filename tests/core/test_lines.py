from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.reading import RAM, Bytes, PoolId, Seconds, gib, mib
from supervisor.core.contradictions import contradictions
from supervisor.core.lines import TOO_SMALL, for_relief, lines_of
from supervisor.core.plan import Why, relieve
from supervisor.core.policy import Amount, Policy, PoolPolicy
from supervisor.core.snapshot import Mapped
from supervisor.core.watch import Severity, due, pressing
from tests.builders import GPU, machine, pool, ref, reserve, resident


def size(n: float) -> Amount:
    return Amount(size=gib(n))


def lined(margin: float = 0, **lines: Amount | Seconds) -> Policy:
    """A reserve of 4 GiB of the GPU, and these lines."""
    own = PoolPolicy(reserve=size(4), **lines)  # type: ignore[arg-type]
    return Policy(pools={GPU: own}, restore_margin=gib(margin))


def test_the_lines_are_the_reserve_half_of_it_and_the_margin_beyond_it() -> None:
    lines = lines_of(pool(free=10), lined(margin=0.25))
    assert (lines.soft, lines.hard, lines.restore) == (gib(4), gib(2), gib(4.25))
    assert lines.grace == 10


def test_what_is_said_of_a_pool_counts_and_the_rest_follows_from_it() -> None:
    lines = lines_of(pool(free=10), lined(margin=1, soft=size(2), grace=Seconds(3)))
    assert (lines.soft, lines.hard, lines.restore, lines.grace) == (gib(2), gib(1), gib(3), 3)
    lines = lines_of(pool(free=10), lined(soft=size(2), hard=size(0.5), restore=size(6)))
    assert (lines.soft, lines.hard, lines.restore) == (gib(2), gib(0.5), gib(6))


AMOUNTS = st.one_of(
    st.none(),
    st.builds(Amount, st.integers(0, 48 << 30).map(Bytes), st.just(0.0)),
    st.builds(Amount, st.just(Bytes(0)), st.floats(0, 1)),
)


@given(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, st.integers(0, 24))
def test_lines_are_in_order_whatever_is_said(
    reserved: Amount | None,
    soft: Amount | None,
    hard: Amount | None,
    restore: Amount | None,
    free: int,
) -> None:
    own = PoolPolicy(reserve=reserved, soft=soft, hard=hard, restore=restore)
    policy = Policy(pools={GPU: own})
    found = lines_of(pool(free=free), policy)
    assert 0 <= found.hard <= found.soft <= found.restore
    assert found.soft <= policy.reserve_of(pool(free=free))
    _, beyond = for_relief(machine(free=free), policy)
    assert beyond[GPU] == found.restore - found.soft


def test_between_reserve_and_soft_line_nothing_happens() -> None:
    policy = lined(soft=size(2))
    assert pressing(machine(free=3), policy) == ()
    assert relieve(machine(resident("a", 8), free=3), policy).actions == ()
    (found,) = pressing(machine(free=1.5), policy)
    assert (found.severity, found.amount) == (Severity.WARNING, gib(0.5))


def test_the_hard_line_is_met_at_once_and_the_soft_one_after_its_grace() -> None:
    policy = lined(hard=size(1), grace=Seconds(60))
    soft = pressing(machine(free=1.5, at=100), policy)
    assert due(soft, policy, Seconds(159)) == frozenset()
    assert due(soft, policy, Seconds(160)) == {GPU}
    hard = pressing(machine(free=0.9, at=100), policy)
    assert due(hard, policy, Seconds(100)) == {GPU}


def test_relief_goes_as_far_as_the_restore_line() -> None:
    models = [resident(name, 2, idle=idle) for name, idle in (("a", 3), ("b", 2), ("c", 1))]
    world = machine(*models, free=3)
    assert [e.ref for e in relieve(world, lined()).evictions] == [ref("a")]
    far = relieve(world, lined(restore=size(7)))
    assert [e.ref for e in far.evictions] == [ref("a"), ref("b")]


def test_in_the_calm_after_relief_only_the_hard_line_counts() -> None:
    policy, calm = reserve(2), {GPU: Seconds(200)}
    soft = pressing(machine(free=1.5, at=100), policy)
    assert due(soft, policy, Seconds(150), calm=calm) == frozenset()
    assert due(soft, policy, Seconds(200), calm=calm) == {GPU}
    assert due(soft, policy, Seconds(150), alarmed=(GPU,), calm=calm) == {GPU}
    hard = pressing(machine(free=0.5, at=100), policy)
    assert due(hard, policy, Seconds(150), calm=calm) == {GPU}


def test_nobody_leaves_whose_bytes_are_next_to_nothing_of_what_is_missing() -> None:
    small = resident("small", 10 * TOO_SMALL * 0.9)
    world = machine(small, resident("kept", 10, busy=1), free=0, total=24)
    plan = relieve(world, reserve(10))
    assert plan.actions == ()
    assert {n.ref: n.why for n in plan.notes}[ref("small")] is Why.TOO_SMALL
    assert sum(s.size for s in plan.unmet) == gib(10)


def test_but_those_who_are_not_go_and_so_do_small_ones_who_are_enough_together() -> None:
    able = resident("able", 10 * TOO_SMALL * 1.1)
    plan = relieve(machine(able, free=0, total=24), reserve(10))
    assert [e.ref for e in plan.evictions] == [ref("able")]
    many = [resident(f"m{i}", 0.04) for i in range(30)]
    plan = relieve(machine(*many, free=0, total=24), reserve(1))
    assert len(plan.evictions) == 26
    assert plan.works


def test_bytes_that_come_back_only_when_several_leave_count_for_each_of_them() -> None:
    shared = (Mapped("model.gguf", GPU, gib(2)),)
    twins = [replace(resident(name, 0.1), mapped=shared) for name in ("a", "b")]
    kept = resident("kept", 10, busy=1)
    plan = relieve(machine(*twins, kept, free=0, total=24), reserve(10))
    assert {e.ref for e in plan.evictions} == {ref("a"), ref("b")}
    assert sum(s.size for s in plan.unmet) == gib(10) - gib(2.2)
    held = [*twins, replace(kept, mapped=shared)]  # it stays, and the file with it
    plan = relieve(machine(*held, free=0, total=24), reserve(10))
    assert plan.actions == ()
    assert sum(s.size for s in plan.unmet) == gib(10)


@pytest.mark.parametrize(
    ("own", "key", "word"),
    [
        (PoolPolicy(reserve=size(1), soft=size(2)), "soft", "above the reserve"),
        (PoolPolicy(soft=Amount(fraction=0.2)), "soft", "above the reserve"),
        (PoolPolicy(reserve=size(4), hard=size(5)), "hard", "above the soft line"),
        (PoolPolicy(reserve=size(4), soft=size(2), hard=size(3)), "hard", "above the soft line"),
        (PoolPolicy(reserve=size(4), restore=size(3)), "restore", "below the soft line"),
    ],
)
def test_lines_that_are_out_of_order_are_contradictions(
    own: PoolPolicy, key: str, word: str
) -> None:
    (found,) = contradictions(Policy(pools={RAM: own}))
    assert found.path == ("pools", RAM, key)
    assert word in found.message


def test_bytes_and_shares_are_no_contradiction_before_the_pool_is_known() -> None:
    own = PoolPolicy(reserve=Amount(fraction=0.1), soft=size(8), hard=size(8), restore=size(1))
    policy = Policy(pools={GPU: own})
    assert [c.path[2] for c in contradictions(policy)] == ["restore"]
    small = replace(pool(free=1, total=10), id=PoolId(GPU))
    lines = lines_of(small, policy)
    assert (lines.soft, lines.hard, lines.restore) == (gib(1), gib(1), gib(1))


def test_what_is_said_of_one_pool_is_not_of_another() -> None:
    policy = replace(lined(soft=size(2)), restore_margin=mib(1))
    other = pool(free=10, id=PoolId("gpu:1"))
    assert lines_of(other, policy).soft == policy.reserve_of(other)
