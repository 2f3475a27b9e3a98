from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from collectors.reading import RAM, Bytes, HostFacts, MemoryPool, PoolKind, Seconds, gib
from supervisor.core.account import Account, Owner, account
from supervisor.core.snapshot import EngineId, Foreign, Resident, Snapshot
from tests.builders import GPU, pool, ref, resident, share

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


def test_the_kernel_names_what_is_in_no_process() -> None:
    facts = HostFacts(
        Bytes(0), Bytes(0), anonymous=gib(6), shared=gib(3), kernel=gib(2), huge=gib(4), zram=gib(1)
    )
    found = of(
        resident("a", 4, pool=RAM),
        pools=(ram(free=46),),
        foreign=(Foreign(RAM, 5, "firefox", gib(3)),),
        host=facts,
    )
    assert told(found) == [
        (Owner.MODEL, "ollama/a", 4),
        (Owner.FOREIGN, "firefox", 3),
        (Owner.SHARED, "shared memory, tmpfs", 2),
        (Owner.KERNEL, "kernel", 2),
        (Owner.HUGE, "huge pages", 4),
        (Owner.COMPRESSED, "compressed swap", 1),
        (Owner.UNACCOUNTED, "unaccounted", 2),
    ]


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
)
def test_the_parts_sum_to_the_whole_whatever_anybody_claims(
    ram_free: int,
    gpu_free: int,
    residents: list[Resident],
    foreign: list[Foreign],
    facts: tuple[Bytes, Bytes, Bytes],
) -> None:
    host = HostFacts(Bytes(0), Bytes(0), anonymous=facts[0], shared=facts[1], kernel=facts[2])
    snapshot = Snapshot(
        Seconds(0),
        (ram(ram_free), pool(gpu_free)),
        tuple({r.ref: r for r in residents}.values()),
        foreign=tuple(foreign),
        host=host,
    )
    for found in account(snapshot):
        assert sum(p.size for p in found.parts) == found.used
        assert all(p.size > 0 for p in found.parts)
        assert found.overlap >= 0
