"""What the operator's limits, groups and brakes have to remember, in one place for the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from collectors.reading import PoolId, Seconds

from .ages import Ages
from .brakes import Brakes
from .clients import Clients
from .config.settings import dotted
from .core.contradictions import contradictions, not_here, too_large
from .core.plan import Plan
from .core.policy import Policy
from .core.snapshot import ModelRef, Snapshot
from .core.watch import Finding, Kind, Severity
from .events import Expect, SettingsChanged, Uses
from .limiting import Limiting
from .proposals import Source
from .standing import DueAgain, drained, over_limit
from .together import Together


@dataclass(slots=True)
class Rules:
    alone: Expect  # what loading one model will take, whoever has to come with it
    clock: Callable[[], float]
    ages: Ages = field(default_factory=Ages)
    limiting: Limiting = field(default_factory=Limiting)
    clients: Clients = field(default_factory=Clients)
    brakes: Brakes = field(default_factory=Brakes)
    together: Together = field(init=False)
    findings: tuple[Finding, ...] = ()
    _wrong: dict[str, Seconds] = field(default_factory=dict)  # settings, and since when

    def __post_init__(self) -> None:
        self.together = Together(self.alone)

    @property
    def sources(self) -> list[Source]:
        own: list[Source] = [over_limit, self.together, DueAgain(self.together.expect)]
        return [*own, self.clients, drained]

    def mark(self, snapshot: Snapshot) -> Snapshot:
        """With what is remembered of its models."""
        return replace(snapshot, since=dict(self.ages.since))

    def see(self, snapshot: Snapshot, policy: Policy) -> None:
        self.ages.see(snapshot)
        self.limiting.see(snapshot, policy)
        self.findings = self._look(snapshot, policy)

    def changed(self, event: SettingsChanged, policy: Policy) -> None:
        """`policy` is what is in force from now on."""
        if event.apply_now:
            self.limiting.apply(policy)
        if event.done is not None and not event.done.done():
            event.done.set_result(None)

    def used(self, event: Uses, policy: Policy) -> None:
        self.clients.used(event.client, event.ref, policy, event.at)

    def _look(self, snapshot: Snapshot, policy: Policy) -> tuple[Finding, ...]:
        """Settings that cannot be meant: on this machine, or with what was pinned while running."""
        wrong = [*contradictions(policy), *too_large(policy, snapshot.pools)]
        if not snapshot.blind:
            wrong += not_here(policy, snapshot.pools)
        found = {dotted(c.path): c for c in wrong}
        self._wrong = {key: self._wrong.get(key, snapshot.taken_at) for key in found}
        return tuple(
            Finding(Kind.SETTINGS, key, self._wrong[key], Severity.WARNING, f"{key} {c.message}")
            for key, c in found.items()
        )

    def begun(self, plan: Plan, policy: Policy) -> None:
        self.brakes.begun(plan, policy, self._now)

    def braked(self, policy: Policy) -> Mapping[PoolId, Seconds]:
        return self.brakes.braked(policy, self._now)

    @property
    def tolerated(self) -> frozenset[ModelRef]:
        return self.limiting.tolerated

    @property
    def _now(self) -> Seconds:
        return Seconds(self.clock())
