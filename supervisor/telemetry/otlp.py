"""Sends traces to a collector of OpenTelemetry, from a thread of its own.

Whoever has finished one puts it down and goes on. A collector that hangs, refuses or is not there
costs traces and nothing else, and so does a gateway that is too busy for them: what does not fit
into the queue is lost, and that is said.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from supervisor import __version__

from .tracing import Finished

log = logging.getLogger("ullage.traces")

MOST = 2048  # traces that wait; each is a few KiB at the most
BATCH = 64  # that are sent at once: each takes half a millisecond to be written out
EVERY = 1.0  # seconds between two looks at what has come
PART = 0.1  # of the time, at most, goes to writing them out
TOLD = 60.0  # seconds between two words about those that are lost
LAST = 0.5  # seconds for the last of them, at the end


class Exporter(Protocol):
    def send(self, traces: Sequence[Finished]) -> str | None:
        """Blocks. None: they are there; else why not."""

    def close(self) -> None:
        """Breaks off what `send` waits for, as far as that can be done."""


class Sender:
    """`put` may be called from anywhere. `make` is called in the thread: what it loads takes a
    while."""

    def __init__(self, make: Callable[[], Exporter], where: str, most: int = MOST) -> None:
        self._make, self._where, self._most = make, where, most
        self._queue: deque[Finished] = deque()
        self._full, self._stops = threading.Event(), threading.Event()
        self._exporter: Exporter | None = None
        self._thread: threading.Thread | None = None
        self._failing = False
        self._told_at = -TOLD
        self.sent = 0
        # Each counted by one thread alone: those that came when the queue was full, and those that
        # were not taken. Besides, of the former, how many were told of; and all before it failed.
        self._over = self._refused = self._told_over = self._before = 0

    @property
    def lost(self) -> int:
        return self._over + self._refused

    def start(self) -> None:
        """Harmless where it runs."""
        if self._thread is None and not self._stops.is_set():
            self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
            self._thread.start()

    def put(self, trace: Finished) -> None:
        """Never waits."""
        if len(self._queue) >= self._most:
            self._over += 1
            return
        self._queue.append(trace)
        if len(self._queue) == BATCH:
            self._full.set()

    def close(self, within: float = LAST) -> None:
        """Sends what is left, for so many seconds. Blocks that long."""
        self._stops.set()
        self._full.set()
        if self._thread is not None:
            until = time.monotonic() + within
            self._thread.join(within)
            if self._thread.is_alive() and self._exporter is not None:
                self._exporter.close()
                self._thread.join(max(0.0, until + 0.1 - time.monotonic()))

    def _run(self) -> None:
        try:
            self._exporter = self._make()
        except Exception as error:
            log.error("traces cannot be sent: %s: %s", type(error).__name__, error)
            self._most = 0
            self._refused += len(self._queue)
            self._queue.clear()
            return
        while True:
            self._full.wait(EVERY)
            self._full.clear()
            while self._queue and not (self._stops.is_set() and self._failing):
                began = time.thread_time()
                self._send(self._exporter)
                self._tell()
                self._stops.wait((time.thread_time() - began) * (1 / PART - 1))
            if self._stops.is_set():
                self._exporter.close()
                return

    def _tell(self) -> None:
        """Of a collector that fails it is known that they are lost."""
        over = self._over - self._told_over
        if over and not self._failing and time.monotonic() - self._told_at >= TOLD:
            self._told_over, self._told_at = self._told_over + over, time.monotonic()
            log.warning(
                "%d traces are lost: telemetry.sample lets through more than are sent", over
            )

    def _send(self, exporter: Exporter) -> None:
        batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        try:
            why = exporter.send(batch)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        if why is None:
            self.sent += len(batch)
        else:
            self._refused += len(batch)
        if why is not None and not self._failing:
            self._before = self.lost - len(batch)
            log.warning("traces cannot be sent to %s, and are lost: %s", self._where, why)
        elif why is None and self._failing:
            lost = self.lost - self._before
            log.info("traces are sent to %s again; %d were lost", self._where, lost)
        self._failing = why is not None


def exporter(url: str) -> Exporter:
    """By the packages of OpenTelemetry, which are imported only here. What else they are told, they
    read of the usual variables: OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME and the like."""
    from .otlp_spans import Spans

    return Spans(url, __version__)
