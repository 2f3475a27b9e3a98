from __future__ import annotations

import pytest

from collectors.reading import NONE, RAM, Holder, Process, gib, mib
from supervisor.core.kinship import NOBODY, Kinship
from supervisor.core.listing import Listing
from supervisor.core.snapshot import EngineId, Foreign
from tests.builders import GPU, OTHER


def process(pid: int, name: str, anonymous: float) -> Process:
    return Process(pid, 1, name, gib(anonymous), NONE)


def test_what_several_processes_of_a_model_share_is_held_once() -> None:
    both = Holder(7, GPU, gib(3), sharers=(8,))
    own = Holder(8, OTHER, gib(1))
    listing = Listing((both, own, Holder(9, GPU, gib(5))))
    assert listing.held_by((7,)) == [both]
    assert listing.held_by((8, 7)) == [both, own]
    assert listing.held_by(()) == []


def test_strangers_are_listed_by_pool_the_largest_first() -> None:
    holders = (
        Holder(5, GPU, gib(1), "game"),
        Holder(6, GPU, gib(2), "blender"),
        Holder(7, GPU, gib(9), "model"),
        Holder(8, GPU, None, "hidden"),
        Holder(4, GPU, gib(2)),
        Holder(5, RAM, gib(1), "game"),
    )
    table = (process(5, "game", 2), process(7, "model", 1), process(6, "blender", 4))
    assert Listing(holders, table).foreign(frozenset({7}), NOBODY) == (
        Foreign(GPU, 4, "pid 4", gib(2)),
        Foreign(GPU, 6, "blender", gib(2)),
        Foreign(GPU, 5, "game", gib(1)),
        Foreign(RAM, 6, "blender", gib(4)),
        Foreign(RAM, 5, "game", gib(3)),  # its own, and pages that a driver took for it
    )


@pytest.mark.parametrize("ours", [7, 8], ids=["its opener", "a sharer"])
def test_what_a_model_shares_with_a_stranger_is_not_foreign(ours: int) -> None:
    shared = Holder(7, GPU, gib(3), sharers=(8, 9))
    assert Listing((shared,)).foreign(frozenset({ours}), NOBODY) == ()


def test_strangers_are_worked_out_once_for_each_list() -> None:
    listing = Listing((), (process(5, "game", 2), process(7, "model", 1)))
    found = listing.foreign(frozenset({7}), NOBODY)
    assert listing.foreign(frozenset({7}), NOBODY) is found


def test_a_model_that_comes_and_an_engine_that_is_found_are_no_strangers_any_more() -> None:
    listing = Listing((), (process(5, "ollama", 2), process(7, "runner", 1)))
    assert [f.pid for f in listing.foreign(frozenset(), NOBODY)] == [5, 7]
    assert [f.pid for f in listing.foreign(frozenset({7}), NOBODY)] == [5]
    kin = Kinship(engines={5: EngineId("ollama")})
    assert [f.engine for f in listing.foreign(frozenset({7}), kin)] == ["ollama"]


def test_a_process_that_holds_nothing_is_not_listed() -> None:
    listing = Listing((Holder(5, GPU, NONE),), (Process(5, 1, "true", NONE, mib(1)),))
    assert listing.foreign(frozenset(), NOBODY) == ()
