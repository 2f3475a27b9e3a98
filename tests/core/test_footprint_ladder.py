"""Which source counts, and where the bytes of a model go that was never loaded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.reading import RAM, Bytes, MemoryPool, PoolId, PoolKind, gib, mib
from supervisor.core.estimate import DEVICE_OVERHEAD, PROCESS, estimate
from supervisor.core.footprint import MARGINS, better, expect, is_guessed
from supervisor.core.header import Header, Layers, Setup
from supervisor.core.policy import Amount, EnginePolicy, ModelPolicy, Policy
from supervisor.core.snapshot import Installed, Resident, Share, Snapshot, Source, State
from tests.builders import GPU, NO_RESERVE, OTHER, machine, pool, ref, resident

NEW = ref("new")
HEADER = Header(gib(4), mib(256), (Layers(32, 1024, 1024),), 8192, 4096, 14336, 32)
SETUP = Setup(context=8192)
HOST = MemoryPool(RAM, PoolKind.HOST, gib(64), gib(60))


def known(*, header: Header | None = HEADER, setup: Setup = SETUP, **others: object) -> Snapshot:
    installed = Installed(NEW, gib(4), setup=setup, header=header)
    return replace(machine(free=20), pools=(pool(20), HOST), installed=(installed,), **others)  # type: ignore[arg-type]


def declaring(memory: Amount, name: str = "new") -> Policy:
    return replace(NO_RESERVE, models={name: ModelPolicy(memory=memory)})


def got(snapshot: Snapshot, policy: Policy = NO_RESERVE, **seen: object) -> dict[object, Share]:
    found = expect(snapshot, policy, NEW, seen.pop("learned", None), **seen)  # type: ignore[arg-type]
    return {s.pool: s for s in found.shares} if found is not None else {}


LEARNED = (Share(GPU, gib(7), Source.LEARNED),)


def test_learned_comes_before_declared_and_declared_before_worked_out() -> None:
    word = declaring(Amount(size=gib(6)))
    assert got(known(), word, learned=LEARNED)[GPU] == LEARNED[0]
    assert got(known(), word) == {GPU: Share(GPU, gib(6), Source.DECLARED)}
    assert got(known())[GPU].source is Source.ESTIMATED


def test_what_it_held_in_another_setup_counts_when_its_header_says_nothing() -> None:
    assert got(known(), otherwise=LEARNED)[GPU].source is Source.ESTIMATED
    assert got(known(header=None), otherwise=LEARNED) == {GPU: LEARNED[0]}
    by_file = got(known(header=None))
    assert by_file == {GPU: Share(GPU, Bytes(int(gib(4) * 1.2)), Source.ESTIMATED)}


def test_what_its_pools_had_less_when_it_had_come_counts_where_nobody_measured_it() -> None:
    peak = (Share(GPU, gib(6), Source.LEARNED), Share(RAM, gib(1), Source.LEARNED))
    unread = replace(known(), installed=(Installed(NEW),))
    assert got(unread, peak=peak) == {s.pool: s for s in peak}
    assert got(unread, peak=peak, otherwise=LEARNED) == got(unread, otherwise=LEARNED)
    assert got(unread, declaring(Amount(gib(5))), peak=peak)[GPU].size == gib(5)
    assert got(known(), peak=peak) == got(known())
    assert got(known(header=None), peak=peak) == got(known(header=None))  # of its file
    # RAM alone is not all of it, but where there is nothing else.
    assert got(unread, peak=peak[1:]) == got(unread)
    bare = replace(unread, pools=(HOST,))
    assert got(bare, peak=peak[1:]) == {RAM: peak[1]}


def test_a_word_may_be_of_one_engine_and_a_share_of_the_pool() -> None:
    policy = declaring(Amount(fraction=0.5), "ollama/new")
    assert got(known(), policy)[GPU].size == gib(12)
    assert got(known(header=None), declaring(Amount(size=gib(6)), "vllm/new"))[GPU].size != gib(6)


def test_a_word_without_an_accelerator_is_of_ram() -> None:
    host = replace(known(), pools=(HOST,))
    assert got(host, declaring(Amount(size=gib(6)))) == {RAM: Share(RAM, gib(6), Source.DECLARED)}


def test_a_peak_beyond_what_is_kept_is_what_is_made_room_for() -> None:
    peak = (Share(GPU, gib(9), Source.LEARNED),)
    assert got(known(), learned=LEARNED, peak=peak)[GPU].size == gib(9)


# -- worked out from the header

PARTS = estimate(HEADER, SETUP)
MARGIN = MARGINS[Source.ESTIMATED]


def test_all_but_the_words_on_the_way_in_goes_to_the_accelerator_with_its_overhead() -> None:
    found = got(known())
    there = PARTS.weights + PARTS.cache + PARTS.compute + DEVICE_OVERHEAD
    assert found[GPU].size == int(there * MARGIN)
    assert found[RAM].size == int((mib(256) + PROCESS) * MARGIN)
    assert PARTS.cache == gib(1)


@pytest.mark.parametrize("setup", [replace(SETUP, offloaded=0), SETUP])
def test_without_an_accelerator_or_without_using_it_all_is_ram(setup: Setup) -> None:
    snapshot = known(setup=setup)
    if setup.offloaded is None:
        snapshot = replace(snapshot, pools=(HOST,))
    assert got(snapshot) == {
        RAM: Share(RAM, Bytes(int((PARTS.total + PROCESS) * MARGIN)), Source.ESTIMATED)
    }


def test_so_many_layers_are_so_much_of_the_model() -> None:
    found = got(known(setup=replace(SETUP, offloaded=11)))
    whole = got(known())
    assert found[GPU].size < whole[GPU].size / 2
    assert found[RAM].size > whole[RAM].size + gib(3)
    assert got(known(setup=replace(SETUP, offloaded=99))) == whole


def test_an_engine_that_takes_a_part_of_the_device_takes_that() -> None:
    found = got(known(setup=replace(SETUP, fraction=0.9)))
    assert found == {GPU: Share(GPU, Bytes(int(gib(24) * 0.9)), Source.ESTIMATED)}
    two = replace(known(setup=replace(SETUP, fraction=0.5, devices=2)), pools=(*TWO, HOST))
    assert {p: s.size for p, s in got(two).items()} == {GPU: gib(12), OTHER: gib(12)}


TWO = (pool(20), pool(22, id=OTHER))


def test_what_an_engine_takes_of_the_device_is_known_without_a_header() -> None:
    unread = known(header=None, setup=replace(SETUP, fraction=0.9))
    assert got(unread) == {GPU: Share(GPU, Bytes(int(gib(24) * 0.9)), Source.ESTIMATED)}
    (found,) = got(replace(unread, pools=(HOST,))).values()  # of the file
    assert found.pool == RAM


def test_what_fits_one_accelerator_goes_to_the_one_with_the_most_headroom() -> None:
    assert got(replace(known(), pools=(*TWO, HOST))).keys() == {OTHER, RAM}


def test_what_fits_none_is_spread_and_each_has_its_overhead() -> None:
    large = replace(HEADER, weights=gib(30))
    found = got(replace(known(header=large), pools=(*TWO, HOST)))
    assert found[GPU].size == found[OTHER].size
    there = estimate(large, SETUP)
    half = -(-(there.weights + there.cache + there.compute) // 2) + DEVICE_OVERHEAD
    assert found[GPU].size == int(half * MARGIN)
    huge = got(replace(known(header=replace(HEADER, weights=gib(900))), pools=(*TWO, HOST)))
    assert huge.keys() == {GPU, OTHER, RAM}  # it does not fit, and that is what the plan will say


def test_an_accelerator_of_which_nobody_knows_anything_leaves_the_size_of_the_file() -> None:
    dark = replace(known(), pools=(HOST,), blind={GPU: "it hangs"})
    assert got(dark) == {GPU: Share(GPU, Bytes(int(gib(4) * 1.2)), Source.ESTIMATED)}


def test_a_context_that_goes_by_the_memory_goes_by_that_of_all_accelerators() -> None:
    tiers = Setup(tiers=((Bytes(0), 1024), (gib(40), 8192)))
    small = got(known(setup=tiers))
    large = got(replace(known(setup=tiers), pools=(pool(20, 48), HOST)))
    assert large[GPU].size - small[GPU].size >= gib(0.8)


# -- those who are there, and of whom nobody says what they hold


def guessed(**others: object) -> Resident:
    return replace(resident("new", 0), shares=(Share(GPU, gib(4), Source.ESTIMATED),), **others)  # type: ignore[arg-type]


def test_what_was_learned_or_declared_stands_in_for_a_guess() -> None:
    snapshot, word = known(), declaring(Amount(size=gib(6)))
    assert better(snapshot, word, guessed(), LEARNED).shares == LEARNED
    assert better(snapshot, word, guessed(), None).shares == (Share(GPU, gib(6), Source.DECLARED),)
    assert better(snapshot, NO_RESERVE, guessed(), None) == guessed()


def test_what_is_measured_or_told_is_never_replaced() -> None:
    for source in (Source.MEASURED, Source.REPORTED):
        there = replace(guessed(), shares=(Share(GPU, gib(4), source),))
        assert better(known(), declaring(Amount(size=gib(6))), there, LEARNED) == there


def test_a_sleeper_that_holds_nothing_holds_nothing() -> None:
    asleep = replace(resident("new", 0), state=State.SLEEPING)
    assert not is_guessed(asleep)
    assert better(known(), NO_RESERVE, asleep, LEARNED) == asleep


def test_every_source_has_a_margin_and_none_takes_away() -> None:
    assert MARGINS.keys() == set(Source)
    order = [Source.MEASURED, Source.REPORTED, Source.LEARNED, Source.DECLARED, Source.ESTIMATED]
    assert sorted(MARGINS.values()) == [MARGINS[s] for s in order]
    assert min(MARGINS.values()) >= 1.0
    assert list(Source) == order  # best first


# -- an engine that may not use every accelerator


def tied(*pools: PoolId) -> Policy:
    return replace(NO_RESERVE, engines={NEW.engine: EnginePolicy(pools=frozenset(pools))})


def test_an_engine_is_expected_to_load_into_what_it_may_use() -> None:
    both = replace(known(), pools=(*TWO, HOST))
    assert got(both, tied(GPU)).keys() == {GPU, RAM}
    assert got(both, tied(GPU, OTHER)).keys() == {OTHER, RAM}
    by_file = replace(known(header=None), pools=(*TWO, HOST))
    assert got(by_file, tied(GPU)).keys() == {GPU}
    word = replace(tied(GPU), models=declaring(Amount(size=gib(6))).models)
    assert got(both, word) == {GPU: Share(GPU, gib(6), Source.DECLARED)}


def test_one_that_may_use_no_accelerator_loads_into_ram() -> None:
    found = got(replace(known(), pools=(*TWO, HOST)), tied(RAM))
    assert found == {
        RAM: Share(RAM, Bytes(int((PARTS.total + PROCESS) * MARGIN)), Source.ESTIMATED)
    }


def test_what_was_learned_where_it_may_not_be_any_more_is_as_large_elsewhere() -> None:
    both = replace(known(), pools=(*TWO, HOST))
    split = (*LEARNED, Share(RAM, gib(1), Source.LEARNED))
    assert got(both, tied(OTHER), learned=split) == {
        OTHER: Share(OTHER, gib(7), Source.LEARNED),
        RAM: split[1],
    }
    assert got(both, tied(GPU), learned=split) == {GPU: LEARNED[0], RAM: split[1]}
    assert got(both, tied(RAM), learned=split) == {RAM: Share(RAM, gib(8), Source.LEARNED)}


def test_one_that_cannot_be_read_is_where_it_will_be_and_one_that_is_not_here_says_nothing() -> (
    None
):
    dark = replace(known(header=None), pools=(pool(20), HOST), blind={OTHER: "it hangs"})
    assert got(dark, tied(OTHER)).keys() == {OTHER}
    assert got(dark, tied(PoolId("GPU-typo"))).keys() == {GPU}
