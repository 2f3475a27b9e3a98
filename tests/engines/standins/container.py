"""The Docker Engine as its callers see it, over a Unix socket; and Podman, where that differs.

What it answers was seen of Docker 20.10 and Podman 4.3: their words, their statuses, and that
Podman will not stop what is paused.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from supervisor.config.served import Launching
from supervisor.engines.launched import Told

from .serving import Serving

NEVER = "0001-01-01T00:00:00Z"
RUNNING = ("running", "paused", "restarting")


@dataclass
class Box:
    """One container. `starts` says what comes of the next start, `stops` of every stop."""

    name: str
    id: str
    status: str = "created"
    pid: int = 0
    exited: int = 0
    error: str = ""
    killed: bool = False  # for want of memory
    runs: int = 0
    starts: str = "runs"  # runs, fails
    stops: str = "ends"  # ends, lingers, lies, fails, vanishes
    tty: bool = False
    health: dict | None = None
    restart: str = "no"
    removed_after: bool = False
    stop_timeout: int | None = None
    labels: dict = field(default_factory=dict)
    written: list = field(default_factory=list)  # (stream, line)


class StandIn:
    """`async with StandIn(["m1"]) as s`: an engine with one container for each model."""

    def __init__(self, models=("alpha", "beta"), *, podman=False):
        self.models = tuple(models)
        self.boxes = {m: Box(m, f"{i:x}" * 64) for i, m in enumerate(self.models, 1)}
        self.podman = podman
        self.denied = False
        self.serving = Serving(self._answer)
        self._finish = {}

    async def __aenter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="ullage-"))
        self.socket = self.folder / "docker.sock"
        await self.start()
        self.options = self.told(served={m: {"container": m} for m in self.models})
        return self

    async def __aexit__(self, *_):
        await self.stop()
        shutil.rmtree(self.folder)

    async def start(self):
        await self.serving.listen(socket=self.socket)

    async def stop(self):
        await self.serving.close()

    # -- what the contract test asks of every stand-in

    def told(self, **table):
        whole = Launching.model_validate({"socket": str(self.socket), **table})
        return Told(whole, _nobody, self.folder)

    def running(self, model):
        box = self.boxes.get(model)
        return box is not None and box.status in RUNNING

    def crash(self, model):
        """Its process ends by itself."""
        self._end(self.boxes[model], 3)

    def hang(self):
        self.serving.hanging = True

    def deny(self):
        self.denied = True

    def fail_next_start(self, model):
        self.boxes[model].starts = "fails"

    def lie(self, model):
        """It says that it has stopped, and runs on."""
        self.boxes[model].stops = "lies"

    def write(self, model, *lines):
        self.boxes[model].written += [(1, line) for line in lines]

    # -- its own

    def finish(self, model):
        """A stop that was waited for comes to its end."""
        self._finish.setdefault(model, asyncio.Event()).set()

    @property
    def posts(self):
        return [call for call, _ in self.serving.calls if call.startswith("POST")]

    def _end(self, box, exited):
        box.status, box.pid, box.exited = "exited", 0, exited
        if box.removed_after:
            del self.boxes[box.name]

    def _answer(self, method, path, query, body, fields):
        if path == "/version":
            return 200, self._version()
        _, kind, name, what = path.split("/")
        assert kind == "containers"
        box = self.boxes.get(name)
        if self.denied:
            return self._no(403, "authorization denied by plugin opa: not allowed")
        if box is None:
            docker, podman = f"No such container: {name}", f'no container with name or ID "{name}"'
            return self._no(404, podman if self.podman else docker)
        return getattr(self, f"_{what}")(box, query)

    def _version(self):
        if self.podman:
            part = {"Name": "Podman Engine", "Version": "4.3.1"}
        else:
            part = {"Name": "Engine", "Version": "20.10.24"}
        return {"Components": [part], "Version": part["Version"], "ApiVersion": "1.41"}

    def _json(self, box, query):
        running = box.status in RUNNING
        state = {
            "Status": box.status,
            "Running": running,
            "Paused": box.status == "paused",
            "Restarting": box.status == "restarting",
            "OOMKilled": box.killed,
            "Dead": False,
            "Pid": box.pid,
            "ExitCode": box.exited,
            "Error": box.error,
            "StartedAt": f"2026-11-21T10:27:{box.runs:02}.0Z" if box.runs else NEVER,
            "FinishedAt": NEVER,
        }
        if self.podman:
            state["Health"] = {"Status": "", "FailingStreak": 0, "Log": None}
        if box.health is not None:
            state["Health"] = box.health
        config = {"Tty": box.tty, "Labels": box.labels or None}
        if box.stop_timeout is not None:
            config["StopTimeout"] = box.stop_timeout
        policy = {"Name": "" if self.podman else box.restart, "MaximumRetryCount": 0}
        host = {"RestartPolicy": policy | {"Name": box.restart}, "AutoRemove": box.removed_after}
        name = f"/{box.name}"
        return 200, {
            "Id": box.id,
            "Name": name,
            "State": state,
            "Config": config,
            "HostConfig": host,
        }

    def _start(self, box, query):
        how, box.starts = box.starts, "runs"
        if box.status == "paused":
            return self._improper(409, "cannot start a paused container, try unpause instead")
        if box.status in RUNNING:
            return 304, None
        if how == "fails":
            box.error = f'exec: "/{box.name}": no such file or directory: unknown'
            box.exited = 127
            return self._no(500 if self.podman else 400, f"failed to create shim task: {box.error}")
        box.runs, box.pid, box.status = box.runs + 1, 4_194_304 + box.runs, "running"
        box.exited, box.error, box.killed = 0, "", False
        return 204, None

    async def _stop(self, box, query):
        assert int(query["t"]) > 0
        if box.status not in RUNNING:
            return 304, None
        if box.status == "paused" and self.podman:
            return self._improper(500, f"container {box.id} is running or paused, refusing")
        if box.stops == "lingers":
            await self._finish.setdefault(box.name, asyncio.Event()).wait()
        if box.stops == "vanishes":
            del self.boxes[box.name]
            return self._no(404, f"No such container: {box.name}")
        if box.stops != "lies":
            self._end(box, 143 if box.stops == "fails" else 0)
        return 204, None

    def _unpause(self, box, query):
        if box.status != "paused":
            return self._improper(500, f"Container {box.id} is not paused")
        box.status = "running"
        return 204, None

    def _logs(self, box, query):
        assert (query["stdout"], query["stderr"]) == ("1", "1")
        lines = box.written[-int(query["tail"]) :]
        if box.tty:
            return 200, "".join(f"{line}\r\n" for _, line in lines).encode()
        return 200, b"".join(_frame(stream, f"{line}\n".encode()) for stream, line in lines)

    def _improper(self, status, words):
        """Podman says of all that does not fit the state of a container that it is an error."""
        if self.podman:
            return self._no(500, f"{words}: container state improper")
        return self._no(status, words)

    def _no(self, status, words):
        if self.podman:
            return status, {"cause": words, "message": words, "response": status}
        return status, {"message": words}


def _frame(stream, content):
    return bytes([stream, 0, 0, 0]) + len(content).to_bytes(4) + content


def _nobody(kind, id, url):
    raise AssertionError("nobody inside is spoken to")


standin = StandIn
