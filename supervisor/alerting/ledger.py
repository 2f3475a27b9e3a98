"""Which alerts have been received, and what became of each: kept over a restart, so that nothing is
done twice however often it is told of."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

from collectors.reading import Seconds
from supervisor.journal.shelves import Shelf
from supervisor.keeping.deadlines import Deadlines

from .alert import Alert, Row, Status, read_row

log = logging.getLogger("ullage.alerts")

KEPT = 2000  # alerts that are remembered


@dataclass(slots=True)
class Ledger:
    """`lasts`: how long an alert counts as firing after it was last heard of."""

    shelf: Shelf
    deadlines: Deadlines
    lasts: Seconds
    _rows: dict[str, Row] = field(default_factory=dict)  # by the key of the alert, oldest first
    _firing: dict[str, Seconds] = field(default_factory=dict)  # episodes: when last heard of
    _latest: dict[str, float] = field(default_factory=dict)  # fingerprints: when it began last

    def recall(self) -> list[Row]:
        """Take up what was written down. Those of which nobody knows what became of them."""
        found: list[Row] = []
        for id, body in self.shelf.all().items():
            try:
                found.append(read_row(body))
            except (KeyError, TypeError, ValueError):
                log.warning("the alert %s cannot be read: it is forgotten", id)
                self.shelf.drop(id)
        now, wall = self.deadlines.now, self.deadlines.wall()
        for row in sorted(found, key=lambda row: row.at):
            self._note(row, Seconds(now - max(0.0, wall - row.at)))
        return [row for row in self._rows.values() if row.outcome is None]

    def __iter__(self) -> Iterator[Row]:
        """The newest first."""
        return reversed(self._rows.values())

    def get(self, alert: Alert) -> Row | None:
        return self._rows.get(alert.key)

    def other(self, alert: Alert) -> Row | None:
        """What came of the same alert as it began, or as it ended."""
        firing = alert.status is Status.FIRING
        other = Status.RESOLVED if firing else Status.FIRING
        return self._rows.get(f"{alert.episode} {other.value}")

    def keep(self, row: Row) -> Future[bool] | None:
        """It is new, or there is more to be said of it. The future tells when it is on disk."""
        self._note(row, self.deadlines.now)
        self._trim()
        return self.shelf.keep(row.alert.id, row.written)

    def forget(self, row: Row) -> None:
        """As if it had not been received."""
        self._rows.pop(row.alert.key, None)
        self._firing.pop(row.alert.episode, None)
        self.shelf.drop(row.alert.id)

    def heard(self, alert: Alert) -> None:
        """It was told of once more."""
        if alert.status is Status.FIRING and alert.episode in self._firing:
            self._firing[alert.episode] = self.deadlines.now

    @property
    def firing(self) -> int:
        """How many alerts fire, as far as we were told lately."""
        now = self.deadlines.now
        return sum(now - at < self.lasts for at in self._firing.values())

    def since(self, fingerprint: str, status: Status) -> float:
        """When an alert began of which nobody says that, in Unix time: the one that fires, or, if
        none does, now. One that resolved, and is said to once more, did not begin anew."""
        began = self._latest.get(fingerprint)
        if began is not None:
            heard = self._firing.get(f"{fingerprint} {began:.3f}")
            if status is Status.RESOLVED:
                return began
            if heard is not None and self.deadlines.now - heard < self.lasts:
                return began
        return round(self.deadlines.wall(), 3)

    def _note(self, row: Row, at: Seconds) -> None:
        alert = row.alert
        self._rows[alert.key] = row
        began = self._latest.get(alert.fingerprint, alert.starts_at)
        self._latest[alert.fingerprint] = max(began, alert.starts_at)
        if alert.status is Status.RESOLVED:
            self._firing.pop(alert.episode, None)
        elif self.other(alert) is None:
            self._firing.setdefault(alert.episode, at)

    def _trim(self) -> None:
        """Forget the oldest. Who is still acted on stays."""
        while len(self._rows) > KEPT:
            key, row = next((k, r) for k, r in self._rows.items())
            if row.outcome is None:
                return
            del self._rows[key]
            self.shelf.drop(row.alert.id)
            if self.other(row.alert) is None:
                self._firing.pop(row.alert.episode, None)
            if self._latest.get(row.alert.fingerprint) == row.alert.starts_at:
                del self._latest[row.alert.fingerprint]
