"""A thread for each collector, so that one which hangs keeps nobody else waiting."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate

from .errors import NoAnswer
from .reading import Collector, Reading, Seconds, Tier


class Owner:
    """Calls one collector, always from the same thread, and keeps nobody waiting for it.

    A driver can hang for ever inside a call. Then the thread is left alone, every further
    `ask` is answered at once with a fault, and what the call returns at last is thrown away.
    The thread is a daemon: the program's end does not wait for it. `at_least` is for who has more
    time than the collector's own deadline, in seconds.
    """

    def __init__(
        self,
        collector: Collector,
        clock: Callable[[], float] = time.monotonic,
        at_least: float = 0.0,
    ) -> None:
        self.collector = collector
        self._clock, self._at_least = clock, at_least
        self._calls: queue.SimpleQueue[tuple[Future[Reading], Tier] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._called_at: float | None = None  # None: no call is under way

    @property
    def deadline(self) -> Seconds:
        return Seconds(max(self.collector.deadline, self._at_least))

    def ask(self, tiers: Tier) -> Future[Reading]:
        """A reading, or a fault; the future itself never fails. Cancel it to give up waiting.

        While a call is within its deadline, the next one waits behind it.
        """
        future: Future[Reading] = Future()
        now, called_at = self._clock(), self._called_at
        if called_at is not None and now - called_at > self.deadline:
            why = f"has not returned for {now - called_at:.0f} s"
            future.set_result(self._fault(called_at, why, late=True))
            return future
        if self._thread is None:
            name = f"collector {self.collector.name}"
            self._thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._thread.start()
        self._calls.put((future, tiers))
        return future

    def close(self) -> None:
        """Let the thread end after what it was asked. Does not wait."""
        self._calls.put(None)

    def give_up(self, future: Future[Reading], started: float) -> Reading:
        """The fault to use in place of a reading that did not come in time."""
        future.cancel()
        why = f"no answer within {self.deadline:g} s"
        return self._fault(started, why, late=True)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            future, tiers = call
            if future.set_running_or_notify_cancel():  # nobody waits for a cancelled one
                future.set_result(self._read(tiers))

    def _read(self, tiers: Tier) -> Reading:
        self._called_at = started = self._clock()
        try:
            sample = self.collector.read(tiers)
        except Exception as error:
            return self._fault(started, _line(error), late=isinstance(error, NoAnswer))
        finally:
            self._called_at = None
        took = self._clock() - started
        if took > self.deadline:
            # Whoever asked has given up; its numbers are of an unknown moment on the way.
            return self._fault(started, f"answered only after {took:.1f} s", late=True)
        return Reading(self.collector.name, Seconds(started), Seconds(took), sample)

    def _fault(self, started: float, why: str, *, late: bool = False) -> Reading:
        took = Seconds(self._clock() - started)
        return Reading(self.collector.name, Seconds(started), took, fault=why, late=late)


def read_all(
    owners: Sequence[Owner], tiers: Tier, clock: Callable[[], float] = time.monotonic
) -> list[Reading]:
    """One reading per owner, in their order, asked at once, each waited for until its deadline."""
    started = clock()
    asked = [(owner, owner.ask(tiers)) for owner in owners]
    readings = []
    for owner, future in asked:
        left = started + owner.deadline - clock()
        try:
            readings.append(future.result(timeout=max(0.0, left)))
        except TooLate:
            readings.append(owner.give_up(future, started))
    return readings


def _line(error: Exception) -> str:
    """One line for people; the kind of error too, where it is not one that we wrote."""
    text = " ".join(str(error).split())
    known = type(error).__module__.startswith("collectors.")
    return text if known and text else f"{type(error).__name__}: {text}".rstrip(": ")
