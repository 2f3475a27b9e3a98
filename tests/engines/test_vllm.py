"""vLLM, by the shapes of its source."""

import asyncio
import copy

import pytest

from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines import wire
from supervisor.engines.base import Activity, EngineConfused, EngineModel, EngineRefused, Process
from supervisor.engines.vllm import Vllm
from tests.engines.fakes.vllm import FakeVllm
from tests.engines.replay import Replay, capture

DEVELOPER = capture("vllm-0.33.0")
PLAIN = capture("vllm-plain-0.33.0")
ASLEEP = capture("vllm-asleep-0.33.0")
OLD = capture("vllm-0.8.5")
QWEN = ModelId("Qwen/Qwen3-8B")
A = ModelId("a")
SLEEPS = {Ability.SLEEP, Ability.DEEP_SLEEP}


def vllm(client, url="http://127.0.0.1:8000"):
    return Vllm(EngineId("v"), url, client, None)


def told_by(told, call):
    """What `call`, of the adapter in front of `told`, returns, and what it asked on its way."""
    replay = Replay(told)
    return asyncio.run(call(vllm(replay.client()))), [asked for asked, _ in replay.asked]


def listed(told):
    (model,), _ = told_by(told, lambda made: made.list())
    return model


def saying(told, **bodies):
    """`told`, with other answers: is_sleeping={…}."""
    calls = {f"GET /{name}": value for name, value in bodies.items()}
    replies = [r for r in told["replies"] if r["call"] not in calls]
    for call, value in calls.items():
        body = {"text": value} if isinstance(value, str) else {"body": value}
        replies.append({"call": call, "status": 200} | body)
    return told | {"replies": replies}


def with_entries(*entries):
    told = copy.deepcopy(DEVELOPER)
    reply = next(r for r in told["replies"] if r["call"] == "GET /v1/models")
    first = reply["body"]["data"][0]
    reply["body"]["data"] = [first | entry for entry in entries]
    return told


def live(story, **traits):
    """What `story` returns, of (the adapter, the server behind a real socket)."""

    async def play():
        async with FakeVllm() as server, wire.client() as client:
            for name, value in traits.items():
                setattr(server, name, value)
            return await story(vllm(client, server.url), server)

    return asyncio.run(play())


def controls(server):
    asks = ("POST /sleep", "POST /wake_up", "POST /collective_rpc")
    return [call for call, _ in server.requests if call in asks]


def test_it_lists_the_one_model_that_it_serves_and_all_of_its_processes_hold_it():
    whole = Process(whole=True)
    assert listed(DEVELOPER) == EngineModel(QWEN, State.LOADED, context=32768, process=whole)


def test_a_sleeping_one_is_listed_as_sleeping():
    assert listed(ASLEEP).state is State.SLEEPING


def test_several_names_are_one_model_and_an_adapter_is_none():
    told = with_entries({"id": "big"}, {"id": "small"}, {"id": "sql", "parent": "big"})
    assert listed(told).id == "big"
    told = with_entries({"id": "sql", "parent": "big"}, {"id": "big"})
    assert listed(told).id == "big"


def test_a_server_without_a_model_of_its_own_is_not_understood():
    with pytest.raises(EngineConfused, match="no model"):
        listed(with_entries({"id": "sql", "parent": "big"}))


def test_what_stands_in_front_of_several_servers_is_none():
    one = with_entries({"id": "big"}, {"id": "small"})
    several = with_entries({"id": "big"}, {"id": "small", "root": "/models/small"})
    assert told_by(one, lambda made: made.identify())[0].version == "0.33.0"
    assert told_by(several, lambda made: made.identify())[0] is None


def test_whoever_names_another_owner_is_none():
    told = with_entries({"owned_by": "sglang"})
    assert told_by(told, lambda made: made.identify())[0] is None


def test_a_server_with_a_key_is_not_taken_for_a_stranger():
    locked = {"call": "GET /v1/models", "status": 401, "body": {"error": "Unauthorized"}}
    told = DEVELOPER | {"replies": [locked, *DEVELOPER["replies"]]}
    with pytest.raises(EngineRefused, match="Unauthorized"):
        told_by(told, lambda made: made.identify())


def test_out_of_developer_mode_it_cannot_sleep_and_is_asked_about_it_once():
    async def look(made):
        assert made.abilities >= SLEEPS
        await made.list()
        (model,) = await made.list()
        return model.state, made.abilities

    (state, abilities), asked = told_by(PLAIN, look)
    assert (state, abilities) == (State.LOADED, {Ability.LIST, Ability.IN_FLIGHT})
    assert asked.count("GET /is_sleeping") == 1


def test_one_that_is_started_again_in_developer_mode_can_sleep():
    async def look():
        replay = Replay(PLAIN)
        made = vllm(replay.client())
        await made.list()
        replay.replies = DEVELOPER["replies"]
        await made.identify()
        await made.list()
        return made.abilities

    assert asyncio.run(look()) >= SLEEPS


def test_the_way_into_developer_mode_is_told_where_it_is_off():
    (habit,), _ = told_by(PLAIN, lambda made: made.habits())
    assert "VLLM_SERVER_DEV_MODE=1" in habit.remedy
    assert told_by(DEVELOPER, lambda made: made.habits())[0] == ()


def test_requests_that_run_and_wait_are_counted_over_all_replicas():
    text = "".join(
        f'vllm:num_requests_{which}{{engine="{i}"}} {n}.0\n'
        for i, (running, waiting) in enumerate([(1, 0), (2, 4)])
        for which, n in (("running", running), ("waiting", waiting))
    )
    told = saying(DEVELOPER, metrics=text)
    assert told_by(told, lambda made: made.activity(listed(told)))[0] == Activity(7)


def test_tokens_that_were_read_or_written_move_the_mark():
    seen, _ = told_by(DEVELOPER, lambda made: made.activity(listed(DEVELOPER)))
    assert seen == Activity(0, mark="20411.0/80112.0")


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1", None])
def test_a_count_that_is_none_is_not_zero_and_then_it_is_not_asked_to_sleep(value):
    text = f"vllm:num_requests_running {value}\n" if value else ""
    told = saying(DEVELOPER, metrics=text + "vllm:num_requests_waiting 0.0\n")

    async def look(made):
        (model,) = await made.list()
        seen = await made.activity(model)
        with pytest.raises(EngineRefused, match="does not say whether it is idle") as no:
            await made.sleep(QWEN)
        assert no.value.status == 409  # it may be at work: no harder way is tried
        return seen.in_flight, made.abilities

    (count, abilities), asked = told_by(told, look)
    assert (count, abilities) == (None, {Ability.LIST})
    assert not any(call.startswith("POST") for call in asked)


def test_one_that_serves_somebody_is_not_put_to_sleep_which_would_cut_that_short():
    async def story(made, server):
        server.busy["a"] = 3
        with pytest.raises(EngineRefused, match="3 requests") as no:
            await made.sleep(A)
        return no.value.status, controls(server), server.busy["a"]

    assert live(story) == (409, [], 3)


@pytest.mark.parametrize("deep", [False, True])
def test_the_level_of_sleep_is_the_one_that_was_asked_for(deep):
    calls = told_by(DEVELOPER, lambda made: made.sleep(QWEN, deep=deep))[1]
    assert calls[-1] == f"POST /sleep?level={1 + deep}"


def test_a_light_sleeper_wakes_with_one_call():
    async def story(made, server):
        await made.sleep(A)
        await made.wake(A)
        return controls(server), server.spoilt, server.loaded

    assert live(story) == (["POST /sleep", "POST /wake_up"], False, ["a"])


@pytest.mark.parametrize("terse", [False, True])
@pytest.mark.parametrize("forgets", [False, True])
def test_a_deep_sleeper_reads_its_weights_before_it_works(terse, forgets):
    async def story(made, server):
        await made.sleep(A, deep=True)
        if forgets:
            async with wire.client() as client:
                await vllm(client, server.url).wake(A)
        else:
            await made.wake(A)
        return controls(server)[1:], server.spoilt, server.asleep

    steps = ["POST /wake_up", "POST /collective_rpc", "POST /wake_up"]
    assert live(story, terse=terse) == (steps, False, {})


def test_the_server_tells_how_deeply_it_sleeps_better_than_we_remember():
    async def story(made, server):
        await made.sleep(A, deep=True)
        server.answer("POST /wake_up", {}, None)  # by somebody else, who then
        server.spoilt = False
        server.answer("POST /sleep", {"level": "1"}, None)
        await made.wake(A)
        return controls(server)

    assert live(story) == ["POST /sleep", "POST /wake_up"]


def test_a_wake_that_broke_off_is_taken_up_again_where_nothing_is_lost():
    async def story(made, server):
        await made.sleep(A, deep=True)
        server.faults = {"POST /collective_rpc": "error"}
        with pytest.raises(EngineRefused, match="out of order"):
            await made.wake(A)
        (model,) = await made.list()
        server.faults = {}
        await made.wake(A)
        return model.state, server.spoilt, server.asleep

    assert live(story) == (State.SLEEPING, False, {})


def test_a_light_sleeper_is_not_said_to_sleep_deeply_for_the_asking():
    async def story(made, server):
        await made.sleep(A)
        with pytest.raises(EngineRefused, match="woken before") as no:
            await made.sleep(A, deep=True)
        return no.value.status, server.asleep

    assert live(story) == (501, {"a": False})


def test_a_deep_sleeper_sleeps_enough_for_a_light_sleep():
    async def story(made, server):
        await made.sleep(A, deep=True)
        await made.sleep(A)
        return server.asleep

    assert live(story) == {"a": True}


def test_one_that_is_only_paused_has_given_nothing_back():
    async def story(made, server):
        with pytest.raises(EngineRefused, match="paused") as no:
            await made.sleep(A)
        await made.wake(A)
        return no.value.status, server.paused, controls(server)

    assert live(story, paused=True) == (409, False, ["POST /wake_up"])


def test_a_sleep_that_somebody_else_ended_is_forgotten():
    async def story(made, server):
        await made.sleep(A, deep=True)
        server.answer("POST /wake_up", {}, None)
        await made.list()
        server.paused = True
        await made.wake(A)
        return controls(server)

    assert live(story) == ["POST /sleep", "POST /wake_up"]


def test_an_older_one_that_sleeps_by_somebody_elses_word_sleeps():
    assert not any("POST" in call for call in told_by(OLD, lambda made: made.sleep(QWEN))[1])


def test_where_nobody_knows_how_deeply_it_sleeps_it_wakes_as_from_the_deepest():
    calls = told_by(OLD, lambda made: made.wake(QWEN))[1]
    steps = ["/wake_up?tags=weights", "/collective_rpc", "/wake_up?tags=kv_cache"]
    assert [c for c in calls if "POST" in c] == [f"POST {step}" for step in steps]


def test_a_model_that_it_does_not_serve_is_neither_put_to_sleep_nor_woken():
    for call in (lambda made: made.sleep(ModelId("b")), lambda made: made.wake(ModelId("b"))):
        with pytest.raises(EngineRefused, match=f"serves {QWEN}, not b") as no:
            told_by(ASLEEP, call)
        assert no.value.status == 404
