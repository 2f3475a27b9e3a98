"""Reads the table of alerts: a frozen value, and a note for each mistake in it."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from collectors.reading import Bytes

from .alerted import Action, ActionConfig, AlertsConfig, Kind
from .gated_checks import NAME
from .given import Given
from .settings import File, KeyPath

# What each kind of action has to be told, one of them, and what it may be told besides. Any may be
# told `match` and `dry_run`.
_NEEDS: dict[Kind, tuple[str, ...]] = {
    Kind.EVICT: (),
    Kind.SLEEP: (),
    Kind.PAUSE: (),
    Kind.PIN: ("models",),
    Kind.RESTART: ("engine",),
    Kind.RESERVE: ("size",),
}
_TAKES: dict[Kind, tuple[str, ...]] = {
    Kind.EVICT: ("free", "models", "engine", "pool", "below"),
    Kind.SLEEP: ("models", "engine", "pool", "below"),
    Kind.PAUSE: ("engine", "pool", "below"),
    Kind.PIN: ("models", "pool", "below"),
    Kind.RESTART: ("engine",),
    Kind.RESERVE: ("size", "pool", "below"),
}
_ALWAYS = ("action", "match", "dry_run")


def read(file: File, given: Given) -> AlertsConfig:
    """What alerts may do. Notes what is wrong, all of it."""
    table = file.alerts
    actions = tuple(_actions(file, given))
    return AlertsConfig(table.limit, table.dry_run, table.hold_for, actions)


def _actions(file: File, given: Given) -> Iterator[ActionConfig]:
    for name, table in file.alerts.actions.items():
        path: KeyPath = ("alerts", "actions", name)
        if not NAME.fullmatch(name):
            given.problem(path, "an action's name is letters, digits, dots, dashes, underscores")
        if table.action is None:
            if "action" not in given.keys(path):
                words = ", ".join(kind.value for kind in Kind)
                given.problem(path, f"says not what is to be done; write action = one of {words}")
            continue
        _check(table, table.action, path, given)
        _engine(file, table, path, given)
        yield ActionConfig(
            name,
            table.action,
            table.match,
            table.free,
            table.models,
            table.engine,
            table.pool,
            Bytes(0) if table.size is None else table.size,
            table.below,
            table.dry_run,
        )


def _check(table: Action, kind: Kind, path: KeyPath, given: Given) -> None:
    said = given.keys(path)
    takes = (*_ALWAYS, *_TAKES[kind])
    for key in Action.model_fields:
        if key in said and key not in takes:
            given.problem(
                (*path, key), f"means nothing to {kind.value}; it takes {', '.join(_TAKES[kind])}"
            )
    for key in _NEEDS[kind]:
        if key not in said:
            given.problem(path, f"{kind.value} has to be told {key}")
    if kind is Kind.RESERVE and "size" in said and table.size == 0:
        given.problem((*path, "size"), "is nothing to keep free")


def _engine(file: File, table: Action, path: KeyPath, given: Given) -> None:
    """One that is named and not configured may be found later, unless nobody looks."""
    known = list(file.engines)
    if table.engine is not None and table.engine not in known and not file.detect:
        close = get_close_matches(table.engine, known, 1, 0.5)
        hint = f"; did you mean {close[0]}?" if close else ""
        given.problem((*path, "engine"), f"no engine is called {table.engine}{hint}")
