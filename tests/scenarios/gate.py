"""The gateway's admission on a demo machine, by a stepped clock: guests ask for models, are held,
are let through, work for a while, and go. Every story ends with nobody at work and nobody held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from collectors.reading import RAM, Bytes, PoolId, Seconds, gib
from supervisor.config.gated import GatewayConfig
from supervisor.core.policy import Amount, Policy, PoolPolicy
from supervisor.core.record import Mode
from supervisor.core.snapshot import EngineId, ModelId, ModelRef, Share, Source, State
from supervisor.demo.clock import Clock, run
from supervisor.demo.engines import DemoEngine, DemoModel, Fault
from supervisor.demo.machine import GPU0, GPU1, DemoMachine
from supervisor.demo.world import World, assemble_demo
from supervisor.gateway.admission import (
    Admission,
    Grant,
    Refusal,
    RefusalKind,
    Ticket,
    Wish,
)

NO_RESERVE = PoolPolicy(reserve=Amount())
ROOMY = Policy(
    pools={GPU0: NO_RESERVE, GPU1: NO_RESERVE, RAM: NO_RESERVE}, busy_while_fresh=Seconds(1)
)
LOAD, FREE = 2.0, 0.5  # seconds that a load takes, and that memory takes to come back


class Watched(DemoEngine):
    """Notes what it is told, and whom an unload cuts short."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.loads: list[tuple[float, str]] = []
        self.unloads: list[tuple[float, str]] = []
        self.cut = 0
        self.refuses: dict[str, str] = {}  # to load
        self.asked: Callable[[str], object] = lambda model: None  # to unload
        self.crashes = False  # as soon as it has said that it loads

    async def load(self, model: ModelId, devices: Sequence[str] = ()) -> None:
        self.loads.append((self._machine.clock(), model))
        if model in self.refuses:
            raise self._unable(self.refuses[model])
        await super().load(model, devices)
        if self.crashes:
            self.fault = Fault.DOWN

    async def unload(self, model: ModelId) -> None:
        now = self._machine.clock()
        self.asked(model)
        self.unloads.append((now, model))
        self.cut += self.models[model].in_flight(now)
        await super().unload(model)


@dataclass(eq=False)
class Guest:
    """One request. `answers` has all that it was told; `served` for so long."""

    gate: Gate
    wish: Wish
    service: float
    at: float
    ticket: Ticket | None = None
    heard_at: float = 0.0
    answers: list[Grant | Refusal] = field(default_factory=list)
    done_at: float | None = None
    _working: asyncio.Task[None] | None = None

    def hear(self, answer: Grant | Refusal) -> None:
        self.answers.append(answer)
        self.gate.changed.set()
        if isinstance(answer, Grant):
            self.gate.check(answer)
            self._working = asyncio.create_task(self._work(answer))

    async def _work(self, grant: Grant) -> None:
        engine = self.gate.engines[grant.ref.engine]
        engine.serve(grant.ref.model, self.service)
        await self.gate.clock.sleep(self.service / 2)
        grant.flight.moved()
        await self.gate.clock.sleep(self.service / 2)
        grant.flight.end()
        self.done_at = self.gate.clock()

    @property
    def is_served(self) -> bool:
        """Was it let through?"""
        return any(isinstance(a, Grant) for a in self.answers)

    @property
    def is_held(self) -> bool:
        return self.ticket is not None and not self.ticket.gone

    @property
    def grant(self) -> Grant:
        return next(a for a in self.answers if isinstance(a, Grant))

    @property
    def refusal(self) -> Refusal:
        return next(a for a in self.answers if isinstance(a, Refusal))

    @property
    def why(self) -> RefusalKind | None:
        """It was refused."""
        return next((a.why for a in self.answers if isinstance(a, Refusal)), None)

    @property
    def waited(self) -> float:
        """Seconds until it was answered."""
        assert self.answers
        return self.heard_at - self.at

    def leave(self) -> None:
        assert self.ticket is not None
        self.ticket.leave()


class Gate:
    def __init__(
        self, clock: Clock, machine: DemoMachine, engines: Sequence[Watched], world: World
    ) -> None:
        self.clock, self.machine, self.world = clock, machine, world
        self.engines = {e.id: e for e in engines}
        self.changed = asyncio.Event()
        self.guests: list[Guest] = []
        self.wrong: list[str] = []

    def open(self, config: GatewayConfig) -> None:
        self.admission = Admission(self.world.loop, config)

    def ref(self, name: str) -> ModelRef:
        """By "model", of the first engine, or "engine/model"."""
        engine, slash, model = name.rpartition("/")
        return ModelRef(EngineId(engine if slash else next(iter(self.engines))), ModelId(model))

    def model(self, name: str) -> DemoModel:
        ref = self.ref(name)
        return self.engines[ref.engine].models[ref.model]

    def ask(self, *names: str, service: float = 1.0, **more: Any) -> Guest:
        """A guest who takes any of these, the first rather than the others."""
        wish = Wish(tuple(self.ref(n) for n in names), **more)
        guest = Guest(self, wish, service, self.clock())
        self.guests.append(guest)

        def hear(answer: Grant | Refusal) -> None:
            guest.heard_at = self.clock()
            guest.hear(answer)

        answer = self.admission.enter(wish, hear)
        if isinstance(answer, Ticket):
            guest.ticket = answer
        else:
            hear(answer)
        return guest

    def check(self, grant: Grant) -> None:
        """Whoever is let through finds its model there, and not about to go."""
        model = self.engines[grant.ref.engine].models[grant.ref.model]
        state = model.state(self.clock())
        if state is not State.LOADED or model.leaving(self.clock()):
            self.wrong.append(f"{grant.ref} was {state} when a request was let through to it")
        if grant.ref in self.world.loop.goings.refs:
            self.wrong.append(f"{grant.ref} was to go when a request was let through to it")

    async def until(
        self, true: Callable[[], object], seconds: float = 1000.0, step: float = 0.25
    ) -> None:
        """Let time pass until it is so; to be looked at every `step`."""
        ends = self.clock() + seconds
        while not true():
            assert self.clock() < ends, "it has not come to that"
            await self.clock.advance(step)

    async def decided(self) -> None:
        """Something is; its engine is not yet told."""
        await self.until(lambda: self.world.loop.runs, step=0.005)

    async def answered(self, *guests: Guest) -> None:
        await self.until(lambda: all(g.answers for g in guests))

    async def has(self, *names: str) -> None:
        """These are loaded when it returns, one after the other, and at rest."""
        for name in names:
            ref = self.ref(name)
            self.engines[ref.engine].serve(ref.model, 0.0)
            await self.until(lambda ref=ref: ref in self.admission.loaded.urls)  # type: ignore[misc]
        await self.clock.advance(2.0)

    @property
    def loaded(self) -> list[str]:
        """By the engines' own word."""
        now = self.clock()
        found = (m for e in self.engines.values() for m in e.models.values())
        return sorted(m.id for m in found if m.state(now) and not m.leaving(now))

    @property
    def loads(self) -> list[str]:
        """What engines were told to load, in order."""
        return [m for _, m in sorted(x for e in self.engines.values() for x in e.loads)]

    @property
    def unloads(self) -> list[str]:
        return [m for _, m in sorted(x for e in self.engines.values() for x in e.unloads)]

    def decisions(self) -> list[dict[str, Any]]:
        return self.world.journal.decisions(limit=500)[::-1]

    async def empties(self) -> None:
        """Everybody goes home: nothing is left of them."""
        await self.until(
            lambda: all(g.answers or (g.ticket and g.ticket.gone) for g in self.guests)
        )
        await self.until(lambda: all(g.done_at for g in self.guests if g.is_served))
        traffic = self.world.loop.traffic
        assert (traffic.flying, traffic.waiting, traffic.closed) == ({}, {}, frozenset())
        holds = self.admission.holds
        assert (holds.count, dict(holds.of_client)) == (0, {})
        await self.until(lambda: not self.world.loop.runs)
        await self.clock.advance(1.0)
        assert (holds.by_ref, self.admission.drains.current) == ({}, None)
        assert self.wrong == []
        assert all(e.cut == 0 for e in self.engines.values())
        assert all(len(g.answers) <= 1 for g in self.guests)


def models(
    names: str | Mapping[str, float],
    size: float = 8.0,
    pool: PoolId = GPU0,
    load: float = LOAD,
    ram: float = 0.0,
) -> list[DemoModel]:
    """Each takes `size` GiB, or what `names` says, and `ram` GiB besides."""
    sizes = names if isinstance(names, Mapping) else dict.fromkeys(names, size)
    more = {RAM: gib(ram)} if ram else {}
    return [DemoModel(ModelId(n), {pool: gib(s), **more}, load, FREE) for n, s in sizes.items()]


@asynccontextmanager
async def gate(
    first: Sequence[DemoModel],
    second: Sequence[DemoModel] = (),
    *,
    policy: Policy = ROOMY,
    kinds: Sequence[type[Watched]] = (Watched, Watched),
    mode: Mode = Mode.ENFORCE,
    totals: Mapping[PoolId, Bytes] | None = None,
    known: bool = True,
    interval: float = 0.5,
    **config: Any,
) -> AsyncIterator[Gate]:
    """Engines "one" and "two" on a machine with two GPUs of 24 and 16 GiB. `known`: what each
    model takes was learned on other days. `interval` is from one look to the next."""
    clock = Clock()
    machine = DemoMachine(clock)
    if totals is not None:
        machine.totals = totals
    engines = [
        kind(EngineId(name), machine, clock.sleep, *found)
        for kind, name, found in zip(kinds, ("one", "two"), (first, second), strict=True)
        if found
    ]
    seconds = Seconds(interval)
    world = assemble_demo(clock, machine, engines, policy, mode=mode, interval=seconds)
    async with world:
        for engine in engines:
            for model in engine.models.values() if known else ():
                shares = tuple(Share(p, s, Source.LEARNED) for p, s in sorted(model.takes.items()))
                world.journal.remember(ModelRef(engine.id, model.id), shares)
        built = Gate(clock, machine, engines, world)
        built.open(replace(GatewayConfig(), **config))
        yield built
        await built.empties()
        await built.admission.close()


def story(tale: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test of it, on a stepped loop."""

    def test() -> None:
        run(tale())

    test.__name__, test.__doc__ = tale.__name__, tale.__doc__
    return test
