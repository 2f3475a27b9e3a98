"""What the machine says by itself: stalls for want of memory, and incidents of devices."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field

from collectors.reading import RAM, Incident, PoolId, Seconds

log = logging.getLogger("ullage.alarms")

# An alarm of the kernel holds for this long; it repeats them each second or two.
ALARMED = Seconds(2.0)

# For this long an incident that a driver reported is a finding.
RECENT = Seconds(600.0)
MOST = 100


@dataclass(slots=True)
class Alarms:
    """`rung`: how often the kernel said that work stands still. `counts`: incidents since the
    start, by device, kind and code."""

    rung: int = 0
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _rung_at: Seconds | None = None
    _incidents: tuple[Incident, ...] = ()

    def ring(self, now: Seconds) -> None:
        self.rung += 1
        self._rung_at = now

    def pools(self, now: Seconds) -> tuple[PoolId, ...]:
        """The pools in which work stands still just now."""
        return (RAM,) if self._rung_at is not None and now - self._rung_at <= ALARMED else ()

    def hear(self, incident: Incident) -> None:
        log.warning("%s: %s", incident.device, incident.text)
        self.counts[_what(incident)] += 1
        # Of a storm the latest is kept: it must not push a graver one out.
        others = (i for i in self._incidents if _what(i) != _what(incident))
        self._incidents = (*others, incident)[-MOST:]

    def recent(self, now: Seconds) -> tuple[Incident, ...]:
        """The incidents of the last minutes, the oldest first."""
        self._incidents = tuple(i for i in self._incidents if now - i.at <= RECENT)
        return self._incidents


def _what(incident: Incident) -> tuple[str, str, str]:
    code = "" if incident.code is None else str(incident.code)
    return incident.device, incident.kind, code
