"""What the metrics say of models: who wants them there, and what watchdogs do about them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from collectors.reading import Seconds, gib
from supervisor.core.groups import Group, Rule
from supervisor.core.lease import Lease
from supervisor.core.plan import Evict, Load, Plan, Trigger, Why
from supervisor.core.policy import EnginePolicy, ModelPolicy, Policy, Retention, Watchdog
from supervisor.core.record import Decision, Mode
from supervisor.core.snapshot import EngineId, Installed, Reservation, State
from supervisor.core.status import Standings
from supervisor.core.watch import watch
from supervisor.events import Run
from supervisor.web.server import Site
from tests.builders import ref, resident, share

from .fakes import EPOCH, GPU, World, site
from .measured import samples


def at_rest(policy: Policy, world: World | None = None, **snapshot: Any) -> Site:
    """One that has seen models `a` and `b`, loaded and idle, and knows of `c`."""
    if world is None:
        world = World()
        world.hold(resident("a", 2, pool=GPU, idle=50), resident("b", 1, pool=GPU, idle=50))
        world.installed = [Installed(ref(n), gib(1)) for n in "abc"]
    of = site(world)
    of.loop.policy = of.loop.keeping.given = policy
    of.loop.snapshot = world.snapshot(**snapshot)
    of.loop.findings = watch(of.loop.snapshot, policy)
    return of


def desired(of: Site) -> set[tuple[str, str]]:
    """By whom, and which model."""
    found = {k for k, v in samples(of).items() if k.startswith("ullage_model_desired{") and v == 1}
    labels = (dict(p.split("=") for p in k.partition("{")[2][:-1].split(",")) for k in found)
    return {(row["by"].strip('"'), row["model"].strip('"')) for row in labels}


def test_nobody_is_wanted_by_nobody() -> None:
    assert desired(at_rest(Policy())) == set()


@pytest.mark.parametrize(
    ("policy", "who"),
    [
        (Policy(pinned=frozenset({"a", "ollama/c", "unheard-of"})), "ac"),
        (Policy(models={"b": ModelPolicy(pinned=True)}), "b"),
        (Policy(models={"c": ModelPolicy(retention=Retention.PINNED)}), "c"),
        # A scope's word keeps whoever is there; it does not ask for who is not.
        (Policy(retention=Retention.PINNED), "ab"),
        (Policy(engines={EngineId("ollama"): EnginePolicy(retention=Retention.PINNED)}), "ab"),
        (Policy(engines={EngineId("vllm"): EnginePolicy(retention=Retention.PINNED)}), ""),
        (
            Policy(
                retention=Retention.PINNED,
                models={"ollama/a": ModelPolicy(retention=Retention.ON_DEMAND)},
            ),
            "b",
        ),
    ],
)
def test_who_is_pinned_is_wanted(policy: Policy, who: str) -> None:
    assert desired(at_rest(policy)) == {("pin", model) for model in who}


def test_leases_loads_and_work_want_a_model() -> None:
    of = at_rest(Policy())
    loop = of.loop
    loop.keeping.leases._open["l1"] = Lease("l1", ref("c"), "agent", Seconds(0), Seconds(9e9))
    loop.reservations = (Reservation(ref("c"), (share(1, GPU),)), Reservation(None, (), "a job"))
    assert loop.snapshot is not None
    working = resident("b", 1, pool=GPU, busy=3)
    loop.snapshot = replace(loop.snapshot, residents=(loop.snapshot.residents[0], working))
    assert desired(of) == {("lease", "c"), ("load", "c"), ("request", "b")}


def test_who_is_always_beside_another_is_wanted_as_long_as_that_is_there() -> None:
    both = Policy(groups={"pair": Group(Rule.ALWAYS_TOGETHER, ("a", "c"))})
    assert desired(at_rest(both)) == {("always", "a"), ("always", "c")}
    world = World()
    world.hold()
    world.installed = [Installed(ref(n)) for n in "ac"]
    assert desired(at_rest(both, world)) == set()
    never = Policy(groups={"pair": Group(Rule.NEVER_TOGETHER, ("a", "c"))})
    assert desired(at_rest(never)) == set()


# -- watchdogs


def watched(of: Site, name: str) -> tuple[float, ...]:
    """How many are watched, due, and acted on."""
    found = samples(of)
    return tuple(
        found[f'ullage_watchdog_models{{state="{state}",watchdog="{name}"}}']
        for state in ("watching", "due", "acting")
    )


@contextmanager
def running(of: Site, plan: Plan) -> Iterator[None]:
    """A decision under way."""
    loop = asyncio.new_event_loop()
    decision = Decision("d-1", EPOCH, Mode.ENFORCE, "a test", plan)
    of.loop.runs.append(Run(decision, lambda *_: plan, loop.create_future()))
    yield
    of.loop.runs.clear()
    loop.close()


def idle(after: float, **models: ModelPolicy) -> Policy:
    return Policy(watchdog=replace(Policy().watchdog, idle=True, idle_timeout=Seconds(after)),
                  models=models)  # fmt: skip


def test_without_a_watchdog_nobody_is_watched() -> None:
    assert watched(at_rest(Policy()), "idle") == watched(at_rest(Policy()), "busy") == (0, 0, 0)


def test_who_has_a_timeout_is_watched_then_due_then_acted_on() -> None:
    assert watched(at_rest(idle(60)), "idle") == (2, 0, 0)
    of = at_rest(idle(60, a=ModelPolicy(watchdog=Watchdog(idle_timeout=Seconds(40)))))
    assert watched(of, "idle") == (1, 1, 0)
    going = Plan(Trigger.IDLE, (Evict(ref("a"), (share(2, GPU),), Why.IDLE),))
    with running(of, going):
        assert watched(of, "idle") == (1, 0, 1)
    with running(of, replace(going, trigger=Trigger.RELIEF)):
        assert watched(of, "idle") == (1, 1, 0), "it goes for another reason"
    off = idle(60, b=ModelPolicy(watchdog=Watchdog(idle=False)))
    assert watched(at_rest(off), "idle") == (1, 0, 0)


def test_the_busy_watchdog_is_told_apart_and_a_load_is_no_act_of_it() -> None:
    world = World()
    stuck, at_work = resident("a", 1, pool=GPU, busy=500), resident("b", 1, pool=GPU, busy=5)
    coming = resident("c", 1, pool=GPU, state=State.LOADING)
    world.hold(stuck, at_work, coming)
    policy = Policy(watchdog=replace(Policy().watchdog, busy=True, busy_timeout=Seconds(300)))
    of = at_rest(policy, world)
    assert watched(of, "busy") == (1, 1, 0)
    assert watched(of, "idle") == (0, 0, 0)
    with running(of, Plan(Trigger.DEMAND, (Load(ref("b"), (share(1, GPU),)),))):
        assert watched(of, "busy") == (1, 1, 0)


# -- where they are


def test_the_word_alone_is_the_one_that_the_whole_standing_says() -> None:
    world = World()
    states = (State.LOADING, State.LOADED, State.SLEEPING, State.LEAVING, State.UNKNOWN)
    world.hold(*(resident(s.value, 1, pool=GPU, state=s) for s in states))
    world.installed = [Installed(ref(n)) for n in ("loaded", "c", "promised")]
    world.installed.append(Installed(ref("lost", "llamacpp")))
    promise = (Reservation(ref("promised"), (share(1, GPU),)),)
    farewells = frozenset(ref(s.value) for s in states[:2])
    snapshot = world.snapshot(reservations=promise, farewells=farewells)
    standings = Standings(snapshot, Policy())
    names = [*(s.value for s in states), "c", "promised", "absent"]
    told = {n: standings.status(ref(n)).value for n in names}
    assert told == {n: standings.of(ref(n)).status.value for n in names}
    assert told == {
        "loading": "leaving", "loaded": "leaving", "sleeping": "sleeping", "leaving": "leaving",
        "unknown": "unknown", "c": "local", "promised": "loading", "absent": "absent",
    }  # fmt: skip
    assert standings.status(ref("lost", "llamacpp")).value == "unknown"


def test_beside_what_a_model_holds_stands_what_it_was_counted_with() -> None:
    of = at_rest(Policy())
    of.loop.witnesses.footprints.counted = {ref("a"): (share(3, GPU), share(1, GPU)), ref("b"): ()}
    found = samples(of)
    labels = f'engine="ollama",model="a",pool="{GPU}"'
    assert found[f"ullage_model_estimate_bytes{{{labels}}}"] == gib(4)
    assert found[f"ullage_model_memory_bytes{{{labels}}}"] == gib(2)
    assert len([k for k in found if k.startswith("ullage_model_estimate")]) == 1
