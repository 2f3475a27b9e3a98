"""Why a demand does not fit, in bytes and in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.reading import Bytes, gib
from supervisor.config.settings import SETTINGS
from supervisor.core.explain import of_plan, why
from supervisor.core.plan import plan
from supervisor.core.policy import Amount, Policy, PoolPolicy
from supervisor.core.record import Decision, Mode
from supervisor.core.refusal import of_change, of_limit, of_short
from supervisor.core.rows import decision_row, plan_row
from supervisor.core.snapshot import Foreign, Installed, Snapshot
from tests.builders import GPU, NO_RESERVE, demand, machine, ref, reserve, resident

PINNED = replace(NO_RESERVE, pinned=frozenset({"kept"}))
BLENDER = Foreign(GPU, 4121, "blender", gib(4))


def world(*more: Foreign, free: float = 2) -> Snapshot:
    found = machine(
        resident("old", 6, idle=600),
        resident("busy", 3, busy=12),
        resident("kept", 5, idle=9),
        free=free,
    )
    return replace(found, foreign=more)


def row(size: float, policy: Policy = PINNED, *more: Foreign) -> dict[str, object]:
    (found,) = plan_row(plan(world(*more), policy, demand("new", size)))["short"]
    return found  # type: ignore[no-any-return]


def test_what_is_needed_free_reclaimable_and_missing_add_up() -> None:
    found = row(13)
    assert [found[k] for k in ("needs", "free", "reclaimable", "missing")] == [
        gib(n) for n in (13, 2, 6, 5)
    ]
    assert (found["pool"], found["total"], found["reserve"]) == (GPU, gib(24), 0)
    kept = row(13, replace(reserve(1), pinned=frozenset({"kept"})))
    assert (kept["reserve"], kept["missing"]) == (gib(1), gib(6))


def test_who_holds_the_rest_is_told_the_largest_first_and_strangers_last() -> None:
    small = Foreign(GPU, 5, "Xorg", gib(0.1))
    found = row(13, PINNED, small, BLENDER)
    assert [(h["name"], h["size"], h["why"], h["pid"]) for h in found["holders"]] == [  # type: ignore[attr-defined]
        ("ollama/kept", gib(5), "pinned", None),
        ("ollama/busy", gib(3), "busy", None),
        ("blender", gib(4), "not ours", 4121),
    ]


def test_a_plan_that_works_is_short_of_nothing() -> None:
    assert plan(world(), PINNED, demand("new", 8)).short == ()
    assert plan_row(plan(world(), PINNED, demand("new", 8)))["short"] == []


def test_a_refusal_is_told_in_bytes_and_by_name() -> None:
    text = "\n".join(of_plan(plan(world(BLENDER), PINNED, demand("new", 13))))
    assert (
        "it needs about 13.0 GiB of gpu:0, 2.0 GiB is free and 6.0 GiB can be reclaimed\n"
        "the rest of gpu:0 is held: ollama/kept 5.0 GiB (pinned); ollama/busy 3.0 GiB (busy); "
        "blender 4.0 GiB (not ours, pid 4121)\n"
        "still missing: 5.0 GiB of gpu:0"
    ) in text


def test_what_is_set_aside_is_told_apart_from_what_is_free() -> None:
    policy = replace(reserve(1), pinned=frozenset({"kept"}))
    assert "2.0 GiB is free (1.0 GiB set aside) and" in of_short(row(13, policy))[0]


@pytest.mark.parametrize(
    ("size", "more", "told"),
    [
        (10, (), "x would fit if ollama/kept were not pinned (`ullage unpin ollama/kept`) or"
         " ollama/busy were done with its work: 2.0 GiB of gpu:0 is missing"),
        (13, (), "x would fit if ollama/kept were not pinned (`ullage unpin ollama/kept`): 5.0"),
        (12, (BLENDER,), "or blender (pid 4121) ended: 4.0 GiB of gpu:0 is missing"),
        (16, (), "x would fit if all of those left: 8.0 GiB of gpu:0 is missing"),
        (17, (), "x would not fit if all of those left, either"),
        (25, (), "x can never fit: gpu:0 has 24.0 GiB in all, besides its reserve"),
    ],
)  # fmt: skip
def test_what_would_have_to_change_is_said(
    size: float, more: tuple[Foreign, ...], told: str
) -> None:
    assert told in of_change(row(size, PINNED, *more), "x")


def decided(number: int, size: float, policy: Policy = PINNED) -> dict[str, object]:
    made = plan(world(), policy, demand("new", size))
    cause = "asked to load ollama/new"
    return decision_row(Decision(f"d-{number:06}", 1000.0 * number, Mode.ENFORCE, cause, made))


def test_why_says_of_who_was_refused_what_was_missing_and_what_would_have_to_change() -> None:
    there = replace(world(), installed=(Installed(ref("new")),))
    lines = why(ref("new"), there, PINNED, [decided(1, 13)], now=1090.0)
    assert lines == [
        "ollama/new is installed and not loaded",
        "a request through the gateway loads it, or `ullage load ollama/new`",
        "d-000001, 90 s ago: asked to load ollama/new",
        "  ollama/new was refused",
        "  it needs about 13.0 GiB of gpu:0, 2.0 GiB is free and 6.0 GiB can be reclaimed",
        "  the rest of gpu:0 is held: ollama/kept 5.0 GiB (pinned); ollama/busy 3.0 GiB (busy)",
        "  ollama/new would fit if ollama/kept were not pinned (`ullage unpin ollama/kept`): 5.0"
        " GiB of gpu:0 is missing",
    ]


def test_why_names_the_limit_that_refused_a_model() -> None:
    policy = replace(PINNED, max_active=1)
    lines = why(ref("new"), world(), policy, [decided(1, 1, policy)])
    setting = "max_active_backends, or single_active_backend"
    assert f"  no more may be active at once: host ({setting})" in lines


def test_every_limit_is_told_with_the_setting_that_says_it() -> None:
    keys = {s.key for s in SETTINGS}
    there = {
        "npu": "npu.max_active_backends",
        "engine NAME": "engines.NAME.max_active_backends",
        "pool ram": "pools.ram.max_active_backends",
        "type chat": "types.chat.max_active_backends",
    }
    for key, setting in there.items():
        assert of_limit(key) == f"{key} ({setting})"
        assert setting in keys
    assert of_limit("group big") == "group big (groups.big)"
    assert of_limit("of another version") == "of another version"


def test_why_a_model_stayed_is_told_once_and_not_for_every_decision() -> None:
    many = [decided(n, 13) for n in range(9, 0, -1)]
    lines = why(ref("kept"), world(), PINNED, many)
    assert [line for line in lines if "stayed" in line] == ["  ollama/kept stayed: it is pinned"]
    assert [line for line in lines if line.startswith("d-")] == [
        "d-000009: asked to load ollama/new"
    ]


def test_an_older_journal_does_not_say_what_was_short() -> None:
    old = {k: v for k, v in decided(1, 13).items() if k != "short"}
    lines = why(ref("new"), world(), PINNED, [old])
    assert "  ollama/new was refused" in lines


def budgeted(size: float) -> Policy:
    card = PoolPolicy(reserve=Amount(size=Bytes(0)), budget=Amount(size=gib(size)))
    return replace(PINNED, pools={GPU: card})


def test_where_the_budget_leaves_the_least_it_is_the_budget_that_is_told() -> None:
    policy = budgeted(15)
    found = row(12, policy)
    assert (found["budget"], found["held"]) == (gib(15), gib(14))
    assert of_short(found)[0] == (
        "it needs about 12.0 GiB of gpu:0, models may hold 15.0 GiB of it (pools.gpu:0.budget),"
        " hold 14.0 GiB and 6.0 GiB can be reclaimed"
    )
    assert of_change(row(16, policy), "x") == (
        "x can never fit: models may hold 15.0 GiB of gpu:0, its budget"
    )
    roomy = budgeted(20)
    assert "2.0 GiB is free" in of_short(row(12, roomy))[0]
    older = {k: v for k, v in found.items() if k not in ("budget", "held")}
    assert "2.0 GiB is free" in of_short(older)[0]
