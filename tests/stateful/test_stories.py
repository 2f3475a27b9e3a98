"""Any order of whatever may happen, and nothing of what must hold is broken.

pytest tests/stateful                                 the same 200 stories every time
HYPOTHESIS_PROFILE=long pytest tests/stateful         1,000 new ones, a quarter of an hour
STORIES=20000 HYPOTHESIS_PROFILE=long …               or as many as there is time for
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from collectors.reading import RAM
from supervisor.core.policy import Policy
from supervisor.core.record import Mode
from supervisor.demo.engines import Fault, Unload
from supervisor.demo.machine import GPU0, GPU1
from tests.stateful.machine import ENGINES, REF, Steps
from tests.stateful.policies import policies

pytestmark = pytest.mark.slow

FEWEST = 200  # stories of 50 steps

one_of = st.sampled_from
names, engines, pools = one_of(sorted(REF)), one_of(ENGINES), one_of((GPU0, GPU1, RAM))
cards = one_of((GPU0, GPU1))
nth = st.integers(0, 5)
times = one_of((None, 0, 0.005, 0.03, 0.3, 1.0, 2.5, 7.0))
periods = one_of((None, 3.0, 20.0, 90.0))
services = one_of((0.0, 0.5, 3.0, 25.0))


def may(step: Callable[..., None], **given: st.SearchStrategy[Any]) -> Any:
    """A rule that takes one step of a story, and lets some time pass after it."""

    def taken(self: Stories, passing: float | None, **values: Any) -> None:
        getattr(self.steps, step.__name__)(**values)
        self.steps.passes(passing)

    taken.__name__ = taken.__qualname__ = step.__name__
    return rule(passing=times, **given)(taken)


class Stories(RuleBasedStateMachine):
    steps: Steps

    @initialize(policy=policies)
    def begins(self, policy: Policy) -> None:
        self.steps = Steps(policy)

    @invariant()
    def nothing_is_broken(self) -> None:
        if hasattr(self, "steps"):
            self.steps.check()

    def teardown(self) -> None:
        if hasattr(self, "steps"):
            try:
                self.steps.everybody_goes_home()
            finally:
                self.steps.close()

    @rule(seconds=one_of((0.1, 1.0, 3.0, 10.0, 40.0)))
    def passes(self, seconds: float) -> None:
        self.steps.passes(seconds)

    several = st.lists(names, min_size=1, max_size=2, unique=True).map(tuple)
    clients = one_of(("", "", "ann", "ben"))
    asks = may(Steps.asks, names=several, service=services, client=clients)
    asks_too = may(Steps.asks, names=several, service=services, client=clients)
    leaves = may(Steps.leaves, nth=nth)
    behind_our_back = may(Steps.behind_our_back, name=names, service=services)

    loads = may(Steps.loads, name=names, client=one_of((None, "ann", "ben")))
    evicts = may(Steps.evicts, name=names, force=st.booleans(), wait=st.booleans())
    evicts_all = may(Steps.evicts_all)
    frees = may(Steps.frees, pool=cards, size=one_of((2, 9, 40)))

    pins = may(Steps.pins, name=names, period=periods)
    unpins = may(Steps.unpins, name=names)
    leases = may(Steps.leases, name=names, ttl=one_of((2.0, 30.0, 200.0)), wait=st.booleans())
    closes_lease = may(Steps.closes_lease, nth=nth)
    reserves = may(Steps.reserves, pool=pools, size=one_of((1, 6)), ttl=one_of((5.0, 100.0)))
    gives_back = may(Steps.gives_back, nth=nth)

    pauses = may(Steps.pauses, period=periods)
    goes_on = may(Steps.goes_on)
    drains = may(Steps.drains, engine=engines, period=periods, unload=st.booleans())
    undrains = may(Steps.undrains, engine=engines)
    settings = may(Steps.settings, policy=policies, apply_now=st.booleans())

    fails = may(Steps.fails, engine=engines, fault=one_of((*Fault, None, None)))
    is_late = may(Steps.is_late, engine=engines, seconds=one_of((0.0, 0.7, 1.9, 8.0)))
    unloads_slowly = may(
        Steps.unloads_slowly,
        engine=engines,
        answer=one_of((0.0, 0.0, 1.5, 25.0)),
        memory=one_of((0.0, 0.5, 2.0, 15.0)),
    )
    lies = may(Steps.lies, name=names, unload=one_of((*Unload, Unload.WORKS)))
    loads_badly = may(Steps.loads_badly, name=names, how=one_of(("refuses", "dies", "")))
    crashes = may(Steps.crashes, name=names, after=one_of((0.0, 0.4)))
    engine_crashes = may(Steps.engine_crashes, engine=engines)
    leaks = may(Steps.leaks, name=names, size=one_of((1, 5)))
    blinds = may(
        Steps.blinds,
        pool=one_of((GPU0, GPU1, None)),
        how=one_of(("lost", "error", "hangs", "", "")),
    )
    stranger_comes = may(Steps.stranger_comes, pool=cards, size=one_of((1, 4, 10)))
    strangers_leave = may(Steps.strangers_leave)
    wall_steps = may(Steps.wall_steps, seconds=one_of((3600.0, -3600.0, 3e8, -3e8, 3.0)))
    alarm = may(Steps.alarm)
    disk_slows = may(Steps.disk_slows, seconds=one_of((0.0, 0.2, 1.5, 60.0)))

    restarts = may(
        Steps.restarts,
        mode=one_of((*[Mode.ENFORCE] * 4, Mode.ADVISE, Mode.OBSERVE)),
        killed=st.booleans(),
        wrote=one_of((None, None, 0, 1, 3)),
    )
    alert_fires = may(Steps.alert_fires, nth=nth, pool=cards)
    alert_resolves = may(Steps.alert_resolves, nth=nth, pool=cards)


TestStories = Stories.TestCase
TestStories.settings = settings(
    max_examples=int(os.environ.get("STORIES", max(FEWEST, settings().max_examples * 2))),
    stateful_step_count=50,
    suppress_health_check=list(HealthCheck),
)
