"""Keeps the children of one engine: at most one a model, each with its record, its log, its end."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from collectors.listener import holder
from collectors.reading import Bytes, Seconds
from supervisor.aside import Aside
from supervisor.units import format_size

from . import kin
from .adopt import Fate, look_back
from .cgroup import Group, Groups, NoGroup
from .child import GRACE, Child, Ended, Start, StillThere
from .ending import LOOK, Kindred, end, kill
from .handle import Handle
from .logs import Log, trim
from .ports import LOOPBACK, accepts, free_port, is_taken
from .records import Record, Records
from .spawn import CannotStart, Program, finished, spawn

log = logging.getLogger("ullage.children")

ATTEMPTS = 3  # free ports, of which each may be somebody else's before the child has it
FAREWELL = Seconds(5.0)  # the longest grace at the daemon's end, which has 9 s for all of it
LAST = Seconds(1.0)  # to write down that it is gone
LINGER = 2.0  # seconds between two looks at what not even SIGKILL has ended
SEEN = Seconds(0.5)  # for a look at who serves; one that takes longer goes on beside
QUOTED = 200  # characters of its last words
STOPPING = "the daemon is stopping"


class Keep:
    """`starts` has every model; what runs of others is ended. Nothing outside the process is
    touched before the first call. `ends_with_daemon`: nobody outlives it, and nobody is adopted.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        starts: Mapping[str, Start],
        *,
        ends_with_daemon: bool = True,
        groups: Groups | None = None,
        listens: Callable[[int], int | None] = holder,
    ) -> None:
        self.children: dict[str, Child] = {}
        self.ended: dict[str, Ended] = {}
        self._name, self._records, self._starts = name, Records(folder), starts
        self._ends_with_daemon = ends_with_daemon
        self._groups, self._listens = groups or Groups(), listens
        self._aside = Aside(f"{name}: processes")
        self._locks = {model: asyncio.Lock() for model in starts}
        self._stops = dict.fromkeys(starts, 0)  # how often each was told to end
        self._tasks: set[asyncio.Task[None]] = set()
        self._strays: asyncio.Task[None] | None = None
        self._trimming: asyncio.Task[None] | None = None
        self._issued: set[str] = set()  # marks of whom we know
        self._mark = ""  # begins all our marks; empty until the folder has been looked into
        self._closing = False

    # -- what runs

    async def look(self) -> None:
        """See who serves by now, and keep the logs short. Raises OSError where the folder with
        the records cannot be used."""
        self._begin()
        there = [c for c in self.children.values() if not c.leaving]
        looks = [self._looks(c) for c in there if not c.answers]
        if looks:
            await asyncio.wait(looks, timeout=SEEN)
        if there and (self._trimming is None or self._trimming.done()):
            logs = [self.log(child.record.model) for child in there]
            self._trimming = self._task(asyncio.to_thread(trim, logs), f"{self._name}: logs")

    def log(self, model: str) -> Log:
        return Log(self._records.log_file(model))

    async def start(self, model: str) -> None:
        """Has the program begun when this returns; it need not serve. Nothing, where it runs.
        Raises CannotStart, StillThere or OSError."""
        self._begin()
        stops = self._stops[model]
        async with self._locks[model]:
            while (child := self.children.get(model)) is not None:
                if not child.leaving:
                    return
                await child.over.wait()
                _check(child)
            if self._stops[model] != stops:
                raise CannotStart("it was told to end before it could begin")
            self.ended.pop(model, None)
            await self._spawn(model, 1)

    async def stop(self, model: str) -> None:
        """Returns when it is gone with all that it started. Raises StillThere or OSError."""
        self._begin()
        self._stops[model] += 1
        self.ended.pop(model, None)
        if model not in self.children and self._locks[model].locked():
            async with self._locks[model]:
                pass  # it is being started just now
        while (child := self.children.get(model)) is not None:
            child.told = True
            self._end(child)
            await child.over.wait()
            _check(child)

    async def close(self) -> None:
        """The daemon ends: so do those that are to end with it, all at once, in 7 s at most."""
        self._closing = True
        there = list(self.children.values())
        if self._ends_with_daemon:
            for child in there:
                child.told = True
                self._end(child)
        leaving = [c for c in there if c.leaving]
        waiting: list[asyncio.Task[Any]] = [asyncio.create_task(c.over.wait()) for c in leaving]
        waiting += [task for task in self._tasks if task is self._strays]
        if waiting:
            await asyncio.wait(waiting, timeout=FAREWELL)
            await asyncio.gather(*(kill(c.kindred) for c in leaving if not c.over.is_set()))
            await asyncio.wait(waiting, timeout=LAST)
        tasks = [*self._tasks, *waiting]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for child in self.children.values():
            if child.kindred.main is not None:
                child.kindred.main.close()

    # -- starting

    async def _spawn(self, model: str, attempt: int) -> None:
        start = self._starts[model]
        if self._closing:
            raise CannotStart(STOPPING)
        if start.port is not None and is_taken(start.port):
            raise CannotStart(f"port {start.port} is taken by another program")
        port = start.port or free_port(frozenset(c.record.port for c in self.children.values()))
        mark = f"{self._mark}.{secrets.token_hex(8)}"
        self._issued.add(mark)
        program = start.program(port, mark)
        group = self._group(mark, start.memory)
        record: Record | None = None

        def known(handle: Handle) -> None:
            nonlocal record
            record = Record(
                model=model,
                mark=mark,
                pid=handle.pid,
                started=handle.started,
                boot=kin.boot(),
                port=port,
                fingerprint=start.fingerprint,
                program=program.command[0],
                group=None if group is None else str(group.folder),
            )
            self._records.write(record)

        try:
            handle = await self._begun(model, program, group, known)
        except BaseException:
            if record is not None:
                await finished(asyncio.to_thread(self._records.remove, record))
            if group is not None:
                group.remove()
            raise
        assert record is not None
        log.info("%s/%s: started %s on port %d", self._name, model, program.command[0], port)
        kindred = Kindred(mark, handle, group, self._aside)
        self._watch(Child(record, kindred, start, attempt))

    async def _begun(
        self, model: str, program: Program, group: Group | None, known: Callable[[Handle], None]
    ) -> Handle:
        text = f"{time.strftime('%Y-%m-%d %H:%M:%S')} starting {program.command[0]}"
        try:
            fd = await finished(asyncio.to_thread(self.log(model).begin, text), os.close)
        except OSError as error:
            raise CannotStart(f"its log cannot be written: {error}") from None
        try:
            if self._closing:
                raise CannotStart(STOPPING)
            if group is not None:
                program = replace(program, groups=(group.entry,))
            return await spawn(program, fd, known)
        finally:
            os.close(fd)

    def _group(self, mark: str, limit: Bytes | None) -> Group | None:
        """A group for it. Without a limit one is welcome, with one there is no start without."""
        try:
            return self._groups.make(mark, limit)
        except NoGroup as error:
            if limit is not None:
                raise CannotStart(f"its memory_limit cannot be kept: {error}") from None
            return None

    # -- watching

    def _watch(self, child: Child) -> None:
        self.children[child.record.model] = child
        self._task(self._until_it_ends(child), f"watch {self._name}/{child.record.model}")

    async def _until_it_ends(self, child: Child) -> None:
        main = child.kindred.main
        assert main is not None
        await main.wait()
        if child.leaving:
            return
        text = self._how(child)
        # It has ended because somebody took its port just before it could: no failure.
        again = self._may_try_again(child) and not child.answers and is_taken(child.record.port)
        await self._depart(child, text, again=again)

    def _looks(self, child: Child) -> asyncio.Task[None]:
        """The look at it that is under way, or a new one. Whoever waits may give up, and the next
        one finds what came of it: begun anew each time, on a busy machine it would never end."""
        if child.look is None or child.look.done():
            name = f"look at {self._name}/{child.record.model}"
            child.look = self._task(self._see(child), name)
        return child.look

    async def _see(self, child: Child) -> None:
        """Does it serve its port? Whoever answers there may be somebody else."""
        port = child.record.port
        if not await accepts(LOOPBACK, port):
            return
        try:
            pid = await self._aside.call(partial(self._listens, port), LOOK)
        except (TimeoutError, OSError):
            pid = None
        found = {} if pid is None else await child.kindred.find()
        if pid is None or pid in found or not child.kindred.whole:  # it is ours, or nobody can tell
            child.answers = True
        elif not child.leaving:
            text = f"could not have port {port}: another program has it, pid {pid}"
            self._end(child, text, again=self._may_try_again(child))

    def _may_try_again(self, child: Child) -> bool:
        any_port = child.start is not None and child.start.port is None
        return any_port and child.attempt < ATTEMPTS

    def _how(self, child: Child) -> str:
        main, group = child.kindred.main, child.kindred.group
        code = None if main is None else main.code
        limit = None if child.start is None else child.start.memory
        if limit is not None and group is not None and group.was_short():
            text = f"was killed: it took more than its memory_limit of {format_size(limit)}"
        elif code == -signal.SIGKILL and group is not None and group.was_short():
            text = "was killed by the kernel for want of memory"
        elif code is None:
            text = "ended by itself"
        elif code >= 0:
            text = f"ended with exit code {code}"
        else:
            text = f"was ended by {_named(-code)}"
        words = self.log(child.record.model).last_words()
        return text if words is None else f"{text} ({words[:QUOTED]})"

    # -- ending

    def _end(self, child: Child, failure: str | None = None, *, again: bool = False) -> None:
        if not child.leaving:
            child.leaving = True  # now: nobody else is to begin with it
            work = self._depart(child, failure, again=again)
            self._task(work, f"end {self._name}/{child.record.model}")

    async def _depart(self, child: Child, failure: str | None, *, again: bool = False) -> None:
        """End all of it, and forget it. `failure` is how it failed by itself; `again`: that was
        for want of its port, and another one will do."""
        model = child.record.model
        child.leaving, child.again = True, again
        await self._end_all(child)
        await _remove(child.kindred.group)
        await asyncio.to_thread(self._records.remove, child.record)
        if child.kindred.main is not None:
            child.kindred.main.close()
        if failure is not None and not child.told and not self._closing:
            await asyncio.to_thread(self.log(model).say, failure)
            if again:
                log.info("%s/%s %s; with another port", self._name, model, failure)
                failure = await self._start_again(model, child.attempt + 1)
            if failure is not None:
                log.warning("%s/%s %s", self._name, model, failure)
                self.ended[model] = Ended(child.run, failure)
        if self.children.get(model) is child:
            del self.children[model]
        child.over.set()

    async def _start_again(self, model: str, attempt: int) -> str | None:
        """Why it could not be started; None: it was."""
        try:
            await self._spawn(model, attempt)
        except (CannotStart, OSError) as error:
            return str(error)
        return None

    async def _end_all(self, child: Child) -> None:
        start = child.start
        number = signal.SIGTERM if start is None else start.signal
        grace = GRACE if start is None else start.grace
        child.stuck = await end(child.kindred, number, grace)
        while child.stuck:  # in the kernel, mostly in a driver, and may still come back
            child.over.set()
            await asyncio.sleep(LINGER)
            child.stuck = frozenset(await child.kindred.find())
            if not child.stuck:
                child.over.clear()  # what is to be done at an end is yet to be done
        if child.kindred.main is not None:
            child.kindred.main.reap()

    # -- whom an earlier daemon has left

    def _begin(self) -> None:
        """Once: see to all that was started from this folder before."""
        if self._mark:
            return
        self._mark = self._records.name()
        wanted = (
            {} if self._ends_with_daemon else {m: s.fingerprint for m, s in self._starts.items()}
        )
        for record, fate, handle in look_back(self._records.read(), wanted):
            start = self._starts.get(record.model)
            group = None if record.group is None else Group(Path(record.group))
            child = Child(record, Kindred(record.mark, handle, group, self._aside), start)
            self._issued.add(record.mark)
            name = f"{self._name}/{record.model}, pid {record.pid}"
            if fate is Fate.ADOPTED:
                log.info("%s: adopted", name)
                self._watch(child)
            elif fate is Fate.VOID:
                self._records.remove(record)
            elif fate is Fate.OVER and record.model in wanted:
                self.children[record.model] = child
                self._end(child, "ended while no daemon looked after it")
            else:
                if fate is Fate.UNWANTED:
                    log.info("%s was left by an earlier daemon: ending it", name)
                self.children.setdefault(record.model, child)
                self._end(child)
        self._strays = self._task(self._end_strays(), f"{self._name}: strays")

    async def _end_strays(self) -> None:
        """Processes with a mark of ours, of whose child nothing else is known any more."""
        with suppress(TimeoutError, OSError):
            found = await self._aside.call(lambda: kin.marked(f"{self._mark}.", kin.table()), LOOK)
            for mark in found.keys() - self._issued:
                log.warning(
                    "%s: ending what an earlier daemon has left: %s", self._name, found[mark]
                )
                group = self._groups.find(mark)
                kindred = Kindred(mark, None, group, self._aside)
                kindred.known = found[mark]
                await end(kindred, signal.SIGTERM, GRACE)
                await _remove(group)

    def _task(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _remove(group: Group | None) -> None:
    """The threads of one that was killed may be in its group a moment longer than itself."""
    for pause in (0.01, 0.1, 1.0):
        if group is None or not group.remove():
            return
        await asyncio.sleep(pause)


def _check(child: Child) -> None:
    if child.stuck:
        pids = ", ".join(map(str, sorted(child.stuck)))
        raise StillThere(f"pid {pids} does not end, though it was killed: it hangs in the kernel")


def _named(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
