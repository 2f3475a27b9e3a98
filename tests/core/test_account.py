from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors import owner as collecting
from collectors import tree
from collectors.machine import find, fold
from collectors.reading import RAM, Bytes, HostFacts, MemoryPool, PoolKind, Seconds, Tier, gib
from supervisor.core.account import Account, Owner, account
from supervisor.core.assemble import SeenMachine, assemble
from supervisor.core.listing import Listing
from supervisor.core.snapshot import (
    EngineId,
    Foreign,
    Listed,
    Resident,
    Share,
    Snapshot,
    Source,
    State,
)
from tests.builders import GPU, pool, ref, resident, share
from tests.collectors.regold import captures

LLAMA = EngineId("ollama")


def ram(free: float, total: float = 64) -> MemoryPool:
    return MemoryPool(RAM, PoolKind.HOST, gib(total), gib(free))


def of(*residents: Resident, pools: tuple[MemoryPool, ...], **facts: object) -> Account:
    [found] = account(Snapshot(Seconds(0), pools, residents, **facts))  # type: ignore[arg-type]
    return found


def told(found: Account) -> list[tuple[Owner, str, float]]:
    return [(p.owner, p.name, p.size / gib(1)) for p in found.parts]


def test_every_used_byte_is_somebodys_or_says_that_it_is_nobodys() -> None:
    found = of(
        replace(resident("a", 8), pids=(4,)),
        pools=(pool(free=10),),
        foreign=(Foreign(GPU, 5, "game", gib(3)), Foreign(GPU, 6, "ollama", gib(1), LLAMA)),
    )
    assert told(found) == [
        (Owner.MODEL, "ollama/a", 8),
        (Owner.ENGINE, "ollama", 1),
        (Owner.FOREIGN, "game", 3),
        (Owner.UNACCOUNTED, "unaccounted", 2),
    ]


def test_weights_that_two_models_map_are_in_one_account_only() -> None:
    found = of(
        resident("a", 1, pool=RAM, files=[("w", 4)]),
        resident("b", 1, pool=RAM, files=[("w", 4)]),
        pools=(ram(free=50),),
    )
    assert told(found)[:2] == [(Owner.MODEL, "ollama/a", 5), (Owner.MODEL, "ollama/b", 1)]


def test_what_an_engine_reports_of_its_models_is_not_its_own_as_well() -> None:
    """The runner of an engine that does not say which model is in which of its processes."""
    found = of(
        resident("a", 6),
        resident("b", 2),
        pools=(pool(free=14),),
        foreign=(Foreign(GPU, 6, "runner", gib(9), LLAMA),),
    )
    assert told(found) == [
        (Owner.MODEL, "ollama/a", 6),
        (Owner.MODEL, "ollama/b", 2),
        (Owner.ENGINE, "runner", 1),
        (Owner.UNACCOUNTED, "unaccounted", 1),
    ]


def facts(**sizes: Bytes) -> HostFacts:
    return HostFacts(Bytes(0), Bytes(0), **sizes)


def listed(private: float = 0, shared: float = 0, by_drivers: float = 0) -> Listed:
    return Listed(gib(private), gib(shared), gib(by_drivers))


def test_the_kernel_names_what_is_in_no_process() -> None:
    host = facts(anonymous=gib(8), shared=gib(3), kernel=gib(2), huge=gib(4), zram=gib(1))
    found = of(
        resident("a", 4, pool=RAM),
        pools=(ram(free=44),),
        foreign=(Foreign(RAM, 5, "firefox", gib(3)),),
        listed=listed(private=7),
        host=host,
    )
    assert told(found) == [
        (Owner.MODEL, "ollama/a", 4),
        (Owner.FOREIGN, "firefox", 3),
        (Owner.UNSEEN, "processes that cannot be seen", 1),
        (Owner.SHARED, "shared memory, tmpfs", 3),
        (Owner.KERNEL, "kernel", 2),
        (Owner.HUGE, "set aside as huge pages", 4),
        (Owner.COMPRESSED, "compressed swap", 1),
        (Owner.UNACCOUNTED, "unaccounted", 2),
    ]


def test_where_nobody_is_listed_nobody_is_said_to_be_unseen() -> None:
    found = of(pools=(ram(free=54),), host=facts(anonymous=gib(8), shared=gib(3)))
    assert told(found) == [
        (Owner.SHARED, "shared memory, tmpfs", 3),
        (Owner.UNACCOUNTED, "unaccounted", 7),
    ]


def test_shared_memory_that_several_have_mapped_is_one_part() -> None:
    """Four workers, each with 2 GiB of its own and one segment of 4 GiB."""
    found = of(
        pools=(ram(free=44),),
        foreign=tuple(Foreign(RAM, n, "worker", gib(6), shared=gib(4)) for n in (1, 2, 3, 4)),
        listed=listed(private=8, shared=16),
        host=facts(anonymous=gib(8), shared=gib(7)),
    )
    assert told(found) == [
        *[(Owner.FOREIGN, "worker", 2)] * 4,
        (Owner.SHARED, "shared memory, tmpfs", 7),
        (Owner.UNACCOUNTED, "unaccounted", 5),
    ]
    assert found.overlap == 0


def test_shared_memory_that_one_process_alone_has_mapped_is_its_own() -> None:
    found = of(
        pools=(ram(free=44),),
        foreign=(Foreign(RAM, 1, "triton", gib(6), shared=gib(4)), Foreign(RAM, 2, "x", gib(1))),
        listed=listed(private=3, shared=4),
        host=facts(anonymous=gib(3), shared=gib(5)),
    )
    assert told(found)[:3] == [
        (Owner.FOREIGN, "triton", 6),
        (Owner.FOREIGN, "x", 1),
        (Owner.SHARED, "shared memory, tmpfs", 1),
    ]


def test_a_process_has_no_more_shared_memory_than_there_is() -> None:
    found = of(
        pools=(ram(free=44),),
        foreign=(Foreign(RAM, 1, "triton", gib(6), shared=gib(6)),),
        listed=listed(private=0, shared=6),
        host=facts(anonymous=gib(0), shared=gib(5)),
    )
    assert told(found)[0] == (Owner.FOREIGN, "triton", 5)


def test_shared_memory_of_a_model_is_in_its_part_as_it_was_measured() -> None:
    """Its engine has the same 4 GiB mapped, and is charged none of them."""
    found = of(
        replace(resident("a", 6, pool=RAM), pids=(7,)),
        pools=(ram(free=54),),
        foreign=(Foreign(RAM, 1, "vllm", gib(5), LLAMA, shared=gib(4)),),
        listed=listed(private=3, shared=8),
        host=facts(anonymous=gib(3), shared=gib(5)),
    )
    assert told(found)[:3] == [
        (Owner.MODEL, "ollama/a", 6),
        (Owner.ENGINE, "vllm", 1),
        (Owner.SHARED, "shared memory, tmpfs", 1),
    ]


def test_below_a_limit_the_kernels_facts_are_of_another_machine() -> None:
    host = facts(anonymous=gib(90), shared=gib(30), kernel=gib(20))
    found = of(
        pools=(ram(free=50),),
        foreign=tuple(Foreign(RAM, n, "worker", gib(6), shared=gib(4)) for n in (1, 2)),
        listed=listed(private=4, shared=8),
        host=replace(host, limit=gib(64), physical=gib(256)),
    )
    assert told(found) == [
        *[(Owner.FOREIGN, "worker", 2)] * 2,
        (Owner.SHARED, "shared memory, tmpfs", 4),
        (Owner.UNACCOUNTED, "unaccounted", 6),
    ]


def unified(used: float, device_used: float) -> MemoryPool:
    pool = MemoryPool(RAM, PoolKind.UNIFIED, gib(64), gib(64 - used))
    return replace(pool, device_used=gib(device_used))


DEVICE = (Owner.DEVICE, "accelerators, for nobody listed")


def test_what_accelerators_hold_of_ram_for_nobody_listed_is_named() -> None:
    found = of(
        pools=(unified(30, device_used=20),),
        foreign=(Foreign(RAM, 5, "blender", gib(9)),),
        listed=listed(private=1, by_drivers=8),
        host=facts(anonymous=gib(1), shared=gib(0)),
    )
    assert told(found) == [
        (Owner.FOREIGN, "blender", 9),
        (*DEVICE, 12),
        (Owner.UNACCOUNTED, "unaccounted", 9),
    ]


def test_what_an_engine_says_of_its_models_is_not_an_accelerators_for_nobody() -> None:
    """Its processes are another user's: the driver lists none of them."""
    found = of(
        resident("a", 18, pool=RAM),
        pools=(unified(30, device_used=20),),
        host=facts(anonymous=gib(1), shared=gib(0)),
    )
    assert told(found)[:2] == [(Owner.MODEL, "ollama/a", 18), (*DEVICE, 2)]


def test_what_a_model_is_said_to_hold_is_not_an_accelerators_for_nobody() -> None:
    """Its process is known, and nobody may look at it."""
    said = Resident(ref("a"), (Share(RAM, gib(18), Source.REPORTED),), pids=(7,))
    found = of(said, pools=(unified(30, device_used=20),), host=facts(anonymous=gib(1)))
    assert told(found)[:2] == [(Owner.MODEL, "ollama/a", 18), (*DEVICE, 2)]


def test_what_an_engine_says_and_its_process_holds_is_the_same() -> None:
    found = of(
        resident("a", 18, pool=RAM),
        pools=(unified(30, device_used=20),),
        foreign=(Foreign(RAM, 6, "runner", gib(19), LLAMA),),
        listed=listed(private=1, by_drivers=18),
        host=facts(anonymous=gib(1), shared=gib(0)),
    )
    assert told(found)[:3] == [(Owner.MODEL, "ollama/a", 18), (Owner.ENGINE, "runner", 1),
                               (*DEVICE, 2)]  # fmt: skip


def test_a_mac_has_what_its_gpu_holds_in_the_processes() -> None:
    found = of(
        pools=(unified(30, device_used=20),),
        foreign=(Foreign(RAM, 5, "mlx", gib(12)),),
        listed=listed(private=12),
        host=facts(compressed=gib(3)),
    )
    assert told(found) == [
        (Owner.FOREIGN, "mlx", 12),
        (*DEVICE, 8),
        (Owner.COMPRESSED, "compressed memory", 3),
        (Owner.UNACCOUNTED, "unaccounted", 7),
    ]


@pytest.mark.parametrize("capture", captures(), ids=lambda path: path.name)
def test_without_models_the_daemon_tells_a_machine_as_the_collectors_do(capture: Path) -> None:
    """Part by part, in the same words."""
    owners = [collecting.Owner(collector) for collector in find(capture)]
    machine = fold(collecting.read_all(owners, Tier.ALL))
    for owner in owners:
        owner.close()
    seen = SeenMachine(
        machine.pools,
        listing=Listing(machine.holders or (), machine.processes or ()),
        host=machine.host,
    )
    ours = {a.pool: a.parts for a in account(assemble(Seconds(0), seen, {}, (), ()))}
    for theirs in tree.account(machine):
        assert theirs.excess == 0
        known = sorted((p.size, p.pid, "" if p.pid else p.label) for p in theirs.parts)
        assert known == sorted(
            (p.size, p.pid, "" if p.pid else p.name) for p in ours[theirs.pool.id]
        )


def test_what_was_learned_of_a_model_takes_nothing_from_what_is_measured_of_another() -> None:
    """Its engine does not answer any more, and its memory may be free by now."""
    guess = (Share(GPU, gib(7), Source.LEARNED),)
    gone = replace(resident("a", 7, state=State.UNKNOWN), shares=guess)
    there = replace(resident("b", 7), pids=(4,))
    found = of(gone, there, pools=(pool(free=16),))
    assert told(found) == [(Owner.MODEL, "ollama/b", 7), (Owner.MODEL, "ollama/a", 1)]
    assert found.overlap == gib(6)


def test_what_is_counted_by_several_is_taken_off_the_least_believed() -> None:
    found = of(
        resident("a", 8),
        pools=(pool(free=14),),
        foreign=(Foreign(GPU, 5, "game", gib(3)),),
    )
    assert told(found) == [(Owner.MODEL, "ollama/a", 8), (Owner.FOREIGN, "game", 2)]
    assert found.overlap == gib(1)


sizes = st.integers(0, 40).map(gib)
foreigners = st.builds(
    Foreign,
    st.sampled_from((GPU, RAM)),
    st.integers(1, 9),
    st.sampled_from(("x", "y")),
    sizes,
    st.sampled_from((None, LLAMA)),
    sizes,
)
models = st.builds(
    lambda n, size, at, mapped: Resident(ref(n), (share(0, at),) if size == 0 else (
        (share(size / gib(1), at)),), tuple(resident(n, 0, pool=RAM, files=mapped).mapped)),
    st.sampled_from("abc"),
    sizes,
    st.sampled_from((GPU, RAM)),
    st.lists(st.tuples(st.sampled_from(("w", "v")), st.integers(0, 9)), max_size=2),
)  # fmt: skip


@given(
    st.integers(0, 64),
    st.integers(0, 24),
    st.lists(models, max_size=4),
    st.lists(foreigners, max_size=6),
    st.tuples(sizes, sizes, sizes),
    st.builds(Listed, sizes, sizes, sizes),
    st.none() | sizes,
)
def test_the_parts_sum_to_the_whole_whatever_anybody_claims(
    ram_free: int,
    gpu_free: int,
    residents: list[Resident],
    foreign: list[Foreign],
    facts: tuple[Bytes, Bytes, Bytes],
    listed: Listed,
    device_used: Bytes | None,
) -> None:
    host = HostFacts(Bytes(0), Bytes(0), anonymous=facts[0], shared=facts[1], kernel=facts[2])
    snapshot = Snapshot(
        Seconds(0),
        (replace(ram(ram_free), device_used=device_used), pool(gpu_free)),
        tuple({r.ref: r for r in residents}.values()),
        foreign=tuple(foreign),
        listed=listed,
        host=host,
    )
    for found in account(snapshot):
        assert sum(p.size for p in found.parts) == found.used
        assert all(p.size > 0 for p in found.parts)
        assert found.overlap >= 0
