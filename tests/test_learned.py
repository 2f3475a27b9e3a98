"""What is remembered of a model's size, and what is not worth writing down."""

from __future__ import annotations

from dataclasses import replace

from collectors.reading import RAM, Bytes, PoolId, Seconds, gib
from supervisor.core.footprint import Moment
from supervisor.core.policy import Policy
from supervisor.core.snapshot import (
    Foreign,
    Installed,
    ModelRef,
    Reservation,
    Resident,
    Share,
    Snapshot,
    Source,
    State,
)
from supervisor.footprints import Footprints
from supervisor.journal.journal import Journal
from supervisor.learned import GROWN, MOVED, Learned
from tests.builders import GPU, OTHER, machine, pool, ref, resident, share

A = ref("a")


class Notes(Journal):
    """Counts how often a size was written down."""

    def __init__(self) -> None:
        super().__init__(None)
        self.written = 0

    def remember(
        self,
        ref: ModelRef,
        shares: tuple[Share, ...],
        moment: Moment = Moment.LOADED,
        context: int = 0,
        slots: int = 0,
    ) -> None:
        self.written += 1
        super().remember(ref, shares, moment, context, slots)


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


def test_what_a_model_holds_of_a_gpu_is_learned_once_that_was_listed_after_it_came() -> None:
    lessons, notes = learned()
    early = replace(seen(resident("a", 2, pool=RAM)), newcomers=frozenset({A}))
    for _ in range(3):  # its engine says that it is there; who holds what was listed before
        lessons.see(early)
        assert notes.written == 0
    split = resident("a", 7)
    whole = replace(split, shares=(*split.shares, share(2, RAM)))
    lessons.see(seen(whole))
    assert {s.pool for s in sizes(notes)} == {GPU, RAM}
    lessons.see(seen())
    lessons.see(early)  # loaded anew
    assert (notes.written, {s.pool for s in sizes(notes)}) == (1, {GPU, RAM})


def test_one_that_leaves_as_soon_as_it_came_is_learned_at_the_last_look_at_it() -> None:
    lessons, notes = learned()
    here = seen(resident("a", 7))
    lessons.glance(replace(here, newcomers=frozenset({A})))
    assert notes.written == 0
    lessons.glance(here)
    assert notes.footprint(A) == (Share(GPU, Bytes(gib(7)), Source.LEARNED),)


def on(place: PoolId, source: Source, size: float = 4) -> Snapshot:
    """Both accelerators, and a model on one of them."""
    there = replace(resident("a", 1), shares=(Share(place, Bytes(gib(size)), source),))
    return replace(seen(there), pools=(pool(9), pool(9, id=OTHER)))


def test_where_it_was_measured_counts_more_than_where_its_engine_was_thought_to_mean() -> None:
    memory, notes = learned()
    memory.see(on(OTHER, Source.REPORTED))  # its process was not found at once
    assert sizes(notes) == [share(4, OTHER)]
    memory.see(on(GPU, Source.MEASURED))
    assert sizes(notes) == [share(4)]
    memory.see(on(OTHER, Source.REPORTED))  # nor now
    memory.see(seen())
    memory.see(on(OTHER, Source.REPORTED, 5))
    assert sizes(notes) == [share(4)]
    memory.see(seen())
    memory.see(on(OTHER, Source.MEASURED))  # it really moved
    assert sizes(notes) == [share(4, OTHER)]


def test_one_that_is_not_listed_for_a_moment_has_not_left_its_accelerator() -> None:
    memory, notes = learned()
    memory.see(on(GPU, Source.MEASURED))
    memory.see(seen(resident("a", 1, pool=RAM)))
    assert sizes(notes) == [share(4)]


def test_one_whose_engine_died_as_it_was_looked_at_has_not_moved_to_ram() -> None:
    """Its engine said that it is there; who holds what was listed once its memory was back."""
    memory, notes = learned()
    memory.see(on(GPU, Source.MEASURED))
    memory.see(seen())
    bare = seen(resident("a", 1, pool=RAM))  # loaded anew: the first look at it
    memory.see(bare)
    memory.glance(replace(bare, taken_at=Seconds(MOVED - 1)))
    assert sizes(notes) == [share(4)]
    memory.see(replace(seen(), taken_at=Seconds(MOVED)))
    memory.see(replace(bare, taken_at=Seconds(MOVED + 1)))
    assert sizes(notes) == [share(4)]
    memory.see(replace(bare, taken_at=Seconds(2 * MOVED + 1)))  # it stays, and is in RAM indeed
    assert sizes(notes) == [share(1, RAM)]


def test_what_was_written_down_is_told_as_learned() -> None:
    memory, notes = learned()
    memory.see(seen(resident("a", 4)))
    assert notes.footprint(A) == (Share(GPU, Bytes(gib(4)), Source.LEARNED),)


# -- asleep, and at the height of a load


def test_what_a_sleeping_model_keeps_is_known_apart_from_what_it_held() -> None:
    memory, notes = learned()
    memory.see(seen(resident("a", 8)))
    memory.see(seen(resident("a", 1.5, state=State.SLEEPING)))
    assert sizes(notes) == [share(8)]
    assert [Share(s.pool, s.size) for s in notes.residues()[A]] == [share(1.5)]


def test_a_model_that_keeps_nothing_while_it_sleeps_is_known_to() -> None:
    memory, notes = learned()
    memory.see(seen(resident("a", 3, pool=RAM, state=State.SLEEPING)))
    assert notes.residues() == {A: ()}


def load(free: float, state: State | None, size: float = 4, **changes: object) -> Snapshot:
    """A load of `a` under way that was granted 4 GiB; over once it is loaded."""
    residents = (resident("a", size, state=state),) if state else ()
    promise = (Reservation(A, (share(4),)),) if state is not State.LOADED else ()
    return replace(machine(*residents, free=free), reservations=promise, **changes)  # type: ignore[arg-type]


def peak(notes: Notes, context: int | None = None) -> list[Share]:
    found = notes.footprint(A, Moment.PEAK, context) or ()
    return [Share(s.pool, s.size) for s in found]


def test_the_most_that_a_load_takes_is_remembered_beside_what_the_model_keeps() -> None:
    memory, notes = learned()
    for free, state in ((3, None), (10, None), (4, None), (3, State.LOADING), (6, State.LOADED)):
        memory.see(load(free, state))
    assert peak(notes) == [share(7)], "10 GiB were free once others had left, and then 3"
    assert sizes(notes) == [share(4)]


def test_what_strangers_take_meanwhile_is_not_the_models() -> None:
    memory, notes = learned()
    game = Foreign(GPU, 9, "game", gib(3))
    memory.see(load(10, None))
    memory.see(load(2, None, foreign=(game,)))
    memory.see(load(3, State.LOADED, foreign=(game,)))
    assert peak(notes) == [share(5)]


def test_of_two_loads_in_one_pool_nobody_knows_which_took_what() -> None:
    memory, notes = learned()
    memory.see(load(10, None))
    both = load(8, None)
    other = Reservation(ref("other"), (share(4),))
    memory.see(replace(both, reservations=(*both.reservations, other)))
    memory.see(load(2, None))
    memory.see(load(3, State.LOADED))
    assert peak(notes) == []


def test_a_load_that_fails_or_that_nobody_could_watch_teaches_nothing() -> None:
    for end in (load(9, None), load(3, State.LOADED, blind={OTHER: "gone"})):
        memory, notes = learned()
        memory.see(load(10, None))
        memory.see(load(2, None))
        memory.see(replace(end, reservations=()))
        assert peak(notes) == []


def test_each_context_size_has_a_peak_of_its_own_and_the_last_one_counts() -> None:
    memory, notes = learned()
    for context, low in ((8192, 2), (4096, 5)):
        memory.see(load(10, None))
        memory.see(load(low, None))
        end = load(6, State.LOADED)
        memory.see(replace(end, residents=(replace(end.residents[0], context=context),)))
    assert (peak(notes, 8192), peak(notes, 4096)) == ([share(8)], [share(5)])
    assert peak(notes) == [share(5)]


def test_in_ram_the_models_own_process_tells_for_others_come_and_go_there() -> None:
    memory, notes = learned()
    promise = (Reservation(A, (share(4, RAM),)),)
    for size, state in ((1, State.LOADING), (6, State.LOADING)):
        found = machine(resident("a", size, pool=RAM, state=state), free=9)
        memory.see(replace(found, reservations=promise))
    memory.see(machine(resident("a", 4, pool=RAM), free=9))
    assert peak(notes) == [share(6, RAM)]


def test_one_that_nobody_can_measure_is_expected_to_take_what_was_missing_then() -> None:
    """Nobody knew what it takes when it came, and nobody says what it holds."""
    memory, notes = learned()
    promise = (Reservation(A, (share(0),)),)
    for free in (10, 4):
        memory.see(replace(machine(free=free), reservations=promise))
    memory.see(machine(replace(resident("a", 0), shares=()), free=4))
    assert sizes(notes) == []
    assert errors(memory) == []
    found = memory.expect(machine(free=4), Policy(), A)
    assert found is not None
    assert found.shares == (Share(GPU, gib(6), Source.LEARNED),)


def errors(memory: Learned) -> list[float]:
    """What is known of how wrong loads were counted: how many, and by how much together."""
    found = memory.errors.get(A.engine)
    return [] if found is None else [found.count, round(found.total, 3)]


def test_a_load_is_compared_with_what_it_was_counted_with() -> None:
    memory, _ = learned()
    for free, state in ((10, None), (5, State.LOADING), (6, State.LOADED)):
        memory.see(load(free, state))
    assert errors(memory) == [1, 0.2]  # 5 GiB at its height, and 4 were promised
    memory.see(load(10, None))
    memory.see(load(6, State.LOADED, size=4))
    assert errors(memory) == [2, 0.2]
    memory.see(load(6, State.LOADED, size=4))
    assert errors(memory) == [2, 0.2], "it is judged once a load"


def test_what_was_promised_in_the_wrong_pool_counts_in_both() -> None:
    memory, _ = learned()
    memory.see(load(10, None))
    elsewhere = machine(resident("a", 4, pool=OTHER), free=10)
    memory.see(replace(elsewhere, pools=(*elsewhere.pools, pool(5, id=OTHER))))
    assert errors(memory) == [1, 2.0]


def test_of_a_load_that_nobody_can_tell_apart_nothing_is_said() -> None:
    guess = replace(resident("a", 4), shares=(Share(GPU, gib(4), Source.ESTIMATED),))
    memory, _ = learned()
    both = load(10, None)
    memory.see(replace(both, reservations=(*both.reservations, Reservation(ref("b"), (share(1),)))))
    memory.see(replace(load(3, State.LOADED), residents=(guess,)))
    assert errors(memory) == []  # nobody measured it, and another took some meanwhile
    memory.see(load(10, None))
    memory.see(load(2, None))
    memory.see(replace(load(2, State.LOADED), residents=(guess,)))
    assert errors(memory) == [1, 0.5]  # what was free before says it: 8 GiB
    for end in (load(9, None), load(3, State.LOADED, blind={OTHER: "gone"})):
        memory, _ = learned()
        memory.see(load(10, None))
        memory.see(replace(end, reservations=()))
        assert errors(memory) == []
    memory, _ = learned()
    memory.see(replace(load(10, None), reservations=(Reservation(A, ()),)))
    memory.see(load(6, State.LOADED))
    assert errors(memory) == []  # nothing was promised


def test_what_a_model_was_counted_with_stays_told_while_it_is_there() -> None:
    notes = Notes()
    footprints = Footprints(notes, lambda: 0.0, lambda: 0.0)
    notes.remember(A, (share(5),))
    for snapshot in (load(10, None), load(4, State.LOADING), load(4, State.LOADED, size=6)):
        footprints.see(snapshot, Policy())
        assert footprints.counted == {A: (share(4),)}  # as it was promised
    footprints.see(machine(free=9), Policy())
    assert footprints.counted == {}
    footprints.see(seen(resident("a", 7), resident("b", 1)), Policy())
    (learned_,) = footprints.counted[A]
    assert (learned_.size, learned_.source) == (gib(6), Source.LEARNED)  # from before it came
    assert footprints.counted[ref("b")] == ()  # nobody knew anything
    footprints.see(seen(resident("a", 8), resident("b", 1)), Policy())
    assert footprints.counted[A] == (learned_,)


def test_what_nobody_knew_the_size_of_was_counted_with_nothing() -> None:
    footprints = Footprints(Notes(), lambda: 0.0, lambda: 0.0)
    unsized = (Reservation(A, (share(0),)),)
    footprints.see(replace(seen(resident("a", 7)), reservations=unsized), Policy())
    assert footprints.counted == {A: ()}


def test_beside_another_load_only_what_the_model_itself_holds_is_compared() -> None:
    memory, _ = learned()
    both = load(10, None)
    beside = Reservation(ref("b"), (share(4),))
    memory.see(replace(both, reservations=(*both.reservations, beside)))
    memory.see(load(2, None))
    memory.see(load(2, State.LOADED, size=5))
    assert errors(memory) == [1, 0.2]  # 8 GiB went, and nobody knows to whom
    memory.see(replace(both, reservations=(*both.reservations, beside)))
    elsewhere = machine(resident("a", 4, pool=OTHER), free=10)
    memory.see(replace(elsewhere, pools=(*elsewhere.pools, pool(5, id=OTHER))))
    assert errors(memory) == [2, 2.2]


def test_a_guess_is_compared_with_nothing_but_what_went_of_an_accelerator() -> None:
    shares = (Share(GPU, gib(9), Source.ESTIMATED), Share(RAM, gib(1), Source.ESTIMATED))
    guess = replace(resident("a", 4), shares=shares)
    promise = (Reservation(A, (share(4), share(1, RAM))),)
    memory, _ = learned()
    for free in (10, 5):
        memory.see(replace(load(free, None), reservations=promise))
    memory.see(replace(load(5, State.LOADED), residents=(guess,)))
    assert errors(memory) == [1, 0.2]
    memory, _ = learned()
    mine = Reservation(A, (share(4), share(4, OTHER)))
    other = Reservation(ref("b"), (share(4),))
    for free, promises in ((10, (mine, other)), (6, (mine,)), (6, ())):
        found = replace(load(free, State.LOADING), reservations=promises, residents=(guess,))
        state = State.LOADING if promises else State.LOADED
        found = replace(found, residents=(replace(guess, state=state),))
        memory.see(replace(found, pools=(*found.pools, pool(free, id=OTHER))))
    assert errors(memory) == []  # of one of its pools nobody can tell
