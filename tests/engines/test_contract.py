"""What every engine's adapter keeps to. One added to ENGINES needs a capture and a fake."""

import asyncio
import inspect
import json

import httpx
import pytest

from supervisor.core.snapshot import Ability, ModelId, State
from supervisor.engines import ENGINES, base
from supervisor.engines.base import (
    EngineRefused,
    Proof,
)
from supervisor.engines.serves import TAILS
from tests.engines.contract import (
    CONTROLS,
    asked,
    controls,
    engine,
    kinds,
    kinds_with,
    lifecycle,
    outcomes,
)
from tests.engines.replay import CAPTURES, Replay, capture


@asked
def test_an_engine_knows_its_own_kind(kind):
    identity = asyncio.run(engine(kind, Replay(lifecycle(kind)).client()).identify())
    assert identity is not None
    assert identity.version


@asked
def test_an_engine_does_not_take_another_kind_for_its_own(kind):
    """Every capture of every other kind: each was seen in several versions, and guises."""
    captures = [(other, p.stem) for other in ENGINES for p in CAPTURES.glob(f"{other}-*.json")]

    async def ask():
        for other, name in captures:
            made = engine(kind, Replay(capture(name)).client())
            try:
                identity = await made.identify()
            except EngineRefused:
                continue  # behind a locked door stands nobody whom it knows
            assert (identity is not None) == (kind == other), name

    asyncio.run(ask())


@asked
def test_an_engine_knows_who_imitates_it(kind):
    for path in (CAPTURES / "imitators").glob("*.json"):
        told = json.loads(path.read_text())
        try:
            identity = asyncio.run(engine(kind, Replay(told).client()).identify())
        except EngineRefused:
            continue  # it answers everything that it does not know with an error of its own
        assert identity is None or path.stem.partition("-")[0] == kind, path.stem


@kinds
def test_a_list_tells_what_holds_memory_from_what_is_only_installed(kind):
    told = lifecycle(kind)
    models = {m.id: m for m in asyncio.run(engine(kind, Replay(told).client()).list())}
    assert models[told["idle"]].state is State.LOADED
    if ENGINES[kind].proof is Proof.PROCESS:
        assert models[told["idle"]].process is not None
    if Ability.BYTES in ENGINES[kind].abilities:
        assert models[told["idle"]].reported
    if "gone" in told:
        assert models[told["gone"]].state is None
        assert models[told["gone"]].process is None
    else:
        assert Ability.LOAD not in ENGINES[kind].abilities
    assert told["unknown"] not in models


@kinds_with(Ability.LOAD)
def test_a_model_can_be_loaded_and_an_unknown_one_is_refused(kind):
    told = lifecycle(kind)
    asyncio.run(engine(kind, Replay(told).client()).load(ModelId(told["idle"])))
    with pytest.raises(EngineRefused) as no:
        asyncio.run(engine(kind, Replay(told).client()).load(ModelId(told["unknown"])))
    assert no.value.status in (400, 404)


@kinds_with(Ability.UNLOAD)
def test_an_unload_of_a_model_that_is_gone_already_has_reached_its_end(kind):
    told = lifecycle(kind)
    for model in filter(None, (told["idle"], told.get("gone"))):
        asyncio.run(engine(kind, Replay(told).client()).unload(ModelId(model)))


@kinds_with(Ability.UNLOAD)
def test_an_unload_of_an_unknown_model_is_refused(kind):
    told = lifecycle(kind)
    with pytest.raises(EngineRefused):
        asyncio.run(engine(kind, Replay(told).client()).unload(ModelId(told["unknown"])))


@kinds_with(Ability.CANCEL)
def test_the_requests_of_a_model_can_be_ended_and_those_of_an_unknown_one_are_not_asked_for(kind):
    told = lifecycle(kind)
    asyncio.run(engine(kind, Replay(told).client()).cancel(ModelId(told["idle"])))
    with pytest.raises(EngineRefused):
        asyncio.run(engine(kind, Replay(told).client()).cancel(ModelId(told["unknown"])))


@kinds
def test_what_an_engine_cannot_do_is_refused_without_a_call(kind):
    replay = Replay(lifecycle(kind))
    found = asyncio.run(outcomes(engine(kind, replay.client()), only=CONTROLS - {*controls(kind)}))
    assert all(isinstance(outcome, EngineRefused) for outcome in found.values()), found
    assert replay.asked == []


@kinds
def test_looking_never_loads(kind):
    replay = Replay(lifecycle(kind))
    made = engine(kind, replay.client())

    async def look():
        await made.identify()
        for model in await made.list():
            await made.activity(model)
        await made.habits()

    asyncio.run(look())
    harmless = ("GET ", *lifecycle(kind).get("harmless", ()))  # a POST that only asks
    assert all(call.startswith(harmless) for call, _ in replay.asked)
    assert not any("generate" in call or "upstream" in call for call, _ in replay.asked)


@kinds
def test_the_key_is_sent_with_every_call_and_only_where_there_is_one(kind):
    seen = []

    def answer(request):
        seen.append(request.headers.get("authorization"))
        return httpx.Response(404)

    for key in ("open sesame", None):
        client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
        seen.clear()
        asyncio.run(outcomes(engine(kind, client, key=key)))
        assert set(seen) == {None if key is None else "Bearer open sesame"}


@kinds
def test_what_clients_ask_is_served_on_paths_of_parts_that_are_known(kind):
    made = engine(kind, Replay(lifecycle(kind)).client())
    served = made.serves(ModelId("m"))
    assert served == ENGINES[kind].paths
    for part, path in served.items():
        assert any(path.endswith(tails[part]) for tails in TAILS.values() if part in tails)
        assert path.startswith("/")


@kinds
def test_a_request_for_a_model_asks_nobody_where_it_goes(kind):
    replay = Replay(lifecycle(kind))
    made = engine(kind, replay.client(), "http://127.0.0.1:1/below")
    made.serves(ModelId("m"))
    assert made.address(ModelId("m")) == "http://127.0.0.1:1/below"
    assert made.called(ModelId("m")) == "m"
    assert replay.asked == []


@kinds
def test_every_call_of_the_protocol_is_there(kind):
    for name in (
        "identify",
        "list",
        "activity",
        "habits",
        "serves",
        "address",
        "called",
        *CONTROLS,
    ):
        own, agreed = getattr(ENGINES[kind], name), getattr(base.Engine, name)
        assert list(inspect.signature(own).parameters) == list(inspect.signature(agreed).parameters)
