"""Which accelerators a child is shown."""

import pytest

from supervisor.children.visible import is_bound, visible

NVIDIA = "GPU-8f2a1c3d-1111-2222-3333-444455556666"
OTHER = "GPU-00000000-1111-2222-3333-444455556666"
MIG = "MIG-8f2a1c3d-1111-2222-3333-444455556666"
AMD = "GPU-0123456789abcdef"


@pytest.fixture
def machine(tmp_path):
    """Two Intel GPUs and one of AMD's without a unique id."""

    def card(number, address, vendor):
        device = tmp_path / "sys/devices" / address
        device.mkdir(parents=True)
        (device / "vendor").write_text(f"{vendor}\n")
        (tmp_path / "sys/class/drm" / f"card{number}").mkdir(parents=True)
        (tmp_path / f"sys/class/drm/card{number}/device").symlink_to(device)
        (tmp_path / f"sys/class/drm/card{number}-DP-1").mkdir()
        pci = tmp_path / "sys/bus/pci/devices"
        pci.mkdir(parents=True, exist_ok=True)
        (pci / address).symlink_to(device)
        return device

    card(0, "0000:03:00.0", "0x8086")
    card(1, "0000:00:02.0", "0x8086")
    card(2, "0000:0b:00.0", "0x1002")
    return tmp_path


def test_nvidia_s_are_named_by_uuid_and_counted_as_everybody_counts_them():
    assert visible([NVIDIA, OTHER], ()) == {
        "CUDA_VISIBLE_DEVICES": f"{NVIDIA},{OTHER}",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
    assert visible([MIG], ())["CUDA_VISIBLE_DEVICES"] == MIG


def test_amd_s_are_named_by_uuid():
    assert visible([AMD], ()) == {"ROCR_VISIBLE_DEVICES": AMD}


def test_intel_s_are_counted_in_the_order_of_pci(machine):
    order = {"ZE_ENABLE_PCI_ID_DEVICE_ORDER": "1"}
    assert visible(["pci-0000:03:00.0"], (), machine) == {"ZE_AFFINITY_MASK": "1", **order}
    both = ["pci-0000:03:00.0", "pci-0000:00:02.0"]
    assert visible(both, (), machine) == {"ZE_AFFINITY_MASK": "1,0", **order}


def test_what_cannot_be_named_is_not_hidden(machine):
    assert visible(["pci-0000:0b:00.0"], (), machine) == {}
    assert visible(["pci-0000:0b:00.0", AMD], (), machine) == {}
    assert visible(["pci-0000:77:00.0"], (), machine) == {}
    (machine / "sys/devices/0000:03:00.0/tile1").mkdir()
    assert visible(["pci-0000:03:00.0"], (), machine) == {}


def test_each_vendor_s_are_told_apart(machine):
    assert visible([NVIDIA, AMD, "pci-0000:00:02.0"], (), machine).keys() == {
        "CUDA_VISIBLE_DEVICES",
        "CUDA_DEVICE_ORDER",
        "ROCR_VISIBLE_DEVICES",
        "ZE_AFFINITY_MASK",
        "ZE_ENABLE_PCI_ID_DEVICE_ORDER",
    }


def test_a_plan_that_names_none_hides_none():
    assert visible([], ()) == {}
    assert visible(["apple-gpu"], ()) == {}


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ({"CUDA_VISIBLE_DEVICES"}, {"ROCR_VISIBLE_DEVICES"}),
        ({"HIP_VISIBLE_DEVICES"}, {"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"}),
        ({"CUDA_DEVICE_ORDER"}, {"CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"}),
    ],
)
def test_nothing_is_put_over_what_the_operator_said(said, left):
    assert visible([NVIDIA, AMD], said).keys() == left


@pytest.mark.parametrize(
    ("said", "command", "bound"),
    [
        ((), ("llama-server", "-m", "x.gguf", "--port", "8080"), False),
        ((), ("llama-server", "--device", "CUDA1"), True),
        ((), ("llama-server", "--main-gpu=1"), True),
        ((), ("llama-server", "-ts", "3,1"), True),
        (("CUDA_VISIBLE_DEVICES",), ("vllm", "serve"), True),
        (("HIP_VISIBLE_DEVICES", "PATH"), (), True),
        (("PATH",), ("--devices-of-mine",), False),
    ],
)
def test_who_was_told_by_somebody_else_where_to_run_is_bound_there(said, command, bound):
    assert is_bound(said, command) is bound
