"""Room for a model of which nobody knows what it takes, when the reserve was not enough."""

from __future__ import annotations

from dataclasses import replace

from collectors.reading import NONE, Bytes

from .experience import Experience
from .plan import plan
from .policy import Policy
from .snapshot import Demand, Snapshot


def emptied(snapshot: Snapshot, policy: Policy, demand: Demand, experience: Experience) -> Demand:
    """`demand`, of all that its pools could give now: what is free, and what all who may go hold.
    Where others would do as well, of those that could give most. As it is, where nothing can be
    loaded at all."""
    totals = {p.id: p.total for p in snapshot.pools}
    shares = tuple(replace(s, size=totals.get(s.pool, NONE)) for s in demand.shares)
    made = plan(snapshot, policy, replace(demand, shares=shares), experience)
    if made.barred:
        return demand
    missing = {s.pool: s.size for s in made.unmet}
    if len(shares) == 1 and missing:  # there, or on another accelerator
        shares = (replace(shares[0], pool=next(iter(missing))),)
    left = (Bytes(max(0, s.size - missing.get(s.pool, NONE))) for s in shares)
    given = tuple(replace(s, size=size) for s, size in zip(shares, left, strict=True))
    return replace(demand, shares=given)
