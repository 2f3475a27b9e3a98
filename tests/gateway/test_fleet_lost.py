"""Hosts of the fleet that are lost, or refuse: somebody else answers, or it is said why nobody."""

from __future__ import annotations

from hashlib import sha256

from supervisor.config.gated import TokenConfig
from tests.gateway.hosts import Town, fleet
from tests.gateway.test_fleet import HELLO, counted, sent
from tests.gateway.wires import streamed, whole
from tests.scenarios.gate import story


async def lost(town: Town, host: str) -> None:
    """The request that the agent places at `host` now is lost there: nobody takes a connection."""
    town.agent.places(host)
    for relay in list(town.at.gate.links.users):
        town.at.gate.links.leave(relay)
        relay.refused(ConnectionRefusedError())
    await town.at.town.clock.advance(0.01)


@story
async def test_a_host_that_is_lost_before_its_answer_began_is_avoided_and_another_answers() -> None:
    async with fleet() as town:
        guest = town.at.asks(model="far", **HELLO)
        town.agent.asked()
        await lost(town, "b")
        (asked,) = town.agent.asked()
        assert (asked["model"], asked["avoid"]) == ("far", ["b"])
        line, wire = town.host("c")
        town.agent.places("c")
        assert sent(wire)[2]["model"] == "one/far"
        line.data_received(whole(b'{"ok":1}'))
        status, headers, body = guest.answer()
        assert (status, headers["x-ullage-host"], body) == (200, "c", {"ok": 1})
        assert counted(town, "gateway_elsewhere_failures_total")["lost",] == 1
        assert counted(town, "gateway_elsewhere_in_flight") == {(): 0}


@story
async def test_it_is_asked_again_twice_at_most_and_then_it_is_said_who_did_not_answer() -> None:
    async with fleet() as town:
        guest = town.at.asks(model="far", **HELLO)
        avoided = []
        for host in "bcd":
            (asked,) = town.agent.asked()
            avoided.append(asked["avoid"])
            await lost(town, host)
        assert avoided == [[], ["b"], ["b", "c"]]
        assert town.agent.asked() == []
        status, _, body = guest.answer()
        assert (status, body["error"]["code"]) == (503, "host_lost")
        told = "far is not to be had: b did not answer; c did not answer; d did not answer"
        assert body["error"]["message"] == told


@story
async def test_a_model_that_is_here_too_is_served_here_when_all_others_are_lost() -> None:
    async with fleet() as town:
        line, wire = town.at.engine()
        guest = town.at.asks(model="a", **HELLO)
        for host in "bcd":
            await lost(town, host)
        await town.at.town.until(lambda: wire.sent)
        line.data_received(whole())
        assert guest.answer()[0] == 200
        assert town.at.town.loads == ["a"]


@story
async def test_where_the_agent_knows_of_nobody_else_it_is_said_who_failed() -> None:
    async with fleet() as town:
        guest = town.at.asks(model="far", **HELLO)
        await lost(town, "b")
        town.agent.says(404, code="unknown")
        status, _, body = guest.answer()
        assert (status, body["error"]["code"]) == (503, "host_lost")


@story
async def test_a_stream_whose_host_is_lost_in_the_middle_ends_with_an_error() -> None:
    async with fleet() as town:
        line, wire = town.host("b")
        guest = town.at.asks(model="far", stream=True, **HELLO)
        town.agent.places("b")
        line.data_received(streamed(b"data: 1\n\n", end=b""))
        wire.close()
        await town.at.town.clock.advance(0.01)
        said = guest.heard()
        assert b"data: 1\n\n" in said
        assert b"one/far ended in the middle of its answer" in said
        assert said.endswith(b"0\r\n\r\n")
        assert len(town.agent.asked()) == 1  # and nobody is asked again


@story
async def test_a_host_without_a_gateway_that_could_be_asked_is_avoided() -> None:
    async with fleet() as town:
        guest = town.at.asks(model="far", **HELLO)
        town.agent.asked()
        town.agent.says(200, host="b", address=None, model="one/far", ready=True)
        assert town.agent.asked()[0]["avoid"] == ["b"]
        town.agent.says(200, host="c", address="ftp://c", model="one/far", ready=True)
        assert town.agent.asked()[0]["avoid"] == ["b", "c"]
        town.agent.says(404, code="unknown")
        assert guest.answer()[0] == 503


@story
async def test_what_another_host_refuses_is_asked_of_a_third() -> None:
    refusals: tuple[tuple[bytes, tuple[bytes, ...]], ...] = (
        (b"503 X", (b"x-ullage-refused: insufficient_memory",)),
        (b"404 X", (b"x-ullage-refused: model_not_found",)),
        (b"401 X", ()),  # it does not know our token
        (b"421 X", ()),  # it is not called that
    )
    for status, lines in refusals:
        async with fleet() as town:
            line, wire = town.host("b")
            guest = town.at.asks(model="far", **HELLO)
            town.agent.asked()
            town.agent.places("b")
            assert wire.taken()
            line.data_received(whole(b"{}", status, *lines))
            assert guest.heard() == b""
            assert [asked["avoid"] for asked in town.agent.asked()] == [["b"]]
            line, _ = town.host("c")
            town.agent.places("c")
            line.data_received(whole(b'{"ok":1}'))
            assert guest.answer()[2] == {"ok": 1}
            assert counted(town, "gateway_elsewhere_failures_total")["refused",] == 1


@story
async def test_what_is_wrong_with_the_request_itself_or_said_by_the_engine_is_passed_on() -> None:
    answers: tuple[tuple[bytes, bytes], ...] = (
        (b"400 X", b"x-ullage-refused: bad_request"),
        (b"503 X", b"x-ullage-refused: model_wait_timeout"),
        (b"401 X", b"x-ullage-model: one/far"),
        (b"500 X", b"x-ullage-model: one/far"),
    )
    for status, header in answers:
        async with fleet() as town:
            line, _ = town.host("b")
            guest = town.at.asks(model="far", **HELLO)
            town.agent.places("b")
            line.data_received(whole(b"{}", status, header))
            assert guest.answer()[0] == int(status[:3])


@story
async def test_who_is_refused_for_the_last_time_is_told_that_very_answer() -> None:
    async with fleet() as town:
        guest = town.at.asks(model="far", **HELLO)
        for host in "bcd":
            line, _ = town.host(host)
            town.agent.places(host)
            answer = b'{"error":"of %s"}' % host.encode()
            line.data_received(whole(answer, b"503 X", b"x-ullage-refused: queue_full"))
        assert guest.answer()[2] == {"error": "of d"}


@story
async def test_who_waits_for_another_host_and_loses_its_token_is_sent_away() -> None:
    token = TokenConfig("laptop", sha256(b"laptop").digest())
    async with fleet(tokens=(token,)) as town:
        line = "Authorization: Bearer laptop"
        asking = town.at.asks("/v1/chat/completions", line, model="far", **HELLO)
        town.at.gateway.admits((TokenConfig("other", sha256(b"other").digest()),))
        assert asking.answer()[0] == 401
        assert counted(town, "gateway_elsewhere_in_flight") == {(): 0}


@story
async def test_who_hangs_up_while_the_agent_is_asked_is_forgotten() -> None:
    async with fleet() as town:
        guest = town.at.asks(model="far", **HELLO)
        await guest.hangs_up()
        await town.at.town.clock.advance(0.01)
        assert town.at.gate.counts.clients_gone == 1
        assert town.agent.wire.aborted  # for nobody else wants to know
        assert not town.at.gate.under_way


@story
async def test_at_the_daemons_end_who_is_not_placed_yet_is_told_so() -> None:
    async with fleet() as town:
        asking = town.at.asks(model="far", **HELLO)
        waiting = town.at.asks(model="other", **HELLO)
        town.agent.asked()
        assert town.at.gate.fleet is not None
        town.at.gate.fleet.stop()
        for guest in (asking, waiting):
            status, _, body = guest.answer()
            assert (status, body["error"]["code"]) == (503, "stopping")
