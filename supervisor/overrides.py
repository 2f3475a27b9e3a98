"""Settings that were changed while running: over the configuration, until they are taken back.

They are written and checked as in the file, all together with it, or they are refused; what was in
force before stays then. They are on the journal's shelf, and hold for the next daemon, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import NamedTuple

from .bounds import NAMES as BOUNDS
from .config import Config, effective
from .core.contradictions import contradictions, too_large
from .core.plan import limit, plan
from .core.policy import Policy
from .core.snapshot import Ability, Demand, ModelId, ModelRef, Snapshot
from .events import SettingsChanged
from .given import ConfigError, Problem, path_of
from .limiting import limits_of
from .loop import Loop
from .scopes import Scope
from .settings import SETTINGS, KeyPath, dotted, table_at
from .shelves import Shelf, told

log = logging.getLogger("ullage.settings")

# Tables of which everything is the policy's.
TABLES = frozenset({"pools", "models", "types", "npu", "groups", "watchdog", "foreign"})
ANOTHER = ModelId("another model")

NextLoad = Mapping[str, tuple[ModelRef, ...] | None]


class Row(NamedTuple):
    key: str
    value: str
    source: str
    settable: bool


@dataclass(frozen=True, slots=True)
class Change:
    """What a change does, or would do. `now` are those who leave if the limits are applied to
    who is there; `next_load` those who leave, by engine, before another model of it loads, or
    None where it could not load at all."""

    key: str
    value: str
    before: str
    apply_now: bool
    now: tuple[ModelRef, ...] = ()
    next_load: NextLoad = field(default_factory=dict)

    @property
    def sentences(self) -> list[str]:
        lines = [f"{self.key} = {self.value} (it was {self.before})"]
        if self.now:
            when = "leaves now" if self.apply_now else "would leave at once with apply_now"
            lines += [f"{ref} {when}" for ref in self.now]
        for who, engines in _by_who(self.next_load).items():
            before = f"before another model of {', '.join(engines)} loads"
            if who is None:
                lines.append(f"{before}: it could not, and nobody would leave")
            elif who:
                lines.append(f"{before}: {', '.join(map(str, who))} leaves")
        return lines


def _by_who(
    found: Mapping[str, tuple[ModelRef, ...] | None],
) -> dict[tuple[ModelRef, ...] | None, list[str]]:
    groups: dict[tuple[ModelRef, ...] | None, list[str]] = {}
    for engine, who in sorted(found.items()):
        groups.setdefault(who, []).append(engine)
    return groups


@dataclass(slots=True)
class Overrides:
    """`config` is as it was read at the start; `current` has what was set since on top. `set_aside`
    are those of an earlier daemon that do not go with it any more, and why."""

    config: Config
    loop: Loop
    shelf: Shelf
    current: Config = field(init=False)
    set_aside: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.current = self.config

    @property
    def texts(self) -> dict[str, str]:
        """What is in force, by key."""
        found = ((key, body.get("value")) for key, body in self.shelf.all().items())
        return {k: v for k, v in found if isinstance(v, str) and k not in self.set_aside}

    def recall(self) -> Policy:
        """Take up what was set earlier. What cannot be, is set aside and told; the rest holds."""
        texts = self.texts
        try:
            self.current = self.config.again(texts)
        except ConfigError:
            kept: dict[str, str] = {}
            for key, text in texts.items():
                try:
                    self.current = self.config.again(kept | {key: text})
                    kept[key] = text
                except ConfigError as error:
                    self.set_aside[key] = str(error.problems[0])
                    log.error("%s = %s, as it was set, is not in force: %s", key, text, error)
        for key, text in self.texts.items():
            log.info("%s = %s  (override)", key, text)
        applied = (body.get("applied") for body in self.shelf.all().values())
        self.loop.rules.limiting.lenient = not all(applied)
        return self.current.policy

    def rows(self) -> list[Row]:
        """Every setting as it counts now."""
        return [
            Row(key, value, source, why_not(path_of(key)) is None)
            for key, value, source in effective(self.current)
        ]

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
        if key not in self.shelf.all():
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
        change = Change(key, after, before, apply_now, *self._consequences(policy))
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

    def _refuse(self, policy: Policy) -> None:
        """What cannot both be meant, with all that is pinned now and on this machine."""
        pools = () if self.loop.snapshot is None else self.loop.snapshot.pools
        before = self.loop.keeping.considered(self.loop.keeping.given)
        known = {*contradictions(before), *too_large(before, pools)}
        found = (*contradictions(policy), *too_large(policy, pools))
        if new := [c for c in found if c not in known]:
            raise ConfigError([Problem(dotted(c.path), c.message) for c in new])

    def _consequences(self, policy: Policy) -> tuple[tuple[ModelRef, ...], NextLoad]:
        snapshot, loop = self.loop.snapshot, self.loop
        if snapshot is None or limits_of(policy) == limits_of(loop.policy):
            return (), {}
        idle = tuple(replace(r, busy=False) for r in snapshot.residents)
        snapshot = replace(snapshot, residents=idle)  # whoever works now goes when it has ended
        experience = replace(loop.experience, tolerated=frozenset(), braked={}, barred={})
        leaving = limit(snapshot, policy, experience).evictions
        following: dict[str, tuple[ModelRef, ...] | None] = {}
        for demand in _newcomers(snapshot):
            made = plan(snapshot, policy, demand, experience)
            assert demand.ref is not None
            goes = tuple(e.ref for e in made.evictions)
            following[demand.ref.engine] = goes if made.works else None
        return tuple(e.ref for e in leaving), following


def _newcomers(snapshot: Snapshot) -> Iterator[Demand]:
    """A model that nobody knows yet, for each engine that could load one."""
    for engine in snapshot.engines:
        if engine.up and Ability.LOAD in engine.abilities:
            yield Demand((), ModelRef(engine.id, ANOTHER))


def why_not(path: KeyPath) -> str | None:
    """Why the key at `path` cannot be changed while running. None: it can."""
    known = {s.path: s for s in SETTINGS}
    table = table_at(path[:-1])
    if table is None or path[-1] not in table.model_fields:
        close = get_close_matches(dotted(path), [s.key for s in SETTINGS], 1, 0.6)
        return "unknown key" + (f"; did you mean {close[0]}?" if close else "")
    if path[0] == "engines":
        allowed = path[2] in {*Scope.model_fields, *BOUNDS, "max_active_backends"}
    else:
        setting = known.get(path)
        allowed = path[0] in TABLES or path == ("single_model_mode",)
        allowed |= setting is not None and (setting.at or "").startswith("policy.")
    if allowed:
        return None
    return "is read at the start alone; put it into the file, and start the daemon anew"


def _value(config: Config, key: str) -> str:
    twin = "single_active_backend" if key == "single_model_mode" else key
    return next((v for k, v, _ in effective(config) if k == twin), "none")
