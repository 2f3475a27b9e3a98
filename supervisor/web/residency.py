"""What the metrics say of models: where they are and what they hold, who wants them there, and
which watchdog looks at them.

Labels are bounded: the largest models keep their names, all others are added up as one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import TypeVar

from supervisor.core.groups import Rule, members
from supervisor.core.lease import Lease
from supervisor.core.plan import Trigger
from supervisor.core.policy import Policy, Retention
from supervisor.core.retention import THERE
from supervisor.core.snapshot import EngineId, ModelId, ModelRef, Resident, Share, Snapshot
from supervisor.core.status import Standings, Status
from supervisor.core.watch import Finding, Kind
from supervisor.loop import Loop

from .site import Fact

T = TypeVar("T")

# More series than this help nobody, and an engine may list what it likes.
MOST_MODELS = 500
OTHERS = "_other"

WATCHDOGS = {"idle": (Kind.IDLE, Trigger.IDLE), "busy": (Kind.STUCK, Trigger.BUSY)}
STATES = ("watching", "due", "acting")
_STATUSES = tuple((status, status.value) for status in Status)


@dataclass(frozen=True, slots=True)
class Moment:
    """What is known of models at one moment, none of which changes any more: it may be looked at in
    any thread. `ahead` is Unix time less that of `snapshot`; `counted` as the footprints have it;
    `asked` are those that requests wait for, or that work on some; `acting` whom each watchdog does
    something about."""

    snapshot: Snapshot
    policy: Policy
    findings: tuple[Finding, ...]
    ahead: float
    counted: Mapping[ModelRef, tuple[Share, ...]]
    leases: tuple[Lease, ...]
    loading: frozenset[ModelRef]
    asked: frozenset[ModelRef]
    acting: Mapping[Trigger, frozenset[ModelRef]]

    def wall(self, monotonic: float) -> float:
        """Unix time, to the millisecond."""
        return round(monotonic + self.ahead, 3)


def moment(loop: Loop, snapshot: Snapshot, asked: Iterable[ModelRef]) -> Moment:
    acting: dict[Trigger, set[ModelRef]] = {}
    for run in loop.runs:
        acting.setdefault(run.decision.plan.trigger, set()).update(a.ref for a in run.lacks())
    return Moment(
        snapshot,
        loop.policy,
        loop.findings,
        loop.wall() - loop.clock(),
        loop.witnesses.footprints.counted,
        loop.keeping.leases.all,
        frozenset(r.ref for r in loop.reservations if r.ref is not None),
        frozenset(asked),
        {trigger: frozenset(refs) for trigger, refs in acting.items()},
    )


def models(at: Moment, most: int) -> Iterator[Fact]:
    """`most` keep their names."""
    named = _Names(at.snapshot.residents, most)
    yield from _statuses(at)
    yield from _residents(at, named)
    yield from _desired(at, named)
    yield from _watchdogs(at)


class _Names:
    """Who keeps its name: the `most` largest; then, while there is room, whoever else is told
    of."""

    def __init__(self, residents: Iterable[Resident], most: int) -> None:
        self._most = most
        ranked = sorted(residents, key=_rank)
        own = [r for r in ranked if r.model != OTHERS][:most]
        self.residents = sorted(own, key=lambda r: r.ref)
        keep = {r.ref for r in own}
        self.others = [r for r in ranked if r.ref not in keep]
        self._own = keep
        self._folded = {r.ref for r in self.others}

    def of(self, ref: ModelRef) -> ModelRef:
        if ref in self._own:
            return ref
        if ref in self._folded or ref.model == OTHERS or len(self._own) >= self._most:
            return ModelRef(ref.engine, ModelId(OTHERS))
        self._own.add(ref)
        return ref


def _rank(resident: Resident) -> tuple[int, ModelRef]:
    return -resident.size, resident.ref


def _statuses(at: Moment) -> Iterator[Fact]:
    """How many models of each engine have each status."""
    snapshot = at.snapshot
    refs = snapshot.known.union(lease.ref for lease in snapshot.leases)
    status = Standings(snapshot, at.policy).status
    found = Counter((ref.engine, status(ref)) for ref in refs)
    for engine in sorted({e.id for e in snapshot.engines} | {e for e, _ in found}):
        for each, word in _STATUSES:
            yield "models", (engine, word), found[engine, each]


def _residents(at: Moment, named: _Names) -> Iterator[Fact]:
    leases = Counter(lease.ref for lease in at.leases)
    pinned = _by_engine(at.policy, at.policy.is_pinned)
    counted, taken_at = at.counted, at.snapshot.taken_at
    for r in named.residents:
        labels = (r.engine, r.model)
        for pool, size in sorted(_held(r).items()):
            yield "model_memory_bytes", (*labels, pool), size
        for pool, size in sorted(_sizes(counted.get(r.ref, ())).items()):
            yield "model_estimate_bytes", (*labels, pool), size
        yield "model_resident", (*labels, r.state.value), 1
        yield "model_pinned", labels, pinned(r.ref)
        yield "model_leases", labels, leases[r.ref]
        yield "model_last_used_timestamp_seconds", labels, at.wall(taken_at - r.idle_for)
        if r.in_flight is not None:
            yield "model_in_flight", labels, r.in_flight
    held: Counter[tuple[str, str]] = Counter()
    guessed: Counter[tuple[str, str]] = Counter()
    states: Counter[tuple[str, str]] = Counter()
    for r in named.others:
        states[r.engine, r.state.value] += 1
        held.update({(r.engine, pool): size for pool, size in _held(r).items()})
        sizes = _sizes(counted.get(r.ref, ()))
        guessed.update({(r.engine, pool): size for pool, size in sizes.items()})
    for name, found in (("model_memory_bytes", held), ("model_estimate_bytes", guessed)):
        for (engine, pool_id), size in sorted(found.items()):
            yield name, (engine, OTHERS, pool_id), size
    for (engine, state), count in sorted(states.items()):
        yield "model_resident", (engine, OTHERS, state), count


def _held(resident: Resident) -> dict[str, int]:
    """Bytes by pool, mapped files included."""
    sizes = _sizes(resident.shares)
    for mapped in resident.mapped:
        sizes[mapped.pool] = sizes.get(mapped.pool, 0) + mapped.size
    return sizes


def _sizes(shares: Iterable[Share]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for share in shares:
        sizes[share.pool] = sizes.get(share.pool, 0) + share.size
    return sizes


# -- who wants them


def _desired(at: Moment, named: _Names) -> Iterator[Fact]:
    snapshot = at.snapshot
    known = snapshot.known
    wanted = {
        "pin": _pinned(at.policy, snapshot, known),
        "lease": {lease.ref for lease in at.leases},
        "request": at.asked.union(r.ref for r in snapshot.residents if r.busy),
        "always": _beside(at.policy, snapshot),
        "load": at.loading,
    }
    for by, refs in wanted.items():
        found = Counter(named.of(ref) for ref in sorted(refs & known))
        for ref, count in found.items():
            yield "model_desired", (ref.engine, ref.model, by), count


def _pinned(policy: Policy, snapshot: Snapshot, known: Set[ModelRef]) -> set[ModelRef]:
    """Who stays if it is there; of those that are not, only who is pinned by its name."""
    if not policy.may_pin:
        return set()
    is_pinned = _by_engine(policy, policy.is_pinned)
    found = {r.ref for r in snapshot.residents if is_pinned(r.ref)}
    names = policy.pinned.union(
        name for name, m in policy.models.items() if m.pinned or m.keeps is Retention.PINNED
    )
    if names:
        found |= {ref for ref in known if ref.model in names or str(ref) in names}
    return found


def _beside(policy: Policy, snapshot: Snapshot) -> set[ModelRef]:
    """Who is always together with somebody that is there."""
    there = {r.ref for r in snapshot.residents}
    found: set[ModelRef] = set()
    for group in policy.groups.values():
        if group.rule is Rule.ALWAYS_TOGETHER:
            mine = set(members(group, snapshot))
            found |= mine if mine & there else set()
    return found


def _by_engine(policy: Policy, ask: Callable[[ModelRef], T]) -> Callable[[ModelRef], T]:
    """The same, asked once an engine for all models of which nothing is said by name."""
    names = policy.pinned.union(policy.models)
    known: dict[EngineId, T] = {}

    def answer(ref: ModelRef) -> T:
        if names and (ref.model in names or str(ref) in names):
            return ask(ref)
        if ref.engine not in known:
            known[ref.engine] = ask(ref)
        return known[ref.engine]

    return answer


# -- who watches them


def _watchdogs(at: Moment) -> Iterator[Fact]:
    """How many models a watchdog looks at, has found, and does something about."""
    limits: Mapping[str, Callable[[ModelRef], object]] = {
        "idle": _by_engine(at.policy, at.policy.idle_timeout_of),
        "busy": _by_engine(at.policy, at.policy.busy_timeout_of),
    }
    for name, (kind, trigger) in WATCHDOGS.items():
        due = {f.ref for f in at.findings if f.kind is kind}
        acting, watched = at.acting.get(trigger, frozenset()), limits[name]
        found: Counter[str] = Counter()
        for r in at.snapshot.residents:
            if r.ref in acting:
                found["acting"] += 1
            elif r.ref in due:
                found["due"] += 1
            elif r.state in THERE and watched(r.ref):
                found["watching"] += 1
        for state in STATES:
            yield "watchdog_models", (name, state), found[state]
