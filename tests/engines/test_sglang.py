"""SGLang, by the shapes of its source: what would kill it is never asked of it."""

import asyncio

import pytest

from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines import sglang, wire
from supervisor.engines.base import (
    Activity,
    EngineConfused,
    EngineDown,
    EngineModel,
    EngineRefused,
    Process,
)
from supervisor.engines.sglang import SgLang
from tests.engines.fakes.sglang import FakeSgLang
from tests.engines.replay import Replay, capture

SAVER = capture("sglang-0.5.23")
PLAIN = capture("sglang-plain-0.5.23")
OLD = capture("sglang-0.4.9")
QWEN = ModelId("Qwen/Qwen3-8B")
A = ModelId("a")
SLEEPS = [
    "POST /pause_generation",
    "POST /release_memory_occupation",
]
WAKES = ["POST /resume_memory_occupation", "POST /continue_generation"]


def adapter(client, url="http://127.0.0.1:30000"):
    return SgLang(EngineId("s"), url, client, None)


def told_by(told, *calls):
    """What the last of `calls`, of one adapter in front of `told`, returns."""

    async def play():
        made = adapter(Replay(told).client())
        for call in calls:
            last = await call(made)
        return last, made.abilities

    return asyncio.run(play())


def look(made):
    return made.list()


def with_info(told, **members):
    replies = [
        r | {"body": {k: v for k, v in (r["body"] | members).items() if v is not None}}
        if r["call"] == "GET /server_info"
        else r
        for r in told["replies"]
    ]
    return told | {"replies": replies}


def without(call):
    return SAVER | {"replies": [r for r in SAVER["replies"] if r["call"] != call]}


def live(story, **traits):
    """What `story` returns, of (the adapter, the server behind a real socket)."""

    async def play():
        async with FakeSgLang() as server, wire.client() as client:
            for name, value in traits.items():
                setattr(server, name, value)
            made = adapter(client, server.url)
            await made.identify()
            return await story(made, server)

    return asyncio.run(play())


async def state(made):
    (model,) = await made.list()
    return model.state


def changes(server):
    return [call for call, _ in server.requests if call.startswith("POST")]


def test_it_lists_the_one_model_that_it_serves_and_all_of_its_processes_hold_it():
    (models, _) = told_by(SAVER, look)
    assert models == (EngineModel(QWEN, State.LOADED, context=40960, process=Process(whole=True)),)


def test_an_adapter_is_no_model():
    entries = [{"id": "sql", "parent": "big"}, {"id": "big", "parent": None}]
    reply = {"call": "GET /v1/models", "status": 200, "body": {"data": entries}}
    told = SAVER | {"replies": [reply, *SAVER["replies"]]}
    assert [m.id for m in told_by(told, look)[0]] == ["big"]
    reply["body"] = {"data": entries[:1]}
    with pytest.raises(EngineConfused, match="no model"):
        told_by(told, look)


def test_requests_are_counted_over_all_replicas_and_all_their_queues():
    model = EngineModel(QWEN, State.LOADED)
    seen, _ = told_by(PLAIN, lambda made: made.activity(model))
    assert seen == Activity(3, mark="20110,20110", progress="20110,20110,1840,0")
    held = {"num_running_reqs": 0, "num_waiting_reqs": 1, "queues": {"waiting": 1, "grammar": 2}}
    call = "GET /v1/loads?include=core,queues"
    told = {"replies": [{"call": call, "status": 200, "body": {"loads": [held]}}]}
    seen = told_by(told, lambda made: made.activity(model))[0]
    assert seen == Activity(3, mark="-", progress="-,-")


def test_with_a_copy_of_its_weights_in_ram_it_sleeps_lightly_and_without_one_deeply():
    both = {Ability.LIST, Ability.IN_FLIGHT, Ability.CANCEL}
    assert told_by(SAVER, SgLang.identify, look)[1] == both | {Ability.SLEEP}
    bare = with_info(SAVER, enable_weights_cpu_backup=False)
    assert told_by(bare, SgLang.identify, look)[1] == both | {Ability.DEEP_SLEEP}


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(PLAIN, id="no memory saver"),
        pytest.param(with_info(SAVER, enable_memory_saver=None), id="it says nothing of one"),
        pytest.param(with_info(SAVER, startup_time=None), id="one start is like the next"),
        pytest.param(without("GET /ready"), id="paused or not, it does not say"),
        pytest.param(OLD, id="older"),
    ],
)
def test_one_that_cannot_be_put_to_sleep_safely_is_not_asked_to(told):
    replay = Replay(told)

    async def play():
        made = adapter(replay.client())
        await made.identify()
        await made.list()
        await made.activity(EngineModel(QWEN, State.LOADED))
        for deep in (False, True):
            with pytest.raises(EngineRefused) as no:
                await made.sleep(QWEN, deep=deep)
            assert no.value.status == 501
        return made.abilities

    assert asyncio.run(play()).isdisjoint({Ability.SLEEP, Ability.DEEP_SLEEP})
    assert not any(call.startswith("POST") for call, _ in replay.asked)


def test_an_older_one_is_known_by_its_older_names_and_not_asked_what_it_cannot_tell():
    found, abilities = told_by(OLD, SgLang.identify)
    assert found.version == "0.4.9"
    model = EngineModel(QWEN, State.LOADED)
    seen, abilities = told_by(OLD, SgLang.identify, look, lambda made: made.activity(model))
    assert (seen, abilities) == (Activity(None), {Ability.LIST, Ability.CANCEL})


def test_a_stranger_is_not_asked_for_what_may_take_it_many_seconds():
    replay = Replay({"replies": [], "elsewhere": {"status": 404}})
    assert asyncio.run(adapter(replay.client()).identify()) is None
    assert not any("server_info" in call for call, _ in replay.asked)


def test_the_way_to_sleep_is_told_where_it_was_started_without():
    (habit,), _ = told_by(PLAIN, SgLang.habits)
    assert "--enable-memory-saver" in habit.remedy
    assert told_by(SAVER, SgLang.habits)[0] == ()


def test_it_is_paused_before_it_gives_its_memory_back_and_goes_on_after_it_has_it_again():
    async def story(made, server):
        await made.sleep(A)
        slept = changes(server)
        assert server.paused
        await made.wake(A)
        return slept, changes(server)[2:], server.paused, server.spoilt, server.dead

    assert live(story) == (SLEEPS, WAKES, False, False, None)


def test_without_a_copy_in_ram_its_weights_are_read_before_it_goes_on():
    async def story(made, server):
        for _ in range(2):
            await made.sleep(A, deep=True)
        assert server.asleep == {"a": True}
        await made.wake(A)
        return changes(server), server.spoilt, server.dead

    reads = "POST /update_weights_from_disk"
    assert live(story, backup=False) == ([*SLEEPS, WAKES[0], reads, WAKES[1]], False, None)


def test_one_that_cannot_read_its_weights_stays_paused_until_it_can():
    async def story(made, server):
        await made.sleep(A, deep=True)
        server.fails_loads = True
        with pytest.raises(EngineRefused, match="no such file"):
            await made.wake(A)
        assert await state(made) is State.SLEEPING
        with pytest.raises(EngineRefused, match="wake it first"):
            await made.sleep(A, deep=True)
        server.fails_loads = False
        await made.wake(A)
        return await state(made), server.spoilt, server.dead, changes(server).count(WAKES[0])

    assert live(story, backup=False) == (State.LOADED, False, None, 1)


@pytest.mark.parametrize(("backup", "deep"), [(True, True), (False, False)])
def test_it_sleeps_as_it_was_started_and_no_other_way(backup, deep):
    async def story(made, server):
        with pytest.raises(EngineRefused, match="--enable-weights-cpu-backup") as no:
            await made.sleep(A, deep=deep)
        return no.value.status, changes(server)

    assert live(story, backup=backup) == (501, [])


def test_one_that_serves_somebody_is_not_even_paused():
    async def story(made, server):
        server.busy["a"] = 3
        with pytest.raises(EngineRefused, match="3 requests") as no:
            await made.sleep(A)
        return no.value.status, changes(server), server.busy["a"]

    assert live(story) == (409, [], 3)


def test_a_request_that_slips_in_as_it_is_paused_is_let_go_on():
    async def story(made, server):
        server.stray = 1
        with pytest.raises(EngineRefused, match="1 requests") as no:
            await made.sleep(A)
        return no.value.status, changes(server), server.paused, server.dead

    calls = [SLEEPS[0], "POST /continue_generation"]
    assert live(story) == (409, calls, False, None)


def test_nobody_is_left_waiting_when_a_sleep_is_called_off_half_way():
    async def story(made, server):
        server.faults = {"POST /pause_generation": "hang"}
        sleep = asyncio.create_task(made.sleep(A))
        while SLEEPS[0] not in changes(server):
            await asyncio.sleep(0)
        sleep.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleep
        return changes(server)

    assert live(story) == [SLEEPS[0], "POST /continue_generation"]


@pytest.mark.parametrize("moves", ["sleep", "wake"])
def test_two_who_ask_at_once_ask_the_server_once(moves):
    async def story(made, server):
        if moves == "wake":
            await made.sleep(A)
        before = len(changes(server))
        await asyncio.gather(*(getattr(made, moves)(A) for _ in range(3)))
        return changes(server)[before:], server.dead

    assert live(story) == (SLEEPS if moves == "sleep" else WAKES, None)


@pytest.mark.parametrize(
    ("call", "sleeps"), [("release_memory_occupation", 0), ("resume_memory_occupation", 1)]
)
def test_what_was_asked_and_not_answered_is_not_asked_again(call, sleeps, monkeypatch):
    async def story(made, server):
        if sleeps:
            await made.sleep(A)
        server.faults = {f"POST /{call}": "hang"}
        with monkeypatch.context() as patch:
            patch.setattr(sglang, "LOAD_TIMEOUT", 0.25)  # it has to get there
            with pytest.raises(EngineDown):
                await (made.wake(A) if sleeps else made.sleep(A))
        server.faults = {}
        assert await state(made) is State.UNKNOWN
        for again in (made.sleep(A), made.wake(A)):
            with pytest.raises(EngineRefused, match="nobody knows what it holds"):
                await again
        server.restart()
        return changes(server).count(f"POST /{call}"), await state(made)

    assert live(story) == (1, State.LOADED)


def test_a_release_that_is_plainly_refused_has_not_happened():
    def forbid(call, query, body):
        if call == SLEEPS[1] and not server_says["yes"]:
            return 403, {"error": "Forbidden"}
        return FakeSgLang.answer(server_says["it"], call, query, body)

    server_says = {"yes": False}

    async def story(made, server):
        server_says["it"], server.answer = server, forbid
        with pytest.raises(EngineRefused, match="Forbidden"):
            await made.sleep(A)
        assert (server.paused, await state(made)) == (False, State.LOADED)
        server_says["yes"] = True
        await made.sleep(A)
        return server.asleep, server.dead

    assert live(story) == ({"a": False}, None)


def test_a_release_that_fails_inside_the_server_leaves_it_in_doubt():
    async def story(made, server):
        server.faults = {SLEEPS[1]: "error"}
        with pytest.raises(EngineRefused, match="out of order"):
            await made.sleep(A)
        return await state(made)

    assert live(story) is State.UNKNOWN


def test_what_was_released_before_a_restart_is_held_again():
    async def story(made, server):
        await made.sleep(A)
        assert await state(made) is State.SLEEPING
        server.restart()
        assert await state(made) is State.LOADED
        await made.wake(A)
        assert changes(server) == SLEEPS
        await made.sleep(A)
        return server.asleep, server.dead

    assert live(story) == ({"a": False}, None)


def test_a_restart_that_nobody_has_seen_is_seen_before_it_is_asked_to_resume():
    async def story(made, server):
        await made.sleep(A)
        server.restart()
        await made.wake(A)
        return changes(server), server.dead

    assert live(story) == (SLEEPS, None)


def test_one_that_somebody_else_paused_is_neither_there_nor_gone_and_is_let_be():
    async def story(made, server):
        async with wire.client() as client:
            stranger = adapter(client, server.url)  # who has nothing written down
            await made.sleep(A)
            assert await state(stranger) is State.UNKNOWN
            before = len(changes(server))
            for call in (stranger.sleep(A), stranger.wake(A)):
                with pytest.raises(EngineRefused, match="paused") as no:
                    await call
                assert no.value.status == 409
            return changes(server)[before:], server.dead

    assert live(story) == ([], None)


def test_its_health_is_never_asked_for_for_that_generates():
    async def story(made, server):
        for change in (made.sleep, made.wake):
            await change(A)
            await made.identify()
            await made.activity((await made.list())[0])
            await made.habits()
        return {call for call, _ in server.requests if "health" in call or "generate" in call}

    assert live(story) == set()


def test_a_model_that_it_does_not_serve_is_neither_put_to_sleep_nor_woken():
    async def story(made, server):
        await made.sleep(A)
        for call in (made.sleep(ModelId("b")), made.wake(ModelId("b"))):
            with pytest.raises(EngineRefused, match="serves a, not b") as no:
                await call
            assert no.value.status == 404
        return changes(server)

    assert live(story) == SLEEPS


def test_one_that_does_not_say_whether_it_is_idle_is_let_be():
    call = "GET /v1/loads?include=core,queues"
    reply = {"call": call, "status": 200, "body": {"loads": []}}
    told = SAVER | {"replies": [reply, *SAVER["replies"]]}
    with pytest.raises(EngineRefused, match="does not say whether it is idle"):
        told_by(told, lambda made: made.sleep(QWEN))
