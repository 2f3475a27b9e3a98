"""Holds on to one process, so that nothing is ever done to another that got its pid."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from contextlib import suppress

from . import kin

POLL = 0.2  # seconds between two looks, where the kernel does not tell of an end


class Handle:
    """A process by its pid and its start; `ours`: a child of this daemon, which waits for it.

    Its end is seen and it is not waited for until `reap`: till then its pid, its session and its
    group are nobody else's. `code` is its exit code, negative for a signal; None where nobody
    can tell, as of one that was adopted. Raises ProcessLookupError where there is no such process.
    """

    def __init__(self, pid: int, started: int | None = None, *, ours: bool) -> None:
        self.pid, self.ours = pid, ours
        self.code: int | None = None
        self._ended = self._reaped = False
        self._fd = _pidfd(pid)
        found = kin.birth(pid)
        if found is None or started not in (None, found):
            self.close()
            raise ProcessLookupError(f"there is no process {pid} that started then")
        self.started = found

    @property
    def is_its_own(self) -> bool:
        """Can its pid be nobody else's? It runs, or was not waited for."""
        return not self._reaped if self.ours else not self.has_ended()

    def has_ended(self) -> bool:
        if not self._ended:
            self._ended = self._look()
        return self._ended

    async def wait(self) -> None:
        """Until it has ended."""
        while not self.has_ended():
            if self._fd is None:
                await asyncio.sleep(POLL)
                continue
            loop, told = asyncio.get_running_loop(), asyncio.Event()
            fd = os.dup(self._fd)  # several may wait
            loop.add_reader(fd, told.set)
            try:
                await told.wait()
            finally:
                loop.remove_reader(fd)
                os.close(fd)

    def send(self, number: signal.Signals) -> None:
        """A signal to it alone. Nothing, once it has ended."""
        if not self.has_ended():
            send(self.pid, self.started, number)

    def send_group(self, number: signal.Signals) -> None:
        """A signal to its group, in one go: a process that forks meanwhile does not escape."""
        if self.is_its_own:
            with suppress(OSError):
                os.killpg(self.pid, number)

    def reap(self) -> None:
        """Let go of the pid of a child that has ended."""
        if self.ours and not self._reaped and self.has_ended():
            self._reaped = True
            with suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _look(self) -> bool:
        if self.ours:
            return self._look_at_child()
        if self._fd is not None:
            return _is_readable(self._fd)
        return not kin.runs(self.pid, self.started)

    def _look_at_child(self) -> bool:
        try:
            if not hasattr(os, "waitid"):  # macOS, with an older Python
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.code, self._reaped = os.waitstatus_to_exitcode(status), True
                return bool(pid)
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:  # somebody else has waited for it
            self._reaped = True
            return True
        if found is None:
            return False
        self.code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        return True


def send(pid: int, started: int, number: signal.Signals) -> None:
    """A signal to the process `pid`, if it is the one that started then. Nothing, if it is gone
    or may not be told."""
    fd = _pidfd(pid)
    try:
        if kin.birth(pid) != started:
            return
        with suppress(OSError):
            if fd is None:
                os.kill(pid, number)
            else:
                signal.pidfd_send_signal(fd, number)
    finally:
        if fd is not None:
            os.close(fd)


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, an old kernel, or nobody there
        return None


def _is_readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
