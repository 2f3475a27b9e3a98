"""AMD's compute driver: its topology, and what its processes asked for."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from collectors import amd, kfd
from collectors.amd import AmdCollector
from collectors.reading import RAM, Tier, gib

from .drm_tree import DISCRETE, card, topology, write

CAPTURES = Path(__file__).parent.parent / "captures"
PROC = "sys/class/kfd/kfd/proc"


def test_gpus_are_told_from_cpus_and_named_as_their_devices():
    assert kfd.nodes(CAPTURES / "rx-7900-xtx") == [kfd.Node(25978, "renderD128", 0)]


def test_without_the_driver_there_is_nothing(tmp_path):
    assert kfd.nodes(tmp_path) == []
    assert kfd.held(tmp_path, 111) == {}


def test_a_node_that_may_not_be_read_is_none(tmp_path):
    write(tmp_path, "sys/class/kfd/kfd/topology/nodes/1/gpu_id", "")  # so in a container
    assert kfd.nodes(tmp_path) == []


def test_what_processes_asked_for_on_one_gpu(tmp_path):
    write(tmp_path, f"{PROC}/70/vram_111", f"{gib(2)}\n")
    write(tmp_path, f"{PROC}/70/vram_222", f"{gib(3)}\n")
    write(tmp_path, f"{PROC}/9/vram_111", "0\n")
    write(tmp_path, f"{PROC}/10/vram_111", "-1\n")
    write(tmp_path, f"{PROC}/11/pasid", "0\n")
    assert kfd.held(tmp_path, 111) == {9: 0, 70: gib(2)}


def test_a_part_that_shares_its_node_with_the_cpu_says_nothing_of_another_card(tmp_path):
    card(tmp_path, 0, "0000:03:00.0", **DISCRETE)
    topology(tmp_path, cores=16, render=129)
    (device,) = AmdCollector(tmp_path).read(Tier.MEMORY).devices
    assert device.pool != RAM


def test_the_driver_is_never_asked_for_what_makes_it_schedule_work():
    for module in (kfd, amd):
        assert "sdma_" not in Path(str(module.__file__)).read_text()


@given(st.text(max_size=120))
def test_no_properties_break_the_reading(tmp_path_factory, text):
    root = tmp_path_factory.getbasetemp() / "kfd"
    write(root, "sys/class/kfd/kfd/topology/nodes/1/gpu_id", "5")
    file = write(root, "sys/class/kfd/kfd/topology/nodes/1/properties")
    file.write_bytes(text.encode(errors="replace"))
    (node,) = kfd.nodes(root)
    assert node.gpu == 5
    assert node.cores >= 0
