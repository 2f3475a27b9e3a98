"""What signals mean to the daemon: its end, or that the configuration is to be read."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from .config.given import ConfigError
from .reloading import Reloading

During = Callable[[], AbstractContextManager[object]]


@dataclass(slots=True)
class Signals:
    """`ended` is set by SIGTERM and SIGINT, and by SIGHUP if that is because the terminal has been
    closed; else that is a wish to read the configuration."""

    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _read: asyncio.Event = field(default_factory=asyncio.Event)
    _terminals: list[int] = field(default_factory=list)

    def listen(self) -> None:
        """From now on, in the running event loop."""
        running = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            running.add_signal_handler(number, self.ended.set)
        if hasattr(signal, "SIGHUP"):  # not on Windows
            self._terminals = [number for number in range(3) if os.isatty(number)]
            running.add_signal_handler(signal.SIGHUP, self.hang_up)

    def hang_up(self) -> None:
        (self.ended if closed(self._terminals) else self._read).set()

    async def serve(self, reloading: Reloading, during: During = contextlib.nullcontext) -> None:
        """Have the configuration read whenever it is asked for, one after the other; each time
        within what `during` makes."""
        while True:
            await self._read.wait()
            self._read.clear()
            with during(), contextlib.suppress(ConfigError):  # it has been said
                await reloading.now("read by SIGHUP")


def closed(terminals: Iterable[int]) -> bool:
    """Is nobody at one of them any more?"""
    asked = select.poll()
    for number in terminals:
        asked.register(number, 0)
    return any(found & select.POLLHUP for _, found in asked.poll(0))
