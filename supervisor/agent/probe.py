"""Does Ray answer who has no token? `python -m supervisor.agent.probe ADDRESS` asks its head so.

In a process of its own: whether a token is sent is settled once for a whole process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

MODE: Final = "RAY_AUTH_MODE"
SECRETS: Final = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
OPEN, KEPT, SILENT = 10, 11, 12  # exit codes: it answered, it wanted a token, it did not answer
PATIENCE: Final = 20.0  # seconds


class Probe:
    """Runs beside whoever asks."""

    def __init__(self, address: str) -> None:
        env = {k: v for k, v in os.environ.items() if k not in SECRETS} | {MODE: "disabled"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.agent.probe", address],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def is_open(self) -> bool | None:
        """Did it answer without a token? None: it cannot be told."""
        try:
            return {OPEN: True, KEPT: False}.get(self._process.wait(PATIENCE))
        except subprocess.TimeoutExpired:
            self._process.kill()
            return None


def main(address: str) -> int:
    from ray._raylet import GcsClient  # type: ignore[attr-defined,unused-ignore]
    from ray.exceptions import AuthenticationError

    try:
        GcsClient(address=address).internal_kv_keys(b"ullage", namespace=None, timeout=5)
    except AuthenticationError:
        return KEPT
    except Exception:
        return SILENT
    return OPEN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
