"""Reads the tables of the configuration key by key, and says of what is wrong what was meant."""

from __future__ import annotations

import copy
from difflib import SequenceMatcher
from typing import Any

from pydantic import ValidationError

from supervisor.units import shown

from . import settings
from .given import Given
from .settings import SETTINGS, KeyPath, dotted, table_at

_KEYS = tuple(s.key for s in SETTINGS)


def read_tables(given: Given) -> settings.File:
    """The tables, checked key by key. What is wrong is noted and left out, so that the checks
    that follow see all the rest."""
    tree = copy.deepcopy(given.tree)
    while True:
        try:
            return settings.File.model_validate(tree, context={"folder": given.folder})
        except ValidationError as wrong:
            for error in wrong.errors(include_url=False):
                path = tuple(str(p) for p in error["loc"])
                given.problem(path, _message(path, error))
                _prune(tree, path)


def _message(path: KeyPath, error: Any) -> str:
    if error["type"] == "extra_forbidden":
        hint = _closest(path)
        return "unknown key" + (f"; did you mean {hint}?" if hint else "")
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    named = (settings.NAMED[path[0]],) if len(path) == 1 and path[0] in settings.NAMED else ()
    table = dotted((*path, *named))
    return f"{shown(error['input'])} stands where a table should; write [{table}]"


def _closest(path: KeyPath) -> str | None:
    """The key that was probably meant: of the same table, else of any."""
    table = table_at(path[:-1])
    here = {name: dotted((*path[:-1], name)) for name in table.model_fields} if table else {}
    scores = [(_alike(path[-1], name), key) for name, key in here.items()]
    scores += [(_alike(dotted(path), key), key) for key in (*here.values(), *_KEYS)]
    scores += [
        (_alike(path[-1], s.path[-1]) - 0.05, s.key) for s in SETTINGS
    ]  # the table forgotten
    score, key = max(scores, key=lambda pair: pair[0])
    return key if score >= 0.7 else None


def _alike(a: str, b: str) -> float:
    return SequenceMatcher(None, a, b).ratio()


def _prune(tree: dict[str, Any], path: KeyPath) -> None:
    for key in path[:-1]:
        if not isinstance(tree.get(key), dict):
            tree.pop(key, None)
            return
        tree = tree[key]
    tree.pop(path[-1], None)
