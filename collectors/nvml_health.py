"""How an NVIDIA GPU feels, in base units. Each of these readings may be missing alone."""

from __future__ import annotations

from typing import Any

from .nvml import Handle, Nvml
from .reading import Health

# Constants of nvml.h.
CORE_SENSOR = 0
SM_CLOCK, MEMORY_CLOCK = 1, 2
CORRECTED, UNCORRECTED, VOLATILE = 0, 1, 0
MEMORY_TEMPERATURE, RECOVERY_ACTION = 82, 230  # ids of field values

# The other bits say that the clocks are low because nobody wants them higher: the GPU is idle
# (1), or somebody set them so (2: application clocks, 0x100: the display).
THROTTLES = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x10: "sync boost",
    0x20: "thermal (software)",
    0x40: "thermal (hardware)",
    0x80: "power brake",
}

RECOVERY = (
    "none",
    "reset",
    "reboot",
    "drain",
    "drain and reset",
    "recover the IMEX domain",
    "bus reset",
    "reboot the system",
)
# While it asks for one of these, a GPU may answer, and will not work.
REPAIRS = ("reset", "reboot", "drain and reset", "bus reset", "reboot the system")


def read(library: Nvml, handle: Handle) -> Health:
    """Never PCIe throughput: the driver measures that by blocking for 20 ms a direction."""

    def ask(*names: str, arguments: tuple[int, ...] = (), per: float = 1) -> float | None:
        """The first of `names` (the later ones are older) that is answered, divided by `per`."""
        for name in names:
            value: Any = library.optional(handle, name, *arguments)
            if value is not None:
                return float(value / per)
        return None

    def hertz(kind: int) -> float | None:
        mega = ask("nvmlDeviceGetClockInfo", arguments=(kind,))
        return None if mega is None else mega * 1e6

    def count(name: str, *arguments: int) -> int | None:
        value: Any = library.optional(handle, name, *arguments)
        return None if value is None else int(value)

    busy = library.optional(handle, "nvmlDeviceGetUtilizationRates")
    return Health(
        utilization=None if busy is None else min(1.0, busy.gpu / 100),
        memory_utilization=None if busy is None else min(1.0, busy.memory / 100),
        temperature=ask(
            "nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature", arguments=(CORE_SENSOR,)
        ),
        memory_temperature=library.field(handle, MEMORY_TEMPERATURE),
        power=ask("nvmlDeviceGetPowerUsage", per=1000),
        power_limit=ask("nvmlDeviceGetEnforcedPowerLimit", per=1000),
        energy=ask("nvmlDeviceGetTotalEnergyConsumption", per=1000),
        clock=hertz(SM_CLOCK),
        memory_clock=hertz(MEMORY_CLOCK),
        throttled=_throttled(library, handle),
        ecc_corrected=count("nvmlDeviceGetTotalEccErrors", CORRECTED, VOLATILE),
        ecc_uncorrected=count("nvmlDeviceGetTotalEccErrors", UNCORRECTED, VOLATILE),
        pcie_generation=count("nvmlDeviceGetCurrPcieLinkGeneration"),
        pcie_width=count("nvmlDeviceGetCurrPcieLinkWidth"),
        recovery=recovery(library, handle),
    )


def recovery(library: Nvml, handle: Handle) -> str | None:
    """What the driver says must be done to this GPU; None where it does not tell."""
    action = library.field(handle, RECOVERY_ACTION)
    if action is None:
        return None
    return RECOVERY[int(action)] if 0 <= action < len(RECOVERY) else f"action {action:.0f}"


def repair(library: Nvml, handle: Handle) -> str | None:
    """What must be done before this GPU works again. None: nothing, or it does not tell."""
    action = recovery(library, handle)
    return action if action in REPAIRS else None


def _throttled(library: Nvml, handle: Handle) -> tuple[str, ...] | None:
    for name in (
        "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlDeviceGetCurrentClocksThrottleReasons",  # its older name
    ):
        bits = library.optional(handle, name)
        if bits is not None:
            return tuple(word for bit, word in THROTTLES.items() if bits & bit)
    return None
