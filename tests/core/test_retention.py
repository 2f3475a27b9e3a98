"""Who used a model, who may go for want of users, and how the scopes decide it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.reading import Seconds, gib
from supervisor.core.lease import Lease, Use
from supervisor.core.plan import Trigger, Why, dismiss, plan, relieve
from supervisor.core.policy import (
    FOREVER,
    EnginePolicy,
    ModelPolicy,
    Policy,
    Retention,
    Scope,
    Watchdog,
)
from supervisor.core.retention import LINGER, follow, idle_for, unused
from supervisor.core.snapshot import Demand, EngineId, Installed, Resident, Share, Snapshot, State
from supervisor.core.status import Hold, Standings, Status, standing
from supervisor.core.watch import Kind, watch
from tests.builders import GPU, NO_RESERVE, machine, ref, resident

M = ref("m")
NOW = Seconds(1000)
FRESH = Seconds(5)
OLLAMA = EngineId("ollama")


def at(time: float, *residents: Resident, **rest: object) -> Snapshot:
    found = machine(*residents, free=1)
    return replace(found, taken_at=Seconds(time), **rest)  # type: ignore[arg-type]


def lease(name: str = "m", ends: float = 2000, client: str = "agent") -> Lease:
    return Lease("l-1", ref(name), client, NOW, Seconds(ends))


# -- what the scopes say


@pytest.mark.parametrize(
    ("host", "engine", "model", "retention", "timeout"),
    [
        (Scope(), Scope(), Scope(), None, None),
        (Scope(keep_alive=Seconds(60)), Scope(), Scope(), "keep_alive", 60),
        (Scope(keep_alive=FOREVER), Scope(), Scope(), "keep_alive", None),
        (Scope(retention=Retention.PINNED), Scope(), Scope(), "pinned", None),
        (
            Scope(retention=Retention.PINNED),
            Scope(keep_alive=Seconds(0)),
            Scope(),
            "keep_alive",
            0,
        ),
        (
            Scope(keep_alive=Seconds(9)),
            Scope(retention=Retention.ON_DEMAND),
            Scope(),
            "on_demand",
            None,
        ),
        (
            Scope(),
            Scope(retention=Retention.ON_DEMAND),
            Scope(keep_alive=Seconds(7)),
            "keep_alive",
            7,
        ),
        (
            Scope(keep_alive=Seconds(9)),
            Scope(watchdog=Watchdog(True, Seconds(30))),
            Scope(),
            "keep_alive",
            30,
        ),
        (
            Scope(watchdog=Watchdog(True, Seconds(30))),
            Scope(keep_alive=Seconds(9)),
            Scope(),
            "keep_alive",
            9,
        ),
        (Scope(), Scope(watchdog=Watchdog(False)), Scope(keep_alive=Seconds(9)), "keep_alive", 9),
        (
            Scope(),
            Scope(keep_alive=Seconds(9)),
            Scope(watchdog=Watchdog(False)),
            "keep_alive",
            None,
        ),
    ],
)  # fmt: skip
def test_the_most_particular_scope_says_how_long_a_model_stays(
    host: Scope, engine: Scope, model: Scope, retention: str | None, timeout: float | None
) -> None:
    def said(scope: Scope) -> dict[str, object]:
        return {
            "retention": scope.retention,
            "keep_alive": scope.keep_alive,
            "watchdog": scope.watchdog,
        }

    top = said(host)
    if host.watchdog == Watchdog():
        del top["watchdog"]
    policy = Policy(
        **top,  # type: ignore[arg-type]
        engines={OLLAMA: EnginePolicy(**said(engine))},  # type: ignore[arg-type]
        models={"m": ModelPolicy(**said(model))},  # type: ignore[arg-type]
    )
    found = policy.retention_of(M)
    assert (None if found is None else found.value) == retention
    assert policy.idle_timeout_of(M) == timeout
    assert policy.is_pinned(M) is (retention == "pinned")
    assert policy.goes_unused(M) is (retention == "on_demand" or timeout == 0)


def test_a_pin_says_when_it_ends_unless_another_one_does_not() -> None:
    short = Policy(pinned=frozenset({"m"}), pins_end={"m": Seconds(9)})
    assert short.is_pinned(M)
    assert short.pin_ends(M) == 9
    both = replace(short, pinned=frozenset({"m", "ollama/m"}))
    assert both.pin_ends(M) is None
    assert replace(both, pins_end={"m": Seconds(9), "ollama/m": Seconds(5)}).pin_ends(M) == 9
    assert replace(short, models={"m": ModelPolicy(pinned=True)}).pin_ends(M) is None
    assert short.pin_ends(ref("other")) is None


# -- users


def test_requests_and_leases_are_users_and_their_last_moment_is_kept() -> None:
    uses = follow({}, at(1000, resident("m", 4, idle=0)), FRESH)
    assert uses == {M: Use(NOW)}
    busy = replace(resident("m", 4, busy=1), in_flight=2)
    uses = follow(uses, at(1010, busy), FRESH)
    assert uses[M].last == 1010
    uses = follow(uses, at(1020, resident("m", 4, idle=7)), FRESH)
    assert uses[M].last == 1013
    uses = follow(uses, at(1030, resident("m", 4, idle=17), leases=(lease(),)), FRESH)
    assert uses[M].last == 1030
    assert follow(uses, at(1040), FRESH) == {}


def test_work_between_two_looks_is_seen_by_its_trace() -> None:
    uses = follow({}, at(1000, resident("m", 4, idle=0)), FRESH)
    uses = follow(uses, at(1060, resident("m", 4, idle=59.5)), FRESH)
    assert uses[M].last == 1000.5


def test_who_only_looks_busy_because_it_was_loaded_has_had_no_user() -> None:
    silent = replace(resident("m", 4, busy=0), in_flight=None, busy=True, busy_for=Seconds(0))
    uses = follow({}, at(1000, silent), FRESH)
    uses = follow(uses, at(1004, replace(silent, busy_for=Seconds(4))), FRESH)
    assert uses[M].last is None
    # It would be at rest by now had it only been loaded.
    assert follow(uses, at(1006, replace(silent, busy_for=Seconds(6))), FRESH)[M].last == 1006
    rested = follow(uses, at(1006, resident("m", 4, idle=6)), FRESH)
    assert rested[M].last is None


def test_the_time_of_what_is_loading_has_not_begun() -> None:
    loading = replace(resident("m", 4), state=State.LOADING)
    uses = follow({}, at(1000, loading), FRESH)
    uses = follow(uses, at(1300, loading), FRESH)
    assert uses[M] == Use(Seconds(1300), there=False)
    uses = follow(uses, at(1301, resident("m", 4, idle=0.2)), FRESH)  # it is there for 0.2 s
    assert uses[M] == Use(Seconds(1301))
    lost = replace(resident("m", 4), state=State.UNKNOWN)
    assert follow(uses, at(1400, lost), FRESH)[M] == Use(Seconds(1301))


def test_idle_time_counts_from_the_last_user_be_it_a_lease() -> None:
    idle = resident("m", 4, idle=500)
    assert idle_for(idle, at(1000, idle)) == 500
    assert idle_for(idle, at(1000, idle, uses={M: Use(Seconds(1), Seconds(990))})) == 10


ON_DEMAND = Policy(retention=Retention.ON_DEMAND)
USED = {M: Use(Seconds(1), Seconds(900))}


@pytest.mark.parametrize(
    ("why", "expected"),
    [
        ({"uses": USED}, True),
        ({"uses": {}}, False),
        ({"uses": {M: Use(NOW)}}, False),
        ({"uses": {M: Use(Seconds(NOW - LINGER))}}, True),
        ({"uses": USED, "leases": (lease(),)}, False),
        ({"uses": USED, "leases": (lease("other"),)}, True),
    ],
    ids=["used", "never looked at", "new", "waited in vain", "leased", "another is leased"],
)
def test_who_goes_with_its_last_user_goes(why: dict[str, object], expected: bool) -> None:
    snapshot = at(1000, resident("m", 4, idle=100), **why)
    assert (M in unused(snapshot, ON_DEMAND)) is expected
    assert unused(snapshot, Policy()) == ()
    pinned = replace(ON_DEMAND, pinned=frozenset({"m"}))
    assert unused(snapshot, pinned) == ()
    busy = at(1000, resident("m", 4, busy=1), **why)
    assert unused(busy, ON_DEMAND) == ()


def test_one_that_was_asked_for_while_it_was_there_waits_for_whoever_asked() -> None:
    asked = {M: Use(Seconds(1), Seconds(900), asked=Seconds(990))}
    idle = resident("m", 4, idle=100)
    snapshot = at(1000, idle, uses=asked)
    assert unused(snapshot, ON_DEMAND) == ()
    (first,) = standing(M, snapshot, ON_DEMAND).keepers
    assert (first.hold, first.ends) == (Hold.FIRST, 990 + LINGER)
    later = at(990 + LINGER, idle, uses=asked)
    assert unused(later, ON_DEMAND) == (M,)
    assert follow(asked, snapshot, FRESH)[M].asked == 990


@pytest.mark.parametrize(
    ("seen", "come"),
    [
        (at(1000, resident("m", 4, idle=0.0), leases=(lease(),)), True),
        (at(1000, replace(resident("m", 4, busy=1), busy_for=Seconds(5))), True),
        (at(1000, replace(resident("m", 4, busy=1), busy_for=Seconds(50))), False),
    ],
    ids=["a lease", "a chat since", "a chat before"],
)
def test_whoever_asked_has_come_with_a_lease_or_a_chat_that_began_since(
    seen: Snapshot, come: bool
) -> None:
    asked = {M: Use(Seconds(1), Seconds(900), asked=Seconds(990))}
    assert (follow(asked, seen, FRESH)[M].asked is None) is come


def test_a_keep_alive_of_nothing_is_no_matter_for_the_watchdog() -> None:
    policy = Policy(keep_alive=Seconds(0))
    snapshot = at(1000, resident("m", 4, idle=100), uses=USED)
    assert [f for f in watch(snapshot, policy) if f.kind is Kind.IDLE] == []
    found = watch(snapshot, Policy(keep_alive=Seconds(90)))
    assert [f.subject for f in found if f.kind is Kind.IDLE] == ["ollama/m"]
    leased = replace(snapshot, uses={M: Use(NOW, NOW)}, leases=(lease(),))
    assert [f for f in watch(leased, Policy(keep_alive=Seconds(90))) if f.kind is Kind.IDLE] == []


# -- leases spare


def test_a_lease_spares_a_model_from_everybody_but_force() -> None:
    snapshot = replace(
        machine(resident("m", 4, idle=9), resident("n", 4, idle=1), free=0), leases=(lease(),)
    )
    room = plan(snapshot, NO_RESERVE, Demand((Share(GPU, gib(4)),)))
    assert [e.ref for e in room.evictions] == [ref("n")]
    assert [n.why for n in room.notes if n.ref == M] == [Why.LEASED]
    assert not plan(snapshot, NO_RESERVE, Demand((Share(GPU, gib(8)),))).works
    short = relieve(replace(snapshot, pools=snapshot.pools), Policy())
    assert M not in [e.ref for e in short.evictions]
    gone = dismiss(snapshot, NO_RESERVE, [M], Trigger.OPERATOR, even_busy=True)
    assert [e.ref for e in gone.evictions] == [M]
    assert dismiss(snapshot, NO_RESERVE, [M], Trigger.UNUSED).evictions == ()
    pinned = replace(NO_RESERVE, pinned=frozenset({"m"}))
    assert dismiss(snapshot, pinned, [M], Trigger.OPERATOR, even_busy=True).evictions == ()


# -- one status


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (State.LOADING, Status.LOADING),
        (State.LOADED, Status.LOADED),
        (State.SLEEPING, Status.SLEEPING),
        (State.LEAVING, Status.LEAVING),
        (State.UNKNOWN, Status.UNKNOWN),
    ],
)
def test_each_state_has_its_status_and_who_is_told_to_go_is_leaving(
    state: State, status: Status
) -> None:
    snapshot = at(1000, replace(resident("m", 4), state=state))
    assert standing(M, snapshot, Policy()).status is status
    told = replace(snapshot, farewells=frozenset({M}))
    expected = Status.UNKNOWN if state is State.UNKNOWN else Status.LEAVING
    assert standing(M, told, Policy()).status is expected


def test_what_is_not_loaded_is_local_absent_or_not_known() -> None:
    snapshot = replace(at(1000), installed=(Installed(M, gib(4)),))
    assert standing(M, snapshot, Policy()).status is Status.LOCAL
    assert standing(ref("n"), snapshot, Policy()).status is Status.ABSENT
    down = replace(snapshot, engines=tuple(replace(e, fault="down") for e in snapshot.engines))
    assert standing(M, down, Policy()).status is Status.UNKNOWN


def test_everybody_who_keeps_a_model_is_named() -> None:
    busy = replace(resident("m", 4, busy=3), in_flight=2)
    policy = Policy(pinned=frozenset({"m"}), pins_end={"m": Seconds(1600)})
    found = standing(M, at(1000, busy, leases=(lease(),)), policy)
    assert [k.hold for k in found.keepers] == [Hold.PIN, Hold.LEASE, Hold.WORK]
    assert (found.keepers[0].ends, found.keepers[1].ends, found.contexts) == (1600, 2000, 3)
    idle = at(1000, resident("m", 4, idle=40))
    (timer,) = standing(M, idle, Policy(keep_alive=Seconds(100))).keepers
    assert (timer.hold, timer.ends) == (Hold.TIMER, 1060)
    assert standing(M, idle, Policy()).keepers == ()
    new = replace(idle, uses={M: Use(Seconds(990))})
    (first,) = standing(M, new, ON_DEMAND).keepers
    assert (first.hold, first.ends) == (Hold.FIRST, 990 + LINGER)
    assert standing(M, replace(idle, uses=USED), ON_DEMAND).keepers == ()


def test_one_that_works_without_telling_how_much_has_one_context_at_least() -> None:
    silent = replace(resident("m", 4, busy=3), in_flight=None)
    assert standing(M, at(1000, silent), Policy()).contexts == 1
    assert at(1000, silent).contexts(M) == 1
    assert Standings(at(1000), Policy()).of(M).contexts == 0
