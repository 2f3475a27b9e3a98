"""A collector that closes, the files that tell of its GPUs' power, and a way to let time pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from collectors.reading import (
    Device,
    Health,
    MemoryPool,
    PoolId,
    PoolKind,
    Sample,
    Seconds,
    Tier,
    gib,
    mib,
)
from collectors.rest import REST_AFTER, Resting

if TYPE_CHECKING:
    from tests.collectors.conftest import Clock

PCI = ("0000:01:00.0", "0000:02:00.0")
STEP = 10.0


class Driver:
    """A collector that closes, with GPUs that a test changes by hand."""

    name = "gpus"
    deadline = Seconds(2.0)

    def __init__(self, gpus: int = 1) -> None:
        self.asked = self.closed = 0
        self.fault: Exception | None = None
        self.sample = Sample(
            pools=tuple(pool(i) for i in range(gpus)),
            devices=tuple(device(i) for i in range(gpus)),
            holders=(),
            health={f"GPU-{i}": Health(power=20.0) for i in range(gpus)},
        )

    def read(self, tiers: Tier) -> Sample:
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        holders = self.sample.holders if Tier.PROCESSES in tiers else None
        return replace(
            self.sample,
            holders=holders,
            health=self.sample.health if Tier.HEALTH in tiers else None,
        )

    def close(self) -> None:
        self.closed += 1


def pool(index: int, free: int = 24) -> MemoryPool:
    return MemoryPool(PoolId(f"GPU-{index}"), PoolKind.DEDICATED, gib(24), gib(free), mib(400))


def device(index: int) -> Device:
    uuid = f"GPU-{index}"
    return Device(uuid, PoolId(uuid), "RTX", index, "nvidia", "580.82.07", PCI[index])


class Sysfs:
    """The files that tell of the power of PCI devices."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def power(self, index: int = 0, status: str = "active", control: str = "auto") -> None:
        folder = self.root / "sys/bus/pci/devices" / PCI[index] / "power"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "runtime_status").write_text(f"{status}\n")
        (folder / "control").write_text(f"{control}\n")

    def driver_says(self, status: str, index: int = 0) -> None:
        folder = self.root / "proc/driver/nvidia/gpus" / PCI[index]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "power").write_text(
            f"Runtime D3 status:          {status}\nVideo Memory:               Active\n"
        )


def idle(resting: Resting, clock: Clock, seconds: float = REST_AFTER) -> Sample:
    """Read every ten seconds for so long; the last sample."""
    sample = resting.read(Tier.ALL)
    for _ in range(int(seconds / STEP)):
        clock.now += STEP
        sample = resting.read(Tier.ALL)
    return sample


def put_to_sleep(resting: Resting, sysfs: Sysfs, clock: Clock) -> None:
    idle(resting, clock)
    assert resting.closed
    sysfs.power(status="suspended")
    clock.now += STEP
    assert resting.read(Tier.MEMORY).devices[0].asleep
