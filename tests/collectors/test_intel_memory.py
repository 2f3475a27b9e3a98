"""How much of an Intel card is free, and who may say so."""

from pathlib import Path
from typing import Any

import pytest

from collectors import drm, intel
from collectors.intel import ASLEEP, NO_SIZE, SILENT, UNTOLD, IntelCollector
from collectors.reading import Holder, PoolId, Sample, Tier, gib, mib
from tests.collectors.intel_tree import (
    ARC,
    EVERYTHING,
    NOTHING,
    PERFMON,
    POOL,
    SIZE,
    Meter,
    Tree,
    pool,
)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def blind(sample: Sample) -> str:
    assert sample.pools == ()
    [found] = sample.blind
    assert found.pool == POOL
    return found.why


# -- how much is free


def test_free_is_what_the_control_groups_leave(tree: Tree) -> None:
    tree.gpu()
    tree.capacity()
    tree.group("system.slice", mib(5000))
    tree.group("user.slice", mib(200))
    assert tree.read().pools == (pool(SIZE - mib(5200)),)
    tree.group("user.slice", gib(99))
    assert tree.read().pools == (pool(0),)


def test_memories_of_several_tiles_are_one_pool(tree: Tree) -> None:
    tree.gpu()
    tree.capacity(gib(64))
    tree.capacity(gib(64), region="vram1")
    tree.write(
        "sys/fs/cgroup/a/dmem.current", f"drm/{ARC}/vram0 {gib(2)}\ndrm/{ARC}/vram1 {gib(3)}"
    )
    assert tree.read().pools == (pool(gib(123), gib(128)),)


def test_groups_that_do_not_count_are_no_sign_of_an_empty_card(tree: Tree) -> None:
    tree.gpu()
    tree.capacity()
    tree.right(NOTHING)
    assert blind(tree.read()) == UNTOLD
    tree.group("user.slice", mib(7), pci="0000:83:00.0")  # of another card
    assert blind(tree.read()) == UNTOLD


def test_level_zero_tells_where_the_kernel_has_no_file(tree: Tree) -> None:
    tree.gpu()
    tree.right(PERFMON)
    meter = Meter(SIZE, gib(5))
    assert tree.read(meter=meter).pools == (pool(gib(5)),)
    assert meter.asked == [ARC]


def test_level_zero_is_not_asked_where_the_control_groups_tell(tree: Tree) -> None:
    tree.gpu()
    tree.right()
    tree.capacity()
    tree.group("user.slice", 0)
    meter = Meter(SIZE, gib(5))
    assert tree.read(meter=meter).pools == (pool(SIZE),)
    assert meter.asked == []


def test_level_zero_is_not_believed_without_the_right_to_measure(tree: Tree) -> None:
    tree.gpu()
    tree.right(NOTHING)
    meter = Meter(SIZE, SIZE)  # what the kernel says then
    assert blind(tree.read(meter=meter)) == NO_SIZE
    assert meter.asked == []


def test_the_library_is_loaded_once_and_only_when_needed(tree: Tree) -> None:
    loaded = []

    def load() -> Meter:
        loaded.append(1)
        return Meter(SIZE, gib(5))

    collector = IntelCollector(tree.root, load)
    collector.read(Tier.ALL)
    assert loaded == []
    tree.gpu()
    tree.right()
    collector.read(Tier.ALL)
    collector.read(Tier.ALL)
    assert loaded == [1]


def test_what_all_processes_hold_is_what_is_used_for_whoever_sees_them_all(tree: Tree) -> None:
    tree.gpu()
    tree.capacity()
    tree.right()
    tree.client((40, 41), 1, vram0="4 GiB", gtt="1 GiB", system="5 MiB")
    tree.client(42, 2, vram0="512 KiB", stolen="4 MiB")
    sample = tree.read()
    assert sample.pools == (pool(SIZE - gib(4) - 512 * 1024),)
    assert sample.notes == (intel.SUMMED.format(0),)


def test_between_lists_whoever_is_new_or_had_the_card_open_is_looked_at(tree: Tree) -> None:
    tree.gpu()
    tree.capacity()
    tree.right()
    tree.client(40, 1, vram0="1 GiB")
    tree.write("proc/41/comm", "program-41")
    collector = IntelCollector(tree.root)

    def used(tiers: Tier = Tier.MEMORY) -> int:
        [card] = collector.read(tiers).pools
        return card.used

    assert used(Tier.PROCESSES) == gib(1)
    tree.client(40, 2, vram0="2 GiB")  # the same program opens it again
    tree.client(41, 3, vram0="4 GiB")  # one that was there opens it only now
    assert used() == gib(3)
    tree.client(42, 4, vram0="1 GiB")  # a program that has just been started
    assert used() == gib(4)
    assert used() == gib(4)
    assert used(Tier.PROCESSES) == gib(8)
    assert used() == gib(8)


@pytest.mark.parametrize("file", ["tile{}/physical_vram_size_bytes", "../lmem_total_bytes"])
def test_a_size_in_sysfs_will_do(tree: Tree, file: str) -> None:
    folder = tree.gpu(device="0x0001", driver="i915").relative_to(tree.root)
    tree.right()
    tree.write(f"{folder}/{file.format(0)}", gib(16))
    tree.client(40, 1, driver="i915", local0="3 GiB", system0="1 GiB")
    assert tree.read().pools == (pool(gib(13), gib(16)),)


@pytest.mark.parametrize(
    ("capabilities", "contained"),
    [
        (NOTHING, False),
        (PERFMON, False),
        (f"{1 << 2:016x}", False),  # to list what others have open, not to read of it
        (f"{1 << 19:016x}", False),  # the other way round
        (EVERYTHING, True),
    ],
)
def test_a_part_of_the_use_does_not_pass_for_the_whole(
    tree: Tree, capabilities: str, contained: bool
) -> None:
    tree.gpu()
    tree.capacity()
    tree.right(capabilities, contained=contained)
    tree.client(40, 1, vram0="4 GiB")
    assert blind(tree.read()) == UNTOLD


def test_capabilities_of_a_container_do_not_count(tree: Tree) -> None:
    tree.gpu()
    tree.right()
    tree.link("proc/self/ns/user", "user:[4026532777]")
    meter = Meter(SIZE, SIZE)
    assert blind(tree.read(meter=meter)) == NO_SIZE


def test_without_a_size_a_card_is_blind_with_what_would_help(tree: Tree) -> None:
    tree.gpu()
    tree.right()
    assert "Level Zero" in blind(tree.read())


def test_a_driver_that_tells_no_memory_leaves_the_pool_blind(tree: Tree) -> None:
    tree.gpu(driver="i915")
    tree.write("sys/class/drm/card0/lmem_total_bytes", gib(16))
    tree.right()
    tree.client(40, 1, driver="i915")
    sample = tree.read(Tier.PROCESSES)
    assert blind(sample) == SILENT
    assert sample.holders == (Holder(40, POOL, None, "program-40"),)


# -- sleep


def test_nothing_is_asked_of_a_card_that_sleeps(tree: Tree) -> None:
    folder = tree.gpu()
    tree.capacity()
    tree.right()
    tree.group("system.slice", mib(6000))
    tree.client(40, 1, vram0="4 GiB")
    for name in ("tile0/gt0/freq0/act_freq", "hwmon/hwmon1/temp2_input"):
        tree.write(f"{folder.relative_to(tree.root)}/{name}", 1000)
    tree.sleeps()
    meter = Meter(SIZE, gib(5))
    sample = tree.read(Tier.ALL, meter)
    assert sample.devices[0].asleep
    assert sample.pools == (pool(SIZE - mib(6000)),)
    assert sample.health == {}
    assert meter.asked == []


def test_who_has_a_sleeping_card_open_is_named_without_a_size(tree: Tree) -> None:
    tree.gpu()
    tree.capacity()
    tree.group("system.slice", mib(6000))
    tree.client(42, 1, vram0="4 GiB")
    tree.client(41, 2, node="card0")
    tree.client(43, 3, node="renderD129", pci="0000:83:00.0", driver="amdgpu", vram="1 GiB")
    tree.sleeps()
    assert tree.read(Tier.PROCESSES).holders == (
        Holder(41, POOL, None, "program-41"),
        Holder(42, POOL, None, "program-42"),
    )


def test_one_card_sleeps_and_the_other_is_read(tree: Tree) -> None:
    other = "0000:83:00.0"
    tree.gpu()
    tree.gpu(other, index=1)
    tree.client(40, 1, vram0="4 GiB")
    tree.client(41, 2, other, node="renderD129", vram0="5 GiB")
    tree.sleeps()
    assert tree.read(Tier.PROCESSES).holders == (
        Holder(40, POOL, None, "program-40"),
        Holder(41, PoolId(f"pci-{other}"), gib(5), "program-41"),
    )


def test_a_sleeping_card_that_nobody_has_open_is_free(tree: Tree) -> None:
    tree.gpu()
    tree.capacity()
    tree.right()
    tree.sleeps()
    assert tree.read().pools == (pool(SIZE),)
    tree.client(40, 1, vram0="4 GiB")
    assert blind(tree.read()) == ASLEEP


def test_a_sleeping_card_whose_size_only_level_zero_knows_is_blind(tree: Tree) -> None:
    tree.gpu(status="suspending")
    tree.right()
    meter = Meter(SIZE, SIZE)
    assert blind(tree.read(meter=meter)) == ASLEEP
    assert meter.asked == []


def test_what_is_listed_is_in_the_memory_that_is_told_beside_it(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load goes on while we read: bytes that somebody is said to hold are not free as well."""
    tree.gpu()
    tree.capacity()
    tree.group("a", gib(1))
    tree.client(40, 1, vram0="1 GiB")
    lists = drm.clients

    def slow(*args: Any, **words: Any) -> list[drm.Client]:
        found = [*lists(*args, **words)]
        tree.group("a", gib(9))
        return found

    monkeypatch.setattr(drm, "clients", slow)
    assert tree.read(Tier.ALL).pools[0].used == gib(9)
