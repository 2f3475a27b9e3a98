"""Reads a file that the operator has named, and that may turn out to be anything."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple


class NotPlain(Exception):
    """A pipe, a socket or a device."""


class Plain(NamedTuple):
    """`is_open`: everybody may read or write it."""

    content: bytes
    is_open: bool


def read(file: Path, most: int) -> Plain:
    """Up to `most` bytes of it, without ever waiting for the other end of a pipe. Raises NotPlain,
    or the system's own error: IsADirectoryError for a folder."""
    with open(file, "rb", opener=_at_once) as opened:
        mode = os.fstat(opened.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise NotPlain
        return Plain(opened.read(most), bool(mode & (stat.S_IROTH | stat.S_IWOTH)))


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
