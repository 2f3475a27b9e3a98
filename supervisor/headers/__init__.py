"""The headers of models' files, read beside the loop: once each, and again if a file changes."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from collectors.reading import Bytes, Seconds
from supervisor.aside import Aside
from supervisor.core.header import Header

from . import gguf, safetensors
from .gguf import Unreadable
from .places import CONFIG, find, pieces, read_json

log = logging.getLogger("ullage.headers")

T = TypeVar("T")

BUFFER = 1 << 18
KEPT = 1000  # headers that are remembered, of a KiB or so each
DEADLINE = Seconds(10.0)  # for one model: a network mount that is gone never answers
AGAIN = Seconds(300.0)  # how often it is looked whether a file has changed, or has come


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read of one model's files, as they were then. `header` None: they say nothing."""

    header: Header | None = None
    files: tuple[object, ...] = ()


@dataclass(slots=True)
class Headers:
    """By the path, or the name, that an engine has for a model."""

    clock: Callable[[], float] = time.monotonic
    aside: Aside = field(default_factory=lambda: Aside("read headers"))
    _known: dict[str, _Known] = field(default_factory=dict)
    _looked_at: dict[str, float] = field(default_factory=dict)
    _task: asyncio.Task[None] | None = None

    def get(self, name: str) -> Header | None:
        """What is known by now. Never waits."""
        known = self._known.get(name)
        return None if known is None else known.header

    def want(self, names: Iterable[str]) -> None:
        """Have those read that were not looked at lately; returns at once."""
        if self._task is not None and not self._task.done():
            return
        now = self.clock()
        due = [n for n in names if n not in self._looked_at or now - self._looked_at[n] >= AGAIN]
        if due:
            self._task = asyncio.create_task(self._read(due[:KEPT]), name="read headers")

    async def settled(self) -> None:
        """Returns when all that was wanted has been read, or could not be."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self, names: Iterable[str]) -> None:
        for name in names:
            self._looked_at.pop(name, None)
            self._looked_at[name] = self.clock()  # whoever is looked at stands last
            while len(self._looked_at) > KEPT:
                oldest = next(iter(self._looked_at))
                del self._looked_at[oldest]
                self._known.pop(oldest, None)
            before = self._known.get(name, _Known())
            try:
                self._known[name] = await self.aside.call(partial(_look, name, before), DEADLINE)
            except TimeoutError:  # what was known of it is known still
                log.debug("%s: its header cannot be read in time", name)


def _look(name: str, before: _Known) -> _Known:
    """What a model's files say now; in a thread of its own."""
    try:
        path = find(name)
        if path is None:
            return _Known()
        files = pieces(path)
        seen = tuple(_seen(file) for file in (path, *files))
        if seen == before.files:
            return before
        return _Known(read_header(files), seen)
    except (Unreadable, OSError, ValueError) as error:
        log.info("%s: nothing can be read of its size: %s", name, error)
        return _Known()


def _seen(path: Path) -> tuple[int, int, int]:
    """What changes with a file. Raises Unreadable for what is no file: a pipe has no end."""
    found = path.stat()
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise Unreadable(f"{path.name} is no file")
    return found.st_ino, found.st_size, found.st_mtime_ns


def read_header(files: tuple[Path, ...]) -> Header:
    """What these files of one model say. Raises Unreadable, or OSError."""
    if files[0].suffix == ".safetensors":
        sizes = [_opened(file, safetensors.weights) for file in files]
        config = files[0].parent / CONFIG
        said = read_json(config) if config.is_file() else {}
        return safetensors.header(said, Bytes(sum(sizes)))
    return gguf.header([_opened(file, gguf.read) for file in files])


def _opened(path: Path, read: Callable[..., T]) -> T:
    with path.open("rb", buffering=BUFFER) as file:
        return read(file, os.fstat(file.fileno()).st_size)
