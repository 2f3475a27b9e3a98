"""AMD cards as their driver's files tell of them: two whole machines, and every odd case."""

from pathlib import Path

import pytest

from collectors import amd, amd_names
from collectors.amd import AmdCollector
from collectors.machine import fold
from collectors.reading import (
    RAM,
    Blind,
    Carveout,
    Health,
    Holder,
    HostFacts,
    MemoryPool,
    PoolKind,
    Reading,
    Sample,
    Seconds,
    Tier,
    gib,
    mib,
)

from .drm_tree import DISCRETE, INTEGRATED, card, client, topology, write

CAPTURES = Path(__file__).parent.parent / "captures"
PCI = "0000:03:00.0"
XTX = "GPU-2f6b1d03c58e47a9"


def read(root, tiers=Tier.ALL):
    return AmdCollector(root).read(tiers)


def without(files, *names):
    return {name: value for name, value in files.items() if name not in names}


# -- a desktop with one discrete card


@pytest.fixture(scope="module")
def desktop():
    return read(CAPTURES / "rx-7900-xtx")


def test_a_card_is_a_pool_of_its_own(desktop):
    (pool,) = desktop.pools
    assert pool == MemoryPool(XTX, PoolKind.DEDICATED, 25753026560, 25753026560 - 21681197056)
    assert (desktop.blind, desktop.notes, desktop.carveouts) == ((), (), ())


def test_a_card_says_who_it_is(desktop):
    (device,) = desktop.devices
    assert (device.uuid, device.pool, device.pci) == (XTX, XTX, PCI)
    assert (device.name, device.vendor, device.index) == ("AMD Radeon RX 7900 XTX", "amd", 0)
    assert device.driver == "amdgpu of Linux 6.14.0-29-generic"
    assert not device.asleep


def test_holders_of_a_card_are_counted_once_and_shared_ones_are_named(desktop):
    own = [h for h in desktop.holders if h.pool == XTX]
    assert own == [
        Holder(1488, XTX, mib(203) + 64 * 1024, "Xorg"),  # has its device open twice
        Holder(1711, XTX, mib(98), "kwin_x11"),
        Holder(1745, XTX, mib(86) + 740 * 1024, "plasmashell"),
        Holder(3310, XTX, mib(406) + 388 * 1024, "firefox", (3412,)),
        Holder(4242, XTX, gib(14) + mib(212) + 652 * 1024, "llama-server"),  # not KFD's on top
        Holder(5188, XTX, gib(5) + mib(96), "ollama"),  # may not be looked at: KFD alone
    ]
    (pool,) = desktop.pools
    assert sum(h.size for h in own) == pool.used - mib(118)  # the rest is the driver's own


def test_what_a_card_borrows_of_ram_is_held_in_ram(desktop):
    borrowed = {h.pid: h.size for h in desktop.holders if h.pool == RAM}
    assert borrowed == {
        1488: mib(34) + 500 * 1024,
        1711: mib(22) + 156 * 1024,
        1745: mib(30),
        3310: mib(96),
        4242: mib(214),
    }


def test_the_health_of_a_card(desktop):
    assert desktop.health == {
        XTX: Health(
            utilization=0.34,
            memory_utilization=0.21,
            temperature=52.0,
            memory_temperature=74.0,
            power=142.0,
            power_limit=327.0,
            clock=2371e6,
            memory_clock=1249e6,
            pcie_generation=4,
            pcie_width=16,
        )
    }


# -- a machine whose GPU lives in RAM


@pytest.fixture(scope="module")
def strix():
    return read(CAPTURES / "strix-halo")


def test_a_gpu_in_ram_has_no_pool_and_says_what_part_of_ram_it_may_take(strix):
    assert (strix.pools, strix.blind, strix.notes) == ((), (), ())
    (device,) = strix.devices
    assert (device.uuid, device.pool) == ("pci-0000:c4:00.0", RAM)
    assert device.name == "AMD Radeon 8060S (Strix Halo)"
    (part,) = strix.carveouts
    assert part == Carveout(
        device.uuid, mib(512), mib(512) - 428060672, limit=27648000 * 4096, used=72096038912
    )


def test_what_it_holds_of_both_parts_is_held_in_ram(strix):
    sizes = {h.pid: h.size for h in strix.holders}
    assert {h.pool for h in strix.holders} == {RAM}
    assert sizes[4242] == gib(61) + mib(410) + mib(4) + 480 * 1024
    assert sizes[5188] == gib(5) + mib(218) + 44 * 1024 + mib(2)  # not KFD's on top
    (part,) = strix.carveouts
    held = part.used + part.total - part.free
    assert 0 < held - sum(sizes.values()) < mib(256)  # the driver's own


def test_its_health_lacks_what_it_has_no_sensor_for(strix):
    (health,) = strix.health.values()
    assert (health.utilization, health.temperature, health.power) == (0.87, 63.0, 78.043)
    assert (health.memory_utilization, health.memory_temperature) == (None, None)
    assert (health.power_limit, health.memory_clock) == (None, None)


def test_the_machine_has_one_pool_that_holds_both_parts(strix):
    total, free = 130_436_212 << 10, 53_000_000 << 10
    host = Sample(
        pools=(MemoryPool(RAM, PoolKind.HOST, total, free),),
        host=HostFacts(swap_total=0, swap_free=0, physical=total),
    )
    now = Seconds(0.0)
    machine = fold([Reading("host", now, now, host), Reading("amd", now, now, strix)])
    (pool,) = machine.pools
    assert pool.kind is PoolKind.UNIFIED
    assert pool.total == total + mib(512)
    assert pool.device_limit == 27648000 * 4096 + mib(512)


# -- does it live in RAM?


@pytest.mark.parametrize(
    "files",
    [
        DISCRETE,
        # 8 GiB in a machine of 128: it may borrow more than it has.
        {**DISCRETE, "mem_info_vram_total": gib(8), "mem_info_gtt_total": gib(64)},
        # A Vega tells no memory_busy_percent, but whose chips it has.
        {
            **without(DISCRETE, "mem_busy_percent"),
            "device": "0x687f",
            "mem_info_vram_total": gib(8),
            "mem_info_vram_vendor": "samsung",
        },
        {
            **without(DISCRETE, "mem_busy_percent"),
            "mem_info_vram_total": gib(8),
            "hwmon/hwmon2/in1_label": "vddmem",
        },
        {**without(DISCRETE, "mem_busy_percent"), "mem_info_vram_total": gib(48)},
    ],
)
def test_a_card_with_memory_of_its_own_is_known(tmp_path, files):
    card(tmp_path, 0, PCI, **files)
    (device,) = read(tmp_path).devices
    assert device.pool == device.uuid


@pytest.mark.parametrize(
    "files",
    [
        INTEGRATED,
        # Firmware set 96 GiB of 128 aside: less is left to borrow.
        {**INTEGRATED, "mem_info_vram_total": gib(96), "mem_info_gtt_total": gib(15)},
        {**INTEGRATED, "device": "0x7fff"},  # a part of next year
        {
            **INTEGRATED,
            "device": "0x7fff",
            "mem_info_vram_total": gib(96),
            "mem_info_gtt_total": gib(15),
            "hwmon/hwmon2/in1_label": "vddnb",
        },
        {**INTEGRATED, "device": "0x7fff", "mem_info_vram_vendor": "unknown"},
    ],
)
def test_a_gpu_that_lives_in_ram_is_known(tmp_path, files):
    card(tmp_path, 0, PCI, **files)
    sample = read(tmp_path)
    assert [d.pool for d in sample.devices] == [RAM]
    assert [c.total for c in sample.carveouts] == [files["mem_info_vram_total"]]


@pytest.mark.parametrize(("cores", "lives_in_ram"), [(16, True), (0, False)])
def test_a_node_of_cpu_and_gpu_together_settles_it(tmp_path, cores, lives_in_ram):
    card(tmp_path, 0, PCI, **DISCRETE)
    topology(tmp_path, cores=cores)
    assert (read(tmp_path).devices[0].pool == RAM) is lives_in_ram


@pytest.mark.parametrize(
    "files", [{}, {"mem_busy_percent": 7}, {"power/runtime_status": "suspended"}]
)
def test_an_mi300a_has_no_memory_but_ram_which_is_counted_once(tmp_path, files):
    none = dict.fromkeys(("mem_info_vram_total", "mem_info_vram_used"), 0)
    gtt = {"mem_info_gtt_total": gib(120), "mem_info_gtt_used": gib(30)}
    files = {"device": "0x74a0", "mem_info_vram_vendor": "hbm", **none, **gtt, **files}
    for index, pci in enumerate((PCI, "0000:07:00.0")):
        card(tmp_path, index, pci, **files)
        client(tmp_path, 7 + index, 3, pci, index, drm_resident_gtt="29 GiB")
    sample = read(tmp_path)
    assert ([d.pool for d in sample.devices], sample.pools) == ([RAM, RAM], ())
    total = gib(240)
    host = Sample(
        pools=(MemoryPool(RAM, PoolKind.HOST, total, gib(170)),),
        host=HostFacts(swap_total=0, swap_free=0, physical=total),
    )
    now = Seconds(0.0)
    (ram,) = fold([Reading("host", now, now, host), Reading("amd", now, now, sample)]).pools
    assert (ram.kind, ram.total, ram.free) == (PoolKind.UNIFIED, total, gib(170))
    if "power/runtime_status" not in files:
        assert (ram.device_limit, ram.device_used) == (gib(240), gib(60))
        assert [h.size for h in sample.holders] == [gib(29), gib(29)]


# -- a card that sleeps


def test_a_card_that_sleeps_is_not_woken_and_all_of_it_is_free(tmp_path):
    device = card(tmp_path, 0, PCI, unique_id="00000000000000ab", **DISCRETE)
    client(tmp_path, 7, 3, PCI, 1, drm_resident_vram="1 GiB")
    collector = AmdCollector(tmp_path)
    assert [p.free for p in collector.read(Tier.ALL).pools] == [gib(20)]
    write(device, "power/runtime_status", "suspended\n")
    for name in ("mem_info_vram_total", "mem_info_vram_used"):
        write(device, name, "1\n")  # what a card that is half awake may say
    write(device, "gpu_busy_percent", "50\n")
    sample = collector.read(Tier.ALL)
    assert sample.pools == (
        MemoryPool("GPU-00000000000000ab", PoolKind.DEDICATED, gib(24), gib(24)),
    )
    assert sample.devices[0].asleep
    assert (sample.health, sample.holders) == ({}, ())


def test_a_card_that_slept_from_the_start_tells_its_size_and_all_of_it_is_free(tmp_path):
    device = card(tmp_path, 0, PCI, **DISCRETE)
    write(device, "power/runtime_status", "suspended\n")
    collector = AmdCollector(tmp_path)
    for _ in range(2):
        sample = collector.read(Tier.ALL)
        assert [(p.total, p.free) for p in sample.pools] == [(gib(24), gib(24))]
        assert (sample.blind, sample.devices[0].asleep) == ((), True)
    write(device, "power/runtime_status", "active\n")
    sample = collector.read(Tier.ALL)
    assert [p.free for p in sample.pools] == [gib(20)]
    assert (sample.blind, sample.devices[0].asleep) == ((), False)


def test_a_card_that_sleeps_and_tells_nothing_is_blind_until_it_wakes(tmp_path):
    device = card(tmp_path, 0, PCI, **without(DISCRETE, "mem_info_vram_total"))
    write(device, "power/runtime_status", "suspended\n")
    collector = AmdCollector(tmp_path)
    sample = collector.read(Tier.ALL)
    assert sample.blind == (Blind(f"pci-{PCI}", "asleep"),)
    assert (sample.pools, sample.devices[0].asleep) == ((), True)
    write(device, "mem_info_vram_total", f"{gib(24)}\n")
    write(device, "power/runtime_status", "active\n")
    assert [p.free for p in collector.read(Tier.ALL).pools] == [gib(20)]


# -- what cannot be read


@pytest.mark.parametrize("name", ["mem_info_vram_total", "mem_info_vram_used"])
def test_a_card_that_does_not_tell_its_memory_is_blind_and_the_other_is_read(tmp_path, name):
    card(tmp_path, 0, PCI, **{**DISCRETE, name: "-1"})
    card(tmp_path, 1, "0000:07:00.0", **DISCRETE)
    sample = read(tmp_path)
    assert sample.blind == (Blind(f"pci-{PCI}", "amdgpu does not tell its memory now"),)
    assert [p.id for p in sample.pools] == ["pci-0000:07:00.0"]
    assert [d.index for d in sample.devices] == [0, 1]


def test_a_card_that_says_more_is_used_than_it_has_has_nothing_free(tmp_path):
    card(tmp_path, 0, PCI, **{**DISCRETE, "mem_info_vram_used": gib(25)})
    assert [p.free for p in read(tmp_path).pools] == [0]


def test_a_gpu_in_ram_that_does_not_tell_is_only_noted_as_ram_itself_can_be_read(tmp_path):
    card(tmp_path, 0, PCI, **without(INTEGRATED, "mem_info_vram_used"))
    sample = read(tmp_path)
    assert (sample.blind, sample.carveouts) == ((), ())
    assert sample.notes == ("AMD GPU 0: amdgpu does not tell its memory now",)


def test_a_limit_that_nobody_tells_is_none(tmp_path):
    card(tmp_path, 0, PCI, **without(INTEGRATED, "mem_info_gtt_total", "mem_info_gtt_used"))
    (part,) = read(tmp_path).carveouts
    assert (part.total, part.limit, part.used) == (mib(512), None, None)


def test_a_card_that_goes_is_blind_and_comes_back_as_itself(tmp_path):
    card(tmp_path, 0, PCI, **DISCRETE)
    card(tmp_path, 1, "0000:07:00.0", **INTEGRATED)
    collector = AmdCollector(tmp_path)
    before = collector.read(Tier.MEMORY).devices
    (tmp_path / "sys/class/drm").rename(tmp_path / "sys/class/gone")
    sample = collector.read(Tier.MEMORY)
    assert sample.blind == (Blind(f"pci-{PCI}", "amdgpu no longer lists it"),)
    assert sample.notes == ("AMD GPU 1: amdgpu no longer lists it",)
    assert [(d.uuid, d.driver) for d in sample.devices] == [(d.uuid, None) for d in before]
    (tmp_path / "sys/class/gone").rename(tmp_path / "sys/class/drm")
    assert collector.read(Tier.MEMORY).devices == before


def test_a_card_of_another_driver_is_noted_and_one_of_another_vendor_is_not_ours(tmp_path):
    card(tmp_path, 0, PCI, driver="radeon", device="0x6798")
    card(tmp_path, 1, "0000:07:00.0", driver="xe", vendor="0x8086")
    sample = read(tmp_path)
    assert (sample.pools, sample.devices, sample.blind) == ((), (), ())
    assert sample.notes == (f"AMD GPU {PCI} has radeon, which tells no memory",)


def test_a_machine_without_an_amd_card(tmp_path):
    assert not amd.present(tmp_path)
    card(tmp_path, 0, PCI, driver="xe", vendor="0x8086")
    assert not amd.present(tmp_path)
    sample = read(tmp_path)
    assert (sample.devices, sample.holders, sample.notes) == ((), (), (amd.NO_GPU,))
    card(tmp_path, 1, "0000:07:00.0", **DISCRETE)
    assert amd.present(tmp_path)


def test_what_is_not_asked_for_is_none(tmp_path):
    card(tmp_path, 0, PCI, **DISCRETE)
    sample = read(tmp_path, Tier.MEMORY)
    assert (sample.holders, sample.health) == (None, None)
    assert len(sample.pools) == 1


# -- names


def test_a_cards_own_name_comes_first_then_the_systems_list_then_ours(tmp_path):
    device = card(tmp_path, 0, PCI, revision="0xcc", **DISCRETE)
    assert read(tmp_path).devices[0].name == "AMD Radeon RX 7900 XT"
    ids = "# List\n1.0.0\n744C,\tC8,\tOther\n744C,\tCC,\tAMD Radeon RX 7900 XT, new\n"
    write(tmp_path, amd_names.IDS, ids)
    assert read(tmp_path).devices[0].name == "AMD Radeon RX 7900 XT, new"
    write(device, "product_name", "Sapphire Nitro\n")
    assert read(tmp_path).devices[0].name == "Sapphire Nitro"


@pytest.mark.parametrize(
    ("device", "revision", "name"),
    [
        (0x73BF, 0xC0, "AMD Radeon RX 6900 XT"),
        (0x74A1, 0x00, "AMD Instinct MI300X"),
        (0x1586, None, "AMD Radeon 8060S (Strix Halo)"),
        (0x7FFF, 0xC0, "AMD GPU 0x7fff"),
    ],
)
def test_well_known_parts_have_names_and_others_their_number(tmp_path, device, revision, name):
    assert amd_names.name_of(device, revision, tmp_path) == name


def test_the_version_of_a_driver_of_amds_own_packages(tmp_path):
    card(tmp_path, 0, PCI, **DISCRETE)
    assert read(tmp_path).devices[0].driver == "amdgpu"
    write(tmp_path, "sys/module/amdgpu/version", "6.10.5\n")
    assert read(tmp_path).devices[0].driver == "6.10.5"


@pytest.mark.parametrize("unique", ["0", "0000000000000000", "", "none"])
def test_a_card_without_a_number_of_its_own_is_named_by_its_place(tmp_path, unique):
    card(tmp_path, 0, PCI, unique_id=unique, **DISCRETE)
    assert read(tmp_path).devices[0].uuid == f"pci-{PCI}"
