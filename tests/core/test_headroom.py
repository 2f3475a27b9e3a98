"""The arithmetic of one pool: what may be handed out, and what stands in the way."""

from __future__ import annotations

from dataclasses import replace

from collectors.reading import RAM, Bytes, MemoryPool, PoolKind, Seconds, gib
from supervisor.core.headroom import Room, releases, rooms, shortfall, taken, without
from supervisor.core.plan import plan
from supervisor.core.policy import Amount, Policy, PoolPolicy
from supervisor.core.snapshot import Foreign, ModelRef, Reservation, Share, Snapshot, Source
from tests.builders import GPU, NO_RESERVE, OTHER, demand, engine, machine, ref, resident, share

UNIFIED = MemoryPool(
    RAM, PoolKind.UNIFIED, gib(64), gib(40), device_limit=gib(48), device_used=gib(24)
)
POLICY = Policy(pools={RAM: PoolPolicy(Amount(size=gib(4)))}, restore_margin=Bytes(0))


def mac(*residents: object, pool: MemoryPool = UNIFIED, **facts: object) -> Snapshot:
    return Snapshot(Seconds(0), (pool,), residents, engines=(engine(),), **facts)  # type: ignore[arg-type]


def room(snapshot: Snapshot, policy: Policy = POLICY) -> Room:
    [found] = rooms(snapshot, policy)
    return found


def test_a_gpu_may_not_take_more_of_unified_memory_than_its_limit() -> None:
    assert room(mac()).headroom == gib(24), "and not the 36 GiB that are free"
    assert shortfall(mac(), POLICY, (share(30, RAM),)) == (share(6, RAM),)


def test_where_less_is_free_than_the_limit_leaves_the_free_bytes_decide() -> None:
    assert room(mac(pool=replace(UNIFIED, free=gib(20)))).headroom == gib(16)


def test_a_limit_of_which_nobody_knows_the_use_is_no_bound() -> None:
    assert room(mac(pool=replace(UNIFIED, device_used=None))).headroom == gib(36)


def test_what_a_model_gives_back_counts_against_the_devices_limit_too() -> None:
    leaving = resident("old", 10, pool=RAM, idle=60)
    wanted = demand("new", 30, RAM)
    made = plan(mac(leaving), POLICY, wanted)
    assert [e.ref for e in made.evictions] == [ref("old")]
    after = without(mac(leaving), [ref("old")])
    assert shortfall(after, POLICY, wanted.shares) == ()


def test_hard_headroom_is_what_there_would_be_without_the_mapped_weights() -> None:
    host = MemoryPool(RAM, PoolKind.HOST, gib(64), gib(10))
    found = room(mac(pool=host, mapped={RAM: gib(20)}))
    assert (found.headroom, found.hard) == (gib(6), gib(26))


def test_mapped_weights_do_not_lift_a_budget() -> None:
    host = MemoryPool(RAM, PoolKind.HOST, gib(64), gib(10))
    kept = PoolPolicy(Amount(size=gib(4)), Amount(size=gib(3)))
    found = room(mac(pool=host, mapped={RAM: gib(20)}), Policy(pools={RAM: kept}))
    assert (found.headroom, found.hard) == (gib(3), gib(3))


def test_who_leaves_promises_its_bytes_and_those_of_a_file_that_nobody_else_has_mapped() -> None:
    first = resident("a", 2, files=[("w", 1), ("x", 3)])
    last = replace(resident("b", 0, files=[("w", 1)]), shares=(share(4, OTHER),))
    empty = replace(resident("c", 0), shares=(share(0),))
    there = Snapshot(Seconds(0), (), (first, last, empty))
    assert releases(there, [first, empty, last]) == [
        (share(5),),
        (),
        (share(1), share(4, OTHER)),
    ]


def test_a_promise_is_kept_until_the_memory_was_read_that_it_is_in() -> None:
    """An engine's word may come after the memory was read, a driver's list does not."""
    promise = Reservation(ref("a"), (share(6),))

    def headroom(source: Source, newcomers: frozenset[ModelRef]) -> int:
        there = replace(resident("a", 6), shares=(Share(GPU, gib(6), source),))
        world = replace(machine(there, free=8), reservations=(promise,), newcomers=newcomers)
        return rooms(world, NO_RESERVE)[0].headroom

    new = frozenset({ref("a")})
    assert headroom(Source.REPORTED, frozenset()) == gib(8)
    assert headroom(Source.REPORTED, new) == gib(2)
    assert headroom(Source.MEASURED, new) == gib(8)


def test_the_shared_memory_of_a_jobs_processes_takes_of_its_promise_once() -> None:
    def worker(pid: int, alone: float, shared: float) -> Foreign:
        return Foreign(RAM, pid, "train", gib(alone + shared), shared=gib(shared))

    job = Reservation(None, (share(40, RAM),), "train", frozenset(range(1, 6)))
    mapped = tuple(worker(pid, 0, 10) for pid in range(1, 6))
    host = MemoryPool(RAM, PoolKind.HOST, gib(64), gib(54))
    found = room(mac(pool=host, foreign=mapped, reservations=(job,)))
    assert found.promised == gib(30), "40 GiB, of which all of them together have taken 10"
    assert found.headroom == gib(54 - 4 - 30)
    mixed = (worker(1, 2, 10), worker(2, 3, 1), worker(9, 20, 20))
    assert taken(mac(foreign=mixed), job, RAM) == gib(2 + 3 + 10), "of its own, besides"
    assert taken(mac(foreign=mixed), job, GPU) == 0
