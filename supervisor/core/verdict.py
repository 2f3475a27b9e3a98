"""Did the eviction give back what it promised?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from collectors.reading import Bytes, PoolId, PoolKind

from .ladder import ASLEEP, SIGNALS, Rung
from .plan import Evict
from .snapshot import ModelRef, Snapshot, Source, State

# Drivers return memory late and rarely to the byte; three quarters is a yes.
ENOUGH = 0.75


class Verdict(Enum):
    RECOVERED = "recovered"
    PARTLY = "partly"
    NOTHING = "nothing came back"
    BLIND = "could not be measured"


@dataclass(frozen=True, slots=True)
class Judgement:
    """`gone`: the engine no longer lists the model; or says that it sleeps, where that was asked
    of it; or its process has ended, where that was meant to. Only the bytes decide the verdict.

    `late`: the process that held the RAM has ended, and the kernel does not count all of it
    as available yet.
    """

    verdict: Verdict
    promised: Bytes
    returned: Bytes  # may be negative: a neighbour took more than came back
    gone: bool
    late: bool = False


def judge(action: Evict, before: Snapshot, after: Snapshot, rung: Rung = Rung.UNLOAD) -> Judgement:
    """Compare what came back in the pools of the promise with what was promised."""
    pools = {share.pool for share in action.frees}
    promised = Bytes(sum(share.size for share in action.frees))
    gone = _is_gone(action.ref, before, after, rung)
    unseen = pools - ({p.id for p in before.pools} & {p.id for p in after.pools})
    if unseen or not pools:
        return Judgement(Verdict.BLIND, promised, Bytes(0), gone)
    freed = {p: after.free(p) - before.free(p) for p in pools}
    ended = _ended(action, before, after) if gone else {}
    returned = Bytes(sum(max(freed[p], ended.get(p, freed[p])) for p in pools))
    late = sum(freed.values()) < promised * ENOUGH <= returned
    if returned >= promised * ENOUGH:
        return Judgement(Verdict.RECOVERED, promised, returned, gone, late)
    verdict = Verdict.PARTLY if returned > 0 else Verdict.NOTHING
    return Judgement(verdict, promised, returned, gone)


def _is_gone(ref: ModelRef, before: Snapshot, after: Snapshot, rung: Rung) -> bool:
    resident = after.resident(ref)
    if resident is None:
        return True
    if rung in SIGNALS:  # an engine may list what it does not know to have ended
        was = before.resident(ref)
        return was is not None and not set(was.pids) & set(resident.pids)
    return rung in ASLEEP and resident.state is State.SLEEPING


def _ended(action: Evict, before: Snapshot, after: Snapshot) -> dict[PoolId, int]:
    """What a process gave back to host RAM by ending.

    The kernel takes the pages of a process back before the process is gone, so its end is as
    good as a measurement, and a better one than MemAvailable: in a virtual machine that
    reports free pages to its host, freed memory was seen to count as available only seconds
    later, a fifth of it after 3 s. Drivers give no such promise: there, only free bytes count.
    """
    resident = before.resident(action.ref)
    if resident is None or not resident.pids:
        return {}
    left = after.lingering.get(action.ref, Bytes(0))
    return {
        s.pool: max(0, s.size - left)
        for s in action.frees
        if s.source is Source.MEASURED
        and (pool := after.pool(s.pool)) is not None
        and pool.kind is PoolKind.HOST
    }
