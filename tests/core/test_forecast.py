from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random

import pytest

from collectors.reading import Bytes, Seconds, gib, mib
from supervisor.core.forecast import FAR, Forecast, Outlook, Series
from supervisor.core.policy import Amount, Policy, PoolPolicy
from supervisor.core.snapshot import Resident, Share, Snapshot, State
from tests.builders import GPU, machine, ref, reserve, resident

POLICY = reserve(1)
TOTAL = 24.0


def world(
    at: float, sizes: dict[str, int], *, busy: bool = True, free: int | None = None
) -> Snapshot:
    """Models of these bytes on a GPU of 24 GiB."""
    models: list[Resident] = []
    for name, held in sizes.items():
        one = resident(name, 1, busy=at if busy else None, idle=0 if busy else at + 1)
        models.append(replace(one, shares=(Share(GPU, Bytes(held)),)))
    left = gib(TOTAL) - sum(sizes.values()) if free is None else free
    found = machine(*models, free=0, total=TOTAL, at=at)
    return replace(found, pools=(replace(found.pools[0], free=Bytes(max(0, left))),))


def seen(worlds: Iterable[Snapshot], policy: Policy = POLICY) -> Forecast:
    forecast = Forecast()
    for one in worlds:
        forecast.see(one, policy)
    return forecast


def growing(
    size: Callable[[float], float], seconds: int = 60, *, busy: bool = True, start: float = 20
) -> list[Snapshot]:
    """One model of `size(t)` MiB beyond `start` GiB, looked at each second."""
    return [world(t, {"a": gib(start) + mib(size(t))}, busy=busy) for t in range(1, seconds + 1)]


def outlook(forecast: Forecast) -> Outlook | None:
    return forecast.outlooks.get(GPU)


def test_a_steady_growth_is_foretold_with_whose_it_is_and_when_it_meets_the_line() -> None:
    found = outlook(seen(growing(lambda t: 30 * t)))
    assert found is not None
    (model,) = found.models
    assert model.ref == ref("a")
    assert model.rate == pytest.approx(mib(30), rel=0.01)
    left = gib(TOTAL - 20 - 1) - 60 * mib(30)
    assert found.within == pytest.approx(left / mib(30), rel=0.03)


def test_it_acts_only_when_the_line_is_within_the_horizon() -> None:
    forecast = seen(growing(lambda t: 30 * t))
    left = outlook(forecast)
    assert left is not None
    assert forecast.due(replace(POLICY, growth_horizon=Seconds(left.within - 1))) == ()
    assert forecast.due(replace(POLICY, growth_horizon=Seconds(left.within + 1))) == (GPU,)
    assert forecast.due(replace(POLICY, growth_horizon=Seconds(0))) == ()


def test_noise_is_not_growth_however_close_the_line_is() -> None:
    """A thousand windows of memory that goes up and down by up to 200 MiB just above its line."""
    random = Random(4)
    for _ in range(40):
        forecast = Forecast()
        for t in range(1, 51):
            held = gib(22.7) + mib(random.uniform(0, 200))
            forecast.see(world(float(2 * t), {"a": held}), POLICY)
            assert forecast.outlooks == {}, t


def test_growth_is_seen_through_noise() -> None:
    random = Random(5)
    found = outlook(seen(growing(lambda t: 30 * t + random.uniform(-60, 60))))
    assert found is not None
    assert found.rate == pytest.approx(mib(30), rel=0.25)


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(lambda t: 2000 if t > 30 else 0, id="one jump"),
        pytest.param(lambda t: 800 * (t // 25), id="two jumps"),
        pytest.param(lambda t: 30 * min(t, 30), id="it has stopped"),
        pytest.param(lambda t: 1500 - abs(t - 30) * 50, id="up and down again"),
        pytest.param(lambda t: -30 * t, id="it shrinks"),
    ],
)
def test_what_is_no_growth_that_goes_on_is_not_foretold(size: Callable[[float], float]) -> None:
    assert outlook(seen(growing(size))) is None


def test_growth_that_stops_is_soon_no_longer_foretold() -> None:
    forecast, stopped = Forecast(), 0.0
    for one in growing(lambda t: 30 * min(t, 60), 120):
        forecast.see(one, POLICY)
        if one.taken_at > 60 and not forecast.outlooks and not stopped:
            stopped = one.taken_at
    assert 60 < stopped <= 75


def test_a_dozen_looks_are_too_few() -> None:
    assert outlook(seen(growing(lambda t: 50 * t, 26))) is None
    assert outlook(seen(growing(lambda t: 50 * t, 40))) is not None


def test_a_pool_that_somebody_else_fills_is_not_the_models_growth() -> None:
    falling = [
        world(t, {"a": gib(10)}, free=gib(12) - mib(100 * t)) for t in map(float, range(1, 61))
    ]
    assert outlook(seen(falling)) is None


def test_models_whose_bytes_are_read_now_and_then_are_known_to_grow_all_the_same() -> None:
    """Free memory is measured each second, what a process holds every 15."""
    looks = []
    for t in range(1, 61):
        held = gib(20) + mib(30 * (t - t % 15))
        looks.append(world(float(t), {"a": held}, free=gib(4) - mib(30 * t)))
    found = outlook(seen(looks))
    assert found is not None
    assert found.rate == pytest.approx(mib(30), rel=0.01)
    assert [g.ref for g in found.models] == [ref("a")]


def test_a_model_that_comes_makes_it_begin_anew() -> None:
    before = growing(lambda t: 30 * t, 58)
    after = [
        world(t, {"a": gib(20) + mib(30 * t), "b": mib(200)}) for t in map(float, range(59, 61))
    ]
    assert outlook(seen(before)) is not None
    assert outlook(seen([*before, *after])) is None


def test_a_budget_is_a_line_too() -> None:
    budget = PoolPolicy(reserve=Amount(size=gib(1)), budget=Amount(size=gib(22)))
    policy = Policy(pools={GPU: budget}, growth_horizon=Seconds(30))
    forecast = seen(growing(lambda t: 30 * t), policy)
    found = outlook(forecast)
    assert found is not None
    assert found.within == pytest.approx((gib(2) - 60 * mib(30)) / mib(30), abs=2)
    world_then, policy_then = forecast.foreseen(growing(lambda t: 30 * t)[-1], policy)
    budget_then = policy_then.budget_of(world_then.pools[0])
    assert budget_then == pytest.approx(gib(22) - 30 * mib(30), rel=0.01)
    assert world_then.free(GPU) == pytest.approx(gib(4) - 90 * mib(30), rel=0.02)


def test_what_is_far_off_is_not_worth_a_word() -> None:
    assert outlook(seen(growing(lambda t: 3 * t, start=1))) is None
    assert FAR < 22 * 1024 / 3


def test_a_model_that_grows_at_rest_may_leak_and_one_that_works_does_not() -> None:
    slow = seen(growing(lambda t: 0.5 * t, 400, busy=False, start=1))
    assert slow.leaks[ref("a")] == pytest.approx(mib(0.5), rel=0.05)
    assert seen(growing(lambda t: 0.5 * t, 400, start=1)).leaks == {}
    assert seen(growing(lambda t: 0, 400, busy=False, start=1)).leaks == {}


def test_a_request_clears_the_suspicion() -> None:
    worlds = growing(lambda t: 0.5 * t, 400, busy=False, start=1)
    assert seen([*worlds, *growing(lambda t: 0.5 * t, 401, start=1)[-1:]]).leaks == {}


def test_a_model_that_leaves_is_forgotten() -> None:
    forecast = seen(growing(lambda t: 0.5 * t, 400, busy=False, start=1))
    forecast.see(world(401, {}), POLICY)
    assert forecast.leaks == {}
    assert forecast._grows == {}


def test_loads_and_sleepers_do_not_grow() -> None:
    worlds = [
        replace(w, residents=tuple(replace(r, state=State.LOADING) for r in w.residents))
        for w in growing(lambda t: 30 * t)
    ]
    assert outlook(seen(worlds)) is None


def test_a_series_keeps_its_distance_and_no_more_than_it_needs() -> None:
    series = Series()
    assert [series.add(Seconds(t / 2), t) for t in range(9)] == [
        True, False, False, False, True, False, False, False, True,
    ]  # fmt: skip
    for t in range(10, 400):
        series.add(Seconds(t), t)
    assert series.span == 58
