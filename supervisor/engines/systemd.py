"""Models that are units of systemd, over D-Bus.

A look at a running unit costs 0.6 ms here and 0.4 ms in systemd; asked of ten through the program
systemctl it was 12 ms and 10 ms (systemd 252). A unit that is not loaded is not asked to be,
because that would read its file each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from collectors.reading import Seconds
from supervisor.config.served import Served
from supervisor.core.snapshot import EngineId, ModelId

from . import unit as words
from .base import Checked, EngineConfused, EngineDown, EngineRefused, Habit
from .bus import Bus, BusRefused
from .journalctl import last_lines
from .launched import Launched, Phase, Status, Told

NAME = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
MANAGER = f"{NAME}.Manager"
PROPERTIES = "org.freedesktop.DBus.Properties"
# The end of a job is told to whoever asked for it, without any subscription.
MOST_JOBS = 1000  # whose results are kept: more than a machine has in a moment
JOBS = f"type='signal',sender='{NAME}',interface='{MANAGER}',member='JobRemoved'"
GONE = f"{NAME}.NoSuchUnit"
FORBIDDEN = (
    "org.freedesktop.DBus.Error.AccessDenied",
    "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
)

GRACE = Seconds(5.0)  # beyond the time that a unit is given to stop, for the kill and its end
LONGEST = Seconds(300.0)  # for a unit whose time to stop has no end


class Systemd(Launched):
    kind: ClassVar[str] = "systemd"
    title: ClassVar[str] = "a systemd unit"
    checked: ClassVar[Checked] = Checked.REAL
    runner: Units

    def _begin(self, key: str | None, options: Any) -> None:
        super()._begin(key, options)
        self.runner = Units(self.id, self.told, self._served)

    async def habits(self) -> tuple[Habit, ...]:
        return await self.runner.habits()


class Units:
    """The units of one engine: a Runner."""

    def __init__(self, engine: EngineId, told: Told, served: Mapping[ModelId, Served]) -> None:
        self._engine, self._served, self._user = engine, served, told.table.user
        self._units = {model: one.unit or f"{model}.service" for model, one in served.items()}
        where = told.table.socket
        address = words.address(user=self._user) if where is None else f"unix:path={where}"
        self._bus = Bus(engine, address, JOBS, self._hear)
        self._absent: dict[str, str | None] = {}  # why a unit cannot be had; None: it can
        self._jobs: dict[str, str] = {}  # the results of the last jobs
        self._started: dict[str, str] = {}  # the job that we asked for, by unit
        self._stopped: dict[str, str] = {}  # the run that we ended, by unit
        self._news = asyncio.Event()

    async def version(self) -> str:
        reply = await self._call(PATH, PROPERTIES, "Get", "ss", MANAGER, "Version")
        return f"systemd {getattr(reply, 'value', reply)}"

    async def status(self) -> Mapping[ModelId, Status]:
        looks = (self._status(unit) for unit in self._units.values())
        return dict(zip(self._units, await asyncio.gather(*looks), strict=True))

    async def start(self, model: ModelId, devices: Sequence[str]) -> None:
        """What it may see of the machine stands in its unit: `devices` cannot be passed on."""
        unit = self._units[model]
        await self._thaw(unit, await self._look(unit))
        self._stopped.pop(unit, None)
        self._started[unit] = str(await self._manage("StartUnit", "ss", unit, "replace"))
        self._absent[unit] = None

    async def stop(self, model: ModelId) -> None:
        unit, kill_after = self._units[model], self._served[model].stop_timeout
        properties = await self._look(unit)
        self._started.pop(unit, None)
        if properties is None:
            return
        await self._thaw(unit, properties)
        self._stopped[unit] = words.run_of(properties)
        try:
            job = str(await self._manage("StopUnit", "ss", unit, "replace"))
        except BusRefused as no:
            if no.name == GONE:
                return
            raise
        given = int(properties.get("TimeoutStopUSec") or 0) / 1e6
        result = await self._end_of(job, kill_after or min(given + GRACE, LONGEST))
        if result is None and kill_after is not None:
            await self._manage("KillUnit", "ssi", unit, "all", 9)
            result = await self._end_of(job, GRACE)
        await self._confirm(unit, result)

    async def logs(self, model: ModelId, lines: int) -> tuple[str, ...]:
        return await last_lines(self._engine, self._units[model], lines, user=self._user)

    async def close(self) -> None:
        self._bus.close()

    async def habits(self) -> tuple[Habit, ...]:
        found: list[Habit] = []
        for model, unit in self._units.items():
            told = words.habits(unit, await self._loaded(unit))
            found += [Habit(what, remedy, model) for what, remedy in told]
        return tuple(found)

    # -- what a unit is doing

    async def _status(self, unit: str) -> Status:
        if unit not in self._absent:
            await self._loaded(unit)  # once: is there such a unit?
        properties = await self._look(unit)
        if properties is None:
            return Status(Phase.STOPPED, trouble=self._absent[unit] or self._why_not(unit))
        status = words.read(unit, properties)
        if status.phase is not Phase.STOPPED:
            return status
        if unit in self._started and _is_pending(properties):  # how it ended before is no matter
            return Status(Phase.STARTING, status.run)
        if await self._left_over(unit, properties):
            trouble = f"{unit} has ended, and what it had started runs on"
            return Status(Phase.STOPPING, status.run, trouble=trouble)
        if self._stopped.get(unit) == status.run:  # 143 after our SIGTERM is no trouble
            return Status(Phase.STOPPED, status.run)
        return Status(Phase.STOPPED, status.run, trouble=status.trouble or self._why_not(unit))

    def _why_not(self, unit: str) -> str | None:
        """Why a unit that we had started neither runs nor failed. None: that is not known."""
        result = self._jobs.get(self._started.get(unit, ""))
        return None if result is None else f"{unit}: {words.of_job(result)}"

    async def _look(self, unit: str) -> dict[str, Any] | None:
        """Its properties. None: it is not loaded, so it neither runs nor failed."""
        try:
            path = await self._call(PATH, MANAGER, "GetUnit", "s", unit)
            return await self._properties(path)
        except BusRefused as no:
            if no.name == GONE or self._absent.get(unit):
                return None
            raise

    async def _loaded(self, unit: str) -> dict[str, Any]:
        """Its properties, also where it has to be loaded for that; empty where it cannot be."""
        try:
            path = await self._call(PATH, MANAGER, "LoadUnit", "s", unit)
            properties = await self._properties(path)
        except BusRefused as no:  # no unit could have such a name
            self._absent[unit] = no.message
            return {}
        state, error = properties.get("LoadState"), properties.get("LoadError") or ("", "")
        there = state in ("loaded", "merged")
        self._absent[unit] = None if there else str(error[1]) or f"Unit {unit} is {state}."
        return properties

    async def _properties(self, path: Any) -> dict[str, Any]:
        found = await self._call(path, PROPERTIES, "GetAll", "s", "")  # of all its interfaces
        if not isinstance(found, dict):
            raise EngineConfused(self._engine, "GetAll", "not a dictionary of properties")
        return {name: getattr(value, "value", None) for name, value in found.items()}

    async def _left_over(self, unit: str, properties: Mapping[str, Any]) -> bool:
        """Are there processes in the group of a unit that has ended?"""
        if not properties.get("ControlGroup"):
            return False
        return bool(await self._call(PATH, MANAGER, "GetUnitProcesses", "s", unit))

    # -- what is done to a unit

    async def _thaw(self, unit: str, properties: Mapping[str, Any] | None) -> None:
        """A frozen unit neither works nor ends."""
        if properties is not None and words.is_frozen(properties):
            await self._manage("ThawUnit", "s", unit)

    async def _confirm(self, unit: str, result: str | None) -> None:
        """The job is over, or time is: is the unit gone? It may have been started again."""
        call = f"stop {unit}"
        properties = await self._look(unit)
        if properties is None:
            return
        phase = words.read(unit, properties).phase
        if phase is not Phase.STOPPED and result is None:
            raise EngineDown(self._engine, call, "it has not ended in time")
        if phase is not Phase.STOPPED:
            why = "something started it again" if result == "done" else words.of_job(result or "")
            raise EngineRefused(self._engine, call, f"it runs on: {why}")
        if await self._left_over(unit, properties):
            why = "what it had started runs on: set KillMode=control-group in it"
            raise EngineRefused(self._engine, call, why)

    async def _end_of(self, job: str, within: Seconds | float) -> str | None:
        """The job's result; None: it is not over yet. Its end may be told before its beginning."""
        try:
            async with asyncio.timeout(within):
                while job not in self._jobs:
                    await self._news.wait()
        except TimeoutError:
            return None
        return self._jobs[job]

    def _hear(self, member: str, body: Sequence[Any]) -> None:
        """All jobs of this manager: a unit that is named by an alias is told of by its own name."""
        if member != "JobRemoved" or len(body) != 4:
            return
        self._jobs[str(body[1])] = str(body[3])
        while len(self._jobs) > MOST_JOBS:
            del self._jobs[next(iter(self._jobs))]
        news, self._news = self._news, asyncio.Event()
        news.set()

    # -- the bus

    async def _manage(self, member: str, signature: str, unit: str, *rest: Any) -> Any:
        try:
            return await self._call(PATH, MANAGER, member, signature, unit, *rest)
        except BusRefused as no:
            if no.name not in FORBIDDEN:
                raise
            why = f"{no.message}; {words.permission(unit, user=self._user)}"
            raise EngineRefused(self._engine, f"{member} {unit}", why, 403) from no

    async def _call(
        self, path: Any, interface: str, member: str, signature: str, *body: Any
    ) -> Any:
        reply = await self._bus.call(NAME, str(path), interface, member, signature, body)
        return reply[0] if reply else None


def _is_pending(properties: Mapping[str, Any]) -> bool:
    """Does a job of it wait to be begun, or is one under way?"""
    job = properties.get("Job")
    return isinstance(job, list | tuple) and bool(job) and bool(job[0])
