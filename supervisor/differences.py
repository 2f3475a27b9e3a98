"""Which keys differ between two configurations, as far as that makes a difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from pydantic import BaseModel

from .config.config import Config, effective
from .config.given import path_of
from .config.settings import KeyPath, dotted
from .config.table import form_of

SINGLE = ("single_active_backend", "single_model_mode")  # one setting with two names


class Difference(NamedTuple):
    """Of the key at `path`. Both values as people read them; "": that is not shown."""

    path: KeyPath
    before: str
    after: str

    @property
    def key(self) -> str:
        return dotted(self.path)

    def __str__(self) -> str:
        if self.path[0] == "engines" and len(self.path) == 2:
            return f"{self.key} is {'new' if self.after else 'gone'}"
        if self.after != self.before:
            after, before = (text or "not said" for text in (self.after, self.before))
            return f"{self.key} = {after} (it was {before})"
        return f"{self.key} is another"


def differences(one: Config, other: Config) -> list[Difference]:
    """Keys that are written another way and mean the same are none. An engine that one of them
    does not have is one key, that of its table."""
    before, after = _leaves(one.tables), _leaves(other.tables)
    engines = {e.id for e in one.engines} ^ {e.id for e in other.engines}
    found = {p for p in before | after if before.get(p) != after.get(p) and p[0] not in SINGLE}
    shown, now = _shown(one), _shown(other)
    found |= {p for p in shown.keys() & now.keys() if shown[p] != now[p]}
    found |= set(_secrets(one, other, found))
    found = {p for p in found if p[0] != "engines" or p[1] not in engines}
    shown |= {("engines", e.id): e.url or e.kind or "" for e in one.engines}
    now |= {("engines", e.id): e.url or e.kind or "" for e in other.engines}
    found |= {("engines", e) for e in engines}
    return [Difference(p, shown.get(p, ""), now.get(p, "")) for p in sorted(found)]


def _shown(config: Config) -> dict[KeyPath, str]:
    return {path_of(key): value for key, value, _ in effective(config)}


def _leaves(table: BaseModel, path: KeyPath = ()) -> dict[KeyPath, object]:
    """What is not as it would be without a word."""
    return dict(_walk(table, path))


def _walk(table: BaseModel, path: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    kind = type(table)
    usual = _usual(kind)
    for name in kind.model_fields:
        value: Any = getattr(table, name)
        here = (*path, name)
        if form_of(kind, name) is not None:
            if value != getattr(usual, name):
                yield here, value
        elif isinstance(value, Mapping):
            for inner, own in value.items():
                yield from _walk(own, (*here, inner))
        else:
            yield from _walk(value, here)


@cache
def _usual(kind: type[BaseModel]) -> BaseModel:
    return kind()


def _secrets(one: Config, other: Config, known: set[KeyPath]) -> Iterator[KeyPath]:
    """Those that stand in files of their own, which were written anew."""
    secrets = [_tokens(config) for config in (one, other)]
    for path in secrets[0].keys() & secrets[1].keys():
        file = (*path[:-1], f"{path[-1]}_file")
        if secrets[0][path] != secrets[1][path] and not {path, file} & known:
            yield path


def _tokens(config: Config) -> dict[KeyPath, object]:
    found: dict[KeyPath, object] = {
        ("listen", "token"): config.token,
        ("fleet", "token"): config.fleet.tokens,
        ("fleet", "ca"): config.fleet.ca,
    }
    found |= {("engines", e.id, "key"): e.key for e in config.engines}
    found |= {("listen", "tokens", t.name, "token"): t.digest for t in config.tokens}
    return found | {("gateway", "tokens", t.name, "token"): t.digest for t in config.gateway.tokens}
