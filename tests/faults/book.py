"""The book in which each process of the daemon's own puts down its begin, and when it was told to
end: see `child.py`. Who of them lives is the kernel's word."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from tests.faults.history import Leave, Process


def begun(book: Path) -> list[Process]:
    """All that ever began, in their order. A line that is not whole is left out: it is being
    written, or whoever wrote it was killed."""
    found: list[Process] = []
    latest: dict[int, Process] = {}  # by pid, which may be given out again
    for line in book.read_text().splitlines() if book.exists() else ():
        row = None
        with suppress(ValueError):
            row = json.loads(line)
        if row is None:
            continue
        what, at, pid, ref = (row.pop(k) for k in ("what", "at", "pid", "ref"))
        if what == "begun":
            engine, _, model = ref.partition("/")
            latest[pid] = Process(engine, model, pid, at, **row)
            found.append(latest[pid])
        elif pid in latest:
            latest[pid].told.append(Leave(at, **row))
    return found


def living(processes: Iterable[Process]) -> list[Process]:
    """Those of them that run. Who runs now did so when the book was read, which tells of nobody
    who began later: two that are found here have lived at one time."""
    return [p for p in processes if _runs(p)]


def _runs(process: Process) -> bool:
    """A zombie does not: somebody has yet to hear of its end."""
    with suppress(OSError):
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0] not in "ZX" and int(fields[19]) == process.started
    return False


def twice(processes: Sequence[Process]) -> list[str]:
    """Models of which more than one process lives."""
    count = Counter(p.ref for p in processes)
    return [
        f"more than one process of {ref}: {sorted(p.pid for p in processes if p.ref == ref)}"
        for ref, n in count.items()
        if n > 1
    ]
