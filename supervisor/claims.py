"""What clients may hold on to: leases on models, bytes for jobs of their own, retentions."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from collectors.reading import Bytes, PoolId, Seconds

from .core.contradictions import contradictions
from .core.experience import Experience
from .core.lease import Lease
from .core.plan import Plan, plan
from .core.policy import Policy
from .core.record import Mode
from .core.snapshot import Demand, ModelRef, Share, Snapshot, Source, State
from .core.status import Standing, standing
from .door import Carried, Door, DoorError, NotReady, Unknown
from .events import About, NotNow, Replan
from .keeping.keeping import Keeping
from .keeping.reserved import Job
from .keeping.retentions import HOST, Wish
from .units import format_bytes

# Nobody has so many agents: a client that opens them in a loop is stopped before memory is short.
MOST = 10_000
# A load that somebody else has begun is waited for so long.
LOAD_TIMEOUT = Seconds(600)


@dataclass(frozen=True, slots=True)
class Leased:
    """`lease` None: it was refused, for its model could not be loaded. `carried`: what was decided
    to load it, where it was not there."""

    lease: Lease | None
    standing: Standing
    carried: Carried | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """`job` None: there is no room for it, and nobody has gone for it in vain."""

    job: Job | None
    carried: Carried


@dataclass(slots=True)
class Claims:
    """`_turn`: room is made for one job after the other, or two that ask at once would be in each
    other's way, and neither be given what there is for one."""

    door: Door
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def keeping(self) -> Keeping:
        return self.door.loop.keeping

    # -- leases

    def standing(self, ref: ModelRef) -> Standing:
        """As it is now, also what has been changed since the latest snapshot."""
        loop = self.door.loop
        snapshot = replace(self.door.snapshot(), reservations=loop.reservations)
        return standing(ref, *self.keeping.as_claimed(snapshot, loop.policy))

    async def lease(self, name: str, client: str, ttl: Seconds, *, wait: bool = True) -> Leased:
        """Open a lease, and have its model loaded if it is not there. With `wait` it is there when
        this returns, and the lease's time begins then; else it may be loading still.

        Raises DoorError where the model is leaving, or its engine does not answer. One that is
        being unloaded has gone first.
        """
        ref = self.door.resolve(name, to_have=True)
        await self.door.loop.over(About(frozenset({ref})))
        self._check(ref)
        lease = self.keeping.leases.open(ref, client, ttl)
        self.door.claims_changed()
        try:
            carried = None
            if not self._there(ref):
                carried = await self._load(ref, lease.id) if wait else await self._begin(ref)
        except BaseException:
            self._give_up(lease.id)
            raise
        if not self._there(ref) and (wait or self._refused(carried)):
            self._give_up(lease.id)
            return Leased(None, self.standing(ref), carried)
        if carried is not None:
            lease = self.keeping.leases.renew(lease.id) or lease
            self.door.claims_changed()
        return Leased(lease, self.standing(ref), carried)

    async def hold(self, name: str, client: str, ttl: Seconds) -> Leased:
        """Open a lease on a model that is there, or is being loaded: none is loaded for it. Raises
        DoorError where it is not."""
        ref = self.door.resolve(name)
        self._check(ref)
        if not (self._there(ref) or self._loading(ref)):
            raise DoorError(f"{ref} is not there, and is not to be loaded for a lease")
        lease = self.keeping.leases.open(ref, client, ttl)
        self.door.claims_changed()
        return Leased(lease, self.standing(ref))

    def _check(self, ref: ModelRef) -> None:
        snapshot = self.door.snapshot()
        resident = snapshot.resident(ref)
        if ref in self.keeping.farewells.all:
            count = snapshot.contexts(ref)
            raise DoorError(
                f"{ref} was told to leave, and does (contexts={count}): `ullage load` or"
                " `ullage pin` takes that back"
            )
        if resident is not None and resident.state is State.UNKNOWN:
            raise DoorError(f"{ref} cannot be leased: its engine does not answer")
        if (drained := self.keeping.pausing.refusal(ref.engine)) is not None:
            raise DoorError(f"{ref} cannot be leased: {drained}")
        if len(self.keeping.leases.all) >= MOST:
            raise DoorError(f"there are {MOST} leases already; close some, or let them expire")

    def _there(self, ref: ModelRef) -> bool:
        resident = self.door.snapshot().resident(ref)
        return resident is not None and resident.state is State.LOADED

    async def _load(self, ref: ModelRef, id: str) -> Carried:
        """Returns when the model is there, or will not be."""
        awaited = self.keeping.leases.awaited
        awaited.add(id)
        try:
            carried = await self.door.load(str(ref))
            ends = self.keeping.deadlines.after(LOAD_TIMEOUT)
            while self._loading(ref) and self.keeping.deadlines.now < ends:  # somebody else's
                await self.door.loop.changed()
            return carried
        finally:
            awaited.discard(id)

    def _loading(self, ref: ModelRef) -> bool:
        resident = self.door.snapshot().resident(ref)
        return resident is not None and resident.state is State.LOADING

    async def _begin(self, ref: ModelRef) -> Carried:
        """Returns when it is decided."""
        demand = self.door.demand(str(ref))
        try:
            about = About(frozenset({ref}))
            run = await self.door.loop.ask(f"asked to load {ref}", _planned(demand), about)
        except NotNow as why:
            raise NotReady(str(why)) from None
        self.door.begun(run)
        return Carried(run.decision, ())

    def _refused(self, carried: Carried | None) -> bool:
        if carried is None:
            return False
        decision = carried.decision
        return not decision.plan.works or decision.mode is not Mode.ENFORCE

    def _give_up(self, id: str) -> None:
        self.keeping.leases.close(id)
        self.door.claims_changed()

    def renew_lease(self, id: str, ttl: Seconds | None) -> Leased:
        """Raises Unknown where there is none, or none any more."""
        lease = self.keeping.leases.renew(id, ttl)
        if lease is None:
            raise Unknown("lease", id, (), "open one: it may have expired")
        self.door.claims_changed()
        return Leased(lease, self.standing(lease.ref))

    def close_lease(self, id: str) -> Lease:
        lease = self.keeping.leases.close(id)
        if lease is None:
            raise Unknown("lease", id, (), "it may have expired")
        self.door.claims_changed()
        return lease

    # -- reservations

    async def reserve(
        self,
        size: Bytes,
        pool: PoolId,
        client: str,
        ttl: Seconds,
        pids: Collection[int] = (),
        *,
        wait: bool = True,
    ) -> Granted:
        """Make room for a job that is none of our models, and keep it free. All or nothing."""
        reserved = self.keeping.reserved
        if len(reserved.all) >= MOST:
            raise DoorError(f"there are {MOST} reservations already; give some back")
        async with self._turn:
            return await self._reserve(size, pool, client, ttl, pids, wait)

    async def _reserve(
        self,
        size: Bytes,
        pool: PoolId,
        client: str,
        ttl: Seconds,
        pids: Collection[int],
        wait: bool,
    ) -> Granted:
        reserved = self.keeping.reserved
        job = reserved.ask(client, pool, size, ttl, pids)  # counts from now on
        self.door.claims_changed()
        replan = _planned(Demand((Share(pool, size, Source.DECLARED),), job=job.id))
        try:
            cause = f"{client} asked for {format_bytes(size)} of {pool}, to be kept free"
            carried = await self.door.ask(cause, replan, wait)
            after = self.door.dry(replan)
        except BaseException:
            reserved.close(job.id)
            self.door.claims_changed()
            raise
        fits = after.works and not after.actions
        if fits:
            job = reserved.grant(job.id)
        else:
            reserved.close(job.id)
        self.door.claims_changed()
        return Granted(job if fits else None, carried)

    def renew_reservation(
        self, id: str, ttl: Seconds | None, pids: Collection[int] | None = None
    ) -> Job:
        job = self.keeping.reserved.renew(id, ttl, pids)
        if job is None:
            raise Unknown("reservation", id, (), "it may have expired")
        self.door.claims_changed()
        return job

    def close_reservation(self, id: str) -> Job:
        job = self.keeping.reserved.close(id)
        if job is None:
            raise Unknown("reservation", id, (), "it may have expired")
        self.door.claims_changed()
        return job

    # -- retentions

    def scope(self, model: str | None, engine: str | None) -> str:
        """The name of what a retention is said of. Raises Unknown."""
        if model is not None:
            return f"model {self.door.resolve(model)}"
        if engine is None:
            return HOST
        if engine not in (known := [e.id for e in self.door.snapshot().engines]):
            raise Unknown("engine", engine, tuple(known[:3]))
        return f"engine {engine}"

    def set_retention(self, scope: str, wish: Wish) -> None:
        """Raises DoorError where it contradicts what is pinned or configured."""
        retentions = self.keeping.retentions
        before = self.keeping.considered(self.keeping.given)
        after = retentions.over(before, retentions.all | {scope: wish})
        if new := [c for c in contradictions(after) if c not in contradictions(before)]:
            raise DoorError("; ".join(f"{'.'.join(c.path)} {c.message}" for c in new))
        self.keeping.retentions.set(scope, wish)
        self.door.claims_changed()

    def reset_retention(self, scope: str) -> bool:
        """False: it is as it is configured."""
        was = self.keeping.retentions.drop(scope)
        self.door.claims_changed()
        return was


def _planned(demand: Demand) -> Replan:
    def replan(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
        return plan(snapshot, policy, demand, experience)

    return replan
