"""What AMD's cards are called, by PCI device and revision, and which of them live in RAM."""

from __future__ import annotations

from pathlib import Path

# Mesa's list, on most machines with a desktop: "744C,<tab>C8,<tab>AMD Radeon RX 7900 XTX".
IDS = "usr/share/libdrm/amdgpu.ids"

# For machines without it: revision None is any that is not named.
NAMES: dict[tuple[int, int | None], str] = {
    (0x66AF, None): "AMD Radeon VII",
    (0x687F, None): "AMD Radeon RX Vega",
    (0x738C, None): "AMD Instinct MI100",
    (0x73BF, 0xC0): "AMD Radeon RX 6900 XT",
    (0x73BF, 0xC1): "AMD Radeon RX 6800 XT",
    (0x73BF, 0xC3): "AMD Radeon RX 6800",
    (0x73BF, None): "AMD Radeon RX 6800/6900",
    (0x73DF, None): "AMD Radeon RX 6700",
    (0x73FF, None): "AMD Radeon RX 6600",
    (0x7408, None): "AMD Instinct MI250X",
    (0x740C, None): "AMD Instinct MI250",
    (0x740F, None): "AMD Instinct MI210",
    (0x7448, None): "AMD Radeon PRO W7900",
    (0x744C, 0xC8): "AMD Radeon RX 7900 XTX",
    (0x744C, 0xCC): "AMD Radeon RX 7900 XT",
    (0x744C, 0xCE): "AMD Radeon RX 7900 GRE",
    (0x744C, None): "AMD Radeon RX 7900",
    (0x747E, None): "AMD Radeon RX 7700/7800",
    (0x7480, None): "AMD Radeon RX 7600",
    (0x74A0, None): "AMD Instinct MI300A",
    (0x74A1, None): "AMD Instinct MI300X",
    (0x74A5, None): "AMD Instinct MI325X",
    (0x7550, None): "AMD Radeon RX 9070",
    (0x7590, None): "AMD Radeon RX 9060",
    (0x1114, None): "AMD Radeon 860M (Krackan Point)",
    (0x13C0, None): "AMD Radeon (Granite Ridge)",
    (0x150E, None): "AMD Radeon 890M (Strix Point)",
    (0x1586, None): "AMD Radeon 8060S (Strix Halo)",
    (0x15BF, None): "AMD Radeon 780M (Phoenix)",
    (0x15DD, None): "AMD Radeon Vega (Raven Ridge)",
    (0x1636, None): "AMD Radeon Vega (Renoir)",
    (0x1638, None): "AMD Radeon Vega (Cezanne)",
    (0x163F, None): "AMD Custom GPU (Van Gogh)",
    (0x164E, None): "AMD Radeon (Raphael)",
    (0x1681, None): "AMD Radeon 680M (Rembrandt)",
    (0x1900, None): "AMD Radeon 780M (Hawk Point)",
}

# Discrete parts have ids of other ranges.
INTEGRATED = frozenset(device for device, _ in NAMES if device < 0x2000)


def name_of(device: int, revision: int | None, root: Path) -> str:
    """The best name there is: of the very revision, of the part, else its number."""
    return (
        (None if revision is None else _listed(device, revision, root))
        or NAMES.get((device, revision))
        or NAMES.get((device, None))
        or f"AMD GPU 0x{device:04x}"
    )


def _listed(device: int, revision: int, root: Path) -> str | None:
    try:
        text = (root / IDS).read_text(errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",", 2)]
        if len(parts) == 3 and parts[:2] == [f"{device:04X}", f"{revision:02X}"]:
            return parts[2] or None
    return None
