"""The agent of one host: tells the fleet how it stands each second, hears of the others, answers.

It is there whatever becomes of the engine: without it everything is answered that this host knows
by itself, and it joins again without a hand.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from collectors.reading import Seconds
from supervisor.fleet.decided import Rules
from supervisor.fleet.hosts import HostId
from supervisor.fleet.liveness import Delays
from supervisor.fleet.spans import called, span_rows, span_troubles
from supervisor.fleet.words import directory_row

from .backend import Backend, BackendError, Row
from .bridge import Bridge
from .claims import Claims
from .gangs import Gangs
from .parts import Parts
from .placing import Placing
from .rising import Means
from .told import Told
from .view import View

log = logging.getLogger("ullage.fleet")

BEAT = Seconds(1.0)
WORD = Seconds(2.0)  # in which the daemon says how it stands
DRAIN = Seconds(5.0)


@dataclass(frozen=True, slots=True)
class Terms:
    """As configured. Times in seconds; `valid`: how long a host's offer stands at most."""

    host: HostId
    delays: Delays = Delays()
    rules: Rules = Rules()
    valid: Seconds = Seconds(10.0)
    beat: Seconds = BEAT


class Agent:
    """`start` and `stop` once each."""

    def __init__(
        self,
        terms: Terms,
        bridge: Bridge,
        backend: Backend,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.terms, self._bridge, self.backend = terms, bridge, backend
        self._clock, self._wall = _seconds(clock), wall
        self.view = View(terms.host, terms.delays)
        self._claims = Claims(backend, self._clock)
        self.told = Told(wall)
        self._placing = Placing(
            terms.host, self.view, backend, self._claims, self.told, terms.rules, terms.valid,
            terms.delays.lost, self._refresh, self._clock,
        )  # fmt: skip
        means = Means(
            terms.host, self.view, backend, self._claims, terms.rules, terms.valid,
            terms.delays.lost, self._refresh, self._clock,
        )  # fmt: skip
        self._gangs = Gangs(means, self.told)
        settled = Seconds(terms.valid + terms.delays.lost)
        self._parts = Parts(terms.host, bridge, self.view, self._clock, settled, terms.delays.lost)
        self._word: Row | None = None
        self._basis = ""  # what was known of the fleet before it was asked for
        self._said: Row | None = None  # what others know of us
        self._silent: str | None = "the daemon has not been heard yet"
        self._was_connected = False
        self._telling = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self._listen()
        await self.backend.start()
        self._tasks = [
            asyncio.create_task(self._forever(self._listen), name="hear the daemon"),
            asyncio.create_task(self._forever(self._tell), name="tell the fleet"),
            asyncio.create_task(self._forever(self._keep), name="keep parts"),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._gangs.stop()
        await self.backend.stop()
        await self._bridge.close()

    # -- each second

    async def _forever(self, work: Callable[[], Any]) -> None:
        """A pace that no slow answer adds to."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await work()
            except Exception:  # our bug: it costs us this beat, and no other
                log.exception("a beat of the agent")
            await asyncio.sleep(max(0.05, self.terms.beat - (loop.time() - began)))

    async def _listen(self) -> None:
        """How this host stands. Of a daemon that does not answer nothing is told: so the host
        becomes silent for others, and is lost for them in the end."""
        basis = self.view.since
        try:
            row = await self._bridge.word(WORD)
            self.view.speak({**row, "host": self.terms.host}, self._clock())
        except (BackendError, ValueError) as error:
            self._word, self._silent = None, str(error)
            return
        self._word, self._basis = {**row, "host": self.terms.host}, basis
        self._silent = None

    async def beat(self) -> None:
        """Hear the daemon, tell the fleet, and see to what is held of spans, once."""
        await self._listen()
        await self._tell()
        await self._keep()

    async def _keep(self) -> None:
        await self._parts.look(self.backend.connected)

    async def _tell(self) -> None:
        try:
            await self._refresh()
        except BackendError:
            self._said = None
        else:
            await self._claims.settle(self.view.index)
        if self._was_connected and not self.backend.connected:
            self._claims.lost()  # they ended with the driver that had made them
        self._was_connected = self.backend.connected
        self._placing.news.set()
        self._gangs.means.news.set()

    async def _refresh(self) -> None:
        """Tell, and hear. Raises BackendError."""
        async with self._telling:
            word = self._word
            if word is None:
                raise BackendError("away", self._silent or "the daemon has not been heard")
            as_before = self._said is not None and _alike(word, self._said)
            changed = None if as_before else word
            asked, since, basis = self._clock(), self.view.since, self._basis
            try:
                heard = await self.backend.tell(changed, self._claims.rows(), since, basis)
            except BackendError as error:
                if error.code != "again":
                    raise
                heard = await self.backend.tell(word, self._claims.rows(), since, basis)
            if changed is not None:
                self._said = changed
            self.view.take(heard, asked, self._clock())

    # -- what is asked

    def fleet(self) -> Row:
        now, connected = self._clock(), self.backend.connected
        directory = self.view.directory(now, connected)
        return {
            "self": self.terms.host,
            "backend": self.backend.name,
            "connected": connected,
            "trouble": self.trouble(),
            "placements": dict(self.told.counts),
            "spans": [
                {**row, "doing": self._gangs.doing(row["name"])} for row in span_rows(directory)
            ],
            "directory": directory_row(directory),
        }

    def trouble(self) -> list[str]:
        own = [] if self._silent is None else [self._silent]
        now, connected = self._clock(), self.backend.connected
        hosts = self.view.trouble(now, self._wall(), connected)
        spans = span_troubles(self.view.directory(now, connected))
        return [*own, *self.backend.trouble, *hosts, *spans]

    async def place(
        self, model: str, dry: bool, within: Seconds | None, avoid: Collection[str]
    ) -> Row:
        """`within` None: as long as it takes to bring up a model that spans hosts; another is
        placed at once, or not. Raises told.Refused."""
        directory = self.view.directory(self._clock(), self.backend.connected)
        if (span := called(directory, model)) is not None:
            return await self._gangs.place(span, dry, within, avoid)
        return await self._placing.place(model, dry, within or Seconds(0.0), avoid)

    async def drain(self, host: str, seconds: float | None) -> Row:
        """Raises BackendError."""
        words = {} if seconds is None else {"seconds": seconds}
        return await self._ask(host, "drain", words)

    async def undrain(self, host: str) -> Row:
        return await self._ask(host, "undrain", {})

    async def _ask(self, host: str, what: str, words: Row) -> Row:
        if host != self.terms.host and host not in self.view.others:
            known = ", ".join(sorted({*self.view.others, self.terms.host}))
            raise BackendError("unknown", f"there is no host {host}; there are {known}", 404)
        if host == self.terms.host:  # whatever has become of the fleet
            found: Row = await getattr(self._bridge, what)(within=DRAIN, **words)
            return found
        return await self.backend.ask(host, what, DRAIN, **words)


def _seconds(clock: Callable[[], float]) -> Callable[[], Seconds]:
    return lambda: Seconds(clock())


def _alike(one: Row, other: Row) -> bool:
    """But for the time at which they were said."""
    return {**one, "wall": 0.0, "number": 0} == {**other, "wall": 0.0, "number": 0}
