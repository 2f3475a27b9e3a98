"""What a child writes: into a file of its own, which outlives the daemon, and is kept short.

The file is opened for appending and cut where it stands, as the child goes on writing into it:
what it writes in the moment of the cut is lost, and nothing else. One file before it is kept.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from supervisor.printable import printable

from .records import rewrite

LIMIT = 4 << 20  # bytes, of each of the two files
TAIL = 2 << 20  # bytes that are looked through for the last lines
WORDS = 64 * 1024  # bytes that are looked through for the last words, on the loop
LONGEST = 4000  # characters of a line
SAYS = "[ullage] "  # begins what we write ourselves

# Colours, cursors, titles: a sequence for a terminal, as a whole.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"
    r"|\x1b[ -/]*[0-~]"
)


class Log:
    """The log of one model. `path` need not exist."""

    def __init__(self, path: Path) -> None:
        self._path, self._before = path, path.with_suffix(path.suffix + ".1")

    def open(self) -> int:
        """A descriptor that appends; whoever calls closes it. Raises OSError. All that writes is
        for a thread: a disk may be slow."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with suppress(FileNotFoundError):
            return os.open(self._path, flags, 0o600)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(self._path, flags, 0o600)

    def say(self, text: str) -> None:
        """A line of our own. A disk that is full has no room for it."""
        with suppress(OSError):
            fd = self.open()
            try:
                os.write(fd, f"{SAYS}{text}\n".encode(errors="replace"))
            finally:
                os.close(fd)

    def begin(self, text: str) -> int:
        """The same, after a line of our own, and cut where it has become too long."""
        self.trim()
        self.say(text)
        return self.open()

    def trim(self) -> None:
        """Cut it, when it has become too long."""
        with suppress(OSError):
            told = self._path.lstat()
            size = told.st_size
            if size <= LIMIT or not stat.S_ISREG(told.st_mode):
                return
            kept = _end_of(self._path, LIMIT)
            whole = kept[kept.find(b"\n") + 1 :] if size > len(kept) else kept
            os.truncate(self._path, 0)  # first: what comes while we write the rest is kept
            rewrite(self._before, whole)

    def tail(self, lines: int) -> tuple[str, ...]:
        """The last lines, the oldest first, without anything that a terminal would act on."""
        if lines < 1:
            return ()
        data = _end_of(self._path, TAIL)
        if data.count(b"\n") < lines:
            data = _end_of(self._before, TAIL) + data
        # A newline alone ends a line: a progress bar goes back to its beginning instead.
        found = data.split(b"\n")
        if found and not found[-1]:
            del found[-1]
        return tuple(clean(line.decode(errors="replace")) for line in found[-lines:])

    def last_words(self) -> str | None:
        """The last line of the last run that says something. None: it has said nothing."""
        data = _end_of(self._path, WORDS)
        if data.count(b"\n") < 200:
            data = _end_of(self._before, WORDS) + data
        for raw in reversed(data.split(b"\n")[-200:]):
            line = clean(raw.decode(errors="replace"))
            if line.startswith(SAYS):
                return None
            if line.strip():
                return line.strip()
        return None


def trim(logs: Iterable[Log]) -> None:
    for log in logs:
        log.trim()


def clean(line: str) -> str:
    """What a terminal would show of a line, in characters that are harmless to one."""
    line = _SEQUENCE.sub("", line[: 4 * LONGEST].rstrip("\r"))
    line = line.rpartition("\r")[2].replace("\t", "    ")
    return printable(line, "")[:LONGEST]


def _end_of(path: Path, most: int) -> bytes:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - most))
            return file.read(most)
    except OSError:
        return b""
