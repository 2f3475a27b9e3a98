"""Who holds something else than was learned of it, and who grows: watched while models are loaded,
and kept on the shelf `growth`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from collectors.reading import Bytes, PoolId, Seconds

from .core.drift import LASTS, grows, off, sentence
from .core.footprint import is_guessed
from .core.growth import Growth
from .core.snapshot import ModelRef, Resident, Snapshot, State
from .core.watch import Finding, Kind, Severity
from .journal.holdings import KEPT
from .journal.journal import Journal

SHELF = "growth"
NOTED = Seconds(3600.0)  # of busy time, after which the growth is written down again


@dataclass(slots=True)
class _Stay:
    """One stay of a model in memory, in one setup. `learned` is what had been before it came."""

    key: str
    learned: Bytes | None
    seen_at: Seconds
    growth: Growth = field(default_factory=Growth)
    off_since: Seconds | None = None
    noted: float = 0.0  # its busy time then


@dataclass(slots=True)
class Drift:
    """Times on the monotonic clock, but for `wall`. To be shown a snapshot before it is learned
    from."""

    journal: Journal
    wall: Callable[[], float] = time.time
    _stays: dict[ModelRef, _Stay] = field(default_factory=dict)
    _findings: tuple[Finding, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        return self._findings

    def per_hour(self, ref: ModelRef) -> float | None:
        """Bytes by which `ref` grows with each hour of work, in this stay or one before."""
        stay = self._stays.get(ref)
        if stay is not None and stay.growth.per_hour is not None:
            return stay.growth.per_hour
        shelf = self.journal.shelves[SHELF]
        kept = shelf.get(stay.key) if stay is not None else None
        if kept is None:
            found = [body for key, body in shelf.all().items() if key.startswith(f"{ref} ")]
            kept = max(found, key=lambda body: float(body["at"]), default=None)
        return None if kept is None else float(kept["per_hour"])

    def see(self, snapshot: Snapshot) -> None:
        there = {
            r.ref: r
            for r in snapshot.residents
            if r.state is State.LOADED and r.size and not is_guessed(r)
        }
        for ref in self._stays.keys() - {r.ref for r in snapshot.residents}:
            self._note(self._stays.pop(ref))
        if not snapshot.blind:  # what it holds where nobody can look is not nothing
            found = [self._look(snapshot.taken_at, r) for r in there.values()]
            self._findings = tuple(f for f in found if f is not None)

    def _look(self, now: Seconds, resident: Resident) -> Finding | None:
        ref, size, key = resident.ref, resident.size, _key(resident)
        stay = self._stays.get(ref)
        if stay is None or stay.key != key:
            stay = self._stays[ref] = _Stay(key, self._learned(resident), now)
        busy = Seconds(min(now - stay.seen_at, resident.busy_for if resident.busy else 0.0))
        stay.seen_at = now
        stay.growth.see(busy, size)
        if stay.growth.busy - stay.noted >= NOTED:
            self._note(stay)
        learned = stay.learned
        if learned is None or not off(size, learned, stay.growth.busy):
            stay.off_since = None
        elif stay.off_since is None:
            stay.off_since = now
        lasting = stay.off_since is not None and now - stay.off_since >= LASTS
        per_hour = stay.growth.per_hour
        growing = grows(size, per_hour)
        if not lasting and not growing:
            return None
        text = sentence(size, learned if lasting else None, per_hour if growing else None)
        since = stay.off_since if lasting and stay.off_since is not None else now
        return Finding(Kind.DRIFT, str(ref), since, Severity.WARNING, text, float(size), ref)

    def _learned(self, resident: Resident) -> Bytes | None:
        shares = self.journal.footprint(
            resident.ref, context=resident.context or 0, slots=resident.slots or 0
        )
        if not shares or {s.pool for s in shares if s.size} != _pools(resident):
            return None
        return Bytes(sum(s.size for s in shares))

    def _note(self, stay: _Stay) -> None:
        """Write down how fast it grows, where that is known by now; and drop what is old."""
        stay.noted = stay.growth.busy
        if (per_hour := stay.growth.per_hour) is None:
            return
        shelf, at = self.journal.shelves[SHELF], self.wall()
        body = {"per_hour": round(per_hour), "busy": round(stay.growth.busy), "at": at}
        shelf.keep(stay.key, body)
        for key, body in shelf.all().items():
            if at - float(body["at"]) >= KEPT:
                shelf.drop(key)


def _key(resident: Resident) -> str:
    devices = " ".join(sorted(_pools(resident)))
    return f"{resident.ref} {resident.context or 0} {resident.slots or 0} {devices}"


def _pools(resident: Resident) -> set[PoolId]:
    return {pool for pool in resident.pools if resident.holds(pool)}
