"""What is wrong now, told once when it begins and once when it ends."""

from __future__ import annotations

import logging

from .core.watch import Finding
from .journal import Journal

log = logging.getLogger("ullage.loop")


def tell(
    journal: Journal, before: tuple[Finding, ...], found: tuple[Finding, ...], at: float
) -> tuple[Finding, ...]:
    """Log and write down what is new and what is over; `at` is Unix time. Returns `found`."""
    old, new = {f.key: f for f in before}, {f.key: f for f in found}
    for key in new.keys() - old.keys():
        log.warning("%s %s: %s", new[key].kind.value, new[key].subject, new[key].detail)
        journal.add_finding(new[key], at)
    for key in old.keys() - new.keys():
        log.info("%s %s: no longer", old[key].kind.value, old[key].subject)
        journal.clear_finding(key[0].value, key[1], at)
    return found
