"""Device memory as the control groups count it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors import dmem

from .drm_tree import write

CAPTURES = Path(__file__).parent.parent / "captures"
PCI = "0000:03:00.0"


def test_a_line_names_device_region_and_bytes():
    text = f"drm/{PCI}/vram0 8514437120\ndrm/{PCI}/stolen 67108864\n"
    assert dmem.parse(text) == {(PCI, "vram0"): 8514437120, (PCI, "stolen"): 67108864}


@pytest.mark.parametrize(
    "line", ["", "max", f"drm/{PCI}/vram max", f"drm/{PCI} 5", f"drm/{PCI}/vram -5", "npu/x/y 5"]
)
def test_any_other_line_is_passed_over(line):
    assert dmem.parse(f"{line}\ndrm/{PCI}/vram 7\n") == {(PCI, "vram"): 7}


@given(st.text(max_size=200))
def test_no_text_breaks_the_reading(text):
    assert all(size >= 0 and pci and region for (pci, region), size in dmem.parse(text).items())


@given(st.lists(st.integers(0, 2**40), max_size=4))
def test_what_is_written_is_what_is_read(sizes):
    text = "".join(f"drm/{PCI}/vram{i} {size}\n" for i, size in enumerate(sizes))
    assert dmem.parse(text) == {(PCI, f"vram{i}"): size for i, size in enumerate(sizes)}


@pytest.mark.parametrize("mount", dmem.MOUNTS)
def test_the_top_level_groups_are_summed_and_no_group_below_them(tmp_path, mount):
    write(tmp_path, f"{mount}/dmem.capacity", f"drm/{PCI}/vram 1000\n")
    write(tmp_path, f"{mount}/user.slice/dmem.current", f"drm/{PCI}/vram 300\n")
    write(tmp_path, f"{mount}/user.slice/app/dmem.current", f"drm/{PCI}/vram 300\n")
    write(tmp_path, f"{mount}/system.slice/dmem.current", f"drm/{PCI}/vram 40\n")
    write(tmp_path, f"{mount}/init.scope/cgroup.procs", "1\n")
    assert dmem.capacity(tmp_path) == {(PCI, "vram"): 1000}
    assert dmem.current(tmp_path) == {(PCI, "vram"): 340}
    assert dmem.of_group(tmp_path, "/user.slice/app") == {(PCI, "vram"): 300}
    assert dmem.of_group(tmp_path, "/user.slice/gone") == {}


def test_a_kernel_that_does_not_count_says_nothing(tmp_path):
    write(tmp_path, "sys/fs/cgroup/user.slice/dmem.current", f"drm/{PCI}/vram 300\n")
    assert dmem.capacity(tmp_path) == dmem.current(tmp_path) == dmem.of_group(tmp_path, "/") == {}


def test_groups_for_which_it_is_switched_off_are_not_zero(tmp_path):
    write(tmp_path, "sys/fs/cgroup/dmem.capacity", f"drm/{PCI}/vram 1000\n")
    (tmp_path / "sys/fs/cgroup/user.slice").mkdir()
    assert dmem.current(tmp_path) == {}


def test_a_desktops_groups_count_what_its_clients_hold():
    root = CAPTURES / "rx-7900-xtx"
    assert dmem.capacity(root) == {(PCI, "vram"): 25753026560}
    assert dmem.current(root) == {(PCI, "vram"): 21557465088}
    assert dmem.of_group(root, "/system.slice") == {(PCI, "vram"): 212926464 + 5469372416}
