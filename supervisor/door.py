"""What may be asked of the loop from outside: names in, decisions out.

Names are as people type them: "model", or "engine/model" where two engines have the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches

from collectors.reading import RAM, Bytes, DeviceKind, PoolId, Seconds

from .core.contradictions import contradictions
from .core.experience import Experience
from .core.plan import Load, Plan, Trigger, Why, dismiss, plan
from .core.policy import Policy
from .core.record import Decision, Mode, Outcome, Result
from .core.snapshot import Demand, ModelRef, Share, Snapshot, State
from .doctor import Advice, examine
from .engines.base import EngineError
from .events import NOBODY, About, Arrived, ClaimsChanged, NotNow, Replan, Run, Uses
from .fetching import how
from .likeness import closest as alike
from .loop import Loop
from .replay.savings import Savings
from .units import format_bytes

LOGS_TIMEOUT = Seconds(8.0)


class DoorError(Exception):
    """A request that cannot be served. The message says what, why, and what would be right."""


class Unknown(DoorError):
    """No such model or pool. `closest` are the names that look like it, best first."""

    def __init__(self, what: str, name: str, closest: tuple[str, ...], first: str = "") -> None:
        self.what, self.name, self.closest = what, name, closest
        hint = f"; did you mean {' or '.join(closest)}?" if closest else ""
        hint += f"; if not, {first}" if hint and first else f"; {first}" if first else ""
        super().__init__(f"no {what} is called {name!r}{hint}")


class Ambiguous(DoorError):
    """More than one engine has a model of that name."""


class NotReady(DoorError):
    """The first sample is not in yet."""


class DoesNotFit(DoorError):
    """There was not enough memory for it, twice: it is refused for a while."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What was decided, and what became of it. `leaving` go when unused; with how many use them."""

    decision: Decision
    outcomes: tuple[Outcome, ...]
    leaving: tuple[tuple[ModelRef, int], ...] = ()


@dataclass(slots=True)
class Door:
    """`begun` is told of each wish of this door when it has been decided, and before it is done."""

    loop: Loop
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    begun: Callable[[Run], None] = lambda run: None

    def snapshot(self) -> Snapshot:
        """The latest, with the requests of this moment. Raises NotReady before the first."""
        if self.loop.snapshot is None:
            raise NotReady("the first sample is not in yet; ask again in a second")
        return self.loop.traffic.mark(self.loop.snapshot)

    def resolve(self, name: str, *, to_have: bool = False) -> ModelRef:
        """The one model that `name` means, loaded or installed. Raises Unknown or Ambiguous; if it
        was `to_have`, Unknown says what would bring it here."""
        snapshot = self.snapshot()
        known = snapshot.known
        exact = [ref for ref in known if name in (str(ref), ref.model)]
        if not exact:  # as Ollama and registries have it, no tag means the latest
            exact = [r for r in known if f"{name}:latest" in (str(r), r.model)]
        if len(exact) > 1:
            loaded = [ref for ref in exact if snapshot.resident(ref) is not None]
            exact = loaded if len(loaded) == 1 else exact
        if len(exact) > 1:
            names = " or ".join(sorted(str(ref) for ref in exact))
            raise Ambiguous(f"{name!r} is a model of several engines; say {names}")
        if not exact:
            first = how(name, snapshot.engines) if to_have else ""
            raise Unknown("model", name, closest(name, known), first)
        return exact[0]

    def pool(self, name: str | None) -> PoolId:
        """The pool called `name`: its id or a unique beginning of it, a device's index, "gpu0".

        None means the only accelerator, or RAM where there is none.
        """
        snapshot = self.snapshot()
        ids = [*(p.id for p in snapshot.pools), *sorted(snapshot.blind)]
        gpus = [d for d in snapshot.devices if d.kind is DeviceKind.GPU and d.pool is not None]
        if name is not None:
            exact = {d.pool for d in gpus if d.uuid == name} | {i for i in ids if i == name}
            # Each driver counts from 0, and all instances of a GPU have its index.
            numbered = {d.pool for d in gpus if name in (str(d.index), f"gpu{d.index}")}
            found = exact or numbered
        else:
            found = {d.pool for d in gpus} or {RAM}
        if len(found) > 1:
            which = "there are several pools" if name is None else f"{name!r} is several pools"
            raise Ambiguous(f"{which}; say which: {', '.join(sorted(ids))}")
        for pool in found:
            return PoolId(pool or RAM)
        assert name is not None
        begins = [id for id in ids if name and id.lower().startswith(name.lower())]
        if len(begins) == 1:
            return begins[0]
        raise Unknown("pool", name, tuple(get_close_matches(name, ids, 3, 0.5)) or tuple(ids))

    # -- devices

    async def release(self, period: Seconds) -> list[str]:
        """Let go of the accelerators for so many seconds. The names of the sources that did.

        Raises DoorError where there are none to let go of.
        """
        loop = self.loop
        names = loop.sampler.sources.release(Seconds(loop.clock() + period))
        if not names:
            raise DoorError("no device is held open here: there is nothing to let go of")
        await loop.look()  # they are closed after this read
        if still := loop.sampler.sources.still_open():
            raise DoorError(
                f"{', '.join(still)}: the driver does not let go; look at `ullage status`"
            )
        return names

    async def resume(self) -> list[str]:
        """Take back what was let go of. The names of the sources that did."""
        names = self.loop.sampler.sources.resume()
        if names:
            await self.loop.look()
        return names

    # -- changes

    async def evict(
        self, names: Iterable[str], *, force: bool = False, wait: bool = True
    ) -> Carried:
        """Unload these models. Those in use go when they no longer are: nobody waits here for
        that. With `force` they go at once, and if not `wait` they stay."""
        refs = [self.resolve(n) for n in names]
        cause = f"asked to unload {', '.join(map(str, refs))}"
        return await self._dismiss(cause, refs, force, wait)

    async def evict_all(self, *, force: bool = False, wait: bool = True) -> Carried:
        """Unload every model that may go; those in use as `evict` does."""
        refs = [r.ref for r in self.snapshot().residents]
        return await self._dismiss("asked to unload everything", refs, force, wait)

    async def _dismiss(self, cause: str, refs: list[ModelRef], force: bool, wait: bool) -> Carried:
        self.loop.executor.forget(r for r in refs if self.snapshot().resident(r) is None)
        about = About(frozenset(refs), parts=wait and not force and self.loop.mode is Mode.ENFORCE)
        return await self.ask(cause, _dismissal(refs, force), False, about)

    async def free(self, size: Bytes, pool: PoolId, *, wait: bool = True) -> Carried:
        """Make `size` bytes of headroom in `pool`, at the least cost. All or nothing."""
        demand = Demand((Share(pool, size),))
        cause = f"asked for {format_bytes(size)} of headroom in {pool}"
        return await self.ask(cause, _demand(demand), wait)

    async def load(
        self, name: str, *, wait: bool = True, client: str | None = None, to: str = "load"
    ) -> Carried:
        """Make room for a model, then have its engine load it. One that is leaving stays. What its
        `client` worked with before leaves, where it is to on a switch."""
        demand = self.demand(name)
        about = _wanted(demand, "it is wanted again")
        self.stay(about)
        if demand.ref is not None:
            self.loop.post(Arrived(demand.ref))
        if client is None or demand.ref is None:
            return await self.ask(f"asked to {to} {demand.ref}", _demand(demand), wait, about)
        replan = self.loop.witnesses.rules.clients.moving(client, demand)
        carried = await self.ask(f"{client} asked to load {demand.ref}", replan, wait, about)
        if _is_there(carried, demand.ref):
            self.loop.post(Uses(client, demand.ref, Seconds(self.loop.clock())))
        return carried

    async def pin(self, name: str, period: Seconds | None = None) -> str:
        """Never evict this model, None: for as long as the pin is not taken back. One that is
        leaving stays; if its engine has been told already, it is loaded again. Returns the pin's
        full name, "engine/model". Raises DoorError also where that load was in vain."""
        ref = self.resolve(name, to_have=True)
        keeping = self.loop.keeping
        policy = keeping.considered(keeping.given)
        pinned = replace(policy, pinned=policy.pinned | {str(ref)})
        if found := [c for c in contradictions(pinned) if c not in contradictions(policy)]:
            raise DoorError("; ".join(f"{'.'.join(c.path)} {c.message}" for c in found))
        ends = None if period is None else keeping.deadlines.after(period)
        keeping.pins.set(str(ref), ends)
        about = About(frozenset({ref}), "it is pinned")
        self.stay(about)
        if self.loop.goings.has(about.refs):
            await self.loop.over(about)
            self.stay(about)  # also where its engine was told, and has not done it
            there = self.snapshot().resident(ref)
            if there is None or there.state is State.SLEEPING:
                await self._bring_back(ref)
        return str(ref)

    async def _bring_back(self, ref: ModelRef) -> None:
        """It was pinned when its engine had been told to unload it already."""
        trouble = f"{ref} is pinned, but had been told to go; it could not be loaded again"
        try:
            demand = self.demand(str(ref))
            cause = f"{ref} was pinned while it was unloaded"
            about = _wanted(demand, "it is pinned")
            carried = await self.ask(cause, _demand(demand), True, about)
        except DoorError as error:
            raise DoorError(f"{trouble}: {error}") from None
        if not _is_there(carried, ref):
            raise DoorError(f"{trouble}: `ullage why {ref}` tells the reason")

    async def unpin(self, name: str) -> str:
        """Take a pin back, by the name it was set with or the model's. Raises Unknown."""
        pins = self.loop.keeping.pins.names
        hits = [p for p in pins if p == name or p.partition("/")[2] == name]
        if not hits:
            raise Unknown("pin", name, tuple(get_close_matches(name, pins, 3, 0.4)))
        for pin in hits:
            self.loop.keeping.pins.drop(pin)
        self.claims_changed()
        return hits[0]

    # -- questions

    async def advice(self) -> tuple[Advice, ...]:
        """What works against us here, and what would be right. Takes up to some seconds."""
        seen = self.loop.sampler
        return await examine(seen.engines.values(), self.snapshot(), seen.attribution.untraced())

    async def savings(self, days: float) -> Savings:
        """What was spent on reloads in the last `days`, and what would have been. Raises DoorError
        where it cannot be told."""
        loop = self.loop
        try:
            return await loop.witnesses.ghosts.savings(self.snapshot(), loop.policy, days)
        except (OSError, TimeoutError) as error:
            raise DoorError(f"what was asked for cannot be replayed: {error}") from None

    async def compare(self) -> None:
        """See whether another ranking has been better for some days: then it is a finding."""
        if self.loop.snapshot is not None:
            await self.loop.witnesses.ghosts.look(self.loop.snapshot, self.loop.policy)

    async def logs(self, name: str, lines: int) -> tuple[ModelRef, tuple[str, ...]]:
        """The last lines that a model's process wrote. Raises DoorError where its engine is not
        one that we start, or does not say."""
        ref = self.resolve(name)
        engine = self.loop.executor.engines.get(ref.engine)
        try:
            async with asyncio.timeout(LOGS_TIMEOUT):
                return ref, () if engine is None else await engine.logs(ref.model, lines)
        except EngineError as error:
            raise DoorError(f"{error.call}: {error.message}") from None
        except TimeoutError:
            raise DoorError(f"the log of {ref} cannot be had in time") from None

    def demand(self, name: str, *, spanned: bool = False) -> Demand:
        """What its load is expected to take: none of a pool, where nobody knows. Raises DoorError:
        it is not to be loaded, or spans hosts; of one that may be `spanned`, nobody knows."""
        ref = self.resolve(name)
        loop, snapshot = self.loop, self.snapshot()
        if not spanned and loop.policy.spans(ref) and snapshot.resident(ref) is None:
            raise DoorError(f"{ref} spans hosts: `ullage fleet place {ref.model}` loads all of it")
        together, footprints = loop.witnesses.rules.together, loop.witnesses.footprints
        if (drained := loop.keeping.pausing.refusal(ref.engine)) is not None:
            raise DoorError(f"{ref} is not loaded: {drained}")
        if (found := together.expect(snapshot, loop.policy, ref)) is not None:
            return found
        if (refusal := footprints.refusal(ref)) is not None:
            raise DoesNotFit(refusal)
        if (lacking := together.lacking(snapshot, loop.policy, ref)) is not None:
            raise DoorError(lacking)
        found = footprints.unsized(snapshot, loop.policy, ref, loop.experience)
        if spanned or found is None:
            raise DoorError(
                f"nothing is known of the size of {ref}: load it once with its engine, or say it as"
                f' memory in [models."{ref}"]'
            )
        return found

    def plan_load(self, name: str) -> Plan:
        """What would be done if this model were asked for now. Changes nothing."""
        return self.dry(_demand(self.demand(name)))

    def plan_free(self, size: Bytes, pool: PoolId) -> Plan:
        """What would be done to make `size` bytes of headroom in `pool`. Changes nothing."""
        return self.dry(_demand(Demand((Share(pool, size),))))

    def plan_evict(self, names: Iterable[str], *, force: bool = False) -> Plan:
        """What would be done if these models were to be unloaded now. Changes nothing."""
        return self.dry(_dismissal([self.resolve(n) for n in names], force))

    def dry(self, replan: Replan) -> Plan:
        loop = self.loop
        return replan(self.snapshot(), loop.policy, loop.experience)

    def claims_changed(self) -> None:
        self.loop.post(ClaimsChanged())

    def stay(self, about: About) -> None:
        """Take back what was told those to leave whom it keeps."""
        self.loop.keeping.stay(about, self.loop.leaving)
        self.claims_changed()

    async def ask(self, cause: str, replan: Replan, wait: bool, about: About = NOBODY) -> Carried:
        """Have it decided; while the only hope are busy models, ask again for a while. It is not
        decided while one of those whom it is `about` is made to go.

        Whoever gives up waiting takes the wish back, unless it has been begun.
        """
        patience = self.loop.patience
        tries = held = 0
        wait = wait and self.loop.mode is Mode.ENFORCE  # else nothing is done, now or later
        while wait:
            plan = self.dry(replan)
            if any(b.wait is not None for b in plan.barred):
                held += 1
            elif tries < patience.tries and _waits(plan):
                tries += 1
            else:
                break
            await self.sleep(patience.interval)
        if held:
            cause += " (after it was held by a swap brake)"
        if tries:
            cause += f" (after {tries} tries while busy)"
        try:
            run = await self.loop.ask(cause, replan, about, self.begun)
        except NotNow as why:
            raise NotReady(str(why)) from None
        outcomes = tuple(await asyncio.shield(run.done))
        leaving = self._leaving(run)
        with suppress(NotNow):
            while run.next is not None:  # it did not fit, and is tried once more
                run = await asyncio.shield(run.next)
                outcomes += tuple(await asyncio.shield(run.done))
        return Carried(run.decision, outcomes, leaving)

    def _leaving(self, run: Run) -> tuple[tuple[ModelRef, int], ...]:
        """Those whom it told to leave later, without whom that was taken back for meanwhile."""
        there = {r.ref for r in self.snapshot().residents}
        stay = there - self.loop.keeping.farewells.all
        return tuple((ref, count) for ref, count in run.later.items() if ref not in stay)


def closest(name: str, known: Iterable[ModelRef]) -> tuple[str, ...]:
    """Up to three names that look like `name`, best first."""
    names = {n: str(r) for r in sorted(known) for n in (r.model, str(r))}
    within = (n for n in sorted(names) if name.lower() in n.lower() and "/" not in n)
    return tuple(dict.fromkeys((*alike(name, names, 3, 0.4), *within)))[:3]


def _is_there(carried: Carried, ref: ModelRef) -> bool:
    mine = (o for o in carried.outcomes if isinstance(o.action, Load) and o.action.ref == ref)
    loads = [o.result for o in mine]
    return carried.decision.plan.works and (not loads or loads[-1] is Result.DONE)


def _waits(plan: Plan) -> bool:
    if plan.actions:
        return False
    return bool(plan.waits_for) or any(n.why is Why.BUSY for n in plan.notes if plan.works)


def _dismissal(refs: list[ModelRef], force: bool) -> Replan:
    def replan(snapshot: Snapshot, policy: Policy, _: Experience) -> Plan:
        # Asked for by name: also a model whose last unload gave too little back is tried.
        return dismiss(snapshot, policy, refs, Trigger.OPERATOR, even_busy=force)

    return replan


def _wanted(demand: Demand, why: str) -> About:
    refs = (d.ref for d in (demand, *demand.beside))
    return About(frozenset(ref for ref in refs if ref is not None), why)


def _demand(demand: Demand) -> Replan:
    return lambda snapshot, policy, experience: plan(snapshot, policy, demand, experience)
