"""`python -m tests.agent.span_stories [--json FILE]`: a model that spans three hosts, on real Ray.

In a namespace. Prints a row for each story. Exits with 1 if one went wrong, with 2 where it cannot
be tried.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.agent import needs
from tests.agent.cluster import Cluster, Host, Row, until
from tests.agent.stories import Figures, Story

INSIDE = "TESTS_AGENT_INSIDE"
SPAN, PART, LOAD = "big:400b", "part", 4.0


def machines() -> dict[str, Row]:
    """Host a leads; on b somebody has to leave for the part, and that of c takes its time."""
    part = {"span": SPAN, "model": f"cellar/{PART}"}
    leads = {"span": SPAN, "model": f"cellar/{SPAN}", "leads": True, "hosts": 3,
             "others": ["b", "c"]}  # fmt: skip
    mine = {"name": PART, "gib": 10}
    return {
        "a": {"gib": 16, "models": [{"name": SPAN, "gib": 10}], "parts": [leads]},
        "b": {"gib": 16, "models": [mine, {"name": "old:8b", "gib": 8}], "parts": [part],
              "loaded": ["old:8b"]},
        "c": {"gib": 16, "models": [{**mine, "load": LOAD}], "parts": [part]},
    }  # fmt: skip


async def settled(cluster: Cluster) -> None:
    """Nothing is begun by a directory that has just been started, nor before memory is back."""

    async def old() -> bool:
        asked = {"model": SPAN, "dry": True}
        return (await cluster.hosts["a"].ask("POST", "/place", asked))[0] == 200

    await until(old, cluster.told)


async def place(host: Host) -> tuple[int, Row]:
    """Returns when it is known what becomes of it."""
    return await host.ask("POST", "/place", {"model": SPAN})


async def status(host: Host, model: str) -> str:
    word = (await host.daemon.get("/api/v1/fleet/word")).json()
    return str(next(m["status"] for m in word["models"] if m["name"] == model))


async def all_gone(*hosts: Host) -> bool:
    there = {"a": SPAN, "b": PART, "c": PART}
    return [await status(h, there[h.name]) for h in hosts] == ["local"] * len(hosts)


def loads(cluster: Cluster) -> list[Row]:
    return [row for row in cluster.loads() if row["model"] in (SPAN, PART)]


async def it_is_promised_whole_and_loaded_parts_first(cluster: Cluster) -> Figures:
    a, b, c = cluster.hosts.values()
    await settled(cluster)
    began = time.monotonic()
    asked = asyncio.create_task(place(b))

    async def promised() -> bool:
        found = (await c.fleet())["directory"]["promises"]
        return {p["host"] for p in found if p["size"]} == {"a", "b", "c"}

    await until(promised, cluster.told)
    code, found = await asked
    took = time.monotonic() - began
    assert (code, found["host"], found["model"]) == (200, "a", f"cellar/{SPAN}"), found
    rows = loads(cluster)
    assert [r["host"] for r in rows][2:] == ["a"]
    assert {r["host"] for r in rows[:2]} == {"b", "c"}
    (slow,) = (r for r in rows if r["host"] == "c")
    assert rows[2]["at"] >= slow["at"] + LOAD

    async def ready() -> bool:
        spans = [(await h.fleet())["spans"] for h in cluster.hosts.values()]
        return all(row["state"] == "ready" for (row,) in spans)

    await until(ready, cluster.told)
    assert await status(b, "old:8b") == "local"

    async def nothing_is_promised() -> bool:
        return (await a.fleet())["directory"]["promises"] == []

    await until(nothing_is_promised, cluster.told)
    return {"brought up": took, "besides its slowest part": took - LOAD}


async def it_goes_as_one(cluster: Cluster) -> Figures:
    a, b, c = cluster.hosts.values()
    began = time.monotonic()
    reply = await a.daemon.post("/api/v1/unload", json={"models": [SPAN]})
    assert reply.status_code == 200, reply.text
    await until(lambda: all_gone(a, b, c), cluster.told)
    return {"let go": time.monotonic() - began}


async def a_host_that_dies_meanwhile_takes_all_of_it_back(cluster: Cluster) -> Figures:
    a, b, c = cluster.hosts.values()
    await settled(cluster)
    before = len(loads(cluster))
    asked = asyncio.create_task(place(a))

    async def begun() -> bool:
        return len(loads(cluster)) == before + 2

    await until(begun, cluster.told)
    began = time.monotonic()
    c.kill()
    code, found = await asked
    assert (code, found["code"]) == (409, "queued"), found
    assert "c is lost" in found["detail"]
    await until(lambda: all_gone(a, b), cluster.told)
    took = time.monotonic() - began
    assert len(loads(cluster)) == before + 2  # the leader never began
    return {"taken back": took}


STORIES: tuple[Story, ...] = (
    it_is_promised_whole_and_loaded_parts_first,
    it_goes_as_one,
    a_host_that_dies_meanwhile_takes_all_of_it_back,
)


async def play(folder: Path) -> list[Row]:
    cluster = Cluster(folder)
    for name, machine in machines().items():
        cluster.host(name, machine)
    await cluster.start()
    rows: list[Row] = []
    for story in STORIES:
        row: Row = {"story": story.__name__, "ok": True}
        try:
            row["figures"] = await story(cluster)
        except Exception:
            row |= {"ok": False, "why": traceback.format_exc() + cluster.told()}
        rows.append(row)
        print(json.dumps(row), flush=True)
        if not row["ok"]:
            break
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.agent.span_stories", description=__doc__)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if INSIDE not in os.environ:
        if why := needs.missing():
            print(f"not tried: {why}", file=sys.stderr)
            return 2
        return needs.inside("tests.agent.span_stories", sys.argv[1:], {INSIDE: "1"})
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(prefix="ufl", ignore_cleanup_errors=True) as own:
        rows = asyncio.run(play(Path(own)))
    if asked.json:
        asked.json.write_text(json.dumps(rows))
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # whatever of it still runs ends with the namespace
