"""What an alert is about: its labels, matched against what is known here. Pure.

Labels are free text of whoever can make alerts. They choose among what is here, and are nothing
more: never a path, an address or a command.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Set
from dataclasses import dataclass, replace

from collectors.reading import PoolId
from supervisor.config.alerted import ActionConfig, Kind
from supervisor.core.groups import matches
from supervisor.core.snapshot import EngineId, ModelRef, Snapshot
from supervisor.door import DoorError
from supervisor.likeness import closest
from supervisor.units import format_bytes

from .alert import POOLS, Ended, Outcome

NAMED = 3  # models that are told by name


class Blind(Exception):
    """What is meant cannot be read just now; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """`pools` None: whichever are short. `engine` None: any. `refs` None: whoever may; else only
    these, of those that are known. `said` is for people."""

    pools: tuple[PoolId, ...] | None = None
    engine: EngineId | None = None
    refs: frozenset[ModelRef] | None = None
    said: str = ""


def _said(action: ActionConfig, labels: Mapping[str, str], found: Target) -> str:
    if action.kind is Kind.RESERVE:
        return f"{format_bytes(action.size)} of {_and(found.pools or ())}"
    whom = found.engine or ""
    if labels.get("model") and found.refs is not None:
        whom = _some(found.refs)
    elif action.models is not None:
        whom = _and(action.models)
    parts = [part for part in (whom, _and(found.pools or ())) if part]
    short = "every engine" if action.kind is Kind.PAUSE else "every pool that is short"
    return " in ".join(parts) or short


def find(
    action: ActionConfig,
    labels: Mapping[str, str],
    snapshot: Snapshot,
    pool: Callable[[str | None], PoolId],
) -> Target | Ended:
    """`pool` resolves the name of one that is configured, as Door.pool. Raises Blind."""
    try:
        pools = _pools(action, labels, snapshot, pool)
        engine = _engine(action, labels, snapshot)
        refs = _refs(action, labels, snapshot, engine)
    except _Unknown as unknown:
        return Ended(Outcome.UNKNOWN_TARGET, str(unknown))
    for id in pools or ():
        if (why := snapshot.blind.get(id)) is not None:
            raise Blind(f"{id} cannot be read just now: {why}")
    found = Target(pools, engine, refs)
    return replace(found, said=_said(action, labels, found))


class _Unknown(Exception):
    """The message says what is not here, and what is."""


def _pools(
    action: ActionConfig,
    labels: Mapping[str, str],
    snapshot: Snapshot,
    pool: Callable[[str | None], PoolId],
) -> tuple[PoolId, ...] | None:
    said = {_pool(labels[name], name, snapshot) for name in POOLS if labels.get(name)}
    if len(said) > 1:
        raise _Unknown(f"its labels name several pools: {', '.join(sorted(said))}")
    try:
        if action.pool is not None:
            return (pool(action.pool),)
        if action.kind is Kind.RESERVE and not said:
            return (pool(None),)
    except DoorError as error:
        raise _Unknown(str(error)) from None
    return tuple(said) or None


def _pool(name: str, label: str, snapshot: Snapshot) -> PoolId:
    known = {str(p.id): p.id for p in snapshot.pools} | {str(id): id for id in snapshot.blind}
    known |= {d.uuid: d.pool for d in snapshot.devices if d.pool is not None}
    if name not in known:
        raise _Unknown(_no("pool", name, label, known))
    return known[name]


def _engine(action: ActionConfig, labels: Mapping[str, str], snapshot: Snapshot) -> EngineId | None:
    known = [e.id for e in snapshot.engines]
    said = labels.get("engine") or None
    if said is not None and said not in known:
        raise _Unknown(_no("engine", said, "engine", known))
    if action.engine is None:
        return None if said is None else EngineId(said)
    if action.engine not in known:
        raise _Unknown(_no("engine", action.engine, "", known))
    if said not in (None, action.engine):
        raise _Unknown(f"it is about {said}, and {action.name} is for {action.engine}")
    return EngineId(action.engine)


def _refs(
    action: ActionConfig,
    labels: Mapping[str, str],
    snapshot: Snapshot,
    engine: EngineId | None,
) -> frozenset[ModelRef] | None:
    known = snapshot.known
    found: Set[ModelRef] = known
    if said := labels.get("model"):
        found = {ref for ref in known if _is_called(ref, said)}
        if not found:
            raise _Unknown(_no("model", said, "model", [str(ref) for ref in known]))
    if engine is not None:
        if said and not any(ref.engine == engine for ref in found):
            raise _Unknown(f"{engine} has no model {said!r}")
        found = {ref for ref in found if ref.engine == engine}
    if action.models is not None:
        meant = {ref for ref in found if any(matches(each, ref) for each in action.models)}
        if said and not meant:
            raise _Unknown(f"it is about {said}, and {action.name} is for {_and(action.models)}")
        return frozenset(meant)
    return None if engine is None and not said else frozenset(found)


def _is_called(ref: ModelRef, name: str) -> bool:
    """As Ollama and registries have it, no tag means the latest."""
    return not {name, f"{name}:latest"}.isdisjoint((str(ref), ref.model))


def _no(what: str, name: str, label: str, known: Collection[str]) -> str:
    close = closest(name, known, 1, 0.5)
    there = close or sorted(known)[:NAMED]
    said = f"its label {label}" if label else "the configuration"
    hint = f"did you mean {there[0]}?" if close else f"there is {_and(there) or 'none'}"
    return f"{said} names the {what} {name!r}, which is not here; {hint}"


def _some(refs: Collection[ModelRef]) -> str:
    names = sorted(map(str, refs))
    more = len(names) - NAMED
    return _and(names[:NAMED]) + (f" and {more} more" if more > 0 else "") or "no model"


def _and(parts: Iterable[str]) -> str:
    return ", ".join(parts)
