"""The fleet, as the gateway of one host has it: the agent beside the daemon, asked over its socket.

Nothing depends on it. Without an agent, or where it takes too long, there is no fleet for a moment,
and every request is this host's own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from supervisor.config.fleet import FleetConfig
from supervisor.core.snapshot import ModelId, ModelRef, Snapshot
from supervisor.loop import Loop

from . import placing
from .counts import Counts
from .fleet_counts import ELSEWHERE, FleetCounts
from .loaded import Loaded
from .marks import Marks
from .placing import Answer, Nobody, Queued, Silent, There
from .question import Question, Said, written
from .upstream import Links, Origin

log = logging.getLogger("ullage.gateway")

WITHIN = 1.0  # seconds: who waits longer for the agent is better served here, if it can be
PATIENT = 5.0  # who cannot: hosts that have to be asked first may be about to be given up
RESTS = 2.0  # seconds in which it is not asked again, after it gave no answer
AGAIN = 2.0  # seconds between two questions for who waits
KEPT = 2.0  # seconds for which what the fleet holds need not be asked again
OLD = 30.0  # seconds after which it is told no more
MET = 1024  # models of other hosts that are remembered

Key = tuple[str, frozenset[str]]  # a model, and whom to avoid


class Asker(Protocol):
    @property
    def since(self) -> float:
        """When its request came."""

    @property
    def patient(self) -> bool:
        """It can be served by other hosts alone."""

    @property
    def wants(self) -> Key:
        """What it asks for now."""

    def placed(self, answer: Answer) -> None:
        """Called once for each question, unless it has left."""

    def stopped(self) -> None:
        """The daemon ends: there is no answer any more."""


@dataclass(slots=True)
class _Asked:
    """A question under way. `late`: it takes longer than WITHIN."""

    askers: dict[Asker, None]
    since: float
    late: bool = False
    timer: asyncio.TimerHandle = field(init=False)
    question: Question | None = None

    def drop(self) -> None:
        self.timer.cancel()
        if self.question is not None:
            self.question.drop()


@dataclass(slots=True)
class Fleet:
    """One for a gateway. `socket` is the agent's; `clock` is monotonic."""

    config: FleetConfig
    loop: Loop
    loaded: Loaded
    links: Links
    marks: Marks
    requests: Counts  # the gateway's own
    counts: FleetCounts = field(default_factory=FleetCounts)
    clock: Callable[[], float] = time.monotonic
    trouble: str | None = None  # why there is no fleet now
    held: dict[Asker, None] = field(default_factory=dict)
    _agent: Origin = field(init=False)
    _asked: dict[Key, _Asked] = field(default_factory=dict)
    _met: dict[str, None] = field(default_factory=dict)
    _rests_until: float = float("-inf")
    _again: asyncio.TimerHandle | None = None
    _fleet: placing.Fleet | None = None
    _looked_at: float = float("-inf")
    _looking: list[Callable[[placing.Fleet | None], None]] = field(default_factory=list)
    _seen: Snapshot | None = None
    _most: Mapping[ModelRef, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._agent = Origin("localhost", 0, unix=str(self.config.socket), header=b"localhost")

    # -- what needs no question

    def is_here(self, refs: Collection[ModelRef]) -> bool:
        """Is one of them ready on this host, with no more to do than it may have? Asked with each
        request. Of a model that does not tell how many it serves at once, any number is right."""
        snapshot = self.loop.snapshot
        if snapshot is not self._seen and snapshot is not None:
            self._seen, factor = snapshot, self.config.factor
            slots = ((r.ref, r.slots) for r in snapshot.residents)
            self._most = {ref: n * factor for ref, n in slots if n}
        open, going, most = self.loaded.open, self.loop.goings.refs, self._most
        for ref in refs:
            if ref in open and ref not in going:
                if ref not in most:
                    return True
                traffic = self.loop.traffic
                if traffic.in_flight(ref) + traffic.waiting.get(ref, 0) < most[ref]:
                    return True
        return False

    def is_ready(self, refs: Collection[ModelRef]) -> bool:
        """Is one of them ready on this host, however much it has to do?"""
        return any(map(self.loaded.is_open, refs))

    def spans(self, refs: Collection[ModelRef]) -> bool:
        """Is one of them loaded by the fleet alone, with parts on other hosts?"""
        return any(map(self.loop.policy.spans, refs))

    # -- where a request goes

    def ask(self, asker: Asker) -> None:
        """Where its request is to go. Those who ask the same at once are one question. The answer
        may come before this returns."""
        key = asker.wants
        asked = self._asked.get(key)
        rests = self.clock() < self._rests_until or (asked is not None and asked.late)
        if rests and not asker.patient:
            self._tell(asker, Silent(self.trouble or "it gave no answer"))
        elif asked is not None:
            asked.askers[asker] = None
        else:
            self._question(key, asker)

    def hold(self, asker: Asker) -> None:
        """It waits, and it is asked for it again and again, until it leaves."""
        self.held[asker] = None
        if self._again is None:
            self._later()

    def leave(self, asker: Asker) -> None:
        """It wants no answer any more, and waits for nothing."""
        for key, asked in list(self._asked.items()):
            asked.askers.pop(asker, None)
            self._forget(key)
        self.held.pop(asker, None)

    @property
    def waiting(self) -> int:
        """How many wait until somebody has room."""
        return len(self.held)

    def told(self) -> Iterator[tuple[ModelRef, int, float]]:
        """How many wait for each model, and for how many seconds the first of them has."""
        first: dict[str, tuple[int, float]] = {}
        for asker in self.held:
            count, since = first.get(asker.wants[0], (0, asker.since))
            first[asker.wants[0]] = count + 1, min(since, asker.since)
        for model, (count, since) in first.items():
            yield ModelRef(ELSEWHERE, ModelId(model)), count, self.clock() - since

    def stop(self) -> None:
        """Nobody asks any more, and nobody waits."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        asked = [each.askers for each in self._asked.values()]
        for askers in (*asked, self.held):
            for asker in list(askers):
                self.leave(asker)
                asker.stopped()

    def _question(self, key: Key, asker: Asker) -> None:
        asked = self._asked[key] = _Asked({asker: None}, self.clock())
        asked.timer = asyncio.get_running_loop().call_later(WITHIN, self._is_late, key)
        request = written(b"POST", b"/place", placing.asked(*key))
        then = partial(self._answered, key)
        asked.question = Question(self.links, self._agent, request, PATIENT, then)

    def _forget(self, key: Key) -> None:
        """A question whose answer nobody wants any more is none."""
        asked = self._asked.get(key)
        if asked is not None and not asked.askers:
            del self._asked[key]
            asked.drop()

    def _is_late(self, key: Key) -> None:
        """Whoever need not wait for it does so no longer."""
        asked = self._asked[key]
        asked.late = True
        answer = Silent(f"no answer within {WITHIN:g} s")
        self._stands(answer.why)
        self._tell_all(asked.askers, [a for a in asked.askers if not a.patient], answer)
        self._forget(key)

    def _answered(self, key: Key, said: Said | str) -> None:
        asked, answer = self._asked.pop(key), placing.read(said)
        asked.timer.cancel()
        self.counts.took(self.clock() - asked.since)
        self._stands(answer.why if isinstance(answer, Silent) else None)
        if not isinstance(answer, Silent | Nobody):
            if len(self._met) >= MET:
                self._met.clear()
            self._met[key[0]] = None
        self._tell_all(asked.askers, list(asked.askers), answer)

    def _tell_all(self, left: dict[Asker, None], askers: list[Asker], answer: Answer) -> None:
        for asker in askers:
            if asker in left:  # or what another was told has made it leave
                del left[asker]
                self._tell(asker, answer)

    def _where(self, answer: Answer) -> str:
        match answer:
            case There():
                return "here" if self.is_own(answer) else "elsewhere"
            case Queued():
                return "queued"
            case Nobody():
                return "nobody"
            case Silent():
                return "alone"

    def _tell(self, asker: Asker, answer: Answer) -> None:
        self.counts.placed(self._where(answer))
        try:
            asker.placed(answer)
        except Exception:
            log.exception("a request that was placed could not go on")

    def has_met(self, model: str) -> bool:
        """Has some host had it, as far as we remember?"""
        return model in self._met

    def is_own(self, there: There) -> bool:
        """Is it this host?"""
        return there.host in (self.config.name, None if self._fleet is None else self._fleet.own)

    # -- who waits

    def _later(self) -> None:
        self._again = asyncio.get_running_loop().call_later(AGAIN, self._ask_again)

    def _ask_again(self) -> None:
        self._again = None
        for asker in list(self.held):
            if asker in self.held:
                self.ask(asker)
        if self.held:
            self._later()

    # -- what it holds

    def look(self, then: Callable[[placing.Fleet | None], None]) -> None:
        """What the fleet holds, as of the last seconds; None where nobody knows. May be answered
        before this returns."""
        if self.clock() - self._looked_at < KEPT or self.clock() < self._rests_until:
            then(self.known)
            return
        self._looking.append(then)
        if len(self._looking) == 1:
            Question(self.links, self._agent, written(b"GET", b"/fleet"), WITHIN, self._looked)

    def _looked(self, said: Said | str) -> None:
        found = placing.seen(said)
        if isinstance(found, str):
            self._stands(found)
        else:
            self._stands(None)
            self._fleet, self._looked_at = found, self.clock()
        looking, self._looking = self._looking, []
        for then in looking:
            try:
                then(self.known)
            except Exception:
                log.exception("the fleet's models could not be told")

    @property
    def known(self) -> placing.Fleet | None:
        return self._fleet if self.clock() - self._looked_at < OLD else None

    # -- how it stands

    def _stands(self, trouble: str | None) -> None:
        """What is new of it is told once."""
        before, self.trouble = self.trouble, trouble
        if trouble is not None:
            self._rests_until = self.clock() + RESTS
            if before is None:
                at = self.config.socket
                what = "until it does, this host serves alone what is asked here"
                log.warning("the fleet's agent at %s does not answer: %s; %s", at, trouble, what)
        elif before is not None:
            log.info("the fleet's agent answers again")
