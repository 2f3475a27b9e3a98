"""Who is away for a stranger, over a restart of the daemon."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from collectors.reading import gib
from supervisor.core.actions import Evict, Trigger, Why
from supervisor.core.experience import NONE_YET
from supervisor.core.lines import beyond_soft
from supervisor.core.policy import Policy
from supervisor.core.record import Outcome, Result
from supervisor.core.snapshot import Demand, Foreign, Installed, ModelRef, Snapshot
from supervisor.journal.journal import Journal
from supervisor.proposals import Sight
from supervisor.strangers import SETTLED, SHELF, Strangers
from tests.builders import GPU, machine, ref, reserve, resident, share

POLICY = reserve(2)
MODEL = resident("a", 8, idle=5)


def expect(snapshot: Snapshot, policy: Policy, wanted: ModelRef) -> Demand:
    return Demand((share(8),), wanted)


def world(at: float, *, there: bool, game: float) -> Snapshot:
    """A GPU of 24 GiB with one model of 8, and a game."""
    free = 24 - 8 * there - game - 8
    found = machine(*([MODEL] if there else []), free=free, at=at)
    foreign = (Foreign(GPU, 77, "game", gib(game)),) if game else ()
    return replace(found, foreign=foreign, installed=(Installed(ref("a")),))


def see(strangers: Strangers, snapshot: Snapshot) -> None:
    headrooms = beyond_soft(snapshot, POLICY)
    strangers.see(snapshot, POLICY, [p for p, n in headrooms.items() if n < 0])


def wishes(strangers: Strangers, snapshot: Snapshot) -> list[str]:
    see(strangers, snapshot)
    return [w.key for w in strangers(Sight(snapshot, POLICY, (), NONE_YET))]


def left(strangers: Strangers) -> None:
    see(strangers, world(0, there=True, game=0))
    see(strangers, world(10, there=True, game=7))
    action = Evict(MODEL.ref, (share(8),), Why.MAKES_ROOM)
    strangers.tell(Outcome("d", 0.0, action, Result.DONE), Trigger.RELIEF)
    see(strangers, world(20, there=False, game=7))
    assert strangers.why(ref("a")) is not None


def kept(journal: Journal) -> dict[str, Any]:
    return journal.shelves[SHELF].all()


async def reopened(path: Path, *, spoil: bool = False) -> Journal:
    """A journal in which somebody is away, closed and opened again."""
    first = Journal(path)
    first.open()
    left(Strangers(first, lambda: 1000.0, expect))
    assert list(kept(first)) == ["ollama/a"]
    if spoil:
        first.shelves[SHELF].keep("ollama/a", {"engine": "ollama", "who": 7})
    first.close()
    second = Journal(path)
    second.open()
    return second


def test_who_was_away_when_the_daemon_ended_comes_back_after_its_restart(tmp_path: Path) -> None:
    async def story() -> None:
        journal = await reopened(tmp_path / "journal.db")
        strangers = Strangers(journal, lambda: 1060.0, expect)
        assert wishes(strangers, world(5, there=False, game=7)) == []
        assert wishes(strangers, world(300, there=False, game=7)) == [], "it is still there"
        assert wishes(strangers, world(310, there=False, game=0)) == []
        assert wishes(strangers, world(311 + SETTLED, there=False, game=0)) == ["return ollama/a"]
        journal.close()

    asyncio.run(story())


def test_what_has_ended_while_nobody_looked_has_ended(tmp_path: Path) -> None:
    async def story() -> None:
        journal = await reopened(tmp_path / "journal.db")
        strangers = Strangers(journal, lambda: 1060.0, expect)
        assert wishes(strangers, world(5, there=False, game=0)) == []
        assert wishes(strangers, world(6 + SETTLED, there=False, game=0)) == ["return ollama/a"]
        journal.close()

    asyncio.run(story())


def test_who_was_away_for_a_day_or_is_no_longer_installed_is_forgotten(tmp_path: Path) -> None:
    async def story() -> None:
        for i, (wall, installed) in enumerate(((90000.0, True), (1060.0, False))):
            journal = await reopened(tmp_path / f"journal-{i}.db")
            strangers = Strangers(journal, lambda wall=wall: wall, expect)  # type: ignore[misc]
            snapshot = world(5, there=False, game=0)
            if not installed:
                snapshot = replace(snapshot, installed=())
            see(strangers, snapshot)
            assert kept(journal) == {}
            journal.close()

    asyncio.run(story())


def test_a_row_that_cannot_be_read_is_dropped(tmp_path: Path) -> None:
    async def story() -> None:
        journal = await reopened(tmp_path / "journal.db", spoil=True)
        strangers = Strangers(journal, lambda: 1060.0, expect)
        assert wishes(strangers, world(5, there=False, game=0)) == []
        assert kept(journal) == {}
        journal.close()

    asyncio.run(story())


def test_a_model_whose_unload_was_refused_has_not_left() -> None:
    strangers = Strangers(Journal(None), lambda: 0.0, expect)
    see(strangers, world(0, there=True, game=0))
    see(strangers, world(10, there=True, game=7))
    action = Evict(MODEL.ref, (share(8),), Why.MAKES_ROOM)
    strangers.tell(Outcome("d", 0.0, action, Result.FAILED), Trigger.RELIEF)
    strangers.tell(Outcome("d", 0.0, action, Result.DONE), Trigger.IDLE)
    assert strangers.why(ref("a")) is None
