"""What the Docker Engine's description of a container says, in our words. Pure."""

from __future__ import annotations

import signal
from collections.abc import Iterator

from collectors.reading import Seconds

from .answer import Json
from .launched import Phase

_PHASES = {
    "created": Phase.STOPPED,
    "configured": Phase.STOPPED,
    "initialized": Phase.STOPPED,
    "exited": Phase.STOPPED,
    "stopped": Phase.STOPPED,
    "dead": Phase.STOPPED,
    "running": Phase.RUNNING,
    "paused": Phase.PAUSED,
    "restarting": Phase.STARTING,
    "stopping": Phase.STOPPING,
    "removing": Phase.STOPPING,
}
_ENDED_WELL = (0, 128 + signal.SIGTERM, 128 + signal.SIGINT)
_EXITS = {126: " (its program cannot be run)", 127: " (there is no such program in it)"}
HEADER = 8  # bytes before each piece of a log: whose it is, and its length
QUOTED = 200


def phase(found: Json) -> Phase:
    """Where no health check says more, one that runs is taken for one that serves."""
    return _PHASES.get(found["State"]["Status"].text(), Phase.STARTING)


def run(found: Json) -> str:
    """Differs between two runs of a container."""
    between = found["State"]["Status"].text() == "restarting"
    return "" if between else found["State"]["StartedAt"].text()


def pid(found: Json) -> int | None:
    """Of its first process, in the Docker Engine's own count."""
    return found["State"]["Pid"].count() or None


def health(found: Json) -> str | None:
    """The word of its health check: starting, healthy, unhealthy. None: it has none."""
    told = found["State"].get("Health")
    status = told["Status"].text() if told is not None and "Status" in told else ""
    return status if status not in ("", "none") else None


def has_terminal(found: Json) -> bool:
    return _is(found["Config"], "Tty")


def stop_timeout(found: Json) -> Seconds | None:
    """How long it was said to need when it was made."""
    told = found["Config"].get("StopTimeout")
    seconds = 0.0 if told is None else told.number()
    return Seconds(seconds) if seconds > 0 else None  # -1: without an end


def trouble(name: str, found: Json) -> str | None:
    state = found["State"]
    kind, exited = state["Status"].text(), int(state["ExitCode"].number())
    how = f"exited with {exited}{_EXITS.get(exited, '')}"
    if (name_of := {int(n): n.name for n in signal.Signals}.get(exited - 128)) is not None:
        how = f"was ended by {name_of}"
    killed = _is(state, "OOMKilled")
    if killed:
        how = "was killed by the kernel for want of memory"
    if kind == "paused":
        return f"{name} is paused: it holds its memory and serves nobody"
    if kind == "restarting":
        return f"{name} is about to be started again: it {how}"
    if phase(found) is Phase.STOPPED:
        error = " ".join(state["Error"].text().split()) if "Error" in state else ""
        if error:
            return f"{name} did not start: {error[:QUOTED]}"
        return None if exited in _ENDED_WELL and not killed else f"{name} {how}"
    if health(found) == "unhealthy":
        return f"{name} is unhealthy{_last_check(state['Health'])}"
    return None


def _is(told: Json, key: str) -> bool:
    value = told.get(key)
    return value is not None and value.flag()


def _last_check(told: Json) -> str:
    checks = [check["Output"].text() for check in told["Log"]] if "Log" in told else []
    words = " ".join(checks[-1].split()) if checks else ""
    return f": {words[:QUOTED]}" if words else ""


def habits(name: str, found: Json) -> Iterator[tuple[str, str]]:
    """What brings it back or loses it, and what to do about that."""
    labels = found["Config"].get("Labels")
    unit = labels.get("PODMAN_SYSTEMD_UNIT") if labels is not None else None
    if unit is not None:
        yield (
            f"systemd keeps {name} as {unit.text()}",
            f'make it an engine of kind = "systemd" with unit = "{unit.text()}"',
        )
    if labels is not None and "com.docker.swarm.service.name" in labels:
        service = labels["com.docker.swarm.service.name"].text()
        yield (
            f"Swarm puts another in the place of {name} when it ends (service {service})",
            "run it as a container of its own, outside of the swarm",
        )
    policy = found["HostConfig"].get("RestartPolicy")
    told = policy["Name"].text() if policy is not None and "Name" in policy else ""
    if told == "always":
        yield (
            f"{name} is started again when it ends by itself, and with the Docker Engine"
            " (restart policy always)",
            f"docker update --restart no {name}",
        )
    elif told in ("unless-stopped", "on-failure"):
        yield (
            f"{name} is started again when it ends by itself, for want of memory too"
            f" (restart policy {told})",
            f"docker update --restart no {name}",
        )
    if _is(found["HostConfig"], "AutoRemove"):
        yield (
            f"{name} is removed when it ends (--rm), and cannot be started again",
            "make it anew without --rm",
        )


def joined(content: bytes) -> bytes:
    """A log without its headers: what came over standard output and error, in its order."""
    pieces, at = [], 0
    while at + HEADER <= len(content):
        size = int.from_bytes(content[at + 4 : at + HEADER])
        pieces.append(content[at + HEADER : at + HEADER + size])
        at += HEADER + size
    return b"".join(pieces)
