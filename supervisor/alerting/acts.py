"""What alerts cause: only what is configured, and only where what we measured says the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from collectors.reading import Bytes, PoolId, Seconds
from supervisor.config.alerted import ActionConfig, AlertsConfig, Kind
from supervisor.core.experience import Experience
from supervisor.core.explain import of_pause
from supervisor.core.on_alert import NOTHING, let_go, make_room
from supervisor.core.plan import Plan, Trigger
from supervisor.core.policy import Amount, Policy
from supervisor.core.record import Mode
from supervisor.core.snapshot import ModelRef, Snapshot
from supervisor.core.steps import Step
from supervisor.door import Carried, Door
from supervisor.engines.base import EngineError
from supervisor.escalation import planned
from supervisor.events import NOBODY, About, Replan, Run
from supervisor.keeping.alert_holds import AlertHold, Closed
from supervisor.sleeping import lulled
from supervisor.units import format_duration

from .agreement import Agreement, agreement
from .alert import Alert, Ended, Outcome
from .limit import Limit
from .target import Target
from .told import of_carried, would

ANSWERS = Seconds(60.0)  # an engine that was restarted answers within this
RESTARTED = Seconds(120.0)  # and its unit has been by then
UNTIL = "until it resolves"
QUIET = frozenset({Kind.PAUSE, Kind.PIN})  # nobody leaves for them: they may be in a pause, too

Begun = Callable[[Run], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One alert, what it asks for, and on what. `forced`: without our own measurements."""

    alert: Alert
    action: ActionConfig
    target: Target
    forced: bool
    begun: Begun

    @property
    def cause(self) -> str:
        said = self.target.said
        wish = {
            Kind.EVICT: f"make room in {said}" if self.by_bytes else f"unload {said}",
            Kind.SLEEP: f"let models of {said} sleep" if self.by_bytes else f"let {said} sleep",
            Kind.PAUSE: f"load nothing more in {said}",
            Kind.PIN: f"keep {said}",
            Kind.RESTART: f"restart {said}",
            Kind.RESERVE: f"keep {said} free",
        }
        force = ", whatever we measure" if self.forced else ""
        return f"{self.alert.said} asks to {wish[self.action.kind]}{force}"

    @property
    def by_bytes(self) -> bool:
        """Do as many leave as are needed, and not all whom it names?"""
        return self.action.free is not None or self.action.models is None


@dataclass(slots=True)
class Acts:
    """`_turn`: one after the other is judged, so that a thousand at once keep nobody waiting."""

    config: AlertsConfig
    door: Door
    limit: Limit = field(init=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.limit = Limit(self.config.limit, self.door.loop.clock)

    async def nothing(self, alert: Alert, ended: Ended) -> Ended:
        """Write down that nothing is done, and why. Raises NotNow at the daemon's end."""
        async with self._turn:
            return await self._nothing(alert, ended)

    async def _nothing(self, alert: Alert, ended: Ended) -> Ended:
        run = await self.door.loop.ask(f"{alert.said}: {ended.detail}", _nothing)
        return ended._replace(decision=run.decision.id)

    async def act(self, case: Case) -> Ended:
        """Do it, if it is to be done. Raises NotNow or DoorError where nothing can be decided."""
        async with self._turn:
            loop, action = self.door.loop, case.action
            sight = self.door.snapshot(), loop.policy, loop.findings
            found = agreement(action, case.target, *sight)
            if (refused := self._refused(case, found)) is not None:
                return await self._nothing(case.alert, refused)
            taken = self.limit.take()
        ended = Ended(Outcome.FAILED)
        try:
            ended = await self._act(case, found)
        finally:
            if ended.outcome is Outcome.NOTHING_TO_DO:
                self.limit.give_back(taken)
        return ended

    def _refused(self, case: Case, found: Agreement) -> Ended | None:
        """Why it is not done. None: it is."""
        loop, action = self.door.loop, case.action
        if (pause := loop.policy.pause) is not None and action.kind not in QUIET:
            return Ended(Outcome.LIMITED, of_pause(pause, Seconds(loop.clock())))
        if found.against is not None and not case.forced:
            return Ended(Outcome.DISAGREED, found.against)
        if (dry := self._dry(action)) is not None:
            return Ended(Outcome.DRY_RUN, f"{dry}: {self._would(case, found)}")
        if (wait := self.limit.wait()) is not None:
            most = self.config.limit
            return Ended(
                Outcome.LIMITED,
                f"{most.count} actions in {format_duration(most.period)} are as many as there may"
                f" be by alerts (alerts.limit); the next may be in {wait:.0f} s",
            )
        return None

    def _dry(self, action: ActionConfig) -> str | None:
        """Why nothing is done but said."""
        if self.config.dry_run or action.dry_run:
            return "a dry run"
        mode = self.door.loop.mode
        return None if mode is Mode.ENFORCE else f"the mode is {mode.value}"

    def _would(self, case: Case, found: Agreement) -> str:
        if case.action.kind in (Kind.EVICT, Kind.SLEEP):
            return would(self.door.dry(self._replan(case, found)))
        return f"it would {case.cause.partition(' asks to ')[2]}"

    async def _act(self, case: Case, found: Agreement) -> Ended:
        match case.action.kind:
            case Kind.EVICT | Kind.SLEEP:
                return of_carried(await self._ask(case, self._replan(case, found)))
            case Kind.RESTART:
                return await self._restart(case, found)
            case Kind.RESERVE:
                return await self._reserve(case)
            case Kind.PIN:
                return await self._pin(case)
            case Kind.PAUSE:
                closed = Closed(frozenset(case.target.pools or ()), case.target.engine)
                return await self._hold(case, self._held(case, closed=closed))

    async def _ask(self, case: Case, replan: Replan, about: About = NOBODY) -> Carried:
        """Have it decided and carried out; while all who could go are busy, once more."""
        return await replace(self.door, begun=case.begun).ask(case.cause, replan, True, about)

    # -- who leaves

    def _replan(self, case: Case, found: Agreement) -> Replan:
        action, target, sleeps = case.action, case.target, case.action.kind is Kind.SLEEP

        def replan(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
            policy = lulled(policy) if sleeps else policy
            if case.by_bytes:
                pools, to = found.pools, action.free or action.below
                return make_room(snapshot, policy, pools, to, target.refs, experience)
            refs = _who(snapshot, target)
            return let_go(snapshot, policy, refs, experience)

        return replan

    # -- an engine

    async def _restart(self, case: Case, found: Agreement) -> Ended:
        engine, loop = case.target.engine, self.door.loop
        assert engine is not None
        mine = [r.ref for r in self.door.snapshot().residents if r.engine == engine]
        stuck = found.stuck or frozenset(mine)
        if not found.down and stuck:

            def replan(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
                there = [r.ref for r in snapshot.residents if r.ref in stuck]
                made = planned(Step.RESTART, there, stuck, snapshot, policy, experience)
                return replace(made, trigger=Trigger.ALERT)

            return of_carried(await self._ask(case, replan, About(stuck)))
        run = await loop.ask(case.cause, _nothing, begun=case.begun)
        await loop.journal.written()  # the next daemon is not to restart it once more
        assert loop.executor.force is not None
        try:
            async with asyncio.timeout(RESTARTED):
                await loop.executor.force.restart(engine)
        except EngineError as error:
            return Ended(Outcome.FAILED, str(error), run.decision.id)
        except TimeoutError:
            text = f"{engine} was not restarted within {RESTARTED:g} s"
            return Ended(Outcome.FAILED, text, run.decision.id)
        ends = loop.clock() + ANSWERS
        while loop.clock() < ends:
            await loop.changed()
            state = self.door.snapshot().engine(engine)
            if state is not None and state.up:
                text = f"{engine} was restarted, and answers"
                return Ended(Outcome.DONE, text, run.decision.id)
        text = f"{engine} was restarted, and does not answer {ANSWERS:g} s later"
        return Ended(Outcome.FAILED, text, run.decision.id)

    # -- what holds while it fires

    def _held(
        self,
        case: Case,
        closed: Closed | None = None,
        pinned: tuple[str, ...] = (),
        reservation: str | None = None,
    ) -> AlertHold:
        lasts, keeping = self.config.hold_for, self.door.loop.keeping
        return AlertHold(
            case.alert.episode,
            case.alert.name,
            case.action.name,
            case.action.kind.value,
            case.target.said,
            self.door.loop.wall(),
            lasts,
            keeping.deadlines.after(lasts),
            closed,
            pinned,
            reservation,
        )

    async def _hold(self, case: Case, hold: AlertHold) -> Ended:
        self.door.loop.keeping.alert_holds.begin(hold)
        self.door.claims_changed()
        run = await self.door.loop.ask(case.cause, _nothing, begun=case.begun)
        return Ended(Outcome.HELD, UNTIL, run.decision.id)

    async def _pin(self, case: Case) -> Ended:
        refs = case.target.refs or frozenset()
        if not refs:
            text = f"no model here is called {case.target.said}"
            return await self.nothing(case.alert, Ended(Outcome.NOTHING_TO_DO, text))
        self.door.stay(About(refs, f"an alert asks to keep it: {case.alert.name}"))
        return await self._hold(case, self._held(case, pinned=tuple(sorted(map(str, refs)))))

    async def _reserve(self, case: Case) -> Ended:
        """Nothing more is loaded into these bytes; who has them leaves, as far as that helps."""
        (pool,) = case.target.pools or ()
        keeping = self.door.loop.keeping
        size, who = case.action.size, f"alert {case.alert.name}"
        job = keeping.reserved.ask(who, pool, size, self.config.hold_for, ())
        keeping.reserved.grant(job.id)
        keeping.alert_holds.begin(self._held(case, reservation=job.id))
        self.door.claims_changed()

        def replan(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
            to = _beyond_reserve(snapshot, policy, pool, size)
            return make_room(snapshot, policy, (pool,), to, None, experience)

        ended = of_carried(await self._ask(case, replan))
        free = ended.outcome is Outcome.NOTHING_TO_DO
        detail = "all of it is free already" if free else ended.detail
        return ended._replace(outcome=Outcome.HELD, detail=detail)


def _nothing(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
    return NOTHING


def _who(snapshot: Snapshot, target: Target) -> list[ModelRef]:
    """Whom it names, as far as they are there and hold bytes where it says."""
    mine = [r for r in snapshot.residents if target.refs is None or r.ref in target.refs]
    pools = target.pools
    return [r.ref for r in mine if pools is None or any(r.holds(pool) for pool in pools)]


def _beyond_reserve(snapshot: Snapshot, policy: Policy, pool: PoolId, size: Bytes) -> Amount:
    here = snapshot.pool(pool)
    return Amount(size if here is None else Bytes(policy.reserve_of(here) + size))
