from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.reading import RAM, Incident, Remedy, Seconds
from supervisor.core.policy import (
    Amount,
    EnginePolicy,
    ModelPolicy,
    Policy,
    PoolPolicy,
    Watchdog,
)
from supervisor.core.snapshot import EngineId, Installed, State
from supervisor.core.watch import GRAVITY, Finding, Kind, Severity, due, watch
from tests.builders import GPU, NO_RESERVE, OTHER, engine, gib, machine, ref, reserve, resident


def kinds(findings: tuple[Finding, ...]) -> list[tuple[Kind, str]]:
    return [(f.kind, f.subject) for f in findings]


def test_a_pool_below_its_reserve_needs_relief_only_after_the_grace_period() -> None:
    policy = reserve(2)
    first = watch(machine(free=1.5, at=100), policy)
    assert kinds(first) == [(Kind.PRESSURE, GPU)]
    assert due(first, policy, Seconds(100)) == frozenset()
    later = watch(machine(free=1.5, at=109), policy, first)
    assert due(later, policy, Seconds(109)) == frozenset()
    assert due(watch(machine(free=1.5, at=110), policy, later), policy, Seconds(110)) == {GPU}


def test_a_recovery_within_the_grace_period_starts_it_anew() -> None:
    policy = reserve(2)
    low = watch(machine(free=1.5, at=100), policy)
    fine = watch(machine(free=3, at=105), policy, low)
    assert fine == ()
    again = watch(machine(free=1.5, at=109), policy, fine)
    assert due(again, policy, Seconds(111)) == frozenset()


def test_below_half_of_the_reserve_relief_is_due_at_once() -> None:
    policy = reserve(2)
    found = watch(machine(free=0.9, at=100), policy)
    assert found[0].severity is Severity.CRITICAL
    assert due(found, policy, Seconds(100)) == {GPU}
    assert due(watch(machine(free=1, at=100), policy), policy, Seconds(100)) == frozenset()


def test_models_beyond_their_budget_are_pressure_too() -> None:
    policy = Policy(pools={GPU: PoolPolicy(Amount(), Amount(size=gib(5)))})
    found = watch(machine(resident("a", 6), free=18), policy)
    assert kinds(found) == [(Kind.PRESSURE, GPU)]
    assert "budget" in found[0].detail


def test_an_idle_model_is_found_only_where_the_watchdog_is_on() -> None:
    world = machine(resident("a", 1, idle=100), resident("b", 1, idle=100), free=20)
    off = replace(NO_RESERVE, watchdog=Watchdog(False, Seconds(60), False, Seconds(60)))
    assert watch(world, off) == ()
    on = replace(off, watchdog=Watchdog(True, Seconds(60), False, Seconds(60)))
    assert kinds(watch(world, on)) == [(Kind.IDLE, "ollama/a"), (Kind.IDLE, "ollama/b")]


def test_the_most_particular_timeout_decides() -> None:
    world = machine(
        resident("a", 1, idle=100), resident("b", 1, idle=100), resident("c", 1, idle=100), free=20
    )
    policy = replace(
        NO_RESERVE,
        watchdog=Watchdog(True, Seconds(60), False, Seconds(60)),
        engines={EngineId("ollama"): EnginePolicy(watchdog=Watchdog(idle_timeout=Seconds(500)))},
        models={
            "a": ModelPolicy(watchdog=Watchdog(idle_timeout=Seconds(30))),
            "ollama/b": ModelPolicy(watchdog=Watchdog(idle=False)),
        },
    )
    assert kinds(watch(world, policy)) == [(Kind.IDLE, "ollama/a")]


def test_a_model_that_never_rests_is_stuck_after_its_timeout() -> None:
    policy = replace(NO_RESERVE, watchdog=Watchdog(False, Seconds(1), True, Seconds(300)))
    assert watch(machine(resident("a", 1, busy=299), free=20), policy) == ()
    found = watch(machine(resident("a", 1, busy=300), free=20), policy)
    assert kinds(found) == [(Kind.STUCK, "ollama/a")]


def test_nothing_is_said_of_models_whose_engine_is_silent() -> None:
    policy = replace(NO_RESERVE, watchdog=Watchdog(True, Seconds(1), True, Seconds(1)))
    world = machine(
        resident("a", 1, idle=99, state=State.UNKNOWN),
        free=20,
        engines=(engine(fault="no answer within 2 s"),),
    )
    assert kinds(watch(world, policy)) == [(Kind.ENGINE_DOWN, "ollama")]


def test_a_pool_that_could_not_be_read_is_a_finding_and_no_pressure() -> None:
    world = replace(machine(free=1), pools=(), blind={GPU: "GPU is lost"})
    found = watch(world, reserve(2))
    assert kinds(found) == [(Kind.BLIND, GPU)]
    assert due(found, reserve(2), Seconds(1000)) == frozenset()


def test_a_finding_keeps_its_since_while_it_is_true() -> None:
    policy = reserve(2)
    first = watch(machine(free=1.5, at=100), policy)
    worse = watch(machine(free=0.5, at=103), policy, first)
    assert worse[0].since == 100
    assert worse[0].severity is Severity.CRITICAL


def test_more_models_than_allowed_are_counted() -> None:
    world = machine(resident("a", 1), resident("b", 1), resident("c", 1), free=20)
    found = watch(world, replace(NO_RESERVE, max_active=1))
    assert kinds(found) == [(Kind.OVER_LIMIT, "host")]
    assert found[0].amount == 2


def test_memory_that_is_still_coming_back_is_waited_for() -> None:
    policy = reserve(2)
    found = watch(machine(free=0.5, at=100), policy)
    assert due(found, policy, Seconds(100), {GPU: Seconds(110)}) == frozenset()
    assert due(found, policy, Seconds(110), {GPU: Seconds(110)}) == {GPU}


# -- alarms


def test_where_work_stands_still_there_is_no_grace_period() -> None:
    policy = reserve(2)
    found = watch(machine(free=1.5, at=100), policy)
    assert due(found, policy, Seconds(100), alarmed=(GPU,)) == {GPU}
    assert due(found, policy, Seconds(100), alarmed=(RAM,)) == frozenset(), "it stands elsewhere"
    assert due(found, policy, Seconds(100), alarmed=(RAM, OTHER)) == frozenset()


def test_an_alarm_without_a_shortfall_is_no_reason_to_evict() -> None:
    policy = reserve(2)
    assert due(watch(machine(free=2), policy), policy, Seconds(100), alarmed=(GPU,)) == frozenset()


def test_memory_that_is_still_coming_back_is_waited_for_in_spite_of_an_alarm() -> None:
    policy = reserve(2)
    found = watch(machine(free=1.5, at=100), policy)
    resting = {GPU: Seconds(110)}
    assert due(found, policy, Seconds(109), resting, (GPU,)) == frozenset()
    assert due(found, policy, Seconds(110), resting, (GPU,)) == {GPU}


# -- what drivers report


def incident(remedy: Remedy, at: float = 1, device: str = "GPU-a", text: str = "Xid") -> Incident:
    return Incident(device, "xid", 1, remedy, text, Seconds(at))


def seen(*incidents: Incident) -> tuple[Finding, ...]:
    return watch(replace(machine(free=20), incidents=incidents), NO_RESERVE)


@pytest.mark.parametrize(
    ("remedy", "severity", "detail"),
    [
        (Remedy.NOTHING, Severity.INFO, "Xid"),
        (Remedy.INSPECT, Severity.WARNING, "Xid: look into it"),
        (Remedy.RESTART, Severity.WARNING, "Xid: restart the program"),
        (Remedy.RESET, Severity.CRITICAL, "Xid: reset the device"),
        (Remedy.REBOOT, Severity.CRITICAL, "Xid: reboot the machine"),
    ],
)
def test_an_incident_is_as_grave_as_its_remedy(
    remedy: Remedy, severity: Severity, detail: str
) -> None:
    [found] = seen(incident(remedy))
    assert (found.kind, found.subject) == (Kind.DEVICE, "GPU-a")
    assert (found.severity, found.detail) == (severity, detail)


def test_of_each_device_the_gravest_incident_is_told_and_of_those_the_latest() -> None:
    found = seen(
        incident(Remedy.RESET, 1, text="first"),
        incident(Remedy.RESET, 2, text="second"),
        incident(Remedy.NOTHING, 3, text="third"),
        incident(Remedy.RESTART, 1, device="GPU-b", text="other"),
    )
    assert [(f.subject, f.detail) for f in found] == [
        ("GPU-a", "second: reset the device"),
        ("GPU-b", "other: restart the program"),
    ]


def test_every_remedy_has_its_gravity() -> None:
    assert set(GRAVITY) == set(Remedy)
    assert GRAVITY[Remedy.NOTHING] < GRAVITY[Remedy.RESTART] < GRAVITY[Remedy.RESET]


def test_an_incident_is_no_reason_to_evict_anybody() -> None:
    found = seen(incident(Remedy.REBOOT))
    assert due(found, NO_RESERVE, Seconds(1000), alarmed=(GPU, RAM)) == frozenset()


def test_a_model_whose_process_ended_is_told_until_it_is_there_again() -> None:
    crashed = Installed(ref("a"), trouble="ended with exit code 1; started again in 9s")
    world = replace(machine(free=5), installed=(crashed, Installed(ref("b"))))
    (found,) = watch(world, Policy())
    assert (found.kind, found.subject, found.ref) == (Kind.FAILED, "ollama/a", ref("a"))
    assert found.detail == "ended with exit code 1; started again in 9s"
    later = replace(crashed, trouble="ended with exit code 1; started again in 8s")
    (again,) = watch(replace(world, taken_at=Seconds(9), installed=(later,)), Policy(), (found,))
    assert again.since == found.since
    assert watch(replace(world, installed=(Installed(ref("a")),)), Policy(), (found,)) == ()
