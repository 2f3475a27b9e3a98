"""What is remembered of a model's size, and what is not worth writing down."""

from __future__ import annotations

from dataclasses import replace

from collectors.reading import Bytes, gib
from supervisor.core.snapshot import Installed, ModelRef, Resident, Share, Snapshot, Source, State
from supervisor.journal import Journal
from supervisor.learned import GROWN, Learned
from tests.builders import GPU, OTHER, machine, pool, ref, resident, share

A = ref("a")


class Notes(Journal):
    """Counts how often a size was written down."""

    def __init__(self) -> None:
        super().__init__(None)
        self.written = 0

    def remember(self, ref: ModelRef, shares: tuple[Share, ...]) -> None:
        self.written += 1
        super().remember(ref, shares)


def seen(*residents: Resident) -> Snapshot:
    known = tuple(Installed(r.ref) for r in residents)
    return replace(machine(*residents, free=1), installed=known)


def learned() -> tuple[Learned, Notes]:
    notes = Notes()
    return Learned(notes), notes


def sizes(notes: Notes) -> list[Share]:
    return [Share(s.pool, s.size) for s in notes.footprint(A) or ()]


def test_what_a_loaded_model_holds_is_written_down_once() -> None:
    memory, notes = learned()
    for _ in range(3):
        memory.see(seen(resident("a", 4)))
    assert (sizes(notes), notes.written) == ([share(4)], 1)


def test_the_largest_footprint_is_kept_and_a_little_growth_is_not_worth_a_line() -> None:
    memory, notes = learned()
    for size in (4, 3, 4 * GROWN, 4.1, 4.12):
        memory.see(seen(resident("a", size)))
    assert (sizes(notes), notes.written) == ([share(4.1)], 2)


def test_pages_of_its_file_count_and_each_pool_has_its_own_line() -> None:
    memory, notes = learned()
    split = resident("a", 4, files=[("weights", 2)])
    world = seen(replace(split, shares=(*split.shares, share(3, OTHER))))
    memory.see(replace(world, pools=(*world.pools, pool(9, id=OTHER))))
    assert sizes(notes) == [share(6), share(3, OTHER)]


def test_a_model_on_its_way_in_or_out_or_out_of_sight_teaches_nothing() -> None:
    memory, notes = learned()
    for state in set(State) - {State.LOADED}:
        memory.see(seen(resident("a", 4, state=state)))
    assert notes.footprint(A) is None


def test_each_load_is_told_anew_so_that_an_old_peak_can_be_forgotten() -> None:
    memory, notes = learned()
    for world in (seen(resident("a", 4)), seen(), seen(resident("a", 2)), seen(resident("a", 2))):
        memory.see(replace(world, installed=(Installed(A),)))
    assert (notes.written, sizes(notes)) == (2, [share(4)])


def test_what_it_holds_where_nobody_can_look_is_not_nothing() -> None:
    memory, notes = learned()
    both = replace(resident("a", 4), shares=(share(4), share(3, OTHER)))
    world = seen(both)
    memory.see(replace(world, pools=(*world.pools, pool(9, id=OTHER))))
    again = Learned(notes)  # after a start: the other pool cannot be read yet
    half = seen(resident("a", 5))
    again.see(replace(half, blind={OTHER: "is starting"}))
    assert sizes(notes) == [share(4), share(3, OTHER)]
    again.see(replace(half, pools=(), blind={GPU: "lost"}))
    assert sizes(notes) == [share(4), share(3, OTHER)]
    again.see(half)
    assert sizes(notes) == [share(5)]
    memory, notes = learned()
    memory.see(replace(half, pools=(), blind={GPU: "lost"}))
    assert notes.footprint(A) is None


def test_what_was_written_down_is_told_as_learned() -> None:
    memory, notes = learned()
    memory.see(seen(resident("a", 4)))
    assert notes.footprint(A) == (Share(GPU, Bytes(gib(4)), Source.LEARNED),)
