"""The daemon, and a probe in its loop: `python -m tests.load.inside run …`, in place of `ullage`.

Every SECONDS it appends a line of JSON to $PROBE: how late a timer of BEAT was each time, how much
of that our own main thread worked, how many tasks, threads and collections there are, and what is
alive: blocks of Python's allocator, and bytes of the C library's with what that holds. Where there
is a file of its name that ends in .wish, the line has the census. With $PROBE_STACKS a thread
looks what the loop is doing whenever a beat is overdue.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import sys
import threading
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import supervisor.app as app
from supervisor.cli.main import main

from .census import census

BEAT, SECONDS = 0.02, 5.0
OVERDUE = 0.03  # seconds
LOOK = 0.005


class _Mallinfo2(ctypes.Structure):
    """malloc.h of glibc 2.33 or later."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def alive() -> dict[str, int]:
    """`blocks` of up to 512 bytes that are in use, and of what is larger the bytes that are `used`
    and that are `held` for it. The latter where the C library tells."""
    found = {"blocks": sys.getallocatedblocks()}
    mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo2 is not None:
        mallinfo2.restype = _Mallinfo2
        said = mallinfo2()
        found |= {"used": said.uordblks + said.hblkhd, "held": said.arena + said.hblkhd}
    return found


class Probe:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, file: Path, stacks: bool, apps: list[app.App]
    ) -> None:
        self.loop, self.file = loop, file
        self.apps = apps
        self.due = self.main = 0.0
        self.late: list[float] = []
        self.busy: list[float] = []
        self.stacks: Counter[str] = Counter()
        self.collected = self.pause = 0.0  # by garbage collection: in all, and the longest of late
        self._from = 0.0
        gc.callbacks.append(self._collects)
        self.wish = file.with_suffix(".wish")
        loop.call_soon(self._begin)
        if stacks:
            ident = threading.get_ident()
            threading.Thread(target=self._look, args=(ident,), daemon=True, name="probe").start()

    def _begin(self) -> None:
        self.due, self.main, self.told = time.perf_counter() + BEAT, time.thread_time(), 0.0
        self.loop.call_later(BEAT, self._beat)

    def _beat(self) -> None:
        now, main = time.perf_counter(), time.thread_time()
        late = now - self.due
        self.late.append(late)
        self.busy.append(min(late, main - self.main))
        if now - self.told > SECONDS:
            self._tell()
            self.told = now
            now = time.perf_counter()
        self.due, self.main = now + BEAT, time.thread_time()
        self.loop.call_later(BEAT, self._beat)

    def _tell(self) -> None:
        """What this costs is not counted."""
        found: dict[str, Any] = {
            "at": time.time(),
            "late": [round(1000 * s, 2) for s in self.late],
            "busy": [round(1000 * s, 2) for s in self.busy],
            "tasks": len(asyncio.all_tasks(self.loop)),
            "threads": threading.active_count(),
            "collected": round(self.collected, 3),
            "pause": round(1000 * self.pause, 2),
            "collections": [s["collections"] for s in gc.get_stats()],
            "alive": alive(),
        }
        self.late, self.busy, self.pause = [], [], 0.0
        if self.wish.exists():
            self.wish.unlink()
            gc.collect()
            tasks = Counter(t.get_name().rstrip("0123456789") for t in asyncio.all_tasks(self.loop))
            found["named"] = dict(tasks)
            found["names"] = sorted(t.name for t in threading.enumerate())
            found["census"] = census(*self.apps).json
            if tracemalloc.is_tracing():
                found["traced"] = tracemalloc.get_traced_memory()
            found["stacks"] = self.stacks.most_common(60)
        with self.file.open("a") as file:
            file.write(json.dumps(found) + "\n")

    def _collects(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._from = time.thread_time()
        else:
            took = time.thread_time() - self._from
            self.collected += took
            self.pause = max(self.pause, took)

    def _look(self, ident: int) -> None:
        while True:
            time.sleep(LOOK)
            if time.perf_counter() - self.due > OVERDUE:
                frame: Any = sys._current_frames().get(ident)
                names = []
                while frame is not None and len(names) < 14:
                    code = frame.f_code
                    names.append(f"{Path(code.co_filename).name}:{code.co_name}:{frame.f_lineno}")
                    frame = frame.f_back
                self.stacks[" < ".join(names)] += 1


def begin() -> None:
    file, stacks = Path(os.environ["PROBE"]), "PROBE_STACKS" in os.environ
    made, built = app.event_loop, app.build
    apps: list[app.App] = []

    def with_probe(allowance: Any) -> asyncio.AbstractEventLoop:
        loop = made(allowance)
        Probe(loop, file, stacks, apps)
        return loop

    def kept(*given: Any, **more: Any) -> app.App:
        apps.append(built(*given, **more))
        return apps[-1]

    app.event_loop, app.build = with_probe, kept
    main()


if __name__ == "__main__":
    begin()
