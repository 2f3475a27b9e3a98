"""Starts a program as a child of the daemon: through a launcher, by the event loop's thread."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from collectors.reading import Seconds

from .handle import Handle

T = TypeVar("T")

LAUNCHER = Path(__file__).with_name("launch.py")
LINE = 3  # the launcher's descriptor to us
START = Seconds(20.0)  # Python needs 15 to 30 ms, on a machine that has time

# Descriptors that programs may have: as many as the daemon had before it took more for itself.
FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[0]

# Of the daemon's environment, what is for the daemon alone: its secrets, and what systemd gave it.
_OWN = ("ULLAGE_", "LISTEN_", "WATCHDOG_")
_OWN_NAMES = frozenset(
    (
        *("NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM", "MAINPID", "SYSTEMD_EXEC_PID"),
        *("MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE", "STATE_DIRECTORY"),
        *("RUNTIME_DIRECTORY", "CONFIGURATION_DIRECTORY", "CACHE_DIRECTORY", "LOGS_DIRECTORY"),
        "CREDENTIALS_DIRECTORY",
    )
)


class CannotStart(Exception):
    """The program was not begun, and nothing of it runs. The message says why."""


@dataclass(frozen=True, slots=True)
class Program:
    """What is run, in the end, by exec. `groups` are the files by which it joins control groups."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path = Path("/")
    ends_with_daemon: bool = True
    groups: tuple[str, ...] = ()


def handed_down(environ: Mapping[str, str]) -> dict[str, str]:
    """What a child gets of the daemon's environment."""
    return {k: v for k, v in environ.items() if not k.startswith(_OWN) and k not in _OWN_NAMES}


async def spawn(program: Program, log: int, known: Callable[[Handle], None]) -> Handle:
    """A process that has begun with `program`, and writes to the descriptor `log`.

    `known` writes it down, before it may do anything, in a thread, as a disk may be slow; it may
    raise OSError. Raises CannotStart.
    Called on the main thread, whose end is the daemon's: a child that is to end with the daemon
    would end with any other thread that had started it.
    """
    ours, theirs = socket.socketpair()
    handle: Handle | None = None
    try:
        ours.setblocking(False)
        handle = Handle(_launch(theirs, log), ours=True)
        theirs.close()
        await finished(asyncio.to_thread(known, handle))
        async with asyncio.timeout(START):
            wrong = await _converse(ours, program)
        if wrong:
            raise CannotStart(_in_words(wrong, program))
    except (OSError, TimeoutError) as error:
        await _undo(handle)
        why = f"it has not begun within {START:g} s"
        if isinstance(error, OSError) and not isinstance(error, TimeoutError):
            why = f"{error.filename or program.command[0]}: {error.strerror or error}"
        raise CannotStart(why) from None
    except BaseException:
        await _undo(handle)
        raise
    finally:
        ours.close()
        theirs.close()
    return handle


def _launch(theirs: socket.socket, log: int) -> int:
    """The launcher's pid; it waits to be told."""
    # Out of the way of 0 to 3, which are laid over one by one.
    line = fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, 10)
    log = fcntl.fcntl(log, fcntl.F_DUPFD_CLOEXEC, 10)
    try:
        return os.posix_spawn(
            sys.executable,
            # Nothing of the environment, of site-packages or of the working folder gets in.
            [sys.executable, "-I", "-S", "-X", "utf8", str(LAUNCHER)],
            handed_down(os.environ),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
                (os.POSIX_SPAWN_DUP2, line, LINE),
            ],
        )
    finally:
        os.close(line)
        os.close(log)


async def _converse(line: socket.socket, program: Program) -> str:
    """Say what is to be done. What went wrong is returned; nothing: the program has begun."""
    told = {
        "command": program.command,
        "environment": dict(program.environment),
        "folder": str(program.folder),
        "ends_with": os.getpid() if program.ends_with_daemon else None,
        "groups": program.groups,
        "files": FILES,
    }
    loop = asyncio.get_running_loop()
    with suppress(BrokenPipeError, ConnectionResetError):  # it says why it ends
        await loop.sock_sendall(line, json.dumps(told).encode() + b"\n")
    answer = b""
    with suppress(ConnectionResetError):
        while piece := await loop.sock_recv(line, 4096):
            answer += piece
    return answer.decode(errors="replace")


def _in_words(wrong: str, program: Program) -> str:
    if wrong == f"{program.command[0]}: {os.strerror(errno.ENOENT)}":
        where = "there" if "/" in program.command[0] else "on the PATH"
        return f"{program.command[0]} is not {where}"
    return wrong


async def finished(
    work: Coroutine[Any, Any, T], undo: Callable[[T], object] = lambda result: None
) -> T:
    """Whoever gives up waits for its end all the same: what it does may have to be undone."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is None:
            undo(task.result())
        raise


async def _undo(handle: Handle | None) -> None:
    if handle is not None:
        handle.send(signal.SIGKILL)
        await handle.wait()
        handle.reap()
        handle.close()
