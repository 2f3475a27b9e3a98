"""What is wrong now, told once when it begins and once when it ends."""

from __future__ import annotations

import logging

from .core.watch import Finding
from .journal.journal import Journal

log = logging.getLogger("ullage.loop")


def tell(
    journal: Journal, before: tuple[Finding, ...], found: tuple[Finding, ...], at: float
) -> tuple[Finding, ...]:
    """Log and write down what is new and what is over; `at` is Unix time. Returns `found`."""
    old, new = {f.key: f for f in before}, {f.key: f for f in found}
    for key in new.keys() - old.keys():
        log.warning("%s %s: %s", *_words(new[key]), new[key].detail, extra=_fields(new[key], True))
        journal.add_finding(new[key], at)
    for key in old.keys() - new.keys():
        log.info("%s %s: no longer", *_words(old[key]), extra=_fields(old[key], False))
        journal.clear_finding(key[0].value, key[1], at)
    return found


def _words(finding: Finding) -> tuple[str, str]:
    return finding.kind.value, finding.subject


def _fields(finding: Finding, opened: bool) -> dict[str, object]:
    kind, subject = _words(finding)
    told = {"event": "finding", "finding": kind, "subject": subject, "open": opened}
    return told | {"severity": finding.severity.value}
