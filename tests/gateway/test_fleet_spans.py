"""Requests for a model that spans hosts, at the gateway of the host that leads it."""

from __future__ import annotations

from dataclasses import replace

from supervisor.core.policy import ModelPolicy
from tests.gateway.desk import Desk, desk
from tests.gateway.hosts import fleet
from tests.gateway.test_fleet import HELLO
from tests.gateway.test_fleet_held import queued
from tests.gateway.wires import whole
from tests.scenarios.gate import story


def leads(at: Desk, model: str = "a") -> None:
    """From now on that model spans hosts."""
    keeping = at.gate.loop.keeping
    own = {str(at.town.ref(model)): ModelPolicy(spans=True)}
    at.gate.loop.policy = keeping.configured(replace(keeping.given, models=own))


@story
async def test_it_is_not_loaded_for_a_request_and_who_asks_is_told_why() -> None:
    async with desk() as at:
        leads(at)
        status, _, body = at.asks(model="a", **HELLO).answer()
        assert status == 503
        assert "one/a spans hosts, and is loaded by their fleet alone" in body["error"]["message"]
        assert at.gate.loop.traffic.waiting == {}


@story
async def test_once_it_is_there_it_is_served_as_any_model_is() -> None:
    async with desk() as at:
        leads(at)
        await at.town.has("a")
        line, _ = at.engine()
        guest = at.asks(model="a", **HELLO)
        line.data_received(whole(b'{"ok":1}'))
        assert guest.answer()[0] == 200


@story
async def test_a_request_waits_for_the_fleet_however_long_and_never_loads_it_here() -> None:
    async with fleet(drain_after=5.0) as town:
        leads(town.at)
        guest = town.at.asks(model="a", **HELLO)
        queued(town)
        for _ in range(10):  # of another model it would be this host's own by now
            await town.at.town.clock.advance(2.0)
            queued(town)
        assert guest.heard() == b""
        assert town.at.gate.loop.traffic.waiting == {}
        _, wire = town.host("b")
        await town.at.town.clock.advance(2.0)
        town.agent.places("b", "one/a")
        assert wire.taken()
        await guest.hangs_up()
