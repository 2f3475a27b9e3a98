"""How an AMD card feels: amdgpu's files in sysfs, each of which may be missing or busy alone."""

from __future__ import annotations

import os
import re
from pathlib import Path

from . import drm
from .reading import Health

# Gigatransfers a second of a PCIe lane, by generation.
_GENERATIONS = {"2.5": 1, "5.0": 2, "8.0": 3, "16.0": 4, "32.0": 5, "64.0": 6}
_COUNT = re.compile(r"^(ue|ce): ([0-9]{1,18})$", re.MULTILINE)


def read(device: Path) -> Health:
    """The health of the card whose folder this is. It must be awake: some files would wake it."""
    sensors = _sensors(device)
    heat = _temperatures(sensors)
    power = _scaled(f"{sensors}/power1_average", 1e6)  # microwatts
    if power is None:  # newer parts tell what it is now, older ones a mean
        power = _scaled(f"{sensors}/power1_input", 1e6)
    errors = dict(_COUNT.findall(drm.attribute(device / "ras/umc_err_count") or ""))
    speed = (drm.attribute(device / "current_link_speed") or "").partition(" ")[0]
    return Health(
        utilization=_percent(device / "gpu_busy_percent"),
        memory_utilization=_percent(device / "mem_busy_percent"),
        temperature=heat.get("edge", heat.get("junction")),  # an Instinct has no edge
        memory_temperature=heat.get("mem"),
        power=power,
        power_limit=_scaled(f"{sensors}/power1_cap", 1e6),
        clock=_scaled(f"{sensors}/freq1_input", 1),
        memory_clock=_scaled(f"{sensors}/freq2_input", 1),
        ecc_corrected=int(errors["ce"]) if "ce" in errors else None,
        ecc_uncorrected=int(errors["ue"]) if "ue" in errors else None,
        pcie_generation=_GENERATIONS.get(speed),
        pcie_width=drm.number(device / "current_link_width") or None,  # 0: no link
    )


def is_integrated(device: Path) -> bool | None:
    """Do its sensors say that it is a part of the CPU? None where they are silent.

    amdgpu shows the voltage of the north bridge for those alone.
    """
    label = drm.attribute(f"{_sensors(device)}/in1_label")
    return None if label is None else label == "vddnb"


def _sensors(device: Path) -> str:
    folder = f"{device}/hwmon"
    try:
        names = [name for name in os.listdir(folder) if name.startswith("hwmon")]
    except OSError:
        names = []
    return f"{folder}/{min(names, default='hwmon')}"


def _temperatures(sensors: str) -> dict[str, float]:
    """Degrees Celsius by place: "edge", "junction", "mem"."""
    found = {}
    for n in (1, 2, 3):
        celsius = _scaled(f"{sensors}/temp{n}_input", 1e3)
        label = drm.attribute(f"{sensors}/temp{n}_label") if celsius is not None else None
        if celsius is not None:
            found[label or ("edge" if n == 1 else "")] = celsius  # the oldest have no labels
    return found


def _percent(path: Path) -> float | None:
    percent = drm.number(path)  # refused while the card is busy changing its state
    return percent / 100 if percent is not None and 0 <= percent <= 100 else None


def _scaled(path: str, divisor: float) -> float | None:
    number = drm.number(path)
    return None if number is None else number / divisor
