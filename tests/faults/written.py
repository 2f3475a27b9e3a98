"""What stands in the daemon's journal, by the standard library alone: also its children read it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any


def rows(journal: Path, sql: str) -> list[Any]:
    """As anybody reads the file, beside the daemon or after it. Raises sqlite3.Error."""
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
        return db.execute(sql).fetchall()


def unfinished(read: Callable[[str], list[Any]], action: str, ref: str) -> list[dict[str, Any]]:
    """The decisions that have this in them, and whose outcome of it is not there yet; the latest
    first."""
    bodies = read("SELECT body FROM decisions ORDER BY rowid DESC LIMIT 30")
    told = read("SELECT decision, body FROM outcomes ORDER BY n DESC LIMIT 90")
    over = {(id, (o := json.loads(text))["action"], o["model"]) for id, text in told}
    found = []
    for (text,) in bodies:
        body = json.loads(text)
        actions = {(a["action"], a["model"]) for a in body["actions"]}
        if (action, ref) in actions and (body["id"], action, ref) not in over:
            found.append(body)
    return found
