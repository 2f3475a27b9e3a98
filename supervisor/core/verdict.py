"""Did the eviction give back what it promised?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from collectors.reading import Bytes

from .plan import Evict
from .snapshot import Snapshot

# Drivers return memory late and rarely to the byte; three quarters is a yes.
ENOUGH = 0.75


class Verdict(Enum):
    RECOVERED = "recovered"
    PARTLY = "partly"
    NOTHING = "nothing came back"
    BLIND = "could not be measured"


@dataclass(frozen=True, slots=True)
class Judgement:
    """`gone`: the engine no longer lists the model. Only the bytes decide the verdict."""

    verdict: Verdict
    promised: Bytes
    returned: Bytes  # may be negative: a neighbour took more than came back
    gone: bool


def judge(action: Evict, before: Snapshot, after: Snapshot) -> Judgement:
    """Compare what came back in the pools of the promise with what was promised."""
    pools = {share.pool for share in action.frees}
    promised = Bytes(sum(share.size for share in action.frees))
    gone = after.resident(action.ref) is None
    unseen = pools - ({p.id for p in before.pools} & {p.id for p in after.pools})
    if unseen or not pools:
        return Judgement(Verdict.BLIND, promised, Bytes(0), gone)
    returned = Bytes(sum(after.free(p) - before.free(p) for p in pools))
    if returned >= promised * ENOUGH:
        return Judgement(Verdict.RECOVERED, promised, returned, gone)
    verdict = Verdict.PARTLY if returned > 0 else Verdict.NOTHING
    return Judgement(verdict, promised, returned, gone)
