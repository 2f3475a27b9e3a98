"""The steps of a story: what people, engines, drivers and operators may do, in any order.

A story that fails is printed as its steps; each of them is a call of a method of `Steps`, so that
it can be told again as a test: see test_told.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any

from collectors.reading import PoolId, Seconds, gib
from supervisor.awaited import LISTED
from supervisor.claims import Claims, Leased
from supervisor.core.halt import Halt
from supervisor.core.policy import Policy
from supervisor.core.record import Mode
from supervisor.core.snapshot import EngineId
from supervisor.demo.engines import Fault, Unload
from supervisor.demo.machine import OutOfMemory, Tenant
from supervisor.door import DoorError
from supervisor.engines.base import EngineRefused
from supervisor.events import ClaimsChanged, Pressed, SettingsChanged
from supervisor.gateway.admission import Wish
from tests.stateful import checks
from tests.stateful.daemons import Daemons
from tests.stateful.ledger import FOREVER, Ledger
from tests.stateful.people import Guest, Stranger
from tests.stateful.town import REFS, TENANTS, Town

HEALED = 30.0  # seconds after all faults, by when nobody may wait for anything any more


class Steps(Daemons):
    """One story. `trouble` is what has been found wrong so far."""

    def __init__(self, policy: Policy) -> None:
        self.book = Ledger(policy=policy)
        self.town = self.book.town = Town(self.book, policy)
        self.strangers: list[Tenant] = []
        self.killed: set[str] = set()
        self._wishes: list[asyncio.Task[Any]] = []
        self.town.begin()

    # -- how it is told

    def trouble(self) -> list[str]:
        found = list(checks.after_each_step(self.town, self.book))
        for task in [t for t in self._wishes if t.done()]:
            self._wishes.remove(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                found.append(f"a wish was answered by a bug: {error!r}")
        return found

    def check(self) -> None:
        none(self.trouble())

    def passes(self, seconds: float | None) -> None:
        self.book.promises.note(self.book, self.town.pen)
        self.town.pass_time(seconds)
        self.book.see_faults()

    def _now(self, *acts: Any) -> None:
        """Within the loop, in this very turn."""

        async def done() -> None:
            for act in acts:
                act()

        self.town.do(done())

    def _wish(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Somebody asks at the door, and waits there. A refusal is an answer, too."""

        async def asked() -> Any:
            try:
                return await work
            except DoorError as error:
                return error

        async def begun() -> asyncio.Task[Any]:
            task = asyncio.create_task(asked())
            await asyncio.sleep(0)
            return task

        task: asyncio.Task[Any] = self.town.do(begun())
        self._wishes.append(task)
        return task

    @property
    def door(self) -> Any:
        return self.town.world.door

    # -- requests

    def asks(self, names: tuple[str, ...], service: float, client: str = "") -> None:
        refs = tuple(REF[name] for name in names)
        guest = Guest(self.town, Wish(refs, client=client), service, self.town.clock())
        self.book.guests.append(guest)
        self._now(guest.enter)

    def leaves(self, nth: int) -> None:
        """One of those who are held or served has gone."""
        there = [g for g in self.book.guests if g.over is None]
        if there:
            self._now(there[nth % len(there)].leave)

    def behind_our_back(self, name: str, service: float) -> None:
        """A client asks the engine, which loads the model if it is not there."""
        ref = REF[name]
        engine = self.town.engines[ref.engine]
        try:
            if engine.fault is None:
                engine.serve(ref.model, service)
                began, until = engine.models[ref.model].requests[-1]
                self.book.strangers.append(Stranger(ref, began, until))
        except EngineRefused:
            pass
        self.book.meddled = self.town.clock()

    # -- wishes

    def loads(self, name: str, client: str | None = None) -> None:
        self._wish(self.door.load(name, client=client))

    def evicts(self, name: str, force: bool, wait: bool) -> None:
        ref = REF[name]

        def over(_: object) -> None:
            if force and ref in self.book.forced:
                self.book.forced.remove(ref)

        if force:
            self.book.forced.append(ref)
        self._wish(self.door.evict([str(ref)], force=force, wait=wait)).add_done_callback(over)

    def evicts_all(self) -> None:
        self._wish(self.door.evict_all())

    def frees(self, pool: PoolId, size: float) -> None:
        self._wish(self.door.free(gib(size), pool))

    # -- claims

    def pins(self, name: str, period: float | None) -> None:
        ends = FOREVER if period is None else self.town.clock() + period
        self._wish(self.door.pin(name, None if period is None else Seconds(period)))
        kept = self.town.world.loop.keeping.pins
        if name in kept.names and kept.ends.get(name, FOREVER) == ends:
            self.book.pins[name] = ends

    def unpins(self, name: str) -> None:
        self.book.pins.pop(name, None)
        self._wish(self.door.unpin(name))

    def leases(self, name: str, ttl: float, wait: bool) -> None:
        ref = REF[name]

        def opened(task: asyncio.Task[Any]) -> None:
            answer = None if task.cancelled() else task.result()
            if isinstance(answer, Leased) and answer.lease is not None:
                self.book.leases[answer.lease.id] = (ref, answer.lease.expires_at)

        claims = Claims(self.door)
        self._wish(claims.lease(str(ref), "agent", Seconds(ttl), wait=wait)).add_done_callback(
            opened
        )

    def closes_lease(self, nth: int) -> None:
        if self.book.leases:
            id = list(self.book.leases)[nth % len(self.book.leases)]
            ends = self.book.leases.pop(id)[1]
            if ends > self.town.clock():
                self._now(lambda: Claims(self.door).close_lease(id))

    def reserves(self, pool: PoolId, size: float, ttl: float) -> None:
        def granted(task: asyncio.Task[Any]) -> None:
            answer = None if task.cancelled() else task.result()
            job = getattr(answer, "job", None)
            if job is not None:
                self.book.jobs[job.id] = (pool, job.size, job.ends)

        claims = self._claims()
        work = claims.reserve(gib(size), pool, "training", Seconds(ttl))
        self._wish(work).add_done_callback(granted)

    def gives_back(self, nth: int) -> None:
        if self.book.jobs:
            id = list(self.book.jobs)[nth % len(self.book.jobs)]
            ends = self.book.jobs.pop(id)[2]
            if ends > self.town.clock():
                self._now(lambda: self._claims().close_reservation(id))

    def _claims(self) -> Claims:
        """One for a daemon: it lets those who reserve in one after the other."""
        found: Claims | None = getattr(self.town.world, "_claims", None) or self._of_world.get(
            id(self.town.world)
        )
        if found is None:
            found = self._of_world[id(self.town.world)] = Claims(self.door)
        return found

    @property
    def _of_world(self) -> dict[int, Claims]:
        kept: dict[int, Claims] = self.__dict__.setdefault("_kept_claims", {})
        return kept

    # -- rest

    def _pausing(self, act: Any) -> None:
        loop = self.town.world.loop
        self._now(lambda: act(loop.keeping.pausing), lambda: loop.post(ClaimsChanged()))

    def pauses(self, period: float | None) -> None:
        now = self.town.clock()
        ends = None if period is None else Seconds(now + period)
        self.book.pause = (now, FOREVER if ends is None else ends)
        self._pausing(lambda pausing: pausing.set_pause(ends))

    def goes_on(self) -> None:
        self.book.pause = None
        self._pausing(lambda pausing: pausing.end_pause())

    def drains(self, engine: EngineId, period: float | None, unload: bool) -> None:
        ends = None if period is None else Seconds(self.town.clock() + period)
        self.book.drains[engine] = FOREVER if ends is None else ends
        self._pausing(lambda pausing: pausing.drain(engine, Halt(ends, unload)))

    def undrains(self, engine: EngineId) -> None:
        self.book.drains.pop(engine, None)
        self._pausing(lambda pausing: pausing.end_drain(engine))

    def settings(self, policy: Policy, apply_now: bool) -> None:
        self.book.changing = True
        loop = self.town.world.loop
        self._now(lambda: loop.post(SettingsChanged(policy, apply_now)))
        self.passes(None)
        self.passes(None)
        self.town.policy = self.book.policy = policy
        self.book.changing = False

    # -- trouble

    def fails(self, engine: EngineId, fault: Fault | None) -> None:
        self.town.engines[engine].fault = fault

    def is_late(self, engine: EngineId, seconds: float) -> None:
        self.town.engines[engine].late = seconds

    def unloads_slowly(self, engine: EngineId, answer: float, memory: float) -> None:
        found = self.town.engines[engine]
        found.slow = answer
        for model in found.models.values():
            model.free = memory

    def lies(self, name: str, unload: Unload) -> None:
        ref = REF[name]
        self.town.engines[ref.engine].models[ref.model].unload = unload

    def loads_badly(self, name: str, how: str) -> None:
        ref = REF[name]
        engine = self.town.engines[ref.engine]
        for kind, kept in (("refuses", engine.refuses), ("dies", engine.dies)):
            kept.discard(ref.model)
            if kind == how:
                kept.add(ref.model)

    def crashes(self, name: str, after: float) -> None:
        ref = REF[name]
        self.town.engines[ref.engine].crash(ref.model, after)

    def engine_crashes(self, engine: EngineId) -> None:
        found = self.town.engines[engine]
        found.fault = Fault.DOWN
        for model in found.models:
            found.crash(model)

    def leaks(self, name: str, size: float) -> None:
        ref = REF[name]
        self.town.engines[ref.engine].leak(ref.model, gib(size))
        self.book.meddled = self.town.clock()

    def blinds(self, pool: PoolId | None, how: str) -> None:
        """`how`: "lost" of a pool, "error" or "hangs" of the whole driver, or "" if it is well."""
        machine = self.town.machine
        machine.lost = {pool: "fell off the bus"} if how == "lost" and pool else {}
        machine.fault = "driver error 999" if how == "error" else None
        (machine.answers.clear if how == "hangs" else machine.answers.set)()
        self.book.see_faults()

    def stranger_comes(self, pool: PoolId, size: float) -> None:
        with suppress(OutOfMemory):
            self.strangers.append(self.town.machine.start("game", {pool: gib(size)}, ramp=1.0))
        self.book.meddled = self.town.clock()

    def strangers_leave(self) -> None:
        for tenant in self.strangers:
            self.town.machine.end(tenant, 0.2)
        self.strangers.clear()

    def wall_steps(self, seconds: float) -> None:
        self.town.clock.ahead += seconds

    def alarm(self) -> None:
        self._now(lambda: self.town.world.loop.post(Pressed()))

    def disk_slows(self, seconds: float) -> None:
        """From now on; what it has been given before is there."""
        self._now(self.town.pen.catch_up)
        self.town.disk.delay = seconds

    # -- the end

    def heals(self) -> None:
        """Whatever was done to the machine is undone, and everybody who claims something goes."""
        self.blinds(None, "")
        self.strangers_leave()
        self.disk_slows(0.0)
        for engine in self.town.engines.values():
            engine.fault, engine.late, engine.slow = None, 0.0, 0.0
            engine.refuses.clear()
            engine.dies.clear()
            for model in engine.models.values():
                model.unload = Unload.WORKS
                model.free = 0.5
        self.goes_on()
        for id in list(self.book.drains):
            self.undrains(id)

    def everybody_goes_home(self) -> None:
        """What must be so when it is quiet again, and when the daemon has ended."""
        if self.town.mode is not Mode.ENFORCE:
            self.restarts(Mode.ENFORCE, killed=False)
        self.heals()
        self.passes(HEALED)
        self.check()
        for guest in self.book.guests:  # whoever is held has to be answered
            if not guest.held:
                self._now(guest.leave)
        while self.book.leases:
            self.closes_lease(0)
        while self.book.jobs:
            self.gives_back(0)
        self.settings(Policy(pools=self.book.policy.pools), False)
        for ref in REFS:  # leaks and lies have left what nobody knows of
            self.town.engines[ref.engine].crash(ref.model)
        self.passes(HEALED)
        if self.town.world.loop.runs:  # what was never seen is waited for longer
            self.passes(LISTED + HEALED)
        self.check()
        left = [t for t in self._wishes if not t.done()]
        none(f"at rest, and a wish is not answered: {task}" for task in left)
        none(checks.at_rest(self.town, self.book))
        self.town.end()
        none(checks.in_the_end(self.town, self.killed))
        none(self.town.errors.found)

    def close(self) -> None:
        self.town.world.loop.traffic.listener = None
        for guest in self.book.guests:
            guest.cut()
        self.town.close()


def none(found: Iterable[str]) -> None:
    """Raises AssertionError with all that is wrong."""
    if wrong := "\n".join(found):
        raise AssertionError(wrong)


ENGINES = tuple(TENANTS)
REF = {str(ref): ref for ref in REFS}
