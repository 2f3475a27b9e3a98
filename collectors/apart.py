"""A collector in a process of its own: what hangs or crashes there leaves the daemon whole.

A call into a driver can hang where no signal reaches it. A process with such a thread does not
end when it is killed: its port stays bound, its locks stay taken, and no second daemon can start.
A child that hangs so is left behind alone. `python -m benchmarks owning` shows both.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from .child import framed, unframed
from .errors import CollectorError, NoAnswer
from .reading import Incident, Sample, Seconds, Tier

DEADLINE = Seconds(2.0)
START = Seconds(60.0)  # for a first answer; a driver wakes eight sleeping GPUs in 10 to 20 s
GIVE_UP = Seconds(15.0)  # for any other; then the child is killed
FIRST_PAUSE, LONGEST_PAUSE = Seconds(1.0), Seconds(60.0)  # before the next child; it doubles
SLACK = Seconds(0.25)  # whoever waits for us waits this much longer, so as to hear why
FAREWELL = Seconds(0.2)  # for a child to end, each time it is told to
TAIL = 2000  # bytes of what it printed last

Reply = tuple[Sample | None, str]  # a sample, or why there is none
Process = subprocess.Popen[bytes]


class Apart:
    """Has `target` ("module:Class", made with root=root in the child) read in a child process.

    A child is started by the first `read` and by the first one after its end: at once after
    `close`, else after a pause. It dies with the thread that started it, so `read` belongs on
    one that stays. `generation` counts the children.
    """

    def __init__(
        self,
        name: str,
        target: str,
        root: Path = Path("/"),
        deadline: Seconds = DEADLINE,
        clock: Callable[[], float] = time.monotonic,
        kill: Callable[[Process], None] = subprocess.Popen.kill,
    ) -> None:
        self.name, self.deadline = name, Seconds(deadline + SLACK)
        self.generation = 0
        self._target, self._root, self._wait = target, root, deadline
        self._clock, self._kill = clock, kill
        self._lock = threading.Lock()  # never held while an answer is waited for
        self._child: _Child | None = None
        self._failures = 0  # children in a row that did not last
        self._next_start, self._why = -1.0, ""  # when, and what became of the last one
        self._missed: tuple[Incident, ...] = ()  # out of answers that came too late

    def read(self, tiers: Tier) -> Sample:
        """Raises CollectorError: the collector's own, or what is wrong with its process."""
        started = self._clock()
        with self._lock:
            child = self._usable(started)
            child.in_use.acquire()  # from here on close() leaves its socket open
        try:
            reply, ended = self._exchange(child, tiers, started), False
        except OSError:  # its end of the line is closed
            reply, ended = None, True
        finally:
            child.in_use.release()
        if reply is None:
            with self._lock:
                raise self._fault(child, ended)
        sample, why = reply
        if sample is None:
            raise CollectorError(why)
        missed, self._missed = self._missed, ()
        return replace(sample, incidents=missed + sample.incidents) if missed else sample

    def close(self) -> None:
        """End the child, and a `read` that waits for it; takes half a second at most.

        One that cannot be killed is left behind. May be called from any thread.
        """
        with self._lock:
            child = self._child
            if child is None:
                return
            child.ending_since = child.ending_since or self._clock()
            self._failures, self._next_start = 0, -1.0
            child.hang_up()
            if not child.ends_within(FAREWELL):
                self._kill(child.process)
                child.ends_within(FAREWELL)
            if child.process.poll() is not None:
                self._forget(child)

    @property
    def pid(self) -> int | None:
        """Of the child that there is now, be it alive or left behind."""
        child = self._child
        return None if child is None else child.process.pid

    def _usable(self, now: float) -> _Child:
        child = self._child
        if child is not None and child.ending_since is not None:
            if child.process.poll() is None:  # never a second one beside it
                raise NoAnswer(_still_there(child, now - child.ending_since))
            self._forget(child)
            child = None
        if child is not None:
            return child
        if now < self._next_start:
            left = self._next_start - now
            raise CollectorError(f"{self._why}; another is started in {left:.0f} s")
        try:
            child = _Child(self._target, self._root, now)
        except OSError as error:
            raise CollectorError(self._pause(f"its process cannot be started: {error}")) from error
        self._child = child
        self.generation += 1
        return child

    def _exchange(self, child: _Child, tiers: Tier, started: float) -> Reply | None:
        """None: there is no answer yet. Raises OSError where the child has ended."""
        if child.asked_at is not None:  # the call before was given up
            late = child.receive(self._clock, started)
            if late is None:
                return None
            if late[0] is not None:  # its numbers are old; what happened is told only once
                self._missed += late[0].incidents
        child.ask(tiers, self._clock())
        return child.receive(self._clock, started + self._wait)

    def _fault(self, child: _Child, ended: bool) -> CollectorError:
        """Why there is no answer. Kills a child that has kept us waiting for too long."""
        now = self._clock()
        if child.ending_since is not None:
            return CollectorError("was closed")
        if ended:
            child.ending_since = now
            child.ends_within(FAREWELL)
            return CollectorError(self._pause(child.obituary()))
        waited = now - (child.asked_at or now)
        if waited <= (GIVE_UP if child.answered else START):
            if not child.answered:
                return NoAnswer(f"is starting ({now - child.started:.0f} s)")
            if waited <= self.deadline:
                return NoAnswer(f"no answer within {self._wait:g} s")
            return NoAnswer(f"no answer for {waited:.0f} s")
        child.ending_since = now
        self._kill(child.process)
        killed = f"no answer for {waited:.0f} s: process {child.process.pid} was killed"
        return NoAnswer(self._pause(killed))

    def _pause(self, why: str) -> str:
        """Put the next start off. Returns `why`, for the fault."""
        now, child = self._clock(), self._child
        if child is not None and child.answered and now - child.started >= LONGEST_PAUSE:
            self._failures = 0
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures, 10))
        self._failures += 1
        self._next_start, self._why = now + pause, why
        return why

    def _forget(self, child: _Child) -> None:
        with child.in_use:
            child.release()
        self._child = None


class _Child:
    """A running child, and the one call that may be under way in it."""

    def __init__(self, target: str, root: Path, now: float) -> None:
        self.started, self.answered = now, False
        self.asked_at: float | None = None  # None: it waits for a question
        self.ending_since: float | None = None  # when it was told to end, or was seen to
        self.in_use = threading.Lock()
        self._received, self._tail = bytearray(), b""
        self._line, its_end = socket.socketpair()
        # The very path of this process, and not the working directory, which anyone may fill.
        path = os.pathsep.join(os.path.abspath(p) for p in sys.path)
        command = [sys.executable, "-P", "-m", "collectors.child", target, str(root)]
        try:
            self.process = subprocess.Popen(
                [*command, str(os.getpid())],
                env={**os.environ, "PYTHONPATH": path},
                stdin=its_end.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError:
            self._line.close()
            raise
        finally:
            its_end.close()
        assert self.process.stderr is not None
        self._stderr = self.process.stderr
        os.set_blocking(self._stderr.fileno(), False)
        self._poll = select.poll()
        self._poll.register(self._line, select.POLLIN)
        self._poll.register(self._stderr, select.POLLIN)

    def ask(self, tiers: Tier, now: float) -> None:
        self._line.sendall(framed(tiers))  # some 60 bytes to one that waits: never blocks
        self.asked_at = now

    def receive(self, clock: Callable[[], float], until: float) -> Reply | None:
        """An answer, or None if there is none by `until`. Raises OSError if there cannot be one."""
        while (reply := unframed(self._received)) is None:
            events = self._poll.poll(max(0.0, until - clock()) * 1000)
            if not events:
                return None
            for fd, _ in events:
                if fd == self._line.fileno():
                    data = self._line.recv(1 << 18)
                    if not data:
                        raise ConnectionResetError
                    self._received += data
                elif not self._listen():
                    self._poll.unregister(fd)
        self.asked_at, self.answered = None, True
        answer: Reply = reply
        return answer

    def hang_up(self) -> None:
        """For the child, and for a `receive` in another thread, this is EOF."""
        with contextlib.suppress(OSError):  # it was first
            self._line.shutdown(socket.SHUT_RDWR)

    def ends_within(self, seconds: float) -> bool:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def release(self) -> None:
        self._line.close()
        self._stderr.close()

    def obituary(self) -> str:
        """How it ended, with the last line that it printed."""
        status = self.process.poll()
        if status is None:
            return f"process {self.process.pid} is ending"
        while self._listen():
            pass
        how = f"with status {status}" if status >= 0 else f"by {signal.Signals(-status).name}"
        lines = self._tail.decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"its process ended {how}" + (f": {last[:200]}" if last else "")

    def _listen(self) -> bool:
        """Take what it printed. False: there was nothing, or there will be nothing more."""
        try:
            data = self._stderr.read(1 << 16)
        except OSError:
            data = None
        self._tail = (self._tail + (data or b""))[-TAIL:]
        return bool(data)


def _still_there(child: _Child, since: float) -> str:
    pid = child.process.pid
    if since < FIRST_PAUSE:
        return f"process {pid} is ending"
    state = _state(pid)
    told = f" (state {state})" if state else ""
    return f"process {pid} hangs in the driver and cannot be killed{told}"


def _state(pid: int) -> str:
    """The letter of the thread that keeps a process from ending. "": cannot be had."""
    try:
        stats = [p.read_text() for p in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:
        return ""
    letters = sorted(text.rpartition(")")[2].split()[0] for text in stats)
    return letters[0] if letters else ""  # "D" before "R", "S" and "Z"
