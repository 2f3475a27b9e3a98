"""What the service manager is told: that we serve, how it goes, that the loop still moves.

The protocol is systemd's, a datagram of lines to the socket that NOTIFY_SOCKET names; without
that variable nothing is sent. A manager that does not listen is no reason to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field

from collectors.reading import Seconds

from .core.headroom import rooms
from .core.wording import size
from .loop import Loop
from .printable import printable

log = logging.getLogger("ullage.notify")

EVERY = Seconds(10.0)  # between two words on how it goes, where nobody waits for a sign of life
PARTS = 3  # signs of life in the time after which we are given up
SLACK = Seconds(10.0)  # by which a tick may be late before the loop counts as stuck
LONGEST = 200  # characters of a status

ADDRESS, WATCHDOG, WATCHED = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"


@dataclass(slots=True)
class Notifier:
    """`address` None: nobody asks. `watchdog` is after how long without a sign of life we are
    ended, in seconds; None: never.

    A sign of life is given only while the loop serves its ticks. Those do not wait for drivers: one
    that hangs takes nothing from them, and no restart would mend it.
    """

    loop: Loop
    address: str | None = None
    watchdog: Seconds | None = None
    clock: Callable[[], float] = time.monotonic
    _began: float = field(init=False)
    _phase: str = "READY=1"
    _owed: bool = False  # was the phase not taken?
    _said: str = ""
    _stuck: bool = False
    _silent: bool = False

    def __post_init__(self) -> None:
        self._began = self.clock()

    @classmethod
    def of(cls, loop: Loop, environment: MutableMapping[str, str]) -> Notifier:
        """As the environment says. What it says is for this process: taken out of there, so that
        no engine that is started from here takes it for its own."""
        address = environment.pop(ADDRESS, None)
        given, watched = environment.pop(WATCHDOG, ""), environment.pop(WATCHED, "")
        if address is not None and not address.startswith(("/", "@")):
            log.warning("%s=%s: no socket of this machine; nobody is told", ADDRESS, address)
            address = None
        ours = not watched or watched == str(os.getpid())
        wanted = given.isdecimal() and int(given) > 0 and ours and address is not None
        return cls(loop, address, Seconds(int(given) / 1e6) if wanted else None)

    # -- phases

    def ready(self) -> None:
        """We listen, and serve."""
        self._enter("READY=1")

    def stopping(self) -> None:
        self._enter("STOPPING=1", "STATUS=finishing what is under way")

    def failed(self, why: object) -> None:
        """Before it was ready: the reason stands in `systemctl status`."""
        self._send(f"STATUS={_line(str(why))}")

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """While the configuration is read anew."""
        self._enter("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            self._enter("READY=1")

    def _enter(self, phase: str, *more: str) -> None:
        self._phase, self._said = phase, ""
        self._owed = not self._send(phase, *more)

    # -- how it goes

    async def run(self) -> None:
        """Tell it again and again, until cancelled."""
        if self.address is None:
            return
        every = EVERY if self.watchdog is None else Seconds(min(EVERY, self.watchdog / PARTS))
        while True:
            self.beat()
            await asyncio.sleep(every)

    def beat(self) -> None:
        """Once: the phase if nobody took it, what is new, and a sign of life if there is one."""
        lines = [self._phase] if self._owed else []
        if (said := self.status()) != self._said:
            lines.append(f"STATUS={said}")
        if self.watchdog is not None and self._moves():
            lines.append("WATCHDOG=1")
        if lines and self._send(*lines):
            self._said, self._owed = said, False

    def _moves(self) -> bool:
        """Does the loop serve what is posted to it?"""
        served = self.loop.counts.ticked_at
        for_ = self.clock() - (self._began if served is None else served)
        stuck = for_ > self.loop.period + SLACK
        if stuck and not self._stuck:
            log.error("the loop has served nothing for %.0f s: no sign of life is given", for_)
        self._stuck = stuck
        return not stuck

    def status(self) -> str:
        """One line for `systemctl status`."""
        snapshot = self.loop.snapshot
        if snapshot is None:
            return "waiting for the first sample"
        there = snapshot.residents
        busy = sum(r.busy for r in there)
        parts = [f"{len(there)} model{'' if len(there) == 1 else 's'} there, {busy} at work"]
        found = rooms(snapshot, self.loop.policy)
        if found:
            least = min(found, key=lambda room: room.headroom)
            parts.append(f"least headroom {size(least.headroom)}, of {least.pool}")
        if snapshot.blind:
            parts.append(f"cannot be read: {', '.join(sorted(snapshot.blind))}")
        if self.loop.findings:
            parts.append(f"findings: {len(self.loop.findings)}")
        return _line("; ".join(parts))

    # -- the socket

    def _send(self, *lines: str) -> bool:
        """Was it taken? Never waits: what the manager has no place for now is said again."""
        if self.address is None:
            return True
        path = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.setblocking(False)
                line.sendto("\n".join(lines).encode("utf-8", "replace"), path)
        except BlockingIOError:
            return False
        except OSError as error:
            if not self._silent:
                log.warning("the service manager cannot be told: %s", error)
            self._silent = True
            return False
        self._silent = False
        return True


def _line(text: str) -> str:
    """As one line that a terminal can show."""
    return printable(text, " ")[:LONGEST]
