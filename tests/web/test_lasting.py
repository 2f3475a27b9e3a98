"""Whoever is answered may rely on it: it is on disk by then, and a disk that hangs is waited for
once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from supervisor.journal.journal import Journal
from supervisor.web.site import Site
from tests.journals import Disk, query
from tests.web.fakes import API, World, running, site

PAUSE, DRAIN, PIN, UNPIN = (f"{API}/{name}" for name in ("pause", "drain", "pin", "unpin"))


def on_disk(file: Path) -> tuple[Site, Disk]:
    """A daemon whose pause, drains and pins are written to `file`."""
    of, disk = site(World()), Disk()
    journal = of.loop.journal = Journal(file, connect=disk.connect)
    keeping = of.loop.keeping
    pausing = keeping.pausing
    pausing.pauses, pausing.drains = journal.shelves["paused"], journal.shelves["drained"]
    keeping.pins.shelf = journal.shelves["pins"]
    return of, disk


@pytest.mark.parametrize("path", [PAUSE, DRAIN])
def test_whoever_pauses_or_drains_is_answered_once_it_is_on_disk_and_it_is_in_force_before(
    tmp_path: Path, path: str
) -> None:
    file = tmp_path / "journal.db"

    def kept() -> int:
        return len(query(file, "SELECT key FROM shelves"))

    async def story() -> None:
        of, disk = on_disk(file)
        in_force = asyncio.Event()
        async with running(of) as http:
            of.loop.keeping.pausing.told.append(in_force.set)
            for method, rests in (("POST", True), ("DELETE", False)):
                assert await asyncio.to_thread(of.loop.journal.flush)
                in_force.clear()
                disk.waited.clear()
                disk.gate.clear()
                wish = {"json": {}} if rests else {}
                answered = asyncio.create_task(http.request(method, path, **wish))
                await asyncio.wait_for(in_force.wait(), 60)
                await asyncio.to_thread(disk.waited.wait, 60)
                found = (await http.get(path)).json()  # others are answered meanwhile
                assert bool(found.get("paused") or found.get("drained")) == rests
                assert (answered.done(), kept()) == (False, not rests)
                disk.gate.set()
                assert (await answered).status_code == 200
                assert kept() == rests

    asyncio.run(story())


@pytest.mark.parametrize(
    ("path", "body"),
    [(PAUSE, {}), (DRAIN, {}), (PIN, {"model": "qwen3:8b"}), (UNPIN, {"model": "qwen3:8b"})],
    ids=["pause", "drain", "pin", "unpin"],
)
def test_a_disk_that_hangs_is_waited_for_once(
    tmp_path: Path, path: str, body: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float | None] = []
    timeout, told = asyncio.timeout, 0.0625  # nobody else waits as long as that

    def noted(delay: float | None) -> asyncio.Timeout:
        waits.append(delay)
        return timeout(delay)

    monkeypatch.setattr("supervisor.journal.shelves.TOLD", told)
    monkeypatch.setattr(asyncio, "timeout", noted)

    async def story() -> None:
        of, disk = on_disk(tmp_path / "journal.db")
        async with running(of) as http:
            if path == UNPIN:
                for name in ("ollama/qwen3:8b", "llamacpp/qwen3:8b"):  # both go by one word
                    of.loop.keeping.pins.set(name, None)
            assert await asyncio.to_thread(of.loop.journal.flush)
            disk.gate.clear()
            assert (await http.post(path, json=body)).status_code == 200
            disk.gate.set()
            assert waits.count(told) == 1

    asyncio.run(story())
