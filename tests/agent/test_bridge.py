"""The way to the daemon of this host: each call ends in time, and says what went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.agent.backend import BackendError
from supervisor.agent.bridge import Bridge
from tests.desk import Answers, Desk, serving


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Desk]:
    def word() -> dict[str, str]:
        return {"host": "a"}

    answers: Answers = {("GET", "/api/v1/fleet/word"): (200, word)}
    with serving(tmp_path / "d.sock", answers, token="one") as desk:
        yield desk


def test_a_token_that_was_renewed_is_read_anew(daemon: Desk, tmp_path: Path):
    file = tmp_path / "token"
    file.write_text("one\n")

    async def story() -> None:
        bridge = Bridge(f"unix:{daemon.path}", str(file))
        assert await bridge.word() == {"host": "a"}
        daemon.token = "two"
        with pytest.raises(BackendError) as shut:  # the file has the old one still
            await bridge.word()
        assert (shut.value.status, len(daemon.asked)) == (401, 2)
        file.write_text("two\n")
        assert await bridge.word() == {"host": "a"}
        assert len(daemon.asked) == 4  # once more, with the new one
        assert await bridge.word() == {"host": "a"}
        assert len(daemon.asked) == 5
        file.unlink()
        daemon.token = "three"
        with pytest.raises(BackendError, match="cannot be asked"):
            await bridge.word()
        await bridge.close()

    asyncio.run(story())


def test_a_daemon_that_is_not_there_is_away_and_nothing_was_asked_of_it(tmp_path: Path):
    async def story() -> None:
        with pytest.raises(BackendError, match="no daemon answers at unix:") as away:
            await Bridge(f"unix:{tmp_path / 'none.sock'}").accept("f-1")
        assert (away.value.code, away.value.unsure) == ("away", False)

    asyncio.run(story())
