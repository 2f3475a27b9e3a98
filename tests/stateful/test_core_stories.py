"""The deciding part alone, in long stories: every plan is carried out to the letter on a machine of
numbers, and what was promised must be what comes of it. A thousand steps a second."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from collectors.reading import Bytes, MemoryPool, PoolId, PoolKind, Seconds
from supervisor.core.headroom import rooms
from supervisor.core.lease import Lease
from supervisor.core.plan import Evict, Load, Plan, dismiss, limit, plan, relieve
from supervisor.core.plan import Trigger as By
from supervisor.core.policy import Policy, PoolPolicy
from supervisor.core.rank import RANKINGS
from supervisor.core.snapshot import Demand, ModelRef, Reservation, Resident, Share, Snapshot
from tests.builders import GPU, OTHER, engine, ref
from tests.stateful.policies import Amount

pytestmark = pytest.mark.slow

TOTAL = {GPU: 100, OTHER: 60}
one_of = st.sampled_from
names, pools = one_of([f"m{i}" for i in range(7)]), one_of((GPU, OTHER))
sizes = st.integers(1, 45)


@dataclass
class Lodger:
    takes: dict[PoolId, int]
    busy: bool = False
    idle: int = 0
    arrived: bool = True  # False: granted, and not yet measured


class CoreStories(RuleBasedStateMachine):
    lodgers: dict[ModelRef, Lodger]

    @initialize(ranking=one_of(sorted(RANKINGS)))
    def begins(self, ranking: str) -> None:
        self.lodgers, self.strangers = {}, dict.fromkeys(TOTAL, 0)
        self.jobs = dict.fromkeys(TOTAL, 0)
        self.blind: set[PoolId] = set()
        self.leased: set[ModelRef] = set()
        self.policy = Policy(ranking=RANKINGS[ranking], restore_margin=Bytes(0))
        self.settings(reserves=(5, 0), budget=None, most=0, force=False)
        self.pinned: set[ModelRef] = set()

    def used(self, pool: PoolId, *, arrived: bool = False) -> int:
        there = (m for m in self.lodgers.values() if m.arrived or not arrived)
        return sum(m.takes.get(pool, 0) for m in there) + self.strangers[pool]

    def snapshot(self) -> Snapshot:
        seen = {r: m for r, m in self.lodgers.items() if m.arrived}
        promised = [
            Reservation(r, tuple(Share(p, Bytes(n)) for p, n in m.takes.items()))
            for r, m in self.lodgers.items()
            if not m.arrived
        ]
        promised += [
            Reservation(None, (Share(p, Bytes(n)),), f"job-{p}") for p, n in self.jobs.items() if n
        ]
        residents = (
            Resident(
                r,
                tuple(Share(p, Bytes(n)) for p, n in m.takes.items()),
                busy=m.busy,
                in_flight=int(m.busy),
                idle_for=Seconds(m.idle),
            )
            for r, m in seen.items()
        )
        return Snapshot(
            Seconds(100),
            tuple(
                MemoryPool(p, PoolKind.DEDICATED, Bytes(n), Bytes(n - self.used(p, arrived=True)))
                for p, n in TOTAL.items()
                if p not in self.blind
            ),
            tuple(residents),
            dict.fromkeys(self.blind, "lost"),
            engines=(engine(),),
            reservations=tuple(promised),
            leases=tuple(Lease(str(r), r, "x", Seconds(0), Seconds(999)) for r in self.leased),
        )

    def carries_out(self, made: Plan, *, may_cut: bool, unseen: int | None) -> None:
        """To the letter; and nobody goes who may not. Of memory that cannot be read nobody is sent
        away for its bytes: at most `unseen`, who go because there are too many (None: any).
        """
        assert len({a.ref for a in made.evictions}) == len(made.evictions)
        for action in made.evictions:
            assert isinstance(action, Evict)
            lodger = self.lodgers.pop(action.ref)
            assert lodger.arrived
            assert action.ref not in self.pinned
            assert may_cut or not (lodger.busy or action.ref in self.leased)
            frees = {s.pool: s.size for s in action.frees}
            assert frees == lodger.takes
            if unseen is not None and frees.keys() <= self.blind:
                unseen -= 1
                assert unseen >= 0
        self.leased &= self.lodgers.keys()

    @rule(name=names, size=sizes, pool=pools, both=st.booleans())
    def wanted(self, name: str, size: int, pool: PoolId, both: bool) -> None:
        takes = {pool: size} | ({OTHER if pool == GPU else GPU: 3} if both else {})
        shares = tuple(Share(p, Bytes(n)) for p, n in takes.items())
        demand, before = Demand(shares, ref(name)), self.snapshot()
        made = plan(before, self.policy, demand)
        assert made == plan(before, self.policy, demand)
        assert made.works or not made.actions
        assert not (made.works and made.actions and takes.keys() & self.blind)
        force = bool(self.policy.force_when_busy)
        most = self.policy.max_active or 99
        above = max(0, len(self.lodgers.keys() | {ref(name)}) - most)
        self.carries_out(made, may_cut=force, unseen=above)
        for load in (a for a in made.actions if isinstance(a, Load)):
            assert load.ref == ref(name)
            assert load.ref not in self.lodgers or not self.lodgers[load.ref].arrived
            self.lodgers[load.ref] = Lodger(takes, arrived=False)
            for p in takes:  # I5, by arithmetic of our own
                own = self.policy.pools[p]
                assert own.reserve is not None
                assert self.used(p) + self.jobs[p] + own.reserve.size <= TOTAL[p]
                if own.budget is not None:
                    assert self.used(p) - self.strangers[p] <= own.budget.size
            if self.policy.max_active:
                assert len(self.lodgers) <= self.policy.max_active

    @rule()
    def arrive(self) -> None:
        for lodger in self.lodgers.values():
            lodger.arrived = True

    @rule()
    def relieved(self) -> None:
        before = {p: self.used(p, arrived=True) for p in TOTAL}
        made = relieve(self.snapshot(), self.policy)
        self.carries_out(made, may_cut=bool(self.policy.force_when_busy), unseen=0)
        if not made.unmet:
            for room in rooms(replace(self.snapshot(), reservations=()), self.policy):
                if made.evictions and before[room.pool] != self.used(room.pool, arrived=True):
                    assert room.headroom >= 0

    @rule()
    def limited(self) -> None:
        made = limit(self.snapshot(), self.policy)
        self.carries_out(made, may_cut=bool(self.policy.force_when_busy), unseen=None)

    @rule(name=names, force=st.booleans())
    def dismissed(self, name: str, force: bool) -> None:
        made = dismiss(self.snapshot(), self.policy, [ref(name)], By.OPERATOR, even_busy=force)
        assert {e.ref for e in made.evictions} <= {ref(name)}
        self.carries_out(made, may_cut=force, unseen=None)

    @rule(name=names, busy=st.booleans(), idle=st.integers(0, 99))
    def works(self, name: str, busy: bool, idle: int) -> None:
        if (lodger := self.lodgers.get(ref(name))) is not None:
            lodger.busy, lodger.idle = busy, 0 if busy else idle

    @rule(name=names)
    def is_leased(self, name: str) -> None:
        if ref(name) in self.lodgers:
            self.leased ^= {ref(name)}

    @rule(name=names)
    def is_pinned(self, name: str) -> None:
        self.pinned ^= {ref(name)}
        self.policy = replace(self.policy, pinned=frozenset(map(str, self.pinned)))

    @rule(pool=pools, size=sizes)
    def stranger(self, pool: PoolId, size: int) -> None:
        self.strangers[pool] = 0
        self.strangers[pool] = min(size, TOTAL[pool] - self.used(pool))

    @rule(pool=pools, size=st.integers(0, 10))
    def job(self, pool: PoolId, size: int) -> None:
        own = self.policy.pools[pool].reserve
        assert own is not None
        if self.used(pool) + own.size + size <= TOTAL[pool]:
            self.jobs[pool] = size

    @rule(pool=pools)
    def blinded(self, pool: PoolId) -> None:
        self.blind ^= {pool}

    @rule(
        reserves=st.tuples(st.integers(0, 9), st.integers(0, 9)),
        budget=st.none() | st.integers(20, 60),
        most=one_of((0, 0, 2, 4)),
        force=st.booleans(),
    )
    def settings(
        self, reserves: tuple[int, int], budget: int | None, most: int, force: bool
    ) -> None:
        limit_of = None if budget is None else Amount(size=Bytes(budget))
        own = zip(TOTAL, reserves, (limit_of, None), strict=True)
        found = {p: PoolPolicy(reserve=Amount(size=Bytes(r)), budget=b) for p, r, b in own}
        self.policy = replace(self.policy, pools=found, max_active=most, force_when_busy=force)

    @invariant()
    def nothing_is_there_twice(self) -> None:
        for pool in getattr(self, "strangers", ()):
            assert 0 <= self.used(pool) <= TOTAL[pool]


TestCoreStories = CoreStories.TestCase
TestCoreStories.settings = settings(
    max_examples=settings().max_examples * 4,
    stateful_step_count=50,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("ranking", sorted(RANKINGS))
def test_who_goes_because_there_are_too_many_may_be_where_nothing_can_be_read(ranking: str) -> None:
    story = CoreStories()
    story.begins(ranking=ranking)
    for name, pool in (("m0", GPU), ("m1", OTHER)):
        story.wanted(name=name, size=1 if pool == GPU else 2, pool=pool, both=False)
        story.arrive()
    story.blinded(pool=OTHER)
    story.settings(reserves=(0, 0), budget=None, most=2, force=False)
    story.wanted(name="m2", size=1, pool=GPU, both=False)
    assert ref("m2") in story.lodgers
    assert len(story.lodgers) == 2


@pytest.mark.parametrize("ranking", sorted(RANKINGS))
def test_for_bytes_nobody_goes_besides_where_nothing_can_be_read(ranking: str) -> None:
    story = CoreStories()
    story.begins(ranking=ranking)
    for name, pool, size in (("m0", OTHER, 2), ("m1", OTHER, 2), ("m2", GPU, 40), ("m3", GPU, 40)):
        story.wanted(name=name, size=size, pool=pool, both=False)
        story.arrive()
        story.works(name=name, busy=False, idle=90 if pool == OTHER else 1)
    story.blinded(pool=OTHER)
    story.settings(reserves=(0, 0), budget=None, most=4, force=False)
    story.wanted(name="m4", size=45, pool=GPU, both=False)
    assert len(story.lodgers) == 4
    assert {ref("m0"), ref("m1"), ref("m4")} <= story.lodgers.keys()
