from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.reading import Bytes, PoolId, Seconds, gib, mib
from supervisor.core.foreign import (
    NOBODY,
    Culprit,
    Taken,
    culprits,
    forgiven,
    named,
    taken,
)
from supervisor.core.foreign_rule import ForeignRule, Stranger, rule_for
from supervisor.core.policy import Policy
from supervisor.core.snapshot import EngineId, Foreign
from tests.builders import GPU, machine, resident

STEAM = Stranger("steam*", ForeignRule.IGNORE)


def held(at: float = 0, unlisted: float = 0, **sizes: float) -> Taken:
    """Processes by name, in GiB; their pids in the order in which they are told."""
    by_pid = {10 + i: (name, gib(n)) for i, (name, n) in enumerate(sizes.items())}
    return Taken(Seconds(at), gib(sum(sizes.values()) + unlisted), by_pid)


def blamed(now: Taken, before: Taken | None, policy: Policy | None = None) -> list[tuple[str, int]]:
    found = culprits(GPU, now, before, policy or Policy())
    return [(c.name if c.pid else "?", c.grown) for c in found]


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("steam*", "steamwebhelper", True),
        ("steam*", "STEAM.exe", True),
        ("steam*", "/usr/games/steam", True),
        ("steam*", "mysteam", False),
        ("game-?", "game-3", True),
        ("game-?", "game-33", False),
        ("a.b", "axb", False),
        ("a[b]", "a[b]", True),
    ],
)
def test_a_pattern_is_of_any_case_and_knows_two_signs(pattern: str, name: str, fits: bool) -> None:
    assert Stranger(pattern, ForeignRule.IGNORE).fits(name, Bytes(1)) is fits


def test_the_most_particular_pattern_decides_and_a_minimum_leaves_out_who_is_small() -> None:
    rules = (
        Stranger("*", ForeignRule.ALERT),
        Stranger("steam*", ForeignRule.IGNORE),
        Stranger("steamvr", ForeignRule.REFUSE),
        Stranger("train*", ForeignRule.REFUSE, gib(1)),
    )
    assert rule_for(rules, "steamvr", Bytes(1)) is ForeignRule.REFUSE
    assert rule_for(rules, "steamy", Bytes(1)) is ForeignRule.IGNORE
    assert rule_for(rules, "bash", Bytes(1)) is ForeignRule.ALERT
    assert rule_for(rules, "trainer", gib(2)) is ForeignRule.REFUSE
    assert rule_for(rules, "trainer", mib(2)) is ForeignRule.ALERT
    assert rule_for(rules[1:], "bash", Bytes(1)) is None


def test_who_has_grown_is_to_blame_and_who_has_been_there_is_not() -> None:
    before, now = held(xorg=1, game=0.5), held(xorg=1, game=6)
    assert blamed(now, before) == [("game", gib(5.5))]
    assert blamed(held(xorg=1.01, game=0.5), before) == []


def test_what_nobody_lists_is_somebody_s_too() -> None:
    assert blamed(held(unlisted=3, xorg=1), held(xorg=1)) == [("?", gib(3))]
    # The list is late: what it shows meanwhile is not counted twice.
    assert blamed(held(xorg=1, game=3), held(unlisted=3, xorg=1)) == [("game", gib(3))]


def test_a_pid_that_is_another_process_s_by_now_had_nothing() -> None:
    assert blamed(held(game=6), held(editor=6)) == [("game", gib(6))]


def test_where_nobody_knows_what_was_before_only_who_is_named_is_to_blame() -> None:
    now = held(steam=4, editor=4, unlisted=2)
    assert blamed(now, None) == []
    assert blamed(now, None, Policy(strangers=(STEAM,))) == [("steam", gib(4))]


def test_a_stranger_has_ended_when_it_is_gone_or_has_given_back_nearly_all() -> None:
    game = Culprit(10, "game", ForeignRule.YIELD, gib(1), gib(4))
    assert game.is_there(held(game=5))
    assert game.is_there(held(game=2.5))
    assert not game.is_there(held(game=2))
    assert not game.is_there(held(other=5))
    somebody = Culprit(NOBODY, "?", ForeignRule.YIELD, gib(2), gib(4))
    assert somebody.is_there(held(unlisted=6))
    assert not somebody.is_there(held(unlisted=3))


def test_only_those_for_whom_nobody_leaves_are_forgiven() -> None:
    world = machine(free=1)
    guilty = {
        GPU: [
            Culprit(1, "a", ForeignRule.IGNORE, Bytes(0), gib(2)),
            Culprit(2, "b", ForeignRule.YIELD, Bytes(0), gib(3)),
            Culprit(3, "c", ForeignRule.ALERT, Bytes(0), gib(4)),
            Culprit(4, "d", ForeignRule.REFUSE, Bytes(0), gib(5)),
        ]
    }
    assert forgiven(world, guilty).free(GPU) == gib(1 + 2 + 4 + 5)
    assert forgiven(world, {GPU: guilty[GPU][1:2]}) is world
    assert forgiven(world, {PoolId("gone"): guilty[GPU]}).free(GPU) == gib(1)


def test_strangers_are_neither_models_nor_engines() -> None:
    foreign = (
        Foreign(GPU, 7, "game", gib(3)),
        Foreign(GPU, 8, "ollama", gib(1), EngineId("ollama")),
    )
    model = replace(resident("a", 8), pids=(9,))
    world = replace(machine(model, free=10), foreign=foreign)
    found = taken(world)[GPU]
    assert found.by_pid == {7: ("game", gib(3))}
    assert found.total == gib(24 - 10 - 8 - 1)


def test_a_rule_by_name_that_refuses_or_tells_holds_as_soon_as_they_are_there() -> None:
    foreign = (Foreign(GPU, 7, "game", gib(3)), Foreign(GPU, 8, "train", gib(1)))
    world = replace(machine(free=10), foreign=foreign)
    for rule, there in ((ForeignRule.REFUSE, True), (ForeignRule.YIELD, False)):
        policy = Policy(strangers=(Stranger("game", rule, gib(2)),))
        assert [c.name for c in named(world, policy).get(GPU, [])] == ["game"] * there
    small = Policy(strangers=(Stranger("game", ForeignRule.REFUSE, gib(4)),))
    assert named(world, small) == {}
