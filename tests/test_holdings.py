"""What models held, in each setup and on each device, and for how long that is remembered."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from collectors.reading import RAM, gib
from supervisor.core.footprint import Moment
from supervisor.core.header import Setup
from supervisor.core.policy import Policy
from supervisor.core.snapshot import Installed, Share, Source
from supervisor.footprints import Footprints
from supervisor.journal.holdings import KEPT, WINDOW
from supervisor.journal.journal import Journal
from supervisor.journal.schema import MIGRATIONS
from supervisor.learned import Learned
from tests.builders import GPU, NO_RESERVE, OTHER, machine, pool, ref, resident, share

A = ref("a")


class Clock:
    now = 1e9

    def __call__(self) -> float:
        return self.now


def sizes(journal: Journal, **how: object) -> dict[str, float]:
    found = journal.footprint(A, **how)  # type: ignore[arg-type]
    return {s.pool: s.size / gib(1) for s in found or ()}


def test_each_setup_and_device_is_kept_apart_and_the_last_one_counts() -> None:
    journal = Journal(None)
    journal.remember(A, (share(8),), context=4096, slots=1)
    journal.remember(A, (share(9),), context=4096, slots=4)
    journal.remember(A, (share(12),), context=8192, slots=1)
    journal.remember(A, (share(8.5, OTHER),), context=4096, slots=1)
    assert sizes(journal, context=4096, slots=4) == {GPU: 9}
    assert sizes(journal, context=8192) == {GPU: 12}
    assert sizes(journal, context=4096, slots=1) == {OTHER: 8.5}
    assert sizes(journal, context=4096, slots=1, within={GPU}) == {GPU: 8}
    assert sizes(journal) == {OTHER: 8.5}
    assert sizes(journal, context=512) == {}


def test_all_of_it_survives_the_daemon(tmp_path: Path) -> None:
    first = Journal(tmp_path / "journal.db")
    first.open()
    first.remember(A, (share(8), share(1, RAM)), context=4096, slots=2)
    first.remember(A, (share(9), share(2, OTHER)), Moment.PEAK, 4096, 2)
    first.close()
    again = Journal(tmp_path / "journal.db")
    again.open()
    assert sizes(again, context=4096, slots=2) == {GPU: 8, RAM: 1}
    assert sizes(again, moment=Moment.PEAK) == {GPU: 9, OTHER: 2}
    assert sizes(again, slots=1) == {}
    again.close()


def test_a_journal_of_before_keeps_what_it_knew(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as db:
        for statement in (s for step in MIGRATIONS[:2] for s in step):
            db.execute(statement)
        rows = [
            ("ollama", "a", "loaded", 4096, pool, gib(size), 0, 1e9, 1e9)
            for pool, size in ((GPU, 8), (OTHER, 2), (RAM, 1))
        ]
        db.executemany("INSERT INTO holdings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        db.execute("PRAGMA user_version = 2")
        db.commit()
    clock = Clock()
    journal = Journal(path, clock)
    journal.open()
    assert sizes(journal, context=4096, slots=0) == {GPU: 8, OTHER: 2, RAM: 1}
    ((known,),) = journal._holdings._known.values()
    assert known.devices == f"{GPU} {OTHER}"
    journal.close()


def test_what_was_not_seen_for_ninety_days_is_forgotten_on_disk_too(tmp_path: Path) -> None:
    clock = Clock()
    journal = Journal(tmp_path / "journal.db", clock)
    journal.open()
    journal.remember(A, (share(8),), context=4096)
    clock.now += KEPT / 2
    journal.remember(A, (share(9),), context=8192)
    clock.now += KEPT / 2 + WINDOW
    journal.close()
    later = Journal(tmp_path / "journal.db", clock)
    later.open()
    later._put(later._prune())
    assert sizes(later, context=4096) == {}
    assert sizes(later, context=8192) == {GPU: 9}
    later.close()
    last = Journal(tmp_path / "journal.db", clock)
    last.open()
    assert sizes(last, context=4096) == {}
    last.close()


def test_a_model_that_stays_for_months_is_seen_every_day() -> None:
    clock = Clock()
    journal = Journal(None, clock)
    learned = Learned(journal, clock)
    for _ in range(120):
        learned.see(machine(resident("a", 8), free=9))
        clock.now += WINDOW
    journal._prune()
    assert sizes(journal) == {GPU: 8}


def test_nothing_is_learned_from_a_guess() -> None:
    journal = Journal(None)
    there = replace(resident("a", 0), shares=(Share(GPU, gib(8), Source.ESTIMATED),))
    Learned(journal).see(machine(there, free=9))
    assert sizes(journal) == {}


def test_the_peak_of_another_device_is_not_added_to_what_it_holds_here() -> None:
    journal = Journal(None)
    journal.remember(A, (share(9, OTHER),), Moment.PEAK)
    journal.remember(A, (share(8),))
    both = replace(machine(free=20), pools=(pool(20), pool(20, id=OTHER)))
    found = Learned(journal).expect(both, NO_RESERVE, A)
    assert found is not None
    assert [s.pool for s in found.shares] == [GPU]


def test_what_was_learned_counts_for_the_setup_it_was_learned_in() -> None:
    journal = Journal(None)
    journal.remember(A, (share(8),), context=4096)
    installed = (Installed(A, gib(5), setup=Setup(context=8192)),)
    seen = replace(machine(free=20), installed=installed)
    found = Learned(journal).expect(seen, NO_RESERVE, A)
    assert found is not None  # nothing else is known of it: better than the size of its file
    assert found.shares == (Share(GPU, gib(8), Source.LEARNED),)


def test_what_is_held_is_compared_before_it_is_learned() -> None:
    journal, clock = Journal(None), Clock()
    journal.remember(A, (share(8),))
    footprints = Footprints(journal, clock, clock)
    for minute in range(7):
        footprints.see(machine(resident("a", 12), free=1, at=60.0 * minute), Policy())
    assert [f.detail for f in footprints.findings] == [
        "holds 12.0 GiB, and 8.0 GiB were learned of it"
    ]
    assert sizes(journal) == {GPU: 12}


def test_who_tells_nothing_is_shown_with_what_was_learned() -> None:
    journal = Journal(None)
    journal.remember(A, (share(8),))
    there = replace(resident("a", 0), shares=(Share(GPU, gib(5), Source.ESTIMATED),))
    told = resident("b", 3)
    seen = machine(there, told, free=1)
    filled = Learned(journal).fill(seen, Policy())
    assert filled.residents == (
        replace(there, shares=(Share(GPU, gib(8), Source.LEARNED),)),
        told,
    )
    assert Learned(journal).fill(machine(told, free=1), Policy()) == machine(told, free=1)
