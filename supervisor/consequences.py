"""What another policy would do to the models: who leaves if its limits are applied to who is there,
and who before the next one loads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from .core.plan import limit, plan
from .core.policy import Policy
from .core.snapshot import Ability, Demand, ModelId, ModelRef, Snapshot
from .limiting import limits_of
from .loop import Loop

ANOTHER = ModelId("another model")

NextLoad = Mapping[str, tuple[ModelRef, ...] | None]


@dataclass(frozen=True, slots=True)
class Consequences:
    """`now` are those who leave if the limits are applied to who is there; `next_load` those who
    leave, by engine, before another model of it loads, or None where it could not load at all."""

    now: tuple[ModelRef, ...] = ()
    next_load: NextLoad = field(default_factory=dict)

    def sentences(self, apply_now: bool) -> list[str]:
        lines = []
        if self.now and apply_now:
            lines.append(f"{_and(self.now)} {_leave(self.now)} now")
        elif self.now:
            lines.append(
                f"who is loaded stays for now; applied at once, {_and(self.now)} would leave"
            )
        for who, engines in _by_who(self.next_load).items():
            another = f"another model of {_or(engines)}"
            if who is None:
                lines.append(f"{another} could not load at all: nobody who may leave makes room")
                continue
            if apply_now:
                who = tuple(ref for ref in who if ref not in self.now)
            if who:
                lines.append(f"before {another} loads, {_and(who)} {_leave(who)}")
        return lines


def consequences(policy: Policy, loop: Loop) -> Consequences:
    """Of `policy`, were it in force in place of the loop's. Nothing where no limit is another."""
    snapshot = loop.snapshot
    if snapshot is None or limits_of(policy) == limits_of(loop.policy):
        return Consequences()
    return _found(snapshot, policy, loop)


def of_limits(policy: Policy, loop: Loop) -> Consequences:
    """The same of limits that are in force, for those whom they have let stay until now."""
    return Consequences() if loop.snapshot is None else _found(loop.snapshot, policy, loop)


def _found(snapshot: Snapshot, policy: Policy, loop: Loop) -> Consequences:
    idle = tuple(replace(r, busy=False) for r in snapshot.residents)
    snapshot = replace(snapshot, residents=idle)  # whoever works now goes when it has ended
    experience = replace(loop.experience, tolerated=frozenset(), braked={}, barred={})
    leaving = limit(snapshot, policy, experience).evictions
    following: dict[str, tuple[ModelRef, ...] | None] = {}
    for demand in _newcomers(snapshot):
        made = plan(snapshot, policy, demand, experience)
        assert demand.ref is not None
        goes = tuple(e.ref for e in made.evictions)
        following[demand.ref.engine] = goes if made.works else None
    return Consequences(tuple(e.ref for e in leaving), following)


def _newcomers(snapshot: Snapshot) -> Iterator[Demand]:
    """A model that nobody knows yet, for each engine that could load one."""
    for engine in snapshot.engines:
        if engine.up and Ability.LOAD in engine.abilities:
            yield Demand((), ModelRef(engine.id, ANOTHER))


def _by_who(
    found: Mapping[str, tuple[ModelRef, ...] | None],
) -> dict[tuple[ModelRef, ...] | None, list[str]]:
    groups: dict[tuple[ModelRef, ...] | None, list[str]] = {}
    for engine, who in sorted(found.items()):
        groups.setdefault(who, []).append(engine)
    return groups


def _leave(who: tuple[ModelRef, ...]) -> str:
    return "leave" if len(who) > 1 else "leaves"


def _and(names: Iterable[object], word: str = "and") -> str:
    *most, last = map(str, names)
    return f"{', '.join(most)} {word} {last}" if most else last


def _or(names: Iterable[str]) -> str:
    return _and(names, "or")
