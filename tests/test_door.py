"""Names in, decisions out: what people type, and what they are told."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from collectors.reading import RAM, Device, MemoryPool, PoolId, PoolKind, gib
from supervisor.core.snapshot import Installed, Share, Snapshot, Source
from supervisor.door import Ambiguous, Door, DoorError, NotReady, Unknown
from supervisor.journal.journal import Journal
from supervisor.loop import Loop
from tests.builders import GPU, NO_RESERVE, machine, pool, ref, resident

A, B = PoolId("GPU-8f6f2a10"), PoolId("GPU-8f99b7c2")
HOST = MemoryPool(RAM, PoolKind.HOST, gib(64), gib(60))
TWO_CARDS = replace(
    machine(
        resident("qwen3:8b", 4, pool=A),
        resident("gemma", 2, pool=B),
        resident("gemma", 2, pool=B, engine="llama"),
        free=1,
    ),
    pools=(HOST, pool(4, id=A), pool(4, id=B)),
    devices=(
        Device("GPU-8f6f2a10", A, "RTX 4090", 0, "nvidia"),
        Device("GPU-8f99b7c2", B, "RTX 3090", 1, "nvidia"),
    ),
    installed=(Installed(ref("llama3:70b"), gib(40)), Installed(ref("odd"))),
)


def door(snapshot: Snapshot | None = TWO_CARDS) -> Door:
    loop = Loop(None, None, Journal(None), NO_RESERVE)  # type: ignore[arg-type]
    loop.snapshot = snapshot
    return Door(loop)


def test_before_the_first_sample_nothing_can_be_asked() -> None:
    with pytest.raises(NotReady):
        door(None).resolve("gemma")


def test_a_model_is_known_by_its_name_alone_or_with_its_engine() -> None:
    assert door().resolve("qwen3:8b") == ref("qwen3:8b")
    assert door().resolve("ollama/qwen3:8b") == ref("qwen3:8b")
    assert door().resolve("llama/gemma") == ref("gemma", "llama")
    assert door().resolve("llama3:70b") == ref("llama3:70b")


def test_a_name_without_a_tag_means_the_latest() -> None:
    tagged = machine(resident("phi:latest", 2), resident("phi:3b", 2), free=1)
    assert door(tagged).resolve("phi") == ref("phi:latest")
    assert door(tagged).resolve("ollama/phi") == ref("phi:latest")


def test_a_name_that_two_engines_have_has_to_be_said_in_full() -> None:
    with pytest.raises(Ambiguous, match="llama/gemma or ollama/gemma"):
        door().resolve("gemma")
    one_loaded = replace(
        machine(resident("gemma", 2), free=1), installed=(Installed(ref("gemma", "llama")),)
    )
    assert door(one_loaded).resolve("gemma") == ref("gemma")


def test_an_unknown_model_is_answered_with_the_closest_names() -> None:
    with pytest.raises(Unknown) as caught:
        door().resolve("qwen")
    assert caught.value.closest[0] == "qwen3:8b"
    with pytest.raises(Unknown, match="did you mean"):
        door().resolve("lama3")


@pytest.mark.parametrize("name", ["GPU-8f6f2a10", "0", "gpu0", "GPU-8f6f", "gpu-8f6"])
def test_a_pool_is_known_by_its_device_and_by_a_unique_beginning(name: str) -> None:
    assert door().pool(name) == A


def test_a_pool_that_cannot_be_read_has_its_name_all_the_same() -> None:
    dark = replace(TWO_CARDS, pools=(HOST, pool(4, id=B)), blind={A: "it hangs"})
    assert door(dark).pool("GPU-8f6") == A
    assert not door(dark).plan_free(gib(1), A).works


def test_a_beginning_that_two_pools_share_is_refused_with_both() -> None:
    with pytest.raises(Unknown) as caught:
        door().pool("GPU-8f")
    assert {A, B} <= set(caught.value.closest)


def test_without_a_name_the_only_accelerator_is_meant_or_ram() -> None:
    with pytest.raises(Ambiguous, match="say which"):
        door().pool(None)
    assert door(replace(TWO_CARDS, devices=TWO_CARDS.devices[:1])).pool(None) == A
    assert door(replace(TWO_CARDS, devices=())).pool(None) == RAM


def test_a_load_is_expected_to_take_what_the_model_held_the_last_time() -> None:
    at = door()
    assert at.demand("llama3:70b").shares[0].source is Source.ESTIMATED
    at.loop.journal.remember(ref("llama3:70b"), (Share(B, gib(9)),))
    assert at.demand("llama3:70b").shares == (Share(B, gib(9), Source.LEARNED),)


def test_of_one_of_unknown_size_no_byte_is_counted_and_other_hosts_are_told_nothing() -> None:
    at = door()
    (share,) = at.demand("odd").shares
    assert share.size == 0
    with pytest.raises(DoorError, match="nothing is known of the size"):
        at.demand("odd", spanned=True)


def test_a_dry_run_says_what_would_be_done_and_does_nothing() -> None:
    at = door()
    plan = at.plan_free(gib(6), A)
    assert [e.ref for e in plan.evictions] == [ref("qwen3:8b")]
    assert at.loop.journal.decisions(10) == []


def test_pins_are_kept_by_their_full_name_and_taken_back_by_either() -> None:
    async def story() -> None:
        at = door()
        assert await at.pin("qwen3:8b") == "ollama/qwen3:8b"
        assert at.loop.keeping.pins.names == {"ollama/qwen3:8b"}
        with pytest.raises(Unknown):
            await at.unpin("qwen3")
        assert await at.unpin("qwen3:8b") == "ollama/qwen3:8b"
        assert at.loop.keeping.pins.names == frozenset()
        with pytest.raises(Unknown):
            await at.pin("nobody")

    asyncio.run(story())


def test_a_busy_model_is_asked_for_again_until_it_is_idle_or_patience_ends() -> None:
    busy = machine(resident("m", 4, busy=9), free=4)
    waits: list[float] = []

    async def story(idle_after: int) -> tuple[list[str], str]:
        at = door(busy)

        async def wait(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == idle_after:
                at.loop.snapshot = machine(resident("m", 4, idle=1), free=4)

        class Hands:
            stopping = False

            async def carry_out(self, *_: object) -> list[object]:
                return []

        at.sleep, at.loop.executor = wait, Hands()  # type: ignore[assignment]
        task = asyncio.create_task(at.loop.run())
        carried = await at.free(gib(6), GPU)
        task.cancel()
        decision = carried.decision
        return [str(e.ref) for e in decision.plan.evictions], decision.cause

    evicted, cause = asyncio.run(story(idle_after=3))
    assert (evicted, waits) == (["ollama/m"], [1.0] * 3)
    assert "after 3 tries" in cause
    waits.clear()
    evicted, cause = asyncio.run(story(idle_after=99))
    assert (evicted, len(waits)) == ([], 30)
    assert "after 30 tries" in cause
