"""Models that are processes of our own, started from a command: at most one process a model."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from supervisor import __version__
from supervisor.children.cgroup import Groups
from supervisor.children.child import GRACE, Start, StillThere
from supervisor.children.keep import Keep
from supervisor.children.kin import MARK
from supervisor.children.ports import LOOPBACK
from supervisor.children.records import fingerprint
from supervisor.children.spawn import CannotStart, Program, handed_down
from supervisor.children.visible import is_bound, visible
from supervisor.config.forms import split_url
from supervisor.config.served import Served, WhenDaemonEnds, fill
from supervisor.core.snapshot import EngineId, ModelId

from .base import Checked, EngineDown, EngineRefused
from .launched import Launched, Phase, Status, Told


class OwnProcess(Launched):
    """To load is to run its command, to unload is to end it with all that it started."""

    kind: ClassVar[str] = "process"
    title: ClassVar[str] = "a process of ours"
    checked: ClassVar[Checked] = Checked.REAL

    def _begin(self, key: str | None, options: Any) -> None:
        super()._begin(key, options)
        self.runner = Processes(self.id, self.told, self._served)
        # Where it answers is the runner's word: till then somebody else may have the port.
        self._served = {m: s.model_copy(update={"url": None}) for m, s in self._served.items()}


@dataclass(slots=True)
class _Wish:
    """A model, and the accelerators that its latest start is planned for."""

    served: Served
    devices: Sequence[str] = field(default=())


class Processes:
    """The Runner: words of the configuration to programs, and what is kept of them to words."""

    def __init__(
        self,
        id: EngineId,
        told: Told,
        served: Mapping[ModelId, Served],
        groups: Groups | None = None,
    ) -> None:
        self._id = id
        self._wishes = {model: _Wish(each) for model, each in served.items()}
        stops = told.table.when_daemon_ends is WhenDaemonEnds.STOP
        starts = {str(m): _start(m, wish, stops) for m, wish in self._wishes.items()}
        self.keep = Keep(id, told.folder, starts, ends_with_daemon=stops, groups=groups)

    async def version(self) -> str:
        return __version__

    async def status(self) -> Mapping[ModelId, Status]:
        try:
            await self.keep.look()
        except OSError as error:
            raise EngineDown(self._id, "look", _unusable(error)) from None
        return {
            model: replace(self._status(model), anywhere=_goes_anywhere(wish.served))
            for model, wish in self._wishes.items()
        }

    def _status(self, model: ModelId) -> Status:
        child = self.keep.children.get(model)
        if child is None:
            ended = self.keep.ended.get(model)
            if ended is None:
                return Status(Phase.STOPPED)
            return Status(Phase.STOPPED, ended.run, trouble=ended.text, failed=True)
        main = child.kindred.main
        pid = None if main is None else main.pid
        if child.leaving and not child.again:
            return Status(Phase.STOPPING, child.run, pid=pid)
        if not child.answers or child.again:
            return Status(Phase.STARTING, child.run, pid=pid)
        url = self._wishes[model].served.url or f"http://{LOOPBACK}:{child.record.port}"
        return Status(Phase.RUNNING, child.run, url, pid)

    async def start(self, model: ModelId, devices: Sequence[str]) -> None:
        self._wishes[model].devices = tuple(devices)
        try:
            await self.keep.start(model)
        except CannotStart as error:
            raise EngineRefused(self._id, f"start {model}", str(error), 500) from None
        except StillThere as error:
            raise EngineRefused(self._id, f"start {model}", f"of before, {error}", 500) from None
        except OSError as error:
            raise EngineRefused(self._id, f"start {model}", _unusable(error), 500) from None

    async def stop(self, model: ModelId) -> None:
        try:
            await self.keep.stop(model)
        except StillThere as error:
            raise EngineRefused(self._id, f"stop {model}", str(error), 500) from None
        except OSError as error:
            raise EngineRefused(self._id, f"stop {model}", _unusable(error), 500) from None

    async def logs(self, model: ModelId, lines: int) -> tuple[str, ...]:
        return await asyncio.to_thread(self.keep.log(model).tail, lines)

    async def close(self) -> None:
        await self.keep.close()


def _goes_anywhere(served: Served) -> bool:
    """Is it ours to say which accelerators it sees?"""
    said = handed_down(os.environ).keys() | (served.environment or {}).keys()
    return served.gpus is not False and not is_bound(said, served.command or ())


def _start(model: ModelId, wish: _Wish, stops: bool) -> Start:
    served = wish.served
    command = served.command or ()

    def program(port: int, mark: str) -> Program:
        values = {"PORT": str(port), "MODEL": str(model)}
        values |= {k: fill(text, values) for k, text in (served.variables or {}).items()}
        said = {k: fill(text, values) for k, text in (served.environment or {}).items()}
        own = handed_down(os.environ)
        shown = visible(wish.devices, own.keys() | said.keys()) if served.gpus is not False else {}
        return Program(
            command=tuple(fill(word, values) for word in command),
            environment={**own, **shown, **said, MARK: mark},
            ends_with_daemon=stops,
            folder=served.folder or Path("/"),
        )

    return Start(
        program,
        fingerprint(
            command,
            served.variables,
            served.environment,
            served.folder,
            served.memory_limit,
            served.url,
            served.gpus,
        ),
        port=None if served.url is None else split_url(served.url)[2],
        memory=served.memory_limit,
        signal=served.stop_signal or signal.SIGTERM,
        grace=GRACE if served.stop_timeout is None else served.stop_timeout,
    )


def _unusable(error: OSError) -> str:
    return f"{error.filename or 'its folder'}: {error.strerror or error}; is state_dir writable?"
