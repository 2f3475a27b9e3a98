"""Pressure stall information: how long work has waited for memory, and an alarm when it does.

It tells of waiting, not of size, and comes late for one big allocation: it is the alarm, while
what is available and what a load is expected to take are the plan.
"""

from __future__ import annotations

import errno
import os
import re
import select
from pathlib import Path

from .reading import Pressure, Seconds

FILE = "proc/pressure/memory"
STALL, WINDOW = Seconds(0.15), Seconds(1.0)
_LINE = re.compile(rb"^(some|full) .*\btotal=([0-9]{1,18})(?![0-9])", re.MULTILINE)
_UNPRIVILEGED = 2_000_000  # us: windows of others than root are whole multiples of it
_MICRO = 1_000_000


def read(root: Path, group: Path | None = None) -> Pressure | None:
    """Of the whole machine, or of the control group whose folder is `group`.

    None where the kernel does not keep count: it was built or started without, or is too old.
    """
    try:
        return parse((root / FILE if group is None else group / "memory.pressure").read_bytes())
    except OSError:
        return None


def parse(data: bytes) -> Pressure | None:
    """`some avg10=… avg60=… avg300=… total=<us>` and the same for `full`."""
    totals = {kind: Seconds(int(us) / _MICRO) for kind, us in _LINE.findall(data)}
    if len(totals) < 2:
        return None
    return Pressure(some=totals[b"some"], full=totals[b"full"])


def trigger(
    path: str = "/proc/pressure/memory",
    stall: Seconds = STALL,
    window: Seconds = WINDOW,
) -> int | None:
    """A descriptor that has urgent data (POLLPRI) each time some task waited for memory for
    `stall` within `window`, in seconds. None where there can be none.

    Without CAP_SYS_RESOURCE the window is rounded up to 2 s and the stall with it, and the
    kernel looks only every 2 s. Before Linux 6.4 there is none without it.
    """
    if not 0 < stall <= window:
        raise ValueError(f"a stall of {stall} s does not fit into a window of {window} s")
    wanted = round(window * _MICRO)
    rounded = -(-wanted // _UNPRIVILEGED) * _UNPRIVILEGED
    for size in dict.fromkeys((wanted, rounded)):
        try:
            # The capability counts at opening, and a descriptor takes one trigger only.
            fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        except OSError:
            return None  # no PSI, or a /proc that is read-only
        try:
            # The kernel overwrites the last byte that it is given.
            os.write(fd, b"some %d %d\0" % (round(stall * size / window), size))
        except OSError as error:
            os.close(fd)  # without a trigger it would poll as ready for ever
            if error.errno not in (errno.EINVAL, errno.EPERM):
                return None
        else:
            return fd
    return None


class Watch:
    """A trigger for an event loop, which waits for readable descriptors and not for urgent data.

    `loop.add_reader(watch.fileno(), …)`, and in it `watch.drain()`. Takes the descriptor over.
    """

    def __init__(self, trigger: int) -> None:
        self._trigger: int | None = trigger
        self._epoll = select.epoll()
        # Once for each event: nothing here can take the urgent data away.
        self._epoll.register(trigger, select.EPOLLPRI | select.EPOLLET)

    @property
    def gone(self) -> bool:
        """The source exists no more, or the watch was closed. It will not be readable again."""
        return self._trigger is None

    def fileno(self) -> int:
        """What the event loop waits for. -1 once closed."""
        return -1 if self._epoll.closed else self._epoll.fileno()

    def drain(self) -> bool:
        """To be called when `fileno()` is readable. True: there was pressure.

        The event loop's own look has taken the event off the trigger by then (it gives each one
        once), so nothing being left says that there was one.
        """
        if self._trigger is None:
            return False
        if any(event & (select.EPOLLERR | select.EPOLLHUP) for _, event in self._epoll.poll(0)):
            self._release()
            return False
        return True

    def close(self) -> None:
        """Give the descriptors back. Call `loop.remove_reader` before."""
        self._release()
        self._epoll.close()

    def _release(self) -> None:
        if self._trigger is not None:
            fd, self._trigger = self._trigger, None
            self._epoll.unregister(fd)
            os.close(fd)
