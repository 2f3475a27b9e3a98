"""Ends a child with everything that it started, whoever of them left the group or the session."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from collectors.reading import Seconds
from supervisor.aside import Aside

from . import kin
from .cgroup import Group
from .handle import Handle, send

LOOK = Seconds(2.0)  # for the process table; what a hung process holds up is not waited for
STEP = 0.05  # seconds between two looks
KILLED = Seconds(5.0)  # what does not end within this after SIGKILL hangs in the kernel


class Kindred:
    """The processes of one child; what was once found is remembered while it runs."""

    def __init__(self, mark: str, main: Handle | None, group: Group | None, aside: Aside) -> None:
        self.mark, self.main, self.group = mark, main, group
        self._aside = aside
        self.known: dict[int, int] = {}
        self.orphans: dict[int, int] = {}  # who may become ours, where we are the first process
        self.whole = True  # the latest look was at all processes

    async def find(self) -> dict[int, int]:
        """Those that run now, the first of them included, as pid → start."""
        root = None
        if self.main is not None and self.main.is_its_own:
            root = self.main.pid, self.main.started
        try:
            found = await self._aside.call(partial(self._look, root), LOOK)
            self.whole = True
        except (TimeoutError, OSError):
            # Somebody's /proc hangs. Who is known, or in its control group, is found all the same.
            self.whole = False
            found = {p: s for p, s in self._grouped().items() if kin.runs(p, s)}
        self.known = found
        if _is_first():
            there = (self.orphans | found).items()
            self.orphans = {pid: started for pid, started in there if kin.birth(pid) == started}
        return found

    def _look(self, root: tuple[int, int] | None) -> dict[int, int]:
        running = kin.table()
        since = 0 if self.main is None else self.main.started
        return kin.members(self.mark, root, self._grouped(), running, since)

    def _grouped(self) -> dict[int, int]:
        """Who is known, the first of them, and who is in its control group."""
        inside = self.group.pids() if self.group is not None else frozenset()
        born = ((pid, kin.birth(pid)) for pid in inside)
        found = self.known | {pid: started for pid, started in born if started is not None}
        if self.main is not None and self.main.is_its_own:
            found[self.main.pid] = self.main.started
        return found


async def end(kindred: Kindred, number: signal.Signals, grace: Seconds) -> frozenset[int]:
    """Ask with `number`, first the main process, then who is left of the others; after `grace`
    seconds they are killed. Returns the pids of those that even that did not end. The main process
    is not waited for: its pid stays its own."""
    main, deadline = kindred.main, time.monotonic() + grace
    rest = await kindred.find()  # while the main process can still tell who is whose
    if main is not None:
        main.send(number)
        main.send(signal.SIGCONT)  # one that is stopped would not hear of it
        with suppress(TimeoutError):
            async with asyncio.timeout_at(_loop_time(deadline)):
                await main.wait()
        rest = await kindred.find()
    if rest and (main is None or main.has_ended()):
        await _ask(kindred, rest, number, deadline)
        rest = await kindred.find()
    # Whom nobody could look for is in the group of the first, whose number is its own until then.
    if rest or not kindred.whole or (main is not None and not main.has_ended()):
        rest = await kill(kindred)
    _reap_orphans(kindred)
    return frozenset(rest)


async def _ask(
    kindred: Kindred, rest: dict[int, int], number: signal.Signals, deadline: float
) -> None:
    for pid, started in rest.items():
        for each in (number, signal.SIGCONT):
            send(pid, started, each)
    while rest and time.monotonic() < deadline:
        await asyncio.sleep(STEP)
        rest = await kindred.find()


async def kill(kindred: Kindred) -> dict[int, int]:
    """Again and again: who forks while it is being killed has new children."""
    main = kindred.main
    for pause in _pauses():
        if kindred.group is not None:
            kindred.group.kill()
        if main is not None:
            main.send_group(signal.SIGKILL)
        for pid, started in (await kindred.find()).items():
            send(pid, started, signal.SIGKILL)
        await asyncio.sleep(pause)
        if not await kindred.find() and (main is None or main.has_ended()):
            return {}
    return await kindred.find()


def _pauses() -> Iterator[float]:
    pause, until = 0.005, time.monotonic() + KILLED
    while time.monotonic() < until:
        yield pause
        pause = min(0.25, 2 * pause)


def _reap_orphans(kindred: Kindred) -> None:
    """As the first process of a container we are the parent of every orphan."""
    main = None if kindred.main is None else kindred.main.pid
    for pid, started in kindred.orphans.items():
        if pid != main and kin.birth(pid) == started:
            with suppress(OSError):
                os.waitpid(pid, os.WNOHANG)


def _is_first() -> bool:
    return os.getpid() == 1


def _loop_time(deadline: float) -> float:
    return asyncio.get_running_loop().time() + max(0.0, deadline - time.monotonic())
