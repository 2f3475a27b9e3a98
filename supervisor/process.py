"""What the daemon asks of its own process: files, a loop, and few looks for garbage."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
import time

from .allowance import Allowance, share

log = logging.getLogger("ullage")

FILES = 65536
SWITCH = 0.001  # seconds that the loop waits for its turn while a thread works, not five times that
# Objects more than there were, and how often, until a look for cycles. One at all objects holds the
# loop for a tenth of a second where there is much to do, and finds next to nothing.
GARBAGE = (5_000, 10, 40)
AGAIN = 0.01  # seconds after which a loop goes on that memory was refused to


def more_files() -> None:
    """A thousand clients and their engines' connections take twice as many descriptors, and the
    usual limit is 1024; as many as the system lets us have are ours for the asking."""
    try:
        from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit, setrlimit
    except ImportError:  # on Windows
        return
    soft, hard = getrlimit(RLIMIT_NOFILE)
    most = FILES if hard == RLIM_INFINITY else min(hard, FILES)
    if soft != RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            setrlimit(RLIMIT_NOFILE, (most, hard))


class Enduring(asyncio.SelectorEventLoop):
    """Goes on where memory was refused to the loop itself, between two callbacks: what was ready
    is ready still, and whoever was to be told by then is told a moment later."""

    def __init__(self, allowance: Allowance) -> None:
        super().__init__()
        self._allowance, self._ends = allowance, False

    def run_forever(self) -> None:
        self._ends = False
        while not self._ends:
            try:
                super().run_forever()
                return
            except MemoryError:
                self._allowance.spend()
                time.sleep(AGAIN)

    def stop(self) -> None:
        self._ends = True
        super().stop()


def event_loop(allowance: Allowance) -> asyncio.AbstractEventLoop:
    """The fast one where there is one: what the gateway relays costs half as much with it.

    But uvloop (0.23) ends the process by a segmentation fault where a few bytes are refused that
    it needs between two callbacks; asyncio's own loop goes on, as long as Python itself does. The
    kernel's OOM killer refuses nobody anything: what is meant are limits of address space and of
    data.
    """
    if (why := allowance.why()) is not None:
        log.info("%s: asyncio's own loop runs, which goes on then, and costs twice as much", why)
        share()
        return Enduring(allowance)
    try:
        from uvloop import new_event_loop
    except ImportError:  # on Windows
        return asyncio.new_event_loop()
    return new_event_loop()


def settle_in() -> None:
    """What is there once a daemon runs stays to its end, and need not be looked through for
    garbage again: that takes 20 ms, during which the loop serves nobody, and 1 ms without it.

    What comes later lives for as long as a stream, and at the usual thresholds a thousand streams
    had all of it looked through every few seconds, for 50 to 100 ms each time.

    Threads read drivers and write metrics beside the loop, which gives its turn away with each
    system call: it has it back sooner.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    sys.setswitchinterval(SWITCH)
