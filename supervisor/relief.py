"""When a pool is too full, or will be soon, and whose fault that is: wishes for want of memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from collectors.reading import PoolId, Seconds

from .alarms import Alarms
from .core.experience import Experience
from .core.explain import duration, size
from .core.forecast import Forecast, Growing, Outlook
from .core.lines import beyond_soft
from .core.plan import Evict, Plan, Trigger, relieve
from .core.policy import Policy
from .core.record import Outcome, Result
from .core.snapshot import ModelRef, Snapshot, State
from .core.watch import Finding, Kind, Severity, due, pressing
from .escalation import Escalation
from .events import Expect, Replan
from .journal.journal import Journal
from .proposals import Sight, Source, Wish
from .strangers import Strangers

# Bytes that a process gave back, and that the kernel does not count as available yet, are
# waited for this long before anybody else has to go for them.
LATE = Seconds(10.0)

OURS = frozenset({Trigger.RELIEF, Trigger.GROWTH})


@dataclass(slots=True)
class Relief:
    """`clock` is monotonic, `wall` gives Unix time, both in seconds."""

    alarms: Alarms
    journal: Journal
    expect: Expect
    clock: Callable[[], float]
    wall: Callable[[], float]
    strangers: Strangers = field(init=False)
    forecast: Forecast = field(default_factory=Forecast)
    escalation: Escalation = field(default_factory=Escalation)
    _growing: tuple[Finding, ...] = ()
    _short: tuple[Finding, ...] = ()  # what is short although strangers are forgiven theirs
    _resting: dict[PoolId, Seconds] = field(default_factory=dict)
    _relieved: set[PoolId] = field(default_factory=set)  # by us, and not yet above their line
    _calm: dict[PoolId, Seconds] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.strangers = Strangers(self.journal, self.wall, self.expect)

    @property
    def sources(self) -> list[Source]:
        """What follows from the same, and is no relief."""
        return [self.strangers, self.escalation]

    @property
    def findings(self) -> tuple[Finding, ...]:
        return (*self.strangers.findings, *self._growing)

    @property
    def barred(self) -> Mapping[PoolId, str]:
        return self.strangers.barred

    def see(self, snapshot: Snapshot, policy: Policy, *, all_known: bool = True) -> None:
        """`all_known`: every engine that is here has been found and asked."""
        headrooms = beyond_soft(snapshot, policy)
        short = {pool for pool, headroom in headrooms.items() if headroom < 0}
        self.strangers.see(snapshot, policy, short, all_known=all_known)
        self.forecast.see(snapshot, policy, headrooms)
        seen = self.strangers.forgive(snapshot, policy)
        self._short = pressing(seen, policy, self._short) if short else ()
        for pool in [p for p in self._relieved if p not in short]:
            self._relieved.discard(pool)
            self._calm[pool] = Seconds(snapshot.taken_at + policy.relief_pause)
        self._growing = tuple(self._growth(snapshot, policy))

    def judge(self, outcome: Outcome, trigger: Trigger) -> None:
        self.strangers.tell(outcome, trigger)
        self.escalation.tell(outcome, trigger, Seconds(self.clock()))
        if not isinstance(outcome.action, Evict):
            return
        pools = {share.pool for share in outcome.action.frees}
        if outcome.judgement is not None and outcome.judgement.late:
            until = Seconds(self.clock() + LATE)
            self._resting |= dict.fromkeys(pools, until)
        if trigger in OURS and outcome.result is Result.DONE:
            self._relieved |= pools

    def __call__(self, sight: Sight) -> Iterator[Wish]:
        now = sight.snapshot.taken_at
        alarmed = self.alarms.pools(Seconds(self.clock()))
        if needy := due(self._short, sight.policy, now, self._resting, alarmed, self._calm):
            cause = f"{', '.join(sorted(needy))}: headroom is gone{self.strangers.cause(needy)}"
            yield Wish("relief", cause, self._relieving(needy))
        if soon := self.forecast.due(sight.policy):
            cause = "; ".join(_foretold(self.forecast.outlooks[pool]) for pool in soon)
            yield Wish("growth", cause, self._foreseeing(soon))

    def _relieving(self, pools: Collection[PoolId]) -> Replan:
        def replan(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
            seen, begun = self.strangers.forgive(snapshot, policy), _begun(chosen, snapshot)
            made = relieve(seen, policy, pools, experience, begun=begun)
            chosen.update(e.ref for e in made.evictions)
            return made

        chosen: set[ModelRef] = set()
        return replan

    def _foreseeing(self, pools: Collection[PoolId]) -> Replan:
        def replan(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
            (then, bounds), begun = (
                self.forecast.foreseen(snapshot, policy),
                _begun(chosen, snapshot),
            )
            made = relieve(then, bounds, pools, experience, begun=begun)
            chosen.update(e.ref for e in made.evictions)
            return replace(made, trigger=Trigger.GROWTH)

        chosen: set[ModelRef] = set()
        return replan

    def _growth(self, snapshot: Snapshot, policy: Policy) -> Iterator[Finding]:
        since = {f.subject: f.since for f in self._growing}
        told: dict[str, Finding] = {}

        def found(growing: Growing, severity: Severity, detail: str) -> None:
            name, rate = str(growing.ref), growing.rate
            begun = since.get(name, snapshot.taken_at)
            finding = Finding(Kind.GROWTH, name, begun, severity, detail, rate, growing.ref)
            told.setdefault(name, finding)

        for ref, rate in sorted(self.forecast.leaks.items()):
            text = f"grows by {_pace(rate)} although it is idle: it may leak"
            found(Growing(ref, rate), Severity.WARNING, text)
        for outlook in self.forecast.outlooks.values():
            near = outlook.within <= policy.growth_horizon
            for growing in outlook.models:
                text = f"grows by {_pace(growing.rate)}: {_when(outlook)}"
                found(growing, Severity.WARNING if near else Severity.INFO, text)
        yield from told.values()


def _begun(chosen: Collection[ModelRef], snapshot: Snapshot) -> bool:
    """Has any of them gone? Then relief goes on until the restore line is met; before that, only
    if it is still needed."""
    found = (snapshot.resident(ref) for ref in chosen)
    return any(r is None or r.state is State.SLEEPING for r in found)


def _foretold(outlook: Outlook) -> str:
    names = ", ".join(f"{g.ref} grows by {_pace(g.rate)}" for g in outlook.models)
    return f"{names}: {_when(outlook)}"


def _when(outlook: Outlook) -> str:
    return f"{outlook.pool} meets its soft line in {duration(outlook.within)}"


def _pace(rate: float) -> str:
    return f"{size(rate * 60)} a minute"
