"""The rungs of one eviction, one after another, each judged by the memory that it gave back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace

import pytest

from collectors.reading import RAM, Device, MemoryPool, PoolKind, Seconds, gib
from supervisor.core.experience import Experience
from supervisor.core.ladder import Rung
from supervisor.core.plan import Evict, Plan, plan
from supervisor.core.record import Outcome, Result
from supervisor.core.snapshot import (
    Ability,
    EngineId,
    EngineState,
    ModelId,
    ModelRef,
    Resident,
    Snapshot,
)
from supervisor.core.snapshot import State as S
from supervisor.engines.base import EngineDown, EngineRefused
from supervisor.executor import Executor, kept_its_promise
from supervisor.force import Force
from tests.builders import GPU, demand, ref, reserve, resident

OLD = ref("old")


@dataclass
class Host:
    """One card of 24 GiB, 64 GiB of RAM, and one model of 16 GiB. What each way to make it go
    gives back, in GiB; "no": the engine refuses, "busy": it says that it is at work."""

    gives: dict[str, float | str] = field(default_factory=dict)
    able: frozenset[Ability] = frozenset(Ability)
    allowed: tuple[Rung, ...] = tuple(Rung)
    held: float = 16
    state: S | None = S.LOADED
    busy_after: str = ""  # a request comes after this was tried
    calls: list[str] = field(default_factory=list)
    up: bool = True
    now: float = 0.0
    loaded: bool = False
    needs: float = 12  # of what is to be loaded
    grows: float = 0.0  # by so much, while the other one sleeps
    lists_loads: bool = True

    async def sample(self) -> Snapshot:
        abilities = self.able
        engine = EngineState(
            EngineId("ollama"), "x", "http://127.0.0.1:1", abilities, "1",
            None if self.up else "down", "x.service",
        )  # fmt: skip
        found: list[Resident] = []
        if self.state is not None:
            busy = 1.0 if self.busy_after in self.calls else None
            old = resident("old", self.held, idle=9, state=self.state, busy=busy)
            found.append(replace(old, pids=(7,)))
        if self.loaded:
            found.append(resident("new", 12))
        free = gib(24 - self.held - 12 * self.loaded)
        pools = (
            MemoryPool(GPU, PoolKind.DEDICATED, gib(24), free),
            MemoryPool(RAM, PoolKind.HOST, gib(64), gib(60)),
        )
        return Snapshot(Seconds(self.now), pools, tuple(found), engines=(engine,))

    async def pause(self, seconds: float) -> None:
        self.now += seconds

    # what the engine, its unit and the kernel are told

    async def _tell(self, call: str) -> None:
        self.calls.append(call)
        given = self.gives.get(call, 0.0)
        if given == "hangs":
            raise EngineDown("ollama", call, "no answer within 20 s")
        if isinstance(given, str):
            raise EngineRefused("ollama", call, given, 409 if given == "busy" else 500)
        self.held -= given
        if given and "sleep" in call:
            self.state = S.SLEEPING
        elif given:
            self.state = None

    id, kind, url = EngineId("ollama"), "x", "http://127.0.0.1:1"

    @property
    def abilities(self) -> frozenset[Ability]:
        return self.able

    async def sleep(self, model: ModelId, *, deep: bool = False) -> None:
        await self._tell("deep sleep" if deep else "sleep")

    async def unload(self, model: ModelId) -> None:
        await self._tell("unload")

    async def wake(self, model: ModelId) -> None:
        self.calls.append(f"wake {model}")
        self.loaded, self.state, self.held = True, None, 0

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        self.calls.append(f"load {model}")
        self.loaded = True

    async def restart(self) -> None:
        await self._tell("restart")

    async def stop(self) -> None:
        await self._tell("stop")
        self.up = False

    async def start(self) -> None:
        self.calls.append("start")
        self.up = True

    def run(self) -> list[Outcome]:
        host = self

        class Hands(Force):
            def _signal(self, engine: object, pid: int, number: object) -> None:
                call = "term" if number.name == "SIGTERM" else "kill"  # type: ignore[attr-defined]
                host.calls.append(f"{call} {pid}")
                if given := host.gives.get(call):
                    assert isinstance(given, float | int)
                    host.held, host.state = host.held - given, None

        engines = {self.id: self}
        executor = Executor(
            self.sample, engines, clock=lambda: self.now, wall=lambda: 0.0, sleep=self.pause,  # type: ignore[arg-type]
            force=Hands(engines, {self.id: self}),  # type: ignore[arg-type]
        )  # fmt: skip
        policy = replace(reserve(0), ladder=self.allowed)
        policy = replace(policy, pools=dict(policy.pools) | {RAM: reserve(0, RAM).pools[RAM]})

        def replan(snapshot: Snapshot, failed: Set[ModelRef]) -> Plan:
            more = self.grows if self.state is S.SLEEPING else 0.0
            return plan(snapshot, policy, demand("new", self.needs + more), Experience(failed))

        async def leave(evict: Evict) -> None: ...

        async def carry() -> list[Outcome]:
            decided = replan(await self.sample(), frozenset())
            return await executor.carry_out("d-1", decided, replan, leave)

        return asyncio.run(carry())


RUNGS = ["sleep", "deep sleep", "unload", "restart", "stop", "term 7", "kill 7"]


def test_the_first_rung_that_gives_the_memory_back_is_the_last_one_that_is_tried() -> None:
    host = Host({"sleep": 15})
    old, new = host.run()
    assert host.calls == ["sleep", "load new"]
    assert (old.result, old.rung, old.slipped) == (Result.DONE, Rung.SLEEP, ())
    assert new.result is Result.DONE


@pytest.mark.parametrize("last", range(1, 5))
def test_a_rung_that_gives_nothing_back_is_followed_by_the_next(last: int) -> None:
    word = RUNGS[last].removesuffix(" 7")
    host = Host({word: 16})
    old = host.run()[0]
    assert host.calls[: last + 1] == RUNGS[: last + 1]
    assert old.rung is tuple(Rung)[last]
    assert kept_its_promise(old)
    assert len(old.slipped) == last
    assert old.slipped[0] == "let sleep ollama/old: 0 B of 15.0 GiB came back"


def test_all_that_was_tried_in_vain_is_told() -> None:
    host = Host()
    old = host.run()[0]
    assert host.calls == RUNGS[:5], "its engine is down after it was stopped: nobody knows more"
    assert old.result is Result.FAILED
    assert not kept_its_promise(old)


def test_only_what_the_operator_allows_is_tried() -> None:
    host = Host({"kill": 16}, allowed=(Rung.UNLOAD, Rung.KILL))
    old = host.run()[0]
    assert host.calls[:2] == ["unload", "kill 7"]
    assert old.rung is Rung.KILL
    assert kept_its_promise(old), "both are judged together"


def test_an_engine_that_hangs_or_fails_is_followed_by_the_next_rung() -> None:
    for answer in ("hangs", "out of order"):
        host = Host({"unload": answer, "term": 16}, allowed=(Rung.UNLOAD, Rung.TERM))
        old = host.run()[0]
        assert host.calls[:2] == ["unload", "term 7"]
        assert old.result is Result.DONE
        assert "unload ollama/old" in old.slipped[0]


def test_an_engine_that_says_that_it_is_at_work_is_believed() -> None:
    host = Host({"unload": "busy", "kill": 16}, allowed=(Rung.UNLOAD, Rung.KILL))
    old = host.run()[0]
    assert host.calls == ["unload"]
    assert (old.result, old.rung) == (Result.FAILED, Rung.UNLOAD)


def test_a_model_that_begins_to_work_in_between_is_let_be() -> None:
    host = Host({"kill": 16}, allowed=(Rung.UNLOAD, Rung.KILL), busy_after="unload")
    old = host.run()[0]
    assert host.calls == ["unload"]
    assert old.result is Result.FAILED


def test_a_model_that_sleeps_and_gave_too_little_is_unloaded() -> None:
    host = Host({"sleep": 2, "unload": 14})
    old = host.run()[0]
    assert host.calls[:3] == ["sleep", "unload", "load new"]
    assert old.slipped == ("let sleep ollama/old: 2.0 GiB of 15.0 GiB came back",)


@pytest.mark.parametrize("rest", [["unload", "load new"], ["unload"]])
def test_one_that_sleeps_as_promised_and_is_in_the_way_still_goes_further(rest: list[str]) -> None:
    """Somebody else took memory meanwhile."""
    host = Host({"sleep": 15, "unload": 1 if "load new" in rest else 0.0}, grows=11.5)
    outcomes = host.run()
    assert host.calls[:1] == ["sleep"]
    assert host.calls[1 : 1 + len(rest)] == rest
    assert next(o.rung for o in outcomes if o.action.ref == OLD) is Rung.SLEEP
    assert host.calls.count("sleep") == host.calls.count("unload") == 1


def test_a_sleeping_model_is_woken_and_not_loaded() -> None:
    host = Host(held=0, state=None)

    async def asleep() -> Snapshot:
        snapshot = await Host.sample(host)
        if host.loaded:
            return snapshot
        sleeper = resident("new", 1, state=S.SLEEPING)
        return replace(snapshot, residents=(sleeper,))

    host.sample = asleep  # type: ignore[method-assign]
    (new,) = host.run()
    assert (host.calls, new.result) == (["wake new"], Result.DONE)
    host = Host(held=0, state=None, able=frozenset({Ability.LOAD, Ability.UNLOAD}))
    host.sample = asleep  # type: ignore[method-assign]
    host.run()
    assert host.calls == ["load new"], "it wakes by itself, or not at all"


def test_an_engine_that_was_stopped_is_started_for_the_next_load() -> None:
    host = Host(held=0, state=None, up=False)
    (new,) = host.run()
    assert (host.calls, new.result) == (["start", "load new"], Result.DONE)


def test_a_load_is_told_which_devices_it_was_planned_for() -> None:
    told: list[Sequence[str]] = []

    class Choosy(Host):
        async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
            told.append(devices)
            self.loaded = True

        async def sample(self) -> Snapshot:
            found = await super().sample()
            cards = [
                Device(uuid, pool, "card", i, "nvidia")
                for i, (uuid, pool) in enumerate([("GPU-a", GPU), ("GPU-b", None)])
            ]
            return replace(found, devices=tuple(cards))

    Choosy(held=0, state=None).run()
    assert told == [["GPU-a"]]


def test_a_process_that_gave_its_memory_back_and_lives_on_is_killed_too() -> None:
    class HalfDead(Host):
        """On SIGTERM it lets go of its model and stays; its engine does not notice."""

        async def sample(self) -> Snapshot:
            if "term 7" in self.calls and "kill 7" not in self.calls:
                self.held, self.state = 1, S.LOADED
            return await super().sample()

    # It looks busy then, for it does not answer.
    host = HalfDead({"term": 15, "kill": 1}, allowed=(Rung.TERM, Rung.KILL), busy_after="term 7")
    old = host.run()[0]
    assert host.calls[:2] == ["term 7", "kill 7"]
    assert old.rung is Rung.KILL
    assert kept_its_promise(old), "both are judged together"
