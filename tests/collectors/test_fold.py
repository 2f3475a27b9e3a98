"""Readings folded into one machine: whose memory is whose, and every byte in one pool."""

from dataclasses import replace

import pytest

from collectors.machine import Machine, fold
from collectors.reading import (
    RAM,
    Blind,
    Carveout,
    Device,
    DeviceKind,
    Holder,
    HostFacts,
    MemoryPool,
    NumaNode,
    PoolId,
    PoolKind,
    Reading,
    Sample,
    Seconds,
    gib,
)

GPU = PoolId("GPU-aaaa")
RAM_POOL = MemoryPool(RAM, PoolKind.HOST, gib(64), gib(40))
GPU_POOL = MemoryPool(GPU, PoolKind.DEDICATED, gib(24), gib(20))
FACTS = HostFacts(swap_total=gib(8), swap_free=gib(8))


def reading(name: str, sample: Sample | None = None, fault: str | None = None) -> Reading:
    return Reading(name, Seconds(1), Seconds(0), sample, fault)


def device(pool: PoolId) -> Device:
    return Device(uuid="GPU-aaaa", pool=pool, name="A card", index=0, vendor="nvidia")


HOST = reading("host", Sample(pools=(RAM_POOL,), host=FACTS))


def test_readings_fold_into_one_machine() -> None:
    holder = Holder(42, GPU, gib(4), "engine")
    gpu = Sample(pools=(GPU_POOL,), devices=(device(GPU),), holders=(holder,), notes=("a note",))
    assert fold([HOST, reading("nvidia", gpu)]) == Machine(
        pools=(RAM_POOL, GPU_POOL),
        devices=(device(GPU),),
        holders=(holder,),
        host=FACTS,
        notes=("a note",),
        read_at=Seconds(1),
    )


def test_memory_is_as_old_as_the_oldest_reading_of_it() -> None:
    gpu = Reading("nvidia", Seconds(3), Seconds(0), Sample(pools=(GPU_POOL,)))
    tags = Reading("names", Seconds(0), Seconds(0), Sample(devices=(device(GPU),)))
    failed = Reading("amd", Seconds(0), Seconds(0), fault="gone")
    assert fold([gpu]).read_at == 3
    assert fold([gpu, HOST, tags, failed]).read_at == 1
    assert fold([tags, failed]).read_at is None


@pytest.mark.parametrize("gpu_first", [True, False])
def test_ram_is_unified_where_a_device_draws_from_it(gpu_first: bool) -> None:
    readings = [HOST, reading("nvidia", Sample(devices=(device(RAM),)))]
    [pool] = fold(reversed(readings) if gpu_first else readings).pools
    assert pool == MemoryPool(RAM, PoolKind.UNIFIED, gib(64), gib(40))


def test_beside_unified_ram_a_card_keeps_its_own_kind_of_pool() -> None:
    gpus = Sample((GPU_POOL,), (device(RAM), device(GPU)))
    machine = fold([HOST, reading("nvidia", gpus)])
    assert [p.kind for p in machine.pools] == [PoolKind.UNIFIED, PoolKind.DEDICATED]


def test_a_device_with_its_own_memory_leaves_ram_to_the_host() -> None:
    machine = fold([HOST, reading("nvidia", Sample((GPU_POOL,), (device(GPU),)))])
    assert [p.kind for p in machine.pools] == [PoolKind.HOST, PoolKind.DEDICATED]


def test_huge_pages_are_noted_where_a_gpu_draws_from_ram_because_engines_misread_them() -> None:
    host = reading("host", Sample((RAM_POOL,), host=replace(FACTS, huge=gib(1))))
    unified = reading("nvidia", Sample(devices=(device(RAM),)))
    [note] = fold([host, unified]).notes
    assert note.startswith("1024 MiB are set aside as huge pages")
    card = reading("nvidia", Sample((GPU_POOL,), (device(GPU),)))
    assert fold([host, card]).notes == ()
    assert fold([HOST, unified]).notes == ()


def test_ram_that_could_not_be_read_is_blind_and_the_gpu_is_still_seen() -> None:
    gpu = reading("nvidia", Sample((GPU_POOL,), (device(GPU),)))
    machine = fold([reading("host", fault="psutil broke"), gpu])
    assert machine.pools == (GPU_POOL,)
    assert machine.blind == (Blind(RAM, "psutil broke"),)
    assert machine.faults == {"host": "psutil broke"}


def test_without_any_collector_ram_is_blind() -> None:
    assert fold([]) == Machine(blind=(Blind(RAM, "no collector reads it"),))


def test_a_faulted_driver_takes_nothing_else_with_it() -> None:
    machine = fold([HOST, reading("nvidia", fault="GPU is lost")])
    assert (machine.pools, machine.blind) == ((RAM_POOL,), ())
    assert machine.faults == {"nvidia": "GPU is lost"}


def test_a_blind_pool_is_named_and_one_that_somebody_reads_is_not() -> None:
    blind = (Blind(GPU, "lost"), Blind(PoolId("GPU-bbbb"), "lost too"))
    machine = fold([HOST, reading("x", Sample((GPU_POOL,))), reading("y", Sample(blind=blind))])
    assert machine.blind == (Blind(PoolId("GPU-bbbb"), "lost too"),)


def test_holders_are_none_only_when_nobody_listed_any() -> None:
    assert fold([HOST]).holders is None
    assert fold([HOST, reading("nvidia", Sample(holders=()))]).holders == ()


# -- accelerators that have a part in RAM


def shared(uuid: str, kind: DeviceKind = DeviceKind.GPU) -> Device:
    return Device(uuid, RAM, "Radeon 8060S", 0, "amd", kind=kind)


def ram_beside(
    *carveouts: Carveout, devices: tuple[Device, ...] = (), host: Reading = HOST
) -> MemoryPool:
    [pool] = fold([host, reading("amd", Sample(devices=devices, carveouts=carveouts))]).pools
    return pool


ASIDE = Carveout("igpu", gib(8), gib(6), limit=gib(28), used=gib(3))


def test_what_firmware_set_aside_for_a_gpu_is_a_part_of_ram() -> None:
    pool = ram_beside(ASIDE, devices=(shared("igpu"),))
    assert pool == MemoryPool(
        RAM, PoolKind.UNIFIED, gib(72), gib(46), device_limit=gib(36), device_used=gib(5)
    )


def test_of_two_gpus_in_ram_the_parts_the_limits_and_what_they_use_are_summed() -> None:
    other = Carveout("other", gib(1), gib(1), limit=gib(10), used=gib(2))
    pool = ram_beside(ASIDE, other, devices=(shared("igpu"), shared("other")))
    assert (pool.total, pool.free) == (gib(73), gib(47))
    assert (pool.device_limit, pool.device_used) == (gib(47), gib(7))


def test_a_limit_or_a_use_that_one_of_them_cannot_tell_is_known_of_neither() -> None:
    devices = (shared("igpu"), shared("other"))
    boundless = Carveout("other", gib(1), gib(1), limit=None, used=gib(2))
    pool = ram_beside(ASIDE, boundless, devices=devices)
    assert (pool.device_limit, pool.device_used) == (None, gib(7))
    silent = Carveout("other", gib(1), gib(1), limit=gib(10), used=None)
    pool = ram_beside(ASIDE, silent, devices=devices)
    assert (pool.device_limit, pool.device_used) == (gib(47), None)


def test_an_npu_alone_does_not_make_ram_unified() -> None:
    npu = shared("npu", DeviceKind.NPU)
    pool = ram_beside(Carveout("npu", gib(1), gib(1), limit=gib(4)), devices=(npu,))
    assert pool == RAM_POOL


def test_beside_a_gpu_the_npus_part_counts_for_nothing() -> None:
    npu = shared("npu", DeviceKind.NPU)
    part = Carveout("npu", gib(1), gib(1))
    assert ram_beside(ASIDE, part, devices=(shared("igpu"), npu)) == ram_beside(
        ASIDE, devices=(shared("igpu"),)
    )


def test_a_part_that_is_told_twice_counts_once() -> None:
    devices = (shared("igpu"),)
    assert ram_beside(ASIDE, ASIDE, devices=devices) == ram_beside(ASIDE, devices=devices)


def test_a_card_with_memory_of_its_own_adds_nothing_to_ram() -> None:
    part = Carveout("GPU-aaaa", gib(1), gib(1), limit=gib(4), used=gib(1))
    assert ram_beside(part, devices=(device(GPU),)) == RAM_POOL


@pytest.mark.parametrize(
    "card",
    [
        Sample((GPU_POOL,), (device(GPU),)),
        Sample((GPU_POOL,), (replace(device(GPU), pool=None),)),  # split: its instances have it
        Sample((), (device(GPU),)),  # as it was, while its driver does not answer
        Sample(blind=(Blind(GPU, "it is lost"),)),
    ],
)
def test_beside_a_card_the_limit_of_a_gpu_in_ram_does_not_bind_what_the_cpu_runs(
    card: Sample,
) -> None:
    small = Sample(devices=(shared("igpu"),), carveouts=(ASIDE,))
    pools = {p.id: p for p in fold([HOST, reading("amd", small), reading("nvidia", card)]).pools}
    ram = pools[RAM]
    assert (ram.kind, ram.total, ram.free) == (PoolKind.UNIFIED, gib(72), gib(46))
    assert (ram.device_limit, ram.device_used) == (None, gib(5))


def test_beside_an_npu_the_limit_of_a_gpu_in_ram_holds() -> None:
    npu = shared("npu", DeviceKind.NPU)
    assert ram_beside(ASIDE, devices=(shared("igpu"), npu)).device_limit == gib(36)


# -- memory of an accelerator that the kernel counts as RAM


def with_node(total: float, free: float, available: float, limit: float | None = None) -> Reading:
    """A host of 480 GiB and a GPU's 96, of which 90 are free; `available` is of both."""
    facts = replace(
        FACTS,
        physical=gib(576),
        available=gib(available),
        limit=None if limit is None else gib(limit),
        nodes=(NumaNode(1, gib(96), gib(90)), NumaNode(9, gib(32), gib(32))),
    )
    pool = MemoryPool(RAM, PoolKind.HOST, gib(total), gib(free))
    return reading("host", Sample((pool,), host=facts))


HOPPER = replace(device(GPU), numa_node=1)


def ram_less(host: Reading, gpu: Device = HOPPER) -> tuple[float, float]:
    gpus = Sample((GPU_POOL,), (gpu,))
    pools = {p.id: p for p in fold([host, reading("nvidia", gpus)]).pools}
    return pools[RAM].total / gib(1), pools[RAM].free / gib(1)


def test_a_node_that_is_a_gpus_own_memory_is_taken_off_ram() -> None:
    assert ram_less(with_node(576, 500, 500)) == (480, 410)


def test_the_node_of_a_gpu_that_is_split_is_its_instances_memory() -> None:
    assert ram_less(with_node(576, 500, 500), replace(HOPPER, pool=None)) == (480, 410)


def test_a_node_behind_a_link_that_is_no_gpus_stays_ram() -> None:
    assert ram_less(with_node(576, 500, 500), device(GPU)) == (576, 500)
    assert ram_less(with_node(576, 500, 500), replace(HOPPER, pool=RAM)) == (576, 500)


@pytest.mark.parametrize(
    ("limit", "room", "available", "expected"),
    [
        pytest.param(64, 54, 500, (64, 54), id="a small limit leaves the node out of it"),
        pytest.param(500, 450, 500, (480, 410), id="a limit that only the node made room for"),
        pytest.param(64, 54, 130, (64, 40), id="less is free of the machine than of the limit"),
        pytest.param(64, 54, 80, (64, 0), id="all that is available is the GPU's"),
    ],
)
def test_under_a_limit_the_node_is_taken_off_what_the_machine_has(
    limit: float, room: float, available: float, expected: tuple[float, float]
) -> None:
    host = with_node(limit, min(room, available), available, limit)
    assert ram_less(host) == expected


# -- who holds what


def holders(*found: tuple[Holder, ...] | None) -> tuple[Holder, ...] | None:
    return fold([HOST, *(reading(f"{i}", Sample(holders=h)) for i, h in enumerate(found))]).holders


def test_where_one_source_hides_what_another_one_tells_it_is_told() -> None:
    hidden, told = Holder(1, GPU, None), Holder(1, GPU, gib(2))
    assert holders((hidden,), (told,)) == holders((told,), (hidden,)) == (told,)


def test_what_nobody_tells_is_kept_as_not_known() -> None:
    hidden = Holder(1, GPU, None)
    others = (Holder(2, GPU, gib(1)), Holder(1, RAM, gib(1)))
    assert holders((hidden,), others) == (hidden, *others)
