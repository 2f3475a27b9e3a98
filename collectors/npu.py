"""NPUs that are built into CPUs: Intel's and AMD's. They take all their memory from RAM.

So they have no pool, and nothing that they say changes headroom: what they hold is missing
from MemAvailable already. They tell who holds it. No file that is read here wakes one.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import drm
from .process import name_of
from .reading import (
    NONE,
    RAM,
    Bytes,
    Carveout,
    Device,
    DeviceKind,
    Health,
    Holder,
    Sample,
    Seconds,
    Tier,
)

NO_NPU = "no NPU on this machine"

INTEL, AMD = "intel_vpu", "amdxdna"
VENDORS = {INTEL: "intel", AMD: "amd"}
# PCI device ids. What is not here is named by its id.
NAMES = {
    0x7D1D: "Intel NPU (Meteor Lake)",
    0xAD1D: "Intel NPU (Arrow Lake)",
    0x643E: "Intel NPU (Lunar Lake)",
    0xB03E: "Intel NPU (Panther Lake)",
}
_NODE = re.compile(r"accel([0-9]+)")


@dataclass(frozen=True, slots=True)
class Node:
    """One NPU in sys/class/accel. `path` is its device's folder."""

    index: int
    path: Path
    pci: str
    driver: str

    @property
    def uuid(self) -> str:
        return f"pci-{self.pci}"


def present(root: Path) -> bool:
    """Is there an NPU that this module knows?"""
    return bool(nodes(root))


def nodes(root: Path) -> list[Node]:
    """NPUs by index. Other accelerators, with memory of their own, are no NPUs."""
    folder = root / "sys/class/accel"
    try:
        matches = [match for match in map(_NODE.fullmatch, os.listdir(folder)) if match]
    except OSError:
        return []
    found: list[Node] = []
    for match in sorted(matches, key=lambda match: int(match[1])):
        path = folder / match[0] / "device"
        lines = (drm.attribute(path / "uevent") or "").splitlines()
        event = dict(line.split("=", 1) for line in lines if "=" in line)
        pci, driver = event.get("PCI_SLOT_NAME"), event.get("DRIVER")
        if pci and driver in VENDORS:
            found.append(Node(len(found), path, pci, driver))
    return found


class NpuCollector:
    """`clock` gives monotonic seconds; `root` is where /proc and /sys are looked for."""

    name = "npu"
    deadline = Seconds(1.0)

    def __init__(self, root: Path = Path("/"), clock: Callable[[], float] = time.monotonic) -> None:
        self._root, self._clock = root, clock
        self._busy: dict[str, tuple[float, int]] = {}  # by uuid: when, and the counter then (µs)

    def read(self, tiers: Tier) -> Sample:
        """Never raises: what an NPU does not tell is None."""
        found = nodes(self._root)
        listed = Tier.PROCESSES in tiers
        return Sample(
            devices=tuple(_device(node) for node in found),
            # Only Intel's driver has a total; where nobody has one, nothing is claimed.
            carveouts=tuple(_borrowed(node, listed) for node in found if node.driver == INTEL),
            holders=self._holders(found) if listed else None,
            health={n.uuid: self._health(n) for n in found} if Tier.HEALTH in tiers else None,
            notes=() if found else (NO_NPU,),
        )

    def _holders(self, found: list[Node]) -> tuple[Holder, ...]:
        # AMD's driver maps its pages into the process, whose resident set has them already.
        outside = [node.pci for node in found if node.driver != AMD]
        return tuple(
            Holder(c.pids[0], RAM, size, name_of(c.pids[0], self._root), c.pids[1:])
            for c in (drm.clients(self._root, only=outside) if outside else ())
            if (size := Bytes(sum(c.memory.values())))
        )

    def _health(self, node: Node) -> Health:
        clock = drm.number(node.path / "npu_current_frequency_mhz")
        # 0 is what it says while it has no clock.
        return Health(
            utilization=self._utilization(node), clock=clock * 1e6 if clock and clock > 0 else None
        )

    def _utilization(self, node: Node) -> float | None:
        """The share of time in which it worked since the last call. None the first time."""
        busy, now = drm.number(node.path / "npu_busy_time_us"), self._clock()
        before = self._busy.pop(node.uuid, None)
        if busy is None:
            return None
        self._busy[node.uuid] = now, busy
        if before is None or now <= before[0] or busy < before[1]:  # driver loaded anew
            return None
        return min(1.0, (busy - before[1]) / 1e6 / (now - before[0]))


def _device(node: Node) -> Device:
    vendor = VENDORS[node.driver]
    return Device(
        uuid=node.uuid,
        pool=RAM,
        name=drm.attribute(node.path / "vbnv") or _name(node, vendor),  # AMD's driver has it
        index=node.index,
        vendor=vendor,
        driver=node.driver,
        pci=node.pci,
        kind=DeviceKind.NPU,
        asleep=drm.attribute(node.path / "power/runtime_status") == drm.SUSPENDED,
    )


def _name(node: Node, vendor: str) -> str:
    maker = {"intel": "Intel", "amd": "AMD"}[vendor]
    device = drm.hexadecimal(node.path / "device")
    if device is None:
        return f"{maker} NPU"
    return NAMES.get(device, f"{maker} NPU {device:04x}")


def _borrowed(node: Node, listed: bool) -> Carveout:
    """All that it holds of RAM. The file says `utilization` and means bytes."""
    size = drm.size(drm.attribute(node.path / "npu_memory_utilization") or "") if listed else None
    return Carveout(node.uuid, NONE, NONE, used=size)
