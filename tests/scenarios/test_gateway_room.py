"""Who makes room for those who are held, where they are loaded, and who is in nobody's way."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from collectors.reading import Seconds, gib
from supervisor.core.experience import Experience
from supervisor.core.plan import Plan, Trigger, dismiss
from supervisor.core.policy import ModelPolicy, Policy, Switch
from supervisor.core.snapshot import Snapshot, State
from supervisor.demo.clock import EPOCH
from supervisor.demo.engines import OllamaLike
from supervisor.demo.machine import GPU0, GPU1
from supervisor.engines.base import EngineModel
from supervisor.gateway.admission import RefusalKind
from tests.scenarios.gate import LOAD, ROOMY, Guest, Watched, gate, models, story


class Silent(OllamaLike, Watched):
    """Says nothing of its requests."""


class Shy(Watched):
    """Lists a model only once it is there."""

    async def list(self) -> tuple[EngineModel, ...]:
        there = await super().list()
        return tuple(replace(m, state=None) if m.state is State.LOADING else m for m in there)


@story
async def test_room_is_made_and_nobody_at_work_is_cut_short() -> None:
    async with gate(models("abcd")) as at:
        await at.has("a", "b", "c")
        busy = at.ask("a", service=10)
        assert busy.is_served
        guest = at.ask("d")
        await at.answered(guest)
        assert guest.is_served
        assert at.unloads in (["b"], ["c"])
        assert guest.waited < LOAD + 2


@story
async def test_who_waits_is_let_through_in_the_turn_in_which_the_load_is_over() -> None:
    async with gate(models("a"), interval=5.0) as at:
        guest = at.ask("a")
        await at.answered(guest)
        await at.until(lambda: not at.world.loop.runs)
        ((outcome,),) = (d["outcomes"] for d in at.decisions())
        assert abs(outcome["at"] - EPOCH - guest.heard_at) < 0.001


@story
async def test_whoever_looks_sees_the_requests_of_that_moment() -> None:
    async with gate(models("a"), kinds=(Silent, Watched)) as at:
        await at.has("a")
        await at.clock.advance(3)
        assert not (await at.world.loop.look()).resident(at.ref("a")).busy
        flight = at.world.loop.traffic.begin(at.ref("a"))
        assert (await at.world.loop.look()).resident(at.ref("a")).busy
        flight.end()


@story
async def test_a_request_that_comes_while_its_model_is_unloaded_waits_for_it_to_come_back() -> None:
    async with gate(models("ab", 20)) as at:
        await at.has("a")
        swap = at.ask("b", service=1)
        await at.until(lambda: at.unloads)
        back = at.ask("a")
        assert back.is_held
        await at.answered(swap, back)
        assert swap.is_served
        assert back.is_served
        assert (at.loads, at.unloads) == (["b", "a"], ["a", "b"])


@story
async def test_a_model_chosen_to_go_takes_no_request_in_the_same_turn() -> None:
    async with gate(models("ab", 20)) as at:
        await at.has("a")
        late: list[Guest] = []

        def decide(snapshot: Snapshot, policy: Policy, experience: Experience) -> Plan:
            if not late:  # right after it was decided, before anything else happens
                asyncio.get_running_loop().call_soon(lambda: late.append(at.ask("a")))
            return dismiss(snapshot, policy, [at.ref("a")], Trigger.OPERATOR)

        run = await at.world.loop.ask("a person asks", decide)
        assert late[0].is_held, "it was let through to a model that is to go"
        await run.done
        assert at.unloads == [], "it was told to go although a request waited for it"
        await at.answered(*late)
        assert late[0].is_served
        assert at.loads == []


@story
async def test_a_request_of_this_very_turn_keeps_its_model() -> None:
    """The latest look says that it is at rest."""
    async with gate(models("ab", 20)) as at:
        await at.has("a")
        door = at.world.door
        assert [e.ref for e in door.plan_load("b").evictions] == [at.ref("a")]
        assert at.ask("a").is_served
        assert not door.plan_load("b").works
        carried = await door.load("b", wait=False)
        assert not carried.decision.plan.works
        assert at.unloads == []


@story
async def test_a_model_is_free_to_go_in_the_turn_in_which_its_last_request_ends() -> None:
    """The latest look says that it is at work."""
    async with gate(models("ab", 20)) as at:
        await at.has("a")
        busy = at.ask("a", service=5.0)
        held = at.ask("b")
        await at.until(lambda: busy.done_at, step=0.005)
        snapshot = at.world.loop.snapshot
        assert snapshot
        assert (there := snapshot.resident(at.ref("a")))
        assert there.busy
        await at.decided()
        assert busy.done_at is not None
        assert at.clock() - busy.done_at < 0.05
        await at.answered(held)


@story
async def test_between_ready_and_the_first_byte_nobody_takes_the_model_away() -> None:
    """Two models that do not fit together, and as many requests for each of them at once."""
    async with gate(models("ab", 20)) as at:
        guests = [at.ask("ab"[i % 2], service=3) for i in range(10)]
        await at.answered(*guests)
        assert all(g.is_served for g in guests)
        assert at.loads == ["a", "b"]


@story
async def test_requests_for_a_loaded_model_pass_while_others_wait_for_room() -> None:
    async with gate(models({"a": 8, "b": 8, "big": 24})) as at:
        await at.has("a", "b")
        long = at.ask("a", service=15)
        held = at.ask("big")
        await at.clock.advance(5)
        assert held.is_held
        assert not held.answers
        for name in "ab":
            assert at.ask(name, service=0.5).is_served
        await at.answered(held)
        assert long.done_at is not None
        assert held.is_served


@story
async def test_models_of_different_gpus_are_loaded_side_by_side() -> None:
    first, second = models("a", 8, GPU0, 10, ram=2), models("b", 8, GPU1, 10, ram=2)
    async with gate([*first, *second]) as at:
        one, other = at.ask("a"), at.ask("b")
        await at.answered(one, other)
        assert one.waited < 12
        assert other.waited < 12


@story
async def test_loads_side_by_side_do_not_take_the_same_ram_twice() -> None:
    first, second = models("a", 4, GPU0, 10, ram=40), models("b", 4, GPU1, 10, ram=40)
    async with gate([*first, *second]) as at:
        one = at.ask("a", service=20)
        await at.clock.advance(0.1)
        other = at.ask("b")
        await at.answered(one, other)
        assert other.heard_at > one.heard_at + 20
        assert at.world.journal.failures == 0


@story
async def test_loads_of_one_gpu_run_one_after_the_other_unless_more_are_allowed() -> None:
    for allowed, longest in ((1, 20.0), (2, 12.0)):
        async with gate(models("ab", 8, load=10), loads_per_pool=allowed) as at:
            guests = [at.ask(n) for n in "ab"]
            await at.answered(*guests)
            slowest = max(g.waited for g in guests)
            assert longest - 10 < slowest
            assert (slowest < longest) == (allowed == 2)


@story
async def test_what_cannot_fit_is_refused_at_once_with_who_holds_the_bytes() -> None:
    policy = replace(ROOMY, models={"a": ModelPolicy(pinned=True)})
    async with gate(models({"a": 10, "b": 8, "big": 20}), policy=policy) as at:
        await at.has("a", "b")
        busy = at.ask("b", service=20)
        guest = at.ask("big")
        await at.answered(guest)
        refusal = guest.refusal
        assert busy.is_served
        assert refusal
        assert refusal.why is RefusalKind.NO_ROOM
        assert guest.waited < 1
        assert refusal.needed == gib(20)
        assert refusal.free == gib(6)
        assert dict(refusal.holders) == {"one/a": gib(10), "one/b": gib(8)}
        assert "held by one/a (10 GiB)" in refusal.message


@story
async def test_where_a_stranger_has_the_bytes_it_is_refused_if_that_stays() -> None:
    for stays in (True, False):
        async with gate(models("a", 20)) as at:
            game = at.machine.start("game", {GPU0: gib(10)})
            await at.clock.advance(1)
            guest = at.ask("a")
            await at.clock.advance(1.5)
            assert guest.is_held
            if not stays:
                at.machine.end(game)
            await at.answered(guest)
            if stays:
                assert guest.why is RefusalKind.NO_ROOM
                assert guest.refusal.holders == (("game", gib(10)),)
                assert guest.waited < 5
            else:
                assert guest.is_served


@story
async def test_what_looks_like_a_stranger_while_a_load_is_under_way_may_be_that_model() -> None:
    async with gate(models("ab", 20, load=10), kinds=(Shy, Watched)) as at:
        guests = [at.ask(n, service=0.5) for n in "ab"]
        await at.answered(*guests)
        assert all(g.is_served for g in guests)


@story
async def test_what_is_only_in_the_way_of_models_at_work_is_waited_for() -> None:
    async with gate(models("ab", 20)) as at:
        await at.has("a")
        busy = at.ask("a", service=20)
        guest = at.ask("b")
        await at.clock.advance(5)
        assert guest.is_held
        assert not guest.answers
        assert guest.ticket.eta is None
        assert guest.ticket.state == "blocked"
        await at.answered(guest)
        assert guest.is_served
        assert busy.done_at is not None
        assert guest.heard_at - busy.done_at < LOAD + 2


@story
async def test_a_request_waits_no_longer_than_it_may() -> None:
    async with gate(models("ab", 20), max_wait=10.0) as at:
        await at.has("a")
        busy = at.ask("a", service=15)
        guest, hasty = at.ask("b"), at.ask("b", wait=4.0)
        await at.answered(guest, hasty)
        assert busy.is_served
        for one, wait in ((guest, 10), (hasty, 4)):
            assert one.why is RefusalKind.WAITED
            assert wait <= one.waited < wait + 0.5
            assert one.refusal.holders == (("one/a", gib(20)),)
        assert at.unloads == []


@story
async def test_the_same_model_of_two_engines_is_asked_of_the_one_that_has_it() -> None:
    async with gate(models("m"), models("m", pool=GPU1)) as at:
        await at.has("two/m")
        guest = at.ask("one/m", "two/m")
        assert guest.is_served
        assert guest.grant.ref == at.ref("two/m")


@story
async def test_the_same_model_of_two_engines_is_loaded_where_nobody_has_to_go_for_it() -> None:
    async with gate(models("abm", 12), models("m", 12, GPU1)) as at:
        await at.has("a", "b")
        guests = [at.ask("one/m", "two/m") for _ in range(3)]
        await at.answered(*guests)
        assert {g.grant.ref for g in guests} == {at.ref("two/m")}
        assert at.unloads == []
        assert at.loads == ["m"]


@story
async def test_a_client_that_moves_on_leaves_its_model_behind() -> None:
    policy = replace(ROOMY, unload_on_switch=Switch.HOST)
    async with gate(models("ab", 4), policy=policy) as at:
        first = at.ask("a", client="agent", service=0.5)
        await at.answered(first)
        await at.clock.advance(3)
        second = at.ask("b", client="agent")
        await at.answered(second)
        assert second.is_served
        assert at.unloads == ["a"]


@story
async def test_one_model_at_a_time_changes_over_and_serves_everybody() -> None:
    policy = replace(ROOMY, single=True)
    async with gate(models("abc", 4), policy=policy) as at:
        guests = [at.ask("abc"[i % 3], service=1) for i in range(9)]
        await at.answered(*guests)
        assert all(g.is_served for g in guests)
        assert at.loads == ["a", "b", "c"]
        assert len(at.unloads) == 2


@story
async def test_no_more_models_than_are_allowed_are_loaded_for_those_who_wait() -> None:
    policy = replace(ROOMY, max_active=2)
    async with gate(models("abcd", 4), policy=policy) as at:
        most = 0
        guests = [at.ask(n, service=2) for n in "abcd"]

        def count() -> bool:
            nonlocal most
            most = max(most, len(at.loaded))
            return all(g.answers for g in guests)

        await at.until(count)
        assert all(g.is_served for g in guests)
        assert most == 2


@story
async def test_a_model_of_unknown_size_is_loaded_and_learned() -> None:
    async with gate(models("a"), known=False) as at:
        guest = at.ask("a")
        await at.answered(guest)
        assert guest.is_served


@story
async def test_where_nobody_counts_requests_our_own_count_tells_that_a_model_rests() -> None:
    """And not that nothing was seen of it for five seconds."""
    policy = replace(ROOMY, busy_while_fresh=Seconds(5))
    kinds = (Silent, Watched)
    async with gate(models("ab", 20), policy=policy, kinds=kinds, interval=3.0) as at:
        await at.has("a")
        await at.clock.advance(6)
        busy = at.ask("a", service=5.0)
        held = at.ask("b")
        await at.until(lambda: busy.done_at)
        await at.until(lambda: at.unloads)
        assert at.clock() - busy.done_at < 1.5
        await at.answered(held)


@story
async def test_work_that_is_not_ours_keeps_a_model_whose_requests_nobody_counts() -> None:
    policy = replace(ROOMY, busy_while_fresh=Seconds(5))
    async with gate(models("ab", 20), policy=policy, kinds=(Silent, Watched)) as at:
        await at.has("a")
        await at.clock.advance(6)
        busy = at.ask("a", service=5.0)
        held = at.ask("b")
        at.engines[at.ref("a").engine].serve("a", 20.0)  # for somebody who did not ask us
        began = at.clock()
        await at.until(lambda: at.unloads)
        assert busy.done_at < began + 6
        assert at.clock() - began > 20
        await at.answered(held)
