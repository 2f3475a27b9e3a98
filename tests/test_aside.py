from __future__ import annotations

import asyncio
import threading

import pytest

from collectors.reading import Seconds
from supervisor.aside import Aside

SOON, LATER = Seconds(0.02), Seconds(30)


def test_work_runs_in_one_thread_of_its_own() -> None:
    async def story() -> set[int]:
        aside = Aside("test")
        return {await aside.call(threading.get_ident, LATER) for _ in range(3)}

    threads = asyncio.run(story())
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_an_error_comes_back_to_whoever_asked() -> None:
    def fail() -> None:
        raise OSError("no such process")

    async def story() -> None:
        with pytest.raises(OSError, match="no such process"):
            await Aside("test").call(fail, LATER)

    asyncio.run(story())


def test_what_hangs_fails_at_once_until_it_returns() -> None:
    let_go = threading.Event()

    async def story() -> str:
        aside = Aside("test")
        with pytest.raises(TimeoutError):
            await aside.call(let_go.wait, SOON)
        with pytest.raises(TimeoutError, match="has not returned"):
            await aside.call(lambda: "never run", LATER)
        let_go.set()
        while True:  # bounded by the test's own time: the thread returns as soon as it may
            try:
                return await aside.call(lambda: "back", LATER)
            except TimeoutError:
                await asyncio.sleep(0)

    assert asyncio.run(story()) == "back"
