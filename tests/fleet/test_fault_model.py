"""Nothing is placed twice, promised twice or forgotten, over random faults; and it is noticed when
a rule is broken. See tests/fleet/model/."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from supervisor.agent.directory import Directory
from supervisor.fleet.decided import Rules
from tests.fleet.model.agent import Agent, Steps
from tests.fleet.model.head import Kind
from tests.fleet.model.host import VALID
from tests.fleet.model.schedule import run
from tests.fleet.model.world import HOSTS, World

pytestmark = pytest.mark.slow

SCHEDULES = 120


def test_a_few_random_fault_schedules_leave_every_rule_true() -> None:
    for seed in range(3):
        assert run(1000 + seed).wrong == []


@pytest.mark.parametrize("part", range(6))
def test_random_fault_schedules_leave_every_rule_true(part: int) -> None:
    how: Counter[str] = Counter()
    begun = 0
    for seed in range(part * SCHEDULES // 6, (part + 1) * SCHEDULES // 6):
        world = run(seed)
        assert world.wrong == [], f"seed {seed}"
        how += world.how
        begun += world.begun
    assert begun > 80, "the schedules place something"
    assert how["served"] > 500
    assert how["served by its own host"] > 100, "hosts go on without a fleet"


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ({"unique": False}, "two claims of one model at once"),
        ({"atomic": False}, "has promised"),
        ({"steps": Steps(release=False)}, "claims never ended"),
    ],
    ids=["names are not unique", "bundles are not atomic", "claims are not given up"],
)
def test_a_ledger_that_does_not_keep_its_word_is_noticed(
    broken: dict[str, object], told: str
) -> None:
    wrong = [w for seed in range(12) for w in run(seed, **broken).wrong]  # type: ignore[arg-type]
    assert any(told in w for w in wrong)


# -- what each step of the order is for: without it a model is placed twice


def story(
    steps: Steps,
    mishap: Callable[[World, Agent, str], float],
    *,
    fenced: bool = True,
    valid: float = VALID,
    kind: Kind = Directory,
) -> World:
    """alpha wants "c" at 20 s, and gamma offers best; beta wants it later, and delta does."""
    world = World(1, steps, fenced, valid=valid, kind=kind)
    worst = dict.fromkeys(HOSTS, 9.0)
    losses = worst | {"gamma": 0.0}
    for name, agent in world.agents.items():
        agent.daemon.loss = lambda n=name: losses[n]  # type: ignore[misc]
        agent.rules = Rules(offers=len(HOSTS))
        agent.mishap = lambda a, before: mishap(world, a, before)
    world.kernel.at(20.0, lambda: world.request("alpha", "c"))
    world.kernel.at(21.0, lambda: losses.update(worst | {"delta": 0.0}))
    return world


def told(world: World) -> str:
    world.kernel.run(80.0)
    assert world.begun, "something was placed"
    return "\n".join(world.wrong)


def asked_by_beta(world: World, at: float) -> World:
    world.kernel.at(at, lambda: world.request("beta", "c"))
    return world


@pytest.mark.parametrize("kept", [True, False])
def test_a_claim_that_was_taken_back_is_not_accepted_by_a_host_that_looks(kept: bool) -> None:
    """What alpha asked for is long on its way; alpha ends meanwhile, and beta places."""

    def long_on_its_way(world: World, agent: Agent, before: str) -> float:
        if (agent.name, before) == ("gamma", "accept"):
            world.restart_agent("alpha")
            return 6.0
        return 0.0

    world = asked_by_beta(story(Steps(verify=kept), long_on_its_way), 22.0)
    assert ("c placed on gamma by alpha" in told(world)) is not kept


@pytest.mark.parametrize("kept", [True, False])
def test_a_load_that_is_about_to_begin_is_seen_because_its_host_said_so_first(kept: bool) -> None:
    """gamma is slow to begin what alpha asked for, and alpha ends meanwhile."""

    def slow_to_begin(world: World, agent: Agent, before: str) -> float:
        if (agent.name, before) == ("gamma", "begin"):
            world.restart_agent("alpha")
            return 6.0
        return 0.0

    world = asked_by_beta(story(Steps(tell=kept), slow_to_begin), 22.0)
    assert ("c placed on gamma by alpha" in told(world)) is not kept


@pytest.mark.parametrize("kept", [True, False])
def test_what_others_placed_meanwhile_is_seen_by_whoever_looks_again(kept: bool) -> None:
    """alpha has its offers, and is slow to claim; beta has placed it by then."""

    def slow_to_claim(world: World, agent: Agent, before: str) -> float:
        return 9.6 if (agent.name, before) == ("alpha", "claim") else 0.0

    world = asked_by_beta(story(Steps(look=kept), slow_to_claim), 21.5)
    world.kernel.at(28.0, lambda: world.request("beta", "c"))  # or it would be idle, and go
    found = told(world)
    assert ("c placed on gamma by alpha" in found) is not kept


@pytest.mark.parametrize("kept", [True, False])
def test_a_directory_that_began_anew_is_not_believed_before_it_can_be_complete(kept: bool) -> None:
    """gamma is about to begin and stands still; all who knew are gone, and beta knows nobody."""

    def head_goes(world: World, agent: Agent, before: str) -> float:
        if (agent.name, before) == ("gamma", "begin"):
            world.pause("gamma", 6.0)
            world.kill_head()
            world.restart_head()
            world.restart_agent("alpha")
            world.restart_agent("beta")
            return 0.1
        return 0.0

    world = asked_by_beta(story(Steps(settle=kept), head_goes), 22.0)
    assert ("c placed on gamma by alpha" in told(world)) is not kept


@pytest.mark.parametrize("kept", [True, False])
def test_an_offer_whose_time_is_over_begins_nothing(kept: bool) -> None:
    """gamma stands still until it has been given up for good; beta has placed it by then."""

    def stands_still(world: World, agent: Agent, before: str) -> float:
        if (agent.name, before) == ("gamma", "begin"):
            world.pause("gamma", 14.0)
            world.restart_agent("alpha")
            return 0.1
        return 0.0

    found = told(asked_by_beta(story(Steps(), stands_still, fenced=kept), 22.0))
    assert ("after its offer was made" in found) is not kept
    assert ("c placed on gamma by alpha" in found) is not kept


# -- an agent that stands still while its host begins a load, for longer than an offer is good


def old_word(world: World, agent: Agent, before: str) -> float:
    """gamma's agent has a word from before the load, and goes on with it after the offer's time:
    what its daemon says next is long on its way."""
    if (agent.name, before) != ("gamma", "hear") or not 20.0 <= world.kernel.now < 26.0:
        return 0.0
    if world.kernel.now < 20.5:
        world.still("gamma", 3.2)
    return 4.6


class Hasty(Directory):
    """What is coming bars until its offer is over, and no longer."""

    def _until(self, bar: Any) -> float:
        return float(bar.ends)


@pytest.mark.parametrize("kept", [True, False])
def test_a_load_bars_until_its_host_has_said_what_became_of_it(kept: bool) -> None:
    world = story(Steps(), old_word, valid=2.0, kind=Directory if kept else Hasty)
    assert ("c placed on delta by beta" in told(asked_by_beta(world, 22.5))) is not kept


@pytest.mark.parametrize("kept", [True, False])
def test_a_word_tells_of_nothing_that_came_after_it_was_asked_for(kept: bool) -> None:
    world = story(Steps(date=kept), old_word, valid=2.0)
    world.kernel.at(25.5, lambda: world.cut("beta", "gamma", 10.0))  # or its offer would tell
    assert ("c placed on delta by beta" in told(asked_by_beta(world, 25.5))) is not kept
