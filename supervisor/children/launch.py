"""Becomes the program of a child: run by the daemon, with Python's standard library alone.

What is to be done comes as one line of JSON over descriptor 3, once the daemon has written down
that this process exists; when the daemon ends before that, so does this. Nothing has to be done
between a fork and an exec in a process that has threads. What goes wrong is said over the same
descriptor; it closes by itself when the program begins.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from typing import Any, NoReturn

LINE = 3
WRONG = 127
PR_SET_PDEATHSIG, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 1, 47, 4  # linux/prctl.h
MOST = 1 << 20


def main() -> NoReturn:
    os.closerange(LINE + 1, _open_files())  # whatever a library of the daemon's left open
    os.setsid()  # a session is a group, too: its number is ours, and nobody else's, while it is
    told = _told()
    if told is None:
        os._exit(0)
    step = "starting"
    try:
        for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)  # Python ignores SIGPIPE, and exec keeps that
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if told["ends_with"] is not None:
            _end_with(told["ends_with"])
        _be_no_better_than_others()
        _hand_down_no_rights()
        _take_no_more_files(told["files"])
        for step in told["groups"]:
            with open(step, "w") as group:
                group.write("0")
        step = told["folder"]
        if step is not None:
            os.chdir(step)
        words = [os.fsencode(word) for word in told["command"]]
        environment = {os.fsencode(k): os.fsencode(v) for k, v in told["environment"].items()}
        os.set_inheritable(LINE, False)
        step = told["command"][0]
        os.execvpe(words[0], words, environment)
    except OSError as error:
        os.write(LINE, f"{step}: {error.strerror}".encode(errors="replace"))
    except Exception as error:
        os.write(LINE, f"{step}: {type(error).__name__}: {error}".encode(errors="replace"))
    os._exit(WRONG)


def _told() -> Any:
    """What the daemon says. None: it is gone."""
    received = b""
    while not received.endswith(b"\n"):
        piece = os.read(LINE, MOST)
        if not piece:
            return None
        received += piece
    return json.loads(received)


def _end_with(daemon: int) -> None:
    """Be killed when the daemon dies, however it does."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != daemon:  # it died before we asked
        os._exit(0)


def _be_no_better_than_others() -> None:
    """The daemon may be the last to be killed for want of memory. A model is not."""
    try:
        with open("/proc/self/oom_score_adj", "r+") as file:
            if int(file.read()) < 0:
                file.seek(0)
                file.write("0")
    except (OSError, ValueError):
        pass


def _hand_down_no_rights() -> None:
    """The daemon may have been given capabilities, to look into others' processes. What it runs
    is not to have them. Where the kernel knows no ambient ones, none are handed down."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def _take_no_more_files(most: int) -> None:
    """The daemon takes as many descriptors as it may have; programs that look at what select()
    can do, or close all there could be, are to find what it found."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _open_files() -> int:
    try:
        return min(os.sysconf("SC_OPEN_MAX"), 1 << 20)
    except (OSError, ValueError):
        return 1024


if __name__ == "__main__":
    main()
