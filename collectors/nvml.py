"""The driver's library as we use it: what to ask, what its answers mean, which errors matter."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from .reading import Bytes, MemoryPool, PoolId, PoolKind

K = TypeVar("K", bound=Hashable)

# Codes of nvml.h. Errors of the binding compare equal but cannot be hashed, so we keep codes.
UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND = 1, 2, 3, 4, 6
DRIVER_NOT_LOADED, TIMEOUT, LIBRARY_NOT_FOUND, FUNCTION_NOT_FOUND = 9, 10, 12, 13
GPU_IS_LOST, RESET_REQUIRED, VERSIONS_DIFFER, ARGUMENT_VERSION, GPU_NOT_FOUND = 15, 16, 18, 25, 28
OPERATING_SYSTEM, UNKNOWN = 17, 999
# "The state is gone", as against "this one reading is not to be had": it may help to start anew.
LIFECYCLE = frozenset(
    (UNINITIALIZED, DRIVER_NOT_LOADED, GPU_IS_LOST, VERSIONS_DIFFER, GPU_NOT_FOUND)
)
FATAL = LIFECYCLE | {RESET_REQUIRED}  # whatever was asked: the GPU as a whole cannot be read
LACKING = frozenset((NOT_SUPPORTED, FUNCTION_NOT_FOUND, ARGUMENT_VERSION))  # will not change soon

LISTS = (
    "nvmlDeviceGetComputeRunningProcesses",
    "nvmlDeviceGetGraphicsRunningProcesses",
    "nvmlDeviceGetMPSComputeRunningProcesses",
)
NO_INSTANCE = 0xFFFFFFFF

# Where the library may lie unknown to the linker: WSL, NixOS, Kubernetes nodes.
LIBRARY = "libnvidia-ml.so.1"
PLACES = ("/usr/lib/wsl/lib", "/run/opengl-driver/lib", "/usr/local/nvidia/lib64")

# The member of a field's value that is set, by its type.
VALUES = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")


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


class Use(NamedTuple):
    """An entry of a process list. `size` in bytes, None where it is hidden."""

    pid: int
    size: int | None
    instance: int | None  # of a GPU that MIG splits


@dataclass(slots=True, eq=False)
class Handle:
    """A GPU as the library knows it until it is shut down, and what that GPU cannot tell.

    To ask for what is not there costs an exception each time, and a function that the driver
    lacks a look-up under a lock besides: so each is asked for once.
    """

    raw: Any
    lacks: set[tuple[object, ...]] = field(default_factory=set)


class Nvml:
    """The binding (nvidia-ml-py, imported when first needed: 19 ms and 6 MiB), or what answers
    to the same names.

    Methods raise NvmlError and nothing else, but for the optional readings, which are None.
    """

    def __init__(self, binding: Any | None = None) -> None:
        if binding is None:
            import pynvml  # type: ignore[import-untyped,unused-ignore]

            binding = pynvml
        self.binding: Any = binding
        # It is no NVMLError, and it means that the library lacks this version of a function.
        self._mismatch: Any = getattr(binding, "NVMLLibraryMismatchError", ())
        self._starts = 0  # the library counts them, and lets go at the last
        self.driver: str | None = None

    def start(self) -> None:
        """Initialise. Every handle from before is worthless."""
        try:
            self.ask("nvmlInit")
        except NvmlError as error:
            if error.code != LIBRARY_NOT_FOUND or not _load_from(PLACES):
                raise
            self.ask("nvmlInit")
        self._starts += 1
        try:
            self.driver = str(self.ask("nvmlSystemGetDriverVersion"))
        except NvmlError:
            self.driver = None

    def stop(self) -> None:
        """Never at exit: with a call that hangs in another thread it would crash the process."""
        while self._starts:
            self._starts -= 1
            with contextlib.suppress(NvmlError):  # it was gone already, which is as good
                self.ask("nvmlShutdown")

    def count(self) -> int:
        return int(self.ask("nvmlDeviceGetCount"))

    def handle(self, index: int) -> Handle:
        return Handle(self.ask("nvmlDeviceGetHandleByIndex", index))

    def uuid(self, handle: Handle) -> str:
        return str(self.ask("nvmlDeviceGetUUID", handle.raw))

    def name(self, handle: Handle) -> str:
        return str(self.ask("nvmlDeviceGetName", handle.raw))

    def pci(self, handle: Handle) -> str | None:
        """As in sysfs: 0000:01:00.0. The library's domain has eight digits."""
        info = self.optional(handle, "nvmlDeviceGetPciInfo")
        return None if info is None else str(info.busId)[4:].lower()

    def numa_node(self, handle: Handle) -> int | None:
        """The host's NUMA node that the GPU's own memory is, where it is one (Grace)."""
        node = self.optional(handle, "nvmlDeviceGetNumaNodeId")
        return None if node is None or node < 0 else int(node)

    def is_split(self, handle: Handle) -> bool:
        """Is MIG on? It can change while the library is in use."""
        modes = self.optional(handle, "nvmlDeviceGetMigMode")
        return modes is not None and modes[0] == 1

    def memory(self, handle: Handle) -> Memory | None:
        """None: the GPU has no memory of its own, or its driver will not say so.

        `free` is the only number that never changed meaning between versions and drivers;
        `used` did, so `total - used` is never taken for it.
        """
        info, reserved = self._memory_v2(handle), 0
        if info is not None:
            reserved = int(info.reserved)
        else:
            try:
                info = self.ask("nvmlDeviceGetMemoryInfo", handle.raw)
            except NvmlError as error:
                if error.code != NOT_SUPPORTED:
                    raise
                return None
        total = int(info.total) - reserved
        if total <= 0:
            return None
        return Memory(total, min(int(info.free), total), reserved)  # the driver rounds both

    def _memory_v2(self, handle: Handle) -> Any:
        name = "nvmlDeviceGetMemoryInfo"
        if (name, 2) in handle.lacks:
            return None
        try:
            return self.ask(name, handle.raw, version=self.binding.nvmlMemory_v2)
        except NvmlError as error:
            if error.code in (FUNCTION_NOT_FOUND, ARGUMENT_VERSION):
                handle.lacks.add((name, 2))  # a driver before R510
            elif error.code != NOT_SUPPORTED:
                raise
            return None

    def processes(self, handle: Handle) -> list[Use] | None:
        """Every entry of every list, as the driver gives them. None: there is no list.

        The same process may be in several lists, each time with its total: see `largest`.
        """
        if garbles_lists(self.driver):
            return None
        lists = [found for name in LISTS if (found := self._list(name, handle)) is not None]
        if not lists:
            return None
        return [_use(entry) for found in lists for entry in found]

    def _list(self, name: str, handle: Handle) -> list[Any] | None:
        # The plain names want the library's _v3; a driver that has only _v2 lists the same.
        for function in (name, f"{name}_v2"):
            if (function,) not in handle.lacks:
                try:
                    return list(self.ask(function, handle.raw))
                except NvmlError as error:
                    # A list that fails now and then must not look like an empty one.
                    if error.code not in LACKING:
                        raise
                    handle.lacks.add((function,))
        return None

    def field(self, handle: Handle, number: int) -> float | None:
        """A field value by its id."""
        name = "nvmlDeviceGetFieldValues"
        found = self.optional(handle, name, (number,))
        if not found:
            return None
        code, kind = int(found[0].nvmlReturn), int(found[0].valueType)
        if code == 0 and 0 <= kind < len(VALUES):
            return float(getattr(found[0].value, VALUES[kind]))
        if code in LACKING or code == INVALID_ARGUMENT:  # an id that this driver never heard of
            handle.lacks.add((name, (number,)))
        return None

    def optional(self, handle: Handle, name: str, *arguments: Any) -> Any:
        """A reading that may be missing alone. None: not to be had from this GPU or driver.

        Raises NvmlError where the answer is that the GPU as a whole is gone.
        """
        key = (name, *arguments)
        if key in handle.lacks:
            return None
        try:
            return self.ask(name, handle.raw, *arguments)
        except NvmlError as error:
            if error.code in FATAL:
                raise
            if error.code in LACKING:
                handle.lacks.add(key)
            return None

    def ask(self, name: str, *arguments: Any, **named: Any) -> Any:
        call = getattr(self.binding, name, None)
        if call is None:
            raise NvmlError(FUNCTION_NOT_FOUND, f"the binding lacks {name}")
        try:
            return call(*arguments, **named)
        except self.binding.NVMLError as error:
            raise NvmlError(error.value, _text(error)) from error
        except self._mismatch as error:
            raise NvmlError(FUNCTION_NOT_FOUND, f"the driver lacks {name}") from error


def largest(uses: Iterable[tuple[K, int | None]]) -> dict[K, int | None]:
    """The largest size by key. A process is in several lists, each time with its total, so
    never a sum; None only where every list hides it."""
    sizes: dict[K, int | None] = {}
    for key, size in uses:
        known = sizes.get(key)
        sizes[key] = size if known is None else max(known, size or 0)
    return sizes


def dedicated(pool: PoolId, memory: Memory) -> MemoryPool:
    return MemoryPool(
        pool,
        PoolKind.DEDICATED,
        Bytes(memory.total),
        Bytes(memory.free),
        Bytes(memory.reserved),
    )


def garbles_lists(driver: str | None) -> bool:
    """Drivers 535.43 to 535.86 answer with another layout under the same function's name."""
    major, _, rest = (driver or "").partition(".")
    minor = rest.partition(".")[0]
    return major == "535" and minor.isdecimal() and 43 <= int(minor) <= 86


def _load_from(places: Iterable[str]) -> bool:
    """Load the library. The binding asks for it by its bare name, and finds what is loaded."""
    for place in places:
        with contextlib.suppress(OSError):
            ctypes.CDLL(f"{place}/{LIBRARY}")
            return True
    return False


def _use(entry: Any) -> Use:
    instance = getattr(entry, "gpuInstanceId", None)
    return Use(int(entry.pid), entry.usedGpuMemory, None if instance == NO_INSTANCE else instance)


def _text(error: Any) -> str:
    if error.value == VERSIONS_DIFFER:
        return "the driver was updated under its library: restart this program, or the machine"
    if error.value == RESET_REQUIRED:  # the library's own word is "restart"
        return f"the GPU must be reset (NVML error {RESET_REQUIRED})"
    return f"{error} (NVML error {error.value})"
