"""`python -m tests.agent [--only WORD] [--json FILE]`: three hosts on real Ray, in a namespace.

Prints a row for each story. Exits with 1 if one went wrong, with 2 where it cannot be tried.
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
from tests.agent.cluster import Cluster, Row
from tests.agent.stories import STORIES, machines

INSIDE = "TESTS_AGENT_INSIDE"


async def play(folder: Path, only: str | None) -> list[Row]:
    cluster = Cluster(folder)
    for name, machine in machines().items():
        cluster.host(name, machine)
    began = time.monotonic()
    await cluster.start()
    rows: list[Row] = [{"story": "start", "ok": True, "took": time.monotonic() - began}]
    for story in STORIES:
        if only and only not in story.__name__:
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


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.agent", description=__doc__)
    parser.add_argument("--only", help="stories with this in their name")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, help="a folder for what the processes leave")
    asked = parser.parse_args()
    if INSIDE not in os.environ:
        if why := needs.missing():
            print(f"not tried: {why}", file=sys.stderr)
            return 2
        return needs.inside("tests.agent", sys.argv[1:], {INSIDE: "1"})
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(prefix="ufl", ignore_cleanup_errors=True) as own:
        folder = asked.keep or Path(own)
        folder.mkdir(exist_ok=True)
        rows = asyncio.run(play(folder, asked.only))
    if asked.json:
        asked.json.write_text(json.dumps(rows))
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # whatever of it still runs ends with the namespace
