"""The configuration file is watched, and the tokens and certificates in files that it names: a good
change is applied as a whole, a bad one is refused as a whole with all its mistakes, and what was in
force before stays.

A file that is being written is not read: two looks at it have to agree. Whoever asks for it has it
read at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collectors.reading import Seconds

from .aside import Aside
from .config import plain_file
from .config.config import Config, EngineConfig
from .config.given import ConfigError, Problem, Stamp, stamp_of
from .overrides import Overrides, Reload

log = logging.getLogger("ullage.config")

EVERY = Seconds(2.0)
DEADLINE = Seconds(5.0)  # for a disk, or a share that does not answer
STAYS = "what was in force before stays in force"

Json = dict[str, Any]


Stamps = dict[Path, Stamp]  # of the configuration's file, and of those that it names


class _Writing(Exception):
    """It was written while it was read."""


class Refused(ConfigError):
    """What is in the file cannot be in force."""


@dataclass(slots=True)
class Reloading:
    """`takes` says which engines can be had while running, and each of `take` is given them. Each
    of `tell` is called when there is something new: ok, mistakes, changed, restart.

    Times in Unix seconds: `read_at` is when the configuration in force was read, `checked_at` when
    the file was looked at last. `tried` is how the latest reading ended.
    """

    overrides: Overrides
    takes: Callable[[EngineConfig], bool] = lambda engine: False
    take: list[Callable[[Iterable[EngineConfig]], None]] = field(default_factory=list)
    wall: Callable[[], float] = time.time
    tell: list[Callable[[Json], None]] = field(default_factory=list)
    note: Callable[[str, Json], None] = lambda why, told: None  # the same, and why it was read
    aside: Aside = field(default_factory=lambda: Aside("configuration"))
    ok: bool = True
    mistakes: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    read_at: float = field(init=False)
    checked_at: float = field(init=False)
    _known: Stamps = field(init=False)  # of what was read last, whatever came of it
    _seen: Stamps | None = None  # at the latest look, where those were others
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.read_at = self.checked_at = self.wall()
        config = self.overrides.config
        own = {} if config.stamp is None else {config.looked[0]: config.stamp}
        self._known = own | {file: stamp_of(file) for file in beside(config)}

    @property
    def file(self) -> Path | None:
        """None: there is none, and one is looked for in the usual places."""
        config = self.overrides.config
        return None if config.stamp is None else config.looked[0].absolute()

    @property
    def state(self) -> Json:
        return {
            "file": None if self.file is None else str(self.file),
            "read_at": self.read_at,
            "checked_at": self.checked_at,
            "ok": self.ok,
            "mistakes": list(self.mistakes),
            "restart": list(self.restart),
        }

    @property
    def facts(self) -> Iterator[tuple[str, tuple[str, ...], float]]:
        yield "config_last_reload_successful", (), self.ok
        yield "config_last_reload_success_timestamp_seconds", (), self.read_at

    async def look(self) -> None:
        """Once. Reads the file if it is another than before, and has come to rest."""
        async with self._turn:
            try:
                now = await self.aside.call(self._stamps, DEADLINE)
            except TimeoutError:
                return  # whoever asks is told; a share that hangs has told us nothing new
            self.checked_at = self.wall()
            if now == self._known:
                self._seen = None
            elif now != self._seen:
                self._seen = now
            else:
                with contextlib.suppress(ConfigError, _Writing):  # it has been said, or comes
                    await self._read("has changed")

    async def now(self, why: str, *, apply_now: bool = False, dry_run: bool = False) -> Reload:
        """Read it at once. Raises Refused with every mistake; then nothing has changed."""
        async with self._turn:
            try:
                return await self._read(why, apply_now=apply_now, dry_run=dry_run)
            except _Writing:
                rests = "is being written at this moment, and is read when it rests"
                raise Refused([Problem(self._name, rests)]) from None

    async def _read(self, why: str, *, apply_now: bool = False, dry_run: bool = False) -> Reload:
        try:
            fresh, stamp = await self.aside.call(self._fresh, DEADLINE)
            self.checked_at = self.wall()
            if not dry_run:
                self._known, self._seen = stamp, None
            if isinstance(fresh, ConfigError):
                raise fresh
            found = await self.overrides.reload(
                fresh, self.takes, apply_now=apply_now, dry_run=dry_run
            )
        except TimeoutError:
            late = Problem(self._name, f"cannot be read: no answer within {DEADLINE:g} s")
            raise self._refuse(ConfigError([late]), why, dry_run) from None
        except ConfigError as error:
            raise self._refuse(error, why, dry_run) from None
        if not dry_run:
            self._accept(found, why)
        return found

    def _accept(self, found: Reload, why: str) -> None:
        mended, self.ok, self.mistakes = not self.ok, True, ()
        self.read_at = self.wall()
        waiting, self.restart = self.restart, tuple(d.key for d in found.restart)
        for take in self.take:
            take(found.engines)
        sentences = found.sentences
        log.info("%s: %s, and is %s", self._name, why, "in force" if sentences else "what it was")
        for line in sentences:
            log.info("  %s", line)
        if mended or found.changed or found.set_aside or self.restart != waiting:
            self._tell(why, changed=[d.key for d in found.changed])

    def _refuse(self, error: ConfigError, why: str, dry_run: bool) -> Refused:
        refused = Refused(error.problems)
        if not dry_run:
            before = self.mistakes
            self.ok, self.mistakes = False, tuple(map(str, error.problems))
            count = len(self.mistakes)
            told = f"{count} mistake{'s' if count > 1 else ''}"
            log.error("%s: %s, and is refused for %s; %s", self._name, why, told, STAYS)
            for line in self.mistakes:
                log.error("  %s", line)
            if self.mistakes != before:
                self._tell(why, changed=[])
        return refused

    def _tell(self, why: str, changed: list[str]) -> None:
        restart, mistakes = list(self.restart), list(self.mistakes)
        told = {"ok": self.ok, "mistakes": mistakes, "changed": changed, "restart": restart}
        self.note(why, told)
        for hear in self.tell:
            hear(told)

    # -- beside the loop

    @property
    def _name(self) -> str:
        return str(self._place() or "the configuration")

    def _place(self) -> Path | None:
        config = self.overrides.config
        if config.stamp is not None:
            return config.looked[0]
        return next((p for p in config.looked if os.path.isfile(p)), None)

    def _stamps(self) -> Stamps:
        place = self._place()
        files = [] if place is None else [place]
        return {file: stamp_of(file) for file in (*files, *beside(self.overrides.config))}

    def _fresh(self) -> tuple[Config | ConfigError, Stamps]:
        """What it says now, and the stamps of what says it. Raises _Writing."""
        place, before = self._place(), self._stamps()
        try:
            if place is not None and (why := _unreadable(place)):
                raise ConfigError([Problem(str(place), why)])
            fresh: Config | ConfigError = self.overrides.config.reread()
        except ConfigError as error:
            fresh = error
        if self._stamps() != before:
            raise _Writing
        if isinstance(fresh, ConfigError):
            return fresh, before
        files = [*([] if place is None else [place]), *beside(fresh)]
        return fresh, {file: before.get(file) or stamp_of(file) for file in files}


def beside(config: Config) -> frozenset[Path]:
    """Files with tokens and certificates that are taken up while running: each change of one is a
    change of the configuration."""
    tables = config.tables
    listen, gateway, fleet = tables.listen, tables.gateway, tables.fleet
    tokens = [t.token_file for t in listen.tokens.values()]
    tokens += [t.token_file for t in gateway.tokens.values()]
    named = (listen.token_file, *tokens, fleet.token_file, fleet.ca_file)
    return frozenset(file for file in named if file is not None)


def _unreadable(file: Path) -> str | None:
    """Why there is nothing to read anew. None: there is. A pipe was emptied at the start, and
    whoever opens one waits."""
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        return "is not there any more; put it back, or start the daemon anew without it"
    except OSError as error:
        return f"cannot be read: {plain_file.why(file, error)}"
    if stat.S_ISDIR(mode):
        return "is a folder now; the file of that name is gone"
    return None if stat.S_ISREG(mode) else "is no plain file, and is read at the start alone"
