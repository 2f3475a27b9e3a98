"""Whom not to count on: models whose last unload was refused, or gave too little back."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

from collectors.reading import Seconds

from .core.explain import size
from .core.plan import Evict
from .core.record import Outcome
from .core.snapshot import ModelRef, Snapshot
from .core.verdict import Verdict
from .core.watch import Finding, Kind, Severity
from .executor import kept_its_promise

# For this long others go in its place. Afterwards it is as good as they are, for engines do
# recover. Who only took too long to go, and has gone since, is counted on when it is back.
DISTRUST = Seconds(300.0)
# Where the others are not enough, who gave nothing goes again after so long, and after twice as
# long each time that was in vain: a stuck engine is not told so for each request.
AGAIN = Seconds(10.0)


@dataclass(slots=True)
class Distrust:
    """Times on the monotonic clock."""

    _findings: dict[ModelRef, Finding] = field(default_factory=dict)
    # What gave too little, and was followed by something that gave enough.
    _slips: dict[ModelRef, Finding] = field(default_factory=dict)
    _stayed: set[ModelRef] = field(default_factory=set)
    # Who went, and gave back some of it. What else it had may be what others took meanwhile.
    _some: set[ModelRef] = field(default_factory=set)
    # How often in a row each of `_findings` gave nothing, and who of them may be tried again.
    _vain: dict[ModelRef, int] = field(default_factory=dict)
    _rested: set[ModelRef] = field(default_factory=set)

    @property
    def refs(self) -> Set[ModelRef]:
        return self._findings.keys()

    @property
    def doubted(self) -> Set[ModelRef]:
        """Of `refs` those who gave some of it back, or have not been tried for a while: better
        than nobody."""
        return self._some | self._rested

    @property
    def findings(self) -> tuple[Finding, ...]:
        return (*self._findings.values(), *self._slips.values())

    def judge(self, outcome: Outcome, now: Seconds) -> None:
        if not isinstance(outcome.action, Evict):
            return
        ref, judgement = outcome.action.ref, outcome.judgement
        self._rested.discard(ref)
        if kept_its_promise(outcome):
            self._clear(ref)
            if outcome.slipped:
                detail = "; ".join(outcome.slipped)
                found = Finding(Kind.INEFFECTIVE, str(ref), now, Severity.WARNING, detail, 0.0, ref)
                self._slips[ref] = found
            return
        self._slips.pop(ref, None)
        detail = outcome.detail
        if judgement is not None:
            back, promised = size(max(0, judgement.returned)), size(judgement.promised)
            detail = f"gave back {back} of {promised}"
        found = Finding(Kind.INEFFECTIVE, str(ref), now, Severity.WARNING, detail, 0.0, ref)
        self._findings[ref] = found
        self._some.discard(ref)
        self._vain[ref] = self._vain.get(ref, 0) + 1
        if judgement is None or not judgement.gone:
            self._stayed.add(ref)
            return
        self._stayed.discard(ref)  # it went, and its memory did not: so it may the next time
        if judgement.verdict is Verdict.PARTLY:
            self._some.add(ref)

    def see(self, snapshot: Snapshot) -> None:
        """Forgets what is long ago, and those who went after all."""
        for kept in (self._findings, self._slips):
            for ref, finding in list(kept.items()):
                if snapshot.taken_at - finding.since >= DISTRUST:
                    del kept[ref]
        for ref in [ref for ref in self._stayed if _gone(snapshot, ref)]:
            self._clear(ref)
        self._some &= self._findings.keys()
        self._vain = {ref: often for ref, often in self._vain.items() if ref in self._findings}
        self._rested = {
            ref
            for ref, often in self._vain.items()
            if snapshot.taken_at - self._findings[ref].since >= AGAIN * 2 ** (often - 1)
        }

    def _clear(self, ref: ModelRef) -> None:
        self._findings.pop(ref, None)
        self._stayed.discard(ref)
        self._some.discard(ref)
        self._vain.pop(ref, None)


def _gone(snapshot: Snapshot, ref: ModelRef) -> bool:
    """Its engine answers, and does not have it."""
    return snapshot.answers(ref.engine) and snapshot.resident(ref) is None
