"""NVIDIA GPUs as the kernel has them, whatever their driver lists. No file here wakes one.

A GPU that is passed on to a virtual machine belongs to another driver, and in a container some
are hidden: only together with this does it mean something that the driver lists none.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from . import drm

VENDOR = "0x10de"
DISPLAYS = "0x03"  # the PCI class; a card's sound and USB are others
DRIVER = "nvidia"
DEVICES = "sys/bus/pci/devices"

_NODE = re.compile(r"nvidia[0-9]+")  # /dev/nvidia0


def gpus(root: Path) -> dict[str, str | None]:
    """The kernel's driver of each GPU by PCI address; None: it has none."""
    try:
        names = sorted(os.listdir(root / DEVICES))
    except OSError:
        return {}
    return {
        name: driver_of(root, name)
        for name in names
        if drm.attribute(root / DEVICES / name / "vendor") == VENDOR
        and (drm.attribute(root / DEVICES / name / "class") or "").startswith(DISPLAYS)
    }


def driver_of(root: Path, pci: str) -> str | None:
    """The kernel's driver of the device at this address. None: it has none, or is not there."""
    lines = (drm.attribute(root / DEVICES / pci / "uevent") or "").splitlines()
    return next((line[7:] for line in lines if line.startswith("DRIVER=")), None) or None


def given_away(root: Path, pci: str | None) -> str | None:
    """The other driver that has a GPU of ours now: vfio-pci for a virtual machine, mostly."""
    driver = None if pci is None else driver_of(root, pci)
    return None if driver == DRIVER else driver


def all_others(root: Path) -> bool:
    """Does every GPU belong to some other driver, so that NVIDIA's has nothing to tell?"""
    drivers = gpus(root).values()
    return bool(drivers) and not {None, DRIVER} & set(drivers)


def nodes(root: Path) -> int:
    """How many GPUs this program may open, by the files in /dev."""
    try:
        return sum(_NODE.fullmatch(name) is not None for name in os.listdir(root / "dev"))
    except OSError:
        return 0
