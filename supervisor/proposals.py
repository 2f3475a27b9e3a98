"""What the daemon decides by itself: wishes of its own, asked for at every snapshot.

Asking twice is harmless: a wish that is under way, in vain, or was answered before is not
planned for again. Each is a plan that is made afresh from whatever the world looks like then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from .core.experience import Experience
from .core.patience import Patience, Said
from .core.plan import Note, Plan, Why
from .core.policy import Policy
from .core.record import Mode
from .core.snapshot import Snapshot
from .core.watch import Finding
from .events import Replan, Run

# Begins a decision: its cause, its plan, and what makes the plan again. None: its pools are being
# worked on.
Begin = Callable[[str, Plan, Replan], Run | None]


class Sight(NamedTuple):
    """What a wish of our own may come from."""

    snapshot: Snapshot
    policy: Policy
    findings: tuple[Finding, ...]
    experience: Experience


class Wish(NamedTuple):
    """`key` tells it from others, also the next time; `cause` is said in the decision."""

    key: str
    cause: str
    replan: Replan


Source = Callable[[Sight], Iterable[Wish]]


@dataclass(frozen=True, slots=True)
class Ordered:
    """What somebody has asked for, and could not be done at once: it is done in a pause, too."""

    source: Source

    def __call__(self, sight: Sight) -> Iterable[Wish]:
        return self.source(sight)


@dataclass(slots=True)
class Proposals:
    begin: Begin
    mode: Mode
    patience: Patience
    sources: list[Source] = field(default_factory=list)
    _said: Said = field(default_factory=Said)
    _wished: set[str] = field(default_factory=set)

    def consider(self, sight: Sight) -> None:
        """Ask every source what it wishes now, and begin what can be. In a pause, only for what
        was ordered."""
        before, self._wished = self._wished, set()
        for source in self.sources:
            ordered = isinstance(source, Ordered)
            if sight.policy.pause is not None and not ordered:
                continue
            for wish in source(sight):
                self._wished.add(wish.key)
                if not ordered:
                    wish = wish._replace(replan=_unless_paused(wish.replan))
                self._propose(wish, sight)
        for key in before - self._wished:
            self._said.forget(key)
            self.patience.forget(key)

    def _propose(self, wish: Wish, sight: Sight) -> None:
        """Begin what the wish comes to, unless it is under way, in vain, or was said before."""
        key, cause, replan = wish
        plan = replan(sight.snapshot, sight.policy, sight.experience)
        if plan.actions:
            self.patience.forget(key)
            if self.mode is Mode.ENFORCE or self._said.is_news(key, plan):
                begun = self.begin(cause, plan, replan)
                if begun is None:
                    self._said.forget(key)
        elif plan.waits_for:
            if self.patience.give_up(key, sight.snapshot.taken_at) and self._said.is_news(
                key, plan
            ):
                tries = self.patience.tries
                text = f"{cause}; everybody who could go was busy, {tries} tries long: gave up"
                self.begin(text, plan, replan)
        elif not plan.works and self._said.is_news(key, plan):
            self.begin(f"{cause}; nobody can be unloaded", plan, replan)


def _unless_paused(replan: Replan) -> Replan:
    """What was begun before a pause goes no further in it."""

    def again(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
        made = replan(snapshot, policy, experience)
        if policy.pause is None or not made.actions:
            return made
        notes = tuple(Note(action.ref, Why.PAUSED) for action in made.actions)
        return replace(made, actions=(), notes=notes)

    return again
