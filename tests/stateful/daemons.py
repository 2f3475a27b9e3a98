"""The steps of a story in which daemons end and begin, and are told what others say is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from collectors.reading import PoolId
from supervisor.alerting.alerting import Later
from supervisor.core.record import Mode
from supervisor.door import DoorError
from tests.alerting.post import HOST, alert
from tests.stateful.ledger import Ledger
from tests.stateful.promises import believe
from tests.stateful.town import Town


class Daemons:
    book: Ledger
    town: Town
    killed: set[str]
    _wishes: list[asyncio.Task[Any]]

    def _now(self, *acts: Any) -> None:
        raise NotImplementedError

    def _wish(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        raise NotImplementedError

    # -- the disk, and the daemon on it

    def disk_slows(self, seconds: float) -> None:
        """From now on; what it has been given before is there."""
        self._now(self.town.pen.catch_up)
        self.town.disk.delay = seconds

    def restarts(self, mode: Mode, killed: bool, wrote: int | None = None) -> None:
        """`wrote`: of one that is killed, how many of the writes that waited are on disk; None:
        all of them, as they are of one that ends as it is told to."""
        if not killed:
            self.disk_slows(0.0)
        for task in self._wishes:
            self._now(task.cancel)
        self._wishes.clear()
        if killed:
            self.town.kill(wrote)
            self.killed |= {d["id"] for d in self.town.disk.open_decisions()}
        else:
            self.town.end()
        sure = self.book.promises.survive(self.book, self.town.pen)
        for guest in self.book.guests:
            self._now(guest.cut)
        self.book.forget()
        self.town.mode = mode
        self.town.began = self.town.clock()
        self.town.begin()
        if killed and wrote is not None:
            believe(self.book, sure)
        self.book.promises.begin(self.book)

    # -- alerts

    def alert_fires(self, nth: int, pool: PoolId) -> None:
        """One of a few, each of which began once: most are told of more than once."""
        self._tell("firing", nth, pool)

    def alert_resolves(self, nth: int, pool: PoolId) -> None:
        self._tell("resolved", nth, pool)

    def _tell(self, status: str, nth: int, pool: PoolId) -> None:
        sent = alert(status, f"f{nth}", float(nth), f"A{nth}", pool=str(pool))

        async def tell() -> Any:
            try:
                return await self.town.alerting.receive([sent], HOST)
            except (Later, DoorError) as why:
                return why

        self._wish(tell())
