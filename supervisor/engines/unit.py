"""What systemd's properties say of a unit, in our words. Pure."""

from __future__ import annotations

import os
import pwd
import signal
from collections.abc import Iterator, Mapping
from typing import Any

from .launched import Phase, Status

_PHASES = {
    "active": Phase.RUNNING,
    "reloading": Phase.RUNNING,
    "refreshing": Phase.RUNNING,
    "activating": Phase.STARTING,
    "deactivating": Phase.STOPPING,
    "inactive": Phase.STOPPED,
    "failed": Phase.STOPPED,
    "maintenance": Phase.STOPPED,
}
_RESULTS = {
    "resources": "systemd had not what it needs to start it",
    "protocol": "it broke the protocol of its Type=",
    "timeout": "it did not start or end in time",
    "watchdog": "its watchdog heard nothing of it",
    "oom-kill": "the kernel killed it for want of memory",
    "start-limit-hit": "it was started too often in a row: systemctl reset-failed {unit}",
    "exec-condition": "its ExecCondition= does not hold",
}
_EXITS = {200: " (its WorkingDirectory=)", 203: " (its program cannot be run)", 217: " (its User=)"}
_JOBS = {
    "done": "it has ended by itself, or a Condition= of it does not hold",
    "dependency": "a unit that it needs did not start",
    "timeout": "the job ran out of time",
    "canceled": "somebody cancelled the job",
    "skipped": "systemd skipped the job",
    "failed": "the job failed",
    "invalid": "systemd found the job invalid",
    "assert": "an Assert= of it does not hold",
    "unsupported": "this system cannot start such a unit",
}


def read(unit: str, properties: Mapping[str, Any]) -> Status:
    """How it is. Of a simple service systemd does not know whether it serves yet."""
    active = str(properties.get("ActiveState"))
    phase, trouble = _PHASES.get(active, Phase.STARTING), None
    if phase is Phase.RUNNING and is_frozen(properties):
        phase, trouble = Phase.PAUSED, f"{unit} is frozen: it holds its memory and serves nobody"
    run = run_of(properties)
    if active == "failed":
        trouble = f"{unit} failed: {_how(unit, properties)}"
    elif str(properties.get("SubState")).startswith("auto-restart"):
        run = ""  # the last run is over, the next has not begun
        trouble = f"{unit} is about to be started again: {_how(unit, properties)}"
    return Status(phase, run, pid=properties.get("MainPID") or None, trouble=trouble)


def is_frozen(properties: Mapping[str, Any]) -> bool:
    return str(properties.get("FreezerState", "running")) != "running"


def run_of(properties: Mapping[str, Any]) -> str:
    """Differs between two runs of a unit."""
    return bytes(properties.get("InvocationID") or b"").hex()


def of_job(result: str) -> str:
    """What became of a job that did not bring what it was for."""
    return _JOBS.get(result, f"the job's result is {result}")


def _how(unit: str, properties: Mapping[str, Any]) -> str:
    result, status = str(properties.get("Result")), int(properties.get("ExecMainStatus") or 0)
    if result == "exit-code":
        return f"it exited with {status}{_EXITS.get(status, '')}"
    if result in ("signal", "core-dump"):
        names = {int(number): number.name for number in signal.Signals}
        return f"{names.get(status, f'signal {status}')} ended it"
    return _RESULTS.get(result, result).format(unit=unit)


def habits(unit: str, properties: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What brings it back or keeps its memory, and what to do about that."""
    restart = properties.get("Restart", "no")
    if restart != "no":
        yield (
            f"systemd starts {unit} again whenever its process ends by itself, for want of memory"
            f" too (Restart={restart})",
            "set Restart=no in it: Ullage starts it when it is wanted",
        )
    for other in (*properties.get("TriggeredBy", ()), *properties.get("UpheldBy", ())):
        yield f"{other} starts {unit} again", f"systemctl disable --now {other}"
    if properties.get("UnitFileState") in ("enabled", "enabled-runtime"):
        yield f"{unit} starts with the machine", f"systemctl disable {unit}"
    if (mode := properties.get("KillMode")) in ("process", "none"):
        yield (
            f"what {unit} started outlives it, with its memory (KillMode={mode})",
            "set KillMode=control-group in it",
        )


def permission(unit: str, *, user: bool) -> str:
    """What to do where we may not manage a unit."""
    if user:
        return "the units of another user cannot be managed"
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = str(os.geteuid())
    return (
        f"a polkit rule has to let the user {name} manage {unit}, as"
        " deploy/polkit/50-ullage.rules does (org.freedesktop.systemd1.manage-units)"
    )


def address(*, user: bool) -> str:
    """Of the bus where systemd is: the system's or the user's."""
    if not user:
        usual = "unix:path=/run/dbus/system_bus_socket"
        return os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or usual
    folder = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    return os.environ.get("DBUS_SESSION_BUS_ADDRESS") or f"unix:path={folder}/bus"
