"""How long models stay, as settings: how they are written, and what contradicts what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from supervisor.core.policy import FOREVER, Retention, Scope

from . import forms
from .given import Given
from .scopes import Scope as Table
from .settings import File, KeyPath, Model

RETENTION, KEEP_ALIVE = forms.RETENTION, forms.KEEP_ALIVE


def of_scope(table: Any) -> dict[str, Any]:
    """What is said in the tables of the host, an engine or a model, for its policy."""
    return {"retention": table.retention, "keep_alive": table.keep_alive}


def shown_scope(scope: Scope) -> Iterator[tuple[KeyPath, str]]:
    if scope.retention is not None:
        yield ("retention",), RETENTION.show(scope.retention)
    if scope.keep_alive is not None:
        yield ("keep_alive",), KEEP_ALIVE.show(scope.keep_alive)


def check(file: File, given: Given) -> None:
    """Notes what is said twice, and differently, of the same scope."""
    _check_scope(file, (), given)
    for engine, table in file.engines.items():
        _check_scope(table, ("engines", engine), given)
    for model, own in file.models.items():
        path: KeyPath = ("models", model)
        _check_scope(own, path, given)
        _check_pin(own, path, given)


def _check_scope(table: File | Table, path: KeyPath, given: Given) -> None:
    keep = table.keep_alive
    if keep is None:
        return
    written = KEEP_ALIVE.show(keep)
    of_model = path[:1] == ("models",) and table.retention is Retention.PINNED
    if table.retention not in (None, Retention.KEEP_ALIVE) and not of_model:
        right = f'leave one of them out, or write retention = "{Retention.KEEP_ALIVE.value}"'
        given.problem(
            (*path, "keep_alive"), f'contradicts retention = "{table.retention.value}"; {right}'
        )
    said = {n for n in ("idle", "idle_timeout") if given.has((*path, "watchdog", n))}
    watchdog = table.watchdog
    off = "idle" in said and watchdog.idle is False
    if "idle" in said and watchdog.idle is (keep == FOREVER):
        word = "true" if watchdog.idle else "false"
        why = f"{word} contradicts keep_alive = {written} of the same; leave one of them out"
        given.problem((*path, "watchdog", "idle"), why)
    elif "idle_timeout" in said and not off and watchdog.idle_timeout not in (None, keep):
        why = f"keep_alive of the same is {written}: both say when it goes idle; leave one out"
        given.problem((*path, "watchdog", "idle_timeout"), why)


def _check_pin(model: Model, path: KeyPath, given: Given) -> None:
    """What else goes with no pin is told of the policy as a whole: core/contradictions.py."""
    said = given.has((*path, "pinned")) and not model.pinned
    if said and model.retention is Retention.PINNED:
        why = 'false contradicts retention = "pinned"; leave one of them out'
        given.problem((*path, "pinned"), why)
