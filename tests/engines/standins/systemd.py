"""systemd as its callers see it: a real message bus, and one who answers on it for systemd.

What it answers was seen of systemd 252, word for word: a unit that is neither active nor failed
is not loaded; the end of a job that had nothing to do is told before the job is named.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from supervisor.config.served import Launching
from supervisor.engines.launched import Told

NAME = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
DENIED = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"

BUS = """<busconfig><type>session</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/>
</policy></busconfig>"""

JOURNAL = """#!/bin/sh
for word in "$@"; do case "$word" in
  --unit=*|--user-unit=*) unit=${word#*=} ;;
  --lines=*) lines=${word#*=} ;;
esac; done
[ -e "$0.hang" ] && exec sleep 60
[ -e "$0.deny" ] && { echo 'insufficient permissions' >&2; exit 1; }
[ -e "$0.d/$unit" ] && exec tail -n "$((lines + 1))" "$0.d/$unit"  # an entry of two lines
exit 0
"""


@dataclass
class Unit:
    """One unit. `starts` and `stops` say what comes of the next start and of every stop."""

    name: str
    load: str = "loaded"
    active: str = "inactive"
    sub: str = "dead"
    result: str = "success"
    status: int = 0
    pid: int = 0
    runs: int = 0
    starts: str = "runs"  # runs, fails, dependency, skips, waits, queued
    stops: str = "ends"  # ends, lingers, leaves, returns, fails
    frozen: bool = False
    left: bool = False  # processes outlived it
    primary: str = ""  # its own name, where the other is an alias
    more: dict = field(default_factory=dict)  # further properties, as (signature, value)

    @property
    def in_memory(self):
        return self.active != "inactive" or self.left


class StandIn:
    """`async with StandIn(["m1"]) as s`: a systemd with one unit for each model."""

    def __init__(self, models=("alpha", "beta")):
        self.models = tuple(models)
        self.units = {f"{model}.service": Unit(f"{model}.service") for model in self.models}
        self.calls = []
        self.callers = set()
        self.denied = self.hanging = False
        self._jobs = 0
        self._waiting = {}  # unit → its job that is not over

    async def __aenter__(self):
        pytest.importorskip("dbus_fast")
        if shutil.which("dbus-daemon") is None:
            pytest.skip("there is no dbus-daemon here")
        self.folder = Path(tempfile.mkdtemp(prefix="ullage-"))
        self.socket = self.folder / "bus"
        self._say_on_path()
        await self.start()
        served = {m: {"unit": f"{m}.service"} for m in self.models}
        self.options = self.told(served=served)
        return self

    async def __aexit__(self, *_):
        await self.stop()
        os.environ["PATH"] = self._path
        shutil.rmtree(self.folder)

    async def start(self):
        from dbus_fast.aio import MessageBus

        config = self.folder / "bus.conf"
        config.write_text(BUS.format(socket=self.socket))
        self._daemon = await asyncio.create_subprocess_exec(
            "dbus-daemon",
            f"--config-file={config}",
            "--nofork",
            "--nopidfile",
            "--print-address",
            stdout=PIPE,
            stderr=DEVNULL,
        )
        await self._daemon.stdout.readline()
        self._bus = await MessageBus(bus_address=f"unix:path={self.socket}").connect()
        self._bus.add_message_handler(self._answer)
        await self._bus.request_name(NAME)

    async def stop(self):
        """Nobody is there any more."""
        if self._daemon.returncode is None:
            self._bus.disconnect()
            self._daemon.kill()
            await self._daemon.wait()

    # -- what the contract test asks of every stand-in

    def told(self, **table):
        whole = Launching.model_validate({"socket": str(self.socket), **table})
        return Told(whole, _nobody, self.folder)

    def running(self, model):
        unit = self.unit(model)
        return unit.active in ("active", "activating", "deactivating") or unit.left

    def crash(self, model):
        """Its process ends by itself."""
        self._end(self.unit(model), "exit-code", 3)

    def hang(self):
        """Nothing is answered from now on."""
        self.hanging = True

    def deny(self):
        """We have not the right to change anything."""
        self.denied = True

    def fail_next_start(self, model):
        self.unit(model).starts = "fails"

    def lie(self, model):
        """It says that it has stopped, and what it had started runs on."""
        self.unit(model).stops = "leaves"

    def write(self, model, *lines):
        """What it wrote."""
        log = Path(f"{self.journal}.d")
        log.mkdir(exist_ok=True)
        (log / f"{model}.service").write_text("".join(f"{line}\n" for line in lines))

    # -- its own

    def unit(self, model):
        return self.units[f"{model}.service"]

    def finish(self, model):
        """What was waited for happens: it is ready, or it ends."""
        unit = self.unit(model)
        if unit.name not in self._waiting:
            return
        if unit.active == "activating":
            unit.active, unit.sub = "active", "running"
        else:
            self._end(unit)
        self._tell(self._waiting.pop(unit.name), unit, "done")

    def _say_on_path(self):
        self.journal = self.folder / "journalctl"
        self.journal.write_text(JOURNAL)
        self.journal.chmod(0o755)
        self._path = os.environ["PATH"]
        os.environ["PATH"] = f"{self.folder}:{self._path}"

    def _answer(self, message):
        from dbus_fast import Message, MessageType

        if message.message_type is not MessageType.METHOD_CALL or message.destination != NAME:
            return None
        self.calls.append((message.member, *message.body))
        self.callers.add(message.sender)
        if self.hanging:
            return True
        try:
            signature, body = getattr(self, f"_{message.member}")(message.path, *message.body)
        except _Refused as no:
            return Message.new_error(message, no.args[0], no.args[1])
        return Message.new_method_return(message, signature, body)

    def _GetUnit(self, path, name):
        unit = self._known(name)
        if unit is None or not unit.in_memory:
            raise _Refused(f"{NAME}.NoSuchUnit", f"Unit {name} not loaded.")
        return "o", [_path_of(name)]

    def _LoadUnit(self, path, name):
        self._named(name)
        return "o", [_path_of(name)]

    def _Get(self, path, interface, name):
        from dbus_fast import Variant

        assert (interface, name) == (f"{NAME}.Manager", "Version")
        return "v", [Variant("s", "252.39-1~deb12u2")]

    def _GetAll(self, path, interface):
        from dbus_fast import Variant

        name = next(n for n in [*self.units, _name_of(path)] if _path_of(n) == path)
        unit = self.units.get(name) or Unit(name, load="not-found")
        error = {
            "not-found": (f"{NAME}.NoSuchUnit", f"Unit {name} not found."),
            "masked": (f"{NAME}.UnitMasked", f"Unit {name} is masked."),
        }.get(unit.load, ("", ""))
        found = {
            "LoadState": ("s", unit.load),
            "LoadError": ("(ss)", list(error)),
            "ActiveState": ("s", unit.active),
            "SubState": ("s", unit.sub),
            "Result": ("s", unit.result),
            "ExecMainStatus": ("i", unit.status),
            "MainPID": ("u", unit.pid),
            "InvocationID": ("ay", bytes([unit.runs] * 16) if unit.runs else b""),
            "FreezerState": ("s", "frozen" if unit.frozen else "running"),
            "ControlGroup": ("s", f"/system.slice/{name}" if unit.pid or unit.left else ""),
            "TimeoutStopUSec": ("t", 90_000_000),
            "Restart": ("s", "no"),
            "TriggeredBy": ("as", []),
            "KillMode": ("s", "control-group"),
            "UnitFileState": ("s", "disabled"),
            **unit.more,
        }
        return "a{sv}", [{key: Variant(*value) for key, value in found.items()}]

    def _GetUnitProcesses(self, path, name):
        unit = self.units[name]
        found = [[f"/system.slice/{name}", 4_194_305, "worker"]] if unit.left else []
        return "a(sus)", [found]

    def _StartUnit(self, path, name, mode):
        unit = self._allowed(name)
        if unit.load == "masked":
            raise _Refused(f"{NAME}.UnitMasked", f"Unit {name} is masked.")
        how, unit.starts = unit.starts, "runs"
        if unit.active in ("active", "activating"):
            return self._job(unit, "done", first=True)
        if how in ("dependency", "skips"):
            return self._job(unit, {"dependency": "dependency", "skips": "done"}[how])
        if how == "queued":  # behind the jobs of others
            unit.more["Job"] = ("(uo)", [7, "/org/freedesktop/systemd1/job/7"])
            return self._job(unit, None)
        unit.runs, unit.pid, unit.result, unit.status = unit.runs + 1, 4_194_304, "success", 0
        unit.active, unit.sub, unit.left = "active", "running", False
        if how == "fails":
            self._end(unit, "exit-code", 203)
        if how == "waits":
            unit.active, unit.sub = "activating", "start"
            return self._job(unit, None)
        return self._job(unit, "done")

    def _StopUnit(self, path, name, mode):
        unit = self._allowed(name) if name in self.units else None
        if unit is None or not unit.in_memory:
            raise _Refused(f"{NAME}.NoSuchUnit", f"Unit {name} not loaded.")
        if unit.active in ("inactive", "failed"):
            return self._job(unit, "done", first=True)
        if unit.stops == "lingers" or unit.frozen:
            unit.active, unit.sub = "deactivating", "stop-sigterm"
            return self._job(unit, None)
        self._end(unit, *(("exit-code", 143) if unit.stops == "fails" else ()))
        unit.left = unit.stops == "leaves"
        if unit.stops == "returns":
            unit.runs, unit.active, unit.sub = unit.runs + 1, "active", "running"
        return self._job(unit, "done")

    def _KillUnit(self, path, name, whom, number):
        unit = self._allowed(name)
        assert (whom, number) == ("all", 9)
        self._end(unit, "signal", 9)
        self._tell(self._waiting.pop(name), unit, "done")
        return "", []

    def _ThawUnit(self, path, name):
        self._allowed(name).frozen = False
        return "", []

    def _known(self, name):
        return self.units.get(name)

    def _allowed(self, name):
        if self.denied:
            raise _Refused(DENIED, "Interactive authentication required.")
        self._named(name)
        if name not in self.units:
            raise _Refused(f"{NAME}.NoSuchUnit", f"Unit {name} not found.")
        return self.units[name]

    def _named(self, name):
        if "@." in name:
            words = f"Unit name {name} is missing the instance name."
            raise _Refused("org.freedesktop.DBus.Error.InvalidArgs", words)

    def _end(self, unit, result="success", status=0):
        unit.result, unit.status, unit.pid = result, status, 0
        unit.active = "inactive" if result == "success" else "failed"
        unit.sub = "dead" if result == "success" else "failed"

    def _job(self, unit, result, *, first=False):
        """A job that is over with `result`; None: not yet."""
        self._jobs += 1
        job = f"{PATH}/job/{self._jobs}"
        if result is None:
            self._waiting[unit.name] = job
        elif first:
            self._tell(job, unit, result)
        else:
            asyncio.get_running_loop().call_soon(self._tell, job, unit, result)
        return "o", [job]

    def _tell(self, job, unit, result):
        from dbus_fast import Message

        number = int(job.rpartition("/")[2])
        body = [number, job, unit.primary or unit.name, result]
        self._bus.send(Message.new_signal(PATH, f"{NAME}.Manager", "JobRemoved", "uoss", body))


class _Refused(Exception):
    """The D-Bus name of an error, and its words."""


def _nobody(kind, id, url):
    raise AssertionError("nobody inside is spoken to")


def _path_of(name):
    escaped = "".join(c if c.isalnum() else f"_{ord(c):02x}" for c in name)
    return f"{PATH}/unit/{escaped}"


def _name_of(path):
    words = path.rpartition("/")[2].split("_")
    return words[0] + "".join(chr(int(w[:2], 16)) + w[2:] for w in words[1:])


standin = StandIn
