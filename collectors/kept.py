"""A small file that is read every second: its descriptor is kept."""

from __future__ import annotations

import os
from pathlib import Path

CHUNK = 16384  # /proc/vmstat comes in pieces of 4 KiB whatever one asks for


class Kept:
    """A file of /proc or /sys, read through one descriptor: a third of what opening it costs.

    Reading from the start makes the kernel write its numbers anew. Opened at the first read, and
    again where the old descriptor fails: a mount was replaced, a control group is another one.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self._fd: int | None = None

    def read(self) -> bytes:
        """All of it, as it is now. Raises OSError."""
        if self._fd is not None:
            try:
                return _whole(self._fd)
            except OSError:
                self.close()
        self._fd = os.open(self.path, os.O_RDONLY)
        return _whole(self._fd)

    def close(self) -> None:
        """Give the descriptor back. The next read opens the file again."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def __del__(self) -> None:
        self.close()


def _whole(fd: int) -> bytes:
    data = os.pread(fd, CHUNK, 0)
    size = len(data)
    while piece := os.pread(fd, CHUNK, size):
        data += piece
        size += len(piece)
    return data
