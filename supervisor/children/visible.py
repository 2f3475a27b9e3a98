"""Shows a child the accelerators that its load was planned for, and no others.

NVIDIA's and AMD's are named by their UUIDs, as their runtimes take them. Intel's runtime knows
numbers alone: the place among the machine's Intel GPUs in the order of PCI, which it is told to
keep. What cannot be named is not hidden: an AMD GPU without a unique id, an Intel one of several
tiles. Vulkan has no variable that takes a UUID.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

_NVIDIA = re.compile(r"GPU-[0-9a-f]{8}-[0-9a-f-]+|MIG-.+", re.IGNORECASE)
_AMD = re.compile(r"GPU-[0-9a-f]{16}", re.IGNORECASE)
_PCI = re.compile(r"pci-([0-9a-f:.]+)")
_INTEL = "0x8086"

# What an operator may have said himself, by vendor: then nothing is added to it.
_OWN_WORDS = {
    "nvidia": ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
    "amd": ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"),
    "intel": ("ZE_AFFINITY_MASK", "ONEAPI_DEVICE_SELECTOR"),
}

# And in a command, of llama.cpp, vLLM, SGLang and others.
_OPTIONS = frozenset(
    ("--device", "-dev", "--main-gpu", "-mg", "--tensor-split", "-ts", "--gpu-id", "--base-gpu-id",
     "--device-id", "--device-ids", "--gpus")
)  # fmt: skip


def visible(
    devices: Sequence[str], said: Collection[str], root: Path = Path("/")
) -> dict[str, str]:
    """Environment variables for a child that is to see `devices`, by their UUIDs; `said` are
    the variables that have been set by somebody. No devices: nothing is known, nothing hidden."""
    found: dict[str, str] = {}
    by_vendor = _by_vendor(devices, root)
    if names := by_vendor.get("nvidia"):
        found |= _unless(said, "nvidia", {"CUDA_VISIBLE_DEVICES": ",".join(names)})
        if found:  # so that numbers mean the same to it as to everybody else
            found |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if "CUDA_DEVICE_ORDER" not in said else {}
    if (names := by_vendor.get("amd")) and all(map(_AMD.fullmatch, names)):
        found |= _unless(said, "amd", {"ROCR_VISIBLE_DEVICES": ",".join(names)})
    if names := by_vendor.get("intel"):
        numbers = _numbers(names, root)
        if numbers is not None:
            wanted = {
                "ZE_AFFINITY_MASK": ",".join(map(str, numbers)),
                "ZE_ENABLE_PCI_ID_DEVICE_ORDER": "1",
            }
            found |= _unless(said, "intel", wanted)
    return found


def is_bound(said: Collection[str], command: Sequence[str]) -> bool:
    """Has somebody said by himself which accelerators a child is to use: in a variable, or in its
    command?"""
    if any(name in said for names in _OWN_WORDS.values() for name in names):
        return True
    options = (word.partition("=")[0] for word in command)
    return any(option in _OPTIONS for option in options)


def _unless(said: Collection[str], vendor: str, wanted: Mapping[str, str]) -> Mapping[str, str]:
    return {} if any(name in said for name in _OWN_WORDS[vendor]) else wanted


def _by_vendor(devices: Sequence[str], root: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for uuid in devices:
        if _AMD.fullmatch(uuid):
            vendor = "amd"
        elif _NVIDIA.fullmatch(uuid):
            vendor = "nvidia"
        elif at := _PCI.fullmatch(uuid):
            vendor = "intel" if _vendor(root, at[1]) == _INTEL else "amd"
        else:
            continue
        found.setdefault(vendor, []).append(uuid)
    return found


def _numbers(names: Sequence[str], root: Path) -> list[int] | None:
    """The places of Intel GPUs in the order of PCI. None where they cannot be told."""
    cards = set()
    for card in (root / "sys/class/drm").glob("card[0-9]*"):
        device = (card / "device").resolve()
        if card.name.removeprefix("card").isdecimal() and _vendor(root, device.name) == _INTEL:
            if (device / "tile1").exists():
                return None
            cards.add(device.name)
    order = sorted(cards)
    wanted = [name.removeprefix("pci-") for name in names]
    return [order.index(name) for name in wanted] if cards.issuperset(wanted) else None


def _vendor(root: Path, address: str) -> str | None:
    try:
        return (root / "sys/bus/pci/devices" / address / "vendor").read_text().strip()
    except OSError:
        return None
