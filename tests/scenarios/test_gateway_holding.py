"""Requests for models that are not there: held, loaded for, let through, or refused."""

from __future__ import annotations

import pytest

from supervisor.core.snapshot import Demand, ModelRef
from supervisor.gateway.admission import RefusalKind, Ticket
from supervisor.gateway.holding import Sight
from supervisor.gateway.loads import Loads
from supervisor.gateway.telling import code_of, status_of
from tests.scenarios.gate import LOAD, gate, models, story


@story
async def test_a_request_for_a_loaded_model_is_let_through_at_once() -> None:
    async with gate(models("a")) as at:
        await at.has("a")
        guest = at.ask("a")
        assert guest.is_served
        assert guest.waited == 0
        assert at.world.loop.traffic.in_flight(at.ref("a")) == 1


@story
async def test_a_model_is_loaded_once_however_many_ask_for_it() -> None:
    async with gate(models("a")) as at:
        guests = [at.ask("a") for _ in range(40)]
        assert all(isinstance(g.ticket, Ticket) for g in guests)
        await at.answered(*guests)
        assert at.loads == ["a"]
        assert all(g.is_served for g in guests)
        assert {g.waited for g in guests} == {guests[0].waited}
        assert guests[0].waited is not None
        assert LOAD <= guests[0].waited < LOAD + 1


@pytest.mark.slow
@story
async def test_ten_models_asked_for_at_once_are_loaded_one_after_the_other() -> None:
    names = "abcdefghij"
    async with gate(models(names)) as at:  # three fit at a time
        guests = {n: at.ask(n, service=0.5) for n in names}
        places = [g.ticket.position for g in guests.values() if g.ticket]
        assert places == list(range(1, 11))
        await at.answered(*guests.values())
        assert at.loads == list(names)
        assert all(g.is_served for g in guests.values())


@story
async def test_one_more_than_may_be_held_is_refused_and_told_when_to_come_again() -> None:
    async with gate(models("ab"), max_held=40) as at:
        guests = [at.ask("a") for _ in range(40)]
        late = at.ask("a")
        other = at.ask("b")
        assert late.why is RefusalKind.FULL
        assert late.refusal.retry_after
        assert late.refusal.retry_after > 0
        assert other.why is RefusalKind.FULL
        await at.answered(*guests)
        assert at.ask("a").is_served
        assert at.ask("b").is_held


@story
async def test_one_client_does_not_take_all_the_places() -> None:
    async with gate(models("a"), max_held_per_client=3) as at:
        mine = [at.ask("a", client="greedy") for _ in range(3)]
        again = at.ask("a", client="greedy")
        assert again.why is RefusalKind.FULL
        assert "greedy" in again.refusal.message
        assert at.ask("a", client="modest").is_held
        await at.answered(*mine)


@story
async def test_a_fault_of_ours_over_one_model_costs_nobody_who_waits_for_another() -> None:
    async with gate(models("ab")) as at:
        guests = [at.ask(name) for name in "aab"]
        assert all(g.is_held for g in guests)
        demand = Loads.demand

        def fails(self: Loads, ref: ModelRef, sight: Sight) -> Demand | None:
            return None if ref.model == "a" and 1 / 0 else demand(self, ref, sight)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Loads, "demand", fails)
            await at.answered(*guests)
        fault = RefusalKind.FAULT
        assert [g.why for g in guests] == [fault, fault, None]
        assert (status_of(fault), code_of(fault)) == (500, "internal_error")
        assert guests[2].is_served
        assert at.loads == ["b"]
        again = at.ask("a")
        await at.answered(again)
        assert again.is_served


@story
async def test_nor_does_one_when_somebody_has_waited_for_too_long() -> None:
    async with gate(models("ab", 20), max_wait=10.0) as at:
        await at.has("a")
        busy = at.ask("a", service=15)
        hasty, patient = at.ask("b", wait=4.0), at.ask("b", wait=60.0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("supervisor.gateway.admission.tight", lambda *_: 1 / 0)
            await at.answered(hasty)
        assert hasty.why is RefusalKind.FAULT
        assert patient.is_held
        await at.answered(busy, patient)
        assert patient.is_served
