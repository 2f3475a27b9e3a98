"""What a request is answered, what the rest of the daemon learns of it, what is told of both."""

from __future__ import annotations

from dataclasses import replace

from collectors.reading import RAM, Seconds, gib
from supervisor.core.record import Mode
from supervisor.core.snapshot import Share, Source
from supervisor.demo.engines import ComfyLike, Fault
from supervisor.events import Arrived, Uses
from supervisor.gateway.admission import Grant, Refusal, RefusalKind, Ticket, Wish
from tests.scenarios.gate import LOAD, ROOMY, Watched, gate, models, story


class Comfy(ComfyLike, Watched):
    """Loads a model with the first request for it."""


def posted(at, kind):
    """Notes what is posted from now on."""
    found = []
    put = at.world.loop._events.put_nowait

    def note(event):
        if isinstance(event, kind):
            found.append(event)
        put(event)

    at.world.loop._events.put_nowait = note
    return found


# -- where nothing is held


@story
async def test_where_nothing_is_loaded_by_us_requests_pass_at_once_and_are_counted():
    for mode in (Mode.OBSERVE, Mode.ADVISE):
        async with gate(models("a"), models("a"), mode=mode) as at:
            at.engines[at.ref("one/a").engine].fault = Fault.DOWN
            await at.clock.advance(2)
            answer = at.admission.enter(Wish((at.ref("one/a"), at.ref("two/a"))), print)
            assert isinstance(answer, Grant)
            assert answer.ref == at.ref("two/a")
            assert at.admission.traffic.flying == {at.ref("two/a"): 1}
            answer.flight.end()


@story
async def test_an_engine_that_loads_by_itself_gets_the_request_at_once():
    async with gate(models("a"), kinds=(Comfy, Watched), known=False) as at:
        answer = at.admission.enter(Wish((at.ref("a"),)), print)
        assert isinstance(answer, Ticket)
        heard = []
        answer.ready = heard.append
        await at.until(lambda: heard, step=0.01)
        assert heard[0].waited < 0.1
        heard[0].flight.end()
        assert at.loads == []


@story
async def test_room_is_made_for_what_an_engine_loads_by_itself():
    comfy, other = models({"sdxl": 20}), models("b", 20)
    async with gate(comfy, other, kinds=(Comfy, Watched)) as at:
        await at.has("two/b")
        heard = []
        at.admission.enter(Wish((at.ref("sdxl"),)), heard.append)
        await at.until(lambda: heard)
        assert isinstance(heard[0], Grant)
        assert at.unloads == ["b"]
        assert at.loads == []
        heard[0].flight.end()


@story
async def test_before_the_first_look_a_request_is_to_come_again():
    async with gate(models("a")) as at:
        at.world.loop.snapshot = None
        answer = at.admission.enter(Wish((at.ref("z"),)), print)
        assert isinstance(answer, Refusal)
        assert answer.retry_after == 1


# -- what others learn


@story
async def test_requests_for_a_model_are_told_of_once_a_second():
    async with gate(models("a")) as at:
        await at.has("a")
        events = posted(at, Arrived)
        for _ in range(5):
            at.ask("a", service=0.1)
        assert len(events) == 1
        await at.clock.advance(1.1)
        at.ask("a", service=0.1)
        assert len(events) == 2


@story
async def test_a_request_that_is_held_is_told_of_when_it_comes():
    async with gate(models("a")) as at:
        events = posted(at, Arrived)
        guest = at.ask("a")
        assert [e.ref for e in events] == [at.ref("a")]
        await at.answered(guest)


@story
async def test_what_a_client_uses_is_told_when_it_changes_and_now_and_then():
    async with gate(models("ab", 4)) as at:
        await at.has("a", "b")
        events = posted(at, Uses)
        for name in "aabab":
            at.ask(name, client="agent", service=0.1)
        assert [e.ref.model for e in events] == ["a", "b", "a", "b"]
        at.ask("b", client="other", service=0.1)
        at.ask("b", service=0.1)
        assert len(events) == 5
        await at.clock.advance(31)
        at.ask("b", client="agent", service=0.1)
        assert len(events) == 6


@story
async def test_a_request_renews_the_lease_that_it_names():
    async with gate(models("ab", 4)) as at:
        await at.has("a", "b")
        leases = at.world.loop.keeping.leases
        lease = leases.open(at.ref("a"), "agent", Seconds(20))
        await at.clock.advance(10)
        at.ask("b", lease=lease.id, service=0.1)
        assert leases.get(lease.id).expires_at == lease.expires_at, "it is on another model"
        at.ask("a", lease=lease.id, service=0.1)
        assert leases.get(lease.id).expires_at == lease.expires_at + 10
        at.ask("a", lease="l-unknown", service=0.1)


@story
async def test_a_lease_does_not_run_out_while_its_request_is_held():
    async with gate(models("a", load=30)) as at:
        leases = at.world.loop.keeping.leases
        lease = leases.open(at.ref("a"), "agent", Seconds(5))
        first, second = at.ask("a", lease=lease.id), at.ask("a", lease=lease.id)
        first.leave()
        await at.clock.advance(15)
        assert leases.get(lease.id) is not None
        await at.answered(second)
        assert leases.get(lease.id).expires_at == at.clock() + 5 or leases.get(lease.id)
        assert leases.awaited == set()


# -- engines that break off


@story
async def test_whoever_broke_off_gets_nobody_until_it_was_looked_at_again():
    async with gate(models("a")) as at:
        await at.has("a")
        first = at.ask("a")
        heard = []
        again = at.admission.again(first.grant, heard.append)
        assert isinstance(again, Ticket)
        late = at.ask("a")
        assert late.is_held
        await at.until(lambda: heard and late.answers)
        assert isinstance(heard[0], Grant)
        assert heard[0].again
        assert late.is_served
        assert at.loads == [], "it was there"
        heard[0].flight.end()


@story
async def test_whoever_broke_off_because_it_has_gone_is_loaded_again():
    async with gate(models("a")) as at:
        await at.has("a")
        first = at.ask("a", service=0.5)
        await at.clock.advance(0.1)
        at.machine.end(at.model("a").tenant)  # its process dies
        heard = []
        at.admission.again(first.grant, heard.append)
        await at.until(lambda: heard)
        assert isinstance(heard[0], Grant)
        assert at.loads == ["a"]
        heard[0].flight.end()
        third = at.admission.again(heard[0], print)
        assert isinstance(third, Refusal)
        assert third.why is RefusalKind.ENGINE_DOWN


# -- what is told


@story
async def test_it_is_told_how_long_it_takes_and_who_is_ahead():
    async with gate(models("ab", 20, load=10)) as at:
        first = at.ask("a", service=1)
        await at.answered(first)
        await at.clock.advance(3)
        one, other = at.ask("b"), at.ask("a", service=1)
        assert other.is_served
        await at.until(lambda: at.loads[-1:] == ["b"])
        back = at.ask("a")
        assert one.ticket.state == "loading"
        assert one.ticket.position == 1
        assert back.ticket.position == 2
        assert back.ticket.ahead == (at.ref("b"),)
        eta = back.ticket.eta
        await at.clock.advance(4)
        assert eta - 5 < back.ticket.eta < eta - 3
        await at.answered(back)
        assert abs(eta - back.waited) < 6


@story
async def test_what_is_held_and_at_work_is_told_by_model():
    async with gate(models("ab")) as at:
        await at.has("a")
        at.ask("a"), at.ask("a"), at.ask("b")
        assert dict(at.admission.traffic.flying) == {at.ref("a"): 2}
        await at.clock.advance(1)
        ((ref, count, longest),) = at.admission.held()
        assert (ref, count, round(longest)) == (at.ref("b"), 1, 1)
        await at.empties()
        assert at.admission.counts._engine("one").held.total >= LOAD
        assert at.admission.counts._engine("one").loads == {"done": 1}


@story
async def test_somebody_who_fails_to_hear_costs_nobody_else_anything():
    async with gate(models("a")) as at:

        def broken(answer):
            raise RuntimeError("the connection is gone")

        at.admission.enter(Wish((at.ref("a"),)), broken)
        guest = at.ask("a")
        await at.answered(guest)
        assert guest.is_served


@story
async def test_where_one_candidate_cannot_be_loaded_another_is():
    async with gate(models("m"), models("m")) as at:
        at.engines[at.ref("one/m").engine].refuses["m"] = "load m: the file is broken"
        guest = at.ask("one/m", "two/m")
        await at.answered(guest)
        assert guest.grant.ref == at.ref("two/m")


@story
async def test_a_sleeper_that_is_too_large_for_ram_is_refused_with_the_pool_that_is_short():
    policy = replace(ROOMY)
    async with gate(models("a", 4, ram=80), policy=policy, known=False) as at:
        at.world.journal.remember(at.ref("a"), (Share(RAM, gib(80), Source.LEARNED),))
        guest = at.ask("a")
        await at.answered(guest)
        assert guest.why is RefusalKind.NO_ROOM
        assert "ram" in guest.refusal.message
