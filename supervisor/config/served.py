"""The tables of engines that are ours to start: a process, a unit, a container for each model."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import Field

from collectors.reading import Bytes, Seconds

from . import forms
from .table import Table, setting

_PLACES = re.compile(r"\$\$(?=\{)|\$\{([^}]*)\}")  # "$${" stands for "${"


def places(text: str) -> list[str]:
    """The names that stand in `text` as ${NAME}, in their order."""
    return [found[1] for found in _PLACES.finditer(text) if found[1] is not None]


def fill(text: str, values: Mapping[str, str]) -> str:
    """`text` with a value for each ${NAME}: as it is, never read again. Raises KeyError."""
    return _PLACES.sub(lambda found: "$" if found[1] is None else values[found[1]], text)


class WhenDaemonEnds(Enum):
    """What becomes of the processes that the daemon started."""

    STOP = "stop"
    KEEP = "keep"  # the next daemon adopts them


class Launch(Table):
    """How a model is started. Said for the engine it holds for all its models, else for one."""

    serves: str | None = setting(
        None, forms.TEXT, "The kind of engine whose API it answers with, as llamacpp or vllm."
    )
    ready: str | None = setting(
        None, forms.TEXT, "The path that answers with 200 once it serves, as /health."
    )
    ready_timeout: Seconds | None = setting(
        None, forms.INTERVAL, "How long a start may take.", shown="10m"
    )
    command: tuple[str, ...] | None = setting(
        None,
        forms.COMMAND,
        "What is run, without a shell; ${PORT} (a free one, at each start), ${MODEL} and"
        " `variables` are put in.",
    )
    variables: dict[str, str] | None = setting(
        None, forms.VARIABLES, "What else is put into command and environment, as ${NAME}."
    )
    environment: dict[str, str] | None = setting(
        None, forms.VARIABLES, "Environment variables, added to those of the daemon."
    )
    folder: Path | None = setting(None, forms.PATH, "The working directory.", shown="/")
    stop_signal: signal.Signals | None = setting(
        None, forms.SIGNAL, "What asks it to end.", shown="TERM"
    )
    stop_timeout: Seconds | None = setting(
        None, forms.INTERVAL, "How long it may take to end before it is killed.", shown="10s"
    )
    memory_limit: Bytes | None = setting(
        None, forms.SIZE, "RAM that it may take, kept by a control group of its own."
    )
    gpus: bool | None = setting(
        None,
        forms.SWITCH,
        "Show it only the accelerators that its load was planned for, by CUDA_VISIBLE_DEVICES and"
        " its like.",
        shown="true",
    )
    namespace: str | None = setting(
        None, forms.TEXT, "The namespace of the Deployment.", shown="default"
    )
    replicas: int | None = setting(
        None, forms.REPLICAS, "How many replicas a load asks for.", shown="1"
    )


class Served(Launch):
    """One model of an engine that is ours to start."""

    unit: str | None = setting(None, forms.UNIT, "The systemd unit, as vllm.service.")
    container: str | None = setting(None, forms.TEXT, "The name or id of the container.")
    deployment: str | None = setting(None, forms.TEXT, "The Deployment that is scaled.")
    url: str | None = setting(
        None,
        forms.URL,
        "Where it answers, as http://127.0.0.1:8001. A process has a free port without it.",
    )
    size: Bytes | None = setting(
        None, forms.SIZE, "About what it takes, until it has been seen loaded."
    )


class Launching(Launch):
    """The keys of an engine of kind process, systemd, container or kubernetes, besides those of
    every engine."""

    when_daemon_ends: WhenDaemonEnds = setting(
        "stop",
        forms.one_of(WhenDaemonEnds),
        "Whether its processes end with the daemon, or are adopted by the next one.",
    )
    socket: Path | None = setting(
        None,
        forms.PATH,
        "Where the Docker Engine listens, or the message bus of systemd.",
        shown="/var/run/docker.sock",
    )
    user: bool = setting(False, forms.SWITCH, "The units are those of the user, not the system's.")
    kubeconfig: Path | None = setting(
        None, forms.PATH, "How to reach the cluster; inside of it: the pod's own account."
    )
    served: dict[str, Served] = Field(default_factory=dict)

    def of(self, model: str) -> Served:
        """How `model` is started: its own words before the engine's. Raises KeyError."""
        own = self.served[model]
        said: dict[str, Any] = {
            name: value
            for name in Launch.model_fields
            if (value := getattr(self, name)) is not None and getattr(own, name) is None
        }
        for name in ("variables", "environment"):  # these add up
            both = {**(getattr(self, name) or {}), **(getattr(own, name) or {})}
            said[name] = both or None
        return own.model_copy(update=said)


# Which keys each kind of engine that is ours to start understands, and the one it cannot do
# without. All of them may say `serves`, `ready`, `ready_timeout`, `url` and `size`.
EVERY = ("serves", "ready", "ready_timeout", "url", "size")
LAUNCHED: dict[str, tuple[str, tuple[str, ...]]] = {
    "process": (
        "command",
        (
            "variables",
            "environment",
            "folder",
            "stop_signal",
            "stop_timeout",
            "memory_limit",
            "gpus",
            "when_daemon_ends",
        ),
    ),
    "systemd": ("unit", ("user", "socket", "stop_timeout")),
    "container": ("container", ("socket", "stop_signal", "stop_timeout")),
    "kubernetes": ("deployment", ("namespace", "replicas", "kubeconfig")),
}
