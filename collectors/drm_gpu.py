"""A GPU that Linux's DRM subsystem lists, and what one read finds of all of one vendor's."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .reading import RAM, Blind, Carveout, Device, Health, MemoryPool, PoolId


@dataclass(frozen=True, slots=True)
class Gpu:
    """What does not change while a GPU is there. `pool` is RAM if it has no memory of its own."""

    index: int
    uuid: str
    name: str
    pci: str
    pool: PoolId
    maker: str  # for people: "AMD"
    driver: str | None = None

    def device(self, asleep: bool) -> Device:
        return Device(
            uuid=self.uuid,
            pool=self.pool,
            name=self.name,
            index=self.index,
            vendor=self.maker.lower(),
            driver=self.driver,
            pci=self.pci,
            asleep=asleep,
        )


@dataclass(slots=True)
class Found:
    """What one read finds, on its way to a Sample."""

    pools: list[MemoryPool] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    carveouts: list[Carveout] = field(default_factory=list)
    health: dict[str, Health] = field(default_factory=dict)
    blind: list[Blind] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def cannot_read(self, gpu: Gpu, why: str) -> None:
        """Its pool is blind; where that is RAM, RAM itself can be read."""
        if gpu.pool == RAM:
            self.notes.append(f"{gpu.maker} GPU {gpu.index}: {why}")
        else:
            self.blind.append(Blind(gpu.pool, why))

    def is_gone(self, gpu: Gpu, why: str) -> None:
        """It was there before."""
        self.devices.append(replace(gpu, driver=None).device(asleep=False))
        self.cannot_read(gpu, why)
