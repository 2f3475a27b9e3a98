"""The process that Ray's driver is: it comes and goes, and whoever asks is answered in time."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from collectors.reading import Bytes, Seconds
from supervisor.agent import link as links
from supervisor.agent.backend import BackendError
from supervisor.agent.link import Link

POLL = 0.01  # seconds between two looks at another process; every wait is bounded
HEARD = {"version": "d:1", "up": 9.0, "ages": {"a": 0.0}, "told": [{"word": {"host": "a"}}],
         "kept": [], "versions": {}, "dead": [], "again": False}  # fmt: skip
AWAY = {"code": "away", "detail": "the directory did not answer", "status": 503, "unsure": True}
TAKEN = {"code": "taken", "detail": "a host called a is there", "status": 409, "unsure": False}


class Stand:
    """`how` the stand-in behaves may be changed while it runs."""

    def __init__(
        self,
        folder: Path,
        examine: Callable[[], Awaitable[None]] | None = None,
        pauses: tuple[float, ...] = (0.01,),
    ) -> None:
        self.folder = folder
        self.how(answers={"tell": HEARD, "claim": "c1"})
        program = (sys.executable, "-m", "tests.agent.driver", str(folder))
        self.link = Link({}, Seconds(2.5), examine or nothing, program, pauses)

    def how(self, **how: Any) -> None:
        (self.folder / "how.new").write_text(json.dumps(how))
        (self.folder / "how.new").rename(self.folder / "how.json")

    @property
    def starts(self) -> int:
        file = self.folder / "starts"
        return len(file.read_text()) if file.exists() else 0

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not true():
                await asyncio.sleep(POLL)


async def nothing() -> None:
    return


def play(
    tmp_path: Path, story: Callable[[Stand], Awaitable[None]], joined: bool = True, **how: Any
) -> None:
    async def run() -> None:
        stand = Stand(tmp_path, how.pop("examine", None), how.pop("pauses", (0.01,)))
        if how:
            stand.how(**how)
        await stand.link.start()
        try:
            if joined:
                await stand.until(lambda: stand.link.connected)
            await story(stand)
        finally:
            await stand.link.stop()

    asyncio.run(run())


def test_what_is_asked_is_answered(tmp_path):
    async def story(stand: Stand) -> None:
        heard = await stand.link.tell(None, (), "", "")
        assert (heard.version, heard.words) == ("d:1", ({"host": "a"},))
        assert await stand.link.claim("m", {"a": Bytes(1)}) == "c1"
        assert stand.link.trouble == ()

    play(tmp_path, story)


def test_what_is_allowed_and_not_well_is_told_while_it_is_joined(tmp_path):
    async def story(stand: Stand) -> None:
        assert stand.link.trouble == ("no token",)

    play(tmp_path, story, trouble=["no token"])


def test_a_driver_that_dies_fails_what_was_asked_at_once_and_is_started_again(tmp_path):
    async def story(stand: Stand) -> None:
        stand.how(dies=["claim"])
        began = time.monotonic()
        with pytest.raises(BackendError) as gone:
            await stand.link.claim("m", {"a": Bytes(1)})
        assert time.monotonic() - began < links.PROMPT / 2
        assert (gone.value.code, gone.value.unsure) == ("away", True)
        await stand.until(lambda: stand.starts > 1 and stand.link.connected)

    play(tmp_path, story)


def test_while_nobody_is_there_the_answer_is_that_and_comes_at_once(tmp_path):
    async def story(stand: Stand) -> None:
        await stand.until(lambda: stand.starts > 2)
        assert not stand.link.connected
        await stand.until(lambda: "no such node" in stand.link.trouble[0])
        with pytest.raises(BackendError, match="no such node"):
            await stand.link.tell(None, (), "", "")

    play(tmp_path, story, joined=False, crashes=True)


def test_one_answer_that_does_not_come_is_enough_to_be_not_connected(tmp_path):
    async def story(stand: Stand) -> None:
        stand.how(errors={"tell": AWAY}, answers={"claim": "c1"})
        with pytest.raises(BackendError):
            await stand.link.tell(None, (), "", "")
        assert not stand.link.connected
        assert stand.link.trouble == ("Ray does not answer",)
        stand.how(answers={"tell": HEARD})
        await stand.link.tell(None, (), "", "")
        assert (stand.link.connected, stand.starts) == (True, 1)

    play(tmp_path, story)


def test_a_driver_whose_ray_stays_silent_is_ended_and_started_again(tmp_path):
    async def story(stand: Stand) -> None:
        stand.how(errors={"tell": AWAY})
        for _ in range(links.FAILURES):
            with pytest.raises(BackendError):
                await stand.link.tell(None, (), "", "")
        stand.how(answers={"tell": HEARD})
        await stand.until(lambda: stand.starts == 2 and stand.link.connected)

    play(tmp_path, story)


def test_who_does_not_answer_is_given_up_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(links, "PROMPT", Seconds(0.05))

    async def story(stand: Stand) -> None:
        stand.how(hangs=["tell"])
        with pytest.raises(BackendError, match="did not answer within 0") as silent:
            await stand.link.tell(None, (), "", "")
        assert silent.value.unsure

    play(tmp_path, story)


def test_a_ray_that_is_never_joined_is_given_up_and_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(links, "JOIN", Seconds(0.3))

    async def story(stand: Stand) -> None:
        await stand.until(lambda: stand.starts == 2)
        await stand.until(lambda: "Ray was not joined within" in stand.link.trouble[0])

    play(tmp_path, story, joined=False, silent=True)


def test_the_next_driver_loads_ray_while_it_is_waited_and_joins_none_before(tmp_path):
    looked: list[int] = []

    async def examine() -> None:
        looked.append(1)

    async def story(stand: Stand) -> None:
        await stand.until(lambda: "no such node" in stand.link.trouble[0])
        await stand.until(lambda: stand.starts == 2)
        assert len(looked) == 1

    play(tmp_path, story, joined=False, crashes=True, pauses=(3600.0,), examine=examine)


@pytest.mark.parametrize(
    ("does", "killed"), [("pass", 0), ("import os, signal; os.close(1); signal.pause()", 1)]
)
def test_who_ends_by_himself_is_waited_for_and_killed_only_if_he_does_not(
    monkeypatch: pytest.MonkeyPatch, does: str, killed: int
) -> None:
    kills: list[Process] = []
    kill = links._kill
    monkeypatch.setattr(links, "ENDS", Seconds(0.1 if killed else 20.0))
    monkeypatch.setattr(links, "_kill", lambda p: (kills.append(p), kill(p)))

    async def run() -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", does, stdout=PIPE)
        assert process.stdout is not None
        assert await process.stdout.read() == b""
        await links._end(process)
        assert process.returncode == (-9 if killed else 0)

    asyncio.run(run())
    assert len(kills) == killed


def test_a_name_that_is_taken_is_a_refusal(tmp_path):
    async def story(stand: Stand) -> None:
        assert stand.link.refused is not None
        error = await stand.link.refused
        assert (error.code, error.detail) == ("taken", "a host called a is there")

    play(tmp_path, story, joined=False, error=TAKEN)


def test_a_ray_that_may_not_be_joined_is_not_even_asked(tmp_path):
    async def examine() -> None:
        raise BackendError("refused", "Ray asks for no token")

    async def story(stand: Stand) -> None:
        assert stand.link.refused is not None
        assert (await stand.link.refused).code == "refused"
        assert not (tmp_path / "starts").exists()

    play(tmp_path, story, joined=False, examine=examine)


def test_a_directory_that_does_not_know_us_is_told_all(tmp_path):
    async def story(stand: Stand) -> None:
        stand.how(answers={"tell": {**HEARD, "again": True}})
        with pytest.raises(BackendError) as again:
            await stand.link.tell(None, (), "", "")
        assert again.value.code == "again"
        await stand.link.tell({"host": "a"}, (), "", "")

    play(tmp_path, story)
