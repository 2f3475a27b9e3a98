"""What the kernel says of the daemon's process, and what stands on its disk."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

MIB = 2**20


@dataclass(slots=True)
class Row:
    """Sizes in bytes, `at` in seconds since the run began, `cpu` in seconds since the process did.
    `load` is the machine's load average of a minute."""

    at: float
    phase: str
    rss: int
    anon: int
    pss: int
    threads: int
    files: int
    children: int
    cpu: float
    load: float
    journal: int
    streams: int
    loaded: int
    answered: int


def rollup(pid: int) -> tuple[int, int, int]:
    """RSS, anonymous and proportional bytes, as the kernel adds them up."""
    found: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) * 1024
    return found["Rss"], found["Anonymous"], found["Pss"]


class Outside:
    def __init__(self, pid: int, journal: Path) -> None:
        self.process, self.journal = psutil.Process(pid), journal
        self.began = time.monotonic()
        self.phase = "start"
        self.rows: list[Row] = []

    @property
    def now(self) -> float:
        return time.monotonic() - self.began

    def look(self, streams: int = 0, loaded: int = 0, answered: int = 0) -> Row:
        pid, p = self.process.pid, self.process
        cpu = p.cpu_times()
        kept = [self.journal, *self.journal.parent.glob(f"{self.journal.name}-*")]
        row = Row(
            round(self.now, 2),
            self.phase,
            *rollup(pid),
            p.num_threads(),
            len(os.listdir(f"/proc/{pid}/fd")),
            len(p.children()),
            cpu.user + cpu.system,
            os.getloadavg()[0],
            sum(f.stat().st_size for f in kept if f.exists()),
            streams,
            loaded,
            answered,
        )
        self.rows.append(row)
        return row

    async def watch(self, seconds: float, told: Any) -> None:
        """Look every so many seconds, until cancelled."""
        while True:
            self.look(*told())
            await asyncio.sleep(seconds)


def write(rows: list[Row], file: Path) -> None:
    file.write_text("\n".join(json.dumps(asdict(row)) for row in rows) + "\n")
