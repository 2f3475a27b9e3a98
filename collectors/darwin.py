"""macOS by calls: the kernel, libproc and Metal through ctypes, a microsecond each.

Every answer is None where a call fails, or on another system: no call raises. What bytes mean
is decided by pure functions, which can be tested anywhere.
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import psutil

from .reading import Bytes

LIBRARY = "/usr/lib/libSystem.B.dylib"
OBJECTIVE_C = "/usr/lib/libobjc.A.dylib"
METAL = "/System/Library/Frameworks/Metal.framework/Metal"
# A program without windows gets no Metal device unless it has this loaded too.
GRAPHICS = "/System/Library/Frameworks/CoreGraphics.framework/CoreGraphics"

# vm_statistics64 up to its fourth revision, 38 words of 4 bytes. Later ones are longer.
_VM = struct.Struct("=4I9Q2I4Q4IQ")
_VM_WORDS = _VM.size // 4
_VM_FLAVOR = 4  # HOST_VM_INFO64
_ROOM = 256  # words offered to the kernel: what it does not know of ours it leaves alone
_SWAP = struct.Struct("=3Q")  # xsw_usage: total, available, used
# The first rusage_info. All later ones (the sixth has 464 bytes) begin with the same fields, so
# the one that every macOS knows is asked for.
_RUSAGE = struct.Struct("=16s10Q")
_RUSAGE_FLAVOR = 0
_FOOTPRINT = 8  # the field after uuid, user, system, 2 wakeups, pageins, wired and resident


@dataclass(frozen=True, slots=True)
class VirtualMemory:
    """The kernel's counters, in pages of `page` bytes. `swapped` counts since boot."""

    page: int
    active: int
    inactive: int
    speculative: int
    wired: int
    compressor: int  # what compressed pages occupy
    purgeable: int  # may be thrown away by their program's leave
    external: int  # file pages
    swapped: int

    @property
    def held(self) -> Bytes:
        """All pages that are not free."""
        pages = self.active + self.inactive + self.speculative + self.wired + self.compressor
        return Bytes(pages * self.page)

    @property
    def used(self) -> Bytes:
        """What does not come back by itself, as purgeable and file pages do. Neither is wired."""
        pageable = self.active + self.inactive + self.speculative
        comes_back = min(pageable, self.purgeable + self.external)
        return Bytes(self.held - comes_back * self.page)


@dataclass(frozen=True, slots=True)
class Swap:
    """Bytes. Swap files grow as they are needed: `total` is no limit."""

    total: Bytes
    free: Bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the process table."""

    pid: int
    parent: int
    name: str


class System(Protocol):
    """What macOS answers when it is called. None: no answer; a command may know more."""

    def sysctl(self, name: str) -> bytes | None: ...
    def memory(self) -> VirtualMemory | None: ...
    def working_set(self) -> Bytes | None:
        """What Metal says the GPU may hold at once."""
        ...

    def footprint(self, pid: int) -> Bytes | None: ...
    def processes(self) -> Iterable[Entry] | None: ...


def parse_vm(data: bytes, count: int, page: int) -> VirtualMemory | None:
    """The answer of host_statistics64, which has `count` words. None: too short to be trusted."""
    if count < _VM_WORDS or len(data) < _VM.size:
        return None
    fields = _VM.unpack_from(data)
    if not fields[3]:
        return None  # a running kernel has wired pages: these are not its counters
    return VirtualMemory(
        page=page,
        active=fields[1],
        inactive=fields[2],
        wired=fields[3],
        purgeable=fields[13],
        speculative=fields[14],
        swapped=fields[17] + fields[18],
        compressor=fields[19],
        external=fields[21],
    )


def parse_swap(data: bytes) -> Swap | None:
    """The value of vm.swapusage."""
    if len(data) < _SWAP.size:
        return None
    total, free, _ = _SWAP.unpack_from(data)
    return Swap(Bytes(total), Bytes(min(free, total)))


def parse_integer(data: bytes) -> int | None:
    """The value of a sysctl that is an int or a quad."""
    return int.from_bytes(data, "little", signed=True) if len(data) in (4, 8) else None


def parse_string(data: bytes) -> str | None:
    """The value of a sysctl that is a C string."""
    return data.partition(b"\0")[0].decode(errors="replace").strip() or None


def parse_rusage(data: bytes) -> Bytes | None:
    """phys_footprint of a process, in bytes."""
    return Bytes(_RUSAGE.unpack_from(data)[_FOOTPRINT]) if len(data) >= _RUSAGE.size else None


class Darwin:
    """The system this program runs on. Loads nothing before the first question."""

    def __init__(
        self,
        library: str = LIBRARY,
        objective_c: str = OBJECTIVE_C,
        metal: str = METAL,
        graphics: str = GRAPHICS,
    ) -> None:
        self._library, self._objective_c = library, objective_c
        self._metal, self._graphics = metal, graphics

    def sysctl(self, name: str) -> bytes | None:
        if self._sysctl is None:
            return None
        value, size = ctypes.create_string_buffer(256), ctypes.c_size_t(256)
        if self._sysctl(name.encode(), value, ctypes.byref(size), None, 0) != 0:
            return None
        return value.raw[: size.value]

    def memory(self) -> VirtualMemory | None:
        if self._statistics is None or self._host is None:
            return None
        words, count = (ctypes.c_int32 * _ROOM)(), ctypes.c_uint32(_ROOM)
        if self._statistics(self._host, _VM_FLAVOR, words, ctypes.byref(count)) != 0:
            return None
        return parse_vm(bytes(words), count.value, os.sysconf("SC_PAGE_SIZE"))

    def working_set(self) -> Bytes | None:
        if self._device is None:
            return None
        device, send, selector = self._device
        return Bytes(send(device, selector)) or None

    def footprint(self, pid: int) -> Bytes | None:
        """Memory that comes back when the process ends, Metal's buffers too, compressed or not.

        Clean file pages are not in it. None: gone, or another user's and we are not root.
        """
        if self._rusage is None:
            return None
        answer = ctypes.create_string_buffer(_RUSAGE.size)
        return parse_rusage(answer.raw) if self._rusage(pid, _RUSAGE_FLAVOR, answer) == 0 else None

    def processes(self) -> list[Entry] | None:
        try:
            found = [p.info for p in psutil.process_iter(["pid", "ppid", "name"])]
        except (psutil.Error, OSError):
            return None
        return [Entry(p["pid"], p["ppid"] or 0, p["name"] or f"pid {p['pid']}") for p in found]

    # -- functions, each with its prototype: without one, pointers would be cut to 32 bits

    @functools.cached_property
    def _sysctl(self) -> Callable[..., int] | None:
        size = ctypes.POINTER(ctypes.c_size_t)
        arguments = (ctypes.c_char_p, ctypes.c_void_p, size, ctypes.c_void_p, ctypes.c_size_t)
        return _function(self._library, "sysctlbyname", ctypes.c_int, *arguments)

    @functools.cached_property
    def _host(self) -> int | None:
        """Asked for once: each time makes another reference to a port."""
        ask = _function(self._library, "mach_host_self", ctypes.c_uint32)
        return None if ask is None else ask()

    @functools.cached_property
    def _statistics(self) -> Callable[..., int] | None:
        count = ctypes.POINTER(ctypes.c_uint32)
        arguments = (ctypes.c_uint32, ctypes.c_int, ctypes.c_void_p, count)
        return _function(self._library, "host_statistics64", ctypes.c_int, *arguments)

    @functools.cached_property
    def _rusage(self) -> Callable[..., int] | None:
        arguments = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
        return _function(self._library, "proc_pid_rusage", ctypes.c_int, *arguments)

    @functools.cached_property
    def _device(self) -> tuple[int, Callable[..., int], int] | None:
        """Metal's device, how to ask it for a number, and the question. Kept: making it is slow."""
        pointer = ctypes.c_void_p
        _load(self._graphics)
        make = _function(self._metal, "MTLCreateSystemDefaultDevice", pointer)
        select = _function(self._objective_c, "sel_registerName", pointer, ctypes.c_char_p)
        class_of = _function(self._objective_c, "object_getClass", pointer, pointer)
        knows = _function(
            self._objective_c, "class_respondsToSelector", ctypes.c_bool, pointer, pointer
        )
        # Declared in C as if it took any arguments, but called as the method itself would be.
        send = _function(self._objective_c, "objc_msgSend", ctypes.c_uint64, pointer, pointer)
        if not (make and select and class_of and knows and send):
            return None
        device = make()
        selector = select(b"recommendedMaxWorkingSetSize")
        # A message that is not understood would end this program.
        if not device or not selector or not knows(class_of(device), selector):
            return None
        return device, send, selector


def _load(path: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(path)
    except OSError:
        return None


def _function(path: str, name: str, result: Any, *arguments: Any) -> Callable[..., Any] | None:
    library = _load(path)
    try:
        return None if library is None else ctypes.CFUNCTYPE(result, *arguments)((name, library))
    except AttributeError:
        return None


HERE = Darwin()


def footprint(pid: int) -> Bytes | None:
    """phys_footprint of a process of this machine, in bytes. None: see Darwin.footprint."""
    return HERE.footprint(pid)
