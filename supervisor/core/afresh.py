"""What of a plan still holds once it was made again from a newer snapshot, and why the rest does
not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Set

from .actions import Evict, Plan, Why
from .snapshot import ModelRef, Snapshot, State

_AWAKE = (State.LOADED, State.SLEEPING)
_WITHDRAWN = {
    Why.NOT_NEEDED: "nobody waits for it any more",
    Why.PAUSED: "it is a pause",
    Why.DRAINED: "its engine is drained",
    Why.SILENT: "its engine does not answer any more",
}


def spared(decided: Plan, fresh: Plan) -> dict[ModelRef, str]:
    """Why those who were to go when it was decided need not, or may not, go now."""
    reasons = {n.ref: n.why for n in fresh.notes}
    going = {e.ref for e in fresh.evictions}
    found = {}
    for ref in (e.ref for e in decided.evictions if e.ref not in going):
        why = reasons.get(ref)
        if why is None and fresh.barred:  # then nobody was considered
            found[ref] = f"spared after all: {fresh.barred[0].why}"
        elif why is None:
            found[ref] = "it has left by itself"
        elif why in (Why.NOT_NEEDED, Why.THERE):
            found[ref] = "no longer needed"
        else:
            found[ref] = held_back(why)
    return found


def held_back(why: Why) -> str:
    return f"spared after all: {why.value}"


def has_mate(action: Evict, now: Snapshot, ended: Collection[ModelRef]) -> bool:
    """Is that one still there beside which it was to go? `ended` are those whose processes or
    engines were: they may be listed all the same."""
    mate = None if action.beside in ended or action.beside is None else now.resident(action.beside)
    return mate is not None and mate.state is not State.SLEEPING


def companions(
    planned: Iterable[Evict], now: Snapshot, tried: Collection[ModelRef], ended: Set[ModelRef]
) -> Iterator[Evict]:
    """Those of `planned` who were to go beside one that was told to and has gone, and who were
    not told themselves. Who is at work is none of them."""
    for action in planned:
        if action.beside in tried and action.ref not in tried and not has_mate(action, now, ended):
            there = now.resident(action.ref)
            if there is not None and there.state in _AWAKE and not there.busy:
                yield action


def withdrawn(ref: ModelRef, fresh: Plan) -> str | None:
    """Why it is not to be loaded any more, whatever room there is."""
    return next(
        (_WITHDRAWN[n.why] for n in fresh.notes if n.ref == ref and n.why in _WITHDRAWN), None
    )


def instead(decided: Plan, action: Evict, failed: Collection[ModelRef]) -> str:
    """Why somebody goes who was to stay when it was decided."""
    if action.ref in {e.ref for e in decided.evictions}:
        return ""
    if failed:
        return f"instead of {', '.join(sorted(map(str, failed)))}, which gave too little back"
    return "chosen afresh: the memory has changed since it was decided"
