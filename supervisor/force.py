"""How each rung of the ladder is carried out: by the engine, by its unit, by signals.

What is done here is never decided here: a plan has named the model and the rungs.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from collectors.process import read_times
from collectors.reading import ProcessTimes

from .core.ladder import Rung
from .core.snapshot import Ability, EngineId, Resident
from .engines.base import Engine, EngineDown, EngineRefused

SIGNALS = {Rung.TERM: signal.SIGTERM, Rung.KILL: signal.SIGKILL}


class Service(Protocol):
    """The unit or container that a whole engine runs in. Every call raises EngineError alone."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


@dataclass(slots=True)
class Force:
    """`started` says when a process was seen to start, in the kernel's own time: no other of the
    same pid is ever signalled."""

    engines: Mapping[EngineId, Engine]
    services: Mapping[EngineId, Service] = field(default_factory=dict)
    started: Callable[[int], float | None] = lambda pid: None
    times: Callable[[Iterable[int]], Mapping[int, ProcessTimes]] = read_times

    def engine(self, id: EngineId) -> Engine:
        """Raises EngineDown where there is none of that name any more."""
        if (engine := self.engines.get(id)) is None:
            raise EngineDown(id, "find it", "another engine answers at its address")
        return engine

    async def take(self, rung: Rung, resident: Resident) -> None:
        """Do it. Raises EngineError."""
        engine, model = self.engine(resident.engine), resident.model
        match rung:
            case Rung.SLEEP | Rung.DEEP_SLEEP:
                await engine.sleep(model, deep=rung is Rung.DEEP_SLEEP)
            case Rung.UNLOAD:
                await engine.unload(model)
            case Rung.RESTART if Ability.RESTART in engine.abilities:
                await engine.restart()
            case Rung.RESTART:
                await _anew(self._service(engine))
            case Rung.STOP:
                await self._service(engine).stop()
            case Rung.TERM | Rung.KILL:
                for pid in resident.pids:
                    self._signal(engine, pid, SIGNALS[rung])

    async def restart(self, id: EngineId) -> None:
        """A whole engine, that may be down. Raises EngineError."""
        engine = self.engines.get(id)
        if engine is None:
            raise EngineRefused(id, "restart the engine", "it is not known")
        if Ability.RESTART in engine.abilities:
            await engine.restart()
        else:
            await _anew(self._service(engine))

    async def start(self, engine: EngineId) -> bool:
        """Start an engine that was stopped. False: nobody knows how."""
        if engine not in self.services:
            return False
        await self.services[engine].start()
        return True

    def _service(self, engine: Engine) -> Service:
        found = self.services.get(engine.id)
        if found is None:
            why = "no unit and no container is named for it"
            raise EngineRefused(engine.id, "stop the engine", why)
        return found

    def _signal(self, engine: Engine, pid: int, number: signal.Signals) -> None:
        call = f"{number.name} to {pid}"
        try:
            handle = os.pidfd_open(pid)  # from here on it is this process and no other
        except ProcessLookupError:
            return
        except OSError as error:
            raise EngineRefused(engine.id, call, str(error.strerror)) from error
        except AttributeError as error:
            why = "this system has no pidfd, and a pid alone may be somebody else's by now"
            raise EngineRefused(engine.id, call, why) from error
        try:
            now = self.times({pid}).get(pid)
            if now is None:
                return
            if now.started != self.started(pid):
                raise EngineRefused(engine.id, call, "it is not the process that held the model")
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return
        except PermissionError as error:
            why = "not permitted: run the daemon as the engine's user or with CAP_KILL"
            raise EngineRefused(engine.id, call, why) from error
        finally:
            os.close(handle)


async def _anew(service: Service) -> None:
    """Stopped, and started again also where the daemon ends meanwhile."""
    try:
        await service.stop()
    except asyncio.CancelledError:
        await asyncio.shield(service.start())
        raise
    await service.start()
