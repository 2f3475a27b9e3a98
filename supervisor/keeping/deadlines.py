"""Moments that outlive the daemon, and that nobody moves by setting the clock.

Within one run of the machine they are kept on its monotonic clock; over a restart of the machine
there is only Unix time, which may be hours behind until somebody sets it. So nothing lasts longer
from then on than it was to last when it was written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collectors.reading import Seconds

Json = dict[str, Any]

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def boot() -> str | None:
    """Names this run of the machine. None: it has no name, and its clock may begin anew."""
    try:
        return _BOOT.read_text().strip() or None
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class Deadlines:
    """`clock` is monotonic, `wall` gives Unix time. `boot` names what `clock` lasts for."""

    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    boot: Callable[[], str | None] = boot

    @property
    def now(self) -> Seconds:
        return Seconds(self.clock())

    def after(self, period: Seconds) -> Seconds:
        return Seconds(self.clock() + period)

    def unix(self, at: Seconds) -> float:
        """Unix time of a moment on the clock, as things are now; to the millisecond."""
        return round(self.wall() + at - self.clock(), 3)

    def at(self, unix: float) -> Seconds:
        return Seconds(unix - self.wall() + self.clock())

    def written(self, at: Seconds) -> Json:
        left = round(at - self.clock(), 3)
        return {"unix": self.unix(at), "clock": at, "boot": self.boot(), "left": left}

    def read(self, written: Mapping[str, Any]) -> Seconds:
        """Raises KeyError, TypeError or ValueError where it was not written by `written`."""
        if written["boot"] is not None and written["boot"] == self.boot():
            return Seconds(float(written["clock"]))
        at = self.at(float(written["unix"]))
        left = written.get("left")  # absent from what an older version wrote
        return at if left is None else min(at, self.after(Seconds(float(left))))
