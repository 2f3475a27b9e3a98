"""Any order of whatever may happen to a fleet, and then quiet."""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.fleet.model.host import VALID
from tests.fleet.model.schedule import QUIET
from tests.fleet.model.world import HOSTS, SIZES, World

hosts, models = st.sampled_from(HOSTS), st.sampled_from([*SIZES])
seconds = st.floats(0.1, 12.0)


class Fleet(RuleBasedStateMachine):
    @initialize(
        seed=st.integers(0, 2**16),
        stumbles=st.sampled_from([0.0, 0.3]),
        valid=st.sampled_from([2.0, VALID]),
    )
    def begin(self, seed: int, stumbles: float, valid: float) -> None:
        self.world = World(seed, valid=valid)
        self.world.kernel.run(15.0)
        self.world.stumbles = stumbles

    @rule(asking=st.sets(hosts, min_size=1), model=models)
    def ask(self, asking: set[str], model: str) -> None:
        for host in sorted(asking):
            self.world.request(host, model)

    @rule(lasts=seconds)
    def wait(self, lasts: float) -> None:
        self.world.kernel.run(self.world.kernel.now + lasts)

    @rule(host=hosts)
    def die(self, host: str) -> None:
        self.world.kill(host)
        self.world.kernel.at(4.0, lambda: self.world.restart(host))

    @rule(host=hosts)
    def restart_an_agent(self, host: str) -> None:
        self.world.restart_agent(host)

    @rule(host=hosts, lasts=seconds)
    def stand_still(self, host: str, lasts: float) -> None:
        self.world.pause(host, lasts)

    @rule(host=hosts, lasts=seconds)
    def have_its_agent_stand_still(self, host: str, lasts: float) -> None:
        self.world.still(host, lasts)

    @rule(host=hosts, other=st.sampled_from([*HOSTS, "head"]), lasts=seconds)
    def be_cut_off(self, host: str, other: str, lasts: float) -> None:
        if host != other:
            self.world.cut(host, other, lasts)

    @rule(away=st.sets(hosts, max_size=2), head=st.booleans())
    def part(self, away: set[str], head: bool) -> None:
        self.world.part(sorted(away), head)

    @rule()
    def lose_the_head(self) -> None:
        self.world.kill_head()

    @rule()
    def find_the_head(self) -> None:
        self.world.restart_head()

    @rule(host=hosts, by=st.floats(-7200, 7200))
    def step_a_clock(self, host: str, by: float) -> None:
        self.world.step_clock(host, by)

    @rule(loss=st.sampled_from([0.0, 0.2]), slow=st.sampled_from([0.0, 0.3]))
    def be_a_bad_network(self, loss: float, slow: float) -> None:
        self.world.network.loss, self.world.network.slow = loss, slow

    @invariant()
    def nothing_is_wrong(self) -> None:
        assert not hasattr(self, "world") or self.world.wrong == []

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.heal()
            self.world.kernel.run(self.world.kernel.now + QUIET)
            self.world.check_quiet()
            assert self.world.wrong == []


TestFleet = pytest.mark.slow(Fleet.TestCase)
# What fails here says which steps led to it; to make them fewer takes minutes.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
TestFleet.settings = settings(stateful_step_count=30, deadline=None, phases=PHASES)


def test_a_clock_that_steps_by_hours_changes_nothing_but_what_is_told_of_it() -> None:
    world = World(3)
    world.kernel.run(15.0)
    world.step_clock("beta", -3600)
    world.request("alpha", "a")
    world.kernel.run(30.0)
    assert world.how == {"served": 1}
    (told,) = world.agents["alpha"].trouble()
    assert told.startswith("the clock of beta is 60 min behind this host's")
    (told,) = world.agents["beta"].trouble()
    assert told.startswith("this host's clock is 60 min behind those of alpha, delta, gamma")


def test_without_a_head_what_is_there_is_served_on_and_hosts_are_back_within_seconds() -> None:
    world = World(4)
    world.kernel.run(15.0)
    world.request("alpha", "a")
    world.kernel.run(22.0)
    (where,) = [h for h in HOSTS if "a" in world.agents[h].daemon.there] or ["alpha"]
    world.kill_head()
    world.kernel.run(26.0)
    world.request(where, "b")
    world.kernel.run(34.0)
    assert world.how == {"served": 1, "served by its own host": 1}
    world.restart_head()
    world.kernel.run(37.0)
    assert all(len(a.directory().hosts) == 4 and a.connected() for a in world.agents.values())


def test_a_fleet_after_its_head_began_anew_places_again_once_the_directory_is_complete() -> None:
    world = World(5)
    world.kernel.run(15.0)
    world.kill_head()
    world.restart_head()
    world.request("alpha", "a")
    world.kernel.run(29.0)
    assert world.begun == 0
    world.kernel.run(34.0)
    assert world.begun == 1
