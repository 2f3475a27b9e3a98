"""What was done for an alert, or would be: as an outcome, and in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from supervisor.core.ladder import ASLEEP, Rung
from supervisor.core.plan import Evict, Plan, Why
from supervisor.core.record import Mode, Outcome, Result
from supervisor.core.snapshot import Share
from supervisor.door import Carried
from supervisor.units import format_bytes

from .alert import Ended
from .alert import Outcome as Became

NAMED = 3  # models that are told by name
_GOES = frozenset({Why.MAKES_ROOM, Why.ALERTED, Why.STUCK, Why.TOGETHER})


def would(plan: Plan) -> str:
    """What `plan` comes to, if it were carried out."""
    if not plan.actions:
        return f"nobody would go{_why_not(plan)}"
    parts = [
        f"{e.ref} would {'sleep' if _sleeps(e) else 'leave'} ({_sizes(e.frees)})"
        for e in plan.evictions
    ]
    return "; ".join(parts) + _missing(plan)


def of_carried(carried: Carried) -> Ended:
    """What became of it."""
    decision, plan = carried.decision, carried.decision.plan
    if not carried.outcomes:
        if plan.unmet or _spared(plan):
            text = f"nobody could go{_why_not(plan)}{_missing(plan)}"
            return Ended(Became.FAILED, text, decision.id)
        return Ended(Became.NOTHING_TO_DO, "there is nothing to do any more", decision.id)
    done = [o for o in carried.outcomes if o.result is Result.DONE]
    failed = [o for o in carried.outcomes if o.result is Result.FAILED]
    if done:
        text = f"{_some([_did(o) for o in done])}, {_returned(done)} came back{_missing(plan)}"
        text += f"; {_some([str(o.action.ref) for o in failed])} could not" if failed else ""
        named = any(e.why is Why.ALERTED for e in plan.evictions)
        stayed = _spared(plan) if plan.unmet or named else []
        text += f"; stayed: {_some(stayed)}" if stayed else ""
        return Ended(Became.DONE, text, decision.id)
    if failed:
        return Ended(Became.FAILED, _some([_failed(o) for o in failed]), decision.id)
    if decision.mode is not Mode.ENFORCE:
        return Ended(Became.DRY_RUN, would(plan), decision.id)
    text = _some([f"{o.action.ref}: {o.detail}" for o in carried.outcomes])
    return Ended(Became.NOTHING_TO_DO, text, decision.id)


def _did(outcome: Outcome) -> str:
    words = {Rung.RESTART: "went with its engine, which was restarted"}
    rung = outcome.rung
    verb = "sleeps" if rung in ASLEEP else words.get(rung, "left") if rung else "left"
    return f"{outcome.action.ref} {verb}"


def _failed(outcome: Outcome) -> str:
    return f"{outcome.action.ref} could not be made to go: {outcome.detail}"


def _returned(done: Iterable[Outcome]) -> str:
    """Where several go together, each is judged for its own part."""
    back = sum(max(0, o.judgement.returned) for o in done if o.judgement is not None)
    return format_bytes(back)


def _spared(plan: Plan) -> list[str]:
    """Who was asked to go and stays, and why."""
    stays = {Why.NOT_NEEDED, Why.WRONG_POOL, Why.NOT_MEANT, Why.TOO_SMALL, *_GOES}
    return [f"{n.ref} ({n.why.value})" for n in plan.notes if n.why not in stays]


def _why_not(plan: Plan) -> str:
    found = _spared(plan)
    return f": {_some(found)}" if found else ""


def _missing(plan: Plan) -> str:
    return f"; still missing: {_sizes(plan.unmet)}" if plan.unmet else ""


def _sleeps(action: Evict) -> bool:
    return bool(action.ladder) and ASLEEP.issuperset(action.ladder)


def _sizes(shares: Iterable[Share]) -> str:
    return ", ".join(f"{format_bytes(s.size)} of {s.pool}" for s in shares) or "unknown bytes"


def _some(parts: list[str]) -> str:
    more = len(parts) - NAMED
    return ", ".join(parts[:NAMED]) + (f" and {more} more" if more > 0 else "")
