"""The events of a real daemon: what happens is told, and the stream ends as soon as it does."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.daemon import Daemon, config
from tests.engines.fake import FakeLlamaRouter

STREAM = {"accept": "text/event-stream"}


async def read(url: str, found: list[tuple[str, Any]], came: asyncio.Event) -> None:
    """Every event until the stream ends."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        async with client.stream("GET", f"{url}/api/v1/events", headers=STREAM) as answer:
            kind = ""
            async for line in answer.aiter_lines():
                key, _, value = line.partition(": ")
                if key == "event":
                    kind = value
                elif key == "data":
                    found.append((kind, json.loads(value)))
                    came.set()


@pytest.mark.slow
def test_what_happens_is_told_and_the_stream_ends_at_the_daemons_stop(tmp_path: Path) -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            daemon = Daemon(tmp_path, config({"llama": server}))
            await daemon.start()
            found: list[tuple[str, Any]] = []
            came = asyncio.Event()
            reader = asyncio.create_task(read(daemon.url, found, came))

            async def until(kind: str, **told: Any) -> Any:
                async with asyncio.timeout(20):
                    while True:
                        for had, data in found:
                            if had == kind and told.items() <= data.items():
                                return data
                        came.clear()
                        await came.wait()

            await until("hello")
            await until("sample")
            server.take("a")
            await until("model", model="llama/a", state="loaded")
            await daemon.client.request("POST", "/api/v1/pause", json={"for": "1h"})
            await until("claim", what="paused")
            await daemon.post("evict", {"models": ["a"]})
            decision = await until("decision", trigger="operator")
            await until("outcome", decision=decision["decision"], result="done")
            await until("model", model="llama/a", state="left")
            line = await daemon.get("timeline")
            assert [(m["model"], m["what"]) for m in line["marks"]] == [("llama/a", "evicted")]
            assert line["pools"]["ram"]["t"]
            async with asyncio.timeout(8):
                assert await daemon.stop() == 0, daemon.log
                await reader
            assert found[-1][0] == "daemon"
            await daemon.start()
            state = await daemon.state()
            assert state["paused"] is not None
            assert await daemon.stop() == 0, daemon.log

    asyncio.run(story())
