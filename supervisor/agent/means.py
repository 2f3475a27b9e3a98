"""What an agent places with, one model on one host or one over several: the fleet as it is known,
whom it can ask, what it has claimed, and how it waits for news."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from collectors.reading import Seconds
from supervisor.fleet import ledger
from supervisor.fleet.decided import Rules
from supervisor.fleet.hosts import Directory, HostId

from .backend import Backend
from .claims import Claims
from .view import View

AGAIN: Final = Seconds(0.25)  # at least that long it takes until all is looked at anew
AT_MOST: Final = Seconds(1.0)


@dataclass(slots=True)
class Means:
    """`refresh` tells and hears of the fleet at once, and raises BackendError where it cannot;
    `news` is set whenever the fleet was heard of. `stopping`: the agent ends."""

    own: HostId
    view: View
    backend: Backend
    claims: Claims
    rules: Rules
    valid: Seconds  # how long an offer stands at most
    lost: Seconds  # after how long without a word a host is given up
    refresh: Callable[[], Awaitable[None]]
    clock: Callable[[], Seconds]
    news: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: bool = False

    def directory(self) -> Directory:
        return self.view.directory(self.clock(), self.backend.connected)

    @property
    def young(self) -> Seconds:
        """How long a directory that has just begun may yet not know who has a model, or is getting
        it: until every offer from before it is over. 0: it does."""
        age = Seconds(self.clock() - self.view.began)
        return ledger.Settling(self.valid, self.lost).wait(age)

    async def pause(self, end: Seconds, wait: Seconds = AT_MOST) -> None:
        """For news of the fleet, `wait` seconds or until `end` at most; and not so short that
        nothing can have changed."""
        left = min(wait, AT_MOST, max(0.0, end - self.clock()))
        try:
            async with asyncio.timeout(max(AGAIN, left)):
                await self.news.wait()
        except TimeoutError:
            return
