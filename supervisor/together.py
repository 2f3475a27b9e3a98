"""Models that are always together: with one the others come, and where one goes, all go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from .core.experience import Experience
from .core.groups import Rule, members, together, unknown
from .core.plan import Plan, Trigger, dismiss
from .core.policy import Policy
from .core.snapshot import Demand, ModelRef, Snapshot, State
from .events import Expect, Replan
from .proposals import Sight, Wish
from .standing import loading

GONE = (State.LEAVING, State.SLEEPING)


@dataclass(slots=True)
class Together:
    """Whoever comes by itself brings the others, and whoever leaves by itself takes them along.
    One that could not be loaded has been promised memory, and so was there, and has left. What was
    there before us is left as it is."""

    alone: Expect  # what loading one model will take
    _there: dict[str, frozenset[ModelRef]] = field(default_factory=dict)
    _whole: dict[str, bool] = field(default_factory=dict)  # True: all are to be there; False: none

    def expect(self, snapshot: Snapshot, policy: Policy, ref: ModelRef) -> Demand | None:
        """What loading `ref` will take, and those who come with it. None: nobody knows."""
        demand = self.alone(snapshot, policy, ref)
        if demand is None or not policy.groups:
            return demand
        if self.lacking(snapshot, policy, ref) is not None:
            return None
        others = together(policy.groups, ref, snapshot)
        found = [self.alone(snapshot, policy, other) for other in others]
        return replace(demand, beside=tuple(d for d in found if d is not None))

    def lacking(self, snapshot: Snapshot, policy: Policy, ref: ModelRef) -> str | None:
        """Why `ref` cannot be loaded, because of those beside it."""
        for name, group in sorted(policy.groups.items()):
            if group.rule is not Rule.ALWAYS_TOGETHER or not group.has(ref):
                continue
            if absent := list(unknown(group, snapshot)):
                return f"{ref} is always together with {absent[0]} ({name}), which no engine has"
        for other in together(policy.groups, ref, snapshot):
            if self.alone(snapshot, policy, other) is None:
                return f"{ref} is always together with {other}, whose size nobody knows"
        return None

    def __call__(self, sight: Sight) -> Iterator[Wish]:
        snapshot = sight.snapshot
        found = {r.ref for r in snapshot.residents if r.state not in GONE}
        found |= {r.ref for r in snapshot.reservations if r.ref is not None}
        groups = {n: g for n, g in sight.policy.groups.items() if g.rule is Rule.ALWAYS_TOGETHER}
        for name, group in sorted(groups.items()):
            mine = frozenset(members(group, snapshot))
            there = mine & found
            self._judge(name, mine, there)
            if self._whole.get(name) is True:
                first = min(there)
                cause = f"{first} is there, and {name} is always together"
                yield Wish(f"together {name}", cause, loading(first, self.expect))
            elif self._whole.get(name) is False:
                cause = f"{_and(mine - there)} is not there, and {name} is always together"
                yield Wish(f"together {name}", cause, _going(there))
        for name in self._there.keys() - groups.keys():
            del self._there[name]
            self._whole.pop(name, None)

    def _judge(self, name: str, mine: frozenset[ModelRef], there: frozenset[ModelRef]) -> None:
        before = self._there.get(name)
        self._there[name] = there
        if not there or there == mine:
            self._whole.pop(name, None)
        elif before is not None and there - before:
            self._whole[name] = True
        elif before is not None and before - there:
            self._whole[name] = False


def _going(refs: frozenset[ModelRef]) -> Replan:
    def replan(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
        return dismiss(snapshot, policy, refs - experience.distrusted, Trigger.TOGETHER)

    return replan


def _and(refs: frozenset[ModelRef]) -> str:
    return ", ".join(str(r) for r in sorted(refs))
