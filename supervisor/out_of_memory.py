"""Loads that failed for want of memory: once more with more room, and then not for a while.

A model that did not fit is loaded again at once, with a quarter more made room for; never at the
price of a pinned model, for that is a plan like any other. One of which nobody knows what it takes
is given all the room that can be had. If that fails too it is refused, for 10 seconds and then for
twice as long each time, up to 5 minutes, until it has loaded once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from collectors.reading import Seconds

from .core.plan import Load, Plan, Why
from .core.record import Outcome, Result
from .core.retry import at_least, more, pause, shortage
from .core.snapshot import Demand, ModelRef, Share, is_sized
from .core.watch import Finding, Kind, Severity
from .units import format_seconds

# A failure that nobody has come back to for so long is forgotten.
FORGET = Seconds(3600.0)


@dataclass(slots=True)
class _Misfit:
    """`takes` is what the next attempt makes room for, at least; `waits`: it is still to be made.
    `sized`: somebody knew what it takes."""

    text: str
    takes: tuple[Share, ...]
    sized: bool
    since: Seconds
    until: Seconds
    failures: int = 0  # of attempts with more room
    waits: bool = True


@dataclass(slots=True)
class OutOfMemory:
    """Times on the monotonic clock."""

    _misfits: dict[ModelRef, _Misfit] = field(default_factory=dict)

    def judge(self, outcome: Outcome, now: Seconds) -> None:
        """Learn from what became of a load."""
        action = outcome.action
        if not isinstance(action, Load):
            return
        known = self._misfits.get(action.ref)
        if outcome.result is Result.DONE:
            self._misfits.pop(action.ref, None)
        elif outcome.result is Result.SKIPPED:
            if known is not None and known.waits:
                self._fail(known, f"{known.text}; then {outcome.detail}", now)
        elif (where := shortage(outcome.detail)) is not None:
            if known is None:
                takes, sized = more(action.takes, where), is_sized(action.takes)
                self._misfits[action.ref] = _Misfit(outcome.detail, takes, sized, now, now)
            else:
                if not known.sized:  # nor was all that could be had
                    known.takes = more(action.takes, where)
                self._fail(known, outcome.detail, now)
        else:  # it is something else by now
            self._misfits.pop(action.ref, None)

    def ended(self, plan: Plan, now: Seconds) -> ModelRef | None:
        """Whom to load once more, now that this plan has been carried out."""
        wanted = next((n.ref for n in plan.notes if n.why is Why.WANTED), None)
        known = None if wanted is None else self._misfits.get(wanted)
        if wanted is None or known is None or not known.waits:
            return None
        if not plan.works:
            lacks = "for a quarter more" if known.sized else "to be had"
            self._fail(known, f"{known.text}; and there is no room {lacks}", now)
            return None
        return wanted

    def refusal(self, ref: ModelRef, now: Seconds) -> str | None:
        """Why `ref` is not to be loaded now. None: it may be tried."""
        known = self._misfits.get(ref)
        if known is None or now >= known.until:
            return None
        left = format_seconds(Seconds(max(1, round(known.until - now))))
        return f"{ref} did not fit: {known.text}; it may be tried again in {left}"

    def wait(self, ref: ModelRef, now: Seconds) -> Seconds | None:
        """For how long. None: it may be tried."""
        known = self._misfits.get(ref)
        return None if known is None or now >= known.until else Seconds(known.until - now)

    def has(self, ref: ModelRef) -> bool:
        """Has `ref` not fitted, and not been loaded since?"""
        return ref in self._misfits

    def expect(self, demand: Demand, now: Seconds, *, sized: bool = True) -> Demand | None:
        """`demand`, with more room where less was not enough. None: it is refused for now. `sized`:
        somebody knows what it takes, which he may not have when it did not fit."""
        known = None if demand.ref is None else self._misfits.get(demand.ref)
        if known is None:
            return demand
        if now < known.until:
            return None
        return at_least(demand, known.takes) if known.sized is sized else demand

    def findings(self, now: Seconds) -> Iterator[Finding]:
        """Those that are refused now; what is over for long is forgotten."""
        for ref, known in list(self._misfits.items()):
            if now >= known.until + FORGET:
                del self._misfits[ref]
            elif now < known.until:
                detail = f"did not fit in {known.failures + 1} attempts: {known.text}"
                yield Finding(
                    Kind.NO_FIT, str(ref), known.since, Severity.WARNING, detail, 0.0, ref
                )

    def _fail(self, known: _Misfit, text: str, now: Seconds) -> None:
        known.waits = False
        known.failures += 1
        known.text = text
        known.until = Seconds(now + pause(known.failures))
