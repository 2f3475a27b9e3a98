"""One daemon per state directory: two would write one journal, and unload for one another."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path

NAME = "ullage.lock"


class Taken(Exception):
    """Another daemon has the directory. The message says which, and what to do."""


class Lock:
    """Held by the process: the kernel lets go of it however the process ends.

    Where the directory cannot be written to, or its file system has no locks, there is
    nothing to protect, or no way to: then it is not held, and nothing is said.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._file: int | None = None

    def take(self) -> None:
        """Raises Taken."""
        while self._file is None:
            try:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                file = os.open(self._path, flags, 0o600)
            except OSError as error:
                if error.errno == errno.ELOOP:  # what it leads to would be written over
                    raise Taken(f"{self._path} is a link, and none of ours; remove it") from None
                return
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(file, 20).decode("ascii", "replace").strip() or "not known"
                os.close(file)
                raise Taken(
                    f"another ullage (pid {holder}) keeps its journal in {self._path.parent}; "
                    "stop it, or give this one its own with --set state_dir=PATH"
                ) from None
            except OSError:
                os.close(file)
                return
            if self._is_there(file):
                self._file = file
                with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
                    os.ftruncate(file, 0)
                    os.write(file, f"{os.getpid()}\n".encode())
            else:
                os.close(file)  # whoever had it has just removed it

    def free(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._file)
            self._file = None

    def _is_there(self, file: int) -> bool:
        with contextlib.suppress(OSError):
            return os.path.samestat(os.fstat(file), self._path.stat())
        return False
