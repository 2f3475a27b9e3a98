"""Models that are never together, and models that always are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    # A thousand models may be asked about: names are looked up, and patterns tried at once.
    _names: frozenset[str] = field(init=False, compare=False, repr=False)
    _whole: frozenset[str] = field(init=False, compare=False, repr=False)  # with an engine's
    _like: re.Pattern[str] | None = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        like = [_regex(pattern) for pattern in self.models if "*" in pattern]
        names = frozenset(name for name in self.models if "*" not in name)
        object.__setattr__(self, "_names", names)
        object.__setattr__(self, "_whole", frozenset(name for name in names if "/" in name))
        object.__setattr__(self, "_like", _compiled("|".join(like)) if like else None)

    def has(self, ref: ModelRef) -> bool:
        if ref.model in self._names or (self._whole and str(ref) in self._whole):
            return True
        return self._like is not None and _fits(self._like, ref)


def matches(pattern: str, ref: ModelRef) -> bool:
    if "*" in pattern:
        return _fits(_compiled(_regex(pattern)), ref)
    return pattern.endswith(ref.model) and pattern in (ref.model, str(ref))


def alike(text: str, pattern: str) -> bool:
    """Is `text` what `pattern` says, in which only * has a meaning?"""
    return _compiled(_regex(pattern)).fullmatch(text) is not None


def _fits(like: re.Pattern[str], ref: ModelRef) -> bool:
    return bool(like.fullmatch(ref.model) or like.fullmatch(str(ref)))


def _regex(pattern: str) -> str:
    return ".*".join(re.escape(part) for part in pattern.split("*"))


@lru_cache(maxsize=1024)
def _compiled(regex: str) -> re.Pattern[str]:
    return re.compile(regex, re.DOTALL)


def together(
    groups: Mapping[str, Group], ref: ModelRef, snapshot: Snapshot
) -> tuple[ModelRef, ...]:
    """Who has to be there whenever `ref` is, by name; `ref` itself is not among them.

    A name that several engines have means that of the same engine, else that of one which is
    loaded, else the first.
    """
    found = _together(groups.values(), ref, _Crowd(snapshot))
    return tuple(sorted(found - {ref}))


def _together(groups: Iterable[Group], ref: ModelRef, crowd: _Crowd) -> set[ModelRef]:
    """The same, with `ref`."""
    always = [group for group in groups if group.rule is Rule.ALWAYS_TOGETHER]
    wanted, ahead = {ref}, [ref]
    while ahead:
        one = ahead.pop()
        for group in [g for g in always if g.has(one)]:
            more = crowd.members(group, one) - wanted
            wanted |= more
            ahead += more
            if crowd.is_plain(group):
                always.remove(group)
    return wanted


def members(
    group: Group, snapshot: Snapshot, beside: ModelRef | None = None
) -> tuple[ModelRef, ...]:
    """The models that `group` means, of those that are there or could be."""
    return tuple(sorted(_Crowd(snapshot).members(group, beside)))


class _Crowd:
    """The models that are there or could be, and whom names and patterns mean among them."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._loaded = {r.ref for r in snapshot.residents}
        self._known = sorted(snapshot.known)
        self._hits: dict[str, list[ModelRef]] = {}

    def members(self, group: Group, beside: ModelRef | None) -> set[ModelRef]:
        found: set[ModelRef] = set()
        for pattern in group.models:
            hits = self._meant(pattern)
            if "*" in pattern or len(hits) < 2:
                found.update(hits)
            elif beside in hits:
                found.add(beside)
            else:
                near = [r for r in hits if beside is not None and r.engine == beside.engine]
                found.add((near or [r for r in hits if r in self._loaded] or hits)[0])
        return found

    def is_plain(self, group: Group) -> bool:
        """Does it mean the same beside anybody?"""
        return all("*" in p or len(self._meant(p)) < 2 for p in group.models)

    def _meant(self, pattern: str) -> list[ModelRef]:
        hits = self._hits.get(pattern)
        if hits is None:
            hits = self._hits[pattern] = [r for r in self._known if matches(pattern, r)]
        return hits


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
        self._groups = [g for g in groups.values() if g.rule is Rule.ALWAYS_TOGETHER]
        self._crowd: _Crowd | None = None
        self._unit: dict[ModelRef, tuple[Resident, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._groups)

    def of(self, ref: ModelRef) -> tuple[Resident, ...]:
        """Those who are there and have to go when `ref` does, itself among them. Empty: it is in
        no group."""
        if not any(group.has(ref) for group in self._groups):
            return ()
        found = self._unit.get(ref)
        if found is None:
            crowd = self._crowd = self._crowd or _Crowd(self._snapshot)
            refs = _together(self._groups, ref, crowd)
            found = tuple(r for r in self._snapshot.residents if r.ref in refs)
            # Where every name means one model only, they are the same for each of them.
            plain = all(map(crowd.is_plain, self._groups))
            self._unit |= dict.fromkeys(refs if plain else [ref], found)
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
            for other in self.of(resident.ref):
                if allowed(other):
                    found.setdefault(other.ref, other)
        return list(found.values())

    def mate(self, ref: ModelRef, chosen: Iterable[ModelRef]) -> ModelRef | None:
        """The first of `chosen` that takes `ref` along."""
        return next((c for c in chosen if any(r.ref == ref for r in self.of(c))), None)


def unknown(group: Group, snapshot: Snapshot) -> Iterable[str]:
    """The names in `group` that no engine has now."""
    known = snapshot.known
    return [p for p in group.models if not any(matches(p, ref) for ref in known)]
