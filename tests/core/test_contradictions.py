"""Settings that cannot both be meant."""

from __future__ import annotations

import pytest

from collectors.reading import RAM, PoolId, Seconds, gib
from supervisor.core.contradictions import contradictions, not_here, too_large
from supervisor.core.groups import Group, Rule
from supervisor.core.policy import (
    Amount,
    EnginePolicy,
    ModelPolicy,
    Policy,
    PoolPolicy,
    Retention,
)
from supervisor.core.snapshot import REMOTE, EngineId
from supervisor.core.types import ModelType
from tests.builders import GPU, pool

NEVER, ALWAYS = Rule.NEVER_TOGETHER, Rule.ALWAYS_TOGETHER
TWO = frozenset({"e/a", "e/b"})
E = EngineId("e")


@pytest.mark.parametrize(
    ("policy", "key", "said"),
    [
        (Policy(single=True, pinned=TWO), "single_active_backend", "e/a and e/b are pinned"),
        (Policy(max_active=1, pinned=TWO), "max_active_backends", "is 1, and e/a and e/b"),
        (
            Policy(engines={E: EnginePolicy(max_active=1)}, pinned=TWO),
            "engines.e.max_active_backends",
            "is 1",
        ),
        (
            Policy(types={ModelType.CHAT: 1}, models={m: ModelPolicy(pinned=True) for m in "ab"}),
            "types.chat.max_active_backends",
            "a and b are pinned",
        ),
        (
            Policy(models={m: ModelPolicy(pinned=True, npu=True) for m in "ab"}),
            "npu.max_active_backends",
            "a and b are pinned",
        ),
        (
            Policy(groups={"g": Group(NEVER, ("e/*",))}, pinned=TWO),
            "groups.g.models",
            "never together, and each of them is pinned",
        ),
        (
            Policy(groups={"g": Group(ALWAYS, ("a", "b")), "h": Group(NEVER, ("a", "b", "c"))}),
            "groups.g.models",
            "always together, and in h never",
        ),
        (
            Policy(groups={"g": Group(ALWAYS, ("a", "b"))}, single=True),
            "groups.g.models",
            "one may be active",
        ),
        (
            Policy(groups={"g": Group(ALWAYS, ("a", "b", "c"))}, max_active=2),
            "groups.g.models",
            "they are 3, and 2",
        ),
        (
            Policy(
                groups={"g": Group(ALWAYS, ("e/a", "e/b"))}, engines={E: EnginePolicy(max_active=1)}
            ),
            "groups.g.models",
            "than e may have",
        ),
        (
            Policy(groups={"g": Group(ALWAYS, ("a", "b"))}, types={ModelType.CHAT: 1}),
            "groups.g.models",
            "of type chat",
        ),
        (Policy(groups={"g": Group(NEVER, ("a",))}), "groups.g.models", "alone is no group"),
        (
            Policy(pools={GPU: PoolPolicy(exclusive=True, max_active=2)}),
            "pools.gpu:0.exclusive",
            "max_active_backends is 2",
        ),
        (
            Policy(min_residency=Seconds(60), keep_alive=Seconds(0)),
            "min_residency",
            "after each request",
        ),
        (
            Policy(models={"a": ModelPolicy(min_residency=Seconds(60), keep_alive=Seconds(0))}),
            "models.a.min_residency",
            "after each request",
        ),
        (
            Policy(models={"a": ModelPolicy(pinned=True, retention=Retention.ON_DEMAND)}),
            "models.a.retention",
            "is on_demand, and it is pinned",
        ),
    ],
)
def test_each_is_found_with_the_key_to_change(policy: Policy, key: str, said: str) -> None:
    (found,) = contradictions(policy)
    assert (".".join(found.path), said in found.message) == (key, True), found


@pytest.mark.parametrize(
    "policy",
    [
        Policy(),
        Policy(single=True, pinned=frozenset({"a"})),
        Policy(single=True, pinned=frozenset({"a", "e/a"})),  # the same one, by two names
        Policy(max_active=2, pinned=TWO),
        Policy(max_active=0, pinned=TWO),
        Policy(groups={"g": Group(NEVER, ("a", "b"))}, pinned=frozenset({"a", "c"})),
        Policy(groups={"g": Group(ALWAYS, ("a", "b")), "h": Group(NEVER, ("a", "c"))}),
        Policy(groups={"g": Group(NEVER, ("e/*",))}),
        Policy(
            types={ModelType.EMBEDDING: 1},
            models={m: ModelPolicy(pinned=True) for m in ("nomic-embed", "qwen")},
        ),
    ],
)
def test_what_can_be_meant_is_no_contradiction(policy: Policy) -> None:
    assert contradictions(policy) == ()


def test_all_are_told_at_once() -> None:
    policy = Policy(single=True, max_active=1, pinned=TWO)
    assert len(contradictions(policy)) == 2


def test_what_is_wanted_of_a_pool_may_be_more_than_it_has() -> None:
    def of(**amounts: Amount) -> list[str]:
        policy = Policy(pools={GPU: PoolPolicy(**amounts)})  # type: ignore[arg-type]
        return [f"{c.path[-1]} {c.message}" for c in too_large(policy, [pool(4, total=24)])]

    assert of(reserve=Amount(size=gib(24))) == ["reserve is 24.0 GiB, and gpu:0 has 24.0 GiB"]
    assert of(budget=Amount(size=gib(25))) == ["budget is 25.0 GiB, and gpu:0 has 24.0 GiB"]
    assert of(budget=Amount(size=gib(24)), reserve=Amount(fraction=0.5)) == []


def test_an_engine_may_be_said_to_use_what_is_not_here() -> None:
    def of(*names: str) -> list[str]:
        own = EnginePolicy(pools=frozenset(PoolId(n) for n in names))
        policy = Policy(engines={EngineId("a"): own, EngineId("b"): EnginePolicy()})
        here = [pool(4), pool(9, id=RAM)]
        return [f"{'.'.join(c.path)} {c.message}" for c in not_here(policy, here)]

    assert of("GPU-typo", GPU) == ["engines.a.pools names GPU-typo, and there is gpu:0 and ram"]
    assert of(GPU) == of(RAM) == of(REMOTE) == []


def test_an_engine_is_on_this_machine_or_on_another() -> None:
    own = EnginePolicy(pools=frozenset({REMOTE, GPU, RAM}))
    (found,) = contradictions(Policy(engines={EngineId("a"): own}))
    assert found.path == ("engines", "a", "pools")
    assert found.message == (
        "names remote, for an engine on another machine; leave out gpu:0 and ram"
    )
