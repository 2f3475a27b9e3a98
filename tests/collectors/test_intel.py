"""Intel GPUs: which there are, who holds their memory, how they feel."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.intel import GONE, NO_GPU, IntelCollector, present
from collectors.reading import (
    RAM,
    Blind,
    Bytes,
    Carveout,
    Device,
    Health,
    Holder,
    Sample,
    Tier,
    gib,
    mib,
)
from tests.collectors.conftest import Clock
from tests.collectors.intel_tree import ARC, CPU, POOL, RAPTOR_LAKE, SIZE, Tree, pool

CAPTURES = Path(__file__).parent.parent / "captures"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


# -- the capture


def test_an_arc_b580_on_record() -> None:
    collector = IntelCollector(CAPTURES / "arc-b580")
    sample = collector.read(Tier.ALL)
    assert sample.pools == (pool(SIZE - mib(8165 + 393)),)
    assert sample.devices == (
        Device(
            uuid="pci-0000:03:00.0",
            pool=POOL,
            name="Intel Arc B580",
            index=0,
            vendor="intel",
            driver="xe of Linux 6.17.4-200.fc42.x86_64",
            pci=ARC,
        ),
    )
    assert sample.health == {
        "pci-0000:03:00.0": Health(
            temperature=66.0,
            memory_temperature=72.0,
            power_limit=190.0,
            energy=1482339.201904,
            clock=2.85e9,
            throttled=("pl1",),
        )
    }
    assert (sample.blind, sample.notes, sample.carveouts) == ((), (), ())


def test_who_holds_memory_of_the_arc_b580_on_record() -> None:
    sample = IntelCollector(CAPTURES / "arc-b580").read(Tier.PROCESSES)
    assert sample.holders == (
        Holder(2210, POOL, mib(192), "gnome-shell"),
        Holder(2210, RAM, mib(58), "gnome-shell"),
        Holder(2391, POOL, mib(24), "Xwayland"),
        Holder(2391, RAM, mib(6), "Xwayland"),
        Holder(3402, POOL, mib(171), "firefox", sharers=(3467,)),
        Holder(3402, RAM, mib(22), "firefox", sharers=(3467,)),
        Holder(5120, POOL, mib(8127), "llama-server"),
        Holder(5120, RAM, mib(264), "llama-server"),
    )
    [card] = sample.pools
    of_card = sum(h.size or 0 for h in sample.holders if h.pool == POOL)
    assert 0 < card.used - of_card < mib(64)


# -- GPUs in a CPU


def test_a_gpu_in_a_cpu_draws_from_ram(tree: Tree) -> None:
    tree.gpu(CPU, device=RAPTOR_LAKE, driver="i915")
    tree.right()
    tree.client(40, 1, CPU, "i915", system0="300 MiB", **{"stolen-system0": "8 MiB"})
    tree.client((41, 42), 2, CPU, "i915", system0="50 MiB")
    sample = tree.read(Tier.PROCESSES)
    [device] = sample.devices
    assert (device.pool, device.name) == (RAM, "Intel integrated GPU a780")
    assert (sample.pools, sample.blind) == ((), ())
    assert sample.carveouts == (Carveout(f"pci-{CPU}", Bytes(0), Bytes(0), used=mib(350)),)
    assert sample.holders == (
        Holder(40, RAM, mib(300), "program-40"),
        Holder(41, RAM, mib(50), "program-41", sharers=(42,)),
    )


def test_xe_borrows_in_two_regions(tree: Tree) -> None:
    tree.gpu(CPU, device="0x64a0")
    tree.capacity(mib(64), CPU, region="stolen")
    tree.client(40, 1, CPU, gtt="300 MiB", system="20 MiB", stolen="8 MiB")
    sample = tree.read(Tier.PROCESSES)
    assert sample.devices[0].pool == RAM
    assert sample.holders == (Holder(40, RAM, mib(320), "program-40"),)


def test_what_it_borrows_is_told_only_when_all_of_it_is_seen(tree: Tree) -> None:
    tree.gpu(CPU, device=RAPTOR_LAKE, driver="i915")
    tree.client(40, 1, CPU, "i915", system0="300 MiB")

    def used(tiers: Tier = Tier.ALL) -> Bytes | None:
        return tree.read(tiers).carveouts[0].used

    assert used() is None
    tree.right()
    assert used() == mib(300)
    assert used(Tier.MEMORY) is None
    tree.client(41, 2, CPU, "i915")
    assert used() is None


def test_of_one_that_sleeps_nothing_is_read(tree: Tree) -> None:
    tree.gpu(CPU, device=RAPTOR_LAKE, driver="i915")
    tree.right()
    tree.client(40, 1, CPU, "i915", system0="300 MiB")
    tree.sleeps()
    sample = tree.read(Tier.ALL)
    assert (sample.carveouts[0].used, sample.holders, sample.health) == (None, (), {})


@pytest.mark.parametrize(
    ("pci", "device", "integrated"),
    [
        (CPU, RAPTOR_LAKE, True),
        (CPU, "0x56a0", False),  # a card that a virtual machine has in this place
        (ARC, "0x56a0", False),
        (ARC, "0xffff", False),
        ("0000:00:05.0", "0xffff", False),
    ],
)
def test_a_gpu_in_a_cpu_is_known_by_its_place_unless_it_is_known_for_a_card(
    tree: Tree, pci: str, device: str, integrated: bool
) -> None:
    tree.gpu(pci, device=device)
    assert (tree.read().devices[0].pool == RAM) is integrated


def test_a_gpu_with_memory_of_its_own_is_a_card_wherever_it_is(tree: Tree) -> None:
    tree.gpu(CPU, device="0xffff")
    tree.capacity(gib(16), CPU)
    tree.group("user.slice", 0, CPU)
    [found] = tree.read().pools
    assert (found.id, found.total) == (f"pci-{CPU}", gib(16))


# -- which GPUs there are


def test_a_machine_without_an_intel_gpu_is_no_error(tree: Tree) -> None:
    assert not present(tree.root)
    assert tree.read() == Sample(notes=(NO_GPU,))
    tree.gpu(driver="vfio-pci")  # given to a virtual machine
    assert not present(tree.root)
    tree.gpu()
    assert present(tree.root)


def test_a_card_that_is_gone_is_blind_and_comes_back_as_the_same(tree: Tree) -> None:
    tree.gpu(CPU, 0, RAPTOR_LAKE, "i915")
    tree.gpu(ARC, 1)
    tree.capacity()
    tree.group("user.slice", 0)
    collector = IntelCollector(tree.root)
    before = collector.read(Tier.MEMORY)
    uevent = tree.root / "sys/class/drm/card1/device/uevent"
    uevent.rename(uevent.with_name("gone"))
    (tree.root / "sys/class/drm/card0/device/vendor").unlink()
    sample = collector.read(Tier.MEMORY)
    assert sample.blind == (Blind(POOL, GONE),)
    assert sample.notes == (f"Intel GPU 0: {GONE}",)
    assert [(d.uuid, d.index) for d in sample.devices] == [
        (d.uuid, d.index) for d in before.devices
    ]
    uevent.with_name("gone").rename(uevent)
    tree.write("sys/class/drm/card0/device/vendor", "0x8086")
    assert collector.read(Tier.MEMORY) == before


def test_holders_and_health_are_told_when_they_are_asked_for(tree: Tree) -> None:
    tree.gpu()
    sample = tree.read(Tier.MEMORY)
    assert (sample.holders, sample.health) == (None, None)
    sample = tree.read(Tier.ALL)
    assert (sample.holders, sample.health) == ((), {str(POOL): Health()})


def test_clients_of_one_process_are_one_holder(tree: Tree) -> None:
    tree.gpu()
    tree.client(40, 1, vram0="1 GiB")
    tree.client(40, 2, vram0="5 MiB", gtt="3 MiB")
    assert tree.read(Tier.PROCESSES).holders == (
        Holder(40, POOL, Bytes(gib(1) + mib(5)), "program-40"),
        Holder(40, RAM, mib(3), "program-40"),
    )


# -- how it feels


def test_power_is_energy_over_time(tree: Tree, clock: Clock) -> None:
    folder = tree.gpu().relative_to(tree.root)
    collector = IntelCollector(tree.root, clock=clock)

    def power(microjoules: int) -> float | None:
        tree.write(f"{folder}/hwmon/hwmon2/energy1_input", microjoules)
        return (collector.read(Tier.HEALTH).health or {})[POOL].power

    assert power(5_000_000) is None
    clock.now += 10
    assert power(955_000_000) == 95.0
    clock.now += 10
    assert power(1) is None  # the driver was loaded anew
    clock.now += 1
    assert power(2_000_001) == pytest.approx(2.0)


def test_i915_has_its_files_elsewhere(tree: Tree) -> None:
    folder = tree.gpu(driver="i915").relative_to(tree.root)
    for name, value in {
        "gt_act_freq_mhz": 2050,
        "gt_cur_freq_mhz": 2400,
        "gt/gt0/throttle_reason_status": 1,
        "gt/gt0/throttle_reason_thermal": 1,
        "gt/gt0/throttle_reason_pl2": 0,
    }.items():
        tree.write(f"{folder.parent}/{name}", value)
    for name, value in {
        "temp1_input": 58000,
        "power1_max": 0,
        "power2_max": 120_000_000,
        "energy2_input": 7,
    }.items():
        tree.write(f"{folder}/hwmon/hwmon4/{name}", value)
    health = (tree.read(Tier.HEALTH).health or {})[POOL]
    assert health == Health(
        temperature=58.0, power_limit=120.0, energy=7e-6, clock=2.05e9, throttled=("thermal",)
    )


def test_a_card_that_is_not_slowed_says_so(tree: Tree) -> None:
    folder = tree.gpu().relative_to(tree.root)
    tree.write(f"{folder}/tile0/gt0/freq0/throttle/status", 0)
    tree.write(f"{folder}/tile0/gt0/freq0/throttle/reason_pl1", 1)
    assert (tree.read(Tier.HEALTH).health or {})[POOL].throttled == ()


@given(st.text(max_size=40), st.text(max_size=40) | st.integers(-(2**70), 2**70))
def test_no_text_in_the_files_is_an_error(
    tmp_path_factory: pytest.TempPathFactory, text: str, number: object
) -> None:
    tree = Tree(tmp_path_factory.mktemp("intel"))
    folder = tree.gpu(device=text.replace("\n", " ")).relative_to(tree.root)
    tree.right(text)
    tree.write("sys/fs/cgroup/dmem.capacity", f"drm/{ARC}/vram0 {number}\n{text}")
    tree.write("sys/fs/cgroup/user.slice/dmem.current", f"drm/{ARC}/vram0 {text}\n{number}")
    for name in (
        "hwmon/hwmon1/temp2_input",
        "hwmon/hwmon1/energy1_input",
        "tile0/gt0/freq0/act_freq",
    ):
        tree.write(f"{folder}/{name}", number)
    tree.client(40, 1, vram0=str(number), gtt=text.replace("\n", " "))
    sample = tree.read(Tier.ALL)
    assert len(sample.pools) + len(sample.blind) == 1
    for felt in (sample.health or {}).values():
        assert felt.clock is None or felt.clock >= 0
        assert felt.energy is None or felt.energy >= 0
