"""Models that span hosts, by agents: brought up whole or not at all, kept, and let go of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from collectors.reading import gib
from supervisor.agent.backend import BackendError
from supervisor.agent.told import Refused

from .fakes import VALID, Fleet
from .spanning import SPAN, Holder, fleet_of, holds, leads, place

OLD = 16  # beats after which a directory is whole
GONE = 8  # beats after which what a host says of itself is acted on
Story = Callable[[Fleet, dict[str, Holder]], Awaitable[None]]


def play(story: Story, **holders: Holder) -> None:
    hosts = holders or {"a": leads(["b", "c"]), "b": holds(), "c": holds()}

    async def run() -> None:
        fleet = fleet_of(**hosts)
        await fleet.beat(count=OLD)
        await story(fleet, hosts)
        for agent in fleet.agents.values():
            await agent._gangs.stop()

    asyncio.run(run())


def states(hosts: dict[str, Holder]) -> dict[str, str]:
    return {name: holder.status for name, holder in hosts.items()}


def span(fleet: Fleet, host: str = "a") -> dict[str, object]:
    (row,) = fleet.agents[host].fleet()["spans"]
    return row


ALL, NONE = dict.fromkeys("abc", "loaded"), dict.fromkeys("abc", "local")


def test_it_is_brought_up_parts_first_and_the_leader_last():
    async def story(fleet: Fleet, hosts: dict[str, Holder]) -> None:
        hosts["c"].load = 20.0
        found = await place(fleet, "b")
        assert (found["host"], found["model"], found["ready"]) == ("a", f"llama/{SPAN}", False)
        assert {n["host"]: n["why"] for n in found["notes"]} == {
            "a": "coming", "b": "part", "c": "part",
        }  # fmt: skip
        ((leader, _),) = hosts["a"].begun
        for part in (hosts["b"], hosts["c"]):
            ((began, _),) = part.begun
            assert leader >= began + part.load
        await fleet.beat(count=4)
        assert states(hosts) == ALL
        assert fleet.engine.claims == {}
        assert span(fleet)["state"] == "ready"
        again = await place(fleet, "c")
        assert (again["host"], again["address"], again["ready"]) == ("a", "http://a", True)
        assert sum(len(h.begun) for h in hosts.values()) == 3

    play(story)


def test_whoever_does_not_wait_hears_how_far_it_is():
    async def story(fleet: Fleet, hosts: dict[str, Holder]) -> None:
        with pytest.raises(Refused) as first:
            await place(fleet, "a", within=0)
        assert (first.value.status, first.value.body["code"]) == (409, "queued")
        assert "is being brought up" in first.value.body["detail"]
        await fleet.beat(count=2)
        with pytest.raises(Refused) as second:
            await place(fleet, "a", within=0)
        assert "the part on b, c is being loaded" in second.value.body["detail"]
        assert "being loaded" in str(span(fleet)["doing"])
        with pytest.raises(Refused) as other:  # whose own agent knows of the claim
            await place(fleet, "b", within=0)
        assert {n["why"] for n in other.value.body["notes"]} == {"claimed"}
        await fleet.beat(count=12)
        assert (await place(fleet, "b", within=0))["ready"]

    play(story)


def test_it_is_promised_whole_until_the_leader_has_begun():
    async def story(fleet: Fleet, hosts: dict[str, Holder]) -> None:
        hosts["b"].load = 60.0
        asked = asyncio.ensure_future(fleet.agents["a"].place(SPAN, False, None, ()))
        await fleet.beat(count=30)
        ((model, shares),) = fleet.engine.claims.values()
        assert (model, shares) == (SPAN, dict.fromkeys("abc", gib(8)))
        promises = fleet.agents["c"].fleet()["directory"]["promises"]
        assert {p["host"] for p in promises if p["size"]} == set("abc")
        assert max(p["until"] for p in promises) <= fleet.clock.now + VALID
        assert hosts["a"].begun == []
        await fleet.during(asked)

    play(story)


def test_of_many_who_ask_at_once_one_brings_it_up():
    async def story(fleet: Fleet, hosts: dict[str, Holder]) -> None:
        asked = [fleet.agents[h].place(SPAN, False, 60.0, ()) for h in "abc" for _ in range(3)]
        found = await fleet.during(asyncio.gather(*asked))
        assert {f["host"] for f in found} == {"a"}
        assert [len(h.begun) for h in hosts.values()] == [1, 1, 1]

    play(story)


def test_a_part_that_does_not_fit_and_nobody_loads_anything():
    async def story(fleet: Fleet, hosts: dict[str, Holder]) -> None:
        hosts["c"].room = gib(1)
        with pytest.raises(Refused) as refused:
            await place(fleet, "a")
        assert {n["host"]: n["why"] for n in refused.value.body["notes"]}.keys() == set("abc")
        await fleet.beat(count=3)
        assert states(hosts) == NONE
        assert fleet.engine.claims == {}
        assert fleet.engine.made == 0
        why = fleet.agents["a"].why(SPAN, 5)
        assert {n["host"]: n["why"] for n in why[-1]["notes"]} == {
            "a": "not enough", "b": "not enough", "c": "no fit",
        }  # fmt: skip

    play(story)


@pytest.mark.parametrize("host", ["a", "b", "c"])
def test_what_was_begun_is_taken_back_where_a_part_fails(host):
    async def story(fleet: Fleet, hosts: dict[str, Holder]) -> None:
        hosts[host].accepts = BackendError("no_longer_fits", "it does not fit any more", 409)
        with pytest.raises(Refused) as refused:
            await place(fleet, "a")
        assert "was not brought up: it does not fit any more" in refused.value.body["detail"]
        await fleet.beat(count=GONE)
        assert states(hosts) == NONE
        assert fleet.engine.claims == {}
        assert all(h.leases == {} for h in hosts.values())

    play(story)


def test_a_part_whose_load_comes_to_nothing_takes_the_others_back():
    async def story(fleet: Fleet, hosts: dict[str, Holder]) -> None:
        hosts["c"].fails = True
        with pytest.raises(Refused) as refused:
            await place(fleet, "b")
        assert "its part did not come to c" in refused.value.body["detail"]
        await fleet.beat(count=GONE)
        assert states(hosts) == NONE
        assert hosts["a"].begun == []

    play(story)


def test_a_host_that_is_lost_meanwhile_takes_the_others_back():
    async def story(fleet: Fleet, hosts: dict[str, Holder]) -> None:
        hosts["b"].load = 60.0
        asked = asyncio.ensure_future(fleet.agents["a"].place(SPAN, False, None, ()))
        await fleet.beat(count=5)
        hosts["c"].away = True
        with pytest.raises(Refused) as refused:
            await fleet.during(asked)
        assert "c is lost" in refused.value.body["detail"]
        await fleet.beat(count=GONE)
        assert (hosts["a"].status, hosts["b"].status) == ("local", "local")
        assert hosts["c"].status == "loaded"  # it has not heard of it
        hosts["c"].away = False
        await fleet.beat(count=GONE)
        assert hosts["c"].status == "local"

    play(story)


def test_a_part_of_which_nobody_knows_whether_it_began_bars_all_until_its_offer_is_over():
    async def story(fleet: Fleet, hosts: dict[str, Holder]) -> None:
        hosts["b"].deaf = True
        asked = asyncio.ensure_future(fleet.agents["a"].place(SPAN, False, None, ()))
        await fleet.beat(count=5)
        assert len(fleet.engine.claims) == 1
        with pytest.raises(Refused):
            await fleet.during(asked)
        assert fleet.engine.claims == {}
        (_, made) = hosts["b"].begun[0]
        assert fleet.clock.now >= made + VALID
        await fleet.beat(count=GONE)
        assert states(hosts) == NONE

    play(story)


def test_when_the_agent_that_brings_it_up_dies_each_host_lets_go_of_its_part():
    async def story(fleet: Fleet, hosts: dict[str, Holder]) -> None:
        hosts["c"].load = 60.0
        asked = asyncio.ensure_future(fleet.agents["a"].place(SPAN, False, None, ()))
        await fleet.beat(count=6)
        assert hosts["b"].status == "loaded"
        assert hosts["b"].leases
        agent = fleet.agents.pop("a")
        for task in (asked, *agent._gangs._tasks.values()):
            task.cancel()
        fleet.backends["a"].cut = True
        fleet.engine.claims.clear()  # they end with Ray's driver
        await fleet.beat(count=int(VALID) + 40)
        assert hosts["b"].status == "local"
        assert hosts["c"].status == "local"

    play(story)


def test_a_part_is_leased_while_it_is_served_and_goes_when_the_leader_has():
    async def story(fleet: Fleet, hosts: dict[str, Holder]) -> None:
        await place(fleet, "a")
        await fleet.beat(count=200)
        assert hosts["b"].leases
        assert hosts["a"].leases == {}  # that one goes as any model does
        assert states(hosts) == ALL
        await hosts["a"].unload(f"llama/{SPAN}")
        await fleet.beat(count=2)
        assert states(hosts) == {"a": "local", "b": "loaded", "c": "loaded"}
        await fleet.beat(count=GONE)
        assert states(hosts) == NONE

    play(story)


def test_the_leader_goes_when_a_part_has():
    async def story(fleet: Fleet, hosts: dict[str, Holder]) -> None:
        await place(fleet, "a")
        await fleet.beat(count=15)
        hosts["b"].there = False  # it has crashed
        await fleet.beat(count=2)
        with pytest.raises(Refused) as broken:
            await place(fleet, "a", within=0)
        assert {n["host"]: n["why"] for n in broken.value.body["notes"]}["a"] == "broken"
        await fleet.beat(count=2 * GONE)
        assert states(hosts) == NONE
        assert (await place(fleet, "a"))["host"] == "a"

    play(story)


def test_a_drained_host_takes_the_leader_first_and_then_its_part():
    async def story(fleet: Fleet, hosts: dict[str, Holder]) -> None:
        await place(fleet, "a")
        await fleet.beat(count=5)
        await fleet.agents["c"].drain("b", None)
        seen = []
        for _ in range(4 * GONE):
            await fleet.beat()
            seen.append(states(hosts))
        assert seen[-1] == NONE
        first = next(s for s in seen if s != ALL)
        assert first == ALL | {"a": "local"}
        await fleet.agents["c"].undrain("b")
        await fleet.beat()
        assert (await place(fleet, "c"))["host"] == "a"

    play(story)


def test_a_part_of_a_host_that_is_lost_is_waited_for_before_the_others_are_let_go():
    async def story(fleet: Fleet, hosts: dict[str, Holder]) -> None:
        await place(fleet, "a")
        await fleet.beat(count=5)
        hosts["b"].away = True
        await fleet.beat(count=20)
        assert (hosts["a"].status, hosts["c"].status) == ("loaded", "loaded")
        hosts["b"].away = False  # it was started anew
        await fleet.beat(count=40)
        assert states(hosts) == ALL
        hosts["b"].away = True
        await fleet.beat(count=60)
        assert (hosts["a"].status, hosts["c"].status) == ("local", "local")

    play(story)


def test_an_agent_that_is_started_anew_keeps_what_the_one_before_did():
    async def story(fleet: Fleet, hosts: dict[str, Holder]) -> None:
        await place(fleet, "a")
        await fleet.beat(count=5)
        (lease,) = hosts["b"].leases
        fleet.agents["b"]._parts._kept.clear()
        fleet.agents["b"]._parts._recalled.clear()
        await hosts["a"].unload(f"llama/{SPAN}")
        await fleet.beat(count=GONE)
        assert states(hosts) == NONE
        assert lease not in hosts["b"].leases

    play(story)


def test_losing_the_engine_unloads_nothing_however_long_it_is_away():
    async def story(fleet: Fleet, hosts: dict[str, Holder]) -> None:
        await place(fleet, "a")
        await fleet.beat(count=5)
        for backend in fleet.backends.values():
            backend.cut = True
        await fleet.beat(count=300)
        assert states(hosts) == ALL
        assert hosts["b"].leases
        assert (await place(fleet, "a", within=0))["ready"]  # here it is, and is served
        fleet.engine.directory = type(fleet.engine.directory)(fleet.clock)
        for backend in fleet.backends.values():
            backend.cut = False
        await fleet.beat(count=60)
        assert states(hosts) == ALL
        assert sum(h.unloads for h in hosts.values()) == 0

    play(story)


def test_without_the_engine_none_is_brought_up():
    async def story(fleet: Fleet, hosts: dict[str, Holder]) -> None:
        fleet.backends["a"].cut = True
        with pytest.raises(Refused):
            await place(fleet, "a", within=3)
        assert states(hosts) == NONE

    play(story)


def test_a_part_that_was_never_in_use_is_not_touched():
    """Somebody has loaded it for purposes of their own."""

    async def story(fleet: Fleet, hosts: dict[str, Holder]) -> None:
        hosts["b"].there = True
        await fleet.beat(count=100)
        assert hosts["b"].status == "loaded"
        assert hosts["b"].leases == {}
        assert (await place(fleet, "a"))["host"] == "a"
        assert hosts["b"].begun == []  # it was there

    play(story)


def test_of_two_sets_the_cheaper_is_taken_and_the_other_when_that_has_no_room():
    async def story(fleet: Fleet, hosts: dict[str, Holder]) -> None:
        dry = await place(fleet, "a", dry=True)
        assert dry["host"] == "c"
        assert fleet.engine.made == 0
        hosts["d"].room = gib(1)
        assert (await place(fleet, "a"))["host"] == "a"
        assert hosts["c"].begun == hosts["d"].begun == []

    play(story, a=leads(["b"], loss=1.0), b=holds(loss=5.0), c=leads(["d"], loss=2.0), d=holds())


def test_what_asks_for_the_leaders_model_asks_for_all_of_it():
    async def story(fleet: Fleet, hosts: dict[str, Holder]) -> None:
        asked = fleet.agents["b"].place(f"llama/{SPAN}", False, None, ())
        assert (await fleet.during(asked))["host"] == "a"
        await fleet.beat(count=4)
        assert states(hosts) == ALL

    play(story)


def test_a_part_that_was_heard_to_be_ready_before_it_was_begun_is_not_ready_yet():
    async def story(fleet: Fleet, hosts: dict[str, Holder]) -> None:
        await place(fleet, "a")
        await fleet.beat(count=15)
        for holder in hosts.values():
            holder.leases.clear()
            await holder.unload(holder.part.model)
        fleet.clock.now += 1.0
        await fleet.agents["a"].beat()  # the others have not said that theirs are gone
        asked = asyncio.ensure_future(fleet.agents["a"].place(SPAN, False, None, ()))
        for _ in range(300):
            await asyncio.sleep(0)
        assert [len(h.begun) for h in hosts.values()] == [1, 2, 2]
        await fleet.during(asked)
        began = {name: holder.begun[-1][0] for name, holder in hosts.items()}
        assert began["a"] >= max(began["b"], began["c"]) + 3.0

    play(story)


def test_an_agent_that_ends_takes_back_what_it_has_begun():
    async def story(fleet: Fleet, hosts: dict[str, Holder]) -> None:
        hosts["b"].load = 60.0
        asked = asyncio.ensure_future(fleet.agents["a"].place(SPAN, False, None, ()))
        await fleet.beat(count=5)
        asked.cancel()  # who asked has gone, and it goes on
        await fleet.beat(count=2)
        assert len(fleet.engine.claims) == 1
        await fleet.agents["a"]._gangs.stop()
        assert fleet.engine.claims == {}
        await fleet.beat(count=GONE)
        assert states(hosts) == NONE

    play(story)
