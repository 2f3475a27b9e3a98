"""Who uses which model, as far as clients say who they are; and what they leave behind."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from collectors.reading import Seconds

from .core.experience import Experience
from .core.plan import Plan, Trigger, dismiss
from .core.policy import Policy
from .core.snapshot import Demand, ModelRef, Snapshot
from .core.switch import leaves, switch, switches
from .events import Replan
from .proposals import Sight, Wish

SILENT = Seconds(3600)  # a client that has said nothing for so long has gone
MOST = 4096  # clients at once; who said something longest ago is forgotten first
LOOKED = Seconds(1.0)  # from one look for those to the next: there may be thousands


@dataclass(slots=True)
class Clients:
    """A client uses a model from when it asked for it until it moves on from it, or is silent."""

    _using: OrderedDict[str, dict[ModelRef, Seconds]] = field(default_factory=OrderedDict)
    _left: dict[ModelRef, str] = field(default_factory=dict)  # and by whom
    _leases: frozenset[str] = frozenset()
    _looked_at: float = float("-inf")

    def used(self, client: str, ref: ModelRef, policy: Policy, now: Seconds) -> None:
        """`client` works with `ref` now."""
        self._forget(now)
        mine = self._using.setdefault(client, {})
        self._using.move_to_end(client)
        if len(self._using) > MOST:
            self._using.popitem(last=False)
        for old in _behind(mine, ref, policy):
            del mine[old]
            self._left[old] = client
        mine[ref] = now
        self._left.pop(ref, None)

    def moving(self, client: str, demand: Demand) -> Replan:
        """The plan by which `client` gets what it wants, and what it leaves behind goes."""

        def replan(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
            assert demand.ref is not None
            mine = self._using.get(client, {})
            behind = [
                old
                for old in _behind(mine, demand.ref, policy)
                if not self._used_by_others(old, client)
            ]
            return switch(snapshot, policy, demand, behind, experience)

        return replan

    def __call__(self, sight: Sight) -> Iterator[Wish]:
        """Those who were left, and whom nobody else holds."""
        snapshot, policy = sight.snapshot, sight.policy
        for lease in snapshot.leases:
            if lease.id not in self._leases:
                self.used(lease.client, lease.ref, policy, snapshot.taken_at)
        self._leases = frozenset(lease.id for lease in snapshot.leases)
        self._forget(snapshot.taken_at)
        for ref, client in sorted(self._left.items()):
            if snapshot.resident(ref) is None or self._used_by_others(ref, client):
                del self._left[ref]
            else:  # while it has a lease, or works, it is spared
                yield Wish(f"switch {ref}", f"{client} has moved on from {ref}", _going(ref))

    def _used_by_others(self, ref: ModelRef, client: str) -> bool:
        return any(ref in mine for other, mine in self._using.items() if other != client)

    def _forget(self, now: Seconds) -> None:
        if now - self._looked_at < LOOKED:
            return
        self._looked_at = now
        for client, mine in list(self._using.items()):
            for ref, at in list(mine.items()):
                if now - at > SILENT:
                    del mine[ref]
            if not mine:
                del self._using[client]


def _behind(mine: Iterable[ModelRef], ref: ModelRef, policy: Policy) -> list[ModelRef]:
    """Those of its models that a client leaves as it moves on to `ref`."""
    return [old for old in mine if leaves(policy, old, ref)] if switches(policy) else []


def _going(ref: ModelRef) -> Replan:
    def replan(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
        refs = {ref} - experience.distrusted
        return dismiss(snapshot, policy, refs, Trigger.SWITCH)

    return replan
