"""A journal that cannot be written: it is to be sent again, and nothing has been received."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from collectors.reading import Bytes, gib
from supervisor.alerting import Alerting
from supervisor.alerting.alerting import Later
from supervisor.config.alerted import Kind
from supervisor.core.policy import Amount
from supervisor.journal.journal import Journal
from tests.engines.fake import FakeLlamaRouter
from tests.scenarios.house import house

from .post import Post, action, config


class Full:
    """A disk without room, until there is some again."""

    def __init__(self) -> None:
        self.full = False

    def __call__(self, target: str) -> Any:
        disk = self

        class Connection(sqlite3.Connection):
            def executemany(self, *args: Any) -> Any:
                disk.write()
                return super().executemany(*args)

            def execute(self, sql: str, *args: Any) -> Any:
                if sql.lstrip().upper().startswith(("INSERT", "DELETE", "UPDATE", "BEGIN")):
                    disk.write()
                return super().execute(sql, *args)

        return Connection(target, uri=True, isolation_level=None, check_same_thread=False)

    def write(self) -> None:
        if self.full:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error


def test_it_is_sent_again_and_done_once(tmp_path: Path) -> None:
    disk = Full()
    go = action(Kind.EVICT, "go", models=("a",), below=Amount(fraction=1.0))

    async def story() -> None:
        journal = Journal(tmp_path / "journal.db", connect=disk, retry_delays=(0.01,))
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}, journal=journal) as home:
                home.children.anonymous[server.pids["a"]] = Bytes(gib(1))
                assert journal.flush(5)
                await home.tick()
                box = Post(Alerting(config(go), home.door))
                box.alerting.start()
                disk.full = True
                with pytest.raises(Later, match="the journal cannot be written just now"):
                    await box.fire()
                assert (list(box.alerting.ledger), box.counts) == ([], {})
                twice = await asyncio.gather(box.fire(), box.fire(), return_exceptions=True)
                assert [type(said) for said in twice] == [Later, Later], (
                    "both are to be heard again"
                )
                assert (list(box.alerting.ledger), box.counts) == ([], {})
                assert server.loaded == ["a"]
                disk.full = False
                journal.retry_now()
                assert await asyncio.to_thread(journal.flush, 5)
                assert await box.fire() == ["accepted"]
                for _ in range(5):
                    await home.tick(0.1)
                await home.settle()
                assert (box.came(), server.loaded) == ("done", [])
                await box.alerting.stop()

    asyncio.run(asyncio.wait_for(story(), 30))


def test_where_there_is_no_disk_at_all_it_is_done_all_the_same() -> None:
    """Nothing would be better the next time."""

    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}) as home:
                await home.tick()
                box = Post(Alerting(config(), home.door))
                assert await box.fire() == ["accepted"]
                await home.tick()
                assert box.came() == "no_action"

    asyncio.run(asyncio.wait_for(story(), 30))
