"""What the NVIDIA driver reports of itself, unasked: Xids, memory errors, a changed MIG layout.

A thread waits for it, because that is a call into the driver which lasts. Everything else here
only puts something down or picks it up, so a driver that hangs keeps nobody waiting.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from . import nvml, xid
from .nvml import Nvml, NvmlError
from .reading import Incident, Remedy, Seconds

WAIT = 1000  # milliseconds in one call, and so the longest that a closed watch still runs
TRIES = 10  # in a row, before a driver that cannot wait is left alone until the next start
FIRST_PAUSE, LONGEST_PAUSE = Seconds(1.0), Seconds(60.0)
KEPT = 256  # incidents that nobody drained; a GPU in trouble may report hundreds a second

TIMEOUT = 10  # a code of nvml.h: nothing happened
XID = 0x8
KINDS: Mapping[int, tuple[str, Remedy, str]] = {
    0x2: ("ecc", Remedy.INSPECT, "GPU memory has an error that could not be corrected"),
    0x100: ("mig", Remedy.NOTHING, "the GPU was split anew"),
    0x4000: ("unavailable", Remedy.INSPECT, "the GPU is not available any more"),
    0x8000: ("recovery", Remedy.INSPECT, "the driver changed its advice on how to recover the GPU"),
}
WANTED = XID | sum(KINDS)


class EventWatch:
    """Incidents of the GPUs of one initialisation of the library; `clock` stamps them.

    The library's shutdown frees what a closed watch leaves behind: a thread that learns of its
    end only later cannot tell whether the library has begun anew, and would free what is not its.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, first_pause: float = FIRST_PAUSE
    ) -> None:
        self._clock, self._first_pause = clock, first_pause
        self._found: deque[Incident] = deque(maxlen=KEPT)
        self._lock = threading.Lock()  # never held in a call into the driver
        self._current: _Wait | None = None
        self._thread: threading.Thread | None = None

    def start(self, binding: Any, handles: Mapping[str, Any]) -> None:
        """Watch these GPUs (handles as of `binding`, by UUID) in place of those before.

        There is no thread where there is nothing to wait for: on Windows, or with a binding that
        has no events.
        """
        self.close()
        if sys.platform == "win32" or getattr(binding, "nvmlEventSetWait_v2", None) is None:
            return
        with self._lock:
            self._current = _Wait(binding, handles, self._found, self._clock, self._first_pause)
            # One that is there comes to this watch when its last call has returned.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="nvidia events", daemon=True)
                self._thread.start()

    def drain(self) -> list[Incident]:
        """What was reported since the last time, oldest first."""
        found = list[Incident]()
        with contextlib.suppress(IndexError):
            while True:
                found.append(self._found.popleft())
        return found

    def close(self) -> None:
        """Watch no longer. Does not wait: the thread is in its last call for a while yet."""
        with self._lock:
            if self._current is not None:
                self._current.over.set()
                self._current = None

    def left(self, timeout: Seconds) -> bool:
        """Has a closed watch left the driver? Waits for that until `timeout` at most.

        To shut the library down under a call is to risk a crash: ask first, with a bit more than
        the second that a call lasts, and where the answer is no, do not.
        """
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return thread is None or not thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._lock:
                wait = self._current
                if wait is None:
                    self._thread = None
                    return
            wait.run()
            with self._lock:
                if self._current is wait:  # it gave up by itself
                    self._current = None


class _Wait:
    """One thread's work: a set of events, waited for until it is over."""

    def __init__(
        self,
        binding: Any,
        handles: Mapping[str, Any],
        found: deque[Incident],
        clock: Callable[[], float],
        first_pause: float,
    ) -> None:
        self.over = threading.Event()
        self._library, self._handles = Nvml(binding), dict(handles)
        # Made now: when something has happened, the GPU may not answer for its name.
        self._uuids = {_address(handle): uuid for uuid, handle in handles.items()}
        self._found, self._clock, self._first_pause = found, clock, first_pause
        self._failures = 0

    def run(self) -> None:
        while not self.over.is_set():
            try:
                events = self._library.ask("nvmlEventSetCreate")
                try:
                    if not self._register(events):
                        return
                    while not self.over.is_set():
                        self._wait(events)
                finally:
                    self._free(events)
            except NvmlError as error:
                if error.code == nvml.UNINITIALIZED or error.code in nvml.LACKING:
                    return
                self._failures += 1
                if self._failures >= TRIES:
                    return
                pause = self._first_pause * 2.0 ** (self._failures - 1)
                self.over.wait(min(pause, LONGEST_PAUSE))

    def _register(self, events: Any) -> bool:
        """A single bit that a GPU does not support would have all of them refused."""
        some, last = False, None
        for handle in self._handles.values():
            try:
                types = WANTED & int(self._library.ask("nvmlDeviceGetSupportedEventTypes", handle))
                if types and not self.over.is_set():
                    self._library.ask("nvmlDeviceRegisterEvents", handle, types, events)
                    some = True
            except NvmlError as error:  # of this GPU alone
                last = error
        if last is not None and not some:
            raise last
        return some

    def _wait(self, events: Any) -> None:
        try:
            event = self._library.ask("nvmlEventSetWait_v2", events, WAIT)
        except NvmlError as error:
            if error.code != TIMEOUT:
                raise
        else:
            self._report(event)
        self._failures = 0

    def _report(self, event: Any) -> None:
        device = self._uuids.get(_address(event.device))
        if device is None:
            return  # of a GPU that is not ours to report on
        kind, data, at = int(event.eventType), int(event.eventData), Seconds(self._clock())
        if kind == XID:
            incident = Incident(device, "xid", data, xid.remedy(data), xid.text(data), at)
        elif kind in KINDS:
            name, remedy, text = KINDS[kind]
            incident = Incident(device, name, None, remedy, text, at)
        else:
            return  # not registered for
        self._found.append(incident)

    def _free(self, events: Any) -> None:
        if not self.over.is_set():
            with contextlib.suppress(NvmlError):
                self._library.ask("nvmlEventSetFree", events)


def _address(handle: Any) -> Any:
    """What two handles of one GPU have in common: the binding makes each a new object."""
    try:
        return ctypes.addressof(handle.contents)
    except (AttributeError, ValueError):  # no pointer at all, or a null one
        return handle
