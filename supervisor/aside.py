"""Runs blocking work beside the event loop, and keeps nobody waiting for what hangs."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from collectors.reading import Seconds

T = TypeVar("T")


class Aside:
    """One daemon thread, one call at a time.

    Reading /proc of a process that is stuck in the kernel can block for ever. Then the
    thread is left alone and every further call fails at once, until it returns. The
    program's end does not wait for it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[tuple[Future[object], Callable[[], object]]]
        self._calls = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stuck: Future[object] | None = None

    async def call(self, work: Callable[[], T], deadline: Seconds) -> T:
        """The result of `work`, within `deadline` seconds, else TimeoutError."""
        if self._stuck is not None and not self._stuck.done():
            raise TimeoutError(f"{self._name} has not returned")
        self._stuck = None
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        future: Future[T] = Future()
        self._calls.put((future, work))  # type: ignore[arg-type]
        # Shielded: giving up waiting must not undo what tells us that the thread is stuck.
        waiter = asyncio.shield(asyncio.wrap_future(future))
        try:
            async with asyncio.timeout(deadline):
                return await waiter
        except TimeoutError:
            self._stuck = future  # type: ignore[assignment]
            raise

    def _run(self) -> None:
        while True:
            future, work = self._calls.get()
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
