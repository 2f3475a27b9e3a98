"""How much the largest container of each attribute holds: where something is kept for ever, that
grows."""

from __future__ import annotations

import gc
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from types import FunctionType, MethodType, ModuleType
from typing import Any

OURS = ("supervisor", "collectors")
SIZED = (dict, list, set, deque)
CACHE = type(lru_cache(len))
PLAIN = (str, bytes, int, float, bool, complex, type(None), type, ModuleType)


@dataclass(slots=True)
class Census:
    """`entries` in the largest container of an attribute, and `objects` of a class of ours, by
    name."""

    entries: Counter[str] = field(default_factory=Counter)
    objects: Counter[str] = field(default_factory=Counter)

    @property
    def json(self) -> dict[str, dict[str, int]]:
        return {"entries": dict(self.entries), "objects": dict(self.objects)}


def census(*roots: Any) -> Census:
    """Whatever can be reached from `roots`, and from the globals of our modules."""
    found = Census()
    seen: set[int] = set()
    todo: deque[tuple[str, Any]] = deque(("root", root) for root in roots)
    for name, module in list(sys.modules.items()):
        if _ours(name):
            todo.extend((f"{name}.{key}", value) for key, value in list(vars(module).items()))
    while todo:
        path, thing = todo.pop()
        kind = type(thing)
        if isinstance(thing, PLAIN) or id(thing) in seen or _looks_on(kind.__module__):
            continue  # those who look on are in its loop, too
        seen.add(id(thing))
        if isinstance(thing, CACHE):
            if thing.cache_parameters()["maxsize"] is None:  # others have a bound of their own
                found.entries[path] = max(found.entries[path], thing.cache_info().currsize)
            continue
        if isinstance(thing, SIZED):
            found.entries[path] = max(found.entries[path], len(thing))
        if _ours(kind.__module__):
            found.objects[kind.__qualname__] += 1
        todo.extend(_inside(path, thing, kind))
    return found


def _ours(module: str) -> bool:
    return module.partition(".")[0] in OURS


def _looks_on(module: str) -> bool:
    return module == "__main__" or module.startswith("tests.")


def _inside(path: str, thing: Any, kind: type) -> Iterable[tuple[str, Any]]:
    if isinstance(thing, FunctionType):
        for cell in thing.__closure__ or ():
            try:
                yield f"{path}()", cell.cell_contents
            except ValueError:
                continue
    elif isinstance(thing, MethodType):
        yield path, thing.__self__
    elif _ours(kind.__module__) and not isinstance(thing, SIZED):
        for name, value in _attributes(thing):
            yield f"{kind.__qualname__}.{name}", value
    else:
        yield from ((path, value) for value in gc.get_referents(thing))


def _attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    yield from list(getattr(thing, "__dict__", {}).items())
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            try:
                yield name, getattr(thing, name)
            except AttributeError:
                continue
    if isinstance(thing, tuple):  # a NamedTuple has neither
        yield from (("[]", value) for value in thing)


def grown(before: Counter[str], after: Counter[str], least: int = 1) -> dict[str, tuple[int, int]]:
    """What is at least so much more, by name: how much it was, and how much it is."""
    return {k: (before[k], n) for k, n in after.items() if n - before[k] >= least}
