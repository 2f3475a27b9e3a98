"""Receives alerts, answers at once, and acts on each by itself."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from collectors.reading import Seconds
from supervisor.config.alerted import LIMIT, ActionConfig, AlertsConfig
from supervisor.core.pace import too_old
from supervisor.core.snapshot import Snapshot
from supervisor.door import Door, DoorError
from supervisor.events import NotNow, Run
from supervisor.feed import Feed
from supervisor.journal.shelves import told

from .acts import UNTIL, Acts, Case
from .alert import FORCE, Alert, Caller, Ended, Json, Outcome, Row, Status
from .choice import choose
from .ledger import Ledger
from .target import Blind, Target, find

log = logging.getLogger("ullage.alerts")

ACCEPTED = "accepted"
MOST = 2000  # that may wait to be acted on
RESOLVED = "it was resolved before anything was done"
UNWRITTEN = "the journal cannot be written just now: is the disk full?"
CUT_SHORT = "the daemon ended before it was known what came of it"
LAST_TURN = Seconds(0.5)
ACTED = frozenset({Outcome.DONE, Outcome.FAILED, Outcome.HELD})


class Later(Exception):
    """It cannot be received now, and can be when it is sent again; the message says why."""


@dataclass(slots=True)
class Work:
    """An alert that is acted on. `begun`: it is decided, and can be taken back no more;
    `resolved`: it is not to be done any more."""

    row: Row
    task: asyncio.Task[None] | None = None
    started: bool = False
    begun: bool = False
    resolved: bool = False


@dataclass(slots=True)
class Alerting:
    """`counts` by outcome, `actions` by the kind of an action and its outcome. `received_at` is
    Unix time; None: nothing has been received. `start` and `stop` once each."""

    config: AlertsConfig
    door: Door
    feed: Feed = field(default_factory=Feed)
    counts: Counter[str] = field(default_factory=Counter)
    actions: Counter[tuple[str, str]] = field(default_factory=Counter)
    received_at: float | None = None
    ledger: Ledger = field(init=False)
    _acts: Acts = field(init=False)
    _work: dict[str, Work] = field(default_factory=dict)  # by the key of the alert
    _taking: dict[str, asyncio.Future[bool]] = field(default_factory=dict)  # will it be written?

    def __post_init__(self) -> None:
        loop = self.door.loop
        shelf = loop.journal.shelves["alerts"]
        self.ledger = Ledger(shelf, loop.keeping.deadlines, self.config.hold_for)
        self._acts = Acts(self.config, self.door)

    def configured(self, config: AlertsConfig) -> None:
        """What alerts may do from now on. What holds already goes on as it was begun."""
        self.config = self._acts.config = config
        self._acts.limit.most, self.ledger.lasts = config.limit, config.hold_for

    def start(self) -> None:
        """Once the journal is open: take up what was received and not acted on."""
        wall, holds = self.door.loop.wall(), self.door.loop.keeping.alert_holds.all
        for row in self.ledger.recall():
            if row.alert.episode in holds:
                self._end(row, Ended(Outcome.HELD, UNTIL))
            elif row.decision is None:
                self._serve(row)
            else:
                self._end(row, Ended(Outcome.FAILED, CUT_SHORT))
        for row in self.ledger:
            if row.outcome in ACTED and row.action is not None:
                self._acts.limit.take(max(0.0, wall - row.at))

    async def stop(self) -> None:
        """Once the loop begins nothing more: what was not begun is left to the next daemon."""
        begun = [w.task for w in self._work.values() if w.begun and w.task is not None]
        if begun:
            await asyncio.wait(begun, timeout=LAST_TURN)
        tasks = [work.task for work in self._work.values() if work.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- what is shown

    @property
    def limit(self) -> str:
        return str(LIMIT.show(self.config.limit))

    @property
    def holds(self) -> list[Json]:
        """What holds now because an alert fires."""
        return self.door.loop.keeping.alert_holds.rows

    def told(self, limit: int) -> list[Json]:
        """The latest alerts, the newest first."""
        return [row.json for row in islice(self.ledger, limit)]

    @property
    def state(self) -> Json:
        last = next(iter(self.ledger), None)
        return {
            "firing": self.ledger.firing,
            "holds": self.holds,
            "last": None if last is None else last.json,
        }

    # -- what is received

    async def receive(self, alerts: Sequence[Alert], caller: Caller) -> list[str]:
        """Take them in, and say of each "duplicate" or "accepted". Raises Later where one of them
        has to be sent again; the others are taken in all the same."""
        self._ready(len(alerts))
        loop = self.door.loop
        self.received_at = loop.wall()
        outcomes: list[str] = []
        later: list[str] = []
        rows: dict[str, Row] = {}
        twice: list[tuple[Alert, asyncio.Future[bool]]] = []  # with what comes at this moment
        snapshot = self.door.snapshot()
        for alert in alerts:
            if (taking := self._taking.get(alert.key)) is not None:
                twice.append((alert, taking))
                outcomes.append(Outcome.DUPLICATE.value)
            elif alert.key in rows or self.ledger.get(alert) is not None:
                self._again(alert)
                outcomes.append(Outcome.DUPLICATE.value)
            elif (why := self._blind(alert, snapshot)) is not None:
                later.append(why)
            else:
                row = Row(alert, self.received_at, caller.name, force=caller.force)
                rows[alert.key] = row
                outcomes.append(ACCEPTED)
        await self._take_in(list(rows.values()))
        for alert, taking in twice:
            if await asyncio.shield(taking):
                self._again(alert)
            else:
                later.append(UNWRITTEN)
        if later:
            one = "one of its alerts was" if len(rows) == 1 else f"{len(rows)} of its alerts were"
            raise Later(f"{later[0]}; {one} accepted" if rows else later[0])
        return outcomes

    def _ready(self, count: int) -> None:
        loop = self.door.loop
        if loop.executor.stopping:
            raise Later("the daemon is stopping")
        if loop.snapshot is None:
            raise Later("the first sample is not in yet")
        if (age := loop.clock() - loop.snapshot.taken_at) > too_old(loop.period):
            raise Later(f"the latest sample is {age:.0f} s old, and says nothing of now")
        if len(self._work) + count > MOST:
            raise Later(f"{len(self._work)} alerts wait to be acted on: as many as may")

    def _blind(self, alert: Alert, snapshot: Snapshot) -> str | None:
        """Why it cannot be acted on now, and perhaps soon."""
        if alert.status is Status.RESOLVED or not snapshot.blind:
            return None
        action = choose(self.config, alert)
        try:
            if not isinstance(action, Ended):
                find(action, alert.labels, snapshot, self.door.pool)
        except Blind as why:
            return str(why)
        return None

    def _again(self, alert: Alert) -> None:
        """It was received before. What holds for it holds longer."""
        self.counts[Outcome.DUPLICATE.value] += 1
        self.ledger.heard(alert)
        if alert.status is Status.FIRING:
            self.door.loop.keeping.alert_holds.heard(alert.episode)

    async def _take_in(self, rows: list[Row]) -> None:
        """Write them down, then act on them. Raises Later where that cannot be; then nothing was
        received."""
        if not rows:
            return
        taken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._taking |= {row.alert.key: taken for row in rows}
        written = False
        try:
            for row in rows:
                done = self.ledger.keep(row)  # in order: what is true of the last is so of all
                await asyncio.sleep(0)  # a thousand of them take a while
            written = await told(done) or not self.door.loop.journal.persistent
        finally:  # whoever sends them may be gone meanwhile
            for row in rows:
                del self._taking[row.alert.key]
                self._serve(row) if written else self.ledger.forget(row)
            taken.set_result(written)
        if not written:
            raise Later(UNWRITTEN)

    # -- what is done

    def _serve(self, row: Row) -> None:
        key = row.alert.key
        self._work[key] = work = Work(row)
        work.task = asyncio.create_task(self._work_on(work), name=f"alert {row.alert.id}")
        work.task.add_done_callback(lambda _: self._work.pop(key, None))

    async def _work_on(self, work: Work) -> None:
        """Ends with an outcome, unless the daemon ends first."""
        work.started = True
        alert = work.row.alert
        try:
            try:
                await asyncio.sleep(0)  # of a thousand that come at once each has a turn of its own
                ended = await self._ended(work)
            except asyncio.CancelledError:
                if not work.resolved:
                    raise
                ended = await self._acts.nothing(alert, Ended(Outcome.SUPERSEDED, RESOLVED))
        except NotNow:
            return  # the daemon is stopping: the next one takes it up
        except DoorError as error:
            ended = Ended(Outcome.FAILED, str(error))
        except Exception as error:
            log.exception("could not act on alert %s", alert.id)
            ended = Ended(Outcome.FAILED, f"internal error: {type(error).__name__}: {error}")
        self._end(work.row, ended)

    def _end(self, row: Row, ended: Ended) -> None:
        row = row.ended(ended)
        self.ledger.keep(row)
        self.counts[ended.outcome.value] += 1
        if row.action is not None and (action := self.config.action(row.action)) is not None:
            self.actions[action.kind.value, ended.outcome.value] += 1
        log.info("%s, %s: %s", row.alert.said, ended.outcome.value, ended.detail)
        self.feed.tell("alert", row.json, alert=row.alert.id)  # an event has an id of its own

    async def _ended(self, work: Work) -> Ended:
        """Raises NotNow, DoorError."""
        alert, door = work.row.alert, self.door
        while door.loop.snapshot is None:  # it was received by the daemon before
            await door.loop.changed()
        if alert.status is Status.RESOLVED:
            return await self._resolve(work)
        if self.ledger.other(alert) is not None:
            return await self._acts.nothing(alert, Ended(Outcome.SUPERSEDED, RESOLVED))
        if (age := door.loop.wall() - work.row.at) > self.config.hold_for:
            text = f"it was received {age:.0f} s ago, and nothing has been heard of it since"
            return await self._acts.nothing(alert, Ended(Outcome.SUPERSEDED, text))
        action = choose(self.config, alert)
        if isinstance(action, Ended):
            return await self._acts.nothing(alert, action)
        work.row = replace(work.row, action=action.name)
        try:
            target = find(action, alert.labels, door.snapshot(), door.pool)
        except Blind as why:
            target = Ended(Outcome.FAILED, str(why))
        if isinstance(target, Ended):
            return await self._acts.nothing(alert, target)
        work.row = replace(work.row, target=target.said)
        ended = await self._acts.act(self._case(work, action, target))
        wished = alert.labels.get(FORCE) == "true" and not work.row.force
        if wished and ended.outcome is Outcome.DISAGREED:
            more = f"{ended.detail}; {work.row.by} may not force it"
            ended = ended._replace(detail=more)
        return ended

    def _case(self, work: Work, action: ActionConfig, target: Target) -> Case:
        def begun(run: Run) -> None:
            work.begun = True
            work.row = replace(work.row, decision=run.decision.id)
            self.ledger.keep(work.row)

        wishes = work.row.alert.labels.get(FORCE) == "true"
        return Case(work.row.alert, action, target, wishes and work.row.force, begun)

    async def _resolve(self, work: Work) -> Ended:
        """Take back what was not begun, and end what holds."""
        alert, parts = work.row.alert, []
        pending = self._work.get(f"{alert.episode} {Status.FIRING.value}")
        first = self.ledger.other(alert) if pending is None else pending.row
        if first is not None:
            work.row = replace(work.row, action=first.action, target=first.target)
        if pending is not None and not pending.begun:
            pending.resolved = True
            if pending.started and pending.task is not None:
                pending.task.cancel()
            parts.append("what was to be done for it is not done")
        hold = self.door.loop.keeping.alert_holds.end(alert.episode, "for its alert resolved")
        if hold is not None:
            self.door.claims_changed()
            parts.append(f"what held for it holds no more: {hold.kind}, {hold.target}")
        text = "; ".join(parts) or "nothing was to be done for it, and nothing held"
        return await self._acts.nothing(alert, Ended(Outcome.RESOLVED, text))
