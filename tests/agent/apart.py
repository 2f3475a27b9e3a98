"""Runs a module of tests on real Ray in a namespace of its own, where nothing else is."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn

from tests.agent import needs
from tests.agent.cluster import Row

INSIDE = "TESTS_AGENT_INSIDE"
Play = Callable[[Path, argparse.Namespace], Coroutine[Any, Any, list[Row]]]


def main(module: str, parser: argparse.ArgumentParser, play: Play) -> NoReturn:
    """`play` gets a folder and what was asked, and gives back rows with "ok". Ends with 0 if all of
    them are, with 1 if one is not, with 2 where it cannot be tried."""
    parser.add_argument("--json", type=Path, help="a file for the rows")
    parser.add_argument("--keep", type=Path, help="a folder for what the processes leave")
    asked = parser.parse_args()
    if INSIDE in os.environ:
        code = _inside(play, asked)
    elif why := needs.missing():
        print(f"not tried: {why}", file=sys.stderr)
        code = 2
    else:
        code = needs.inside(module, sys.argv[1:], {INSIDE: "1"})
    sys.stdout.flush()
    os._exit(code)  # whatever of it still runs ends with the namespace


def _inside(play: Play, asked: argparse.Namespace) -> int:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(prefix="ufl", ignore_cleanup_errors=True) as own:
        folder = asked.keep or Path(own)
        folder.mkdir(exist_ok=True)
        rows = asyncio.run(play(folder, asked))
    if asked.json:
        asked.json.write_text(json.dumps(rows))
    return 0 if all(row["ok"] for row in rows) else 1
