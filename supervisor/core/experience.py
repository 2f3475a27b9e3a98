"""What experience says to whoever plans: whose word not to count on, and what was seen of each."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from collectors.reading import PoolId, Seconds

from .history import History
from .snapshot import ModelRef


@dataclass(frozen=True, slots=True)
class Experience:
    """`distrusted` are models whose last unload did not give back what it promised; `doubted` those
    of them that gave some of it, or were not tried for a while: they go where it does not suffice
    without. `barred` are the pools into which nothing is loaded while a stranger is there, and who
    that is. In pools that are `braked` nobody leaves for a load, for so many seconds more. Those
    who are `tolerated` were there before a limit was lowered: for them alone nobody leaves because
    of it."""

    distrusted: Set[ModelRef] = frozenset()
    history: History = field(default_factory=History)
    barred: Mapping[PoolId, str] = field(default_factory=dict)
    braked: Mapping[PoolId, Seconds] = field(default_factory=dict)
    tolerated: Set[ModelRef] = frozenset()
    doubted: Set[ModelRef] = frozenset()


NONE_YET = Experience()
