"""KoboldCpp: a new process for every load, and 200 for everything."""

import asyncio
import errno

import httpx
import pytest

from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines.base import Activity, EngineDown, EngineModel, EngineRefused, Process
from supervisor.engines.koboldcpp import KoboldCpp
from tests.engines.altered import altered, answer
from tests.engines.replay import Replay, capture

KOBOLD = capture("koboldcpp-1.104")
NO_ADMIN = capture("koboldcpp-noadmin-1.104")
QWEN, SMALL, BIG = ModelId("Qwen3-8B-Q4_K_M"), ModelId("Small Talk (1B)"), ModelId("big.kcpps")
MODEL, VERSION = "GET /api/v1/model", "GET /api/extra/version"
RELOAD, OPTIONS = "POST /api/admin/reload_config", "GET /api/admin/list_options"
OPEN = {Ability.LIST, Ability.IN_FLIGHT, Ability.CANCEL}


def kobold(told):
    replay = Replay(told)
    return KoboldCpp(EngineId("k"), "http://127.0.0.1:5001", replay.client(), None), replay


def listed(told):
    return {m.id: m for m in asyncio.run(kobold(told)[0].list())}


def reloads(replay):
    return [body["filename"] for call, body in replay.asked if call == RELOAD]


def named(name, told=KOBOLD, **about):
    """The capture, with another model."""
    told = altered(told, MODEL, {"result": name})
    return altered(told, VERSION, answer(told, VERSION) | about)


def loaded(models):
    return [m.id for m in models if m.state is not None]


def test_files_are_models_and_orders_are_not():
    assert listed(KOBOLD) == {
        BIG: EngineModel(BIG),
        QWEN: EngineModel(QWEN, State.LOADED, process=Process(whole=True)),
        SMALL: EngineModel(SMALL),
    }


def test_a_file_is_known_by_the_name_that_its_model_gets():
    assert loaded(listed(named("koboldcpp/SmallTalk1B")).values()) == [SMALL]


def test_a_model_that_none_of_the_files_holds_goes_by_its_own_name():
    assert loaded(listed(named("koboldcpp/Mistral-Nemo")).values()) == ["Mistral-Nemo"]


@pytest.mark.parametrize("name", ["inactive", "koboldcpp/inactive"])
def test_with_nothing_loaded_nothing_is(name):
    assert loaded(listed(named(name, llm=False)).values()) == []


def test_a_model_for_pictures_alone_holds_memory_too():
    assert loaded(listed(named("inactive", llm=False, txt2img=True)).values()) == ["koboldcpp"]


def test_made_up_answers_are_not_read():
    made, replay = kobold(KOBOLD)
    asyncio.run(made.identify())
    (model,) = [m for m in asyncio.run(made.list()) if m.state is not None]
    assert (model.reported, model.file_size) == (None, None)
    assert not {call for call, _ in replay.asked} & {"GET /api/ps", "GET /api/tags"}


def test_a_wrong_password_is_told_though_it_is_answered_with_200():
    with pytest.raises(EngineRefused, match="key is missing or wrong") as no:
        listed(named("koboldcpp/protected-model", protected=True))
    assert no.value.status == 401


def test_without_admin_mode_it_is_only_looked_at():
    made, replay = kobold(NO_ADMIN)
    assert loaded(asyncio.run(made.list())) == [QWEN]
    assert made.abilities == OPEN
    assert OPTIONS not in [call for call, _ in replay.asked]


def test_with_the_wrong_admin_password_it_is_only_looked_at():
    made, _ = kobold(altered(KOBOLD, OPTIONS, []))
    assert loaded(asyncio.run(made.list())) == [QWEN]
    assert made.abilities == OPEN


def test_an_old_one_knows_of_no_admin_and_no_kinds_of_model():
    about = {"result": "KoboldCpp", "version": "1.76", "protected": False, "txt2img": False}
    made, _ = kobold(altered(KOBOLD, VERSION, about))
    assert loaded(asyncio.run(made.list())) == [QWEN]
    assert made.abilities == OPEN


def test_what_it_does_not_do_it_refuses_with_200():
    made, _ = kobold(altered(KOBOLD, RELOAD, {"success": False}))
    for call in (made.load(SMALL), made.unload(QWEN), made.restart()):
        with pytest.raises(EngineRefused, match="--admindir") as no:
            asyncio.run(call)
        assert no.value.status == 403


def test_a_load_names_the_file_and_one_of_what_is_there_restarts_nothing():
    made, replay = kobold(KOBOLD)
    asyncio.run(made.load(QWEN))
    assert reloads(replay) == []
    asyncio.run(made.load(SMALL))
    assert reloads(replay) == ["Small Talk (1B).gguf"]


def test_an_unload_reaches_the_model_that_is_named_or_nobody():
    made, replay = kobold(KOBOLD)
    asyncio.run(made.unload(SMALL))
    assert reloads(replay) == []
    asyncio.run(made.unload(QWEN))
    assert reloads(replay) == ["unload_model"]


def test_a_restart_leaves_it_without_models():
    made, replay = kobold(KOBOLD)
    asyncio.run(made.restart())
    assert reloads(replay) == ["unload_model"]


def test_the_model_that_appears_after_a_configuration_was_asked_for_is_taken_for_it():
    made, replay = kobold(KOBOLD)

    async def story():
        await made.load(BIG)
        before = loaded(await made.list())  # the old process still answers
        replay.replies = named("koboldcpp/Llama-3.3-70B")["replies"]
        after = loaded(await made.list())
        await made.load(BIG)
        await made.unload(BIG)
        return before, after

    assert asyncio.run(story()) == ([QWEN], [BIG])
    assert reloads(replay) == ["big.kcpps", "unload_model"]


class Restarting(httpx.AsyncBaseTransport):
    """A server whose port refuses while it is down."""

    def __init__(self, replay):
        self.down, self.inner = False, httpx.MockTransport(replay._answer)

    async def handle_async_request(self, request):
        if self.down:
            raise httpx.ConnectError("no") from ConnectionRefusedError(errno.ECONNREFUSED, "no")
        return await self.inner.handle_async_request(request)


def test_a_configuration_of_the_same_model_is_known_by_the_restart():
    server = Restarting(Replay(KOBOLD))
    client = httpx.AsyncClient(transport=server)
    made = KoboldCpp(EngineId("k"), "http://127.0.0.1:5001", client, None)

    async def story():
        await made.load(BIG)
        server.down = True
        with pytest.raises(EngineDown):
            await made.list()
        server.down = False
        return loaded(await made.list())

    assert asyncio.run(story()) == [BIG]


def test_nobody_takes_the_way_from_one_process_to_the_next_for_a_crash():
    server = Restarting(Replay(KOBOLD))
    client = httpx.AsyncClient(transport=server)
    made = KoboldCpp(EngineId("k"), "http://127.0.0.1:5001", client, None)

    async def down(ask) -> bool:
        """Does it say that nobody listens, as one that has crashed would?"""
        server.down = True
        with pytest.raises(EngineDown) as found:
            await ask()
        server.down = False
        return found.value.refused

    async def story():
        before = await down(made.list)
        await made.load(BIG)
        asked = await made.list()  # the old process answers still
        coming = [await down(made.identify), await down(made.identify)]
        await made.list()
        return before, loaded(asked), coming, await down(made.list)

    before, asked, coming, after = asyncio.run(story())
    assert asked == [QWEN]
    assert (before, coming, after) == (True, [False, False], True)


def test_requests_are_the_one_at_work_and_those_in_the_queue():
    perf = answer(NO_ADMIN, "GET /api/extra/perf")
    assert (perf["idle"], perf["queue"]) == (0, 2)
    model = EngineModel(QWEN, State.LOADED)
    assert asyncio.run(kobold(NO_ADMIN)[0].activity(model)) == Activity(3, "12")
    assert asyncio.run(kobold(KOBOLD)[0].activity(model)) == Activity(0, "12,0,0,0")


def test_router_mode_is_told_with_the_remedy():
    names = ["koboldcpp/Qwen3-8B-Q4_K_M", "big.kcpps", "unload_model"]
    told = altered(KOBOLD, "GET /v1/models", {"data": [{"id": name} for name in names]})
    (habit,) = asyncio.run(kobold(told)[0].habits())
    assert habit.remedy == "start it without --routermode"
    assert asyncio.run(kobold(KOBOLD)[0].habits()) == ()
