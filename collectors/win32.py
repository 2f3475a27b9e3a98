"""Windows by calls: performance counters, the commit limit, and the list of display adapters.

Each call takes the library that it goes to, so that what the answers mean is tried anywhere;
without one it takes Windows' own, which only Windows has.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import byref, c_longlong, c_size_t, c_uint32, c_void_p, c_wchar_p, sizeof
from dataclasses import dataclass
from typing import Any, NamedTuple

from .errors import CollectorError
from .reading import Bytes

_LARGE = 0x400  # PDH_FMT_LARGE: the value as a whole number
_MORE_DATA = 0x800007D2  # PDH_MORE_DATA: the buffer is too small
_VALID = (0, 1)  # PDH_CSTATUS_VALID_DATA and _NEW_DATA
_ATTEMPTS = 4  # instances come and go between the size and the list

_ADAPTERS = r"SOFTWARE\Microsoft\DirectX"


class _Value(ctypes.Structure):
    """PDH_FMT_COUNTERVALUE, its union as a whole number."""

    _fields_ = (("status", c_uint32), ("large", c_longlong))


class _Item(ctypes.Structure):
    """PDH_FMT_COUNTERVALUE_ITEM_W."""

    _fields_ = (("name", c_wchar_p), ("value", _Value))


class _Performance(ctypes.Structure):
    """PERFORMANCE_INFORMATION. Sizes in pages."""

    _fields_ = (
        ("size", c_uint32),
        ("charged", c_size_t),
        ("limit", c_size_t),
        *((name, c_size_t) for name in ("peak", "ram", "available", "cache", "kernel")),
        *((name, c_size_t) for name in ("paged", "nonpaged", "page")),
        *((name, c_uint32) for name in ("handles", "processes", "threads")),
    )


class Commit(NamedTuple):
    """Bytes that the system has promised to programs, and how many it may promise: RAM and the
    page files together. At the limit allocations fail, however much RAM is not in use."""

    charged: Bytes
    limit: Bytes


@dataclass(frozen=True, slots=True)
class Adapter:
    """A display adapter. `luid` names it until the next start of the machine or its driver."""

    luid: int
    vendor: int  # as on PCI
    name: str


def counters(path: str, library: Any | None = None) -> dict[str, int]:
    """A performance counter's value for each instance, by its name. `path` in English, with an
    asterisk for the instances. Raises CollectorError where there is no such counter."""
    pdh = library if library is not None else _library("pdh")
    query = c_void_p()
    _check(pdh.PdhOpenQueryW(None, c_size_t(0), byref(query)), path)
    try:
        counter = c_void_p()
        _check(pdh.PdhAddEnglishCounterW(query, path, c_size_t(0), byref(counter)), path)
        _check(pdh.PdhCollectQueryData(query), path)
        return _values(pdh, counter, path)
    finally:
        pdh.PdhCloseQuery(query)


def commit(library: Any | None = None) -> Commit | None:
    """psutil tells the limit and not what is charged: its `swap_memory()` is about page files."""
    known = _Performance(size=sizeof(_Performance))
    kernel = library if library is not None else _library("kernel32")
    if not kernel.K32GetPerformanceInfo(byref(known), c_uint32(sizeof(_Performance))):
        return None
    return Commit(Bytes(known.charged * known.page), Bytes(known.limit * known.page))


def adapters(registry: Any | None = None) -> list[Adapter]:
    """As DirectX has noted them down; some of them have gone since, and have other LUIDs now."""
    winreg = registry if registry is not None else _registry()
    found: list[Adapter] = []
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _ADAPTERS) as folder:
            for index in range(winreg.QueryInfoKey(folder)[0]):
                with winreg.OpenKey(folder, winreg.EnumKey(folder, index)) as key:
                    adapter = _adapter(winreg, key)
                if adapter is not None:
                    found.append(adapter)
    except OSError:
        return []  # half of a list would make a name look unique
    return found


def _adapter(winreg: Any, key: Any) -> Adapter | None:
    try:
        values = [
            winreg.QueryValueEx(key, n)[0] for n in ("AdapterLuid", "VendorId", "Description")
        ]
    except OSError:
        return None  # something else that DirectX keeps there
    luid, vendor, name = values
    if isinstance(luid, int) and isinstance(vendor, int) and isinstance(name, str):
        return Adapter(luid, vendor, name)
    return None


def _values(pdh: Any, counter: c_void_p, path: str) -> dict[str, int]:
    size, count = c_uint32(0), c_uint32(0)
    ask = pdh.PdhGetFormattedCounterArrayW
    status = ask(counter, c_uint32(_LARGE), byref(size), byref(count), None)
    for _ in range(_ATTEMPTS):
        if status & 0xFFFFFFFF != _MORE_DATA:
            break
        # The names lie behind the items, in the same buffer.
        buffer = (ctypes.c_byte * size.value)()
        status = ask(counter, c_uint32(_LARGE), byref(size), byref(count), buffer)
        if status == 0:
            items = ctypes.cast(buffer, ctypes.POINTER(_Item))[: count.value]
            return {i.name: i.value.large for i in items if i.value.status in _VALID}
    _check(status, path)
    return {}  # there is no instance now


def _check(status: int, path: str) -> None:
    if status != 0:
        raise CollectorError(f"{path}: Windows refuses it ({status & 0xFFFFFFFF:#x})")


def _library(name: str) -> Any:
    if sys.platform != "win32":
        raise CollectorError(f"{name}.dll is a part of Windows")
    return ctypes.WinDLL(name)


def _registry() -> Any:
    if sys.platform != "win32":
        raise CollectorError("the registry is a part of Windows")
    import winreg

    return winreg
