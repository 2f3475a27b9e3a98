"""Whose process is it? By descent, then by control group; a process is never two owners'."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from collectors.reading import Process, mib

from .snapshot import EngineId, ModelRef

# Groups that hold one service or one container and nothing else. A user's session, for
# example, holds whatever that user started.
_OWN = re.compile(r"/(?!user@)[^/]+\.service$|[0-9a-f]{64}|/libpod-|/docker[-/]|/lxc/")


@dataclass(frozen=True, slots=True)
class Kinship:
    """`models`: the pids that hold a model and nothing else. `engines`: the other processes of
    an engine, by pid."""

    models: Mapping[ModelRef, frozenset[int]] = field(default_factory=dict)
    engines: Mapping[int, EngineId] = field(default_factory=dict)


NOBODY = Kinship()

# No model is held by less than this of RAM, its program included; a shell or a helper is.
LEAST = mib(64)


def kinship(
    table: Iterable[Process],
    roots: Mapping[EngineId, int],
    held: Mapping[ModelRef, int],
    loaded: Collection[ModelRef],
    groups: Mapping[int, str] | None = None,
) -> Kinship:
    """Share the processes out among engines and their models.

    `roots` are the processes that answer for an engine, `held` those that are known to hold a
    model, by what they are called or by the engine's word; `loaded` are all models that hold
    memory. `groups` gives the control group of a process, for as many as it is known of.

    A process belongs to the nearest of its ancestors that is known. Where all of an engine's
    children are unknown and it has one model, those that are large enough hold that model.
    """
    table = tuple(table)
    parents = {p.pid: p.parent for p in table}
    large = {p.pid for p in table if p.anonymous + p.file >= LEAST}
    claims: dict[int, ModelRef | EngineId] = {}
    claims |= {pid: engine for engine, pid in roots.items()}
    claims |= {pid: ref for ref, pid in held.items()}
    by_group = {
        group: engine
        for engine, pid in roots.items()
        if (group := (groups or {}).get(pid)) is not None and is_own(group)
    }
    owner: dict[int, ModelRef | EngineId] = {}
    for pid in parents.keys() | claims.keys():
        found = _nearest(pid, parents, claims)
        if found is None and groups:
            found = by_group.get(groups.get(pid, ""))
        if found is not None:
            owner[pid] = found
    for engine, root in roots.items():
        unplaced = [r for r in loaded if r.engine == engine]
        if len(unplaced) == 1 and unplaced[0] not in held:
            for pid, who in owner.items():
                if who == engine and pid != root and pid in large:
                    owner[pid] = unplaced[0]
    models: dict[ModelRef, set[int]] = {}
    for pid, who in owner.items():
        if isinstance(who, ModelRef):
            models.setdefault(who, set()).add(pid)
    return Kinship(
        {ref: frozenset(pids) for ref, pids in models.items()},
        {pid: who for pid, who in owner.items() if not isinstance(who, ModelRef)},
    )


def is_own(group: str) -> bool:
    """Does a control group of this path hold one service or container alone?"""
    return _OWN.search(group) is not None


def _nearest(
    pid: int, parents: Mapping[int, int], claims: Mapping[int, ModelRef | EngineId]
) -> ModelRef | EngineId | None:
    seen: set[int] = set()
    while pid not in seen:  # pids are read one by one: two may seem to be each other's parent
        if pid in claims:
            return claims[pid]
        seen.add(pid)
        pid = parents.get(pid, 0)
    return None
