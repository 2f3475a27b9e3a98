"""Where a request goes that no model has to be there for: what an engine tells of a model, answers
that it keeps, its own paths, and what would change it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from supervisor.core.snapshot import EngineId, ModelId, ModelRef, Snapshot
from supervisor.engines.base import Engine

from .asked import Asked
from .managing import ordered
from .names import Names, Visible
from .surfaces import Does, Surface
from .tokens import Caller
from .wrong import NotAllowed, NotOne, UnknownEngine


@dataclass(frozen=True, slots=True)
class Course:
    """`busy`: nobody can say which model works on it, so all of the engine's count as busy."""

    engine: Engine
    model: ModelId | None = None
    busy: bool = False


def course(
    surface: Surface,
    asked: Asked,
    snapshot: Snapshot,
    names: Names,
    engines: Mapping[EngineId, Engine],
    caller: Caller,
    manage: bool,
) -> Course:
    """To which engine, and which model of it. Raises WrongModel. With `manage`, clients may change
    what engines have."""
    visible = caller.may_use
    if surface.does is Does.SHOW:
        return _shown(names, engines, surface, asked.model or "", snapshot, visible)
    names.look(snapshot)
    if surface.engine is not None:
        engine = engines.get(EngineId(surface.engine))
        if engine is None or not any(map(visible, _models(names, engine))):
            seen = (e.id for e in engines.values() if any(map(visible, _models(names, e))))
            raise UnknownEngine(surface.engine, tuple(seen))
        if not manage and (surface.does is Does.MANAGE or _is_order(surface, engine)):
            raise NotAllowed(_REFUSED)
        _all_of(names, (engine,), visible)
        return Course(engine, busy=surface.does is Does.PASS)
    if surface.does is Does.MANAGE:
        if not manage:
            raise NotAllowed(_REFUSED)
        found = _speakers(names, engines, "generate")
        own = [engine for engine in found if engine.kind == "ollama"]
        return _one(names, own or found, visible, "that speaks Ollama's API", "/api/…")
    keepers = _speakers(names, engines, "responses")
    return _one(names, keepers, visible, "that keeps responses", "/v1/responses/ID")


def unloading(
    candidates: Iterable[ModelRef], snapshot: Snapshot, engines: Mapping[EngineId, Engine]
) -> Course | None:
    """To the engine of the first that is there. None: none is, or nobody can be told."""
    for ref in filter(snapshot.resident, candidates):
        if (engine := engines.get(ref.engine)) is not None:
            return Course(engine, ref.model)
    return None


_REFUSED = (
    "this would change which models an engine has, how it runs, or what it does for others; the "
    "gateway passes that on only with [gateway] manage = true"
)


def _is_order(surface: Surface, engine: Engine) -> bool:
    """Would it change an engine in the way that the configuration describes?"""
    path = unquote_to_bytes(surface.path)
    return bool(engine.orders) and ordered(surface.method, path, engine.orders)


def _shown(
    names: Names,
    engines: Mapping[EngineId, Engine],
    surface: Surface,
    name: str,
    snapshot: Snapshot,
    visible: Visible,
) -> Course:
    for ref in names.candidates(name, snapshot, surface, visible):
        engine = engines.get(ref.engine)
        if engine is not None and visible(ref, name):
            return Course(engine, ref.model)
    raise names.unknown(name, snapshot, surface, visible)


def _models(names: Names, engine: Engine) -> Iterable[ModelRef]:
    own = [ref for ref in names.known if ref.engine == engine.id]
    return own or [ModelRef(engine.id, ModelId(""))]


def _speakers(names: Names, engines: Mapping[EngineId, Engine], part: str) -> list[Engine]:
    return [
        engine
        for engine in engines.values()
        if any(part in engine.serves(ref.model) for ref in _models(names, engine))
    ]


def _one(names: Names, engines: list[Engine], visible: Visible, which: str, path: str) -> Course:
    seen = [e for e in engines if any(map(visible, _models(names, e)))]
    if not seen:
        raise NotOne(f"there is no engine {which}")
    if len(seen) > 1:
        ways = " or ".join(f"/engines/{engine.id}{path}" for engine in seen)
        raise NotOne(f"there is more than one engine {which}: ask at {ways}")
    _all_of(names, seen, visible)
    return Course(seen[0])


def _all_of(names: Names, engines: Iterable[Engine], visible: Visible) -> None:
    """What names no model could be about any of them; and so could an engine's own path, whatever
    model its body names: the path, or the query, may name another."""
    for engine in engines:
        if not all(map(visible, _models(names, engine))):
            raise NotAllowed(
                f"the token may not use all models of {engine.id}, and this may be about any of "
                "them"
            )
