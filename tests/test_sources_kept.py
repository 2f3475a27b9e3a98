"""What is kept of what collectors said, for how long, and what is told of it."""

from __future__ import annotations

from dataclasses import replace

from collectors.reading import (
    RAM,
    Blind,
    Bytes,
    Carveout,
    Holder,
    Incident,
    PoolId,
    Remedy,
    Sample,
    Seconds,
    Tier,
    gib,
)
from collectors.suspend import Suspension
from tests.source import (
    CARD,
    GPU,
    LIST,
    OTHER,
    Source,
    card,
    host,
    nvidia,
    pools,
    sources,
    tick,
)
from tests.stepped import pass_time, play

# -- what is kept, and what is not


def test_a_fault_blinds_its_own_pools_alone_and_says_why() -> None:
    async def story() -> None:
        gpu, other = nvidia(), Source("amd", card(3, pool=OTHER))
        of = sources(host(), gpu, other)
        await tick(of)
        gpu.fault = "GPU is lost"
        machine = await tick(of)
        assert pools(machine) == [RAM, OTHER]
        assert machine.blind == (Blind(GPU, "nvidia: GPU is lost"),)
        gpu.fault = None
        assert pools(await tick(of)) == [RAM, GPU, OTHER]

    play(story)


def test_a_device_that_cannot_be_read_is_there_all_the_same() -> None:
    async def story() -> None:
        gpu = nvidia()
        of = sources(host(), gpu)
        await tick(of)
        gpu.fault = "GPU is lost"
        assert (await tick(of)).devices == (CARD,)

    play(story)


def test_what_is_there_that_was_never_read_is_blind_by_its_own_name() -> None:
    async def story() -> None:
        gpu = nvidia()
        gpu.fault, gpu.unheard = "is starting", True  # type: ignore[attr-defined]
        assert (await tick(sources(host(), gpu))).blind == (
            Blind(PoolId("nvidia"), "nvidia: is starting"),
        )
        nothing = Source("nvidia")
        nothing.fault = "is starting"
        assert (await tick(sources(host(), nothing))).blind == ()

    play(story)


def test_holders_are_kept_between_lists_and_where_a_pool_cannot_be_read() -> None:
    mine, theirs = Holder(1, GPU, gib(2)), Holder(2, OTHER, gib(3))

    async def story() -> None:
        both = card(20, mine, theirs)
        gpu = nvidia(both)
        of = sources(gpu)
        for _ in range(3):
            assert (await tick(of)).holders == (mine, theirs)
        gpu.sample = replace(card(22), blind=(Blind(OTHER, "asleep"),))
        machine = await of.read(thorough=True)
        assert machine.holders == (theirs,), "gone where it was read, and not elsewhere"
        gpu.fault = "the driver is gone"
        assert (await of.read(thorough=True)).holders == (theirs,)

    play(story)


def test_whoever_has_nothing_to_read_is_not_asked_until_it_is_time_to_look_again() -> None:
    async def story() -> None:
        none = Source("amd")
        none.absent = True  # type: ignore[attr-defined]
        of = sources(host(), none)
        for _ in range(3):
            await tick(of)
        assert len(none.asked) == 1, "once, for what it has to say"
        none.absent = False  # type: ignore[attr-defined]
        await tick(of)
        assert len(none.asked) == 2

    play(story)


def test_a_pool_that_is_blind_and_listed_all_the_same_is_listed_once() -> None:
    async def story() -> None:
        blind = replace(card(), pools=(), blind=(Blind(GPU, "who may see it?"),))
        of = sources(nvidia(replace(blind, holders=(Holder(1, GPU, gib(2)),))))
        for _ in range(3):
            machine = await of.read(thorough=True)
            assert machine.holders == (Holder(1, GPU, gib(2)),)

    play(story)


def test_where_nobody_can_say_who_holds_a_pool_the_last_list_stays_and_that_is_said() -> None:
    async def story() -> None:
        gpu = nvidia(card(20, Holder(1, GPU, gib(2))))
        of = sources(gpu)
        assert (await tick(of)).unlisted == ()
        gpu.sample = replace(card(20), unlisted=(GPU,))
        machine = await of.read(thorough=True)
        assert (machine.unlisted, machine.holders) == ((GPU,), (Holder(1, GPU, gib(2)),))
        assert (await tick(of)).unlisted == (GPU,), "as long as nobody has listed again"
        gpu.sample = card(22)
        machine = await of.read(thorough=True)
        assert (machine.unlisted, machine.holders) == ((), ())

    play(story)


def test_after_the_machine_has_slept_everything_is_read_anew() -> None:
    async def story() -> None:
        slept = [0.0]
        gpu = nvidia()
        of = sources(gpu, suspension=Suspension(lambda: slept[0]))
        await tick(of)
        assert gpu.asked == [Tier.ALL]
        await tick(of, 0.1)
        slept[0] = 3600.0
        await tick(of, 0.1)
        assert gpu.asked == [Tier.ALL, Tier.MEMORY, Tier.ALL]

    play(story)


def test_what_one_source_hides_and_another_tells_is_told_once() -> None:
    async def story() -> None:
        hides = nvidia(card(20, Holder(1, GPU, None), Holder(2, GPU, None)))
        tells = Source("windows", Sample(holders=(Holder(1, GPU, gib(2)),)))
        machine = await tick(sources(hides, tells))
        assert machine.holders == (Holder(2, GPU, None), Holder(1, GPU, gib(2)))

    play(story)


def test_between_two_lists_it_is_one_and_the_same_list() -> None:
    """By that, whoever works with it sees that there is nothing new."""

    async def story() -> None:
        of = sources(host(), nvidia(card(20, Holder(1, GPU, gib(2)))))
        first = await tick(of)
        assert (await tick(of)).holders is first.holders
        assert (await tick(of, 10)).holders is not first.holders

    play(story)


def test_health_is_withdrawn_when_it_is_older_than_three_of_its_intervals() -> None:
    async def story() -> None:
        gpu = nvidia()
        of = sources(gpu, health_interval=Seconds(5))
        machine = await tick(of)
        assert machine.health == gpu.sample.health
        gpu.fault = "busy"
        assert (await tick(of, 15)).health == gpu.sample.health
        assert (await tick(of, 0.1)).health == {}

    play(story)


def test_ages_are_those_of_the_numbers_and_not_of_the_questions() -> None:
    async def story() -> None:
        gpu = nvidia()
        of = sources(gpu, Source("amd"))
        await tick(of)
        pass_time(4)
        assert of.ages() == {("nvidia", tier): 4 for tier in Tier}, "amd has told nothing"
        await tick(of, 0)
        assert of.ages() == {("nvidia", Tier.MEMORY): 0} | {("nvidia", tier): 4 for tier in LIST}
        gpu.fault = "GPU is lost"
        await tick(of, 2)
        assert of.ages()["nvidia", Tier.MEMORY] == 2

    play(story)


def test_what_a_device_takes_of_ram_is_remembered_where_it_is_not_asked_each_time() -> None:
    async def story() -> None:
        gpu = nvidia(shared(used=gib(3)))
        of = sources(host(), gpu)
        assert (await tick(of)).pools[0].device_used == gib(3) + gib(1)
        gpu.sample = shared(used=None)
        assert (await tick(of)).pools[0].device_used == gib(3) + gib(1)

    play(story)


def shared(used: Bytes | None) -> Sample:
    """A GPU that draws from RAM: 4 GiB of it set aside, 1 of those in use."""
    device = replace(CARD, pool=RAM)
    return Sample(devices=(device,), carveouts=(Carveout("GPU-a", gib(4), gib(3), gib(30), used),))


def test_a_gpu_in_ram_that_cannot_be_read_may_take_no_more_and_is_not_made_room_for() -> None:
    async def story() -> None:
        gpu = nvidia(shared(used=gib(3)))
        of = sources(host(), gpu)
        (before,) = (await tick(of)).pools
        assert before.device_limit == gib(34)
        gpu.fault = "the driver is gone"
        (after,) = (await tick(of)).pools
        assert (after.kind, after.total, after.free) == (before.kind, before.total, before.free)
        assert (after.device_limit, after.device_used) == (gib(34), gib(34))

    play(story)


def test_an_incident_is_told_once_and_is_not_in_the_machine() -> None:
    async def story() -> None:
        xid = Incident("GPU-a", "xid", 79, Remedy.RESET, "Xid 79: fell off the bus", Seconds(1))
        told: list[Incident] = []
        of = sources(nvidia(replace(card(), incidents=(xid,))), incident=told.append)
        for _ in range(3):
            assert (await tick(of)).incidents == ()
        assert told == [xid]

    play(story)


# -- devices that are let go of


class Held(Source):
    """One that holds its devices open, and can let go of them."""

    def __init__(self, name: str = "nvidia", holds: bool = True) -> None:
        super().__init__(name, card())
        self.holds = holds
        self.until: Seconds | None = None
        self.closed = False
        self.woken = 0

    @property
    def released_until(self) -> Seconds | None:
        return self.until

    def read(self, tiers: Tier) -> Sample:
        raise NotImplementedError

    def release(self, until: Seconds) -> None:
        self.until = until

    def resume(self) -> None:
        self.until = None

    def wake(self) -> None:
        self.woken += 1


def test_only_those_who_hold_devices_open_are_told_to_let_go() -> None:
    gpu, nothing = Held(), Held("other", holds=False)
    of = sources(host(), gpu, nothing)
    assert of.resume() == []
    assert of.still_open() == []
    assert of.release(Seconds(600)) == ["nvidia"]
    assert (gpu.until, nothing.until) == (600, None)
    assert of.still_open() == ["nvidia"]
    gpu.closed = True
    assert of.still_open() == []
    assert of.resume() == ["nvidia"]
    assert gpu.until is None


def test_where_nothing_is_held_open_nobody_lets_go() -> None:
    of = sources(host(), nvidia())
    assert (of.release(Seconds(600)), of.resume()) == ([], [])


def test_those_who_rest_are_told_that_they_will_be_used() -> None:
    gpu, nothing = Held(), Held("other", holds=False)
    sources(host(), gpu, nothing).wake()
    assert (gpu.woken, nothing.woken) == (1, 0)
