"""Lets requests through, holds them until their model is there, and refuses what cannot be.

Everything happens in the loop's own thread. Nothing here waits; whoever is held is called back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from collectors.reading import Seconds
from supervisor.config.gated import GatewayConfig
from supervisor.core.admission import tight
from supervisor.core.ladder import ASLEEP
from supervisor.core.plan import Evict, Load
from supervisor.core.record import Mode, Outcome, Result
from supervisor.core.snapshot import Ability, ModelRef, Snapshot
from supervisor.events import Run, Tick
from supervisor.loop import Loop

from . import refusals
from .agenda import Agenda, Later
from .counts import Counts
from .drains import Drains
from .holding import Hold, Holds, Outlook, Sight, Ticket
from .loaded import Loaded
from .loads import Loads
from .told import Told
from .wishes import Grant, Ready, Refusal, RefusalKind, Wish

__all__ = ["Admission", "Grant", "Ready", "Refusal", "RefusalKind", "Ticket", "Wish"]

log = logging.getLogger("ullage.gateway")


class Admission:
    """One for a gateway. `later` calls back after so many seconds of the loop's clock."""

    def __init__(
        self,
        loop: Loop,
        config: GatewayConfig,
        counts: Counts | None = None,
        later: Later | None = None,
    ) -> None:
        self.loop, self.config = loop, config
        self.counts = counts or Counts()
        self.traffic = loop.traffic
        self.loaded = Loaded(loop)
        self.holds = Holds(loop.traffic)
        self.drains = Drains(loop.traffic, config, self.counts, self._closed)
        self.loads = Loads(loop, self, self.holds, self.drains, self.counts)
        self.stopping = False
        loop.goings.side_by_side = config.loads_per_pool
        self._agenda = Agenda(self._look, self._next, self._tick, loop.clock, later)
        self._clock, self._goings = loop.clock, loop.goings
        self.told = Told(loop)
        loop.traffic.listener = self
        loop.keeping.pausing.told.append(self._halted)
        if loop.snapshot is not None:
            self.loaded.see(loop.snapshot, loop.snapshot.taken_at)

    # -- a request

    def enter(self, wish: Wish, ready: Ready) -> Grant | Ticket | Refusal:
        """Let it through, hold it, or refuse it. `ready` is called later, and once, for a ticket
        that has not left."""
        for ref in wish.candidates:
            url = self.loaded.open.get(ref)
            if url is not None and ref not in self._goings.refs and not self.stopping:
                return self._grant(ref, url, wish)
        return self._enter(wish, ready)

    def again(self, grant: Grant, ready: Ready) -> Grant | Ticket | Refusal:
        """Its engine broke off before it had answered anything: once more, elsewhere or when it was
        looked at again. Only once for each request."""
        grant.flight.end()
        self.broke_off(grant.ref)
        if grant.again:
            return refusals.broke_off(grant.ref)
        self.counts.retried(grant.ref)
        answer = self.enter(grant.wish, ready)
        if not isinstance(answer, Refusal):
            answer.again = True
        return answer

    def broke_off(self, ref: ModelRef) -> None:
        """Its engine left in the middle of an answer, or before: it may be back in a moment, and
        without its models."""
        self.loaded.suspect(ref)
        self._tick()

    def _grant(self, ref: ModelRef, url: str, wish: Wish, waited: float = 0.0) -> Grant:
        flight = self.traffic.begin(ref)
        now = self._clock()
        self.told.of(ref, wish, now)
        return Grant(ref, flight, url, wish, Seconds(waited))

    def _enter(self, wish: Wish, ready: Ready) -> Grant | Ticket | Refusal:
        if self.stopping:
            return refusals.stopping()
        for ref in wish.candidates:  # there may be hundreds of them at once
            if self.traffic.waiting.get(ref):
                return self._full(ref, wish) or self._hold(self._ticket(ref, wish, ready))
        sight = self.loads.sight()
        if sight is None:
            return refusals.not_ready()
        if self.loop.mode is not Mode.ENFORCE:
            return self._pass(wish, sight.snapshot)
        found = self._choose(wish.candidates, sight)
        if isinstance(found, Refusal):
            return found
        return self._full(found, wish) or self._hold(self._ticket(found, wish, ready), sight)

    def _ticket(self, ref: ModelRef, wish: Wish, ready: Ready) -> Ticket:
        now = self._clock()
        self.told.asked_for(ref, now)
        wait = self.config.max_wait if wish.wait is None else wish.wait
        return Ticket(self, ref, wish, ready, now, now + wait)

    def _pass(self, wish: Wish, snapshot: Snapshot) -> Grant | Refusal:
        """Nothing is loaded here, and nothing held: its engine is to know."""
        halts, first = self.loads.halts, wish.candidates[0]
        refs = [r for r in wish.candidates if halts.of_engine(r.engine) is None]
        up = [r for r in refs if snapshot.answers(r.engine)]
        for ref in up or refs:
            if (url := self.loaded.address(ref)) is not None:
                return self._grant(ref, url, wish)
        return halts.of_engine(first.engine, first) or self._down(wish.candidates, snapshot)

    def _choose(self, refs: Iterable[ModelRef], sight: Sight) -> ModelRef | Refusal:
        """Which of them is to be had."""
        refs, snapshot = list(refs), sight.snapshot
        reachable = [r for r in refs if self.loaded.is_reachable(r.engine, snapshot)]
        if not reachable:
            return self._down(refs, snapshot)
        whys = {r: self.loads.refusal(r, snapshot, sight.policy) for r in reachable}
        allowed = [r for r in reachable if whys[r] is None]
        if not allowed:
            return next(why for why in whys.values() if why is not None)
        return self.loads.best(allowed, sight)

    def _down(self, refs: Iterable[ModelRef], snapshot: Snapshot) -> Refusal:
        engine = snapshot.engine((ref := next(iter(refs))).engine)
        return refusals.down(ref, None if engine is None else engine.fault)

    def _full(self, ref: ModelRef, wish: Wish) -> Refusal | None:
        held, client = self.holds.count, wish.client
        mine = self.holds.of_client[client] if client else 0
        if held >= self.config.max_held:
            return refusals.full(ref, held, "", self.loads.outlook(ref).eta)
        if client and mine >= self.config.max_held_per_client:
            return refusals.full(ref, mine, client, self.loads.outlook(ref).eta)
        return None

    # -- held

    def _hold(self, ticket: Ticket, sight: Sight | None = None) -> Ticket:
        # First what may fail: nobody is to stand in a line of whom nobody knows.
        demand = None if sight is None else self.loads.demand(ticket.ref, sight)
        hold = self.holds.join(ticket)
        if sight is not None and demand is not None and not hold.under_way:
            hold.pools = frozenset(s.pool for s in demand.shares)
            hold.load = self.loads.seconds(hold.ref, demand, sight.snapshot)
        if ticket.wish.lease is not None:
            self.loop.keeping.leases.awaited.add(ticket.wish.lease)
        self._agenda.at(ticket.until)
        self.due()
        return ticket

    def place(self, ref: ModelRef) -> Outlook:
        return self.loads.outlook(ref)

    def leave(self, ticket: Ticket) -> None:
        """Of a ticket alone: its client is gone."""
        hold = self._done(ticket)
        if not hold.waiters:
            self.loads.take_back(hold)
        self.due()

    def _done(self, ticket: Ticket) -> Hold:
        ticket.gone = True
        self.counts.held(ticket.ref, self._clock() - ticket.since)
        hold = self.holds.drop(ticket)
        if (lease := ticket.wish.lease) is not None:
            waiting = (t for other in self.holds for t in other.waiters)
            if not any(t.wish.lease == lease for t in waiting):
                self.loop.keeping.leases.awaited.discard(lease)
        return hold

    def let_through(self, hold: Hold) -> None:
        url = self.loaded.address(hold.ref)
        if url is None:
            self.give_up(hold, refusals.down(hold.ref, None))
            return
        self._all_through(list(hold.waiters), hold.ref, url)

    def _all_through(self, tickets: Iterable[Ticket], ref: ModelRef, url: str) -> None:
        """All are counted as at work before any of them hears of it."""
        now = self._clock()
        granted: list[tuple[Ticket, Grant]] = []
        for ticket in tickets:
            grant = self._grant(ref, url, ticket.wish, now - ticket.since)
            grant.again = ticket.again
            granted.append((ticket, grant))
        for ticket, _ in granted:
            self._done(ticket)
        for ticket, grant in granted:
            self._call(ticket, grant)

    def _refuse(self, ticket: Ticket, why: Refusal) -> None:
        if not ticket.gone:
            self._done(ticket)
            self._call(ticket, why)

    def _call(self, ticket: Ticket, answer: Grant | Refusal) -> None:
        try:
            ticket.ready(answer)
        except Exception:
            log.exception("a held request of %s could not go on", ticket.ref)
            if isinstance(answer, Grant):
                answer.flight.end()

    def give_up(self, hold: Hold, why: Refusal) -> None:
        sight = self.loads.sight()
        for ticket in list(hold.waiters):
            passed_over = ticket.passed_over | {hold.ref}
            others = [r for r in ticket.wish.candidates if r not in passed_over]
            ref = self._choose(others, sight) if others and sight is not None else why
            if isinstance(ref, Refusal) or sight is None:
                self._refuse(ticket, why)
                continue
            self.holds.drop(ticket)
            ticket.ref, ticket.passed_over = ref, passed_over
            self._hold(ticket, sight)

    @contextmanager
    def guarded(self, hold: Hold, waiters: Iterable[Ticket] | None = None) -> Iterator[None]:
        """At a fault of ours within `waiters`, or all, are refused, and nobody who waits for
        another model notices."""
        try:
            yield
        except MemoryError:
            raise  # it says nothing of this one
        except Exception:
            log.exception("could not look after those who wait for %s", hold.ref)
            for ticket in list(hold.waiters if waiters is None else waiters):
                self._refuse(ticket, refusals.fault(hold.ref))

    # -- whoever may go on now

    def due(self) -> None:
        """Look at all who are held, soon: after whatever happens in this turn."""
        if self.holds.count or self.drains.current:
            self._agenda.soon()

    def _tick(self) -> None:
        self.loop.post(Tick(self._clock()))

    def _look(self, now: float) -> Iterator[None]:
        """A step at a time: with hundreds of models waited for it may take a tenth of a second."""
        try:
            self._expire(now)
            self._release()
            if self.loop.mode is Mode.ENFORCE and not self.stopping:
                self.drains.look(now, may_force=self.loop.policy.says("force_when_busy"))
                yield from self.loads.serve()
        except Exception:
            log.exception("could not look after held requests")

    def _next(self, now: float) -> float:
        """When something is due that nothing else tells of."""
        found = [float("inf")]
        if not (self.holds.count or self.drains.current):
            return found[0]
        for hold in self.holds.waiting():
            found += (ticket.until for ticket in hold.waiters)
            if hold.rests_until > now:
                found.append(hold.rests_until)
            if hold.blocked and (due := self.drains.due(hold)) > now:
                found.append(due)
        if self.drains.current is not None and not self.drains.current.decided:
            found.append(self.drains.current.until)
        found.append(self.loads.brake)
        return min(found)

    def _expire(self, now: float) -> None:
        late = ((h, [t for t in h.waiters if t.until <= now]) for h in self.holds.waiting())
        if not (found := [(hold, waiters) for hold, waiters in late if waiters]):
            return
        sight = self.loads.sight()
        for hold, waiters in found:
            with self.guarded(hold, waiters):
                self._too_late(hold, waiters, sight, now)
            if not hold.waiters:
                self.loads.take_back(hold)

    def _too_late(
        self, hold: Hold, waiters: Iterable[Ticket], sight: Sight | None, now: float
    ) -> None:
        found = None
        if sight is not None and (demand := self.loads.demand(hold.ref, sight)) is not None:
            found = tight(sight.snapshot, sight.policy, demand)
        outlook = self.loads.outlook(hold.ref)
        state, eta = outlook.state, outlook.eta
        for ticket in waiters:
            took = now - ticket.since
            self._refuse(ticket, refusals.waited(hold.ref, took, state, found, eta, hold.full))

    def _release(self) -> None:
        """Let those through whose model is there by now, wherever."""
        for hold in self.holds.waiting():
            if self.loaded.is_open(hold.ref):
                self._all_through(list(hold.waiters), hold.ref, self.loaded.urls[hold.ref])
                self.loads.take_back(hold)
                continue
            for ticket in [t for t in hold.waiters if len(t.wish.candidates) > 1]:
                for ref in ticket.wish.candidates:
                    if self.loaded.is_open(ref):
                        self._all_through([ticket], ref, self.loaded.urls[ref])
                        break

    def _closed(self) -> None:
        self.loaded.count()
        self._release()
        self.due()

    def _halted(self) -> None:
        """A pause, or a drain, has begun or ended."""
        self.loaded.count()
        for hold, why in self.loads.halts.of(self.holds.waiting()):
            self.give_up(hold, why)
            self.loads.take_back(hold)
        self.due()

    # -- what the loop tells

    def saw(self, snapshot: Snapshot, began: Seconds) -> None:
        self.loaded.see(snapshot, began)
        self._release()
        for hold in self.holds.waiting():
            if not hold.under_way and not self.loaded.is_reachable(hold.ref.engine, snapshot):
                self.give_up(hold, self._down([hold.ref], snapshot))
        self.due()

    def heard(self, run: Run, outcome: Outcome) -> None:
        """In the same turn, before any other plan can be made."""
        ref, done = outcome.action.ref, outcome.result is Result.DONE
        if isinstance(outcome.action, Load) and done:
            self.loaded.came(ref)
            self._release()
        elif isinstance(outcome.action, Evict) and done:
            self.loaded.left(ref)
        elif isinstance(outcome.action, Evict) and _was_answered(outcome):
            self.loaded.goes(ref)
        self.due()

    def ended(self, run: Run) -> None:
        self.loads.ended(run)
        self._release()
        self.due()

    def rested(self, ref: ModelRef) -> None:
        if not self.holds.count:
            return
        self.due()
        snapshot = self.loop.snapshot
        engine = None if snapshot is None else snapshot.engine(ref.engine)
        if engine is not None and Ability.IN_FLIGHT not in engine.abilities:
            self._agenda.tick_twice()

    # -- the end

    def stop(self) -> None:
        """Nobody is let through any more, and whoever is held is refused."""
        self.stopping = True
        for hold in self.holds:
            for ticket in list(hold.waiters):
                self._refuse(ticket, refusals.stopping(hold.ref))
            self.loads.take_back(hold)

    async def close(self) -> None:
        self.stop()
        self._agenda.close()
        if self.traffic.listener is self:
            self.traffic.listener = None
            self.loop.keeping.pausing.told.remove(self._halted)

    # -- what is told of it

    def held(self) -> Iterable[tuple[ModelRef, int, float]]:
        """How many wait for each model, and for how many seconds the first of them has."""
        return self.holds.told(self._clock())


def _was_answered(outcome: Outcome) -> bool:
    """Its engine said that the model goes, and it is there still."""
    return outcome.judgement is not None and outcome.rung not in ASLEEP
