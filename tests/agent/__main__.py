"""`python -m tests.agent [GROUP] [--only WORD] [--json FILE]`: three hosts on real Ray, in a
namespace. Prints a row for each story.
"""

from __future__ import annotations

import argparse
import json
import time
import traceback
from pathlib import Path

from tests.agent import apart
from tests.agent.cluster import Cluster, Row
from tests.agent.stories import GROUPS, STORIES, machines


async def play(folder: Path, asked: argparse.Namespace) -> list[Row]:
    cluster = Cluster(folder)
    for name, machine in machines().items():
        cluster.host(name, machine)
    began = time.monotonic()
    await cluster.start()
    rows: list[Row] = [{"story": "start", "ok": True, "took": time.monotonic() - began}]
    for story in GROUPS[asked.group] if asked.group else STORIES:
        if asked.only and asked.only not in story.__name__:
            continue
        began = time.monotonic()
        row: Row = {"story": story.__name__, "ok": True}
        try:
            row["figures"] = await story(cluster)
        except Exception:
            row |= {"ok": False, "why": traceback.format_exc() + cluster.told()}
        rows.append({**row, "took": time.monotonic() - began})
        print(json.dumps(rows[-1]), flush=True)
        if not row["ok"]:
            break
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.agent", description=__doc__)
    parser.add_argument("group", nargs="?", choices=[*GROUPS], help="all, if none is named")
    parser.add_argument("--only", help="stories with this in their name")
    apart.main("tests.agent", parser, play)
