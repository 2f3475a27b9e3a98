"""What is done because an alert of somebody else's monitoring asks for it: plans, and whether what
we measured says the same."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from collectors.reading import PoolId

from .actions import Plan, Trigger, Why
from .experience import Experience
from .lines import beyond_soft, lines_of
from .plan import dismiss, relieve
from .policy import Amount, Policy, PoolPolicy
from .snapshot import EngineId, ModelRef, Snapshot
from .watch import Finding, Kind


def short_pools(
    snapshot: Snapshot, policy: Policy, pools: Collection[PoolId] | None, below: Amount | None
) -> tuple[PoolId, ...]:
    """Those of `pools` (None: of all) of which less than `below` is free; None: less than their
    restore line, or whose models hold more than their budget leaves them."""
    found = [p for p in snapshot.pools if pools is None or p.id in pools]
    if below is not None:
        return tuple(p.id for p in found if p.free < below.of(p.total))
    lines = {p.id: lines_of(p, policy) for p in found}
    beyond = beyond_soft(snapshot, policy)
    return tuple(id for id, line in lines.items() if beyond[id] < line.restore - line.soft)


def in_trouble(
    engine: EngineId, snapshot: Snapshot, findings: Iterable[Finding]
) -> tuple[bool, frozenset[ModelRef]]:
    """Is `engine` down, and which of its models are stuck?"""
    state = snapshot.engine(engine)
    stuck = (f.ref for f in findings if f.kind is Kind.STUCK and f.ref is not None)
    return state is not None and not state.up, frozenset(r for r in stuck if r.engine == engine)


def make_room(
    snapshot: Snapshot,
    policy: Policy,
    pools: Collection[PoolId],
    to: Amount | None,
    among: Collection[ModelRef] | None,
    experience: Experience,
) -> Plan:
    """Bring `pools` up to so much free memory, None: to their restore line. Nobody leaves for it
    but those `among`; None: whoever may. As relief, it does what it can."""
    if to is not None:
        own = {id: policy.pools.get(id, PoolPolicy()) for id in pools}
        raised = {id: replace(pool, restore=to) for id, pool in own.items()}
        policy = replace(policy, pools={**policy.pools, **raised})
    others: frozenset[ModelRef] = frozenset()
    if among is not None:
        refs = (r.ref for r in snapshot.residents if r.ref not in among)
        others = frozenset(ref for ref in refs if not policy.is_pinned(ref))
        policy = replace(policy, pinned=policy.pinned | {str(ref) for ref in others})
    made = relieve(snapshot, policy, pools, experience, begun=True)
    notes = (
        n._replace(why=Why.NOT_MEANT) if n.ref in others and n.why is Why.PINNED else n
        for n in made.notes
    )
    return replace(made, trigger=Trigger.ALERT, notes=tuple(notes))


def let_go(
    snapshot: Snapshot, policy: Policy, refs: Iterable[ModelRef], experience: Experience
) -> Plan:
    """These models leave, those that may. Who could not be made to, lately, is let be."""
    wanted = [ref for ref in refs if ref not in experience.distrusted]
    return dismiss(snapshot, policy, wanted, Trigger.ALERT)


NOTHING = Plan(Trigger.ALERT)
