"""The unit or container that a whole engine runs in, as one thing to start and to stop.

It is the runner of a launched engine of one model, which stands for all of the server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .config.served import Launching, Served
from .core.snapshot import EngineId, ModelId
from .engines.base import Engine
from .engines.launched import Launched, Told

SERVER = ModelId("server")
# The key of its table that names it, by the kind that starts such a one.
NAMED_BY = {"systemd": "unit", "container": "container"}


@dataclass(frozen=True, slots=True)
class Service:
    launched: Engine

    async def start(self) -> None:
        await self.launched.load(SERVER)

    async def stop(self) -> None:
        """Returns when it has ended."""
        await self.launched.unload(SERVER)

    async def pid(self) -> int | None:
        """Its main process, where it runs and that is on this machine. Raises EngineError."""
        assert isinstance(self.launched, Launched), "others have no runner"
        # Not its list: who lists a launched engine looks after it, and this one is not ours.
        status = (await self.launched.runner.status()).get(SERVER)
        return None if status is None else status.pid


def service(kind: str, name: str, folder: Path, launch: Callable[[str, Told], Engine]) -> Service:
    """`launch` makes an engine of a kind with what it is told; `folder` is its own."""
    served = Served.model_validate({NAMED_BY[kind]: name})
    table = Launching(served={SERVER: served})
    return Service(launch(kind, Told(table, _mute, folder)))


def _mute(kind: str, id: EngineId, url: str) -> Engine:
    raise AssertionError("nobody is asked inside: it has an adapter of its own")
