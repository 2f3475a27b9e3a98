"""Who holds the memory of AMD cards, and how the cards feel."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors import amd, drm
from collectors.amd import AmdCollector
from collectors.drm import Client
from collectors.reading import RAM, Health, Holder, Tier, gib, mib

from .drm_tree import DISCRETE, INTEGRATED, card, client, topology, write

PCI = "0000:03:00.0"


def read(root):
    return AmdCollector(root).read(Tier.ALL)


def holders(root, pool=f"pci-{PCI}"):
    return {(h.pid, *h.sharers): h.size for h in read(root).holders if h.pool == pool}


def test_several_clients_of_one_process_are_one_holder(tmp_path):
    card(tmp_path, 0, PCI, **DISCRETE)
    client(tmp_path, 7, 3, PCI, 1, drm_resident_vram="100 MiB", drm_resident_gtt="1 MiB")
    client(tmp_path, 7, 4, PCI, 2, drm_resident_vram="4097", drm_resident_gtt="0")
    assert holders(tmp_path) == {(7,): mib(100) + 4097}
    assert holders(tmp_path, RAM) == {(7,): mib(1)}


def test_an_old_kernel_tells_by_other_names(tmp_path):
    card(tmp_path, 0, PCI, **DISCRETE)
    client(tmp_path, 7, 3, PCI, 1, drm_memory_vram="102400 KiB", drm_memory_gtt="64 KiB")
    assert holders(tmp_path) == {(7,): mib(100)}


def test_a_client_that_holds_nothing_is_no_holder_and_one_that_does_not_say_is(tmp_path):
    card(tmp_path, 0, PCI, **DISCRETE)
    client(tmp_path, 7, 3, PCI, 1, drm_resident_vram="0", drm_resident_gtt="0")
    client(tmp_path, 8, 3, PCI, 2, drm_engine_gfx="5 ns")
    assert holders(tmp_path) == {(8,): None}


def test_clients_of_another_driver_on_the_same_card_are_not_ours(tmp_path):
    card(tmp_path, 0, PCI, **DISCRETE)
    client(tmp_path, 7, 3, PCI, 1, driver="amdxdna_accel_driver", drm_resident_vram="1 MiB")
    assert holders(tmp_path) == {}


@pytest.mark.parametrize(
    ("kfd", "expected"),
    [
        (mib(80), {(7,): mib(100), (8, 9): mib(10)}),
        (mib(150), {(7,): mib(150), (8, 9): mib(10)}),
    ],
)
def test_of_two_counts_of_the_same_memory_the_larger_stands(tmp_path, kfd, expected):
    card(tmp_path, 0, PCI, **DISCRETE)
    topology(tmp_path)
    client(tmp_path, 7, 3, PCI, 1, drm_resident_vram="100 MiB")
    client(tmp_path, 8, 3, PCI, 2, drm_resident_vram="10 MiB")
    client(tmp_path, 9, 3, PCI, 2, drm_resident_vram="10 MiB")
    for pid, size in ((7, kfd), (9, mib(10))):
        write(tmp_path, f"sys/class/kfd/kfd/proc/{pid}/vram_111", f"{size}\n")
    write(tmp_path, "sys/class/kfd/kfd/proc/7/vram_222", f"{gib(9)}\n")  # another GPU's
    write(tmp_path, "sys/class/kfd/kfd/proc/5/pasid", "0\n")  # nothing on this GPU
    assert holders(tmp_path) == expected


def test_a_process_that_may_not_be_looked_at_is_told_of_by_kfd_alone(tmp_path):
    card(tmp_path, 0, PCI, **DISCRETE)
    topology(tmp_path)
    write(tmp_path, "sys/class/kfd/kfd/proc/7/vram_111", f"{gib(2)}\n")
    assert holders(tmp_path) == {(7,): gib(2)}


def test_a_cards_memory_that_was_too_small_is_noted_with_the_program(tmp_path):
    card(tmp_path, 0, PCI, **DISCRETE)
    fields = {"drm_resident_vram": "1 GiB", "amd_evicted_vram": "2048 KiB"}
    client(tmp_path, 7, 3, PCI, 1, comm="llama-server", **fields)
    client(tmp_path, 8, 3, PCI, 2, comm="kwin", amd_evicted_vram="0 KiB")
    collector = AmdCollector(tmp_path)
    note = ("AMD GPU 0 had too little memory for llama-server (pid 7): a part was moved to RAM",)
    assert collector.read(Tier.ALL).notes == note
    assert collector.read(Tier.MEMORY).notes == note  # true until processes are listed again
    client(tmp_path, 7, 3, PCI, 1, amd_evicted_vram="0 KiB")
    assert collector.read(Tier.ALL).notes == ()


def test_a_gpu_in_ram_may_move_its_memory_about(tmp_path):
    card(tmp_path, 0, PCI, **INTEGRATED)
    client(tmp_path, 7, 3, PCI, 1, drm_resident_gtt="1 GiB", amd_evicted_vram="2048 KiB")
    sample = read(tmp_path)
    assert sample.notes == ()
    assert sample.holders == (Holder(7, RAM, gib(1)),)


def test_a_card_and_a_gpu_in_ram_beside_each_other(tmp_path):
    card(tmp_path, 0, PCI, **DISCRETE)
    card(tmp_path, 1, "0000:c4:00.0", **INTEGRATED)
    client(tmp_path, 7, 3, PCI, 1, drm_resident_vram="1 GiB", drm_resident_gtt="1 MiB")
    client(tmp_path, 7, 4, "0000:c4:00.0", 1, drm_resident_vram="2 MiB", drm_resident_gtt="4 MiB")
    sample = read(tmp_path)
    assert [d.pool for d in sample.devices] == [f"pci-{PCI}", RAM]
    assert sorted((h.pool, h.size) for h in sample.holders) == [
        (f"pci-{PCI}", gib(1)),
        (RAM, mib(1)),
        (RAM, mib(6)),
    ]


PIDS = st.sets(st.integers(1, 5), min_size=1).map(lambda pids: tuple(sorted(pids)))
SIZES = st.integers(0, 2**40)


@given(
    st.lists(st.tuples(PIDS, SIZES, SIZES), max_size=6),
    st.dictionaries(st.integers(1, 6), SIZES, max_size=4),
    st.booleans(),
)
def test_every_byte_has_one_holder_and_nobody_less_than_either_count(told, compute, integrated):
    clients = [
        Client("amdgpu", PCI, f"{i}", pids, {"drm-total-vram": f"{v}", "drm-total-gtt": f"{g}"})
        for i, (pids, v, g) in enumerate(told)
    ]
    own, borrowed = amd.by_holder(clients, {}, integrated)
    vram, gtt = sum(v for _, v, _ in told), sum(g for _, _, g in told)
    assert sum(own.values()) == vram + gtt * integrated
    assert sum(borrowed.values()) == gtt * (not integrated)
    both, same = amd.by_holder(clients, compute, integrated)
    assert same == borrowed
    assert all(both[pids] >= size for pids, size in own.items())
    for pid, size in compute.items():
        assert sum(held for pids, held in both.items() if pid in pids) >= size
    assert sum(both.values()) <= sum(own.values()) + sum(compute.values())


# -- health


def test_a_reading_that_is_refused_is_none_alone(tmp_path):
    device = card(tmp_path, 0, PCI, **{**DISCRETE, "hwmon/hwmon4/temp1_input": 40000})
    (device / "gpu_busy_percent").mkdir()  # cannot be read, as a file of a busy card
    (health,) = read(tmp_path).health.values()
    assert health == Health(memory_utilization=0.03, temperature=40.0)


def test_a_driver_that_answers_nonsense_is_not_believed(tmp_path):
    nonsense = {"mem_busy_percent": 101, "current_link_speed": "Unknown", "current_link_width": 0}
    card(tmp_path, 0, PCI, **{**DISCRETE, **nonsense, "ras/umc_err_count": "?"})
    assert list(read(tmp_path).health.values()) == [Health()]


def test_an_instinct_counts_errors_and_has_no_edge(tmp_path):
    sensors = {
        "hwmon/hwmon4/temp2_input": 51000,
        "hwmon/hwmon4/temp2_label": "junction",
        "hwmon/hwmon4/temp3_input": 44000,
        "hwmon/hwmon4/temp3_label": "mem",
        "ras/umc_err_count": "ue: 1\nce: 23",
        "current_link_speed": "32.0 GT/s PCIe",
        "current_link_width": 16,
    }
    card(tmp_path, 0, PCI, **{**DISCRETE, **sensors})
    (health,) = read(tmp_path).health.values()
    assert (health.temperature, health.memory_temperature) == (51.0, 44.0)
    assert (health.ecc_uncorrected, health.ecc_corrected) == (1, 23)
    assert (health.pcie_generation, health.pcie_width) == (5, 16)


def test_what_is_listed_is_in_the_memory_that_is_told_beside_it(tmp_path, monkeypatch):
    """A load goes on while we read: bytes that somebody is said to hold are not free as well."""
    path = card(tmp_path, 0, PCI, **DISCRETE)
    client(tmp_path, 7, 3, PCI, 1, drm_resident_vram="100 MiB")
    lists = drm.clients

    def slow(*args, **words):
        found = [*lists(*args, **words)]
        write(path, "mem_info_vram_used", gib(9))
        return found

    monkeypatch.setattr(drm, "clients", slow)
    assert read(tmp_path).pools[0].used == gib(9)
