"""Models that are containers, by the API of the Docker Engine, which Podman speaks too.

A handful of calls over a Unix socket, made with the client that everything here is asked by: it
bounds each call in time and bytes. What was seen of Docker 20.10 and Podman 4.3: a paused
container keeps its memory, and Podman does not stop one; a stop is answered when it is over.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import httpx

from collectors.process import cgroup_of
from collectors.reading import Seconds
from supervisor.config.served import Served
from supervisor.core.snapshot import EngineId, ModelId

from . import inspected, wire
from .answer import Json
from .base import Checked, EngineDown, EngineRefused, Habit
from .launched import Launched, Phase, Status, Told
from .wire import Wire

USUAL = Path("/var/run/docker.sock")
STOP_TIMEOUT = Seconds(10.0)  # Docker's own
MARGIN = Seconds(10.0)  # for the kill after that, and the unmounting
_DOWN = {
    errno.EACCES: "let Ullage's user into the group that owns it (docker), which is as good as root"
    " on this machine, or name a rootless socket of its own",
    errno.ENOENT: "is the Docker Engine, or podman.socket, running? Else say where with `socket`;"
    " in Compose, deploy/docker/compose.docker.yml hands it in",
    errno.ECONNREFUSED: "nobody listens there: is the Docker Engine, or podman.socket, running?",
}


class Container(Launched):
    kind: ClassVar[str] = "container"
    title: ClassVar[str] = "a container"
    checked: ClassVar[Checked] = Checked.REAL
    runner: Containers

    def _begin(self, key: str | None, options: Any) -> None:
        super()._begin(key, options)
        self.runner = Containers(self.id, self.told, self._served)

    async def habits(self) -> tuple[Habit, ...]:
        return await self.runner.habits()


class Containers:
    """The containers of one engine: a Runner. `group` tells the control group of a process."""

    def __init__(
        self,
        engine: EngineId,
        told: Told,
        served: Mapping[ModelId, Served],
        group: Callable[[int], str | None] = cgroup_of,
    ) -> None:
        self._engine, self._served, self._group = engine, served, group
        self._names = {model: one.container or model for model, one in served.items()}
        self._socket = told.table.socket or _usual()
        # Nothing is encrypted on a Unix socket: no certificates need to be loaded.
        transport = httpx.AsyncHTTPTransport(uds=str(self._socket), verify=False)
        self._client = httpx.AsyncClient(
            transport=transport, trust_env=False, timeout=wire.PATIENCE
        )
        self._wire = Wire(engine, "http://docker", self._client)
        self._stopped: dict[ModelId, str] = {}  # the run that we ended

    async def version(self) -> str:
        answer = await self._get("/version")
        for part in answer.get("Components") or ():
            return f"{part['Name'].text()} {part['Version'].text()}"
        return answer["Version"].text()

    async def status(self) -> Mapping[ModelId, Status]:
        looks = await asyncio.gather(*(self._status(model) for model in self._names))
        return dict(zip(self._names, looks, strict=True))

    async def start(self, model: ModelId, devices: Sequence[str]) -> None:
        """Which devices it sees was settled when it was made: `devices` cannot be passed on."""
        found = await self._inspect(model)
        if found is None:
            raise EngineRefused(self._engine, f"start {model}", self._absent(model), 404)
        self._stopped.pop(model, None)
        paused = inspected.phase(found) is Phase.PAUSED
        await self._post(model, "unpause" if paused else "start", wire.CONTROL_TIMEOUT)

    async def stop(self, model: ModelId) -> None:
        found = await self._inspect(model)
        if found is None or inspected.phase(found) is Phase.STOPPED:
            return
        self._stopped[model] = inspected.run(found)
        if inspected.phase(found) is Phase.PAUSED:
            await self._post(model, "unpause", wire.CONTROL_TIMEOUT)
        served = self._served[model]
        given = served.stop_timeout or inspected.stop_timeout(found) or STOP_TIMEOUT
        asked = f"stop?t={max(1, round(given))}"
        if served.stop_signal is not None:
            asked += f"&signal={served.stop_signal.name}"
        try:
            await self._post(model, asked, Seconds(given + MARGIN))
        except EngineRefused as no:
            if no.status != 404:  # it was to be removed when it ends
                raise
        after = await self._inspect(model)
        if after is not None and inspected.phase(after) is not Phase.STOPPED:
            raise EngineRefused(self._engine, f"stop {model}", "it runs on, or again")

    async def logs(self, model: ModelId, lines: int) -> tuple[str, ...]:
        found = await self._inspect(model)
        if found is None:
            raise EngineRefused(self._engine, f"logs of {model}", self._absent(model), 404)
        path = f"{self._path(model)}/logs?stdout=1&stderr=1&tail={lines}"
        content = await self._bytes("GET", path)
        text = content if inspected.has_terminal(found) else inspected.joined(content)
        return tuple(text.decode(errors="replace").splitlines()[-lines:])

    async def close(self) -> None:
        await self._client.aclose()

    async def habits(self) -> tuple[Habit, ...]:
        habits: list[Habit] = []
        for model, name in self._names.items():
            if (found := await self._inspect(model)) is not None:
                told = inspected.habits(name, found)
                habits += [Habit(what, remedy, model) for what, remedy in told]
        return tuple(habits)

    async def _status(self, model: ModelId) -> Status:
        name, found = self._names[model], await self._inspect(model)
        if found is None:
            return Status(Phase.STOPPED, trouble=self._absent(model))
        run, phase = inspected.run(found), inspected.phase(found)
        if inspected.health(found) in ("starting", "unhealthy") and phase is Phase.RUNNING:
            phase = Phase.STARTING  # who was ready once stays so, for as long as this run is
        trouble = inspected.trouble(name, found)
        if phase is Phase.STOPPED and self._stopped.get(model) == run:
            trouble = None  # to exit with 143 on our SIGTERM is none
        return Status(phase, run, pid=self._pid(found), trouble=trouble)

    def _pid(self, found: Json) -> int | None:
        """Its first process on this machine. The engine's word counts pids where it runs, which
        may be a virtual machine: the control group of the right one bears the container's id."""
        pid, id = inspected.pid(found), found["Id"].text()
        return pid if pid is not None and id in (self._group(pid) or "") else None

    def _absent(self, model: ModelId) -> str:
        return f"there is no container {self._names[model]}"

    # -- the engine

    def _path(self, model: ModelId) -> str:
        return f"/containers/{quote(self._names[model], safe='')}"

    async def _inspect(self, model: ModelId) -> Json | None:
        """None: there is no such container."""
        try:
            return await self._get(f"{self._path(model)}/json")
        except EngineRefused as no:
            if no.status == 404:
                return None
            raise

    async def _get(self, path: str) -> Json:
        try:
            return await self._wire.get(path)
        except EngineDown as down:
            raise self._worded(down) from down

    async def _post(self, model: ModelId, what: str, within: Seconds) -> None:
        await self._bytes("POST", f"{self._path(model)}/{what}", within)

    async def _bytes(self, method: str, path: str, within: Seconds | None = None) -> bytes:
        try:
            return await self._wire.content(method, path, within)
        except EngineDown as down:
            raise self._worded(down) from down

    def _worded(self, down: EngineDown) -> EngineDown:
        """With what is to be done, where the socket itself is what is wrong."""
        remedy = None if down.number is None else _DOWN.get(down.number)
        if remedy is None:
            return down
        # Without its number: containers may live on where nobody listens, and did not crash.
        return EngineDown(down.engine, down.call, f"{self._socket}: {down.message}; {remedy}")


def _usual() -> Path:
    """Where the Docker Engine's own client looks."""
    told = os.environ.get("DOCKER_HOST", "")
    return Path(told.removeprefix("unix://")) if told.startswith("unix://") else USUAL
