"""Has the machine slept? The monotonic clock stood still, and by it old numbers look fresh."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from .reading import Seconds

SHORTEST = Seconds(1.0)  # the two clocks are read one after the other


def asleep() -> Seconds:
    """How long the machine has slept since it was started; 0 where nobody counts."""
    if sys.platform != "linux":
        return Seconds(0.0)
    return Seconds(
        time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    )


class Suspension:
    """Compares how long the machine has slept by now with the last time it was asked."""

    def __init__(self, asleep: Callable[[], float] = asleep) -> None:
        self._asleep = asleep
        self._before = asleep()

    def happened(self) -> bool:
        """True once for each sleep."""
        now, before = self._asleep(), self._before
        self._before = now
        return now - before >= SHORTEST
