"""What does a scrape cost, and how late is the loop while a page of metrics is written?

200 models on 20 engines, each asked for thrice: 6,000 series. What was seen is frozen, as the
daemon does at its start, so that no garbage is looked for in it.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable

from supervisor.web.metrics import OPENMETRICS, Page
from tests.web.measured import crowd

MODELS, ENGINES = 200, 20
PAGES = 40
IDLE = 2.0  # seconds of a loop that does nothing
TICK = 0.001


async def lateness(meanwhile: Callable[[], Awaitable[object]]) -> float:
    """Milliseconds by which 99 of 100 ticks are late at the most."""
    late: list[float] = []

    async def tick() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(TICK)
            late.append(time.perf_counter() - began - TICK)

    ticking = asyncio.create_task(tick())
    await meanwhile()
    ticking.cancel()
    return 1000 * statistics.quantiles(late, n=100)[98]


def rows(pages: int = PAGES, idle: float = IDLE) -> list[tuple[str, str, str]]:
    """Rows of (what, figure, a loop that does nothing)."""
    of = crowd(MODELS, ENGINES)
    gc.collect()
    gc.freeze()
    taken: list[float] = []
    written: list[float] = []

    def write(page: Page) -> None:
        began = time.thread_time()
        page.text(OPENMETRICS)
        written.append(1000 * (time.thread_time() - began))

    async def scrape() -> None:
        for _ in range(pages):
            began = time.thread_time()
            page = Page(of)
            taken.append(1000 * (time.thread_time() - began))
            await asyncio.to_thread(write, page)

    async def measure() -> tuple[float, float]:
        return await lateness(lambda: asyncio.sleep(idle)), await lateness(scrape)

    still, busy = asyncio.run(measure())
    gc.unfreeze()
    lines = sum(1 for line in Page(of).text()[0].splitlines() if not line.startswith(b"#"))
    what = f"a scrape, {MODELS} models on {ENGINES} engines, {lines:,} series"
    return [
        (f"{what}: on the loop", f"{statistics.median(taken):.1f} ms of CPU", ""),
        ("the same in its thread, as OpenMetrics", f"{statistics.median(written):.0f} ms", ""),
        ("how late the loop is meanwhile, 99 %", f"{busy:.1f} ms", f"{still:.1f} ms"),
    ]


if __name__ == "__main__":
    for row in rows():
        print(*row, sep=" | ")
