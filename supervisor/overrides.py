"""Settings that were changed while running: over the configuration, until they are taken back.

They are written and checked as in the file, all together with it, or they are refused; what was in
force before stays then. They are on the journal's shelf, and hold for the next daemon, too.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import NamedTuple

from .config.bounds import NAMES as BOUNDS
from .config.config import Config, EngineConfig, effective
from .config.given import ConfigError, Problem, path_of
from .config.opened import opened
from .config.scopes import Scope
from .config.settings import NAMED, SETTINGS, KeyPath, dotted, table_at
from .consequences import Consequences, NextLoad, consequences, of_limits
from .core.contradictions import contradictions, too_large
from .core.policy import Policy
from .core.snapshot import EngineId, ModelRef
from .differences import Difference, differences
from .events import SettingsChanged
from .journal.shelves import Shelf, told
from .loop import Loop

log = logging.getLogger("ullage.settings")

# Tables of which everything is the policy's.
TABLES = frozenset({"pools", "models", "types", "npu", "groups", "watchdog", "foreign"})
KNOWN = {s.path: s for s in SETTINGS}
# Tables that are taken up when the file is read again, and by nothing else.
_ALERTS = ("limit", "dry_run", "hold_for", "actions")
_LISTEN = ("token", "token_file", "tokens")
_FLEET = ("token", "token_file", "ca", "ca_file")
REREAD = frozenset(
    {
        *(("listen", name) for name in _LISTEN),
        ("gateway", "tokens"),
        *(("alerts", name) for name in _ALERTS),
        *(("fleet", name) for name in _FLEET),
    }
)


class Row(NamedTuple):
    key: str
    value: str
    source: str
    settable: bool


@dataclass(frozen=True, slots=True)
class Change:
    """What the change of a setting does, or would do."""

    key: str
    value: str
    before: str
    apply_now: bool
    then: Consequences = field(default_factory=Consequences)

    @property
    def now(self) -> tuple[ModelRef, ...]:
        return self.then.now

    @property
    def next_load(self) -> NextLoad:
        return self.then.next_load

    @property
    def sentences(self) -> list[str]:
        said = f"{self.key} = {self.value} (it was {self.before})"
        return [said, *self.then.sentences(self.apply_now)]


@dataclass(frozen=True, slots=True)
class Reload:
    """What a configuration that was read anew does, or would do. `changed` is in force, `restart`
    waits for one; `hidden` is covered by what was set while running, and `set_aside` was set while
    running and does not go with the rest any more. `engines` are taken up."""

    changed: tuple[Difference, ...] = ()
    restart: tuple[Difference, ...] = ()
    hidden: tuple[Difference, ...] = ()
    set_aside: dict[str, str] = field(default_factory=dict)
    engines: tuple[EngineConfig, ...] = ()
    apply_now: bool = False
    then: Consequences = field(default_factory=Consequences)

    @property
    def sentences(self) -> list[str]:
        lines = [str(d) for d in self.changed]
        lines += [
            f"{key}, as it was set, is not in force: {w}" for key, w in self.set_aside.items()
        ]
        lines += [
            f"{d.key}: the file says {d.after or 'something else'}, and what was set while running"
            f" counts more; `ullage settings unset {shlex.quote(d.key)}` takes that back"
            for d in self.hidden
        ]
        lines += [f"{d}: when the daemon is started anew" for d in self.restart]
        return [*lines, *self.then.sentences(self.apply_now)]


@dataclass(slots=True)
class Overrides:
    """`config` is as it was read last; `current` has what was set since on top. `running` is what
    the daemon was built from: of what cannot be changed while it runs, that is in force.
    `set_aside` are those that do not go with the configuration any more, and why."""

    config: Config
    loop: Loop
    shelf: Shelf
    current: Config = field(init=False)
    running: Config = field(init=False)
    set_aside: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.current = self.running = self.config

    @property
    def texts(self) -> dict[str, str]:
        """What is in force, by key."""
        return {k: v for k, v in self._kept.items() if k not in self.set_aside}

    @property
    def _kept(self) -> dict[str, str]:
        found = ((key, body.get("value")) for key, body in self.shelf.all().items())
        return {k: v for k, v in found if isinstance(v, str)}

    def recall(self) -> Policy:
        """Take up what was set earlier. What cannot be, is set aside and told; the rest holds."""
        self.current, self.set_aside = _over(self.config, self._kept)
        for key, why in self.set_aside.items():
            log.error("%s = %s, as it was set, is not in force: %s", key, self._kept[key], why)
        for key, text in self.texts.items():
            log.info("%s = %s  (override)", key, text)
        applied = (body.get("applied") for body in self.shelf.all().values())
        self.loop.witnesses.rules.limiting.lenient = not all(applied)
        return self.current.policy

    def rows(self) -> list[Row]:
        """Every setting as it counts now."""
        held = {
            key: Row(key, value, whence, False) for key, value, whence in effective(self.running)
        }
        rows = []
        for key, value, whence in effective(self.current):
            fixed = held.pop(key, None)
            if not waits(path_of(key)):
                rows.append(Row(key, value, whence, why_not(path_of(key)) is None))
            elif fixed is not None:
                rows.append(fixed)
        return rows + [row for row in held.values() if waits(path_of(row.key))]

    async def set(
        self, key: str, text: str, *, apply_now: bool = False, dry_run: bool = False
    ) -> Change:
        """Raises ConfigError with every mistake; then nothing has changed."""
        path = path_of(key)
        key = dotted(path)
        if (why := why_not(path)) is not None:
            raise ConfigError([Problem(key, why)])
        return await self._change(key, self.texts | {key: text}, text, apply_now, dry_run)

    async def unset(self, key: str, *, apply_now: bool = False, dry_run: bool = False) -> Change:
        """As it is configured again. Raises KeyError where nothing was set."""
        key = dotted(path_of(key))
        if key not in self.shelf:
            raise KeyError(key)
        texts = {k: v for k, v in self.texts.items() if k != key}
        return await self._change(key, texts, None, apply_now, dry_run)

    async def _change(
        self, key: str, texts: dict[str, str], text: str | None, apply_now: bool, dry_run: bool
    ) -> Change:
        config = self.config.again(texts)
        policy = self.loop.keeping.considered(config.policy)
        self._refuse(policy)
        before, after = _value(self.current, key), _value(config, key)
        change = Change(key, after, before, apply_now, consequences(policy, self.loop))
        if dry_run:
            return change
        self.set_aside.pop(key, None)
        self.current = config
        done = asyncio.get_running_loop().create_future()
        self.loop.post(SettingsChanged(config.policy, apply_now, done))
        log.info("; ".join(change.sentences))
        if text is None:
            await told(self.shelf.drop(key))
        else:
            await told(self.shelf.keep(key, {"value": text, "applied": apply_now}))
        await done
        return change

    async def reload(
        self,
        fresh: Config,
        takes: Callable[[EngineConfig], bool],
        *,
        apply_now: bool = False,
        dry_run: bool = False,
    ) -> Reload:
        """`fresh` in place of the configuration, with what was set while running on top; `takes`
        says which engines can be had while running. Raises ConfigError with every mistake; then
        nothing has changed."""
        config, aside = _over(fresh, self._kept)
        policy = self.loop.keeping.considered(config.policy)
        self._refuse(policy, config.place)
        if bare := tuple(opened(self.running, self.current, config)):
            raise ConfigError(bare)
        engines = tuple(e for e in fresh.engines if e.id not in self._ids and takes(e))
        running = _joined(self.running, fresh, engines)
        over = {_shown_as(k) for k in self._kept if k not in aside}
        then = of_limits(policy, self.loop) if apply_now else consequences(policy, self.loop)
        found = Reload(
            changed=(
                *(Difference(("engines", e.id), "", e.url) for e in engines),
                *(d for d in differences(self.current, config) if not waits(d.path)),
            ),
            restart=tuple(d for d in differences(running, fresh) if waits(d.path)),
            hidden=tuple(d for d in differences(self.config, fresh) if d.key in over),
            set_aside={k: why for k, why in aside.items() if k not in self.set_aside},
            engines=engines,
            apply_now=apply_now,
            then=then,
        )
        if dry_run:
            return found
        self.config, self.current, self.running, self.set_aside = fresh, config, running, aside
        done = asyncio.get_running_loop().create_future()
        self.loop.post(SettingsChanged(config.policy, apply_now, done))
        await done
        return found

    @property
    def _ids(self) -> frozenset[EngineId]:
        return frozenset(e.id for e in self.running.engines)

    def _refuse(self, policy: Policy, place: Callable[[KeyPath], str] = lambda path: "") -> None:
        """What cannot both be meant, with all that is pinned now and on this machine."""
        pools = () if self.loop.snapshot is None else self.loop.snapshot.pools
        before = self.loop.keeping.considered(self.loop.keeping.given)
        known = {*contradictions(before), *too_large(before, pools)}
        found = (*contradictions(policy), *too_large(policy, pools))
        if new := [c for c in found if c not in known]:
            raise ConfigError([Problem(dotted(c.path), c.message, place(c.path)) for c in new])


def _over(config: Config, texts: dict[str, str]) -> tuple[Config, dict[str, str]]:
    """`config` with what was set while running on top, as far as they go together, and why what
    does not is left out."""
    try:
        return config.again(texts), {}
    except ConfigError:
        aside: dict[str, str] = {}
        kept: dict[str, str] = {}
        for key, text in texts.items():
            try:
                config = config.again(kept | {key: text})
                kept[key] = text
            except ConfigError as error:
                aside[key] = str(error.problems[0])
        return config, aside


def _joined(running: Config, fresh: Config, engines: tuple[EngineConfig, ...]) -> Config:
    """What runs, and `engines` besides."""
    tables = dict(running.tables.engines)
    policies = dict(running.policy.engines)
    sources = dict(running.sources)
    for engine in engines:
        tables[engine.id] = fresh.tables.engines[engine.id]
        policies[engine.id] = fresh.policy.engines[engine.id]
        own = ("engines", engine.id)
        sources |= {k: w for k, w in fresh.sources.items() if path_of(k)[:2] == own}
    return replace(
        running,
        engines=(*running.engines, *engines),
        tables=running.tables.model_copy(update={"engines": tables}),
        policy=replace(running.policy, engines=policies),
        sources=sources,
    )


def why_not(path: KeyPath) -> str | None:
    """Why the key at `path` cannot be changed while running. None: it can."""
    table = table_at(path[:-1])
    named = path[0] in NAMED and len(path) < 3
    if table is None or named or path[-1] not in table.model_fields:
        close = get_close_matches(dotted(path), [s.key for s in SETTINGS], 1, 0.6)
        return "unknown key" + (f"; did you mean {close[0]}?" if close else "")
    if path[0] == "engines":
        allowed = path[2] in {*Scope.model_fields, *BOUNDS, "max_active_backends", "pools"}
    else:
        setting = KNOWN.get(path)
        allowed = path[0] in TABLES or path == ("single_model_mode",)
        allowed |= setting is not None and (setting.at or "").startswith("policy.")
    if allowed:
        return None
    if path[:2] in REREAD:
        return "is taken from the file alone; put it there, and it is in force at once"
    return "is read at the start alone; put it into the file, and start the daemon anew"


def waits(path: KeyPath) -> bool:
    """What is said in the file at `path` counts from the next start on, and not before."""
    return path[:2] not in REREAD and why_not(path) is not None


def _value(config: Config, key: str) -> str:
    return next((v for k, v, _ in effective(config) if k == _shown_as(key)), "none")


def _shown_as(key: str) -> str:
    """A setting has two names, and is shown by one."""
    return "single_active_backend" if key == "single_model_mode" else key
