"""Who is in use goes after all who are not, wherever that is allowed at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.reading import Seconds
from supervisor.core.explain import why
from supervisor.core.lease import Lease
from supervisor.core.plan import plan
from supervisor.core.policy import ModelPolicy
from supervisor.core.rank import RANKINGS
from tests.builders import GPU, OTHER, demand, machine, ref, reserve, resident
from tests.core.test_places import POLICY, gone, host, place, wanted


@pytest.mark.parametrize("ranking", sorted(RANKINGS))
@pytest.mark.parametrize("how", ["leased", "busy"])
def test_whoever_rests_goes_first_however_long_others_have_rested(ranking: str, how: str) -> None:
    used = resident("used", 8, idle=900, busy=5 if how == "busy" else None)
    world = machine(used, resident("rests", 8, idle=1), free=4)
    lease = Lease("l-1", ref("used"), "agent", Seconds(0), Seconds(99))
    world = replace(world, leases=(lease,) if how == "leased" else ())
    policy = replace(reserve(0), force_when_busy=True, ranking=RANKINGS[ranking])
    (one,) = plan(world, policy, demand("new", 10)).evictions
    assert one.ref == ref("rests")
    both = plan(world, policy, demand("new", 20)).evictions
    assert {e.ref for e in both} == {ref("rests"), ref("used")}


def test_of_several_cards_that_where_nobody_in_use_has_to_go() -> None:
    policy = replace(
        POLICY,
        force_when_busy=True,
        models={"dear": ModelPolicy(priority=3)},
        ranking=RANKINGS["value"],
    )
    world = host(
        resident("works", 20, busy=3), resident("dear", 20, idle=60, pool=OTHER),
        free={GPU: 4, OTHER: 4},
    )  # fmt: skip
    made = plan(world, policy, wanted(10))
    assert (place(made), gone(made)) == (OTHER, ["dear"])


def test_why_goes_by_what_is_allowed_for_the_model_itself() -> None:
    world = machine(resident("m", 8, busy=5), free=4)
    allowed = replace(reserve(0), models={"m": ModelPolicy(force_when_busy=True)})
    forbidden = replace(
        reserve(0), force_when_busy=True, models={"m": ModelPolicy(force_when_busy=False)}
    )
    stays = "it stays while it is serving"
    assert stays not in why(ref("m"), world, allowed, ())
    assert stays in why(ref("m"), world, forbidden, ())
    assert stays in why(ref("m"), world, reserve(0), ())
