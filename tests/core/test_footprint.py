from __future__ import annotations

from dataclasses import replace

from collectors.reading import RAM, MemoryPool, PoolKind, gib
from supervisor.core.footprint import expect
from supervisor.core.snapshot import Demand, Installed, Share, Source
from tests.builders import GPU, NO_RESERVE, OTHER, machine, pool, ref, share

NEW = replace(machine(free=8), installed=(Installed(ref("new"), gib(5)), Installed(ref("odd"))))


def test_what_a_model_held_the_last_time_is_expected_again() -> None:
    learned = (Share(GPU, gib(7), Source.LEARNED),)
    assert expect(NEW, NO_RESERVE, ref("new"), learned) == Demand(learned, ref("new"))


def test_what_was_learned_of_a_pool_that_is_gone_is_not_used() -> None:
    got = expect(NEW, NO_RESERVE, ref("new"), (share(7, OTHER),))
    assert got is not None
    assert got.shares == (Share(GPU, gib(6), Source.ESTIMATED),)


def test_a_guess_goes_to_the_accelerator_with_the_most_headroom() -> None:
    two = replace(
        NEW, pools=(pool(8), pool(9, id=OTHER), MemoryPool(RAM, PoolKind.HOST, gib(64), gib(60)))
    )
    got = expect(two, NO_RESERVE, ref("new"), None)
    assert got is not None
    assert got.shares[0].pool == OTHER


def test_without_an_accelerator_a_guess_is_ram() -> None:
    host = replace(NEW, pools=(MemoryPool(RAM, PoolKind.HOST, gib(64), gib(60)),))
    got = expect(host, NO_RESERVE, ref("new"), None)
    assert got is not None
    assert got.shares[0].pool == RAM


def test_nothing_is_guessed_where_nothing_is_known() -> None:
    assert expect(NEW, NO_RESERVE, ref("odd"), None) is None


def test_a_pool_that_cannot_be_read_is_still_where_it_will_be() -> None:
    lost = replace(NEW, blind={OTHER: "lost"})
    learned = (share(7, OTHER),)
    assert expect(lost, NO_RESERVE, ref("new"), learned) == Demand(learned, ref("new"))


def test_a_guess_does_not_go_to_ram_because_the_accelerator_cannot_be_read() -> None:
    ram = MemoryPool(RAM, PoolKind.HOST, gib(64), gib(60))
    dark = replace(NEW, pools=(ram,), blind={GPU: "it hangs"})
    got = expect(dark, NO_RESERVE, ref("new"), None)
    assert got is not None
    assert got.shares == (Share(GPU, gib(6), Source.ESTIMATED),)
