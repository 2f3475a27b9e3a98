"""Intel's Level Zero, the part called Sysman: memory of Intel GPUs where no file tells it.

The library is optional, and its answers are never trusted further than their return codes.
On Linux it asks the kernel, which without CAP_PERFMON says that all memory is free: whoever
calls must hold that right. It wakes every GPU that it is asked about.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection
from ctypes import POINTER, byref, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from typing import Any, NamedTuple

from .reading import Bytes

LIBRARY = "libze_loader.so.1"

# Of zes_api.h: stype of each structure that is filled in, and where a memory lies.
PCI_PROPERTIES, MEMORY_PROPERTIES, MEMORY_STATE = 0x2, 0xB, 0x1E
ON_DEVICE = 1
MOST = 256  # no machine has more drivers, devices or memories: a larger count is nonsense


class Memory(NamedTuple):
    """Bytes of one GPU, all its modules together."""

    total: Bytes
    free: Bytes


class PciProperties(ctypes.Structure):
    """zes_pci_properties_t."""

    _fields_ = (
        ("stype", c_int32),
        ("next", c_void_p),
        ("domain", c_uint32),
        ("bus", c_uint32),
        ("device", c_uint32),
        ("function", c_uint32),
        ("generation", c_int32),
        ("width", c_int32),
        ("bandwidth", c_int64),
        ("flags", ctypes.c_uint8 * 3),
    )


class MemoryProperties(ctypes.Structure):
    """zes_mem_properties_t."""

    _fields_ = (
        ("stype", c_int32),
        ("next", c_void_p),
        ("type", c_int32),
        ("on_subdevice", ctypes.c_uint8),
        ("subdevice", c_uint32),
        ("location", c_int32),
        ("physical", c_uint64),
        ("bus_width", c_int32),
        ("channels", c_int32),
    )


class MemoryState(ctypes.Structure):
    """zes_mem_state_t."""

    _fields_ = (
        ("stype", c_int32),
        ("next", c_void_p),
        ("health", c_int32),
        ("free", c_uint64),
        ("size", c_uint64),
    )


_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "zesInit": (c_uint32,),
    "zesDriverGet": (POINTER(c_uint32), POINTER(c_void_p)),
    "zesDeviceGet": (c_void_p, POINTER(c_uint32), POINTER(c_void_p)),
    "zesDeviceEnumMemoryModules": (c_void_p, POINTER(c_uint32), POINTER(c_void_p)),
    "zesDevicePciGetProperties": (c_void_p, POINTER(PciProperties)),
    "zesMemoryGetProperties": (c_void_p, POINTER(MemoryProperties)),
    "zesMemoryGetState": (c_void_p, POINTER(MemoryState)),
}


class Sysman:
    """The library, initialised. No method raises: what it refuses is left out."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._devices: dict[str, c_void_p] | None = None  # handles stay valid, by PCI address

    @classmethod
    def load(cls, name: str = LIBRARY) -> Sysman | None:
        """None where the library is not there, is too old, or finds no GPU to work with."""
        try:
            library: Any = ctypes.CDLL(name)
            for function, arguments in _FUNCTIONS.items():
                getattr(library, function).argtypes = arguments
                getattr(library, function).restype = c_uint32
        except (OSError, AttributeError):  # not there; or without one of the functions
            return None
        return cls(library) if library.zesInit(0) == 0 else None

    def memory(self, only: Collection[str]) -> dict[str, Memory]:
        """The memory of GPUs with these PCI addresses, as in sysfs. Asks no other GPU's."""
        if self._devices is None or not self._devices.keys() >= set(only):
            self._devices = self._list()
        found = {pci: self._sum(self._devices[pci]) for pci in only if pci in self._devices}
        return {pci: memory for pci, memory in found.items() if memory is not None}

    def _list(self) -> dict[str, c_void_p]:
        devices: dict[str, c_void_p] = {}
        for driver in self._handles("zesDriverGet") or ():
            for device in self._handles("zesDeviceGet", driver) or ():
                known = PciProperties(stype=PCI_PROPERTIES)
                if self._library.zesDevicePciGetProperties(device, byref(known)) == 0:
                    address = f"{known.domain:04x}:{known.bus:02x}:{known.device:02x}"
                    devices.setdefault(f"{address}.{known.function:x}", device)
        return devices

    def _sum(self, device: c_void_p) -> Memory | None:
        """None unless every module on the device can be read: a part would pass for the whole."""
        modules = self._handles("zesDeviceEnumMemoryModules", device)
        total = free = 0
        for module in modules or ():
            known = MemoryProperties(stype=MEMORY_PROPERTIES)
            state = MemoryState(stype=MEMORY_STATE)
            if self._library.zesMemoryGetProperties(module, byref(known)) != 0:
                return None
            if known.location != ON_DEVICE:
                continue  # system memory, which another collector reads
            if self._library.zesMemoryGetState(module, byref(state)) != 0:
                return None
            # `size` is what can be given out. It is deprecated: a driver may leave it empty.
            size = state.size or known.physical
            if not 0 <= state.free <= size:
                return None
            total, free = total + size, free + state.free
        return Memory(Bytes(total), Bytes(free)) if total else None

    def _handles(self, function: str, *owner: c_void_p) -> list[c_void_p] | None:
        """What one of the listing functions lists: it is asked for the number first."""
        ask, count = getattr(self._library, function), c_uint32(0)
        if ask(*owner, byref(count), None) != 0 or count.value > MOST:
            return None
        if count.value == 0:
            return []
        asked = count.value
        handles = (c_void_p * asked)()
        if ask(*owner, byref(count), handles) != 0:
            return None
        return [c_void_p(handle) for handle in handles[: min(asked, count.value)] if handle]
