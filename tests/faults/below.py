"""The machine below a daemon: its wall clock and its disk, which do what a test says.

`below.c` is loaded before the C library by whatever is started with `Below.env`; monotonic clocks
and sockets stay as they are.
"""

from __future__ import annotations

import errno
import mmap
import struct
import subprocess
from pathlib import Path

from tests.nvml.fake_nvml import compiler

SOURCE = Path(__file__).with_suffix(".c")
NUMBERS = struct.Struct("=qqq")
BILLION = 10**9


class Below:
    """`folder` is for its files, `disk` is the folder whose disk may fail. Values in seconds."""

    def __init__(self, folder: Path, disk: Path) -> None:
        library, state = folder / "below.so", folder / "below.state"
        command = [compiler() or "cc", "-O2", "-fPIC", "-shared"]
        subprocess.run([*command, "-o", str(library), str(SOURCE), "-ldl"], check=True)
        state.write_bytes(NUMBERS.pack(0, 0, 0))
        with state.open("r+b") as file:
            self._state = mmap.mmap(file.fileno(), NUMBERS.size)
        self.env = {
            "LD_PRELOAD": str(library),
            "BELOW_STATE": str(state),
            "BELOW_FOLDER": str(disk),
        }

    def _set(self, number: int, value: int) -> None:
        struct.pack_into("=q", self._state, 8 * number, value)

    @property
    def ahead(self) -> float:
        """By how much the wall clock is ahead of ours."""
        return int(NUMBERS.unpack(self._state[:])[0]) / BILLION

    def clock(self, ahead: float) -> None:
        self._set(0, int(ahead * BILLION))

    def slow(self, seconds: float) -> None:
        """So long takes each write to the disk."""
        self._set(1, int(seconds * BILLION))

    def read_only(self) -> None:
        self._set(2, errno.EROFS)

    def full(self) -> None:
        self._set(2, errno.ENOSPC)

    def broken(self) -> None:
        self._set(2, errno.EIO)

    def sound(self) -> None:
        self._set(1, 0)
        self._set(2, 0)
