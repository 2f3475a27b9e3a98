"""The kernel's alarm that work stands still for want of memory, as an event for the loop.

Relief then starts at once and not at the next tick. Where the kernel gives no alarm the pace
alone decides, as it does everywhere for anything slower than a stall.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from collectors.pressure import Watch, trigger

from .events import Event, Pressed

log = logging.getLogger("ullage.stalls")

MACHINE = "/proc/pressure/memory"


@dataclass(slots=True)
class Stalls:
    """Posts Pressed whenever one of the pressure files in `paths` says so. `open` gives the
    descriptor of an alarm, or None where there can be none."""

    post: Callable[[Event], None]
    paths: Iterable[str] = (MACHINE,)
    open: Callable[[str], int | None] = trigger
    watches: list[Watch] = field(default_factory=list)

    def start(self) -> None:
        """Needs a running event loop."""
        loop = asyncio.get_running_loop()
        for path in self.paths:
            fd = self.open(path)
            if fd is None:
                log.info("the kernel gives no alarm for %s: memory is looked at by the clock", path)
                continue
            watch = Watch(fd)
            self.watches.append(watch)
            loop.add_reader(watch.fileno(), self._rang, watch)

    def _rang(self, watch: Watch) -> None:
        if watch.drain():
            self.post(Pressed())
        elif watch.gone:
            self._end(watch)

    def close(self) -> None:
        for watch in tuple(self.watches):
            self._end(watch)

    def _end(self, watch: Watch) -> None:
        if watch.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(watch.fileno())
        watch.close()
        self.watches.remove(watch)
