"""Where every byte is: the parts of a pool sum to what is used of it, whatever was told."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.machine import Machine
from collectors.reading import (
    RAM,
    Bytes,
    Holder,
    HostFacts,
    MemoryPool,
    PoolId,
    PoolKind,
    Process,
    gib,
    mib,
)
from collectors.tree import Part, PartKind, PoolParts, account

GPU = PoolId("GPU-aaaa")
PROCESS, OTHERS, UNACCOUNTED = PartKind.PROCESS, PartKind.OTHERS, PartKind.UNACCOUNTED


def gpu(used: int, *holders: Holder) -> PoolParts:
    pool = MemoryPool(GPU, PoolKind.DEDICATED, gib(24), Bytes(gib(24) - used))
    [parts] = account(Machine(pools=(pool,), holders=holders))
    return parts


def holder(pid: int, size: int | None, pool: PoolId = GPU, name: str | None = None) -> Holder:
    return Holder(pid, pool, None if size is None else Bytes(size), name)


def process(pid: int, anonymous: int, name: str = "program", shared: int = 0) -> Process:
    """`shared` bytes of `anonymous` are shared memory."""
    return Process(pid, 1, name, Bytes(anonymous), Bytes(0), Bytes(shared))


def facts(**sizes: int) -> HostFacts:
    return HostFacts(Bytes(0), Bytes(0), **{k: Bytes(v) for k, v in sizes.items()})


def ram(
    used: int,
    host: HostFacts | None = None,
    processes: tuple[Process, ...] | None = (),
    holders: tuple[Holder, ...] = (),
    device_used: int | None = None,
) -> PoolParts:
    held = None if device_used is None else Bytes(device_used)
    free = Bytes(gib(64) - used)
    pool = MemoryPool(RAM, PoolKind.UNIFIED, gib(64), free, device_used=held)
    [parts] = account(Machine((pool,), holders=holders, processes=processes, host=host))
    return parts


def sizes(parts: PoolParts) -> dict[PartKind, int]:
    found: dict[PartKind, int] = {}
    for part in parts.parts:
        found[part.kind] = found.get(part.kind, 0) + part.size
    return found


def pids(parts: PoolParts) -> list[tuple[int | None, int]]:
    return [(p.pid, p.size) for p in parts.parts if p.kind is PROCESS]


# -- an accelerator's own memory


def test_what_no_process_holds_is_unaccounted() -> None:
    parts = gpu(gib(10), holder(7, gib(3)), holder(8, gib(6), name="llama-server"))
    assert parts.parts == (
        Part(PROCESS, "llama-server", gib(6), 8),
        Part(PROCESS, "process", gib(3), 7),
        Part(UNACCOUNTED, "unaccounted", gib(1)),
    )


def test_a_pool_of_which_nothing_is_used_has_no_parts() -> None:
    assert gpu(0).parts == ()


def test_processes_that_share_pages_are_cut_smallest_first_and_the_excess_is_told() -> None:
    parts = gpu(gib(10), holder(7, gib(3)), holder(8, gib(9)), holder(9, gib(1)))
    assert pids(parts) == [(8, gib(9)), (7, gib(1))]
    assert (parts.excess, parts.cut) == (gib(3), 1)


def test_a_process_whose_size_is_hidden_is_named_apart() -> None:
    parts = gpu(gib(10), holder(7, None, name="blender"), holder(8, gib(9)))
    assert pids(parts) == [(8, gib(9))]
    assert [(p.pid, p.label) for p in parts.untold] == [(7, "blender")]


def test_a_process_is_called_as_the_kernel_calls_it() -> None:
    pool = MemoryPool(GPU, PoolKind.DEDICATED, gib(24), gib(20))
    held = (holder(7, gib(1), name="/usr/bin/python3"),)
    [parts] = account(Machine((pool,), holders=held, processes=(process(7, 0, "python3"),)))
    assert parts.parts[0].label == "python3"


# -- RAM


def test_ram_is_told_apart_by_what_holds_it() -> None:
    host = facts(anonymous=gib(10), shared=gib(2), kernel=gib(1), huge=gib(4), zram=mib(512))
    parts = ram(gib(20), host, (process(7, gib(6)), process(8, gib(5), shared=gib(1))))
    assert sizes(parts) == {
        PROCESS: gib(11),
        PartKind.SHARED: gib(1),
        PartKind.KERNEL: gib(1),
        PartKind.HUGE: gib(4),
        PartKind.ZRAM: mib(512),
        UNACCOUNTED: gib(2.5),
    }
    assert parts.excess == 0


def test_anonymous_memory_of_processes_that_cannot_be_seen_is_told() -> None:
    parts = ram(gib(20), facts(anonymous=gib(10), shared=gib(2)), (process(7, gib(6)),))
    assert sizes(parts)[PartKind.UNSEEN] == gib(4)
    assert sizes(parts)[PartKind.SHARED] == gib(2)


def test_where_processes_were_not_listed_nobody_is_said_to_be_unseen() -> None:
    parts = ram(gib(20), facts(anonymous=gib(10), shared=gib(2)), None)
    assert sizes(parts) == {PartKind.SHARED: gib(2), UNACCOUNTED: gib(18)}


def test_shared_memory_that_several_have_mapped_is_one_part() -> None:
    """Four workers of one server, with one segment of 4 GiB; 3 GiB of tmpfs are in nobody."""
    host = facts(anonymous=gib(8), shared=gib(7))
    workers = tuple(process(pid, gib(6), shared=gib(4)) for pid in (1, 2, 3, 4))
    parts = ram(gib(20), host, workers)
    assert pids(parts) == [(pid, gib(2)) for pid in (1, 2, 3, 4)]
    assert sizes(parts) == {PROCESS: gib(8), PartKind.SHARED: gib(7), UNACCOUNTED: gib(5)}
    assert parts.excess == 0


def test_shared_memory_that_one_process_alone_has_mapped_is_its_own() -> None:
    host = facts(anonymous=gib(3), shared=gib(5))
    parts = ram(gib(20), host, (process(7, gib(6), shared=gib(4)), process(8, gib(1))))
    assert pids(parts) == [(7, gib(6)), (8, gib(1))]
    assert sizes(parts)[PartKind.SHARED] == gib(1)


def test_what_others_can_not_have_mapped_is_in_one_process_alone() -> None:
    """All others together have 1 GiB: of its 4, 3 must be the first one's."""
    host = facts(anonymous=gib(2), shared=gib(4))
    listed = (process(7, gib(5), shared=gib(4)), process(8, gib(2), shared=gib(1)))
    parts = ram(gib(20), host, listed)
    assert pids(parts) == [(7, gib(4)), (8, gib(1))]
    assert sizes(parts)[PartKind.SHARED] == gib(1)


def test_a_process_has_no_more_shared_memory_than_there_is() -> None:
    parts = ram(gib(20), facts(anonymous=0, shared=gib(1)), (process(7, gib(4), shared=gib(4)),))
    assert pids(parts) == [(7, gib(1))]
    assert PartKind.SHARED not in sizes(parts)


def test_where_nobody_counts_shared_memory_there_is_as_much_as_one_process_has() -> None:
    """In a container: the kernel's count is of the whole machine."""
    host = facts(limit=gib(64), physical=gib(256), shared=gib(100))
    listed = (process(7, gib(5), shared=gib(4)), process(8, gib(5), shared=gib(4)))
    parts = ram(gib(20), host, listed)
    assert sizes(parts) == {PROCESS: gib(2), PartKind.SHARED: gib(4), UNACCOUNTED: gib(14)}


def test_processes_forked_from_one_are_cut_smallest_first_and_the_excess_is_told() -> None:
    """Their pages are anonymous and the same until written to: no bound is known."""
    host = facts(anonymous=gib(4), tables=gib(1), shared=0, locked=0)
    parts = ram(gib(20), host, (process(1, gib(3)), process(2, gib(4))))
    assert pids(parts) == [(2, gib(4)), (1, gib(1))]
    assert (parts.excess, sizes(parts)[UNACCOUNTED]) == (gib(2), gib(15))


def test_locked_file_pages_are_the_process_s_that_locked_them() -> None:
    """They are neither anonymous nor shared memory."""
    host = facts(anonymous=gib(3), shared=gib(1), locked=gib(80))
    parts = ram(gib(50), host, (process(7, gib(23)), process(8, gib(20))))
    assert pids(parts) == [(7, gib(23)), (8, gib(20))]
    assert parts.excess == 0


def test_page_tables_are_the_process_s_and_not_counted_more_than_once() -> None:
    host = facts(anonymous=gib(3), shared=0, locked=0, tables=mib(80))
    parts = ram(gib(20), host, (process(7, gib(3) + mib(80)),))
    assert (pids(parts), parts.excess) == ([(7, gib(3) + mib(80))], 0)


def test_pages_that_a_driver_took_in_ram_are_the_process_s_too() -> None:
    held = (holder(7, gib(40), RAM, "vllm"), holder(9, gib(1), RAM, "Xorg"))
    host = facts(anonymous=gib(4), shared=gib(1))
    parts = ram(gib(50), host, (process(7, gib(4), "VLLM::EngineCor"),), held)
    assert parts.parts[:2] == (
        Part(PROCESS, "VLLM::EngineCor", gib(44), 7, gib(40)),
        Part(PROCESS, "Xorg", gib(1), 9, gib(1)),
    )


def test_what_accelerators_hold_for_nobody_listed_is_told() -> None:
    held = (holder(7, gib(4), RAM),)
    host = facts(anonymous=gib(1))
    parts = ram(gib(20), host, (process(8, gib(1)),), held, device_used=gib(10))
    assert sizes(parts) == {PROCESS: gib(5), PartKind.DEVICE: gib(6), UNACCOUNTED: gib(9)}


def test_where_processes_have_their_accelerators_pages_in_them_these_are_not_told_again() -> None:
    """A Mac counts what the GPU has of a process as the process's own."""
    mac = facts(compressed=gib(1))
    parts = ram(gib(20), mac, (process(8, gib(12)),), device_used=gib(10))
    assert PartKind.DEVICE not in sizes(parts)
    assert sizes(ram(gib(20), mac, None, device_used=gib(10)))[PartKind.DEVICE] == gib(10)


def test_below_a_limit_an_accelerators_pages_are_in_no_process_either() -> None:
    host = facts(limit=gib(64), physical=gib(256), anonymous=gib(100))
    parts = ram(gib(20), host, (process(8, gib(1)),), device_used=gib(10))
    assert sizes(parts) == {PROCESS: gib(1), PartKind.DEVICE: gib(10), UNACCOUNTED: gib(9)}


def test_below_a_limit_the_kernels_facts_are_of_another_machine() -> None:
    """/proc/meminfo in a container is the host's; what is used is the group's."""
    host = facts(limit=gib(64), physical=gib(256), anonymous=gib(100), kernel=gib(9))
    parts = ram(gib(20), host, (process(7, gib(15)),))
    assert sizes(parts) == {PROCESS: gib(15), UNACCOUNTED: gib(5)}


def test_a_limit_above_the_machine_is_none() -> None:
    host = facts(limit=gib(128), physical=gib(64), kernel=gib(9))
    assert sizes(ram(gib(20), host)) == {PartKind.KERNEL: gib(9), UNACCOUNTED: gib(11)}


# -- for people


def test_beyond_the_biggest_the_others_are_one_part() -> None:
    parts = gpu(gib(10), *(holder(pid, gib(pid)) for pid in (1, 2, 3, 4))).biggest(2)
    assert [(p.kind, p.label, p.size) for p in parts.parts] == [
        (PROCESS, "process", gib(4)),
        (PROCESS, "process", gib(3)),
        (OTHERS, "2 others", gib(3)),
    ]


def test_a_line_for_one_other_would_save_nothing() -> None:
    parts = gpu(gib(3), holder(1, gib(1)), holder(2, gib(2)))
    assert [p.pid for p in parts.biggest(1).parts] == [2, 1]
    assert [p.label for p in parts.biggest(0).parts] == ["2 others"]


# -- whatever was told

amounts = st.integers(0, gib(80)).map(Bytes)
maybe = st.none() | amounts
processes = st.lists(
    st.builds(Process, st.integers(1, 9), st.just(1), st.just("p"), *[amounts] * 3),
    unique_by=lambda p: p.pid,
).map(tuple)
holders = st.lists(
    st.builds(Holder, st.integers(1, 9), st.sampled_from([RAM, GPU]), maybe, st.none())
).map(tuple)
hosts = st.none() | st.builds(
    HostFacts,
    amounts,
    amounts,
    limit=maybe,
    physical=maybe,
    anonymous=maybe,
    shared=maybe,
    tables=maybe,
    locked=maybe,
    kernel=maybe,
    huge=maybe,
    zram=maybe,
    compressed=maybe,
)


@st.composite
def pools(draw: st.DrawFn, name: PoolId) -> MemoryPool:
    total = draw(amounts)
    free = Bytes(draw(st.integers(0, total)))
    return MemoryPool(name, PoolKind.UNIFIED, total, free, device_used=draw(maybe))


machines = st.builds(
    Machine,
    pools=st.tuples(pools(RAM), pools(GPU)),
    holders=st.none() | holders,
    processes=st.none() | processes,
    host=hosts,
)


@settings(max_examples=60)
@given(machines, st.integers(0, 4))
def test_the_parts_always_sum_to_the_whole(machine: Machine, top: int) -> None:
    for whole in account(machine):
        for parts in (whole, whole.biggest(top)):
            assert sum(p.size for p in parts.parts) == parts.pool.used
            assert all(0 <= p.device <= p.size and p.size > 0 for p in parts.parts)
            assert parts.excess >= 0
        listed = [p.pid for p in whole.parts if p.pid is not None]
        assert len(listed) == len(set(listed))


@settings(max_examples=30)
@given(machines)
def test_the_same_machine_is_told_the_same(machine: Machine) -> None:
    assert account(machine) == account(machine)


@pytest.mark.parametrize("top", [0, 1, 99])
def test_folding_loses_no_byte(top: int) -> None:
    parts = gpu(gib(9), *(holder(pid, gib(1)) for pid in range(1, 9)))
    assert sum(p.size for p in parts.biggest(top).parts) == gib(9)
