"""How an Intel GPU feels: files of xe and i915 in sysfs, each of which may be missing alone.

The two drivers tell the same with other names. The link that a card shows is not told: an Arc
sits behind a switch of its own, and says 2.5 GT/s and one lane whatever the slot gives.
"""

from __future__ import annotations

import os
from pathlib import Path

from . import drm
from .reading import Health

# Below the device for xe, below the card for i915: the clock that runs, or the one asked for.
_CLOCKS = ("tile0/gt0/freq0/act_freq", "tile0/gt0/freq0/cur_freq")
_OLDER_CLOCKS = ("gt_act_freq_mhz", "gt_cur_freq_mhz")


def read(device: Path) -> Health:
    """The health of the GPU whose folder this is. It must be awake: these files wake it."""
    card, sensors = device.parent, _sensors(device)
    heat = _temperatures(sensors)
    clocks = (*(device / name for name in _CLOCKS), *(card / name for name in _OLDER_CLOCKS))
    return Health(
        temperature=heat.get("pkg"),
        memory_temperature=heat.get("vram"),
        # The first is of the card, the second of the chip alone; older cards have only that.
        power_limit=_first(sensors, ("power1_max", "power2_max"), 1e-6),  # microwatts; 0: none
        energy=_first(sensors, ("energy1_input", "energy2_input"), 1e-6),  # microjoules
        clock=next((c * 1e6 for c in map(drm.number, clocks) if c is not None and c >= 0), None),
        throttled=_throttled(device, card),
    )


def _sensors(device: Path) -> Path:
    folder = device / "hwmon"
    try:
        names = [name for name in os.listdir(folder) if name.startswith("hwmon")]
    except OSError:
        names = []
    return folder / min(names, default="hwmon")


def _temperatures(sensors: Path) -> dict[str, float]:
    """Degrees Celsius by place: "pkg", "vram". xe has both, and leaves out the first number."""
    found = {}
    for n, place in ((1, "pkg"), (2, "pkg"), (3, "vram")):
        millis = drm.number(sensors / f"temp{n}_input")
        if millis is not None:
            found[drm.attribute(sensors / f"temp{n}_label") or place] = millis / 1000
    return found


def _first(sensors: Path, names: tuple[str, ...], factor: float) -> float | None:
    numbers = (drm.number(sensors / name) for name in names)
    return next((n * factor for n in numbers if n is not None and n > 0), None)


def _throttled(device: Path, card: Path) -> tuple[str, ...] | None:
    """Why it is slower than it could be: "pl1", "thermal" ... None where nobody says."""
    for folder, prefix, status in (
        (device / "tile0/gt0/freq0/throttle", "reason_", "status"),
        (card / "gt/gt0", "throttle_reason_", "throttle_reason_status"),
    ):
        limited = drm.number(folder / status)
        if limited is None:
            continue
        try:
            names = sorted(os.listdir(folder)) if limited else []
        except OSError:
            names = []
        reasons = [name for name in names if name.startswith(prefix) and name != status]
        return tuple(n.removeprefix(prefix) for n in reasons if drm.number(folder / n) == 1)
    return None
