"""Settings that may hold, drawn part by part."""

from __future__ import annotations

from hypothesis import strategies as st

from collectors.reading import RAM, Seconds, gib
from supervisor.core.foreign_rule import ForeignRule
from supervisor.core.policy import (
    Amount,
    EnginePolicy,
    ModelPolicy,
    Policy,
    PoolPolicy,
    Retention,
    Switch,
    Watchdog,
)
from supervisor.core.rank import RANKINGS
from supervisor.demo.machine import GPU0, GPU1
from tests.stateful.town import ONE

RESERVES = (Amount(), Amount(size=gib(1)), Amount(fraction=0.1), Amount(size=gib(4)))
BUDGETS = (None, None, Amount(size=gib(14)), Amount(fraction=0.5))

pools = st.builds(
    PoolPolicy,
    reserve=st.sampled_from(RESERVES),
    budget=st.sampled_from(BUDGETS),
    grace=st.sampled_from([None, Seconds(0)]),
)
watchdogs = st.builds(
    Watchdog,
    st.booleans(),
    st.sampled_from([Seconds(5), Seconds(40)]),
    st.booleans(),
    st.just(Seconds(6)),
    st.just(Policy().watchdog.busy_steps),
    st.just(Seconds(5)),
)
policies = st.builds(
    Policy,
    watchdog=watchdogs,
    pools=st.fixed_dictionaries({GPU0: pools, GPU1: pools, RAM: pools}),
    engines=st.sampled_from([{}, {}, {ONE: EnginePolicy(max_active=2)}]),
    models=st.sampled_from([{}, {}, {"b": ModelPolicy(pinned=True)}]),
    max_active=st.sampled_from([0, 0, 3]),
    single=st.sampled_from([False, False, False, True]),
    force_when_busy=st.sampled_from([False, False, False, True]),
    retention=st.sampled_from([None, None, None, Retention.ON_DEMAND]),
    unload_on_switch=st.sampled_from([Switch.OFF, Switch.HOST]),
    min_residency=st.sampled_from([None, None, Seconds(10)]),
    ranking=st.sampled_from(list(RANKINGS.values())),
    prefetch=st.booleans(),
    foreign=st.sampled_from(list(ForeignRule)),
    grace=st.just(Seconds(3)),
    relief_pause=st.just(Seconds(5)),
    busy_while_fresh=st.just(Seconds(2)),
)
