from __future__ import annotations

from dataclasses import replace

from collectors.reading import (
    RAM,
    Bytes,
    Holder,
    MappedFile,
    MemoryPool,
    PoolId,
    PoolKind,
    Process,
    ProcessMemory,
    Seconds,
    gib,
)
from supervisor.core.activity import Track
from supervisor.core.assemble import SeenMachine, SeenModel, assemble
from supervisor.core.headroom import held, rooms
from supervisor.core.listing import Listing
from supervisor.core.policy import Policy
from supervisor.core.snapshot import Listed, Mapped, Share, Snapshot, Source, State
from tests.builders import GPU, OTHER, engine, pool, ref

HOST = MemoryPool(RAM, PoolKind.HOST, gib(64), gib(40))


def process(pid: int, anonymous: float, **files: float) -> ProcessMemory:
    mapped = tuple(MappedFile(f, gib(n)) for f, n in files.items())
    return ProcessMemory(pid, 1.0, gib(anonymous), mapped, Seconds(0))


def fold(
    *models: SeenModel,
    processes: tuple[ProcessMemory, ...] = (),
    pools: tuple[MemoryPool, ...] = (HOST,),
    holders: tuple[Holder, ...] = (),
) -> Snapshot:
    return assemble(
        Seconds(100),
        SeenMachine(pools, (), Listing(holders)),
        {p.pid: p for p in processes},
        (engine(),),
        models,
    )


def test_a_model_with_a_process_of_its_own_is_measured() -> None:
    seen = SeenModel(ref("a"), State.LOADED, reported=gib(99), pids=(7,))
    got = fold(seen, processes=(process(7, 1, weights=4),)).residents[0]
    assert got.shares == (Share(RAM, gib(1), Source.MEASURED),)
    assert got.mapped == (Mapped("weights", RAM, gib(4)),)
    assert got.holds(RAM) == gib(5)


def test_mapped_weights_count_as_held_although_the_kernel_calls_them_available() -> None:
    seen = SeenModel(ref("a"), State.LOADED, pids=(7,))
    got = fold(seen, processes=(process(7, 1, weights=4),))
    assert got.free(RAM) == gib(36)


def test_a_file_that_two_models_have_mapped_counts_once() -> None:
    got = fold(
        SeenModel(ref("a"), State.LOADED, pids=(7,)),
        SeenModel(ref("b"), State.LOADED, pids=(8,)),
        processes=(process(7, 1, weights=4), process(8, 1, weights=4)),
    )
    assert got.free(RAM) == gib(36)
    assert held(got)[RAM] == gib(6)


def test_bytes_on_an_accelerator_come_from_the_driver_s_list() -> None:
    got = fold(
        SeenModel(ref("a"), State.LOADED, reported=gib(9), pids=(7,)),
        processes=(process(7, 0.5),),
        pools=(HOST, pool(10), pool(10, id=OTHER)),
        holders=(Holder(7, GPU, gib(6)), Holder(9, GPU, gib(2), "game"), Holder(7, OTHER, gib(1))),
    )
    assert [(s.pool, s.size) for s in got.residents[0].shares] == [
        (GPU, gib(6)),
        (OTHER, gib(1)),
        (RAM, gib(0.5)),
    ]
    assert [(f.name, f.pool, f.size) for f in got.foreign] == [("game", GPU, gib(2))]


def test_where_the_driver_hides_the_bytes_the_engine_s_word_stands_in() -> None:
    got = fold(
        SeenModel(ref("a"), State.LOADED, reported=gib(6), reported_gpu=gib(6), pids=(7,)),
        processes=(process(7, 0.5),),
        pools=(HOST, pool(10)),
        holders=(Holder(7, GPU, None),),
    )
    assert Share(GPU, gib(6), Source.REPORTED) in got.residents[0].shares


def test_without_a_process_the_engine_s_word_is_split_over_the_pools() -> None:
    got = fold(
        SeenModel(ref("a"), State.LOADED, reported=gib(10), reported_gpu=gib(6)),
        pools=(HOST, pool(10)),
    )
    assert got.residents[0].shares == (
        Share(GPU, gib(6), Source.REPORTED),
        Share(RAM, gib(4), Source.REPORTED),
    )


def test_without_any_word_the_size_of_the_file_is_an_estimate() -> None:
    got = fold(SeenModel(ref("a"), State.LOADED, file_size=gib(3)))
    assert got.residents[0].shares == (Share(RAM, gib(3), Source.ESTIMATED),)
    asleep = fold(SeenModel(ref("a"), State.SLEEPING, file_size=gib(3)))
    assert asleep.residents[0].shares == ()


def test_a_model_that_is_only_installed_is_no_resident() -> None:
    got = fold(SeenModel(ref("a"), None, file_size=gib(3)))
    assert got.residents == ()
    assert [(i.ref, i.size) for i in got.installed] == [(ref("a"), gib(3))]


def test_a_model_that_was_chosen_to_go_is_leaving_and_still_charged() -> None:
    got = assemble(
        Seconds(100),
        SeenMachine((HOST,)),
        {7: process(7, 2)},
        (engine(),),
        [SeenModel(ref("a"), State.LOADED, pids=(7,))],
        leaving={ref("a")},
    )
    assert got.residents[0].state is State.LEAVING
    assert held(got)[RAM] == gib(2)


def test_idle_time_comes_from_the_track() -> None:
    track = Track(Seconds(99), Seconds(60), None, 0)
    got = fold(SeenModel(ref("a"), State.LOADED, track=track)).residents[0]
    assert (got.busy, got.idle_for, got.in_flight) == (False, 40, 0)


def test_free_memory_is_never_negative() -> None:
    tight = MemoryPool(RAM, PoolKind.HOST, gib(64), gib(2))
    seen = SeenModel(ref("a"), State.LOADED, pids=(7,))
    got = fold(seen, processes=(process(7, 1, weights=4),), pools=(tight,))
    assert got.free(RAM) == 0


def test_foreign_bytes_are_what_is_used_and_held_by_no_model() -> None:
    got = fold(
        SeenModel(ref("a"), State.LOADED, pids=(7,)),
        processes=(process(7, 6),),
    )
    (room,) = rooms(got, Policy())
    assert room.foreign == gib(18)


def test_the_reserves_are_what_the_engines_and_the_system_need() -> None:
    policy = Policy()
    assert policy.reserve_of(pool(10, total=24)) == int(gib(24) * 0.03)
    assert policy.reserve_of(pool(1, total=8)) == 512 << 20
    assert policy.reserve_of(HOST) == int(gib(64) * 0.12)
    unified = MemoryPool(RAM, PoolKind.UNIFIED, gib(128), gib(1))
    assert policy.reserve_of(unified) == int(gib(128) * 0.12)
    assert policy.reserve_of(pool(0, total=0.25)) <= Bytes(1 << 28)


def test_what_is_on_a_gpu_that_cannot_be_read_just_now_has_not_moved_to_ram() -> None:
    models = (
        SeenModel(ref("told"), State.LOADED, reported=gib(5), reported_gpu=gib(4)),
        SeenModel(ref("guessed"), State.LOADED, file_size=gib(3)),
    )
    seen = SeenMachine((HOST,), blind={GPU: "nvidia: no answer within 2 s"})
    got = assemble(Seconds(100), seen, {}, (engine(),), models)
    shares = {r.model: r.shares for r in got.residents}
    assert shares["told"] == (
        Share(GPU, gib(4), Source.REPORTED),
        Share(RAM, gib(1), Source.REPORTED),
    )
    assert shares["guessed"] == (Share(GPU, gib(3), Source.ESTIMATED),)
    assert held(got)[RAM] == gib(1)


def test_processes_that_hold_no_model_are_foreign_and_all_are_summed_up() -> None:
    """Of shared memory it is told how much is in it, as others may have the same mapped."""
    table = (
        Process(7, 1, "runner", gib(3), gib(0), shared=gib(1)),
        Process(8, 1, "worker", gib(6), gib(0), shared=gib(4)),
    )
    holders = (Holder(7, RAM, gib(20)), Holder(8, RAM, gib(2)), Holder(8, GPU, gib(5)))
    seen = SeenMachine((HOST,), listing=Listing((*holders, Holder(9, RAM, None)), table))
    model = SeenModel(ref("a"), State.LOADED, pids=(7,))
    got = assemble(Seconds(100), seen, {7: process(7, 3)}, (engine(),), (model,))
    assert [(f.pool, f.pid, f.size, f.shared) for f in got.foreign] == [
        (GPU, 8, gib(5), 0),
        (RAM, 8, gib(8), gib(4)),
    ]
    assert got.listed == Listed(private=gib(4), shared=gib(5), by_drivers=gib(22))


def test_what_nobody_lists_is_taken_from_the_engines_word() -> None:
    """A driver that does not say who holds its memory, as in a container."""
    model = SeenModel(ref("a"), State.LOADED, gib(13), gib(12), pids=(7,))
    silent = SeenMachine((HOST, pool(4)), unlisted=(GPU,))
    [got] = assemble(Seconds(100), silent, {7: process(7, 1)}, (engine(),), (model,)).residents
    assert got.shares == (
        Share(RAM, gib(1), Source.MEASURED),
        Share(GPU, gib(12), Source.REPORTED),
    )
    other = replace(silent, unlisted=(OTHER,))
    [got] = assemble(Seconds(100), other, {7: process(7, 1)}, (engine(),), (model,)).residents
    assert got.shares == (Share(RAM, gib(1), Source.MEASURED),), "this pool was listed: it has none"


def test_what_an_engine_says_it_has_on_the_gpu_is_on_one_that_it_may_use() -> None:
    def where(*tied: PoolId, blind: PoolId | None = None) -> set[PoolId]:
        told = SeenModel(
            ref("a"), State.LOADED, reported=gib(6), reported_gpu=gib(6), tied=frozenset(tied)
        )
        pools = [HOST, pool(4), pool(20, id=OTHER)]
        dark = {blind: "it hangs"} if blind else {}
        machine = SeenMachine(tuple(p for p in pools if p.id not in dark), blind=dark)
        got = assemble(Seconds(100), machine, {}, (engine(),), (told,))
        return set(got.residents[0].pools)

    assert where() == {GPU}  # the fullest
    assert where(OTHER) == where(OTHER, blind=OTHER) == {OTHER}
    assert where(RAM) == {RAM}
    assert where(PoolId("GPU-typo")) == {GPU}
