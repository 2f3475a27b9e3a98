"""What real nodes of Ray need: the package, root, and a namespace without a net."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys

NAMESPACE = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
BYTES = 3 * 2**30  # of RAM that is available: three nodes take 1.2 GiB, three hosts the rest


def missing() -> str | None:
    """Why it cannot be tried here. None: it can."""
    if importlib.util.find_spec("ray") is None:
        return "ray is not installed"
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "a network namespace needs root on Linux"
    if not all(map(shutil.which, ("unshare", "ip"))):
        return "unshare or ip is not there"
    done = subprocess.run([*NAMESPACE, "ip", "link", "set", "lo", "up"], capture_output=True)
    if done.returncode:
        return f"no namespace is to be had: {done.stderr.decode(errors='replace').strip()}"
    import psutil

    if psutil.virtual_memory().available < BYTES:
        return "there is too little memory for three nodes of Ray"
    return None


def inside(module: str, words: list[str], env: dict[str, str]) -> int:
    """Run a module in a namespace of its own: its exit code."""
    command = [*NAMESPACE, sys.executable, "-m", module, *words]
    return subprocess.run(command, env={**os.environ, **env}).returncode
