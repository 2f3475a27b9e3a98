"""Read again, act, wait until memory settles, judge: against an engine made of values."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from collectors.reading import Seconds, gib
from supervisor.core.afresh import companions
from supervisor.core.experience import Experience
from supervisor.core.groups import Group, Rule
from supervisor.core.lease import Lease
from supervisor.core.plan import Evict, Plan, Why, plan
from supervisor.core.policy import Policy
from supervisor.core.record import Mode, Outcome, Result
from supervisor.core.snapshot import EngineId, Installed, ModelId, ModelRef, Snapshot, State
from supervisor.core.verdict import Verdict
from supervisor.core.ways import Ways
from supervisor.engines.base import EngineDown, EngineRefused
from supervisor.executor import Executor, kept_its_promise
from tests.builders import GPU, NO_RESERVE, demand, machine, ref, resident, share


@dataclass
class World:
    """One GPU and one engine. An unload frees `after` so many seconds; None: never."""

    snapshot: Snapshot
    policy: Policy = NO_RESERVE
    after: float | None = 0.0
    refuses: dict[str, Exception] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    leaving: list[ModelRef] = field(default_factory=list)
    now: float = 100.0
    samples: int = 0
    pauses: list[float] = field(default_factory=list)
    _due: list[tuple[float, ModelId]] = field(default_factory=list)
    loads: str = "loads"
    words: tuple[str, ...] = ()  # the log of whatever it starts
    lists_loads: bool = False

    async def logs(self, model: ModelId, lines: int) -> tuple[str, ...]:
        return self.words[-lines:]

    async def sample(self) -> Snapshot:
        self.samples += 1
        for due, model in list(self._due):
            if self.now >= due:
                self._due.remove((due, model))
                self._free(model)
        return self.snapshot

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def unload(self, model: ModelId) -> None:
        self.calls.append(f"unload {model}")
        if model in self.refuses:
            raise self.refuses[model]
        if self.after is not None:
            self._due.append((self.now + self.after, model))

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        self.calls.append(f"load {model}")
        if model in self.refuses:
            raise self.refuses[model]
        if self.loads != "never":
            state = State.LOADED if self.loads == "loads" else State.LOADING
            came = resident(model, 10, state=state)
            self.snapshot = replace(self.snapshot, residents=(*self.snapshot.residents, came))
            if self.loads == "gives up":
                self._due.append((self.now + 0.01, model))

    def _free(self, model: ModelId) -> None:
        gone = next(r for r in self.snapshot.residents if r.model == model)
        (card,) = self.snapshot.pools
        self.snapshot = replace(
            self.snapshot,
            pools=(replace(card, free=card.free + gone.holds(GPU)),),
            residents=tuple(r for r in self.snapshot.residents if r.model != model),
        )

    def run(self, size: float = 10, mode: Mode = Mode.ENFORCE, **options: Any) -> list[Outcome]:
        engines: Any = {EngineId("ollama"): self}
        executor = Executor(
            self.sample, engines, mode, Seconds(5), Seconds(0.25), Seconds(60),
            clock=lambda: self.now, wall=lambda: 0.0, sleep=self.sleep, **options,
        )  # fmt: skip
        self.executor = executor
        wish = demand("new", size)

        def replan(snapshot: Snapshot, failed: Set[ModelRef]) -> Plan:
            return plan(snapshot, self.policy, wish, Experience(failed))

        decided = replan(self.snapshot, frozenset())
        self.before_acting()

        async def leave(evict: Evict) -> None:
            self.leaving.append(evict.ref)

        def held(snapshot: Snapshot, ref: ModelRef) -> Why | None:
            return Ways(snapshot, self.policy, even_young=True).staying.get(ref)

        return asyncio.run(
            executor.carry_out("d-1", decided, replan, leave, lambda outcome: None, held)
        )

    def before_acting(self) -> None:
        """What happens between the decision and the first look of the executor."""


OLD, FRESH = resident("old", 8, idle=900), resident("fresh", 8, idle=1)


def results(outcomes: list[Outcome]) -> list[tuple[str, str]]:
    return [(o.action.ref.model, o.result.value) for o in outcomes]


def test_a_victim_leaves_and_what_came_back_is_judged_before_the_load() -> None:
    world = World(machine(OLD, FRESH, free=4))
    outcomes = world.run()
    assert world.calls == ["unload old", "load new"]
    assert world.leaving == [ref("old")]
    assert results(outcomes) == [("old", "done"), ("new", "done")]
    assert outcomes[0].judgement is not None
    assert outcomes[0].judgement.verdict is Verdict.RECOVERED


def test_memory_that_comes_back_late_is_waited_for_and_no_longer_than_needed() -> None:
    world = World(machine(OLD, FRESH, free=4), after=2)
    (old, _) = world.run()
    assert old.judgement is not None
    assert old.judgement.verdict is Verdict.RECOVERED
    assert 2 <= old.took < 2.2


def test_what_takes_a_moment_is_seen_at_once_and_what_takes_long_is_looked_at_seldom() -> None:
    world = World(machine(OLD, free=4), after=0.05)
    assert 0.05 <= world.run()[0].took < 0.08
    world = World(machine(OLD, free=4), after=None)
    assert world.run()[0].took >= 5
    assert world.samples < 80
    assert world.pauses[0] == 0.02
    assert 0.2 < max(world.pauses) <= 0.25


def test_memory_that_does_not_come_back_is_given_up_after_the_settle_time() -> None:
    world = World(machine(OLD, FRESH, free=4), after=None)
    outcomes = world.run()
    assert results(outcomes) == [("old", "failed"), ("fresh", "failed"), ("new", "skipped")]
    assert [o.judgement.verdict for o in outcomes[:2] if o.judgement] == [Verdict.NOTHING] * 2
    assert 5.0 <= outcomes[0].took <= 5.5
    assert outcomes[1].detail == "the engine answered, and still lists the model"
    assert "load new" not in world.calls  # it would not fit


def test_the_next_victim_stands_in_for_one_that_refused_and_says_so() -> None:
    no = EngineRefused("ollama", "POST /api/generate", "not now", 503)
    world = World(machine(OLD, FRESH, free=4), refuses={"old": no})
    outcomes = world.run()
    assert results(outcomes) == [("old", "failed"), ("fresh", "done"), ("new", "done")]
    assert "not now" in outcomes[0].detail
    assert outcomes[1].detail == "instead of ollama/old, which gave too little back"


def test_what_is_no_longer_needed_is_not_done() -> None:
    class Relieved(World):
        def before_acting(self) -> None:
            self.snapshot = machine(OLD, FRESH, free=12)

    world = Relieved(machine(OLD, FRESH, free=4))
    outcomes = world.run()
    assert world.calls == ["load new"]
    assert results(outcomes) == [("old", "skipped"), ("new", "done")]
    assert outcomes[0].detail == "no longer needed"


def test_a_victim_that_began_to_work_is_spared_for_another() -> None:
    class Busy(World):
        def before_acting(self) -> None:
            self.snapshot = machine(resident("old", 8, busy=1), FRESH, free=4)

    world = Busy(machine(OLD, FRESH, free=4))
    outcomes = world.run()
    assert world.calls == ["unload fresh", "load new"]
    assert results(outcomes) == [("fresh", "done"), ("old", "skipped"), ("new", "done")]
    assert outcomes[1].detail == "spared after all: busy"


def test_a_dry_run_looks_and_stops_there() -> None:
    for mode in (Mode.ADVISE, Mode.OBSERVE):
        world = World(machine(OLD, FRESH, free=4))
        outcomes = world.run(mode=mode)
        assert (world.calls, world.leaving) == ([], [])
        assert world.samples == 1
        assert results(outcomes) == [("old", "skipped"), ("new", "skipped")]
        assert outcomes[0].detail == f"the mode is {mode.value}"


def test_a_daemon_that_stops_finishes_the_action_under_way_and_begins_no_other() -> None:
    class Stopping(World):
        async def unload(self, model: ModelId) -> None:
            await super().unload(model)
            self.executor.stopping = True

    world = Stopping(machine(OLD, FRESH, free=1))
    outcomes = world.run(size=16)
    assert world.calls == ["unload old"]
    assert results(outcomes) == [("old", "done"), ("fresh", "skipped"), ("new", "skipped")]
    assert outcomes[1].detail == "the daemon is stopping"


def test_a_load_that_the_engine_gives_up_is_a_failure_with_its_reason() -> None:
    world = World(machine(free=12), after=None, loads="gives up")
    (outcome,) = world.run()
    assert (outcome.result, outcome.detail) == (
        Result.FAILED,
        "the engine began to load it and gave up",
    )
    world = World(
        replace(machine(free=12), installed=(Installed(ref("new"), trouble="exit code 1"),)),
        after=None,
        loads="gives up",
    )
    assert world.run()[0].detail == "exit code 1"
    world.snapshot, world.loads = replace(world.snapshot, residents=()), "never"
    assert world.run()[0].detail == "exit code 1"  # it ended before anybody saw it
    assert world.now < 110
    down = World(machine(free=12), refuses={"new": EngineDown("ollama", "load", "no answer")})
    (outcome,) = down.run()
    assert "no answer" in outcome.detail


@pytest.mark.parametrize(("lists", "seconds"), [(False, 180), (True, 5)])
def test_a_load_of_which_nothing_was_ever_seen_is_not_waited_for_for_ever(
    lists: bool, seconds: int
) -> None:
    world = World(machine(free=12), loads="never")
    world.lists_loads = lists
    (outcome,) = world.run()
    assert outcome.result is Result.FAILED
    assert outcome.detail == "the engine answered, and has not listed it since"
    assert seconds <= world.now - 100 < seconds + 5


def test_an_engine_that_comes_back_without_what_it_was_to_load_has_lost_it() -> None:
    class Crashing(World):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            down = "connection refused" if 101 <= self.now < 130 else None
            gone = {"fault": down, "degraded": down is not None}
            states = tuple(replace(e, **gone) for e in self.snapshot.engines)
            self.snapshot = replace(self.snapshot, engines=states)

    world = Crashing(machine(free=12), loads="never")
    (outcome,) = world.run()
    assert outcome.result is Result.FAILED
    assert outcome.detail == "its engine went away while it loaded it, and came back without it"
    assert 135 <= world.now < 137  # while it was away nobody could tell


def test_only_a_promise_that_was_measured_and_broken_is_held_against_anybody() -> None:
    kept = World(machine(OLD, free=4)).run()[0]
    assert kept_its_promise(kept)
    broken = World(machine(OLD, free=4), after=None).run()[0]
    assert not kept_its_promise(broken)
    unseen = replace(broken.judgement, verdict=Verdict.BLIND) if broken.judgement else None
    assert kept_its_promise(replace(broken, judgement=unseen))


PAIR = replace(NO_RESERVE, groups={"pair": Group(Rule.ALWAYS_TOGETHER, ("a", "b"))})
ALONE = resident("x", 4, idle=900)
TWO = resident("a", 4, idle=800), resident("b", 2, idle=1)
BOTH_LEFT = ["unload x", "unload a", "unload b", "load new"]


def pair(kind: type[World] = World) -> World:
    """Of which x and a make room, and b goes beside a."""
    return kind(machine(ALONE, *TWO, free=2, total=12), policy=PAIR)


def test_one_that_goes_with_another_goes_once_that_one_has() -> None:
    world = pair()
    outcomes = world.run()
    assert world.calls == BOTH_LEFT
    assert [o.action.why for o in outcomes if isinstance(o.action, Evict)] == [
        Why.MAKES_ROOM,
        Why.MAKES_ROOM,
        Why.TOGETHER,
    ]


def test_one_that_goes_with_another_stays_when_that_one_is_not_needed() -> None:
    class Relieved(World):
        async def unload(self, model: ModelId) -> None:
            await super().unload(model)
            (card,) = self.snapshot.pools
            self.snapshot = replace(self.snapshot, pools=(replace(card, free=gib(6)),))

    world = pair(Relieved)
    outcomes = world.run()
    assert world.calls == ["unload x", "load new"]
    assert [o.detail for o in outcomes[1:3]] == ["no longer needed"] * 2


def test_one_that_goes_with_another_stays_when_that_one_refuses() -> None:
    world = pair()
    world.refuses["a"] = EngineRefused("ollama", "POST /api/generate", "it is at work", 409)
    outcomes = world.run()
    assert world.calls == ["unload x", "unload a"]
    assert results(outcomes)[1:3] == [("a", "failed"), ("b", "skipped")]
    assert outcomes[2].detail == "spared after all: stays with another that may not go"


def test_one_that_goes_with_another_stays_when_it_is_pinned_or_leased_meanwhile() -> None:
    class Pinned(World):
        async def unload(self, model: ModelId) -> None:
            await super().unload(model)
            if model == "a":
                self.policy = replace(self.policy, pinned=frozenset({"b"}))

    class Leased(World):
        async def unload(self, model: ModelId) -> None:
            await super().unload(model)
            if model == "a":
                lease = Lease("l-1", ref("b"), "me", Seconds(0), Seconds(1e9))
                self.snapshot = replace(self.snapshot, leases=(lease,))

    for kind, why in ((Pinned, "pinned"), (Leased, "leased")):
        world = pair(kind)
        outcomes = world.run()
        assert world.calls == ["unload x", "unload a", "load new"]
        assert outcomes[2].detail == f"spared after all: {why}"


def test_one_that_goes_with_another_goes_where_that_one_stood_in_for_a_third() -> None:
    class Busy(World):
        def before_acting(self) -> None:
            self.snapshot = machine(replace(ALONE, busy=True, in_flight=1), *TWO, free=6, total=16)

    world = Busy(machine(resident("x", 4, idle=900), *TWO, free=6, total=16), policy=PAIR)
    outcomes = world.run()
    assert world.calls == ["unload a", "unload b", "load new"]
    assert [o.detail[:13] for o in outcomes[:2]] == ["chosen afresh"] * 2


def test_who_is_listed_although_its_process_was_ended_keeps_nobody() -> None:
    action = Evict(ref("b"), (share(2),), Why.TOGETHER, beside=ref("a"))
    there = machine(*TWO, free=2)
    assert not list(companions([action], there, {ref("a")}, frozenset()))
    assert list(companions([action], there, {ref("a")}, {ref("a")})) == [action]


class Watched(World):
    """`calls` has each look, too."""

    async def sample(self) -> Snapshot:
        self.calls.append("look")
        return await super().sample()

    async def glance(self, engine: EngineId) -> Snapshot:
        self.calls.append(f"glance {engine}")
        return await World.sample(self)


def test_while_an_engine_is_waited_for_it_alone_is_asked() -> None:
    world = Watched(machine(OLD, free=4), after=0.03)
    world.run(glance=world.glance)
    gone = ["look", "unload old", "glance ollama", "glance ollama", "glance ollama"]
    assert world.calls == [*gone, "look", "load new", "glance ollama"]


def test_that_memory_has_not_come_back_is_judged_by_a_whole_look() -> None:
    world = Watched(machine(OLD, free=4), after=None)
    world.run(glance=world.glance)
    assert world.calls[:3] == ["look", "unload old", "glance ollama"]
    assert world.calls[-3:] == ["glance ollama", "look", "look"], "and one for what is left to do"
