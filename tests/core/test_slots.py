"""Counts against limits, by tables and by trying; groups; types; the brake's bucket."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from collectors.reading import Seconds
from supervisor.core.actions import Trigger, Why
from supervisor.core.brake import Bucket
from supervisor.core.experience import Experience
from supervisor.core.groups import Group, Rule, Units, matches, members, together
from supervisor.core.limits import Slots, type_of
from supervisor.core.plan import dismiss, limit, plan
from supervisor.core.policy import Brake, EnginePolicy, ModelPolicy, Policy, PoolPolicy
from supervisor.core.snapshot import (
    Demand,
    EngineId,
    Installed,
    ModelRef,
    Reservation,
    Resident,
    Snapshot,
    State,
)
from supervisor.core.types import ModelType, by_word, guess
from tests.builders import GPU, OTHER, demand, engine, machine, ref, resident, share

A, B, C = ref("a"), ref("b"), ref("c")


@pytest.mark.parametrize(
    ("kind", "name", "type"),
    [
        ("ollama", "qwen3:8b", ModelType.CHAT),
        ("ollama", "nomic-embed-text", ModelType.EMBEDDING),
        ("ollama", "bge-m3:latest", ModelType.EMBEDDING),
        ("tei", "BAAI/bge-reranker-base", ModelType.RERANK),
        ("infinity", "anything", ModelType.EMBEDDING),
        ("speaches", "Systran/faster-distil", ModelType.SPEECH),
        ("llamacpp", "whisper-large-v3", ModelType.SPEECH),
        ("comfyui", "checkpoint.safetensors", ModelType.IMAGE),
        ("localai", "stable-diffusion-3", ModelType.IMAGE),
        ("localai", "flux.1-dev", ModelType.IMAGE),
        ("vllm", "meta-llama/Llama-3.1-8B", ModelType.CHAT),
        ("ollama", "fluxional-embedding", ModelType.EMBEDDING),
    ],
)
def test_a_type_is_guessed_by_the_kind_of_engine_and_the_name(
    kind: str, name: str, type: ModelType
) -> None:
    assert guess(kind, name) is type


def test_the_operators_word_counts_more_than_the_engines_and_that_more_than_a_guess() -> None:
    told = replace(resident("nomic-embed", 1), type=ModelType.RERANK)
    world = replace(
        machine(told, free=9), installed=(Installed(ref("bge-x"), type=ModelType.CHAT),)
    )
    assert type_of(world, Policy(), told.ref) is ModelType.RERANK
    said = Policy(models={"nomic-embed": ModelPolicy(type=ModelType.SPEECH)})
    assert type_of(world, said, told.ref) is ModelType.SPEECH
    assert type_of(world, Policy(), ref("bge-x")) is ModelType.CHAT
    assert type_of(world, Policy(), ref("bge-y")) is ModelType.EMBEDDING
    assert by_word("LLM") is ModelType.CHAT
    assert by_word("quantum") is by_word(None) is None


LIMITS = [
    (Policy(max_active=2), ("host",)),
    (Policy(engines={EngineId("ollama"): EnginePolicy(max_active=2)}), ("engine ollama",)),
    (Policy(types={ModelType.CHAT: 2}), ("type chat",)),
    (Policy(pools={GPU: PoolPolicy(max_active=2)}), ("pool gpu:0",)),
    (Policy(pools={GPU: PoolPolicy(exclusive=True)}), ("pool gpu:0",) * 2),
    (Policy(groups={"g": Group(Rule.NEVER_TOGETHER, ("*",))}), ("group g",) * 2),
    (Policy(single=True), ("host",) * 2),
    (Policy(models={m: ModelPolicy(npu=True) for m in "abc"}), ("npu",) * 2),
    (Policy(max_active=2, types={ModelType.CHAT: 2}), ("host", "type chat")),
    (Policy(), ()),
]


@pytest.mark.parametrize(("policy", "full"), LIMITS)
def test_every_limit_counts_the_newcomer_who_loads_and_who_was_promised_to(
    policy: Policy, full: tuple[str, ...]
) -> None:
    loading = resident("b", 4, state=State.LOADING)
    three = replace(
        machine(resident("a", 4), loading, free=9),
        reservations=(Reservation(B, (share(4),)), Reservation(C, (share(4),))),
    )
    assert Slots(three, policy).full() == full
    two = replace(three, reservations=())
    assert Slots(two, policy, demand("c", 4)).full() == full


def test_a_pool_counts_who_holds_any_of_it_and_nobody_else() -> None:
    world = machine(resident("a", 4), resident("b", 4, pool=OTHER), free=9)
    policy = Policy(pools={GPU: PoolPolicy(exclusive=True)})
    assert Slots(world, policy).full() == ()
    assert Slots(world, policy, demand("c", 4, OTHER)).full() == ()
    assert Slots(world, policy, demand("c", 4)).full() == ("pool gpu:0",)


def test_those_who_come_together_are_all_counted() -> None:
    both = replace(demand("b", 4), beside=(demand("c", 4),))
    assert Slots(machine(resident("a", 4), free=9), Policy(max_active=2), both).full() == ("host",)


def test_a_limit_is_not_exceeded_by_those_who_are_tolerated_alone() -> None:
    world = machine(resident("a", 4, idle=9), resident("b", 4), resident("c", 4), free=9)
    policy = Policy(max_active=1)
    known = frozenset({A, B, C})
    assert limit(world, policy, Experience(tolerated=known)).actions == ()
    assert limit(world, policy, Experience(tolerated=known - {C})).works
    assert len(limit(world, policy, Experience(tolerated=known - {C})).evictions) == 2
    assert len(plan(world, policy, demand("d", 1), Experience(tolerated=known)).evictions) == 3


@some.composite
def worlds(draw: some.DrawFn) -> tuple[Snapshot, Policy]:
    states = some.sampled_from(list(State))
    names = draw(some.lists(some.sampled_from("abcdefgh"), unique=True, max_size=8))
    residents = [
        resident(
            n,
            1,
            pool=draw(some.sampled_from([GPU, OTHER])),
            state=draw(states),
            engine=draw(some.sampled_from(["ollama", "llama"])),
        )
        for n in names
    ]
    most = some.integers(0, 3)
    policy = Policy(
        max_active=draw(most),
        single=draw(some.booleans()),
        engines={EngineId("llama"): EnginePolicy(max_active=draw(most))},
        pools={GPU: PoolPolicy(max_active=draw(most))},
        types={ModelType.CHAT: draw(most)},
        groups={"g": Group(Rule.NEVER_TOGETHER, ("a", "b", "llama/c*"))},
        pinned=frozenset(draw(some.sets(some.sampled_from("abc")))),
    )
    return machine(*residents, free=4), policy


def _by_hand(world: Snapshot, policy: Policy) -> Counter[str]:
    """The same, counted anew."""
    there = [
        r for r in world.residents if r.state not in (State.LEAVING, State.SLEEPING, State.UNKNOWN)
    ]
    group = policy.groups["g"]
    counts = {
        "engine llama": (
            sum(r.engine == "llama" for r in there),
            policy.max_active_of(EngineId("llama")),
        ),
        "pool gpu:0": (sum(GPU in r.pools for r in there), policy.pools[GPU].most),
        "type chat": (len(there), policy.types[ModelType.CHAT]),
        "group g": (sum(group.has(r.ref) for r in there), 1),
    }
    host = len(there) - policy.max_active if policy.max_active else 0
    unpinned = sum(not policy.is_pinned(r.ref) for r in there) - 1 if policy.single else 0
    found = {key: n - most for key, (n, most) in counts.items() if most and n > most}
    found |= {"host": max(host, unpinned)} if max(host, unpinned) > 0 else {}
    return Counter(found)


@given(worlds(), some.randoms(use_true_random=False))
def test_counting_step_by_step_is_counting_anew(world: tuple[Snapshot, Policy], random) -> None:  # type: ignore[no-untyped-def]
    snapshot, policy = world
    slots = Slots(snapshot, policy)
    assert Counter(slots.full()) == _by_hand(snapshot, policy)
    gone: list[Resident] = []
    for victim in random.sample(snapshot.residents, len(snapshot.residents)):
        before = Counter(slots.full())
        slots.leave(victim)
        gone.append(victim)
        rest = replace(snapshot, residents=tuple(r for r in snapshot.residents if r not in gone))
        assert Counter(slots.full()) == _by_hand(rest, policy)
        slots.stay(victim)
        assert Counter(slots.full()) == before
        slots.leave(victim)


def test_only_who_counts_against_a_limit_that_is_exceeded_helps() -> None:
    ours, mine, yours = resident("a", 1), resident("b", 1, engine="x"), resident("c", 1, engine="x")
    policy = Policy(max_active=9, engines={EngineId("x"): EnginePolicy(max_active=1)})
    slots = Slots(machine(ours, mine, yours, free=9), policy, demand("d", 1))
    assert [slots.helps(one) for one in (ours, mine, yours)] == [False, True, True]
    slots.leave(mine)
    assert not slots.helps(yours)


# -- groups


@pytest.mark.parametrize(
    ("pattern", "name", "engine", "is_meant"),
    [
        ("a", "a", "x", True),
        ("x/a", "a", "x", True),
        ("y/a", "a", "x", False),
        ("x/*", "a", "x", True),
        ("*", "a", "x", True),
        ("qwen*", "qwen3:8b", "x", True),
        ("*embed*", "nomic-embed-text", "x", True),
        ("qwen*", "llama", "x", False),
        ("a.c", "abc", "x", False),
        ("org/*", "org/model", "x", True),
    ],
)
def test_a_star_stands_for_any_text(pattern: str, name: str, engine: str, is_meant: bool) -> None:
    assert matches(pattern, ref(name, engine)) is is_meant
    assert Group(Rule.NEVER_TOGETHER, ("no", pattern, "no*")).has(ref(name, engine)) is is_meant


PAIR = {"pair": Group(Rule.ALWAYS_TOGETHER, ("a", "b"))}


def test_a_name_that_two_engines_have_means_that_of_the_same_engine() -> None:
    world = replace(
        machine(resident("a", 1), free=9),
        installed=(Installed(ref("b")), Installed(ref("b", "llama")), Installed(ref("a", "llama"))),
    )
    assert together(PAIR, A, world) == (B,)
    assert together(PAIR, ref("a", "llama"), world) == (ref("b", "llama"),)
    assert members(PAIR["pair"], world) == (ref("b", "llama"), A)  # the loaded one; else the first


def test_one_that_is_meant_by_two_of_a_name_brings_its_own_along() -> None:
    group = {"g": Group(Rule.ALWAYS_TOGETHER, ("a", "c"))}
    other = ref("a", "llama")
    world = replace(machine(free=9), installed=tuple(Installed(r) for r in (A, C, other)))
    assert together(group, C, world) == (A,)
    assert together(group, other, world) == (A, C)  # there is only one of that name, and it has A


def test_groups_that_share_a_model_are_together_altogether() -> None:
    groups = PAIR | {"more": Group(Rule.ALWAYS_TOGETHER, ("b", "c"))}
    world = replace(machine(free=9), installed=tuple(Installed(r) for r in (A, B, C)))
    assert together(groups, A, world) == (B, C)


@given(
    some.lists(
        some.lists(
            some.sampled_from(["a", "b", "c", "d", "ollama/a", "llama/b", "l*c", "*d"]), min_size=1
        ),
        max_size=3,
    ),
    some.sets(some.builds(ref, some.sampled_from("abcd"), some.sampled_from(["ollama", "llama"]))),
)
@example([["a", "c"]], {A, C, ref("a", "llama")})  # C goes with one of them, and with C both do
def test_who_leaves_with_one_is_who_is_together_with_it(
    names: list[list[str]], there: set[ModelRef]
) -> None:
    groups = {str(n): Group(Rule.ALWAYS_TOGETHER, tuple(m)) for n, m in enumerate(names)}
    world = machine(*(resident(r.model, 1, engine=r.engine) for r in sorted(there)), free=1)
    units = Units(groups, world)
    for one in world.residents:
        others = [r.ref for r in units.of(one.ref) if r != one]
        assert tuple(others) == together(groups, one.ref, world)


def pair(**changes: object) -> Snapshot:
    beside = resident("b", 4, idle=1)
    return machine(
        resident("a", 4, idle=99), replace(beside, **changes), resident("c", 4, idle=9), free=1
    )  # type: ignore[arg-type]


def test_one_that_makes_room_takes_its_companion_along_with_a_reason() -> None:
    made = plan(pair(), Policy(groups=PAIR, ranking=Policy().ranking), demand("d", 4))
    why = {n.ref: n.why for n in made.notes}
    if A in {e.ref for e in made.evictions}:
        assert {A, B} <= {e.ref for e in made.evictions}
        assert Why.TOGETHER in (why[A], why[B])


def test_a_companion_that_may_not_go_keeps_the_other() -> None:
    for held in ({"busy": True, "busy_for": Seconds(1)}, {"state": State.LOADING}):
        made = plan(pair(**held), Policy(groups=PAIR), demand("d", 4))
        assert {n.ref: n.why for n in made.notes}[A] is Why.STAYS_TOGETHER
        assert {e.ref for e in made.evictions} == {C}


def test_one_that_is_leaving_keeps_nobody() -> None:
    made = dismiss(pair(state=State.LEAVING), Policy(groups=PAIR), [A], Trigger.OPERATOR)
    assert [e.ref for e in made.evictions] == [A]


def test_who_is_told_to_go_goes_with_the_other_and_idle_is_who_is_idle_with_all() -> None:
    policy = Policy(groups=PAIR)
    told = dismiss(pair(), policy, [A], Trigger.OPERATOR)
    assert {e.ref: e.why for e in told.evictions} == {A: Why.ASKED, B: Why.TOGETHER}
    assert dismiss(pair(), policy, [A], Trigger.IDLE).evictions == ()
    assert len(dismiss(pair(), policy, [A, B], Trigger.IDLE).evictions) == 2


def test_room_is_made_for_all_that_come_or_for_none_and_never_of_one_that_is_wanted() -> None:
    wanted = replace(demand("a", 4), beside=(demand("b", 6),))
    policy = Policy(groups=PAIR)
    room = machine(resident("c", 4, idle=9), free=9)
    made = plan(room, policy, wanted)
    assert [type(a).__name__ for a in made.actions] == ["Evict", "Load", "Load"]
    assert plan(machine(resident("c", 4, idle=9), free=5), policy, wanted).actions == ()
    there = machine(resident("a", 4, idle=99), resident("c", 4), free=4)
    made = plan(there, policy, wanted)
    assert [e.ref for e in made.evictions] == [C]


def test_a_demand_of_bytes_is_no_matter_of_limits() -> None:
    full = machine(resident("a", 4), resident("b", 4), free=9)
    assert plan(full, Policy(max_active=1), Demand((share(2),))).works


# -- the brake


def test_a_bucket_runs_empty_and_fills_by_and_by() -> None:
    brake, bucket = Brake(2, Seconds(600)), Bucket(2, Seconds(0))
    assert bucket.wait(brake, Seconds(0)) == 0
    for _ in range(2):
        bucket = bucket.take(brake, Seconds(0))
    assert bucket.wait(brake, Seconds(0)) == 300
    assert bucket.wait(brake, Seconds(200)) == pytest.approx(100)
    assert bucket.wait(brake, Seconds(300)) == 0
    assert bucket.now(brake, Seconds(9999)) == 2


def test_a_braked_pool_lets_only_those_in_for_whom_nobody_leaves() -> None:
    world = machine(resident("a", 8, idle=9), free=4, engines=(engine(),))
    braked = Experience(braked={GPU: Seconds(41)})
    held = plan(world, Policy(), demand("b", 8), braked)
    assert (held.actions, held.works, held.barred[0].wait) == ((), False, 41)
    assert "41 s" in held.barred[0].why
    assert plan(world, Policy(), demand("b", 1), braked).works
    assert plan(world, Policy(), Demand((share(8),)), braked).works  # no swap, but a job
