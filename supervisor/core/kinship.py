"""Whose process is it? By descent, then by control group; a process is never two owners'."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from collectors.reading import Process, Seconds, mib

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

# Between its fork and its exec a process seems to hold whatever its parent does: nobody is taken
# for part of a model who was not there so long ago.
NEWBORN = Seconds(1.0)


@dataclass(slots=True)
class Births:
    """When each process was first seen in the table."""

    _seen: dict[int, float] = field(default_factory=dict)

    def newborn(self, table: Iterable[Process], now: float) -> frozenset[int]:
        """The pids of those that came within the last second. Who is in the first table that is
        seen has been there all the time."""
        pids = [p.pid for p in table]
        if pids:  # else this time nobody could list them
            first = now if self._seen else float("-inf")
            self._seen = {pid: self._seen.get(pid, first) for pid in pids}
        return frozenset(pid for pid, at in self._seen.items() if now - at < NEWBORN)


def kinship(
    table: Iterable[Process],
    roots: Mapping[EngineId, int],
    held: Mapping[ModelRef, int],
    loaded: Collection[ModelRef],
    groups: Mapping[int, str] | None = None,
    further: Mapping[ModelRef, Collection[int]] | None = None,
    newborn: Collection[int] = (),
) -> Kinship:
    """Share the processes out among engines and their models.

    `roots` are the processes that answer for an engine, `held` those that are known to hold a
    model, by what they are called or by the engine's word; `loaded` are all models that hold
    memory. `groups` gives the control group of a process, for as many as it is known of;
    `further` has more processes of a model, by its engine's word. Who is `newborn`, and not known
    by what it is called or by its engine's word, is its engine's for now.

    A process belongs to the nearest of its ancestors that is known. Where all of an engine's
    children are unknown and it has one model, those that are large enough hold that model.
    """
    table = tuple(table)
    parents = {p.pid: p.parent for p in table}
    large = {p.pid for p in table if p.anonymous + p.file >= LEAST}
    claims: dict[int, ModelRef | EngineId] = {}
    claims |= {pid: engine for engine, pid in roots.items()}
    claims |= {pid: ref for ref, pids in (further or {}).items() for pid in pids}
    claims |= {pid: ref for ref, pid in held.items()}
    by_group = {
        group: claims[pid]  # or the model's, where it holds all that the engine has
        for pid in roots.values()
        if (group := (groups or {}).get(pid)) is not None and is_own(group)
    }
    owner = _by_descent(parents, claims)
    for pid, group in (groups or {}).items():
        if pid in parents and group in by_group:
            owner.setdefault(pid, by_group[group])
    for engine, root in roots.items():
        unplaced = [r for r in loaded if r.engine == engine]
        if len(unplaced) == 1 and unplaced[0] not in held:
            for pid, who in owner.items():
                if who == engine and pid != root and pid in large:
                    owner[pid] = unplaced[0]
    models: dict[ModelRef, set[int]] = {}
    for pid, who in owner.items():
        if not isinstance(who, ModelRef):
            continue
        if pid in newborn and pid not in claims:
            owner[pid] = who.engine
        else:
            models.setdefault(who, set()).add(pid)
    return Kinship(
        {ref: frozenset(pids) for ref, pids in models.items()},
        {pid: who for pid, who in owner.items() if not isinstance(who, ModelRef)},
    )


def is_own(group: str) -> bool:
    """Does a control group of this path hold one service or container alone?"""
    return _OWN.search(group) is not None


def _by_descent(
    parents: Mapping[int, int], claims: Mapping[int, ModelRef | EngineId]
) -> dict[int, ModelRef | EngineId]:
    """Whose each process is, by the nearest of its ancestors that is claimed, or itself."""
    known: dict[int, ModelRef | EngineId | None] = dict(claims)
    for pid in parents:
        line = []
        while pid not in known:
            # Pids are read one by one: two may seem to be each other's parent.
            known[pid] = None
            line.append(pid)
            pid = parents.get(pid, 0)
        known |= dict.fromkeys(line, known[pid])
    return {pid: who for pid, who in known.items() if who is not None}
