"""The agent of one host: tells the fleet how it stands each second, hears of the others, answers.

It is there whatever becomes of the engine: without it everything is answered that this host knows
by itself, and it joins again without a hand.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NamedTuple

from collectors.reading import Seconds
from supervisor.fleet.changes import change_row
from supervisor.fleet.decided import Rules
from supervisor.fleet.hosts import Directory, HostId, Word
from supervisor.fleet.index import LATEST
from supervisor.fleet.liveness import Delays
from supervisor.fleet.spans import called, span_rows, span_troubles
from supervisor.fleet.words import directory_row
from supervisor.printable import printable

from .backend import Backend, BackendError, Row
from .bridge import Bridge
from .claims import Claims
from .gangs import Gangs
from .means import Means
from .parts import Parts
from .placing import Placing
from .told import Refused, Told
from .view import View

log = logging.getLogger("ullage.fleet")

BEAT = Seconds(1.0)
WORD = Seconds(2.0)  # in which the daemon says how it stands
DRAIN = Seconds(5.0)
STEP = Seconds(30.0)  # a wall clock that was set by more is told, whatever else is as before
MANY = 50  # sentences
NAMED = 8  # hosts, to who asks for one that there is not
LONGEST = 900  # characters of a sentence: those who read it take 1,024


@dataclass(frozen=True, slots=True)
class Terms:
    """As configured. Times in seconds; `valid`: how long a host's offer stands at most. `aliases`
    stand for names of models, as in the gateway of this host."""

    host: HostId
    delays: Delays = Delays()
    rules: Rules = Rules()
    valid: Seconds = Seconds(10.0)
    beat: Seconds = BEAT
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)


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
        self._means = Means(
            terms.host, self.view, backend, self._claims, terms.rules, terms.valid,
            terms.delays.lost, self._refresh, self._clock,
        )  # fmt: skip
        self._placing = Placing(self._means, self.told)
        self._gangs = Gangs(self._means, self.told)
        self._word: _Spoken | None = None
        settled = Seconds(terms.valid + terms.delays.lost)
        self._parts = Parts(terms.host, bridge, self.view, self._clock, settled, terms.delays.lost)
        self._basis = ""  # what was known of the fleet before it was asked for
        self._said: _Spoken | None = None  # what others know of us
        self._said_at = Seconds(0.0)
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
            row = {**await self._bridge.word(WORD), "host": self.terms.host}
            word = self.view.speak(row, self._clock())
        except (BackendError, ValueError) as error:
            self._word, self._silent = None, str(error)
            return
        self._word, self._basis = _Spoken({**row, "number": word.number}, word), basis
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
        self._means.news.set()

    async def _refresh(self) -> None:
        """Tell, and hear. Raises BackendError."""
        async with self._telling:
            word = self._word
            if word is None:
                raise BackendError("away", self._silent or "the daemon has not been heard")
            asked, since, basis = self._clock(), self.view.since, self._basis
            passed = Seconds(asked - self._said_at)
            as_before = self._said is not None and _alike(word.row, self._said.row, passed)
            try:
                told = None if as_before else _after(self._said, word)
                heard = await self.backend.tell(told, self._claims.rows(), since, basis)
            except BackendError as error:
                if error.code != "again":
                    raise
                told = word.row
                heard = await self.backend.tell(told, self._claims.rows(), since, basis)
            if told is not None:
                self._said, self._said_at = word, asked
            self.view.take(heard, asked, self._clock())

    # -- what is asked

    def fleet(self) -> Row:
        directory = self._means.directory()
        return {
            "self": self.terms.host,
            "backend": self.backend.name,
            "connected": self.backend.connected,
            "trouble": self.trouble(directory),
            "placements": dict(self.told.counts),
            "spans": [
                {**row, "doing": self._gangs.doing(row["name"])} for row in span_rows(directory)
            ],
            "directory": directory_row(directory),
        }

    def trouble(self, directory: Directory) -> list[str]:
        own = [] if self._silent is None else [self._silent]
        hosts = self.view.trouble(directory, self._wall())
        found = [*own, *self.backend.trouble, *hosts, *span_troubles(directory)]
        told = [printable(line)[:LONGEST] for line in found[:MANY]]
        return [*told, f"and {len(found) - MANY} more"] if len(found) > MANY else told

    async def place(
        self, model: str, dry: bool, within: Seconds | None, avoid: Collection[str]
    ) -> Row:
        """`within` None: as long as it takes to bring up a model that spans hosts; another is
        placed at once, or not. Raises told.Refused."""
        directory = self._means.directory()
        for meant in self._names(model):
            if (span := called(directory, meant)) is not None:
                return await self._gangs.place(span, dry, within, avoid)
        named = self._placing.likeliest(self._names(model), avoid)
        try:
            row = await self._placing.place(named, dry, within or Seconds(0.0), avoid)
        except Refused as error:
            raise Refused(error.status, _called(error.body, model, named)) from None
        return _called(row, model, named)

    def why(self, model: str | None, limit: int) -> list[Row]:
        """What was placed lately, the latest first; of one model, or of all."""
        return self.told.of(None if model is None else self._names(model), limit)

    def _names(self, model: str) -> tuple[str, ...]:
        """What is meant by a name, the likeliest first. The tag "latest" may be left out."""
        meant = self.terms.aliases.get(model, (model,))
        return tuple(dict.fromkeys(n for m in meant for n in (m, m.removesuffix(LATEST))))

    async def drain(self, host: str, seconds: float | None) -> Row:
        """Raises BackendError."""
        words = {} if seconds is None else {"seconds": seconds}
        return await self._ask(host, "drain", words)

    async def undrain(self, host: str) -> Row:
        return await self._ask(host, "undrain", {})

    async def _ask(self, host: str, what: str, words: Row) -> Row:
        if host != self.terms.host and host not in self.view.others:
            known = sorted({*self.view.others, self.terms.host})
            more = f" and {len(known) - NAMED} more" if len(known) > NAMED else ""
            right = f"there are {', '.join(known[:NAMED])}{more}"
            if near := get_close_matches(host, known, 3):
                right = f"did you mean {' or '.join(near)}?"
            raise BackendError("unknown", f"there is no host {printable(host)}; {right}", 404)
        if host == self.terms.host:  # whatever has become of the fleet
            found: Row = await getattr(self._bridge, what)(within=DRAIN, **words)
            return found
        return await self.backend.ask(host, what, DRAIN, **words)


def _called(row: Row, model: str, named: str) -> Row:
    """With what it was asked for as, where that is another name."""
    if model == named or not row.get("sentences"):
        return row
    first, *others = row["sentences"]
    return {**row, "sentences": [first, f"{printable(model)} stands for {named}", *others]}


class _Spoken(NamedTuple):
    """Our daemon's word: as it goes to others, and as a value."""

    row: Row
    word: Word


def _after(said: _Spoken | None, now: _Spoken) -> Row:
    """What others are told, who know what was `said`."""
    try:
        return now.row if said is None else {**now.row, "change": change_row(said.word, now.word)}
    except ValueError:  # the daemon was started anew
        return now.row


def _seconds(clock: Callable[[], float]) -> Callable[[], Seconds]:
    return lambda: Seconds(clock())


def _alike(one: Row, before: Row, passed: Seconds) -> bool:
    """But for the time at which they were said, as far as that has just gone on."""
    step = one["wall"] - before["wall"] - passed
    return abs(step) < STEP and {**one, "wall": 0.0, "number": 0} == {
        **before,
        "wall": 0.0,
        "number": 0,
    }
