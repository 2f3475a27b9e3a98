"""Models that are never together, and models that always are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache

from .snapshot import Demand, ModelRef, Resident, Snapshot, State


class Rule(Enum):
    NEVER_TOGETHER = "never_together"  # at most one of them is active
    ALWAYS_TOGETHER = "always_together"  # all of them are, or none


@dataclass(frozen=True, slots=True)
class Group:
    """`models` as "model", or "engine/model"; a * stands for any text."""

    rule: Rule
    models: tuple[str, ...]

    def has(self, ref: ModelRef) -> bool:
        return any(matches(pattern, ref) for pattern in self.models)


def matches(pattern: str, ref: ModelRef) -> bool:
    if "*" not in pattern:
        return pattern in (ref.model, str(ref))
    found = _compiled(pattern)
    return bool(found.fullmatch(ref.model) or found.fullmatch(str(ref)))


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.DOTALL)


def apart(groups: Mapping[str, Group], ref: ModelRef) -> tuple[str, ...]:
    """The groups of which no other may be active beside `ref`."""
    return tuple(name for name, g in groups.items() if g.rule is Rule.NEVER_TOGETHER and g.has(ref))


def together(
    groups: Mapping[str, Group], ref: ModelRef, snapshot: Snapshot
) -> tuple[ModelRef, ...]:
    """Who has to be there whenever `ref` is, by name; `ref` itself is not among them.

    A name that several engines have means that of the same engine, else that of one which is
    loaded, else the first.
    """
    wanted: dict[ModelRef, None] = {}
    ahead = [ref]
    while ahead:
        one = ahead.pop()
        for group in groups.values():
            if group.rule is Rule.ALWAYS_TOGETHER and group.has(one):
                for member in members(group, snapshot, one):
                    if member != ref and member not in wanted:
                        wanted[member] = None
                        ahead.append(member)
    return tuple(sorted(wanted))


def members(
    group: Group, snapshot: Snapshot, beside: ModelRef | None = None
) -> tuple[ModelRef, ...]:
    """The models that `group` means, of those that are there or could be."""
    loaded = [r.ref for r in snapshot.residents]
    known = sorted({*loaded, *(i.ref for i in snapshot.installed)})
    found: set[ModelRef] = set()
    for pattern in group.models:
        hits = [ref for ref in known if matches(pattern, ref)]
        if "*" in pattern or len(hits) < 2:
            found.update(hits)
        elif beside in hits:
            found.add(beside)
        else:
            near = [r for r in hits if beside is not None and r.engine == beside.engine]
            found.add((near or [r for r in hits if r in loaded] or hits)[0])
    return tuple(sorted(found))


def coming(snapshot: Snapshot, demand: Demand) -> Demand | None:
    """`demand`, and those beside it, without whoever is there already. None: all are."""
    wanted = {d.ref for d in (demand, *demand.beside)}
    hopeful = (r for r in snapshot.residents if r.ref in wanted)
    there = {r.ref for r in hopeful if r.state in (State.LOADED, State.LOADING)}
    rest = [d for d in (demand, *demand.beside) if d.ref is None or d.ref not in there]
    return replace(rest[0], beside=tuple(replace(d, beside=()) for d in rest[1:])) if rest else None


class Units:
    """Who leaves together. Nothing is looked up where no group says so."""

    def __init__(self, groups: Mapping[str, Group], snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._groups = {n: g for n, g in groups.items() if g.rule is Rule.ALWAYS_TOGETHER}
        self._beside: dict[ModelRef, tuple[Resident, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._groups)

    def beside(self, ref: ModelRef) -> tuple[Resident, ...]:
        """Those who are there and have to go with `ref`."""
        found = self._beside.get(ref)
        if found is None:
            refs: set[ModelRef] = set()
            if any(group.has(ref) for group in self._groups.values()):
                refs.update(together(self._groups, ref, self._snapshot))
            found = tuple(r for r in self._snapshot.residents if r.ref in refs) if refs else ()
            self._beside[ref] = found
        return found

    def whole(
        self, chosen: Sequence[Resident], allowed: Callable[[Resident], bool] = lambda _: True
    ) -> list[Resident]:
        """`chosen`, and behind each whoever has to go with it."""
        if not self._groups:
            return list(chosen)
        found: dict[ModelRef, Resident] = {}
        for resident in chosen:
            found[resident.ref] = resident
        for resident in chosen:
            for other in self.beside(resident.ref):
                if allowed(other):
                    found.setdefault(other.ref, other)
        return list(found.values())


def unknown(group: Group, snapshot: Snapshot) -> Iterable[str]:
    """The names in `group` that no engine has now."""
    known = {*(r.ref for r in snapshot.residents), *(i.ref for i in snapshot.installed)}
    return [p for p in group.models if not any(matches(p, ref) for ref in known)]
