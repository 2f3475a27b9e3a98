"""Plans that are made again and again, from whatever the world looks like then."""

from __future__ import annotations

from collections.abc import Callable, Collection, Set

from collectors.reading import PoolId

from .core.plan import Plan, Trigger, dismiss, relieve
from .core.policy import Policy
from .core.snapshot import ModelRef, Snapshot
from .core.watch import Finding, Kind, watch
from .events import Replan


def relief(pools: Collection[PoolId]) -> Replan:
    return lambda snapshot, policy, doubt: relieve(snapshot, policy, pools, doubt)


def dismissal(kind: Kind, trigger: Trigger, before: Callable[[], tuple[Finding, ...]]) -> Replan:
    """Unload those of whom the finding is still true when it is looked at again."""

    def replan(snapshot: Snapshot, policy: Policy, doubt: Set[ModelRef]) -> Plan:
        found = watch(snapshot, policy, before())
        refs = [f.ref for f in found if f.kind is kind and f.ref is not None]
        refs = [r for r in refs if r not in doubt]
        return dismiss(snapshot, policy, refs, trigger, even_busy=trigger is Trigger.BUSY)

    return replan
