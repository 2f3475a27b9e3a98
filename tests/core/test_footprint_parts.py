"""What parts of models that span hosts take: by the operator's word, and before it is there."""

from __future__ import annotations

from dataclasses import replace

from collectors.reading import RAM, MemoryPool, PoolKind, Seconds, gib
from supervisor.core.footprint import at_least, to_be_filled
from supervisor.core.headroom import promised, rooms
from supervisor.core.lease import Lease
from supervisor.core.policy import Amount, ModelPolicy
from supervisor.core.snapshot import Demand, Share, Snapshot, Source, State
from tests.builders import GPU, NO_RESERVE, machine, ref, resident

PART = ref("part", "rpc")
LEASE = Lease("l", PART, "span big", Seconds(0), Seconds(999))
POLICY = replace(
    NO_RESERVE,
    models={str(PART): ModelPolicy(part=True, memory=Amount(size=gib(10))),
            "rpc/other": ModelPolicy(memory=Amount(size=gib(10)))},
)  # fmt: skip


def holding(size: float, state: State = State.LOADED, leased: bool = True) -> Snapshot:
    model = replace(resident("part", size, engine="rpc", pool=GPU), state=state)
    other = resident("other", 1, engine="rpc", pool=GPU)
    found = machine(model, other, free=12)
    return replace(found, leases=(LEASE,) if leased else ())


def with_promises(snapshot: Snapshot) -> Snapshot:
    return replace(snapshot, reservations=to_be_filled(snapshot, POLICY))


def test_what_a_leased_part_will_take_is_promised_until_it_is_measured():
    for size, left in ((0.5, 9.5), (6, 4), (10, 0), (11, 0)):
        snapshot = with_promises(holding(size))
        assert promised(snapshot, GPU) == gib(left)
        (room,) = (r for r in rooms(snapshot, POLICY) if r.pool == GPU)
        assert room.headroom == gib(12) - gib(left)


def test_nothing_is_promised_for_one_that_nobody_holds_or_that_is_not_there_yet():
    assert to_be_filled(holding(1, leased=False), POLICY) == ()
    assert to_be_filled(holding(1, State.LOADING), POLICY) == ()
    assert to_be_filled(holding(1), NO_RESERVE) == ()


def test_a_load_is_expected_to_take_no_less_than_the_operator_says():
    little = Demand((Share(GPU, gib(1), Source.LEARNED), Share(RAM, gib(3))), PART)
    more = at_least(little, Amount(size=gib(10)), machine(free=12))
    assert more.shares == (Share(GPU, gib(10), Source.DECLARED), Share(RAM, gib(3)))
    assert at_least(little, Amount(size=gib(0.5)), machine(free=12)) == little
    in_ram = Demand((Share(RAM, gib(1)),), PART)
    host = replace(machine(free=12), pools=(MemoryPool(RAM, PoolKind.HOST, gib(64), gib(60)),))
    found = at_least(in_ram, Amount(size=gib(2)), host)
    assert found.shares == (Share(RAM, gib(2), Source.DECLARED),)
