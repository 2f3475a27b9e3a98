"""A daemon whose configuration is changed while it runs, by its file, by SIGHUP, by a request."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon, config
from tests.engines.fake import FakeLlamaRouter, FakeOllama

pytestmark = pytest.mark.slow


def run(story: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(90):
            await story

    asyncio.run(bounded())


def test_a_changed_file_is_in_force_soon_and_a_bad_one_never(tmp_path: Path) -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as one, FakeOllama(["b"]) as two:
            before = config({"one": one})
            async with Daemon(tmp_path / "s", before) as daemon:
                daemon.file.write_text(config({"one": one, "two": two}, "prefetch = true"))
                state = await daemon.wait(lambda s: len(s["engines"]) == 2)  # within two looks
                assert {e["id"] for e in state["engines"]} == {"one", "two"}
                assert (state["config"]["ok"], state["config"]["restart"]) == (True, [])
                assert (await daemon.get("settings/prefetch"))["value"] == "true"
                two.take("b")
                await daemon.wait_for_models("b")

                daemon.file.write_text("prefetch = false\nprefetsh = true")
                os.kill(daemon.pid, signal.SIGHUP)
                state = await daemon.wait(lambda s: not s["config"]["ok"])
                assert "did you mean prefetch?" in state["config"]["mistakes"][0]
                assert (await daemon.get("settings/prefetch"))["value"] == "true"
                assert await daemon.metric("ullage_config_last_reload_successful") == 0

                daemon.file.write_text(before)
                reply = await daemon.post("config/reload", {})
                assert reply.status_code == 200, reply.text
                assert reply.json()["restart"] == ["engines.two"]
                assert (await daemon.get("settings/prefetch"))["value"] == "false"
                assert await daemon.metric("ullage_config_last_reload_successful") == 1
                events = await daemon.get("events", kinds="config")
                assert [e["ok"] for e in events["events"]] == [True, False, True]
                assert "engines.two is gone: when the daemon is started anew" in daemon.log

    run(story())


def test_each_of_many_good_and_bad_changes_is_told_and_the_daemon_goes_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            texts = [config({"one": server}, f"max_active_backends = {n}") for n in (1, 2)]
            async with Daemon(tmp_path / "s", texts[0]) as daemon:
                server.take("a")
                await daemon.wait_for_models("a")
                for round in range(40):
                    good = round % 4 != 3
                    daemon.file.write_text(texts[round % 2] if good else "max_active_backends = x")
                    reply = await daemon.post("config/reload", {})
                    assert reply.status_code == (200 if good else 422), reply.text
                state = await daemon.state()
                assert [m["model"] for m in state["models"]] == ["a"]
                assert (await daemon.get("settings/max_active_backends"))["value"] == "1"
                assert server.calls("POST /models/unload") == []

    run(story())
