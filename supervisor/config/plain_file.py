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


def why(file: Path, error: OSError) -> str:
    """Why it cannot be read, in words; of one that is closed to us also whom it should let in."""
    said = error.strerror or str(error)
    if not isinstance(error, PermissionError) or not hasattr(os, "geteuid"):
        return said
    for place in (file, *file.absolute().parents):  # one that can be looked at stands open
        try:
            found = place.stat()
        except OSError:
            continue
        what = "it" if place is file else f"the folder {place}"
        owners = f"{_user(found.st_uid)} and group {_group(found.st_gid)}"
        mode = f"{stat.S_IMODE(found.st_mode):o}"
        right = "readable" if place is file else "open"
        ours = f"{_user(os.geteuid())}, which Ullage runs as"
        return f"{said}; {what} belongs to {owners}, mode {mode}, and must be {right} to {ours}"
    return said


def _user(uid: int) -> str:
    import pwd  # not on every system

    try:
        return f"user {pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:  # a container's
        return f"uid {uid}"


def _group(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
