"""Questions that may go unanswered: each is waited for, until it once was in vain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class Probes(Generic[K, V]):
    """Whoever was silent is asked again aside, delays nobody, and counts again once it answers.

    `name` is that of the tasks. Every question bounds itself, and does not raise.
    """

    name: str
    _aside: dict[K, asyncio.Task[V]] = field(default_factory=dict)

    async def ask(
        self, key: K, question: Callable[[], Awaitable[V]], silent: Callable[[V], bool], last: V
    ) -> V:
        """The answer; `last` while an earlier question is still open."""
        task = self._aside.get(key)
        if task is None:
            answer = await question()
        elif task.done():
            del self._aside[key]
            answer = task.result()
        else:
            return last
        if silent(answer) and key not in self._aside:
            self._aside[key] = asyncio.create_task(_of(question), name=f"{self.name} {key}")
        return answer

    def forget_all_but(self, keys: Collection[K]) -> None:
        for key in self._aside.keys() - set(keys):
            self._aside.pop(key).cancel()

    async def close(self) -> None:
        """End what is still being asked."""
        tasks, self._aside = list(self._aside.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _of(question: Callable[[], Awaitable[V]]) -> V:
    return await question()
