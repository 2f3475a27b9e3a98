"""Did the eviction give back what it promised?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from collectors.reading import Bytes, PoolId, PoolKind

from .ladder import ASLEEP, SIGNALS, Rung
from .plan import Evict
from .snapshot import ModelRef, Resident, Snapshot, Source, State

# Drivers return memory late and rarely to the byte; three quarters is a yes.
ENOUGH = 0.75
# The memory that a process has besides moves by some pages all the time.
NOISE = 0.01
COMING = (State.LOADING, State.SLEEPING)


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
    returned: Bytes  # may be negative: somebody whom nobody knows took more than came back
    gone: bool
    late: bool = False


def judge(action: Evict, before: Snapshot, after: Snapshot, rung: Rung = Rung.UNLOAD) -> Judgement:
    """Compare what came back in the pools of the promise with what was promised. What a model that
    came meanwhile holds there had come back before."""
    pools = {share.pool for share in action.frees}
    promised = Bytes(sum(share.size for share in action.frees))
    gone = _is_gone(action.ref, before, after, rung)
    unseen = pools - ({p.id for p in before.pools} & {p.id for p in after.pools})
    if unseen or not pools:
        return Judgement(Verdict.BLIND, promised, Bytes(0), gone)
    came = [r for r in after.residents if _came(r, action.ref, before)]
    freed = {p: after.free(p) - before.free(p) + _taken(p, came, before) for p in pools}
    ended = _ended(action, before, after) if gone else {}
    returned = Bytes(sum(max(freed[p], ended.get(p, freed[p])) for p in pools))
    late = sum(freed.values()) < promised * ENOUGH <= returned
    if returned >= promised * ENOUGH:
        return Judgement(Verdict.RECOVERED, promised, returned, gone, late)
    verdict = Verdict.PARTLY if returned > promised * NOISE else Verdict.NOTHING
    return Judgement(verdict, promised, returned, gone)


def _came(resident: Resident, gone: ModelRef, before: Snapshot) -> bool:
    """Was it not there yet, or not whole? And is it held by processes of its own: what the victim's
    still hold has not come back, whoever it is said to be now."""
    was, victim = before.resident(resident.ref), before.resident(gone)
    if resident.ref == gone or (was is not None and was.state not in COMING):
        return False
    pids = set(resident.pids)
    return bool(pids) and (victim is None or pids.isdisjoint(victim.pids))


def _taken(pool: PoolId, came: Iterable[Resident], before: Snapshot) -> int:
    """Bytes that they hold more there, as far as it was measured."""
    total = 0
    for resident in came:
        was = before.resident(resident.ref)
        measured = sum(
            s.size for s in resident.shares if s.pool == pool and s.source is Source.MEASURED
        )
        total += max(0, measured - (0 if was is None else was.holds(pool)))
    return total


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
