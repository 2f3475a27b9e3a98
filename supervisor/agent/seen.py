"""What can be seen of Ray on this host without asking it: its processes, and where they listen.

For the agent before it joins, and for `ullage doctor`. What may not be looked at is None.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import psutil

from collectors.process import HOST, list_commands

from .safety import Facts

MODE = "RAY_AUTH_MODE"
PATIENCE = 2.0  # seconds in which a connection is had
# Processes of Ray that listen, by the name of their program or of its script.
_PROGRAMS = frozenset({"raylet", "gcs_server"})
_SCRIPTS = ("ray/dashboard/", "ray/_private/runtime_env/", "ray/_private/workers/")


def version() -> str | None:
    """Of the Ray that is installed with us. None: there is none."""
    try:
        return metadata.version("ray")
    except metadata.PackageNotFoundError:
        return None


def processes(commands: dict[int, tuple[str, ...]]) -> dict[int, tuple[str, ...]]:
    """Those that are Ray's own, by pid."""
    return {pid: argv for pid, argv in commands.items() if _is_ray(argv)}


def _is_ray(argv: tuple[str, ...]) -> bool:
    if os.path.basename(argv[0]) in _PROGRAMS:
        return True
    return any(script in word for word in argv[1:4] for script in _SCRIPTS)


def has_node(commands: dict[int, tuple[str, ...]], ip: str | None = None) -> bool:
    """Does a node of Ray run on this host, of that address if one is given?"""
    return any(
        os.path.basename(argv[0]) == "raylet" and (ip is None or f"--node_ip_address={ip}" in argv)
        for argv in commands.values()
    )


def listens_at(address: str) -> bool | None:
    """Does anybody at HOST:PORT? None: it is no such address, as "auto" is none."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return None
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except (OSError, OverflowError, UnicodeError):
        return False
    return True


def facts(root: Path = HOST, own: dict[int, tuple[str, ...]] | None = None) -> Facts | None:
    """Of the Ray that runs on this host. None: none runs."""
    own = processes(list_commands(root)) if own is None else own
    raylets = [pid for pid, argv in own.items() if os.path.basename(argv[0]) in _PROGRAMS]
    if not raylets:
        return None
    modes = {mode_of(pid, root) for pid in raylets} - {None}
    return Facts(
        # One that asks for no token is a way in, whatever the others ask for.
        mode=min(modes, key=lambda m: m == "token") if modes else None,
        version=version(),
        dashboard=dashboard(own.values()),
        listens=listens(own),
        addresses=addresses(),
    )


def mode_of(pid: int, root: Path = HOST) -> str | None:
    """What RAY_AUTH_MODE is for a process; "": not set. None: that may not be read."""
    try:
        text = (root / f"proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    for line in text.split(b"\0"):
        name, equals, value = line.partition(b"=")
        if equals and name == MODE.encode():
            return value.decode(errors="replace").lower()
    return ""


def dashboard(commands: Iterable[tuple[str, ...]]) -> str | None:
    """Where Ray's dashboard answers, by its command line; "": it does not run here."""
    for argv in commands:
        if any(word.endswith("ray/dashboard/dashboard.py") for word in argv):
            if "--minimal" in argv or "--modules-to-load=UsageStatsHead" in argv:
                continue
            said = dict(w.split("=", 1) for w in argv if w.startswith("--") and "=" in w)
            return f"{said.get('--host', '?')}:{said.get('--port', '?')}"
    return ""


def listens(pids: Iterable[int]) -> tuple[tuple[str, int], ...] | None:
    """Where those listen. None: it may not be looked at."""
    found: set[tuple[str, int]] = set()
    seen = False
    for pid in pids:
        try:
            for each in psutil.Process(pid).net_connections("tcp"):
                if each.status == psutil.CONN_LISTEN:
                    found.add((each.laddr.ip, each.laddr.port))
            seen = True
        except (psutil.Error, OSError):
            continue
    return tuple(sorted(found)) if seen else None


def addresses() -> tuple[str, ...]:
    """Those of this host's interfaces."""
    try:
        rows = psutil.net_if_addrs().values()
    except OSError:
        return ()
    inet = (socket.AF_INET, socket.AF_INET6)
    return tuple(sorted({a.address.partition("%")[0] for r in rows for a in r if a.family in inet}))
