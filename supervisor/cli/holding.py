"""Runs a command while something is held for it, and passes on how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

import click

from supervisor.printable import printable

from .client import ClientError, Refused

NOT_FOUND, NOT_RUNNABLE = 127, 126  # as shells have it
BY_SIGNAL = 128

FORWARDED = [
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
]


class Held(Protocol):
    """Something that the daemon keeps for us as long as it hears from us."""

    every: float  # seconds between two renewals

    def began(self, pid: int) -> None: ...

    def renew(self) -> None: ...

    def again(self) -> None:
        """It was lost: ask for it anew. Raises ClientError."""

    def close(self) -> None: ...


def run(command: Sequence[str], held: Held) -> int:
    """Run `command`, renew meanwhile, give back at its end however it comes. Its exit code, or
    128 and the signal that ended it."""
    try:
        return _run(command, held)
    finally:
        try:
            held.close()
        except ClientError as error:  # it runs out by itself
            # The daemon may have seen for itself that the processes have ended.
            if not isinstance(error, Refused) or error.status != 404:
                _warn(f"could not give it back: {error.what}")


def _run(command: Sequence[str], held: Held) -> int:
    try:
        child = subprocess.Popen(command)
    except FileNotFoundError:
        _warn(f"{command[0]}: no such program")
        return NOT_FOUND
    except OSError as error:
        _warn(f"{command[0]}: {error.strerror}")
        return NOT_RUNNABLE
    with _forwarding(child):
        told = _try(held, lambda: held.began(child.pid), True)
        while True:
            try:
                code = child.wait(timeout=held.every)
                break
            except subprocess.TimeoutExpired:
                told = _try(held, held.renew, told)
    return BY_SIGNAL - code if code < 0 else code


def _try(held: Held, ask: Callable[[], None], told: bool) -> bool:
    """The command goes on whatever the daemon says; what is wrong is said once."""
    try:
        try:
            ask()
        except Refused as error:
            if error.status != 404:
                raise
            held.again()
    except ClientError as error:
        if told:
            _warn(f"it could not be renewed, and is asked for again: {error.what}")
        return False
    return True


@contextmanager
def _forwarding(child: subprocess.Popen[bytes]) -> Iterator[None]:
    def forward(number: int, frame: FrameType | None) -> None:
        # A terminal sends these to everybody in front of it, so the child has had its own.
        if number in _FROM_TERMINAL and _in_front():
            return
        child.send_signal(number)

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_FROM_TERMINAL = {getattr(signal, n) for n in ("SIGINT", "SIGQUIT") if hasattr(signal, n)}


def _in_front() -> bool:
    """By the terminal that we have, which need not be where our input comes from."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _warn(text: str) -> None:
    click.echo(f"ullage: {printable(text)}", err=True)
