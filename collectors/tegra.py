"""Jetson boards: a GPU that lives in RAM, of which files tell what its driver does not.

Up to Orin the driver (nvgpu) has no NVML, or one that lists the GPU and knows little of it; Thor
has a whole one. So NVML is asked first, and the kernel's files fill in what it lacks. None of
them powers the GPU up: its load is 0 while it is off.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from . import drm
from .reading import (
    NONE,
    RAM,
    Bytes,
    Carveout,
    Device,
    Health,
    Holder,
    Sample,
    Seconds,
    Tier,
)

HERE = Path("/")
RELEASE, MODEL = "etc/nv_tegra_release", "proc/device-tree/model"
DEVICES, ZONES = "sys/class/devfreq", "sys/class/thermal"
# What processes took through nvmap, the allocator below CUDA. Only root may look.
CLIENTS = "sys/kernel/debug/nvmap/iovmm/clients"
# What of a board is read here, for a copy of it.
FILES = (
    RELEASE,
    MODEL,
    f"{DEVICES}/*/cur_freq",
    f"{DEVICES}/*/device/load",
    f"{DEVICES}/*/device/of_node/name",
    f"{ZONES}/thermal_zone[0-9]*/type",
    f"{ZONES}/thermal_zone[0-9]*/temp",
    CLIENTS,
)

NAMES = ("gpu", "gp10b", "gv11b", "ga10b", "gb10b")  # in the device tree, by generation
# Users' allocations, and the line that sums them with each buffer once. A name may have blanks.
_CLIENT = re.compile(r"^user +(\S.*?) +([0-9]{1,9}) +([0-9]{1,15})K *$", re.MULTILINE)
_TOTAL = re.compile(r"^total +([0-9]{1,15})K *$", re.MULTILINE)
_VERSION = re.compile(r"R([0-9]{1,4}) .*?REVISION: ([0-9.]{1,9})")


class Reader(Protocol):
    """As NvidiaCollector."""

    deadline: Seconds

    def read(self, tiers: Tier) -> Sample: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Gpu:
    """`path` is its folder among the devices whose clock follows their load."""

    path: Path
    name: str
    driver: str | None

    @property
    def uuid(self) -> str:
        return f"tegra-{self.path.name}"  # by its place on the chip


def present(root: Path) -> bool:
    """Is this a Jetson? In a container only the device tree may be there to say so."""
    return (root / RELEASE).exists() or "Jetson" in _text(root / MODEL)


def find(root: Path) -> Gpu | None:
    """The GPU on the chip."""
    try:
        names = sorted(os.listdir(root / DEVICES))
    except OSError:
        return None
    for name in names:
        path = root / DEVICES / name
        if _text(path / "device/of_node/name") in NAMES:
            return Gpu(path, _text(root / MODEL) or "NVIDIA Tegra GPU", _driver(root))
    return None


class TegraCollector:
    """Reads as `inner` does, which asks NVML, and adds what files tell below `root`. Without
    `inner` the files alone do."""

    name = "nvidia"

    def __init__(self, root: Path = HERE, inner: Reader | None = None) -> None:
        self._root, self._inner = root, inner
        self.deadline = Seconds(1.0) if inner is None else inner.deadline

    def read(self, tiers: Tier) -> Sample:
        """Raises CollectorError where NVML was there and does not answer."""
        told = Sample() if self._inner is None else self._inner.read(tiers)
        gpu = find(self._root)
        if gpu is None:
            return told
        own = next((d for d in told.devices if d.pool == RAM), None)
        if own is None:
            own = Device(
                gpu.uuid, RAM, gpu.name, len(told.devices), vendor="nvidia", driver=gpu.driver
            )
            notes = told.notes if told.devices else ()  # that NVML is not here is no news
            told = replace(told, devices=(*told.devices, own), notes=notes)
        listed = Tier.PROCESSES in tiers
        holders, used = parse_clients(_text(self._root / CLIENTS)) if listed else ((), None)
        told = replace(told, carveouts=(Carveout(own.uuid, NONE, NONE, used=used),))
        if used is not None and not any(h.pool == RAM for h in told.holders or ()):
            unlisted = tuple(pool for pool in told.unlisted if pool != RAM)
            told = replace(told, holders=(*(told.holders or ()), *holders), unlisted=unlisted)
        if Tier.HEALTH in tiers:
            health = dict(told.health or {})
            health[own.uuid] = _filled(health.get(own.uuid, Health()), _health(gpu, self._root))
            told = replace(told, health=health)
        return told

    def close(self) -> None:
        """Let go of the driver. The next read opens it anew."""
        if self._inner is not None:
            self._inner.close()

    @property
    def pid(self) -> int | None:
        """Of the process that has the driver open, where it is another one."""
        return getattr(self._inner, "pid", None)


def parse_clients(text: str) -> tuple[tuple[Holder, ...], Bytes | None]:
    """Who took how much of RAM, and how much all took together; None where that is not told."""
    sizes: dict[tuple[int, str], int] = {}
    for name, pid, kib in _CLIENT.findall(text):
        key = int(pid), name
        sizes[key] = sizes.get(key, 0) + int(kib) * 1024
    total = _TOTAL.search(text)
    holders = (Holder(pid, RAM, Bytes(size), name) for (pid, name), size in sorted(sizes.items()))
    return tuple(h for h in holders if h.size), Bytes(int(total[1]) * 1024) if total else None


def _health(gpu: Gpu, root: Path) -> Health:
    load = drm.number(gpu.path / "device/load")  # of a thousand
    clock = drm.number(gpu.path / "cur_freq")
    return Health(
        utilization=load / 1000 if load is not None and 0 <= load <= 1000 else None,
        temperature=_temperature(root),
        clock=float(clock) if clock is not None and clock > 0 else None,
    )


def _filled(told: Health, other: Health) -> Health:
    """What NVML does not tell."""
    return replace(
        told,
        utilization=other.utilization if told.utilization is None else told.utilization,
        temperature=other.temperature if told.temperature is None else told.temperature,
        clock=other.clock if told.clock is None else told.clock,
    )


def _temperature(root: Path) -> float | None:
    """Degrees Celsius. The sensor is refused while the GPU is off."""
    for zone in sorted(_zones(root)):
        if _text(zone / "type").lower().startswith("gpu"):  # gpu-thermal, GPU-therm
            millis = drm.number(zone / "temp")
            return None if millis is None else millis / 1000
    return None


def _zones(root: Path) -> Iterable[Path]:
    try:
        names = os.listdir(root / ZONES)
    except OSError:
        return ()
    return (root / ZONES / name for name in names if name.startswith("thermal_zone"))


def _driver(root: Path) -> str | None:
    """As "L4T 36.4.3", from "# R36 (release), REVISION: 4.3, ..."."""
    found = _VERSION.search(_text(root / RELEASE))
    return f"L4T {found[1]}.{found[2]}" if found else None


def _text(path: Path) -> str:
    """ "" where it cannot be read. Texts of the device tree end with a zero byte."""
    return (drm.attribute(path) or "").rstrip("\0").strip()
