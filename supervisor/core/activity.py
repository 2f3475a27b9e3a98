"""When did a model last work? Told from whatever signs there are.

The best sign is the engine's own count of requests in flight; then anything of the
engine's that moves with work (a task number, a keep-alive's expiry); then the CPU time
of the model's process. What nobody can tell counts as busy while the last sign is fresh.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from collectors.reading import Seconds

# A server that only answers our own questions uses well under 1 % of a core; one that
# generates uses most of one, also when the work is done on a GPU.
WORKING = 0.05  # of a core
# The kernel counts in ticks of 10 ms: between two looks that follow close on one another, one tick
# or two are no sign of anything. A Python server was seen to take 3 ms for an answer.
TICKS = Seconds(0.025)

# A model whose process stands still need not be asked what it is doing, but for the odd time;
# one whose process cannot be seen (of another machine, or behind a wall) is asked more often.
LOOK_AGAIN = Seconds(60)
LOOK_AGAIN_UNSEEN = Seconds(5)


@dataclass(frozen=True, slots=True)
class Track:
    """One model's signs of work so far. Times are on the monotonic clock."""

    looked_at: Seconds
    worked_at: Seconds
    busy_since: Seconds | None = None  # None: at rest
    in_flight: int | None = None
    mark: str | None = None
    cpu: Seconds | None = None
    progress: str | None = None
    progressed_at: Seconds = Seconds(0)  # of busy time; or when it was last seen at rest
    pids: frozenset[int] = frozenset()

    @property
    def busy(self) -> bool:
        return self.busy_since is not None

    def idle_for(self, now: Seconds) -> Seconds:
        return Seconds(0.0 if self.busy else max(0.0, now - self.worked_at))

    def busy_for(self, now: Seconds) -> Seconds:
        return Seconds(0.0 if self.busy_since is None else max(0.0, now - self.busy_since))

    @property
    def quiet_for(self) -> Seconds | None:
        """How long there has been no sign of work, of one whose requests nobody counts. None: they
        are counted."""
        return Seconds(self.looked_at - self.worked_at) if self.in_flight is None else None

    def stalled_for(self, now: Seconds) -> Seconds:
        """How long it has been at work without any sign of progress: busy, where there is none."""
        return Seconds(0.0 if self.busy_since is None else max(0.0, now - self.progressed_at))


def observe(
    before: Track | None,
    now: Seconds,
    *,
    in_flight: int | None,
    mark: str | None,
    cpu: Seconds | None,
    fresh: Seconds,
    progress: str | None = None,
    pids: Collection[int] = (),
) -> Track:
    """The track after one more look. A model seen for the first time has just worked: it loaded.
    So has one that is in other processes than before: its engine was started anew.

    Progress is what `progress` shows, as tokens flow, else the mark, or that a request has ended.
    CPU time is none: who waits for a GPU that does not answer burns a core.
    """
    if before is None or (pids and before.pids and before.pids.isdisjoint(pids)):
        busy = bool(in_flight) or (in_flight is None)
        since = now if busy else None
        return Track(now, now, since, in_flight, mark, cpu, progress, now, frozenset(pids))
    worked = bool(in_flight) or mark != before.mark
    if in_flight is None and not worked:
        worked = moved(before, now, cpu)
    worked_at = now if worked else before.worked_at
    busy = bool(in_flight) if in_flight is not None else now - worked_at < fresh
    since = (before.busy_since if before.busy_since is not None else now) if busy else None
    if progress is None and before.progress is None:
        moving = mark != before.mark
    else:  # one that once told and does not answer now does not move
        moving = progress not in (None, before.progress)
    moving = moving or (in_flight is not None and in_flight < (before.in_flight or 0))
    progressed_at = now if moving or not (busy and before.busy) else before.progressed_at
    progress = before.progress if progress is None else progress
    known = frozenset(pids) or before.pids
    return Track(now, worked_at, since, in_flight, mark, cpu, progress, progressed_at, known)


def moved(before: Track, now: Seconds, cpu: Seconds | None) -> bool:
    """Has the process used so much CPU time since the last look that it must have worked?"""
    if cpu is None or before.cpu is None:
        return False
    return cpu - before.cpu > max(TICKS, WORKING * max(0.0, now - before.looked_at))


def look_due(before: Track | None, now: Seconds, cpu: Seconds | None) -> bool:
    """Is it worth asking the engine what this model is doing?"""
    if before is None or before.busy:
        return True
    seen = cpu is not None and before.cpu is not None
    if now - before.looked_at >= (LOOK_AGAIN if seen else LOOK_AGAIN_UNSEEN):
        return True
    return moved(before, now, cpu)
