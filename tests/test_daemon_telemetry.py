"""What a real daemon says of itself: a log of objects, and traces in a collector."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.collector import attributes, collector
from tests.daemon import POLL, Daemon, config
from tests.engines.fake import FakeOllama

pytestmark = pytest.mark.slow

TOKEN = "0123456789abcdef-secret"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HELLO = {"model": "a", "messages": [{"role": "user", "content": "hi"}], "stream": False}


def objects(daemon: Daemon) -> list[dict[str, Any]]:
    return [json.loads(line) for line in daemon.lines]


async def until(true: Any) -> None:
    """Whatever other processes and threads do."""
    ends = time.monotonic() + 20
    while not true():
        assert time.monotonic() < ends
        await asyncio.sleep(POLL)


def test_every_line_is_an_object_and_each_trace_ends_up_at_the_collector_that_hangs_nobody(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        with collector() as there:
            async with FakeOllama(["a", "b"]) as server:
                telemetry = f'[telemetry]\ntraces = "{there.url}"'
                text = config({"ollama": server}, 'log_format = "json"', tables=telemetry)
                env = {"ULLAGE_TOKEN": TOKEN}
                daemon = Daemon(tmp_path / "s", text, env=env, token=TOKEN)
                await daemon.start()
                found = re.search(r"gateway listens on (http://[0-9.:]+)", daemon.log)
                assert found is not None
                async with httpx.AsyncClient(
                    base_url=found[1], trust_env=False, timeout=30
                ) as client:
                    await held(client, daemon)
                    await until(lambda: len(there.spans) >= 5)
                    (decided,) = [d for d in await daemon.decisions() if "waits for" in d["cause"]]
                    checked(there.spans, decided["id"])

                    there.mode = "hang"
                    slowest = await longest(client)
                    await until(lambda: there.calls >= 2)
                    slowest = max(slowest, await longest(client))
                    assert slowest < 9, "the collector lets each call wait for 10 s"

                # A second one on its port says why it does not begin: as an object, too.
                port = daemon.url.rpartition(":")[2]
                second = Daemon(tmp_path / "t", text, env)
                second.flags = ("--port", port)
                code, _ = await second.fails()
                assert code == 1
                last = objects(second)[-1]
                assert (last["level"], last["event"]) == ("critical", "failed")
                assert f"127.0.0.1:{port}" in last["msg"]

                began = time.monotonic()
                assert await daemon.stop() == 0
                assert time.monotonic() - began < 9
                logged(daemon, decided)

    asyncio.run(story())


async def held(client: httpx.AsyncClient, daemon: Daemon) -> None:
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    answer = await client.post("/api/chat", json=HELLO, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["x-ullage-model"] == "ollama/a"
    assert float(answer.headers["x-ullage-waited"]) > 0


async def longest(client: httpx.AsyncClient) -> float:
    """Of fifty requests one after the other, in seconds."""
    found = 0.0
    for _ in range(50):
        began = time.monotonic()
        assert (await client.post("/api/chat", json=HELLO)).status_code == 200
        found = max(found, time.monotonic() - began)
    return found


def checked(spans: list[Any], decision: str) -> None:
    named = {s.name: s for s in spans}
    root = named["POST ollama_chat"]
    assert root.trace_id.hex() == TRACE
    assert root.parent_span_id.hex() == "00f067aa0ba902b7"
    assert attributes(root)["ullage.decisions"] == (decision,)
    assert {s.trace_id for s in spans} == {root.trace_id}
    for name in ("held", "load ollama/a"):
        assert attributes(named[name])["ullage.decision"] == decision
    assert named["ollama"].parent_span_id == root.span_id
    assert time.time_ns() - root.start_time_unix_nano < 60e9
    assert root.start_time_unix_nano <= named["held"].start_time_unix_nano
    assert root.end_time_unix_nano >= named["ollama"].end_time_unix_nano


def logged(daemon: Daemon, decided: dict[str, Any]) -> None:
    told = objects(daemon)
    assert {"ts", "level", "logger", "msg"} <= set.intersection(*(set(t) for t in told))
    events = [t.get("event") for t in told]
    assert events[0] == "start"
    assert {"setting", "decision", "outcome", "listening", "stopped"} <= set(events)
    assert TOKEN not in daemon.log
    setting = next(t for t in told if t.get("setting") == "listen.token")
    assert setting["value"] == "set"
    mine = [t for t in told if t.get("decision") == decided["id"]]
    assert [t["event"] for t in mine if "event" in t][:2] == ["decision", "outcome"]
    done = next(t for t in mine if t.get("event") == "outcome")
    assert (done["action"], done["model"], done["engine"]) == ("load", "ollama/a", "ollama")
    assert all(t.get("decision") for t in told if t["msg"].startswith("d-0"))
