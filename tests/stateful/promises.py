"""What somebody was promised, and what of it is on disk: that much outlives a daemon whose disk was
slow when it was killed. Of the rest nobody was told that it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.stateful.disk import Pen

if TYPE_CHECKING:
    from tests.stateful.ledger import Ledger

Claims = dict[tuple[str, str], Any]  # what kind of claim, and which one


class Promises:
    """After each step: how much had been given to be written by then, and what was claimed."""

    def __init__(self) -> None:
        self._noted: list[tuple[int, Claims]] = []

    def note(self, book: Ledger, pen: Pen) -> None:
        self._noted.append((pen.given, _claims(book)))
        while len(self._noted) > 1 and self._noted[1][0] <= pen.written:
            del self._noted[0]  # a later one is on disk as a whole

    def survive(self, book: Ledger, pen: Pen) -> Claims:
        """Those that are on disk, and of which nobody has said anything since."""
        self.note(book, pen)
        at, kept = self._noted[0]
        if at > pen.written:
            kept = {}  # not even the first
        return {
            claim: value
            for claim, value in kept.items()
            if all(later.get(claim) == value for _, later in self._noted)
        }

    def begin(self, book: Ledger) -> None:
        """Another daemon, and another pen: what it has found is on disk."""
        self._noted = [(0, _claims(book))]


def _claims(book: Ledger) -> Claims:
    found: Claims = {("pin", name): ends for name, ends in book.pins.items()}
    found |= {("lease", id): lease for id, lease in book.leases.items()}
    found |= {("job", id): job for id, job in book.jobs.items()}
    found |= {("drain", engine): ends for engine, ends in book.drains.items()}
    return found if book.pause is None else found | {("pause", ""): book.pause}


def believe(book: Ledger, sure: Claims) -> None:
    """Of what was not sure, the book has from now on what the new daemon says."""
    keeping, now = book.town.world.loop.keeping, book.now
    forever = float("inf")
    pins = {name: keeping.pins.ends.get(name, forever) for name in keeping.pins.names}
    leases = {lease.id: (lease.ref, lease.expires_at) for lease in keeping.leases.all}
    jobs = {job.id: (job.pool, job.size, job.ends) for job in keeping.reserved.all}
    halts = keeping.pausing.drained
    drains = {e: forever if halt.ends is None else halt.ends for e, halt in halts.items()}
    for kind, mine, theirs in (
        ("pin", book.pins, pins),
        ("lease", book.leases, leases),
        ("job", book.jobs, jobs),
        ("drain", book.drains, drains),
    ):
        kept = {key: value for (of, key), value in sure.items() if of == kind}
        mine.clear()  # type: ignore[attr-defined]
        mine.update({**theirs, **kept})  # type: ignore[attr-defined]
    if ("pause", "") not in sure:
        pause = keeping.pausing.pause
        ends = None if pause is None else forever if pause.ends is None else pause.ends
        book.pause = None if ends is None else (now, ends)
