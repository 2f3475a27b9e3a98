"""The driver's library as we use it: what to ask, what its answers mean, which errors matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Codes of nvml.h. Errors of the binding compare equal but cannot be hashed, so we keep codes.
UNINITIALIZED, NOT_SUPPORTED, NO_PERMISSION, DRIVER_NOT_LOADED = 1, 3, 4, 9
LIBRARY_NOT_FOUND, FUNCTION_NOT_FOUND, GPU_IS_LOST, VERSIONS_DIFFER = 12, 13, 15, 18
ARGUMENT_VERSION, GPU_NOT_FOUND = 25, 28
# "The state is gone", as against "this one reading is not to be had".
LIFECYCLE = frozenset(
    (UNINITIALIZED, DRIVER_NOT_LOADED, GPU_IS_LOST, VERSIONS_DIFFER, GPU_NOT_FOUND)
)

LISTS = (
    "nvmlDeviceGetComputeRunningProcesses",
    "nvmlDeviceGetGraphicsRunningProcesses",
    "nvmlDeviceGetMPSComputeRunningProcesses",
)


class NvmlError(Exception):
    """The library's refusal. `code` as in nvml.h; the text is one line, for people."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a GPU. `total` is without `reserved`, what the driver keeps for itself."""

    total: int
    free: int
    reserved: int


@dataclass(frozen=True, slots=True)
class Health:
    """As in reading.Device."""

    utilization: float | None = None
    temperature: float | None = None
    power: float | None = None
    energy: float | None = None


class Nvml:
    """The binding (nvidia-ml-py), imported when first needed: 19 ms and 6 MiB.

    Methods raise NvmlError and nothing else, but for the optional readings, which are None.
    """

    def __init__(self) -> None:
        import pynvml  # type: ignore[import-untyped,unused-ignore]

        self._binding: Any = pynvml
        self._memory_v2 = True
        self.driver: str | None = None

    def start(self) -> None:
        """Initialise. Every handle from before is worthless."""
        self._memory_v2 = True
        self._ask(self._binding.nvmlInit)
        self.driver = self._optional(self._binding.nvmlSystemGetDriverVersion)

    def stop(self) -> None:
        """Never at exit: with a call that hangs in another thread it would crash the process."""
        self._optional(self._binding.nvmlShutdown)

    def count(self) -> int:
        return int(self._ask(self._binding.nvmlDeviceGetCount))

    def handle(self, index: int) -> Any:
        return self._ask(self._binding.nvmlDeviceGetHandleByIndex, index)

    def uuid(self, handle: Any) -> str:
        return str(self._ask(self._binding.nvmlDeviceGetUUID, handle))

    def name(self, handle: Any) -> str:
        return str(self._ask(self._binding.nvmlDeviceGetName, handle))

    def pci(self, handle: Any) -> str | None:
        """As in sysfs: 0000:01:00.0. The library's domain has eight digits."""
        info = self._optional(self._binding.nvmlDeviceGetPciInfo, handle)
        return None if info is None else str(info.busId)[4:].lower()

    def is_split(self, handle: Any) -> bool:
        """Is MIG on?"""
        modes = self._optional(self._binding.nvmlDeviceGetMigMode, handle)
        return modes is not None and modes[0] == 1

    def memory(self, handle: Any) -> Memory | None:
        """None: the GPU has no memory of its own, or its driver will not say so.

        `free` is the only number that never changed meaning between versions and drivers;
        `used` did, so `total - used` is never taken for it.
        """
        info, reserved = self._memory_info_v2(handle), 0
        if info is not None:
            reserved = int(info.reserved)
        else:
            try:
                info = self._ask(self._binding.nvmlDeviceGetMemoryInfo, handle)
            except NvmlError as error:
                if error.code != NOT_SUPPORTED:
                    raise
                return None
        total = int(info.total) - reserved
        if total <= 0:
            return None
        return Memory(total, min(int(info.free), total), reserved)  # the driver rounds both

    def health(self, handle: Any) -> Health:
        binding, optional = self._binding, self._optional
        busy = optional(binding.nvmlDeviceGetUtilizationRates, handle)
        heat = optional(binding.nvmlDeviceGetTemperatureV, handle, 0)
        if heat is None:  # an older driver
            heat = optional(binding.nvmlDeviceGetTemperature, handle, 0)
        power = optional(binding.nvmlDeviceGetPowerUsage, handle)
        energy = optional(binding.nvmlDeviceGetTotalEnergyConsumption, handle)
        return Health(
            utilization=None if busy is None else min(1.0, busy.gpu / 100),
            temperature=None if heat is None else float(heat),
            power=None if power is None else power / 1000,
            energy=None if energy is None else energy / 1000,
        )

    def processes(self, handle: Any) -> dict[int, int | None] | None:
        """Bytes by pid; None for a process whose bytes are hidden. None: there is no list.

        The same process may be in several lists, each time with its total: never a sum.
        """
        if garbles_lists(self.driver):
            return None
        lists = [found for name in LISTS if (found := self._list(name, handle)) is not None]
        sizes: dict[int, int | None] = {}
        for entry in (entry for found in lists for entry in found):
            size, known = entry.usedGpuMemory, sizes.get(entry.pid)
            sizes[entry.pid] = size if known is None else max(known, size or 0)
        return sizes if lists else None

    def _list(self, name: str, handle: Any) -> list[Any] | None:
        # The plain names want the library's _v3; a driver that has only _v2 lists the same.
        for function in (name, f"{name}_v2"):
            found: list[Any] | None = self._optional(getattr(self._binding, function), handle)
            if found is not None:
                return found
        return None

    def _memory_info_v2(self, handle: Any) -> Any:
        if not self._memory_v2:
            return None
        ask, version = self._binding.nvmlDeviceGetMemoryInfo, self._binding.nvmlMemory_v2
        try:
            return self._ask(lambda: ask(handle, version=version))
        except NvmlError as error:
            if error.code in (FUNCTION_NOT_FOUND, ARGUMENT_VERSION):
                self._memory_v2 = False  # a driver before R510
            elif error.code != NOT_SUPPORTED:
                raise
            return None

    def _ask(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except self._binding.NVMLError as error:
            raise NvmlError(error.value, _text(error)) from error
        except self._binding.NVMLLibraryMismatchError as error:  # no NVMLError, and means this
            raise NvmlError(FUNCTION_NOT_FOUND, "the driver lacks this function") from error

    def _optional(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """A reading that may be missing alone. None: not to be had from this GPU or driver."""
        try:
            return self._ask(call, *arguments)
        except NvmlError:
            return None


def garbles_lists(driver: str | None) -> bool:
    """Drivers 535.43 to 535.86 answer with another layout under the same function's name."""
    major, _, rest = (driver or "").partition(".")
    minor = rest.partition(".")[0]
    return major == "535" and minor.isdecimal() and 43 <= int(minor) <= 86


def _text(error: Any) -> str:
    if error.value == VERSIONS_DIFFER:
        return "the driver was updated under its library: restart this program, or the machine"
    return f"{error} (NVML error {error.value})"
